//! The environment variables of a function, with errors that name the variable.

use std::{env, str::FromStr};

use thiserror::Error;

/// Why a function cannot start. It names the variable, never its value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigurationError {
    /// The variable is not set, or empty.
    #[error("the environment variable {0} is missing")]
    Missing(String),
    /// The variable is set to something that cannot be used.
    #[error("the environment variable {name} is not {expected}")]
    Invalid {
        /// The variable.
        name: String,
        /// What it has to be.
        expected: String,
    },
}

/// The value of a variable that must be set.
///
/// # Errors
/// [`ConfigurationError::Missing`] if it is not set, or empty.
pub fn required(name: &str) -> Result<String, ConfigurationError> {
    optional(name).ok_or_else(|| ConfigurationError::Missing(name.to_owned()))
}

/// The value of a variable; none if it is not set, or empty.
pub fn optional(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The value of a variable that must hold a whole number.
///
/// # Errors
/// [`ConfigurationError`] if it is missing or no such number.
pub fn number<T: FromStr>(name: &str) -> Result<T, ConfigurationError> {
    required(name)?.parse().map_err(|_| ConfigurationError::Invalid {
        name: name.to_owned(),
        expected: "a whole number in range".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_what_is_missing_or_wrong() {
        let missing = required("INTAKE_NOT_SET").expect_err("it is not set");
        assert_eq!(missing.to_string(), "the environment variable INTAKE_NOT_SET is missing");
        let invalid = number::<u32>("CARGO_PKG_NAME").expect_err("not a number");
        assert_eq!(
            invalid.to_string(),
            "the environment variable CARGO_PKG_NAME is not a whole number in range"
        );
    }
}
