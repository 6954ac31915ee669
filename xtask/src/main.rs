//! `cargo xtask`: the one entry point for everything a developer does with Intake.

mod bench;
mod browser;
mod checks;
mod cli;
mod compare;
mod console;
mod deployment;
mod emulator;
mod environment;
mod failure;
mod function_log;
mod http;
mod interrupt;
mod lock;
mod process;
mod python;
mod redrive;
mod soak;
mod stack;
mod step;
mod test;
mod up;
mod verify;
mod workspace;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
