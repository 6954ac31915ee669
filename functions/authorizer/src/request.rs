//! The request of API Gateway: the event of a Lambda authorizer of type REQUEST.

use std::fmt;

use intake_platform::telemetry::CorrelationId;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::Denial;

/// The event of a REQUEST authorizer, of a REST API or of a WebSocket API's `$connect`
/// (Amazon API Gateway Developer Guide, "Input to an API Gateway Lambda authorizer").
///
/// Any JSON is accepted, and a member that is missing or has another shape counts as absent: a caller is denied for
/// the token, never for the form of the event.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Request(Value);

/// The API that sends the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// The REST API.
    Rest,
    /// The WebSocket API, when a client connects.
    WebSocket,
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rest => "rest",
            Self::WebSocket => "websocket",
        })
    }
}

impl Request {
    /// The API that sends the request. Only a WebSocket has a connection, and only API Gateway writes the context: a
    /// client cannot.
    pub fn api(&self) -> Api {
        if self.connection_id().is_some() { Api::WebSocket } else { Api::Rest }
    }

    /// The ARN of the method that is called; empty if the event has none.
    pub fn method_arn(&self) -> &str {
        self.0["methodArn"].as_str().unwrap_or_default()
    }

    /// Joins the log lines of the request.
    pub fn correlation_id(&self) -> Option<CorrelationId> {
        CorrelationId::parse(self.0["requestContext"]["extendedRequestId"].as_str()?)
    }

    /// The connection that is to be opened; none for the REST API.
    pub fn connection_id(&self) -> Option<&str> {
        self.0["requestContext"]["connectionId"].as_str()
    }

    /// The token, from the places where the API has it.
    ///
    /// # Errors
    /// [`Denial`] if there is none, more than one, or not one of scheme `Bearer` (RFC 6750).
    pub fn token(&self) -> Result<&str, Denial> {
        let token = match self.api() {
            Api::Rest => {
                let header = self.header("authorization")?.ok_or(Denial::NoToken)?;
                match header.split_once(' ') {
                    // Spaces and tabs alone: other white space is part of what was sent, and no part of a token.
                    Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                        token.trim_matches([' ', '\t'])
                    }
                    _ => return Err(Denial::NotBearer),
                }
            }
            Api::WebSocket => match (self.subprotocol_token()?, self.query_token()?) {
                (Some(token), None) | (None, Some(token)) => token,
                (None, None) => return Err(Denial::NoToken),
                (Some(_), Some(_)) => return Err(Denial::SeveralTokens),
            },
        };
        if token.is_empty() {
            return Err(Denial::NoToken);
        }
        Ok(token)
    }

    /// The token among the subprotocols that a client offers, the only header that a browser lets a script fill in. A
    /// header is not logged like a URL, and may be longer: API Gateway limits a URL to 4,096 characters.
    fn subprotocol_token(&self) -> Result<Option<&str>, Denial> {
        let offered: Vec<_> = self.subprotocols().collect();
        let mut tokens = offered.iter().filter_map(|one| one.strip_prefix("bearer."));
        match (tokens.next(), tokens.next()) {
            (None, _) => Ok(None),
            // A browser closes a socket for which none of the subprotocols that it offered is selected, and the token
            // must not be: it would stand in the response.
            (Some(_), None) if !offered.contains(&"intake") => Err(Denial::NoSubprotocol),
            (Some(token), None) => Ok(Some(token)),
            _ => Err(Denial::SeveralTokens),
        }
    }

    /// The subprotocols that a client offers: a list in one header, or in several (RFC 6455, section 11.3.4).
    fn subprotocols(&self) -> impl Iterator<Item = &str> {
        let is_wanted = |name: &str| name.eq_ignore_ascii_case("sec-websocket-protocol");
        let several = members(&self.0["multiValueHeaders"], is_wanted).filter_map(Value::as_array).flatten();
        let mut all = several.filter_map(Value::as_str).peekable();
        // `headers` has only the last of several values.
        let single = if all.peek().is_none() { Some(&self.0["headers"]) } else { None };
        let single = single.into_iter().flat_map(move |headers| members(headers, is_wanted));
        let lists = all.chain(single.filter_map(Value::as_str));
        lists.flat_map(|list| list.split(',')).map(|one| one.trim_matches([' ', '\t']))
    }

    fn query_token(&self) -> Result<Option<&str>, Denial> {
        only(&self.0["queryStringParameters"], &self.0["multiValueQueryStringParameters"], |name| {
            name == "token"
        })
    }

    fn header(&self, wanted: &str) -> Result<Option<&str>, Denial> {
        only(&self.0["headers"], &self.0["multiValueHeaders"], |name| name.eq_ignore_ascii_case(wanted))
    }
}

/// The one value of a header or parameter.
///
/// API Gateway keeps the last of several in `single` and all of them in `multi`. Several are denied: it caches the policy
/// under one of the values, which need not be the token that was verified.
fn only<'a>(
    single: &'a Value,
    multi: &Value,
    wanted: impl Fn(&str) -> bool,
) -> Result<Option<&'a str>, Denial> {
    let all = members(multi, &wanted).filter_map(Value::as_array).map(Vec::len).sum::<usize>();
    let mut values = members(single, &wanted).filter_map(Value::as_str);
    match (values.next(), values.next()) {
        (Some(value), None) if all <= 1 => Ok(Some(value)),
        (None, _) => Ok(None),
        _ => Err(Denial::SeveralTokens),
    }
}

fn members(map: &Value, wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = &Value> {
    map.as_object()
        .into_iter()
        .flat_map(Map::iter)
        .filter(move |(name, _)| wanted(name))
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(event: Value) -> Request {
        serde_json::from_value(event).expect("an event of any shape is accepted")
    }

    fn rest(headers: &Value) -> Request {
        request(json!({ "headers": headers, "requestContext": { "httpMethod": "PUT" } }))
    }

    fn websocket(parameters: &Value) -> Request {
        request(json!({
            "queryStringParameters": parameters,
            "requestContext": { "eventType": "CONNECT", "connectionId": "Aa1=" },
        }))
    }

    #[test]
    fn a_header_and_its_scheme_are_found_in_any_case() {
        for name in ["Authorization", "authorization", "AUTHORIZATION"] {
            for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER   a.b.c "] {
                let request = rest(&json!({ "Host": "x", name: value }));
                assert_eq!(request.token(), Ok("a.b.c"), "{name}: {value}");
            }
        }
    }

    #[test]
    fn white_space_other_than_spaces_and_tabs_is_no_separator() {
        for space in ["\u{2003}", "\u{a0}", "\u{85}", "\u{feff}", "\u{b}", "\u{c}"] {
            let around = format!("Bearer {space}a.b.c{space}");
            assert_eq!(rest(&json!({ "Authorization": around })).token(), Ok(&around[7..]), "{space:?}");
            let between = format!("Bearer{space}a.b.c");
            assert_eq!(
                rest(&json!({ "Authorization": between })).token(),
                Err(Denial::NotBearer),
                "{space:?}"
            );
        }
    }

    #[test]
    fn another_scheme_is_denied() {
        for value in ["Basic a.b.c", "a.b.c", "Bearer", "Bearera.b.c", "Token Bearer a.b.c", ""] {
            let request = rest(&json!({ "Authorization": value }));
            assert_eq!(request.token(), Err(Denial::NotBearer), "{value:?}");
        }
        assert_eq!(rest(&json!({ "Authorization": "Bearer  " })).token(), Err(Denial::NoToken));
    }

    #[test]
    fn each_api_reads_its_own_place_only() {
        let both = json!({
            "headers": { "Authorization": "Bearer from.the.header" },
            "queryStringParameters": { "token": "from.the.query" },
        });
        let mut to_rest = both.clone();
        to_rest["requestContext"] = json!({ "resourcePath": "/messages/{id}" });
        let mut to_websocket = both;
        to_websocket["requestContext"] = json!({ "connectionId": "Aa1=" });
        assert_eq!(request(to_rest).token(), Ok("from.the.header"));
        assert_eq!(request(to_websocket).token(), Ok("from.the.query"));

        let only_query = request(json!({ "queryStringParameters": { "token": "a.b.c" } }));
        assert_eq!(only_query.token(), Err(Denial::NoToken));
        let only_header = request(json!({
            "headers": { "Authorization": "Bearer a.b.c" },
            "requestContext": { "connectionId": "Aa1=" },
        }));
        assert_eq!(only_header.token(), Err(Denial::NoToken));
        assert_eq!(websocket(&json!({ "Token": "a.b.c" })).token(), Err(Denial::NoToken));
    }

    #[test]
    fn a_websocket_has_its_token_in_a_subprotocol_or_in_the_query() {
        let offering = |protocols: Value, parameters: Value| {
            request(json!({
                "headers": { "Sec-WebSocket-Protocol": protocols },
                "queryStringParameters": parameters,
                "requestContext": { "connectionId": "Aa1=" },
            }))
        };
        let none = || Value::Null;
        for protocols in ["intake, bearer.a.b.c", "bearer.a.b.c,intake", "\tbearer.a.b.c , intake"] {
            assert_eq!(offering(json!(protocols), none()).token(), Ok("a.b.c"), "{protocols:?}");
        }
        for protocols in ["", "intake", "a.b.c", "Bearer.a.b.c", "bearer", "intake, bearer."] {
            assert_eq!(offering(json!(protocols), none()).token(), Err(Denial::NoToken), "{protocols:?}");
        }
        let query = || json!({ "token": "a.b.c" });
        assert_eq!(offering(json!("intake"), query()).token(), Ok("a.b.c"));
        let both = offering(json!("intake, bearer.a.b.c"), query());
        assert_eq!(both.token(), Err(Denial::SeveralTokens));
        let twice = offering(json!("intake, bearer.a.b.c, bearer.a.b.c"), none());
        assert_eq!(twice.token(), Err(Denial::SeveralTokens));
        for alone in ["bearer.a.b.c", "bearer.a.b.c, Intake", "bearer.a.b.c, intake2"] {
            assert_eq!(offering(json!(alone), none()).token(), Err(Denial::NoSubprotocol), "{alone}");
        }
        let lines = |lines: Value| {
            request(json!({
                "headers": { "Sec-WebSocket-Protocol": lines[lines.as_array().map_or(0, Vec::len) - 1] },
                "multiValueHeaders": { "Sec-WebSocket-Protocol": lines },
                "requestContext": { "connectionId": "Aa1=" },
            }))
        };
        assert_eq!(lines(json!(["intake", "bearer.a.b.c"])).token(), Ok("a.b.c"));
        assert_eq!(lines(json!(["bearer.a.b.c", "other, intake"])).token(), Ok("a.b.c"));
        assert_eq!(lines(json!(["intake, bearer.a", "bearer.b"])).token(), Err(Denial::SeveralTokens));
    }

    #[test]
    fn several_tokens_are_denied() {
        let spelled_twice = rest(&json!({ "Authorization": "Bearer a", "authorization": "Bearer b" }));
        assert_eq!(spelled_twice.token(), Err(Denial::SeveralTokens));

        let sent_twice = request(json!({
            "headers": { "Authorization": "Bearer b" },
            "multiValueHeaders": { "Authorization": ["Bearer a", "Bearer b"] },
        }));
        assert_eq!(sent_twice.token(), Err(Denial::SeveralTokens));

        let in_the_query = request(json!({
            "queryStringParameters": { "token": "b" },
            "multiValueQueryStringParameters": { "token": ["a", "b"] },
            "requestContext": { "connectionId": "Aa1=" },
        }));
        assert_eq!(in_the_query.token(), Err(Denial::SeveralTokens));
    }

    #[test]
    fn a_member_of_another_shape_counts_as_absent() {
        for odd in [json!(null), json!([]), json!("Bearer a.b.c"), json!(7)] {
            assert_eq!(rest(&odd).token(), Err(Denial::NoToken));
            assert_eq!(rest(&json!({ "Authorization": odd })).token().is_ok(), odd.is_string());
            let event = json!({
                "methodArn": odd, "headers": odd, "multiValueHeaders": odd, "requestContext": odd,
                "queryStringParameters": odd, "multiValueQueryStringParameters": odd,
            });
            assert_eq!(request(event).token(), Err(Denial::NoToken));
            assert_eq!(request(odd).token(), Err(Denial::NoToken));
        }
    }
}
