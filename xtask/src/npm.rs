//! Packages from npm with exact versions, under `target/`: a linter, and the identity provider of a test.

use std::path::PathBuf;

use anyhow::Result;
use fs_err as fs;

use crate::{environment, process, python::Environment, step, workspace};

/// Installs what the lock file in a folder of the repository says, and returns the folder of `node_modules`. Node.js
/// is among the programs of `tools`.
pub(crate) fn install(tools: &Environment, source: &str, name: &str, what: &str) -> Result<PathBuf> {
    let source = workspace::root().join(source);
    let folder = workspace::scratch(name)?;
    let lock = fs::read(source.join("package-lock.json"))?;
    // Written last: without it the installation is not complete.
    let complete = folder.join("complete");
    if fs::read(&complete).is_ok_and(|installed| installed == lock) && folder.join("node_modules").is_dir() {
        return Ok(folder);
    }
    fs::create_dir_all(&folder)?;
    step::run(&format!("Installing {what}"), || {
        for name in ["package.json", "package-lock.json"] {
            fs::copy(source.join(name), folder.join(name))?;
        }
        let mut npm = environment::callers(&tools.programs().join("npm"));
        // No code of a package runs during the installation.
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .env("PATH", environment::path_with(&tools.programs()))
            .current_dir(&folder);
        process::run_captured(&mut npm, &folder.join("npm.log"))?;
        Ok(fs::write(&complete, &lock)?)
    })?;
    Ok(folder)
}
