//! The sled store of a task. Everything that touches sled or bincode is here and in `envelope`.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

use engine_core::error::{Error, ErrorKind, Result};

use super::envelope;
use super::records::TaskPlanRecord;

const PLAN_VERSION: u16 = 1;

/// The store. What the target could not tell again is flushed before a write returns.
#[derive(Debug, Clone)]
pub struct Store {
    db: sled::Db,
    path: PathBuf,
}

impl Store {
    /// Opens the store of the task whose directory is `directory`.
    pub fn open(directory: &Path) -> Result<Self> {
        let path = directory.join("store");
        // sled checks what it finds while it opens; a damaged store is an error here, or a panic
        // inside sled, which must not take the engine along.
        let opened =
            std::panic::catch_unwind(|| sled::Config::new().path(&path).cache_capacity(8 << 20).open());
        let db = match opened {
            Ok(Ok(db)) => db,
            Ok(Err(error)) => return Err(damaged(&path).caused_by(error)),
            Err(_) => return Err(damaged(&path)),
        };
        Ok(Self { db, path })
    }

    /// The plan that the task was begun with.
    pub fn plan(&self) -> Result<Option<TaskPlanRecord>> {
        self.get("plan", PLAN_VERSION)
    }

    /// Stores the plan.
    pub fn put_plan(&self, plan: &TaskPlanRecord) -> Result<()> {
        self.put("plan", PLAN_VERSION, plan)
    }

    /// Reads a record of another part of the engine.
    pub(crate) fn record<T: DeserializeOwned>(&self, key: &str, version: u16) -> Result<Option<T>> {
        self.get(key, version)
    }

    /// Writes a record of another part of the engine.
    pub(crate) fn put_record<T: Serialize>(&self, key: &str, version: u16, record: &T) -> Result<()> {
        self.put(key, version, record)
    }

    /// Reads all records whose keys begin so, by key.
    pub(crate) fn records<T: DeserializeOwned>(&self, prefix: &str, version: u16) -> Result<Vec<T>> {
        let entries = self.db.scan_prefix(prefix).map(|entry| {
            let (_, bytes) = entry.map_err(|error| damaged(&self.path).caused_by(error))?;
            envelope::open(version, &bytes).map_err(|error| damaged(&self.path).caused_by(error))
        });
        entries.collect()
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) -> Result<()> {
        self.db.clear().map_err(|error| self.unwritable(error))?;
        self.db.flush().map_err(|error| self.unwritable(error))?;
        Ok(())
    }

    fn get<T: DeserializeOwned>(&self, key: &str, version: u16) -> Result<Option<T>> {
        let bytes = self.db.get(key).map_err(|error| damaged(&self.path).caused_by(error))?;
        bytes
            .map(|bytes| envelope::open(version, &bytes))
            .transpose()
            .map_err(|error| damaged(&self.path).at("record", key).caused_by(error))
    }

    fn put<T: Serialize>(&self, key: &str, version: u16, record: &T) -> Result<()> {
        self.db.insert(key, envelope::seal(version, record)?).map_err(|error| self.unwritable(error))?;
        self.db.flush().map_err(|error| self.unwritable(error))?;
        Ok(())
    }

    fn unwritable(&self, error: sled::Error) -> Error {
        Error::new(ErrorKind::State, "the task's store can't be written")
            .at("directory", self.path.display())
            .caused_by(error)
            .help("free some space or mend the disk, then run the same command again")
    }
}

fn damaged(path: &Path) -> Error {
    Error::new(ErrorKind::State, "the task's store is damaged").at("directory", path.display()).help(
        "delete that directory and run the same command again: the target knows what it has, so nothing is lost",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_or_overwritten_store_opens_or_says_what_to_do() {
        for (cut, fill) in [(0, 0), (100, 0), (5000, 0), (20, 4000)] {
            let directory = tempfile::tempdir().expect("a temporary directory");
            {
                let store = Store::open(directory.path()).expect("a new store");
                store.put("a", 1, &vec![7_u8; 9000]).expect("a writable store");
            }
            let file = directory.path().join("store/db");
            let mut bytes = std::fs::read(&file).expect("sled's file");
            bytes.truncate(cut);
            bytes.extend(std::iter::repeat_n(b'x', fill));
            std::fs::write(&file, bytes).expect("a writable file");
            let told = Store::open(directory.path()).and_then(|store| store.plan());
            if let Err(error) = told {
                assert!(error.to_string().contains("delete that directory"), "{error}");
            }
        }
    }
}
