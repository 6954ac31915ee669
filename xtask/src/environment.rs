//! What the programs that we run see of this machine's environment.

use std::{env, ffi::OsString, path::Path, process::Command};

/// The region of the local stack.
pub(crate) const REGION: &str = "us-east-1";

/// What a program keeps: where programs are, the session, the language.
const KEPT: [&str; 8] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TERM"];

/// Variables that make Python look for its modules elsewhere, or pip install them there.
const MISLEADING: [&str; 6] =
    ["PYTHONHOME", "PYTHONPATH", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV"];

/// An environment that nothing of the user's can affect: no AWS account, no proxy.
pub(crate) fn isolate(command: &mut Command) -> &mut Command {
    command.env_clear();
    for name in KEPT {
        if let Some(value) = env::var_os(name) {
            command.env(name, value);
        }
    }
    // Its modules were compiled when they were installed, and no caches belong into the source tree.
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1");
    emulated_account(command)
}

/// The user's environment, for cargo, without an AWS account.
pub(crate) fn cargo(command: &mut Command) -> &mut Command {
    remove(command, &["AWS_", "INTAKE_"]);
    // The tests use servers on this machine.
    for name in ["NO_PROXY", "no_proxy"] {
        let own = "127.0.0.1,localhost";
        let value = match env::var(name) {
            Ok(theirs) if !theirs.is_empty() => format!("{theirs},{own}"),
            _ => own.to_owned(),
        };
        command.env(name, value);
    }
    emulated_account(outer_cargo(command))
}

/// The user's environment without what `cargo run` set for this program: it would make the inner cargo
/// build again what the outer one has built.
pub(crate) fn outer_cargo(command: &mut Command) -> &mut Command {
    remove(command, &["CARGO_PKG_", "CARGO_MANIFEST_"]);
    command
}

/// The user's environment, for pip: it needs the proxies and indexes that are set there.
pub(crate) fn pip(command: &mut Command) -> &mut Command {
    for name in MISLEADING {
        command.env_remove(name);
    }
    command
}

/// `PATH` with this folder in front.
pub(crate) fn path_with(folder: &Path) -> OsString {
    let mut path = folder.as_os_str().to_owned();
    if let Some(rest) = env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    path
}

fn remove(command: &mut Command, prefixes: &[&str]) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if prefixes.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
}

/// The account that the emulator uses for this key, and nothing that leads to a real one.
fn emulated_account(command: &mut Command) -> &mut Command {
    command
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_REGION", REGION)
        .env("AWS_DEFAULT_REGION", REGION)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
}
