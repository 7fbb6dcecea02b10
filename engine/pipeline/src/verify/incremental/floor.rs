//! Up to where the changes of a task were compared, in a file of its directory, so that a run which is killed leaves
//! nothing unseen: the next one looks at what was applied since.

use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{ErrorKind as IoKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use engine_core::error::{Error, ErrorKind, Result};
use engine_core::position::Position;

const FILE: &str = "checked-changes.json";

/// A position before which everything was compared, or counted as not compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checked {
    pub(super) position: Position,
    /// The plan by which it was compared.
    pub(super) plan_digest: String,
}

/// The record of one task.
#[derive(Debug)]
pub(super) struct Floor {
    path: PathBuf,
    /// What is on record, once that is known.
    known: Mutex<Option<Checked>>,
}

impl Floor {
    /// That of the task with this directory.
    pub(super) fn new(directory: &Path) -> Self {
        Self { path: directory.join(FILE), known: Mutex::default() }
    }

    /// What an earlier run has left; `None` when there was none that compared changes.
    pub(super) fn read(&self) -> Result<Option<Checked>> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == IoKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("can't be read", error)),
        };
        let checked: Checked = serde_json::from_slice(&text)
            .map_err(|error| self.failed("makes no sense", error).help("remove the file"))?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(checked.clone());
        Ok(Some(checked))
    }

    /// Puts on record that everything up to a position was compared, durably.
    pub(super) fn raise(&self, position: &Position, plan_digest: &str) -> Result<()> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let checked = Checked { position: position.clone(), plan_digest: plan_digest.to_owned() };
        if known.as_ref() == Some(&checked) {
            return Ok(());
        }
        let text = serde_json::to_vec(&checked).map_err(|error| self.failed("can't be written", error))?;
        let fresh = self.path.with_extension("json.new");
        let written = File::create(&fresh).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_data()
        });
        written
            .and_then(|()| fs::rename(&fresh, &self.path))
            .map_err(|error| self.failed("can't be written", error))?;
        *known = Some(checked);
        Ok(())
    }

    /// Forgets what was compared: changes are applied now that nobody compares.
    pub(super) fn remove(&self) -> Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != IoKind::NotFound => Err(self.failed("can't be removed", error)),
            _ => Ok(()),
        }
    }

    fn failed(&self, what: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::new(ErrorKind::State, format!("the record of compared changes {what}"))
            .at("file", self.path.display())
            .caused_by(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_outlives_the_process() {
        let directory = tempfile::tempdir().expect("a directory");
        let floor = Floor::new(directory.path());
        assert_eq!(floor.read().expect("no file"), None);
        floor.raise(&Position("p=1".into()), "digest").expect("written");
        floor.raise(&Position("p=2".into()), "digest").expect("written");
        let again = Floor::new(directory.path()).read().expect("a file").expect("a record");
        assert_eq!((again.position.0.as_str(), again.plan_digest.as_str()), ("p=2", "digest"));
        floor.remove().expect("removed");
        floor.remove().expect("nothing to remove");
        assert_eq!(Floor::new(directory.path()).read().expect("no file"), None);
        fs::write(directory.path().join(FILE), "{").expect("written");
        assert!(floor.read().is_err());
    }
}
