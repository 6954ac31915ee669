//! How it happens on AWS: the code that functions share to read requests and records, use the tables and push to sockets.
//!
//! What a message is, and what it can end as, is decided in `intake_domain`; this crate carries it out. In the order in
//! which a queued message meets them:
//!
//! 1. [`record`]: a record of a batch is parsed into a [`delivery`].
//! 2. [`storing`]: a set of messages is stored in [`tables`], in as few requests as possible, in rounds until a deadline
//!    ([`schedule`]).
//! 3. [`settling`]: their outcomes become findable by a look-up.
//! 4. [`push`]: their owners are notified, which means that an event is pushed to each of their sockets.
//! 5. [`visibility`]: what is not settled is hidden until it is to be delivered again.
//!
//! The functions behind the REST API share [`rest`] and [`problem`]. Every function uses [`configuration`],
//! [`telemetry`] and [`metrics`], and nearly every one the clients of [`aws`].

#[cfg(feature = "aws")]
pub mod aws;
pub mod configuration;
#[cfg(feature = "aws")]
pub mod delivery;
pub mod metrics;
#[cfg(feature = "rest")]
pub mod problem;
#[cfg(feature = "aws")]
pub mod push;
#[cfg(feature = "aws")]
pub mod record;
#[cfg(feature = "rest")]
pub mod rest;
#[cfg(feature = "aws")]
mod rounds;
#[cfg(feature = "aws")]
pub mod schedule;
#[cfg(feature = "aws")]
pub mod settling;
#[cfg(feature = "aws")]
pub mod storing;
#[cfg(feature = "aws")]
pub mod tables;
pub mod telemetry;
#[cfg(feature = "aws")]
pub mod visibility;
