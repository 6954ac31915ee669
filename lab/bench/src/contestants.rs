//! Who is measured, and what starts each as Lambda would.

use std::{
    fmt, fs,
    io::Write,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::DeflateEncoder};
use serde::Serialize;

use crate::Failure;

/// What a function does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Function {
    SyncInsert,
    QueueConsumer,
    StatusLookup,
    Websocket,
    Authorizer,
}

/// Who does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Contestant {
    Intake,
    RustDefault,
    Python,
    Node,
    HandSigned,
    RuntimeFloor,
}

impl Contestant {
    /// Whether it is a program of its own that valgrind can look into. The counts of interpreters and of their
    /// compilers mean little and do not repeat.
    pub(crate) fn is_native(self) -> bool {
        !matches!(self, Self::Python | Self::Node)
    }
}

impl fmt::Display for Function {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

impl fmt::Display for Contestant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

/// A command that starts a function.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// Where its code is (`LAMBDA_TASK_ROOT`).
    pub(crate) folder: PathBuf,
    /// What Lambda calls `_HANDLER`.
    pub(crate) handler: &'static str,
    /// The file whose size is measured; none if the code has no single file.
    pub(crate) code: Option<PathBuf>,
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package)
}

/// The folder of everything that is built and written here.
pub(crate) fn scratch() -> PathBuf {
    root().join("target/bench")
}

/// What starts a contestant.
///
/// # Errors
/// If it was not built: `cargo xtask bench` builds it.
pub(crate) fn launch(function: Function, contestant: Contestant) -> Result<Launch, Failure> {
    let native = |folder: PathBuf| Launch {
        program: folder.join("bootstrap"),
        arguments: Vec::new(),
        code: Some(folder.join("bootstrap")),
        handler: "bootstrap",
        folder,
    };
    let peers = root().join("lab/bench/peers");
    let built = scratch().join("lambda");
    let launch = match contestant {
        Contestant::Intake => native(root().join(format!("target/lambda/{function}"))),
        Contestant::RustDefault => native(built.join(format!("rust-default-{function}"))),
        Contestant::HandSigned | Contestant::RuntimeFloor => native(built.join(contestant.to_string())),
        Contestant::Python => {
            let handler = match function {
                Function::QueueConsumer => "queue_consumer.handler",
                _ => "sync_insert.handler",
            };
            Launch {
                program: root().join("target/intake/venv-bench/bin/python"),
                arguments: ["-m", "awslambdaric", handler].map(str::to_owned).to_vec(),
                folder: peers.join("python"),
                handler,
                code: None,
            }
        }
        Contestant::Node => {
            let folder = scratch().join(format!("node/dist/{function}"));
            let runtime = peers.join("node/runtime.mjs").to_string_lossy().into_owned();
            Launch {
                program: find_program("node").ok_or("node was not found")?,
                arguments: vec![runtime, "index.handler".to_owned()],
                code: Some(folder.join("index.js")),
                handler: "index.handler",
                folder,
            }
        }
    };
    for file in std::iter::once(&launch.program).chain(&launch.code) {
        if !file.exists() {
            return Err(format!("{} is missing: `cargo xtask bench` builds it", file.display()).into());
        }
    }
    Ok(launch)
}

/// A program on this machine.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// The size of the code in bytes, as a file and deflated as in a zip.
pub(crate) fn sizes(launch: &Launch) -> Result<Option<(u64, u64)>, Failure> {
    let Some(code) = &launch.code else { return Ok(None) };
    let bytes = fs::read(code).map_err(|error| format!("cannot read {}: {error}", code.display()))?;
    let mut deflated = DeflateEncoder::new(Vec::new(), Compression::default());
    deflated.write_all(&bytes)?;
    Ok(Some((u64::try_from(bytes.len())?, u64::try_from(deflated.finish()?.len())?)))
}
