//! Rows that were set aside: one JSON object per line, so that nothing is lost in silence.

use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use engine_core::error::{Error, ErrorKind, Result};

/// A row that was set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadRow {
    /// Source table, `database.table`.
    pub table: String,
    /// The column at fault, when one is known.
    pub column: Option<String>,
    /// Machine-readable reason.
    pub code: String,
    /// Reason.
    pub reason: String,
    /// Values by column name, in canonical text; `null` for NULL.
    pub row: Vec<(String, Option<String>)>,
}

/// The dead-letter file of a task, made when the first row is set aside.
#[derive(Debug)]
pub struct DeadLetters {
    path: PathBuf,
    file: Mutex<Option<File>>,
}

impl DeadLetters {
    /// The file at `path`, which need not exist.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), file: Mutex::new(None) }
    }

    /// Appends a row. It is on disk when this returns.
    pub fn write(&self, row: &DeadRow) -> Result<()> {
        let failed = |error: std::io::Error| {
            Error::new(ErrorKind::State, "a row can't be set aside")
                .at("file", self.path.display())
                .caused_by(error)
        };
        let mut line = serde_json::to_vec(row).map_err(|error| {
            Error::new(ErrorKind::Internal, "a dead row can't be written").caused_by(error)
        })?;
        line.push(b'\n');
        let mut slot = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            *slot = Some(OpenOptions::new().create(true).append(true).open(&self.path).map_err(failed)?);
        }
        if let Some(file) = slot.as_mut() {
            file.write_all(&line).map_err(failed)?;
            file.sync_data().map_err(failed)?;
        }
        Ok(())
    }
}
