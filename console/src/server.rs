//! The HTTP server of the page.
//!
//! Any web page can make a browser send requests to 127.0.0.1. So a request with another `Host` (a name that was made
//! to point here) or another `Origin` is rejected, and whatever acts on the stack needs the key, which is in the
//! address that the terminal shows and in no cookie.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN},
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use development_key::DevelopmentKey;
use intake_domain::message::Owner;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Description, Error, operator::Operator, relay};

/// The files of the page, from its folder, with their types. Nothing else is served.
const FILES: [(&str, &str); 15] = [
    // The client of the API: the page is one of its users.
    ("../../client/intake.js", JAVASCRIPT),
    ("index.html", "text/html; charset=utf-8"),
    ("style.css", "text/css; charset=utf-8"),
    ("icon.svg", "image/svg+xml"),
    ("api.js", JAVASCRIPT),
    ("chart.js", JAVASCRIPT),
    ("details.js", JAVASCRIPT),
    ("dom.js", JAVASCRIPT),
    ("flow.js", JAVASCRIPT),
    ("guide.js", JAVASCRIPT),
    ("list.js", JAVASCRIPT),
    ("main.js", JAVASCRIPT),
    ("messages.js", JAVASCRIPT),
    ("operator.js", JAVASCRIPT),
    ("sending.js", JAVASCRIPT),
];
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

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
        Self(StatusCode::BAD_GATEWAY, error.to_string())
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
        let acting = Router::new().route("/token", post(token));
        let acting = match self.operator {
            None => acting,
            Some(_) => acting
                .route("/operator/state", get(state))
                .route("/operator/capacity", put(capacity))
                .route("/operator/outage", put(outage).delete(end_outage))
                .route("/operator/kill-consumer", post(kill_consumer))
                .route("/operator/dead-letters", get(dead_letters))
                .route("/operator/redrive", post(redrive)),
        };
        let shared = Arc::new(self);
        let acting = acting.route_layer(middleware::from_fn_with_state(Arc::clone(&shared), require_key));
        let mut router = acting.route("/config.json", get(config));
        for (name, kind) in FILES {
            let file_name = name.rsplit('/').next().unwrap_or(name);
            let path = if name == "index.html" { "/".to_owned() } else { format!("/{file_name}") };
            router = router.route(&path, get(async move || file(name, kind)));
        }
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

/// Reads a file of the page anew each time: whoever changes the page reloads it.
fn file(name: &str, kind: &'static str) -> Response {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("page").join(name);
    match std::fs::read(path) {
        Ok(content) => ([(CONTENT_TYPE, kind)], content).into_response(),
        Err(error) => ErrorResponse(StatusCode::NOT_FOUND, error.to_string()).into_response(),
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

impl Server {
    fn operator(&self) -> Result<&Operator, ErrorResponse> {
        // Without one, its routes do not exist.
        self.operator.as_ref().ok_or_else(|| wrong("Only a local stack can be operated."))
    }
}

async fn state(State(server): State<Shared>) -> Result<Json<Value>, ErrorResponse> {
    Ok(Json(server.operator()?.state().await?))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UnitsPerSecond {
    units_per_second: Option<f64>,
}

async fn capacity(
    State(server): State<Shared>,
    Json(UnitsPerSecond { units_per_second }): Json<UnitsPerSecond>,
) -> Result<StatusCode, ErrorResponse> {
    if units_per_second.is_some_and(|units| !(1.0..=40_000.0).contains(&units)) {
        return Err(wrong("A capacity is 1 to 40,000 units a second, or null for no limit."));
    }
    server.operator()?.limit(units_per_second);
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct Seconds {
    seconds: u64,
}

async fn outage(
    State(server): State<Shared>,
    Json(Seconds { seconds }): Json<Seconds>,
) -> Result<StatusCode, ErrorResponse> {
    if !(1..=600).contains(&seconds) {
        return Err(wrong("An outage takes 1 to 600 seconds."));
    }
    server.operator()?.begin_outage(Duration::from_secs(seconds));
    Ok(StatusCode::NO_CONTENT)
}

async fn end_outage(State(server): State<Shared>) -> Result<StatusCode, ErrorResponse> {
    server.operator()?.end_outage();
    Ok(StatusCode::NO_CONTENT)
}

async fn kill_consumer(State(server): State<Shared>) -> Result<Json<Value>, ErrorResponse> {
    Ok(Json(server.operator()?.kill_consumer().await?))
}

async fn dead_letters(State(server): State<Shared>) -> Result<Json<Value>, ErrorResponse> {
    Ok(Json(server.operator()?.dead_letters().await?))
}

async fn redrive(State(server): State<Shared>) -> Result<Json<Value>, ErrorResponse> {
    Ok(Json(server.operator()?.redrive().await?))
}
