//! Requests and answers of the REST API, as the functions behind it share them.

use lambda_http::{
    Body, Error, Request, RequestExt, Response,
    aws_lambda_events::apigw::ApiGatewayProxyRequestContext,
    http::{
        HeaderValue, StatusCode,
        header::{
            ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, CONTENT_TYPE,
            LOCATION, RETRY_AFTER, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
        },
    },
    request::RequestContext,
};
use serde::Serialize;

use crate::{
    configuration::{ConfigurationError, required},
    message::{Key, MessageId, Owner},
    problem::Problem,
    store::StoreError,
    telemetry::{CorrelationId, with_causes},
};

/// Whose message a request is about, by the authorizer's word alone, and which, by its path.
///
/// # Errors
/// A [`Problem`]: the id is illegal, or the request came past the authorizer.
pub fn key(request: &Request) -> Result<Key, Problem> {
    let Some(owner) = owner(request) else {
        tracing::error!("the request has no owner: is the authorizer attached to this method?");
        return Err(Problem::internal());
    };
    let path = request.path_parameters();
    let id = path.first("id").unwrap_or_default();
    let id = MessageId::parse(id).map_err(|error| Problem::invalid_id(error.to_string()))?;
    Ok(Key { id, owner })
}

fn owner(request: &Request) -> Option<Owner> {
    let principal = context(request)?.authorizer.fields.get("principalId")?.as_str()?;
    Owner::parse(principal).ok()
}

/// The path of a request as its caller sees it, with the stage or what a custom domain has in its place.
pub fn path(request: &Request) -> &str {
    let path = context(request).and_then(|context| context.path.as_deref());
    path.unwrap_or_else(|| request.raw_http_path())
}

/// What the log knows the request by.
pub fn correlation_id(request: &Request) -> Option<CorrelationId> {
    CorrelationId::parse(context(request)?.other.get("extendedRequestId")?.as_str()?)
}

fn context(request: &Request) -> Option<&ApiGatewayProxyRequestContext> {
    // The only event format that is compiled in is that of REST APIs.
    match request.request_context_ref()? {
        RequestContext::ApiGatewayV1(context) => Some(context),
        _ => None,
    }
}

/// The problem to answer when the table could not be read or written. The log gets the cause.
pub fn store_problem(error: &StoreError) -> Problem {
    if error.is_transient() {
        tracing::warn!(error = with_causes(error), "the table is not available");
        Problem::unavailable()
    } else {
        tracing::error!(error = with_causes(error), "the table cannot be used");
        Problem::internal()
    }
}

/// Turns outcomes into answers that a browser of the allowed origin may read.
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

    /// A JSON answer.
    ///
    /// # Errors
    /// When `body` cannot be written as JSON.
    pub fn json(&self, status: StatusCode, body: &impl Serialize) -> Result<Response<Body>, Error> {
        self.answer(status, "application/json", body)
    }

    /// A JSON answer that says where the message is.
    ///
    /// # Errors
    /// When `body` cannot be written as JSON.
    pub fn json_at(
        &self,
        status: StatusCode,
        location: &str,
        body: &impl Serialize,
    ) -> Result<Response<Body>, Error> {
        let mut answer = self.json(status, body)?;
        answer.headers_mut().insert(LOCATION, HeaderValue::from_str(location)?);
        Ok(answer)
    }

    /// A problem; one that passes by itself says when to come back.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn problem(&self, problem: &Problem) -> Result<Response<Body>, Error> {
        let status = StatusCode::from_u16(problem.status)?;
        let mut answer = self.answer(status, Problem::CONTENT_TYPE, problem)?;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        Ok(answer)
    }

    fn answer(
        &self,
        status: StatusCode,
        content_type: &'static str,
        body: &impl Serialize,
    ) -> Result<Response<Body>, Error> {
        let answer = Response::builder()
            .status(status)
            .header(CONTENT_TYPE, content_type)
            .header(CACHE_CONTROL, "no-store")
            .header(STRICT_TRANSPORT_SECURITY, "max-age=31536000")
            .header(X_CONTENT_TYPE_OPTIONS, "nosniff")
            .header(ACCESS_CONTROL_ALLOW_ORIGIN, &self.allowed_origin)
            .header(ACCESS_CONTROL_EXPOSE_HEADERS, "Location, Retry-After")
            .body(serde_json::to_string(body)?.into())?;
        Ok(answer)
    }
}
