//! The domain of Intake: messages, their states, the tables that keep them, and the notifications to their owners.
//!
//! Messages and states know nothing of Lambda, API Gateway or SQS: the functions translate. What the functions
//! behind the REST API share of that translation is in [`rest`], which only they use.

#[cfg(feature = "stores")]
pub mod aws;
pub mod configuration;
pub mod message;
pub mod metrics;
pub mod notification;
pub mod problem;
#[cfg(feature = "rest")]
pub mod rest;
pub mod state;
#[cfg(feature = "stores")]
pub mod store;
pub mod telemetry;
