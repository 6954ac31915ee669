//! The domain of Intake: what a message is, what may become of it, where it is kept and who is told.
//!
//! What a message is and may become knows nothing of Lambda, API Gateway or SQS: the functions translate.
//! What the functions behind the REST API share of that translation is in [`rest`], which only they use.

#[cfg(feature = "stores")]
pub mod aws;
pub mod configuration;
#[cfg(feature = "stores")]
pub mod connections;
pub mod message;
#[cfg(feature = "stores")]
pub mod messages;
pub mod metrics;
pub mod notification;
pub mod problem;
#[cfg(feature = "rest")]
pub mod rest;
pub mod state;
pub mod telemetry;
