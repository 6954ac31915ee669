//! Requests and responses of the REST API, as the functions behind it share them.

use intake_domain::message::{InvalidMessageId, Key, MessageId, Owner, id_text};
use lambda_http::{
    Adapter, Body, Error, LambdaEvent, Request, RequestExt, Response,
    aws_lambda_events::apigw::{ApiGatewayProxyRequest, ApiGatewayProxyRequestContext},
    http::{
        HeaderValue, StatusCode,
        header::{
            ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, CONTENT_TYPE, HOST,
            RETRY_AFTER, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
        },
    },
    request::{LambdaRequest, RequestContext},
    service_fn,
    tower::ServiceBuilder,
};
use serde::Serialize;

use crate::{
    configuration::{ConfigurationError, required},
    problem::Problem,
    tables::TableError,
    telemetry::{CorrelationId, with_causes},
};

/// Runs a function behind the REST API.
///
/// # Errors
/// If Lambda's runtime API fails, which ends the process.
pub async fn run<H, F>(handler: H) -> Result<(), Error>
where
    H: FnMut(Request) -> F,
    F: Future<Output = Result<Response<Body>, Error>> + Send,
{
    // As what a REST API sends: as a `LambdaRequest`, an event is read twice, first to find out where it ends.
    let service = ServiceBuilder::new()
        .map_request(|event: LambdaEvent<ApiGatewayProxyRequest>| {
            LambdaEvent::new(without_host(event.payload), event.context)
        })
        .service(Adapter::from(service_fn(handler)));
    lambda_http::lambda_runtime::run(service).await
}

/// An event without the host that its client has named.
///
/// `lambda_http` makes a URL of `Host` and `X-Forwarded-Proto`, and panics if it is none. Both are a client's, or those
/// of a proxy in front of it, and may be anything: `https,http` is usual. Without a host it reads neither. Nothing here
/// reads the URL.
pub fn without_host(mut event: ApiGatewayProxyRequest) -> LambdaRequest {
    event.headers.remove(HOST);
    event.request_context.domain_name = None;
    LambdaRequest::ApiGatewayV1(event)
}

/// The caller of a request, and the message that it is about.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The id in the path.
    pub id: Result<MessageId, InvalidMessageId>,
    /// Joins the request's log lines.
    pub correlation_id: Option<CorrelationId>,
    owner: Option<Owner>,
}

impl Caller {
    /// Reads the path and the authorizer's context of a request.
    pub fn of(request: &Request) -> Self {
        let id = MessageId::parse(request.path_parameters().first("id").unwrap_or_default());
        let Some(context) = context(request) else {
            return Self { id, correlation_id: None, owner: None };
        };
        let text = |value: Option<&'_ serde_json::Value>| value?.as_str().map(str::to_owned);
        let principal = text(context.authorizer.fields.get("principalId"));
        let extended_request_id = text(context.other.get("extendedRequestId"));
        Self {
            id,
            correlation_id: extended_request_id.as_deref().and_then(CorrelationId::parse),
            owner: principal.and_then(|principal| Owner::parse(principal).ok()),
        }
    }

    /// The owner, from the authorizer alone.
    ///
    /// # Errors
    /// A [`Problem`] if the request bypassed the authorizer.
    pub fn owner(&self) -> Result<&Owner, Problem> {
        self.owner.as_ref().ok_or_else(|| {
            tracing::error!("the request has no owner: is the authorizer attached to this method?");
            Problem::internal()
        })
    }

    /// The key of the message.
    ///
    /// # Errors
    /// A [`Problem`] if the id is illegal, or the request bypassed the authorizer.
    pub fn key(&self) -> Result<Key<'_>, Problem> {
        let owner = self.owner()?;
        let id = self.id.as_ref().map_err(|invalid| Problem::invalid_id(invalid.to_string()))?;
        Ok(Key { owner, id })
    }

    /// The text of the id in the path, legal or not.
    pub fn id_text(&self) -> &str {
        id_text(&self.id)
    }
}

fn context(request: &Request) -> Option<&ApiGatewayProxyRequestContext> {
    // The only event format that is compiled in is that of REST APIs.
    match request.request_context_ref()? {
        RequestContext::ApiGatewayV1(context) => Some(context),
        _ => None,
    }
}

/// The problem for a caller when the table could not be read or written. A transient error becomes `503` with this
/// detail, any other `500`. The log gets the cause, which is none of the caller's business.
pub fn table_problem(error: &TableError, detail_if_transient: &str) -> Problem {
    if error.is_transient() {
        tracing::warn!(error = with_causes(error), "the table is unavailable");
        Problem::unavailable(detail_if_transient)
    } else {
        tracing::error!(error = with_causes(error), "the table cannot be used");
        Problem::internal()
    }
}

/// Makes responses that a browser of the allowed origin may read.
#[derive(Clone, Debug)]
pub struct Responses {
    allowed_origin: HeaderValue,
}

impl Responses {
    /// Reads `ALLOWED_ORIGIN`.
    ///
    /// # Errors
    /// [`ConfigurationError`] if it is missing or cannot stand in a header.
    pub fn from_env() -> Result<Self, ConfigurationError> {
        let name = "ALLOWED_ORIGIN";
        Self::new(&required(name)?).ok_or_else(|| ConfigurationError::Invalid {
            name: name.to_owned(),
            expected: "an origin, such as https://app.example.com".to_owned(),
        })
    }

    /// Responses for one origin, or `*` for any; none if the text cannot stand in a header.
    pub fn new(allowed_origin: &str) -> Option<Self> {
        let allowed_origin = HeaderValue::from_str(allowed_origin).ok()?;
        Some(Self { allowed_origin })
    }

    /// A JSON response.
    ///
    /// # Errors
    /// When `body` cannot be written as JSON.
    pub fn json(&self, status: StatusCode, body: &impl Serialize) -> Result<Response<Body>, Error> {
        self.response(status, "application/json", body)
    }

    /// A problem, which is also logged; a `503` has `Retry-After`.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn problem(&self, caller: &Caller, problem: &Problem) -> Result<Response<Body>, Error> {
        tracing::info!(
            correlation_id = caller.correlation_id.as_deref(),
            status = problem.status,
            problem = problem.kind,
            "responded with a problem"
        );
        let status = StatusCode::from_u16(problem.status)?;
        let mut response = self.response(status, Problem::CONTENT_TYPE, problem)?;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            // The table recovers within seconds, and a caller waits longer each time.
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        Ok(response)
    }

    fn response(
        &self,
        status: StatusCode,
        content_type: &'static str,
        body: &impl Serialize,
    ) -> Result<Response<Body>, Error> {
        let response = Response::builder()
            .status(status)
            .header(CONTENT_TYPE, content_type)
            .header(CACHE_CONTROL, "no-store")
            .header(STRICT_TRANSPORT_SECURITY, "max-age=31536000")
            .header(X_CONTENT_TYPE_OPTIONS, "nosniff")
            .header(ACCESS_CONTROL_ALLOW_ORIGIN, &self.allowed_origin)
            // The second is the correlation id, which API Gateway adds: a caller can name it to an operator.
            .header(ACCESS_CONTROL_EXPOSE_HEADERS, "Retry-After, x-amz-apigw-id")
            .body(serde_json::to_string(body)?.into())?;
        Ok(response)
    }
}
