//! What the tests and the tools have in common: clients of a deployed stack, the contracts that its responses are checked
//! against, and events.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "all of it only runs in tests")]

pub mod contract;
pub mod events;
pub mod stack;
