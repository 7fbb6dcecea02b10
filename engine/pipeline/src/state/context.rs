//! What plugins were told when the task was begun, for whoever plans as the task did while another
//! process has its store.

use std::fs;
use std::path::Path;

use engine_core::error::{Error, ErrorKind, Result};

use super::records::RunContext;
use super::store::Store;

const FILE: &str = "context.json";

/// Writes it into a task's directory, whole or not at all.
pub fn write_context(directory: &Path, context: &RunContext) -> Result<()> {
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::State, "the task's context can't be written")
            .at("directory", directory.display())
            .caused_by(error)
    };
    let text = serde_json::to_vec_pretty(context).map_err(|error| {
        Error::new(ErrorKind::Internal, "the task's context can't be written").caused_by(error)
    })?;
    let fresh = directory.join("context.json.new");
    fs::write(&fresh, text).map_err(failed)?;
    fs::rename(&fresh, directory.join(FILE)).map_err(failed)
}

/// What plugins were told; for a task without a record of it, what they would be told now.
pub fn context(directory: &Path, task: &str) -> Result<RunContext> {
    let path = directory.join(FILE);
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| {
            Error::new(ErrorKind::State, "the task's context can't be read")
                .at("file", path.display())
                .caused_by(error)
        }),
        Err(_) if directory.join("store").is_dir() => {
            let stored = Store::open(directory)?.plan()?;
            Ok(stored.map_or_else(|| RunContext::of_task(task), |plan| plan.context))
        }
        Err(_) => Ok(RunContext::of_task(task)),
    }
}
