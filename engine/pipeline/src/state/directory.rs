//! The directory of a task and the lock on it.

use fs4::fs_std::FileExt as _;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use engine_core::error::{Error, ErrorKind, Result};

const DEAD_LETTERS: &str = "dead-letter.jsonl";
const LOCK: &str = "lock";
/// Tasks that a message names; more would hide it.
const LISTED: usize = 10;

/// Where the rows are that task `task` set aside, for whoever only reads them.
pub fn dead_letters(state_dir: &Path, task: &str) -> PathBuf {
    state_dir.join(task).join(DEAD_LETTERS)
}

/// Whether `task` was run with this state directory.
pub fn is_known(state_dir: &Path, task: &str) -> bool {
    state_dir.join(task).join(LOCK).is_file()
}

/// The error of whoever names a task that was not run with this state directory.
pub fn unknown_task(state_dir: &Path, task: &str) -> Error {
    let mut names: Vec<String> = fs::read_dir(state_dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_known(state_dir, name))
        .collect();
    names.sort();
    let more = names.len().saturating_sub(LISTED);
    names.truncate(LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let tasks = if names.is_empty() {
        "no task was run with it: engine run begins one".to_owned()
    } else {
        format!("its tasks are: {}{more}", names.join(", "))
    };
    Error::new(ErrorKind::State, format!("there is no task '{task}' in this state directory"))
        .at("state directory", state_dir.display())
        .help(format!("{tasks}\nif the task was run with another, name that with --state-dir"))
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
        if is_known(state_dir, task) {
            Self::open(state_dir, task)
        } else {
            Err(unknown_task(state_dir, task))
        }
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
        let lock_path = path.join(LOCK);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_unknown_task_the_others_are_told() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state_dir = directory.path();
        let help = || unknown_task(state_dir, "shop").remedy().unwrap_or_default().to_owned();
        assert!(help().starts_with("no task was run with it"), "{}", help());
        // What is not a task's.
        fs::create_dir(state_dir.join("compiled-plugins")).expect("a writable directory");
        for number in 10..22 {
            TaskDirectory::open(state_dir, &format!("t{number}")).expect("a new task");
        }
        let listed: Vec<String> = (10..20).map(|number| format!("t{number}")).collect();
        let expected = format!("its tasks are: {} and 2 more", listed.join(", "));
        assert_eq!(help().lines().next(), Some(expected.as_str()));
        assert!(help().contains("--state-dir"));
        assert!(is_known(state_dir, "t10") && !is_known(state_dir, "compiled-plugins"));
    }
}
