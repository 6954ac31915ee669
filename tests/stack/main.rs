//! The deployed stack, from outside.
//!
//! All tests share one stack and run side by side, so each has owners and ids of its own, and none looks
//! at a queue or a table as a whole. None sleeps for a guess: they wait for what they need to see. Those that are
//! marked as ignored need the stack for themselves, before all others or after them.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "this crate is nothing but tests")]

mod afterwards;
mod bad_bodies;
mod bad_ids;
mod connections;
mod dead_letters;
mod foreign_records;
mod gateway;
mod injection;
mod logs;
mod metrics;
mod owners;
mod payloads;
mod permissions;
mod pushes;
mod queue_way;
mod redelivery;
mod redrive;
mod states;
mod sync_way;
mod tokens;
