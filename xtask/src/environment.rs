//! What the programs that we run see of this machine's environment.

use std::{env, ffi::OsString, path::Path, process::Command};

use crate::workspace;

/// The region of the local stack.
pub(crate) const REGION: &str = "us-east-1";

/// The account that the emulator uses for this key, and nothing that leads to a real one.
pub(crate) const EMULATED_ACCOUNT: [(&str, &str); 7] = [
    ("AWS_ACCESS_KEY_ID", "test"),
    ("AWS_SECRET_ACCESS_KEY", "test"),
    ("AWS_REGION", REGION),
    ("AWS_DEFAULT_REGION", REGION),
    ("AWS_EC2_METADATA_DISABLED", "true"),
    ("AWS_CONFIG_FILE", "/dev/null"),
    ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
];

/// What a program keeps: where programs are, the session, the language.
const KEPT: [&str; 8] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TERM"];

/// Variables that make Python look for its modules elsewhere, or pip install them there.
const MISLEADING: [&str; 6] =
    ["PYTHONHOME", "PYTHONPATH", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV"];

/// A program in an environment that nothing of the user's can affect: no AWS account, no proxy.
pub(crate) fn isolated(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(KEPT.iter().filter_map(|name| Some((name, env::var_os(name)?))));
    // Python's modules were compiled when they were installed, and no caches belong into the source tree.
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1");
    command.envs(EMULATED_ACCOUNT).current_dir(workspace::root());
    command
}

/// A program in the user's environment, such as pip, which needs the proxies and indexes that are set there.
pub(crate) fn callers(program: &Path) -> Command {
    let mut command = Command::new(program);
    for name in MISLEADING {
        command.env_remove(name);
    }
    command
}

/// Cargo in the user's environment, without an AWS account.
pub(crate) fn cargo() -> Command {
    let mut command = callers_cargo();
    remove(&mut command, &["AWS_", "INTAKE_"]);
    // The tests use servers on this machine.
    for name in ["NO_PROXY", "no_proxy"] {
        let own = "127.0.0.1,localhost";
        let value = match env::var(name) {
            Ok(theirs) if !theirs.is_empty() => format!("{theirs},{own}"),
            _ => own.to_owned(),
        };
        command.env(name, value);
    }
    command.envs(EMULATED_ACCOUNT);
    command
}

/// Cargo in the user's environment, without what `cargo run` set for this program: it would make the inner cargo
/// build again what the outer one has built.
pub(crate) fn callers_cargo() -> Command {
    let mut command = Command::new("cargo");
    remove(&mut command, &["CARGO_PKG_", "CARGO_MANIFEST_"]);
    command.current_dir(workspace::root());
    command
}

/// `PATH` with this folder in front.
pub(crate) fn path_with(folder: &Path) -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    [folder.as_os_str(), &path].join(":".as_ref())
}

fn remove(command: &mut Command, prefixes: &[&str]) {
    for (name, _) in env::vars_os() {
        if prefixes.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
}
