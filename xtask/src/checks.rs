//! Checks of the template, the two contracts and the dependencies, without running anything.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    environment,
    failure::Failure,
    process,
    python::Environment,
    step,
    workspace::{self, StateFolder},
};

/// Checks the template and the two contracts with their linters, and the permissions.
pub(crate) fn template() -> Result<(), Failure> {
    let linters = Environment::check()?;
    let checkov = Environment::checkov()?;
    let redocly = redocly(&linters)?;
    let state = StateFolder::claim("lint")?;
    let lint = |title: &str, log: &str, program: &Path, arguments: &[&str]| {
        step::run(title, || {
            let mut command = Command::new(program);
            environment::isolate(&mut command)
                .args(arguments)
                .env("PATH", environment::path_with(&linters.programs()))
                .env("REDOCLY_TELEMETRY", "off")
                .env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")
                .env("HOME", state.home()?)
                .current_dir(workspace::root());
            process::run_captured(&mut command, &state.file(log))
        })
    };
    let program = |name: &str| linters.programs().join(name);

    lint("template.yaml: cfn-lint", "cfn-lint.log", &program("cfn-lint"), &["template.yaml"])?;
    // Relative: checkov takes any path with 40 letters in a row for a secret key.
    let transformed = state.file("template.json");
    let transformed =
        transformed.strip_prefix(workspace::root()).unwrap_or(&transformed).display().to_string();
    let python = program("python");
    let script = ["xtask/checks/template.py", &transformed];
    lint("template.yaml: permissions", "permissions.log", &python, &script)?;
    // The one option keeps it from downloading a description of each check.
    let arguments = ["--framework", "cloudformation", "--skip-download", "--compact", "--quiet", "--file"];
    let arguments = [&arguments[..], &[&transformed]].concat();
    lint("template.yaml: checkov", "checkov.log", &checkov.programs().join("checkov"), &arguments)?;
    let unittest = ["-m", "unittest", "discover", "--start-directory"];
    let tests = [&unittest[..], &["xtask/checks"]].concat();
    lint("template.yaml: tests of the check of permissions", "tests.log", &python, &tests)?;
    // With what renders them in the local stack.
    let local = Environment::run()?;
    step::run("openapi.yaml: mapping templates", || {
        let mut tests = local.python();
        tests.args(unittest).arg(workspace::emulator());
        process::run_captured(&mut tests, &state.file("mapping-templates.log"))
    })?;

    let validator = program("openapi-spec-validator");
    lint("openapi.yaml: openapi-spec-validator", "openapi.log", &validator, &["openapi.yaml"])?;
    let rules = workspace::checks().join("redocly/redocly.yaml").display().to_string();
    let redocly = redocly.display().to_string();
    for contract in ["openapi.yaml", "asyncapi.yaml"] {
        let arguments = [&*redocly, "lint", "--config", &*rules, contract];
        lint(&format!("{contract}: redocly"), "redocly.log", &program("node"), &arguments)?;
    }
    Ok(())
}

/// Checks the licences, sources, versions and known vulnerabilities of all dependencies.
pub(crate) fn dependencies() -> Result<(), Failure> {
    let linters = Environment::check()?;
    let deny = |title: &str, log: &str, checks: &[&str]| {
        step::run(title, || {
            let mut command = Command::new(linters.programs().join("cargo-deny"));
            let log = workspace::scratch().join(log);
            environment::cargo(&mut command)
                .args(["--color", "never", "--locked", "check", "--hide-inclusion-graph"])
                .args(checks)
                .current_dir(workspace::root());
            process::run_captured(&mut command, &log).map(drop)
        })
    };
    deny("Cargo.lock: cargo deny", "deny.log", &["licenses", "sources", "bans"])?;
    match deny("Cargo.lock: cargo deny, advisories", "deny-advisories.log", &["advisories"]) {
        // The database is on a server of its own, which is not reachable from every network.
        Err(Failure::Failed { output, .. }) if output.contains("failed to fetch advisory database") => {
            step::note("WARNING: the advisories were NOT checked: their database is unreachable from here");
            Ok(())
        }
        result => result,
    }
}

/// Installs the linter that comes from npm as its lock file says, and returns its path.
fn redocly(linters: &Environment) -> Result<PathBuf, Failure> {
    let source = workspace::checks().join("redocly");
    let folder = workspace::scratch().join("redocly");
    let program = folder.join("node_modules/@redocly/cli/bin/cli.js");
    let read = |path: PathBuf| fs::read(&path).map_err(|error| Failure::file("read", &path, &error));
    let lock = read(source.join("package-lock.json"))?;
    // Written last: without it the installation is not complete.
    let complete = folder.join("complete");
    if fs::read(&complete).is_ok_and(|installed| installed == lock) && program.is_file() {
        return Ok(program);
    }
    workspace::make_folder(&folder)?;
    step::run("Installing redocly (once, about 5 MB)", || {
        for name in ["package.json", "package-lock.json"] {
            let copy = folder.join(name);
            fs::write(&copy, read(source.join(name))?)
                .map_err(|error| Failure::file("write", &copy, &error))?;
        }
        let mut npm = Command::new(linters.programs().join("npm"));
        environment::pip(&mut npm)
            // No code of a package runs during the installation.
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .env("PATH", environment::path_with(&linters.programs()))
            .current_dir(&folder);
        process::run_captured(&mut npm, &folder.join("npm.log"))?;
        fs::write(&complete, &lock).map_err(|error| Failure::file("write", &complete, &error))
    })?;
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files below a folder whose name ends like this.
    fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let files = entries.flat_map(|path| match path.is_dir() {
            true if path.ends_with("node_modules") || path.ends_with("target") => Vec::new(),
            true => files(&path, end),
            false if path.to_string_lossy().ends_with(end) => vec![path],
            false => Vec::new(),
        });
        files.collect()
    }

    #[test]
    fn every_test_that_the_threat_model_names_is_there() {
        let root = workspace::root();
        let model = fs::read_to_string(root.join("docs/security.md")).unwrap();
        let folders = ["functions", "lab", "redrive", "shared", "tests"];
        let files = folders.iter().flat_map(|name| files(&root.join(name), ".rs"));
        let sources: String = files.map(|path| fs::read_to_string(path).unwrap()).collect();
        let is_name = |word: &&str| {
            word.matches('_').count() > 2
                && word.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
        };
        let named: Vec<_> = model.split('`').skip(1).step_by(2).filter(is_name).collect();
        assert!(named.len() > 30, "{named:?}");
        for name in named {
            assert!(sources.contains(&format!("fn {name}(")), "{name}");
        }
    }

    /// A Markdown text without its code, in which a bracket is no link and a `#` no heading.
    fn prose(text: &str) -> String {
        let blocks = text.split("\n```").step_by(2).collect::<Vec<_>>().join("\n");
        blocks.lines().map(|line| line.split('`').step_by(2).collect::<String>() + "\n").collect()
    }

    /// The anchors of a Markdown file's headings, as GitHub makes them.
    fn anchors(text: &str) -> Vec<String> {
        let blocks = text.split("\n```").step_by(2).collect::<Vec<_>>().join("\n");
        let headings = blocks.lines().filter(|line| line.starts_with('#'));
        let headings =
            headings.map(|line| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-"));
        let is_kept = |letter: &char| letter.is_alphanumeric() || ['-', '_'].contains(letter);
        headings.map(|heading| heading.chars().filter(is_kept).collect()).collect()
    }

    #[test]
    fn every_relative_link_leads_somewhere() {
        let root = workspace::root();
        let pages =
            ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"].map(|name| root.join(name));
        let pages = pages.into_iter().filter(|path| path.exists());
        let pages =
            pages.chain(files(&root.join("docs"), ".md")).chain(files(&root.join("lab"), "README.md"));
        let mut broken = Vec::new();
        for page in pages {
            let text = fs::read_to_string(&page).unwrap();
            for link in prose(&text).split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next()) {
                let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
                if path.contains("://") || path.starts_with("mailto:") {
                    continue;
                }
                let target = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
                let is_there = match fs::read_to_string(&target) {
                    Ok(text) => anchor.is_empty() || anchors(&text).iter().any(|known| known == anchor),
                    Err(_) => anchor.is_empty() && target.exists(),
                };
                if !is_there {
                    broken.push(format!("{}: {link}", page.display()));
                }
            }
        }
        assert_eq!(broken, Vec::<String>::new());
    }
}
