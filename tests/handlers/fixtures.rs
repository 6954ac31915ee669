//! What the tests have in common: a database in the process, with faults on demand; an endpoint for pushes; a queue; a
//! consumer that uses them.

pub(crate) mod captured;
pub(crate) mod consumer;
pub(crate) mod database;
pub(crate) mod events;
pub(crate) mod pushes;
pub(crate) mod queue;
