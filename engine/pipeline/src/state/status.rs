//! The status file: what `engine status` reads, also while the task runs.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use engine_core::error::{Error, ErrorKind, Result};

use super::directory::{is_known, unknown_task};
use crate::progress::Report;

const FILE: &str = "status.json";

/// Writes the report into a task's directory, whole or not at all.
pub fn write_status(directory: &Path, report: &Report) -> Result<()> {
    // Whoever answers over the control socket writes it too.
    static WRITING: Mutex<()> = Mutex::new(());
    let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::State, "the status file can't be written")
            .at("directory", directory.display())
            .caused_by(error)
    };
    let text = serde_json::to_vec_pretty(report)
        .map_err(|error| Error::new(ErrorKind::Internal, "the status can't be written").caused_by(error))?;
    let fresh = directory.join("status.json.new");
    fs::write(&fresh, text).map_err(failed)?;
    fs::rename(&fresh, directory.join(FILE)).map_err(failed)
}

/// Reads the last reports of one task, or of all tasks under `state_dir`, by name. A task whose
/// process is gone is reported as ended.
pub fn status(state_dir: &Path, task: Option<&str>) -> Result<Vec<Report>> {
    let mut reports = Vec::new();
    let names = match task {
        Some(name) => vec![name.to_owned()],
        None => task_names(state_dir)?,
    };
    for name in names {
        let path = state_dir.join(&name).join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(_) if task.is_none() => continue,
            Err(_) if !is_known(state_dir, &name) => return Err(unknown_task(state_dir, &name)),
            Err(error) => {
                return Err(Error::new(ErrorKind::State, "the status file can't be read")
                    .at("file", path.display())
                    .caused_by(error));
            }
        };
        let mut report: Report = serde_json::from_slice(&text).map_err(|error| {
            Error::new(ErrorKind::State, "the status file can't be read")
                .at("file", path.display())
                .caused_by(error)
        })?;
        if report.pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            report.pid = None;
        }
        reports.push(report);
    }
    Ok(reports)
}

fn task_names(state_dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(state_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(Error::new(ErrorKind::State, "the state directory can't be read")
                .at("directory", state_dir.display())
                .caused_by(error));
        }
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok().and_then(|entry| entry.file_name().into_string().ok()))
        .collect();
    names.sort();
    Ok(names)
}
