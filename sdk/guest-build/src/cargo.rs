//! Running cargo.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::package::Package;
use crate::toolchain::{TARGET, Toolchain};

/// The cargo that runs this program, if one does, else the one on the path.
pub(crate) fn cargo_in(directory: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(directory);
    command
}

/// Compiles `packages`, all of one workspace, to modules.
pub(crate) fn build(packages: &[Package], toolchain: &Toolchain) -> Result<()> {
    let Some(first) = packages.first() else { return Ok(()) };
    let mut command = cargo_in(&first.workspace_root);
    command.args(["build", "--lib", "--target", TARGET, "--profile", &first.profile]);
    command.arg("--target-dir").arg(first.build_directory());
    for package in packages {
        command.args(["--package", &package.name]);
    }
    toolchain.prepare(&mut command);
    let status = command.status().context("cargo can't be started")?;
    let names: Vec<_> = packages.iter().map(|package| package.name.as_str()).collect();
    ensure!(status.success(), "{} did not compile for {TARGET}", names.join(", "));
    Ok(())
}
