//! The configuration of the authorizer, from its environment.

use intake_platform::configuration::{ConfigurationError, optional, required};

use crate::{Authorizer, key_source::KeySource, token::TokenVerifier};

/// The variable with the issuers (`iss`) whose tokens are accepted, separated by commas.
pub const ISSUER: &str = "TOKEN_ISSUER";
/// The variable with the audiences (`aud`) of which a token must be meant for one, separated by commas.
pub const AUDIENCE: &str = "TOKEN_AUDIENCE";
/// The variable with the scope that a token must have; empty for none.
pub const SCOPE: &str = "TOKEN_SCOPE";
/// The variable with the issuer's public keys: a JSON Web Key Set (RFC 7517).
pub const JWKS: &str = "TOKEN_JWKS";
/// The variable with the `https` address of the issuer's JSON Web Key Set.
pub const JWKS_URL: &str = "TOKEN_JWKS_URL";

/// Builds the authorizer from the environment variables of this module.
///
/// # Errors
/// [`ConfigurationError`], which names the variable, if one is missing or cannot be used.
pub fn from_env() -> Result<Authorizer, ConfigurationError> {
    let (issuers, audiences, scope) = (required(ISSUER)?, required(AUDIENCE)?, optional(SCOPE));
    let tokens = TokenVerifier::new(
        &listed(ISSUER, &issuers)?,
        &listed(AUDIENCE, &audiences)?,
        scope.as_deref().map(str::trim).filter(|scope| !scope.is_empty()),
    );
    let keys = key_source(optional(JWKS), optional(JWKS_URL))?;
    Ok(Authorizer::new(tokens, keys))
}

/// The elements of a list that is separated by commas. An empty element, which a comma too many makes, is none: it must
/// not become an audience that a token could name.
///
/// # Errors
/// [`ConfigurationError`] if there is no element.
pub fn listed<'a>(name: &str, list: &'a str) -> Result<Vec<&'a str>, ConfigurationError> {
    let elements: Vec<_> = list.split(',').map(str::trim).filter(|element| !element.is_empty()).collect();
    if elements.is_empty() { Err(invalid(name, "a list with an element")) } else { Ok(elements) }
}

/// Where the keys come from: a key set or its address, and exactly one of them.
///
/// # Errors
/// [`ConfigurationError`] if there is none or both, if the key set is not one or holds no key that
/// can be used, or if the address is not one of `https`.
pub fn key_source(jwks: Option<String>, url: Option<String>) -> Result<KeySource, ConfigurationError> {
    match (jwks, url) {
        (Some(jwks), None) => KeySource::inline(&jwks).ok_or_else(|| {
            invalid(
                JWKS,
                "a JSON Web Key Set with a key for RS256 (2048 bits or more), ES256 or EdDSA (Ed25519)",
            )
        }),
        (None, Some(url)) => KeySource::remote(&url).ok_or_else(|| invalid(JWKS_URL, "an https:// address")),
        (Some(_), Some(_)) => Err(invalid(JWKS_URL, &format!("empty, as it has to be while {JWKS} is set"))),
        (None, None) => Err(ConfigurationError::Missing(format!("{JWKS} or {JWKS_URL}"))),
    }
}

fn invalid(name: &str, expected: &str) -> ConfigurationError {
    ConfigurationError::Invalid { name: name.to_owned(), expected: expected.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USABLE: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"one",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    const ADDRESS: &str = "https://issuer.example/.well-known/jwks.json";

    fn error(jwks: Option<&str>, url: Option<&str>) -> String {
        match key_source(jwks.map(str::to_owned), url.map(str::to_owned)) {
            Ok(_) => panic!("{jwks:?} and {url:?} were accepted"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_list_has_elements_that_are_not_empty() {
        assert_eq!(listed(AUDIENCE, "intake").as_deref(), Ok(&["intake"][..]));
        assert_eq!(listed(AUDIENCE, " web, ,mobile,").as_deref(), Ok(&["web", "mobile"][..]));
        for empty in [",", " ", " , "] {
            let error = listed(AUDIENCE, empty).expect_err("no element").to_string();
            assert_eq!(error, "the environment variable TOKEN_AUDIENCE is not a list with an element");
        }
    }

    #[test]
    fn a_key_set_or_its_address_is_accepted() {
        assert!(key_source(Some(USABLE.to_owned()), None).is_ok());
        assert!(key_source(None, Some(ADDRESS.to_owned())).is_ok());
    }

    #[test]
    fn none_or_both_is_an_error_that_names_the_variables() {
        assert_eq!(error(None, None), "the environment variable TOKEN_JWKS or TOKEN_JWKS_URL is missing");
        assert_eq!(
            error(Some(USABLE), Some(ADDRESS)),
            "the environment variable TOKEN_JWKS_URL is not empty, as it has to be while TOKEN_JWKS is set"
        );
    }

    #[test]
    fn a_key_set_that_cannot_be_used_is_an_error_that_names_the_variable() {
        for jwks in ["not json", "[]", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#] {
            let error = error(Some(jwks), None);
            assert!(error.starts_with("the environment variable TOKEN_JWKS is not "), "{error}");
        }
    }

    #[test]
    fn an_address_without_encryption_is_an_error_that_names_the_variable() {
        for url in [
            "http://issuer.example/jwks.json",
            "issuer.example/jwks.json",
            "file:///etc/jwks.json",
            "https://",
            "https:///jwks.json",
            "/jwks.json",
            "",
        ] {
            assert_eq!(
                error(None, Some(url)),
                "the environment variable TOKEN_JWKS_URL is not an https:// address",
                "{url}"
            );
        }
    }
}
