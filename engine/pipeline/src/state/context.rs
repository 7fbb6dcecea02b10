//! What plugins were told when the task was begun, and which files they were, for whoever plans as the task
//! did while another process has its store.

use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

use engine_core::error::{Error, ErrorKind, Result};

use super::records::{PluginFile, RunContext, TaskPlanRecord};
use super::store::Store;

const FILE: &str = "context.json";

/// What a task was begun with, as far as it is no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BegunWith {
    /// What plugins were told.
    #[serde(flatten)]
    pub context: RunContext,
    /// The files of the chain; `None` when there is no record of them.
    #[serde(default)]
    pub plugins: Option<Vec<PluginFile>>,
}

impl From<&TaskPlanRecord> for BegunWith {
    fn from(plan: &TaskPlanRecord) -> Self {
        let plugins = plan.plugins.iter().map(PluginFile::from).collect();
        Self { context: plan.context.clone(), plugins: Some(plugins) }
    }
}

/// Writes it into a task's directory, whole or not at all.
pub fn write_context(directory: &Path, context: &BegunWith) -> Result<()> {
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

/// What a task was begun with; for one without a record of it, what it would be now.
pub fn context(directory: &Path, task: &str) -> Result<BegunWith> {
    let path = directory.join(FILE);
    let unknown = || BegunWith { context: RunContext::of_task(task), plugins: None };
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| {
            Error::new(ErrorKind::State, "the task's context can't be read")
                .at("file", path.display())
                .caused_by(error)
        }),
        Err(_) if directory.join("store").is_dir() => {
            let stored = Store::open(directory)?.plan()?;
            Ok(stored.as_ref().map_or_else(unknown, BegunWith::from))
        }
        Err(_) => Ok(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::PluginRecord;

    #[test]
    fn a_configuration_may_hold_secrets_and_stays_out_of_the_file() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let plugin = PluginRecord {
            name: "mask".into(),
            version: "1.0.0".into(),
            digest: "ab".repeat(32),
            config: r#"{"salt": "pepper"}"#.into(),
        };
        let context = RunContext::of_task("shop");
        let record =
            TaskPlanRecord { digest: String::new(), plugins: vec![plugin], context, tables: Vec::new() };
        let written = BegunWith::from(&record);
        write_context(directory.path(), &written).expect("a writable directory");
        let text = fs::read_to_string(directory.path().join(FILE)).expect("the file");
        assert!(!text.contains("pepper"), "{text}");
        assert_eq!(context_of(directory.path()), written);
        // One that was written before it had the files.
        let old = serde_json::to_vec(&record.context).expect("JSON");
        fs::write(directory.path().join(FILE), old).expect("a writable directory");
        assert_eq!(context_of(directory.path()), BegunWith { plugins: None, ..written });
    }

    fn context_of(directory: &Path) -> BegunWith {
        context(directory, "shop").expect("a context")
    }
}
