//! The directory of a task and the lock on it.

use fs4::fs_std::FileExt as _;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use engine_core::error::{Error, ErrorKind, Result};

const DEAD_LETTERS: &str = "dead-letter.jsonl";

/// Where the rows are that task `task` set aside, for whoever only reads them.
pub fn dead_letters(state_dir: &Path, task: &str) -> PathBuf {
    state_dir.join(task).join(DEAD_LETTERS)
}

/// A task's directory, locked for this process until dropped.
#[derive(Debug)]
pub struct TaskDirectory {
    path: PathBuf,
    _lock: File,
}

impl TaskDirectory {
    /// Locks the directory of a task that has been run.
    pub fn open_existing(state_dir: &Path, task: &str) -> Result<Self> {
        if state_dir.join(task).is_dir() {
            return Self::open(state_dir, task);
        }
        Err(Error::new(ErrorKind::State, "there is no such task")
            .at("task", task)
            .at("directory", state_dir.display())
            .help("engine status without a name lists the tasks; --state-dir says where to look"))
    }

    /// Makes the directory if need be, and locks it. Another engine on the same task is an error.
    pub fn open(state_dir: &Path, task: &str) -> Result<Self> {
        let well_formed = !task.is_empty()
            && !task.starts_with('.')
            && task.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if !well_formed {
            return Err(Error::new(ErrorKind::Usage, "the task's name can't be used")
                .at("name", task)
                .because(
                    "it also names a directory: letters, digits, '.', '_' and '-', not beginning with '.'",
                )
                .help("give another one with --name"));
        }
        let path = state_dir.join(task);
        let failed = |what: &str, error: std::io::Error| {
            Error::new(ErrorKind::State, what.to_owned())
                .at("directory", path.display())
                .caused_by(error)
                .help("choose a writable place with --state-dir")
        };
        fs::create_dir_all(&path).map_err(|error| failed("the state directory can't be made", error))?;
        let lock_path = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(|error| failed("the state directory can't be locked", error))?;
        match lock.try_lock_exclusive() {
            Ok(true) => Ok(Self { path, _lock: lock }),
            Ok(false) => Err(Error::new(ErrorKind::State, "another engine is running this task")
                .at("task", task)
                .help(format!(
                    "see what it does with: engine status {task}; or begin another task with --name"
                ))),
            Err(error) => Err(failed("the state directory can't be locked", error)),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The dead-letter file.
    pub fn dead_letters(&self) -> PathBuf {
        self.path.join(DEAD_LETTERS)
    }
}
