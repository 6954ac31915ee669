//! The two tables, and why one of them could not be read or written.

pub mod connections;
mod error;
mod item;
pub mod messages;
pub mod outcomes;

pub use self::{connections::Connections, error::StoreError, messages::Messages, outcomes::Outcomes};
