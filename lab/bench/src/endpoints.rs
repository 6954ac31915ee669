//! What a measured function reaches of AWS, all in this process: the Lambda Runtime API and, behind TLS, DynamoDB and
//! the WebSocket API's `@connections`.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use axum::{
    Json,
    body::Bytes,
    extract::{self, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
    serve::ListenerExt,
};
use dynoxide::{Database, server::serve_on};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::mpsc::UnboundedReceiver,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    Failure,
    runtime_api::{self, Call},
};

/// The table of messages.
pub(crate) const MESSAGES: &str = "messages";
/// The table of connections.
pub(crate) const CONNECTIONS: &str = "connections";

/// How the ids of all open connections begin.
pub(crate) const CONNECTION: &str = "connection-of-";

/// What the endpoints have counted.
#[derive(Default)]
pub(crate) struct Counts {
    /// Completed TLS handshakes.
    pub(crate) handshakes: AtomicU64,
    /// Events in all frames that were pushed.
    pub(crate) pushed_events: AtomicU64,
}

/// The endpoints of one function process, with a database of its own. Dropping them ends them.
pub(crate) struct Endpoints {
    pub(crate) dynamodb_url: String,
    /// The address of `@connections`, with the stage in the path, as on AWS.
    pub(crate) push_url: String,
    pub(crate) runtime_api: SocketAddr,
    /// What the function calls of the Runtime API.
    pub(crate) calls: UnboundedReceiver<Call>,
    database: Database,
    pub(crate) counts: Arc<Counts>,
    _serving: JoinSet<()>,
}

impl Endpoints {
    /// Starts them, with empty tables.
    pub(crate) async fn start(acceptor: &TlsAcceptor) -> Result<Self, Failure> {
        let database = Database::memory()?;
        create_table(&database, MESSAGES, &["pk"])?;
        create_table(&database, CONNECTIONS, &["owner", "connection_id"])?;
        let counts = Arc::new(Counts::default());
        let (runtime_api, calls) = runtime_api::router();
        let pushes = post(receive_push).with_state(Arc::clone(&counts));
        let router = runtime_api.route("/v1/@connections/{id}", pushes);

        let mut serving = JoinSet::new();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let runtime_api = listener.local_addr()?;
        let push = terminate_tls(acceptor, runtime_api, &counts, &mut serving).await?;
        let listener = listener.tap_io(|socket| {
            // Without it, the function waits longer.
            let _ = socket.set_nodelay(true);
        });
        serving.spawn(async move {
            // It does not return.
            let _ = axum::serve(listener, router).await;
        });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let dynamodb = terminate_tls(acceptor, listener.local_addr()?, &counts, &mut serving).await?;
        serving.spawn(serve_on(listener, database.clone()));
        Ok(Self {
            dynamodb_url: format!("https://{dynamodb}"),
            push_url: format!("https://{push}/v1"),
            runtime_api,
            calls,
            database,
            counts,
            _serving: serving,
        })
    }

    /// The number of messages in the table.
    pub(crate) fn messages(&self) -> Result<u64, Failure> {
        let stats = self.database.table_stats()?;
        let messages = stats.iter().find(|table| table.table_name == MESSAGES);
        Ok(messages.map_or(0, |table| table.item_count.cast_unsigned()))
    }

    /// Puts an item, in DynamoDB's own JSON, into a table.
    pub(crate) fn put_item(&self, table: &str, item: &Value) -> Result<(), Failure> {
        let request = json!({ "TableName": table, "Item": item });
        self.database.put_item(serde_json::from_value(request)?)?;
        Ok(())
    }
}

fn create_table(database: &Database, name: &str, keys: &[&str]) -> Result<(), Failure> {
    let attribute = |key| json!({ "AttributeName": key, "AttributeType": "S" });
    let element = |(key, kind)| json!({ "AttributeName": key, "KeyType": kind });
    let request = json!({
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": keys.iter().map(attribute).collect::<Value>(),
        "KeySchema": keys.iter().zip(["HASH", "RANGE"]).map(element).collect::<Value>(),
    });
    database.create_table(serde_json::from_value(request)?)?;
    Ok(())
}

/// A TLS endpoint that passes on what it decrypts. Returns its address.
async fn terminate_tls(
    acceptor: &TlsAcceptor,
    inside: SocketAddr,
    counts: &Arc<Counts>,
    serving: &mut JoinSet<()>,
) -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (acceptor, counts) = (acceptor.clone(), Arc::clone(counts));
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, counts) = (acceptor.clone(), Arc::clone(&counts));
            connections.spawn(async move {
                socket.set_nodelay(true)?;
                let mut encrypted = acceptor.accept(socket).await?;
                counts.handshakes.fetch_add(1, Relaxed);
                let mut plain = TcpStream::connect(inside).await?;
                plain.set_nodelay(true)?;
                // A broken connection shows in what the function does next.
                copy_bidirectional(&mut encrypted, &mut plain).await
            });
        }
    });
    Ok(address)
}

/// `PostToConnection`. A connection that is not open is gone.
async fn receive_push(
    State(counts): State<Arc<Counts>>,
    extract::Path(connection_id): extract::Path<String>,
    frame: Bytes,
) -> Response {
    if !connection_id.starts_with(CONNECTION) {
        let gone = [("x-amzn-errortype", "GoneException")];
        return (StatusCode::GONE, gone, Json(json!({ "message": null }))).into_response();
    }
    let events: Vec<IgnoredAny> = serde_json::from_slice(&frame).unwrap_or_default();
    counts.pushed_events.fetch_add(events.len() as u64, Relaxed);
    [("content-type", "application/json")].into_response()
}
