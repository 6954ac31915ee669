//! A browser for the tests of the console: one on the machine, or one that is unpacked under `target/`.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use fs_err as fs;

use crate::{process, step, workspace};

/// Names under which distributions install it.
const NAMES: [&str; 4] = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];
/// The package of Debian, and of distributions made from it.
const PACKAGE: &str = "chromium-headless-shell";
const ADVICE: &str = "install Chromium (Debian: apt install chromium-headless-shell) and put it on PATH";

/// A Chromium that runs without a screen.
pub(crate) struct Browser {
    program: PathBuf,
    /// The folders of its libraries, if they are not installed.
    libraries: Option<String>,
}

impl Browser {
    /// Finds a browser, or installs one under `target/`.
    pub(crate) fn find() -> Result<Self> {
        if let Some(program) = NAMES.into_iter().find_map(on_path) {
            return Ok(Self { program, libraries: None });
        }
        if on_path("apt-get").is_none() || on_path("dpkg-deb").is_none() {
            bail!("there is no Chromium, and no apt to get one: {ADVICE}");
        }
        let folder = workspace::scratch("chromium")?;
        // Made last: without it the installation is not complete.
        let complete = folder.join("complete");
        if !complete.is_file() {
            step::run("Installing Chromium (once, about 100 MB)", || unpack(&folder)).context(ADVICE)?;
            fs::write(&complete, "")?;
        }
        let root = folder.join("root");
        let libraries = root.join(format!("usr/lib/{}-linux-gnu", env::consts::ARCH));
        let libraries = format!("{0}:{0}/pulseaudio", libraries.display());
        Ok(Self { program: root.join("usr/lib/chromium").join(PACKAGE), libraries: Some(libraries) })
    }

    /// Tells the tests where it is.
    pub(crate) fn set<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let libraries = self.libraries.iter().map(|libraries| ("INTAKE_BROWSER_LIBRARIES", libraries));
        command.env("INTAKE_BROWSER", &self.program).envs(libraries)
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// Downloads the package, and what it needs and the machine does not have, and unpacks all of it. Nothing of this
/// needs root: apt's lists and downloads go into the folder, and no package's scripts run.
fn unpack(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    let [lists, cache, packages, root] = ["lists", "cache", "packages", "root"].map(|name| folder.join(name));
    for made in [&lists.join("partial"), &cache.join("archives/partial"), &packages, &root] {
        fs::create_dir_all(made)?;
    }
    let apt = |arguments: &[&str], log: &str| {
        let mut command = Command::new("apt-get");
        command
            .args(["-q", "-o", "Debug::NoLocking=1"])
            .args(["-o", &format!("Dir::State::lists={}", lists.display())])
            .args(["-o", &format!("Dir::Cache={}", cache.display())])
            .args(arguments)
            .current_dir(&packages);
        // Its output is read here.
        process::run_captured(command.env("LC_ALL", "C"), &folder.join(log))
    };
    apt(&["update"], "update.log")?;
    let plan = apt(&["--simulate", "--no-install-recommends", "install", PACKAGE], "plan.log")?;
    let names = plan.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next());
    apt(&[&["download"], &*names.collect::<Vec<_>>()].concat(), "download.log")?;
    for package in fs::read_dir(&packages)? {
        let mut command = Command::new("dpkg-deb");
        command.arg("--extract").arg(package?.path()).arg(&root);
        process::run_captured(&mut command, &folder.join("unpack.log"))?;
    }
    // They take as much room again.
    for done in [&lists, &cache, &packages] {
        let _ = fs::remove_dir_all(done);
    }
    Ok(())
}
