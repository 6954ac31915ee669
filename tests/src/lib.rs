//! What the tests have in common: a database in the process, with faults on demand; an endpoint for pushes; a
//! consumer that uses both; clients of a deployed stack; and the contracts that its responses are checked against.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "all of it only runs in tests")]

pub mod consumer;
pub mod contract;
pub mod database;
pub mod events;
pub mod pushes;
pub mod queue;
pub mod stack;
