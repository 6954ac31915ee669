//! What the programs that we run see of this machine's environment.

use std::{env, path::Path, process::Command};

/// The region that the local stack plays.
pub(crate) const REGION: &str = "us-east-1";

/// What a program without other needs keeps: where programs are, whose session it is, which language.
const KEPT: [&str; 8] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TERM"];

/// Variables that make Python look for its modules elsewhere, or pip install them there.
const ASTRAY: [&str; 6] =
    ["PYTHONHOME", "PYTHONPATH", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV"];

/// An environment with nothing of the user's in it that could change what happens: no AWS account, no proxy.
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

/// The user's environment, for cargo: without an AWS account, and without what `cargo run` told this program
/// about itself, which would make the inner cargo build again what the outer one has built.
pub(crate) fn cargo(command: &mut Command) -> &mut Command {
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("AWS_")
            || name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_MANIFEST_")
            || name.starts_with("INTAKE_")
        {
            command.env_remove(&*name);
        }
    }
    // The tests speak to servers on this machine.
    for name in ["NO_PROXY", "no_proxy"] {
        let own = "127.0.0.1,localhost";
        let value = match env::var(name) {
            Ok(theirs) if !theirs.is_empty() => format!("{theirs},{own}"),
            _ => own.to_owned(),
        };
        command.env(name, value);
    }
    emulated_account(command)
}

/// The user's environment, for pip: the proxies and indexes that are set there are wanted.
pub(crate) fn pip(command: &mut Command) -> &mut Command {
    for name in ASTRAY {
        command.env_remove(name);
    }
    command
}

/// Puts a folder in front of the folders that programs are looked for in.
pub(crate) fn path_with(folder: &Path) -> std::ffi::OsString {
    let mut path = folder.as_os_str().to_owned();
    if let Some(rest) = env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    path
}

/// The account that the emulator plays for this key, and nothing that leads to a real one.
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
