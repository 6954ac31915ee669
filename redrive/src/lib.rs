//! Moves dead-lettered messages back into their queue, and can lose none: a message is deleted from the dead-letter
//! queue only after the queue has confirmed it. Whatever fails in between leaves it in both queues, and Intake's
//! consumer stores it once.
//!
//! SQS has `start-message-move-task` for this. What it cannot do, and this can:
//!
//! - list what is there, with owner, id and age, and change nothing (`--dry-run`);
//! - move at most N messages (`--max`);
//! - leave unattributed records, which the consumer could only fail again;
//! - pass the first receipt on, so that the client's receipt still leads to the outcome;
//! - run on the local emulator, which has no move task;
//! - assume the stack's role, the only one besides the gateway's that may send to the queue.

pub mod connection;
pub mod dead_letter;
pub mod error;
pub mod run;
