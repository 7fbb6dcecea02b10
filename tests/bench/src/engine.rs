//! Runs of the engine.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use test_support::process::{measure, program};

use crate::measure::Measure;
use crate::sides::Sides;

/// A command that migrates one database.
pub(crate) fn command(sides: &Sides, database: &str, plugins: &[&Path], state: &Path) -> Result<Command> {
    let mut command = Command::new(program("engine", "ENGINE_BINARY")?);
    command.args(["run", "--name", "bench", "--json", "--source", &sides.source.url_of(database)]);
    command.args(["--target", sides.target.url()]).arg("--state-dir").arg(state).stdout(Stdio::null());
    for plugin in plugins {
        ensure!(plugin.is_file(), "no plugin {}: build it with `cargo xtask plugins`", plugin.display());
        command.arg("--plugin").arg(plugin);
    }
    Ok(command)
}

/// Copies one database, offline, with a state of its own.
pub(crate) fn snapshot(
    sides: &Sides,
    database: &str,
    plugins: &[&Path],
    configuration: Option<&Path>,
) -> Result<Measure> {
    let state = tempfile::tempdir()?;
    let mut command = command(sides, database, plugins, state.path())?;
    command.args(["--mode", "offline"]);
    if let Some(configuration) = configuration {
        command.arg("--plugin-config").arg(configuration);
    }
    sides.measured(|| measure(&mut command))
}
