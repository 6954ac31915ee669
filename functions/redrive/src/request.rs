//! What an operator asks for.

use serde_json::Value;
use thiserror::Error;

/// Which dead letters to move. Without any member: all but unattributed records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Only look: send and delete nothing.
    pub dry_run: bool,
    /// How many letters to move at most.
    pub max: Option<usize>,
    /// Those of this owner only.
    pub owner: Option<String>,
    /// Those with this receipt only, also if they are unattributed.
    pub receipt: Option<String>,
}

/// Why an event is no request. It names the member.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// It is no JSON object.
    #[error("the event is a JSON object, such as {{}} or {{\"dryRun\":true}}")]
    NoObject,
    /// A member is not known.
    #[error("{0} is unknown: the members are dryRun, max, owner and receipt")]
    Unknown(String),
    /// A member has a value that it cannot have.
    #[error("{member} is {wanted}, not {value}")]
    Wrong {
        /// Its name.
        member: &'static str,
        /// What it has to be.
        wanted: &'static str,
        /// What it is.
        value: Value,
    },
}

impl Request {
    /// Reads an event.
    ///
    /// # Errors
    /// [`RequestError`] that names the member.
    pub fn parse(event: &Value) -> Result<Self, RequestError> {
        let mut request = Self::default();
        for (name, value) in event.as_object().ok_or(RequestError::NoObject)? {
            let wrong = |member, wanted| RequestError::Wrong { member, wanted, value: value.clone() };
            let text = |member| value.as_str().map(str::to_owned).ok_or(wrong(member, "a text"));
            match name.as_str() {
                "dryRun" => request.dry_run = value.as_bool().ok_or(wrong("dryRun", "true or false"))?,
                "max" => {
                    let max = value.as_u64().and_then(|max| usize::try_from(max).ok());
                    let max = max.filter(|max| *max > 0);
                    request.max = Some(max.ok_or(wrong("max", "a whole number from 1 up"))?);
                }
                "owner" => request.owner = Some(text("owner")?),
                "receipt" => request.receipt = Some(text("receipt")?),
                _ => return Err(RequestError::Unknown(name.clone())),
            }
        }
        Ok(request)
    }
}
