//! Runs of the engine.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use test_support::process::{measure, program};

use crate::measure::Measure;
use crate::sides::Sides;

const TASK: &str = "bench";

/// A command that migrates one database.
pub(crate) fn command(sides: &Sides, database: &str, plugins: &[&Path]) -> Result<Command> {
    let mut command = Command::new(program("engine", "ENGINE_BINARY")?);
    command.args(["run", "--name", TASK, "--json", "--accept-warnings"]);
    command.args(["--source", &sides.source.url_of(database)]);
    command
        .args(["--target", sides.target.url()])
        .arg("--state-dir")
        .arg(sides.state.path())
        .stdout(Stdio::null());
    for plugin in plugins {
        ensure!(plugin.is_file(), "no plugin {}: build it with `cargo xtask plugins`", plugin.display());
        command.arg("--plugin").arg(plugin);
    }
    Ok(command)
}

/// Compares what was copied last, offline.
pub(crate) fn verify(sides: &Sides, database: &str, plugin: &Path, method: &str) -> Result<Measure> {
    let mut command = Command::new(program("engine", "ENGINE_BINARY")?);
    command.args(["verify", TASK, "--json", "--mode", "offline", "--method", method]);
    command.args(["--source", &sides.source.url_of(database)]);
    command.args(["--target", sides.target.url()]).arg("--state-dir").arg(sides.state.path());
    command.arg("--plugin").arg(plugin).stdout(Stdio::null());
    sides.measured(|| measure(&mut command))
}

/// Forgets the task of the runs before.
pub(crate) fn forget(sides: &Sides) -> Result<()> {
    let task = sides.state.path().join(TASK);
    if task.exists() {
        std::fs::remove_dir_all(&task)?;
    }
    Ok(())
}

/// Copies one database, offline, as a new task.
pub(crate) fn snapshot(
    sides: &Sides,
    database: &str,
    plugins: &[&Path],
    configuration: Option<&Path>,
) -> Result<Measure> {
    forget(sides)?;
    let mut command = command(sides, database, plugins)?;
    command.args(["--mode", "offline"]);
    if let Some(configuration) = configuration {
        command.arg("--plugin-config").arg(configuration);
    }
    sides.measured(|| measure(&mut command))
}
