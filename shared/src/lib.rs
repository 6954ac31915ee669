//! The domain of Intake: what a message is, what may become of it, where it is kept and who is told.
//!
//! Nothing here knows of Lambda, API Gateway or SQS: the functions translate between those and this.

#[cfg(feature = "stores")]
pub mod aws;
pub mod configuration;
#[cfg(feature = "stores")]
pub mod connections;
pub mod message;
#[cfg(feature = "stores")]
pub mod messages;
pub mod notification;
pub mod problem;
pub mod state;
pub mod telemetry;
