//! The HTTP API, as a client with a token uses it.

use std::error::Error;

use reqwest::{Body, Method, RequestBuilder, header::HeaderMap};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ATTEMPT_TIMEOUT, Found, Item, Record, Socket, Stack, eventually, unique};
use crate::contract;

/// A client of the stack, with a valid token.
#[derive(Clone)]
pub struct Caller<'a> {
    stack: &'a Stack,
    /// The owner that the token names.
    pub name: String,
    /// The token.
    pub token: String,
}

impl Stack {
    /// A caller with a name that no other test uses.
    pub fn caller(&self) -> Caller<'_> {
        self.caller_named(&unique("owner"))
    }

    /// A caller with this name.
    pub fn caller_named(&self, name: &str) -> Caller<'_> {
        Caller { stack: self, name: name.to_owned(), token: self.sign(&self.claims(name)) }
    }

    /// The claims of a valid token of an owner.
    pub fn claims(&self, owner: &str) -> Value {
        let in_an_hour = jiff::Timestamp::now().as_second() + 3600;
        let (issuer, audience) = (&self.at.token_issuer, &self.at.token_audience);
        json!({ "iss": issuer, "aud": audience, "sub": owner, "exp": in_an_hour })
    }

    /// A token with any claims, signed with the key that the authorizer trusts.
    pub fn sign(&self, claims: &Value) -> String {
        self.key.sign(&json!({ "alg": "ES256", "typ": "JWT", "kid": self.key.key_id() }), claims)
    }

    /// A request to the HTTP API, without a token.
    pub fn request(&self, method: Method, path: &str) -> Request {
        let builder = self.http.request(method.clone(), format!("{}{path}", self.at.http_url));
        Request { builder: builder.timeout(ATTEMPT_TIMEOUT), operation: Some((method, path.to_owned())) }
    }
}

impl Caller<'_> {
    /// A request to the HTTP API with the token.
    pub fn request(&self, method: Method, path: &str) -> Request {
        self.stack.request(method, path).header("authorization", format!("Bearer {}", self.token))
    }

    /// `PUT /messages/{id}`.
    pub async fn put(&self, id: &str, body: impl Into<Body>) -> Response {
        self.send(&format!("/messages/{id}"), body).await
    }

    /// `PUT /queue/{id}`.
    pub async fn queue(&self, id: &str, body: impl Into<Body>) -> Response {
        self.send(&format!("/queue/{id}"), body).await
    }

    /// `PUT /queue/{id}`, which must accept the message.
    pub async fn queued(&self, id: &str, body: &str) -> Queued {
        self.queue(id, body.to_owned()).await.queued()
    }

    /// Puts JSON to a path.
    pub async fn send(&self, path: &str, body: impl Into<Body>) -> Response {
        self.send_as(path, "application/json", body).await
    }

    /// Puts a body of some content type to a path.
    pub async fn send_as(&self, path: &str, content_type: &str, body: impl Into<Body>) -> Response {
        let request = self.request(Method::PUT, path).header("content-type", content_type);
        Response::to(request.body(body)).await
    }

    /// Posts many messages to `/messages` or `/queue`.
    pub async fn post(&self, path: &str, body: impl Into<Body>) -> Response {
        let request = self.request(Method::POST, path).header("content-type", "application/json");
        Response::to(request.body(body)).await
    }

    /// Waits until all messages of a bulk have their outcomes, looking them up with the path that its `202` names.
    pub async fn bulk_outcomes(&self, queued: &QueuedBulk) -> Vec<Value> {
        eventually(&format!("outcomes under {}", queued.status_path), async || {
            let response = self.get(&queued.status_path).await;
            assert_eq!(response.status, 200, "{response:?}");
            let body = response.json();
            if body["status"] == "queued" {
                return Err(response.text);
            }
            Ok(body["outcomes"].as_array().cloned().unwrap_or_default())
        })
        .await
    }

    /// Gets what is under a path.
    pub async fn get(&self, path: &str) -> Response {
        Response::to(self.request(Method::GET, path)).await
    }

    /// Looks up a message by its id alone.
    pub async fn look_up(&self, id: &str) -> Response {
        self.get(&format!("/messages/{id}")).await
    }

    /// Waits until a message has an outcome, looking it up with the path that its `202` names.
    pub async fn outcome(&self, queued: &Queued) -> Response {
        eventually(&format!("an outcome under {}", queued.status_path), async || {
            let response = self.get(&queued.status_path).await;
            assert_eq!(response.status, 200, "{response:?}");
            if response.message_status() == "queued" { Err(response.text) } else { Ok(response) }
        })
        .await
    }

    /// Waits until a message has this status.
    pub async fn becomes(&self, id: &str, status: &str) -> Value {
        eventually(&format!("the message {id} to be {status}"), async || {
            let response = self.look_up(id).await;
            if response.status == 200 && response.message_status() == status {
                Ok(response.json())
            } else {
                Err(format!("{response:?}"))
            }
        })
        .await
    }

    /// The item of a message of this owner.
    pub async fn item(&self, id: &str) -> Option<Item> {
        self.stack.item(&self.name, id).await
    }

    /// A record like the one that the gateway makes of a message of this owner.
    pub fn record(&self, id: &str, body: &str) -> Record {
        Record::of(&self.name, id, body)
    }

    /// Opens a WebSocket.
    pub async fn connect(&self) -> Socket {
        let query = format!("?token={}", self.token);
        self.stack.connect(&query).await.unwrap_or_else(|error| panic!("no socket: {error}"))
    }
}

/// The body of a `202`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Queued {
    /// The id, URL-encoded.
    pub id: String,
    /// What leads to the outcome of this request.
    pub receipt: String,
    /// Where to look up the outcome.
    pub status_path: String,
}

/// The body of a `202` to a bulk.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueuedBulk {
    /// What leads to the outcomes of this request.
    pub receipt: String,
    /// Where to look them up.
    pub status_path: String,
}

/// A request that is not sent yet.
#[derive(Debug)]
pub struct Request {
    builder: RequestBuilder,
    /// Method and path of a request to the HTTP API; none if it goes elsewhere.
    operation: Option<(Method, String)>,
}

impl Request {
    /// The request with one more header.
    #[must_use]
    pub fn header(self, name: &str, value: impl AsRef<str>) -> Self {
        Self { builder: self.builder.header(name, value.as_ref()), ..self }
    }

    /// The request with a body.
    #[must_use]
    pub fn body(self, body: impl Into<Body>) -> Self {
        Self { builder: self.builder.body(body), ..self }
    }

    /// Sends it while faults are expected: the response may be any, or none.
    ///
    /// # Errors
    /// If there is no response.
    pub async fn send(self) -> reqwest::Result<Response> {
        let response = self.builder.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Response { status, headers, text: response.text().await? })
    }
}

/// A request to something else than the HTTP API: no contract documents its response.
impl From<RequestBuilder> for Request {
    fn from(builder: RequestBuilder) -> Self {
        Self { builder, operation: None }
    }
}

/// A response to an HTTP request.
#[derive(Clone, Debug)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub text: String,
}

impl Response {
    /// Sends a request, and returns the response. One of the HTTP API must be as `openapi.yaml` documents it.
    pub async fn to(request: impl Into<Request>) -> Self {
        let request = request.into();
        let operation = request.operation.clone();
        let response = request.send().await;
        let response = response.unwrap_or_else(|error| panic!("no response: {error}: {:?}", error.source()));
        if let Some((method, path)) = operation {
            contract::check_response(&method, &path, response.status, &response.headers, &response.text);
        }
        response
    }

    /// The body as JSON; null if there is none.
    pub fn json(&self) -> Value {
        if self.text.is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// The body as what is found of a message.
    pub fn found(&self) -> Found {
        Found::parse(&self.text).unwrap_or_else(|error| panic!("nothing found ({error}): {self:?}"))
    }

    /// The member `status` of the body.
    pub fn message_status(&self) -> String {
        self.found().outcome.status
    }

    /// What a `202` says, which this must be.
    pub fn queued(&self) -> Queued {
        assert_eq!(self.status, 202, "{self:?}");
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// What a `202` to a bulk says, which this must be.
    pub fn queued_bulk(&self) -> QueuedBulk {
        assert_eq!(self.status, 202, "{self:?}");
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// What a `202` says; none if this is a problem of this kind. What the gateway rejects depends on its parser.
    #[track_caller]
    pub fn queued_unless(&self, status: u16, slug: &str) -> Option<Queued> {
        if self.status == 202 {
            return Some(self.queued());
        }
        self.assert_problem(status, slug);
        None
    }

    /// The value of a header; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// The member `payload` of the body, byte for byte.
    pub fn payload(&self) -> String {
        self.found().content.unwrap_or_else(|| panic!("no payload: {self:?}")).0
    }

    /// Checks that this is a problem of this kind, readable by a browser.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, slug: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("access-control-allow-origin"), "*", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:intake:problem:{slug}"), "{self:?}");
        assert_eq!(problem["status"], status, "{self:?}");
        for member in ["title", "detail"] {
            assert_ne!(problem[member], "", "{self:?}");
        }
    }
}
