//! What looks at the template, the OpenAPI file and the dependencies without running anything.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    environment,
    failure::Failure,
    permissions, process,
    python::Environment,
    step,
    workspace::{self, StateFolder},
};

/// Looks at the template and the OpenAPI file with the linters that know them, and at who may do what.
pub(crate) fn template() -> Result<(), Failure> {
    let linters = Environment::check()?;
    let checkov = Environment::checkov()?;
    let redocly = redocly(&linters)?;
    let state = StateFolder::claim("lint")?;
    let lint = |title: &str, log: &str, program: &Path, arguments: &[&str]| {
        step::quiet(title, || {
            let mut command = Command::new(program);
            environment::isolate(&mut command)
                .args(arguments)
                .env("PATH", environment::path_with(&linters.programs()))
                .env("SAM_CLI_TELEMETRY", "0")
                .env("REDOCLY_TELEMETRY", "off")
                .env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")
                .env("HOME", state.home()?)
                .current_dir(workspace::root());
            process::run_captured(&mut command, &state.file(log))
        })
    };
    let program = |name: &str| linters.programs().join(name);

    lint("template.yaml: cfn-lint", "cfn-lint.log", &program("cfn-lint"), &["template.yaml"])?;
    let sam = ["validate", "--lint", "--template", "template.yaml"];
    lint("template.yaml: sam validate", "sam.log", &program("sam"), &sam)?;

    let script = workspace::checks().join("transform.py").display().to_string();
    let transformed = state.file("template.json");
    let python = program("python");
    let text = lint("template.yaml: transform", "transform.log", &python, &[&script])?;
    fs::write(&transformed, &text).map_err(|error| Failure::file("write", &transformed, &error))?;
    step::quiet("template.yaml: permissions", || {
        let template: Value = serde_json::from_str(&text)
            .map_err(|error| Failure::new(format!("the transformed template is no JSON: {error}")))?;
        permissions::check(&template)
    })?;
    let transformed = transformed.display().to_string();
    // A check that is left out has its reason beside the resource, as metadata.
    let arguments = [
        ["--framework", "cloudformation"],
        // It would ask its maker's server for more to say about each check.
        ["--skip-download", "--compact"],
        ["--quiet", "--file"],
    ];
    let arguments = [arguments.as_flattened(), &[&*transformed]].concat();
    lint("template.yaml: checkov", "checkov.log", &checkov.programs().join("checkov"), &arguments)?;

    let validator = program("openapi-spec-validator");
    lint("openapi.yaml: openapi-spec-validator", "openapi.log", &validator, &["openapi.yaml"])?;
    let rules = workspace::checks().join("redocly/redocly.yaml").display().to_string();
    let redocly = redocly.display().to_string();
    let arguments = [&*redocly, "lint", "--config", &*rules, "openapi.yaml"];
    lint("openapi.yaml: redocly", "redocly.log", &program("node"), &arguments)?;
    Ok(())
}

/// Looks at the licences, sources, versions and known vulnerabilities of all dependencies.
pub(crate) fn dependencies() -> Result<(), Failure> {
    let linters = Environment::check()?;
    let deny = |title: &str, log: &str, checks: &[&str]| {
        step::quiet(title, || {
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
        // The database is on a server of its own, which not every network lets everybody reach.
        Err(Failure::Failed { output, .. }) if output.contains("failed to fetch advisory database") => {
            step::note(
                "WARNING: the advisories were NOT checked: their database cannot be reached from here",
            );
            Ok(())
        }
        result => result,
    }
}

/// The linter that comes from npm: where it is, after it has been installed as its lock file says.
fn redocly(linters: &Environment) -> Result<PathBuf, Failure> {
    let source = workspace::checks().join("redocly");
    let folder = workspace::scratch().join("redocly");
    let program = folder.join("node_modules/@redocly/cli/bin/cli.js");
    let read = |path: PathBuf| fs::read(&path).map_err(|error| Failure::file("read", &path, &error));
    let lock = read(source.join("package-lock.json"))?;
    // Copied in the end: without it the installation is not complete.
    let complete = folder.join("complete");
    if fs::read(&complete).is_ok_and(|installed| installed == lock) && program.is_file() {
        return Ok(program);
    }
    workspace::make_folder(&folder)?;
    step::quiet("Installing redocly (once, about 5 MB)", || {
        for name in ["package.json", "package-lock.json"] {
            let copy = folder.join(name);
            fs::write(&copy, read(source.join(name))?)
                .map_err(|error| Failure::file("write", &copy, &error))?;
        }
        let mut npm = Command::new(linters.programs().join("npm"));
        environment::pip(&mut npm)
            // Nothing of a package runs while it is installed.
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

    /// The text of every Rust file below a folder.
    fn sources(folder: &Path) -> String {
        let mut text = String::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                text.push_str(&sources(&path));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&fs::read_to_string(&path).unwrap());
            }
        }
        text
    }

    #[test]
    fn every_test_that_the_threat_model_names_is_there() {
        let root = workspace::root();
        let model = fs::read_to_string(root.join("docs/security.md")).unwrap();
        let sources: String = ["functions", "redrive", "shared", "tests"]
            .iter()
            .map(|name| sources(&root.join(name)))
            .collect();
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
}
