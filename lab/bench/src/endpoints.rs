//! What a measured function reaches of AWS: DynamoDB and the WebSocket API's `@connections`, both behind TLS in this
//! process. Every request is counted.

use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use dynoxide::{Database, server::serve_on};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client, server,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use serde::de::IgnoredAny;
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Mutex as AsyncMutex,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use crate::Failure;

/// The table of messages.
pub(crate) const MESSAGES: &str = "messages";
/// The table of connections.
pub(crate) const CONNECTIONS: &str = "connections";

/// How the ids of all open connections begin.
pub(crate) const CONNECTION: &str = "connection-of-";

/// Where systems keep the root certificates that programs trust (Debian, Amazon Linux).
const SYSTEM_ROOTS: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// The root certificates that the functions trust.
const AMAZON_ROOTS: &str = include_str!("../../../shared/platform/src/amazon-roots.pem");

/// A certificate authority for one run, and the files that make contestants trust it. Each file holds as many other
/// root certificates as its reader has to read on AWS.
pub(crate) struct Trust {
    server: Arc<ServerConfig>,
    /// The authority alone, for a contestant that adds it to its own list.
    pub(crate) authority: PathBuf,
    /// With the root certificates of Amazon Trust Services.
    pub(crate) with_amazon: PathBuf,
    /// With the root certificates of the system, some 140.
    pub(crate) with_system: PathBuf,
}

impl Trust {
    /// Makes the authority, and its files in a folder.
    pub(crate) fn make(folder: &Path) -> Result<Self, Failure> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Intake bench");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let certificate =
            CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&key, &authority)?;
        let key = PrivateKeyDer::try_from(key.serialize_der())?;

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        // What DynamoDB's endpoints speak.
        server.alpn_protocols = vec![b"http/1.1".to_vec()];

        let pem = pem(authority.der());
        let system = SYSTEM_ROOTS.iter().find_map(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        let write = |name: &str, others: &str| -> io::Result<PathBuf> {
            let path = folder.join(name);
            fs::write(&path, format!("{others}\n{pem}"))?;
            Ok(path)
        };
        Ok(Self {
            server: Arc::new(server),
            authority: write("authority.pem", "")?,
            with_amazon: write("amazon-and-authority.pem", AMAZON_ROOTS)?,
            with_system: write("system-and-authority.pem", &system)?,
        })
    }
}

/// A certificate as text (RFC 7468). OpenSSL rejects long lines.
fn pem(certificate: &[u8]) -> String {
    // 48 bytes make a line of 64 characters.
    let lines: String = certificate.chunks(48).map(|bytes| STANDARD.encode(bytes) + "\n").collect();
    format!("-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n")
}

/// What the endpoints have received.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Completed TLS handshakes.
    pub(crate) handshakes: u64,
    /// Requests by operation.
    pub(crate) requests: BTreeMap<String, u64>,
    /// Events in all frames that were pushed.
    pub(crate) pushed_events: u64,
    /// Bytes of all frames that were pushed.
    pub(crate) pushed_bytes: u64,
}

impl Counts {
    fn request(&mut self, operation: &str) {
        *self.requests.entry(operation.to_owned()).or_default() += 1;
    }

    /// The requests since `earlier`.
    pub(crate) fn requests_since(&self, earlier: &Self) -> BTreeMap<String, u64> {
        let before = |operation: &str| earlier.requests.get(operation).copied().unwrap_or(0);
        self.requests
            .iter()
            .map(|(operation, count)| (operation.clone(), count - before(operation)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}

/// The endpoints of one function process, with a database of its own. Dropping them ends them.
pub(crate) struct Endpoints {
    dynamodb: SocketAddr,
    push: SocketAddr,
    database: Database,
    counts: Arc<Mutex<Counts>>,
    _serving: JoinSet<()>,
}

impl Endpoints {
    /// Starts them, with empty tables.
    pub(crate) async fn start(trust: &Trust) -> Result<Self, Failure> {
        let database = Database::memory()?;
        create_table(&database, MESSAGES, &["pk"])?;
        create_table(&database, CONNECTIONS, &["owner", "connection_id"])?;

        let counts = Arc::new(Mutex::new(Counts::default()));
        let behind = TcpListener::bind("127.0.0.1:0").await?;
        let database_address = behind.local_addr()?;
        let dynamodb = TcpListener::bind("127.0.0.1:0").await?;
        let push = TcpListener::bind("127.0.0.1:0").await?;
        let (dynamodb_address, push_address) = (dynamodb.local_addr()?, push.local_addr()?);

        let mut serving = JoinSet::new();
        serving.spawn(serve_on(behind, database.clone()));
        let acceptor = TlsAcceptor::from(Arc::clone(&trust.server));
        serving.spawn(terminate(dynamodb, acceptor.clone(), Arc::clone(&counts), Some(database_address)));
        serving.spawn(terminate(push, acceptor, Arc::clone(&counts), None));
        Ok(Self { dynamodb: dynamodb_address, push: push_address, database, counts, _serving: serving })
    }

    /// The address of DynamoDB.
    pub(crate) fn dynamodb_url(&self) -> String {
        format!("https://{}", self.dynamodb)
    }

    /// The address of `@connections`, with the stage in the path, as on AWS.
    pub(crate) fn push_url(&self) -> String {
        format!("https://{}/v1", self.push)
    }

    /// What they have received so far.
    pub(crate) fn counts(&self) -> Counts {
        lock(&self.counts).clone()
    }

    /// The counts, which go on changing.
    pub(crate) fn shared_counts(&self) -> Arc<Mutex<Counts>> {
        Arc::clone(&self.counts)
    }

    /// The number of messages in the table.
    pub(crate) fn messages(&self) -> Result<u64, Failure> {
        let stats = self.database.table_stats()?;
        let messages = stats.iter().find(|table| table.table_name == MESSAGES);
        Ok(messages.map_or(0, |table| table.item_count.cast_unsigned()))
    }

    /// Puts an item, in DynamoDB's own JSON, into a table.
    pub(crate) fn put_item(&self, table: &str, item: &serde_json::Value) -> Result<(), Failure> {
        let request = json!({ "TableName": table, "Item": item });
        self.database.put_item(serde_json::from_value(request)?)?;
        Ok(())
    }
}

/// A lock. A panic while it was held leaves nothing broken.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn create_table(database: &Database, name: &str, keys: &[&str]) -> Result<(), Failure> {
    let kinds = ["HASH", "RANGE"];
    let request = json!({
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": keys.iter()
            .map(|key| json!({ "AttributeName": key, "AttributeType": "S" }))
            .collect::<Vec<_>>(),
        "KeySchema": keys.iter().zip(kinds)
            .map(|(key, kind)| json!({ "AttributeName": key, "KeyType": kind }))
            .collect::<Vec<_>>(),
    });
    database.create_table(serde_json::from_value(request)?)?;
    Ok(())
}

/// Serves HTTP/1.1 over TLS: passes requests on to the database, or receives pushes if there is none.
async fn terminate(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    counts: Arc<Mutex<Counts>>,
    database: Option<SocketAddr>,
) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let (acceptor, counts) = (acceptor.clone(), Arc::clone(&counts));
        connections.spawn(async move {
            // A broken connection shows in what the function does next.
            let _ = connection(socket, acceptor, counts, database).await;
        });
    }
}

async fn connection(
    socket: TcpStream,
    acceptor: TlsAcceptor,
    counts: Arc<Mutex<Counts>>,
    database: Option<SocketAddr>,
) -> Result<(), Failure> {
    socket.set_nodelay(true)?;
    let socket = acceptor.accept(socket).await?;
    lock(&counts).handshakes += 1;
    let passing = match database {
        Some(address) => Some(Arc::new(AsyncMutex::new(connect(address).await?))),
        None => None,
    };
    let service = service_fn(move |request| {
        let (counts, passing) = (Arc::clone(&counts), passing.clone());
        async move {
            let response = match passing {
                Some(passing) => pass_on(request, &passing, &counts).await,
                None => receive_push(request, &counts).await,
            };
            response.map_err(|error| error.to_string())
        }
    });
    Ok(server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await?)
}

type Sender = client::conn::http1::SendRequest<Full<Bytes>>;

async fn connect(database: SocketAddr) -> Result<Sender, Failure> {
    let socket = TcpStream::connect(database).await?;
    socket.set_nodelay(true)?;
    let (sender, connection) = client::conn::http1::handshake(TokioIo::new(socket)).await?;
    // It ends when the sender is dropped.
    tokio::spawn(connection);
    Ok(sender)
}

async fn pass_on(
    request: Request<Incoming>,
    database: &AsyncMutex<Sender>,
    counts: &Mutex<Counts>,
) -> Result<Response<Full<Bytes>>, Failure> {
    let (head, body) = request.into_parts();
    let target = head.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    lock(counts).request(target.and_then(|target| target.rsplit('.').next()).unwrap_or("unknown"));
    let body = body.collect().await?.to_bytes();
    let mut database = database.lock().await;
    database.ready().await?;
    let (head, body) = database.send_request(Request::from_parts(head, Full::new(body))).await?.into_parts();
    Ok(Response::from_parts(head, Full::new(body.collect().await?.to_bytes())))
}

async fn receive_push(
    request: Request<Incoming>,
    counts: &Mutex<Counts>,
) -> Result<Response<Full<Bytes>>, Failure> {
    let connection_id = request.uri().path().strip_prefix("/v1/@connections/").map(str::to_owned);
    let frame = request.into_body().collect().await?.to_bytes();
    let response = Response::builder().header("content-type", "application/json");
    let mut counts = lock(counts);
    counts.request(if connection_id.is_some() { "PostToConnection" } else { "unknown" });
    if !connection_id.is_some_and(|id| id.starts_with(CONNECTION)) {
        let body = Bytes::from_static(br#"{"message":null}"#);
        return Ok(response.status(410).header("x-amzn-errortype", "GoneException").body(Full::new(body))?);
    }
    let events: Vec<IgnoredAny> = serde_json::from_slice(&frame).unwrap_or_default();
    counts.pushed_events += u64::try_from(events.len())?;
    counts.pushed_bytes += u64::try_from(frame.len())?;
    Ok(response.body(Full::default())?)
}
