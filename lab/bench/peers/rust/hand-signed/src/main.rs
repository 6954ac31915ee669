//! `PUT /messages/{id}` with nothing in between: one connection opened during init, one request signed by hand.
//!
//! A floor to measure against, not a way to write a function: it does not try again, does not reconnect and
//! reads of DynamoDB's responses only the status.

use std::{env, fs, io::Write, sync::Arc};

use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use jiff::{Timestamp, tz::TimeZone};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use ring::{digest, hmac};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::json;
use tokio::{net::TcpStream, sync::Mutex};
use tokio_rustls::TlsConnector;

const AMAZON_ROOTS: &[u8] = include_bytes!("../../../../../../shared/platform/src/amazon-roots.pem");

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    path_parameters: PathParameters,
    request_context: RequestContext,
    body: String,
}

#[derive(Deserialize)]
struct PathParameters {
    id: String,
}

#[derive(Deserialize)]
struct RequestContext {
    authorizer: Authorizer,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Authorizer {
    principal_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProxyResponse {
    status_code: u16,
    body: String,
}

struct DynamoDb {
    sender: Mutex<http1::SendRequest<Full<Bytes>>>,
    host: String,
    region: String,
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    table: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let dynamodb = DynamoDb::connect().await?;
    run(service_fn(|event: LambdaEvent<Event>| handle(&dynamodb, event.payload))).await
}

async fn handle(dynamodb: &DynamoDb, event: Event) -> Result<ProxyResponse, Error> {
    let id = event.path_parameters.id;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !(1..=64).contains(&id.len()) || !id.bytes().all(legal) {
        return Ok(ProxyResponse { status_code: 400, body: json!({ "message": "illegal id" }).to_string() });
    }
    let is_object = event.body.trim_start().starts_with('{');
    if !is_object || serde_json::from_str::<IgnoredAny>(&event.body).is_err() {
        let body = json!({ "message": "the body is not a JSON object" }).to_string();
        return Ok(ProxyResponse { status_code: 400, body });
    }
    let stored = dynamodb.put(&id, &event.request_context.authorizer.principal_id, &event.body).await?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", json!({ "level": "INFO", "message": "stored", "message_id": id }))?;
    Ok(if stored {
        ProxyResponse { status_code: 201, body: json!({ "id": id, "status": "stored" }).to_string() }
    } else {
        let message = "there is a message with this id";
        ProxyResponse { status_code: 409, body: json!({ "message": message }).to_string() }
    })
}

impl DynamoDb {
    async fn connect() -> Result<Self, Error> {
        let region = env::var("AWS_REGION")?;
        let host = match env::var("AWS_ENDPOINT_URL_DYNAMODB") {
            Ok(url) => url.strip_prefix("https://").ok_or("not https")?.trim_end_matches('/').to_owned(),
            Err(_) => format!("dynamodb.{region}.amazonaws.com"),
        };
        let name = host.split(':').next().unwrap_or_default().to_owned();
        let address = if name == host { format!("{host}:443") } else { host.clone() };

        let pem = env::var("AWS_CA_BUNDLE").map(fs::read).unwrap_or_else(|_| Ok(AMAZON_ROOTS.to_vec()))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tcp = TcpStream::connect(&address).await?;
        tcp.set_nodelay(true)?;
        let tls = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name)?, tcp).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(tls)).await?;
        tokio::spawn(connection);

        Ok(Self {
            sender: Mutex::new(sender),
            host,
            region,
            access_key_id: env::var("AWS_ACCESS_KEY_ID")?,
            secret_access_key: env::var("AWS_SECRET_ACCESS_KEY")?,
            session_token: env::var("AWS_SESSION_TOKEN").ok(),
            table: env::var("MESSAGES_TABLE")?,
        })
    }

    /// Whether it was stored; not, if something is there.
    async fn put(&self, id: &str, owner: &str, payload: &str) -> Result<bool, Error> {
        let now = Timestamp::now();
        let text = |value: &str| json!({ "S": value });
        let time = text(&format!("{now:.3}"));
        let body = json!({
            "TableName": self.table,
            "Item": {
                "pk": text(&format!("{id}#{owner}")),
                "status": text("stored"),
                "payload": text(payload),
                "via": text("sync"),
                "attempts": { "N": "1" },
                "received_at": time,
                "stored_at": time,
            },
            "ConditionExpression": "attribute_not_exists(pk)",
        })
        .to_string();
        let request = self.sign("DynamoDB_20120810.PutItem", body, now)?;
        let mut sender = self.sender.lock().await;
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        match status {
            200 => Ok(true),
            400 if String::from_utf8_lossy(&body).contains("ConditionalCheckFailedException") => Ok(false),
            _ => Err(format!("DynamoDB responded with {status}").into()),
        }
    }

    /// Signature Version 4 ("Create a signed AWS API request").
    fn sign(&self, target: &str, body: String, now: Timestamp) -> Result<Request<Full<Bytes>>, Error> {
        let time = now.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ").to_string();
        let date = &time[..8];
        let scope = format!("{date}/{}/dynamodb/aws4_request", self.region);

        let mut headers =
            vec![("content-type", "application/x-amz-json-1.0"), ("host", &self.host), ("x-amz-date", &time)];
        if let Some(token) = &self.session_token {
            headers.push(("x-amz-security-token", token));
        }
        headers.push(("x-amz-target", target));
        let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let canonical = format!("POST\n/\n\n{lines}\n{names}\n{}", hash(body.as_bytes()));
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hash(canonical.as_bytes()));

        let first = format!("AWS4{}", self.secret_access_key);
        let mut key = mac(first.as_bytes(), date);
        for part in [self.region.as_str(), "dynamodb", "aws4_request"] {
            key = mac(key.as_ref(), part);
        }
        let signature = hex(mac(key.as_ref(), &to_sign).as_ref());
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.access_key_id
        );
        let mut request = Request::post("/").header("authorization", authorization);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        Ok(request.body(Full::new(Bytes::from(body)))?)
    }
}

fn mac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

fn hash(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
