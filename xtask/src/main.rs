//! See the library: everything is there, so that the tests can use it too.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask::main()
}
