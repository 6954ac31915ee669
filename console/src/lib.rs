//! The console: a page that shows both designs at work, and the server that serves it on this machine.
//!
//! The page talks to the stack's public API and WebSocket by itself. The server adds what a page cannot do: it knows
//! where the stack is, mints tokens of the development key, and operates the local stack. It has no client of AWS: a
//! deployed stack is watched, and never operated.

mod operator;
mod relay;
mod server;

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use development_key::DevelopmentKey;
use serde::Deserialize;
use thiserror::Error;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::operator::Operator;

/// Where a stack is, as `cargo xtask` writes it down. Members that the console does not need are left out.
#[derive(Clone, Debug, Deserialize)]
pub struct Description {
    pub(crate) name: String,
    /// The address of the HTTP API.
    pub(crate) http_url: String,
    /// The address of the WebSocket API.
    pub websocket_url: String,
    pub(crate) token_issuer: Option<String>,
    pub(crate) token_audience: Option<String>,
    /// The file of the development key, if the stack trusts it.
    pub(crate) key_file: Option<PathBuf>,
    /// What only a local stack has.
    #[serde(flatten)]
    pub(crate) local: Option<Local>,
}

/// What an operator of a local stack needs.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Local {
    pub(crate) emulator: Emulator,
    pub(crate) region: String,
    pub(crate) queue_url: String,
    pub(crate) dead_letter_queue_url: String,
    pub(crate) messages_table: String,
    /// The names of all resources, by their names in the template.
    pub(crate) resources: BTreeMap<String, String>,
}

/// The emulator that a local stack is deployed to.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Emulator {
    pub(crate) endpoint: String,
}

/// Why there is no console, or why it did not do something.
#[derive(Debug, Error)]
pub enum Error {
    /// The description of the stack cannot be used.
    #[error("cannot read the description of a stack, {0}")]
    Description(String),
    /// The development key cannot be used.
    #[error(transparent)]
    Key(#[from] development_key::KeyError),
    /// No port of this machine can be used.
    #[error("cannot listen on 127.0.0.1: {0}")]
    Listen(#[from] std::io::Error),
    /// The emulator did not do what it was asked for.
    #[error("the emulator did not respond as expected: {0}")]
    Emulator(String),
    /// A command with a number that it cannot have.
    #[error("{0}")]
    Command(&'static str),
}

impl Description {
    /// Reads the file of a stack.
    ///
    /// # Errors
    /// [`Error::Description`] if the file is missing or says something else.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let wrong =
            |error: &dyn std::fmt::Display| Error::Description(format!("{}: {error}", path.display()));
        let text = fs::read_to_string(path).map_err(|error| wrong(&error))?;
        serde_json::from_str(&text).map_err(|error| wrong(&error))
    }
}

impl Local {
    /// Where the emulator listens. Never a real account, whatever the file says.
    fn address(&self) -> Result<SocketAddr, Error> {
        let port =
            self.emulator.endpoint.strip_prefix("http://127.0.0.1:").and_then(|port| port.parse().ok());
        let port: u16 =
            port.ok_or_else(|| Error::Description("its endpoint is not on 127.0.0.1".to_owned()))?;
        Ok(([127, 0, 0, 1], port).into())
    }
}

/// A running console.
pub struct Console {
    address: SocketAddr,
    key: String,
    listener: TcpListener,
    server: server::Server,
}

impl Console {
    /// Prepares a stack for it, and listens on 127.0.0.1: on this port, or on any free one if it is taken.
    ///
    /// # Errors
    /// [`Error`] if there is no port, or the stack cannot be prepared.
    pub async fn start(description: Description, port: u16) -> Result<Self, Error> {
        let listener = match TcpListener::bind(("127.0.0.1", port)).await {
            Ok(listener) => listener,
            Err(_) => TcpListener::bind(("127.0.0.1", 0)).await?,
        };
        let address = listener.local_addr()?;
        // Not a token of the API: that one may be pasted into other programs, and this one operates the stack.
        let key = Uuid::new_v4().simple().to_string();
        let development_key =
            description.key_file.as_deref().map(DevelopmentKey::load_or_create).transpose()?;
        let url = description.http_url.clone();
        let (operator, http_urls) = match &description.local {
            Some(local) => {
                let api = local.address()?;
                let more = async || relay::more_urls(api, &url).await;
                (Some(Operator::of(local, api).await?), [more().await?, more().await?])
            }
            None => (None, [vec![url.clone()], vec![url]]),
        };
        let server =
            server::Server::new(description, address, key.clone(), development_key, operator, http_urls);
        Ok(Self { address, key, listener, server })
    }

    /// Where a person opens it. Without the fragment, which browsers do not send, the page changes nothing.
    pub fn url(&self) -> String {
        format!("http://{}/#key={}", self.address, self.key)
    }

    /// Serves it until the process ends.
    pub async fn run(self) {
        // It never ends with an error: a failed connection is the client's.
        let _ = axum::serve(self.listener, self.server.router()).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn description(more: Value) -> Description {
        let mut description = json!({
            "name": "intake",
            "http_url": "https://a.execute-api.eu-west-1.amazonaws.com/v1",
            "websocket_url": "wss://b.execute-api.eu-west-1.amazonaws.com/v1",
        });
        if let (Some(members), Value::Object(more)) = (description.as_object_mut(), more) {
            members.extend(more);
        }
        serde_json::from_value(description).unwrap()
    }

    #[tokio::test]
    async fn a_stack_on_aws_is_watched_and_never_operated() {
        let console = Console::start(description(json!({})), 0).await.unwrap();
        let (origin, key) = (format!("http://{}", console.address), console.key.clone());
        tokio::spawn(console.run());
        let http = fault_proxy::http_client();
        let get = async |path: &str| {
            let response = http.get(format!("{origin}{path}")).bearer_auth(&key).send().await.unwrap();
            (response.status().as_u16(), response.headers().clone(), response.text().await.unwrap())
        };
        assert_eq!(get("/operator").await.0, 404);
        let (status, _, config) = get("/config.json").await;
        let config: Value = serde_json::from_str(&config).unwrap();
        assert_eq!((status, &config["operator"], &config["canMint"]), (200, &json!(false), &json!(false)));
        let (status, headers, _) = get("/").await;
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.contains("connect-src 'self' https://a.execute-api.eu-west-1.amazonaws.com "),
            "{policy}"
        );
        assert_eq!((status, policy.contains('*')), (200, false));
    }

    #[tokio::test]
    async fn an_operator_whose_endpoint_is_elsewhere_is_an_error() {
        let elsewhere = json!({
            "emulator": { "endpoint": "https://sqs.eu-west-1.amazonaws.com" },
            "region": "eu-west-1",
            "queue_url": "",
            "dead_letter_queue_url": "",
            "messages_table": "",
            "resources": {},
        });
        let started = Console::start(description(elsewhere), 0).await;
        assert!(matches!(started, Err(Error::Description(_))), "it must not start");
    }
}
