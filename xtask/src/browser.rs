//! A browser for the tests of the console: one on the machine, or one that is unpacked under `target/`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{failure::Failure, process, step, workspace};

/// Names under which distributions install it.
const NAMES: [&str; 4] = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];
/// The package of Debian, and of distributions made from it.
const PACKAGE: &str = "chromium-headless-shell";

/// A Chromium that runs without a screen.
pub(crate) struct Browser {
    program: PathBuf,
    /// The folders of its libraries, if they are not installed.
    libraries: Option<String>,
}

impl Browser {
    /// Finds a browser, or installs one under `target/`; otherwise the reason why there is none.
    pub(crate) fn find() -> Result<Result<Self, String>, Failure> {
        let path = env::var_os("PATH").unwrap_or_default();
        let installed = env::split_paths(&path)
            .flat_map(|folder| NAMES.map(|name| folder.join(name)))
            .find(|program| program.is_file());
        if let Some(program) = installed {
            return Ok(Ok(Self { program, libraries: None }));
        }
        let folder = workspace::scratch().join("chromium");
        let advice = "install Chromium (Debian: apt install chromium-headless-shell) and put it on PATH";
        let has = |name: &str| env::split_paths(&path).any(|folder| folder.join(name).is_file());
        if !has("apt-get") || !has("dpkg-deb") {
            return Ok(Err(format!("there is no Chromium, and no apt to get one: {advice}")));
        }
        // Made last: without it the installation is not complete.
        let complete = folder.join("complete");
        if !complete.is_file() {
            let result = step::run("Installing Chromium (once, about 100 MB)", || {
                unpack(&folder)?;
                fs::write(&complete, "").map_err(|error| Failure::file("write", &complete, &error))
            });
            match result {
                Err(Failure::Interrupted) => return Err(Failure::Interrupted),
                Err(failure) => return Ok(Err(format!("it cannot be installed ({failure}): {advice}"))),
                Ok(()) => {}
            }
        }
        let root = folder.join("root");
        let libraries = root.join(format!("usr/lib/{}-linux-gnu", env::consts::ARCH));
        let libraries = format!("{0}:{0}/pulseaudio", libraries.display());
        Ok(Ok(Self { program: root.join("usr/lib/chromium").join(PACKAGE), libraries: Some(libraries) }))
    }

    /// Tells the tests where it is.
    pub(crate) fn set<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("INTAKE_BROWSER", &self.program);
        if let Some(libraries) = &self.libraries {
            command.env("INTAKE_BROWSER_LIBRARIES", libraries);
        }
        command
    }
}

/// Downloads the package, and what it needs and the machine does not have, and unpacks all of it. Nothing of this
/// needs root: apt's lists and downloads go into the folder, and no package's scripts run.
fn unpack(folder: &Path) -> Result<(), Failure> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(|error| Failure::file("remove", folder, &error))?;
    }
    let [lists, cache, packages, root] = ["lists", "cache", "packages", "root"].map(|name| folder.join(name));
    for made in [&lists.join("partial"), &cache.join("archives/partial"), &packages, &root] {
        workspace::make_folder(made)?;
    }
    let apt = |arguments: &[&str], log: &str| {
        let mut command = Command::new("apt-get");
        command
            .args(["-q", "-o", "Debug::NoLocking=1", "-o"])
            .arg(format!("Dir::State::lists={}", lists.display()));
        command
            .arg("-o")
            .arg(format!("Dir::Cache={}", cache.display()))
            .args(arguments)
            .current_dir(&packages);
        // Its output is read here.
        process::run_captured(command.env("LC_ALL", "C"), &folder.join(log))
    };
    apt(&["update"], "update.log")?;
    let plan = apt(&["--simulate", "--no-install-recommends", "install", PACKAGE], "plan.log")?;
    let names = plan.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next());
    apt(&[&["download"], &*names.collect::<Vec<_>>()].concat(), "download.log")?;
    let read = fs::read_dir(&packages).map_err(|error| Failure::file("read", &packages, &error))?;
    for package in read.flatten() {
        let mut command = Command::new("dpkg-deb");
        command.arg("--extract").arg(package.path()).arg(&root);
        process::run_captured(&mut command, &folder.join("unpack.log"))?;
    }
    // They take as much room again.
    for done in [&lists, &cache, &packages] {
        let _ = fs::remove_dir_all(done);
    }
    Ok(())
}
