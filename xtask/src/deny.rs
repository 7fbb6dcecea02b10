//! Checks licenses, sources, duplicates and advisories of the dependencies with cargo-deny.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::workspace::{cargo, run, target};

const VERSION: &str = "^0.20";

/// Runs the checks. Advisories need a database that is fetched over the network; without it they are left out, and
/// said to be.
pub(crate) fn check() -> Result<()> {
    let program = program()?;
    run(Command::new(&program).args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))?;
    let fetched = Command::new(&program).args(["fetch", "db"]).output().context("running cargo-deny")?;
    if fetched.status.success() {
        run(Command::new(&program).args(["check", "--disable-fetch", "advisories"]))
    } else {
        eprintln!("deny: the advisory database cannot be reached from here: advisories were NOT checked");
        Ok(())
    }
}

/// The cargo-deny on the path, else the one in the target directory, installed there if missing.
fn program() -> Result<PathBuf> {
    let on_path = PathBuf::from("cargo-deny");
    if Command::new(&on_path).arg("--version").output().is_ok_and(|output| output.status.success()) {
        return Ok(on_path);
    }
    let tools = target().join("tools");
    let installed = tools.join("bin/cargo-deny");
    if !installed.exists() {
        eprintln!("deny: installing cargo-deny into {} (once)", tools.display());
        let mut install = cargo(&["install", "--quiet", "--debug", "--locked", "cargo-deny"]);
        run(install.args(["--version", VERSION, "--root"]).arg(&tools))?;
    }
    Ok(installed)
}
