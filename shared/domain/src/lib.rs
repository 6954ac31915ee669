//! The domain of Intake: what a message is, what it can end as, and what its owner gets to know of that.
//!
//! In reading order:
//!
//! 1. [`message`]: the parts of a message, as types that can only hold valid values.
//! 2. [`state`]: the state table. An incoming message has an *effect* on the one that is there, and from that follows
//!    its *outcome*.
//! 3. [`event`]: an outcome as an event for the owner.
//! 4. [`bulk`]: many messages in one request, cut up into single ones.
//!
//! This crate depends on no AWS crate, no Lambda and no HTTP, and Cargo keeps it so: everything here can be tested
//! without a database, and read without knowing one. How it happens on AWS is in `shared/platform`.

pub mod bulk;
pub mod event;
pub mod message;
pub mod state;
