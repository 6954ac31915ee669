//! The deployed stack, from outside.
//!
//! Each test needs the gateway, the queue, a role or the emulator's logs: what a function does by itself is tested in
//! `tests/handlers`.
//!
//! All tests share one stack and run side by side, so each has owners and ids of its own, and none looks at a queue or
//! a table as a whole. None sleeps: they wait for conditions. The ignored ones need the stack for themselves, before
//! all others or after them. The stack may be on AWS: the few tests that need it on this machine are listed, with the
//! reason, in `local_only.txt`.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "this crate is nothing but tests")]

mod afterwards;
mod bad_bodies;
mod bad_ids;
mod bulk;
mod cleanup;
mod connections;
mod dead_letters;
mod gateway;
mod injection;
mod logs;
mod metrics;
mod notifications;
mod owners;
mod payloads;
mod permissions;
mod probes;
mod queue_path;
mod redrive;
mod sync_path;
mod tokens;
