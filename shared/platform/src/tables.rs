//! The two tables, and why one of them could not be read or written.
//!
//! The table of messages has two kinds of items, told apart by their keys: the current state of a message
//! ([`Messages`]), and the outcome of a request under its receipt ([`Outcomes`]). They share a table because a look-up
//! by receipt reads both in one request.

pub mod connections;
mod error;
mod item;
pub mod messages;
pub mod outcomes;

pub use self::{connections::Connections, error::TableError, messages::Messages, outcomes::Outcomes};
