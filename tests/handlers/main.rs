//! Each function's handler, against a real DynamoDB endpoint in the test process, reached through a proxy
//! that makes the faults, and a real HTTP endpoint for pushes.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "this crate is nothing but tests")]

mod authorizer;
mod matrix;
mod model;
// The limit is that of Linux, and so are the functions.
#[cfg(target_os = "linux")]
mod out_of_memory;
mod process_faults;
mod queue_consumer;
mod shown_events;
mod starting;
mod status_lookup;
mod sync_insert;
mod websocket;
