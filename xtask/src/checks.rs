//! Checks of the template, the two contracts and the dependencies, without running anything.

use anyhow::Result;

use crate::{
    environment, npm, process,
    python::Environment,
    step,
    workspace::{self, StateFolder},
};

/// Checks the template and the two contracts with their linters, the permissions, and the mapping templates.
pub(crate) fn template() -> Result<()> {
    let linters = Environment::check()?;
    let checkov = Environment::checkov()?;
    let local = Environment::run()?;
    let redocly = npm::install(&linters, "xtask/checks/redocly", "redocly", "redocly (once, about 5 MB)")?;
    let redocly = redocly.join("node_modules/@redocly/cli/bin/cli.js").display().to_string();
    let state = StateFolder::claim("lint")?;
    let check = |title: &str, tools: &Environment, program: &str, arguments: &[&str]| {
        step::run(title, || {
            let mut command = tools.program(program);
            command
                .args(arguments)
                .env("REDOCLY_TELEMETRY", "off")
                .env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")
                .env("HOME", state.file("home"));
            process::run_captured(&mut command, &state.file("lint.log"))
        })
    };
    check("template.yaml: cfn-lint", &linters, "cfn-lint", &["template.yaml"])?;
    // Relative: checkov takes any path with 40 letters in a row for a secret key.
    let transformed = state.file("template.json");
    let transformed = transformed.strip_prefix(workspace::root())?.display().to_string();
    let script = ["xtask/checks/template.py", &transformed];
    check("template.yaml: permissions", &linters, "python", &script)?;
    // The one option keeps it from downloading a description of each check.
    let arguments = ["--framework", "cloudformation", "--skip-download", "--compact", "--quiet", "--file"];
    check("template.yaml: checkov", &checkov, "checkov", &[&arguments[..], &[&transformed]].concat())?;
    let unittest = ["-m", "unittest", "discover", "--start-directory"];
    let of = |folder| [&unittest[..], &[folder]].concat();
    check("template.yaml: tests of the check of permissions", &linters, "python", &of("xtask/checks"))?;
    // With what renders the templates and evaluates the rules in the local stack.
    check(
        "openapi.yaml: mapping templates; template.yaml: rules for parameters",
        &local,
        "python",
        &of("xtask/emulator"),
    )?;
    check("openapi.yaml: openapi-spec-validator", &linters, "openapi-spec-validator", &["openapi.yaml"])?;
    for contract in ["openapi.yaml", "asyncapi.yaml"] {
        let arguments = [&*redocly, "lint", "--config", "xtask/checks/redocly/redocly.yaml", contract];
        check(&format!("{contract}: redocly"), &linters, "node", &arguments)?;
    }
    Ok(())
}

/// Checks the licences, sources, versions and known vulnerabilities of all dependencies.
pub(crate) fn dependencies() -> Result<()> {
    let linters = Environment::check()?;
    let deny = |title: &str, checks: &[&str]| {
        step::run(title, || {
            let mut command = environment::cargo();
            command
                .env("PATH", environment::path_with(&linters.programs()))
                .args(["deny", "--color", "never", "--locked", "check", "--hide-inclusion-graph"])
                .args(checks);
            process::run_captured(&mut command, &workspace::scratch("deny.log")?)
        })
    };
    deny("Cargo.lock: cargo deny", &["licenses", "sources", "bans"])?;
    match deny("Cargo.lock: cargo deny, advisories", &["advisories"]) {
        // The database is on a server of its own, which is not reachable from every network.
        Err(failure) if failure.to_string().contains("failed to fetch advisory database") => {
            step::note("WARNING: the advisories were NOT checked: their database is unreachable from here");
            Ok(())
        }
        result => result.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use fs_err as fs;

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
        let folders = ["functions", "lab", "shared", "tests"];
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

    /// A Markdown text without its blocks of code, in which a `#` is no heading.
    fn without_blocks(text: &str) -> String {
        text.split("\n```").step_by(2).collect::<Vec<_>>().join("\n")
    }

    /// The same without any code, in which a bracket is no link.
    fn prose(text: &str) -> String {
        let line = |line: &str| line.split('`').step_by(2).collect::<String>() + "\n";
        without_blocks(text).lines().map(line).collect()
    }

    /// The anchors of a Markdown file's headings, as GitHub makes them.
    fn anchors(text: &str) -> Vec<String> {
        let text = without_blocks(text);
        let headings = text.lines().filter(|line| line.starts_with('#'));
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
            let prose = prose(&text);
            let links = ["](", "src=\"", "srcset=\""].iter().flat_map(|begin| prose.split(begin).skip(1));
            for link in links.filter_map(|rest| rest.split([')', ' ', '"']).next()) {
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
