//! The two tables, and why one of them could not be read or written.

pub mod connections;
mod error;
pub mod messages;

pub use self::{connections::Connections, error::StoreError, messages::Messages};
