//! The two tables and their errors.
//!
//! The table of messages has two kinds of items, told apart by their keys: the current state of a message
//! ([`Messages`]), and the outcome of a request under its receipt ([`Outcomes`]). They share a table because a look-up
//! by receipt reads both in one request. DynamoDB deletes an item some time after its `expires_at`, if it has one.

pub mod connections;
mod error;
mod item;
pub mod messages;
pub mod outcomes;

pub use self::{connections::Connections, error::TableError, messages::Messages, outcomes::Outcomes};
