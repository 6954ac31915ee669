//! Puts dead-lettered messages back into their queue, without being able to lose one: each is deleted from the
//! dead-letter queue only after the queue has confirmed that it has it. Whatever goes wrong in between leaves
//! it in both, and Intake's consumer makes the second copy harmless.
//!
//! SQS can redrive by itself (`StartMessageMoveTask`), but tells nothing of single messages, moves those that
//! name nobody too, and does not exist in local emulators.

pub mod connection;
pub mod letter;
pub mod problem;
pub mod queues;
pub mod run;
