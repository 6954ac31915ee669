//! The authorizer from outside: tokens, events, and keys that are fetched from a server.

mod events;
mod fetched_keys;
mod key_server;
mod key_sets;
mod properties;
mod providers;
pub(crate) mod signing;
mod tokens;
