//! The HTTP server of the page.
//!
//! Any web page can make a browser send requests to 127.0.0.1. So a request with another `Host` (a name that was made
//! to point here) or another `Origin` is rejected, and whatever acts on the stack needs the key, which is in the
//! address that the terminal shows and in no cookie.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path as UrlPath, Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN},
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use development_key::DevelopmentKey;
use intake_domain::message::Owner;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Description, Error,
    operator::{Command, Operator},
    relay,
};

/// How long a token is good for: a day's work.
const TOKEN_LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// The owner that the page sends as, unless another is given: the same as in the lines that `cargo xtask up` prints.
const OWNER: &str = "alice";

pub(crate) struct Server {
    description: Description,
    address: SocketAddr,
    key: String,
    development_key: Option<DevelopmentKey>,
    operator: Option<Operator>,
    /// The addresses of the HTTP API, for requests of each design. See [`crate::relay`].
    http_urls: [Vec<String>; 2],
}

type Shared = Arc<Server>;

/// A response of an operation that did not succeed.
struct ErrorResponse(StatusCode, String);

impl IntoResponse for ErrorResponse {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

impl From<Error> for ErrorResponse {
    fn from(error: Error) -> Self {
        let status = if matches!(error, Error::Command(_)) {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::BAD_GATEWAY
        };
        Self(status, error.to_string())
    }
}

fn wrong(text: &str) -> ErrorResponse {
    ErrorResponse(StatusCode::BAD_REQUEST, text.to_owned())
}

impl Server {
    pub(crate) fn new(
        description: Description,
        address: SocketAddr,
        key: String,
        development_key: Option<DevelopmentKey>,
        operator: Option<Operator>,
        http_urls: [Vec<String>; 2],
    ) -> Self {
        Self { description, address, key, development_key, operator, http_urls }
    }

    pub(crate) fn router(self) -> Router {
        let mut acting = Router::new().route("/token", post(token));
        if self.operator.is_some() {
            acting = acting.route("/operator", post(operate));
        }
        let shared = Arc::new(self);
        let acting = acting.route_layer(middleware::from_fn_with_state(Arc::clone(&shared), require_key));
        let router = acting
            .route("/config.json", get(config))
            .route("/", get(async || file("index.html")))
            .route("/{name}", get(async |UrlPath(name): UrlPath<String>| file(&name)));
        router.layer(middleware::from_fn_with_state(Arc::clone(&shared), guard)).with_state(shared)
    }

    /// Whether a request is for this server, and of its own page or of no page at all.
    fn allows(&self, headers: &HeaderMap) -> bool {
        let port = self.address.port();
        let ours = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let origin = text(ORIGIN).map(|origin| origin.strip_prefix("http://").unwrap_or_default());
        let is_ours = |authority: &str| ours.iter().any(|ours| ours == authority);
        text(HOST).is_some_and(is_ours) && origin.is_none_or(is_ours)
    }

    /// Only the page's own scripts and styles, and only the stack's own addresses.
    fn policy(&self) -> String {
        let Description { http_url, websocket_url, .. } = &self.description;
        let urls = self.http_urls.iter().flatten().chain([http_url, websocket_url]);
        let origins: Vec<_> =
            urls.map(|url| url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/")).collect();
        format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' {}; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            origins.join(" ")
        )
    }

    fn config(&self) -> Value {
        let Description { name, http_url, websocket_url, .. } = &self.description;
        let is_local = self.operator.is_some();
        let can_mint = self.development_key.is_some();
        let token_help = if can_mint {
            "This stack trusts the development key of this machine, so this page gets its tokens by itself. To send \
             as another owner, paste the output of `cargo xtask token --owner NAME`."
        } else {
            "Paste a token of the issuer that this stack trusts. Its claim sub is the owner that you are."
        };
        json!({
            "stack": if is_local { "local stack" } else { name },
            // For look-ups, so that they take no connection from what is measured.
            "httpUrl": http_url,
            "httpUrls": { "sync": self.http_urls[0], "queue": self.http_urls[1] },
            "webSocketUrl": websocket_url,
            // API Gateway speaks HTTP/2, over which browsers send as many as they like.
            "requestsAtOnce": if is_local { relay::REQUESTS_AT_ONCE } else { 50 },
            // The functions of a local stack read the same clock as the page.
            "clockToleranceMs": if is_local { 0 } else { 2_000 },
            "canMint": can_mint,
            "owner": can_mint.then_some(OWNER),
            "tokenHelp": token_help,
            "operator": is_local,
            "needsKey": is_local || can_mint,
            "advice": (!is_local).then_some(
                "Only a local stack can be operated from here: a page in a browser should have no AWS credentials. \
                 Times to stored are off by the difference between the clock of this machine and that of AWS, in both \
                 designs alike."
            ),
        })
    }
}

/// Rejects requests of other pages, and adds the headers that keep this one to itself.
async fn guard(State(server): State<Shared>, request: Request, next: Next) -> Response {
    let mut response = if server.allows(request.headers()) {
        next.run(request).await
    } else {
        ErrorResponse(StatusCode::FORBIDDEN, "This server serves its own page only.".to_owned())
            .into_response()
    };
    let policy =
        HeaderValue::from_str(&server.policy()).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn require_key(
    State(server): State<Shared>,
    headers: HeaderMap,
    request: Request,
    next: Next,
) -> Response {
    let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    if given == Some(server.key.as_str()) {
        next.run(request).await
    } else {
        let advice = "Open the console by the address that the terminal shows: its end is the key to this.";
        ErrorResponse(StatusCode::UNAUTHORIZED, advice.to_owned()).into_response()
    }
}

/// Reads a file of the page's folder, or the client, which the page uses. It does so anew each time: whoever changes the
/// page reloads it.
fn file(name: &str) -> Response {
    let kind = match name.rsplit_once('.') {
        Some((stem, _)) if !stem.bytes().all(|byte| byte.is_ascii_lowercase()) => None,
        Some((_, "html")) => Some("text/html; charset=utf-8"),
        Some((_, "css")) => Some("text/css; charset=utf-8"),
        Some((_, "js")) => Some("text/javascript; charset=utf-8"),
        Some((_, "svg")) => Some("image/svg+xml"),
        _ => None,
    };
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(if name == "intake.js" { "../client" } else { "page" });
    match (kind, std::fs::read(folder.join(name))) {
        (Some(kind), Ok(content)) => ([(CONTENT_TYPE, kind)], content).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn config(State(server): State<Shared>) -> Json<Value> {
    Json(server.config())
}

#[derive(Deserialize)]
struct TokenRequest {
    owner: String,
}

async fn token(
    State(server): State<Shared>,
    Json(TokenRequest { owner }): Json<TokenRequest>,
) -> Result<Json<Value>, ErrorResponse> {
    let Description { token_issuer: Some(issuer), token_audience: Some(audience), .. } = &server.description
    else {
        return Err(wrong("The stack does not name the issuer that it trusts."));
    };
    let key = server
        .development_key
        .as_ref()
        .ok_or_else(|| wrong("The stack does not trust the development key."))?;
    let owner = Owner::parse(owner).map_err(|error| wrong(&error.to_string()))?;
    Ok(Json(json!({ "token": key.mint(issuer, audience, owner.as_str(), TOKEN_LIFETIME) })))
}

async fn operate(
    State(server): State<Shared>,
    Json(command): Json<Command>,
) -> Result<Json<Value>, ErrorResponse> {
    // Without an operator, its route does not exist.
    let operator = server.operator.as_ref().ok_or_else(|| wrong("Only a local stack can be operated."))?;
    Ok(Json(operator.run(command).await?))
}
