//! The program of the console. `cargo xtask up` and `cargo xtask console` run it.

use std::{
    io::{self, Read, Write},
    path::PathBuf,
    process::{self, ExitCode},
    thread,
};

use clap::Parser;
use console::{Console, Description};

/// Serves the console on 127.0.0.1 until its standard input is closed. It prints the address.
#[derive(Parser, Debug)]
struct Arguments {
    /// The file that describes the stack
    #[arg(long, value_name = "FILE")]
    stack: PathBuf,
    /// The port to listen on, or any free one if that is taken
    #[arg(long, default_value = "0")]
    port: u16,
}

#[tokio::main]
async fn main() -> ExitCode {
    end_with_input();
    let arguments = Arguments::parse();
    let start = async { Console::start(Description::read(&arguments.stack)?, arguments.port).await };
    match start.await {
        Ok(console) => {
            let _ = writeln!(io::stdout().lock(), "{}", console.url());
            console.run().await;
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr().lock(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Ends this process when the one that started it ends, however that ends.
fn end_with_input() {
    thread::spawn(|| {
        let _ = io::stdin().lock().read_to_end(&mut Vec::new());
        process::exit(0);
    });
}
