//! What is measured, of whom, and the commands that start them.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use strum::Display;

const KB: usize = 1024;

/// A function; its name is that of its package.
#[derive(Clone, Copy, Debug, Display, PartialEq, Eq)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Function {
    SyncInsert,
    QueueConsumer,
    StatusLookup,
    Websocket,
    Authorizer,
}

/// Who does the work of a function.
#[derive(Clone, Copy, Debug, Display, PartialEq, Eq)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Contestant {
    Intake,
    HandSigned,
    RustDefault,
    Python,
    Node,
}

/// Events of one kind, and who is measured with them.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) function: Function,
    pub(crate) contestant: Contestant,
    /// Requests or records in an event.
    pub(crate) batch: usize,
    /// Messages in each of them.
    pub(crate) bulk: usize,
    /// Bytes of a message.
    pub(crate) bytes: usize,
    /// Invocations of each process after its first. Of `websocket`, each costs more than the one before.
    pub(crate) warm: usize,
}

/// Everything that is measured.
pub(crate) const CASES: [Case; 23] = {
    use Contestant::{HandSigned, Intake, Node, Python, RustDefault};
    use Function::{Authorizer, QueueConsumer, StatusLookup, SyncInsert, Websocket};
    [
        Case { function: SyncInsert, contestant: Intake, batch: 1, bulk: 1, bytes: KB, warm: 40 },
        Case { function: SyncInsert, contestant: HandSigned, batch: 1, bulk: 1, bytes: KB, warm: 40 },
        Case { function: SyncInsert, contestant: RustDefault, batch: 1, bulk: 1, bytes: KB, warm: 40 },
        Case { function: SyncInsert, contestant: Python, batch: 1, bulk: 1, bytes: KB, warm: 40 },
        Case { function: SyncInsert, contestant: Node, batch: 1, bulk: 1, bytes: KB, warm: 40 },
        Case { function: SyncInsert, contestant: Intake, batch: 1, bulk: 1, bytes: 100 * KB, warm: 20 },
        Case { function: SyncInsert, contestant: Intake, batch: 1, bulk: 100, bytes: KB, warm: 8 },
        Case { function: SyncInsert, contestant: RustDefault, batch: 1, bulk: 100, bytes: KB, warm: 8 },
        Case { function: SyncInsert, contestant: Node, batch: 1, bulk: 100, bytes: KB, warm: 8 },
        Case { function: StatusLookup, contestant: Intake, batch: 1, bulk: 1, bytes: KB, warm: 40 },
        Case { function: Websocket, contestant: Intake, batch: 1, bulk: 1, bytes: KB, warm: 10 },
        Case { function: Authorizer, contestant: Intake, batch: 1, bulk: 1, bytes: KB, warm: 40 },
        Case { function: QueueConsumer, contestant: Intake, batch: 10, bulk: 1, bytes: KB, warm: 20 },
        Case { function: QueueConsumer, contestant: Intake, batch: 100, bulk: 1, bytes: KB, warm: 8 },
        Case { function: QueueConsumer, contestant: RustDefault, batch: 100, bulk: 1, bytes: KB, warm: 8 },
        Case { function: QueueConsumer, contestant: Python, batch: 100, bulk: 1, bytes: KB, warm: 8 },
        Case { function: QueueConsumer, contestant: Node, batch: 100, bulk: 1, bytes: KB, warm: 8 },
        Case { function: QueueConsumer, contestant: Intake, batch: 1_000, bulk: 1, bytes: KB, warm: 1 },
        Case { function: QueueConsumer, contestant: Intake, batch: 1, bulk: 100, bytes: KB, warm: 8 },
        Case { function: QueueConsumer, contestant: Intake, batch: 10, bulk: 100, bytes: KB, warm: 1 },
        // For their memory. The last is close to the largest event that Lambda accepts, 6 MB.
        Case { function: QueueConsumer, contestant: Intake, batch: 4, bulk: 1, bytes: 200 * KB, warm: 5 },
        Case { function: QueueConsumer, contestant: Intake, batch: 10, bulk: 1, bytes: 100 * KB, warm: 5 },
        Case { function: QueueConsumer, contestant: Intake, batch: 50, bulk: 1, bytes: 100 * KB, warm: 3 },
    ]
};

impl Case {
    /// The name without the contestant.
    pub(crate) fn work(&self) -> String {
        let bulk = if self.bulk > 1 { format!("{}x", self.bulk) } else { String::new() };
        format!("{} {}x{bulk}{}KB", self.function, self.batch, self.bytes / KB)
    }

    /// Messages in an event.
    pub(crate) fn messages(&self) -> usize {
        self.batch * self.bulk
    }

    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.work(), self.contestant)
    }

    /// Whether instructions are counted: not of batches of large messages, which take valgrind minutes, and not of
    /// interpreters and their compilers, whose counts mean little and do not repeat.
    pub(crate) fn is_counted(&self) -> bool {
        let is_native = !matches!(self.contestant, Contestant::Python | Contestant::Node);
        is_native && (self.batch == 1 || self.bytes == KB)
    }

    /// The folder of the code (`LAMBDA_TASK_ROOT`), and the command that runs it there.
    pub(crate) fn command(&self) -> (PathBuf, Vec<OsString>) {
        let function = self.function;
        let peers = root().join("lab/bench/peers");
        let native = |folder: PathBuf| {
            let program = folder.join("bootstrap").into();
            (folder, vec![program])
        };
        match self.contestant {
            Contestant::Intake => native(root().join(format!("target/lambda/{function}"))),
            Contestant::HandSigned => native(scratch().join("lambda/hand-signed")),
            Contestant::RustDefault => native(scratch().join(format!("lambda/rust-default-{function}"))),
            Contestant::Python => {
                let python = root().join("target/intake/venv-bench/bin/python");
                let handler = format!("{function}.handler").replace('-', "_");
                (
                    peers.join("python"),
                    vec![python.into(), "-m".into(), "awslambdaric".into(), handler.into()],
                )
            }
            Contestant::Node => {
                let runtime = peers.join("node/runtime.mjs");
                let folder = scratch().join(format!("node/dist/{function}"));
                (folder, vec!["node".into(), runtime.into(), "index.handler".into()])
            }
        }
    }
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
