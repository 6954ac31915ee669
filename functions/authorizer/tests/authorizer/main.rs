//! The authorizer from outside: tokens, events, and keys that are fetched from a server.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "all of this is tests, also what clippy does not see as such"
)]

mod events;
mod fetched_keys;
mod key_server;
mod key_sets;
mod properties;
mod signing;
mod tokens;
