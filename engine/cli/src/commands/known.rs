//! Commands about a task that was begun, which is called by its name.

use std::path::PathBuf;

use engine_core::{ErrorKind, Result};
use engine_pipeline::state;
use engine_pipeline::task::TaskSpec;

use crate::arguments::{TaskArguments, UntilArgument};
use crate::environment;
use crate::settings::{STATE_DIR, Settings, check_name};

/// The settings of the task. Where nothing says which databases it is about, the name is all that can be
/// wrong with the command line, and is looked at first.
pub(super) fn settings(
    named: Option<String>,
    mut task: TaskArguments,
    until: Option<UntilArgument>,
) -> Result<Settings> {
    if let Some(named) = named {
        task.name = Some(check_name(named)?);
    }
    let is_complete = task.task.is_some() || (task.source.is_some() && task.target.is_some());
    if !is_complete && let Some(name) = task.name.clone() {
        let name = check_name(name)?;
        let state_dir = task.state_dir.clone().unwrap_or_else(|| PathBuf::from(STATE_DIR));
        if !state::is_known(&state_dir, &name) {
            return Err(state::unknown_task(&state_dir, &name));
        }
    }
    Settings::gather(task, until, &environment::variable).map_err(|error| {
        if is_complete || error.kind() != ErrorKind::Usage {
            return error;
        }
        error.help("give the options that the task was run with, such as --task FILE")
    })
}

/// Fails for a task that neither the state directory, which may be lost, nor the target has heard of.
pub(super) async fn require(spec: &TaskSpec) -> Result<()> {
    if state::is_known(&spec.state_dir, &spec.name) || spec.target.task(&spec.name).await?.is_some() {
        return Ok(());
    }
    Err(state::unknown_task(&spec.state_dir, &spec.name))
}
