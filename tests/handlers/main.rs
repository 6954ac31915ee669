//! Each function's handler, against a real DynamoDB endpoint in the test process, behind a proxy that makes the
//! faults, and a real HTTP endpoint for pushes.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "this crate is nothing but tests")]

mod alarms;
mod authorizer;
mod bulk;
mod dead_letter_recorder;
mod fixtures;
mod matrix;
mod model;
mod notifications;
// The limit is one of Linux, where the functions run.
#[cfg(target_os = "linux")]
mod out_of_memory;
mod process_faults;
mod queue_consumer;
mod receipts;
mod redelivery;
mod redrive;
mod sent;
mod shown_events;
mod starting;
mod status_lookup;
mod sync_insert;
mod websocket;
