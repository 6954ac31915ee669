//! `cargo xtask`: the one door for everything a developer does with Intake.
//!
//! It is a library for the sake of the end-to-end tests, which sign tokens with [`token`].

mod bench;
mod checks;
mod cli;
mod cost;
mod deployment;
mod emulator;
mod environment;
mod failure;
mod function_log;
mod http;
mod interrupt;
mod lock;
mod permissions;
mod process;
mod python;
mod redrive;
mod soak;
mod stack;
mod step;
mod test;
pub mod token;
mod up;
mod workspace;

pub use cli::main;
pub use failure::Failure;
