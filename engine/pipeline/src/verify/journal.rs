//! What a check has found so far, for the next run of it if it is interrupted.
//!
//! Only parts that were found equal are on record: they were so at the position at which they were
//! looked at. Parts with wrong rows are looked at again.

use serde::{Deserialize, Serialize};
use std::path::Path;

use engine_core::error::{Error, ErrorKind, Result};
use engine_core::source::{ChunkRange, KeyBound};

use crate::progress::now_ms;
use crate::state::{self, Store};

use super::hash::Hashing;
use super::subject::Subject;

const VERSION: u16 = 2;
const HEADER: &str = "header";

/// A part that was found equal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PartRecord {
    pub(super) table: String,
    pub(super) number: u64,
    after: Option<KeyBound>,
    to: Option<KeyBound>,
    pub(super) equal: u64,
    pub(super) followed: u64,
    pub(super) set_aside: u64,
    pub(super) passed: u64,
    /// Whether both databases summed it up.
    pub(super) is_summed: bool,
}

impl PartRecord {
    pub(super) fn new(table: String, number: u64, range: &ChunkRange) -> Self {
        let (after, to) = (range.after.clone(), range.to.clone());
        Self { table, number, after, to, equal: 0, followed: 0, set_aside: 0, passed: 0, is_summed: false }
    }

    /// Its number and the keys it had.
    pub(super) fn range(&self) -> (u64, ChunkRange) {
        (self.number, ChunkRange { after: self.after.clone(), to: self.to.clone() })
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    plan_digest: String,
    tables: Vec<String>,
    started_ms: u64,
}

/// What an interrupted check left.
pub(super) struct Before {
    /// By table of the task.
    pub(super) parts: Vec<Vec<PartRecord>>,
    /// When it began.
    pub(super) started_ms: u64,
    /// Parts that it had found equal under another plan, which count for nothing.
    pub(super) outdated: u64,
}

impl Before {
    pub(super) fn count(&self) -> u64 {
        self.parts.iter().map(|parts| parts.len() as u64).sum()
    }
}

/// The record of a check in its task's directory.
#[derive(Clone)]
pub(super) struct Journal {
    store: Store,
}

impl Journal {
    /// Opens the record. Another check of the same task is an error.
    pub(super) fn open(state_dir: &Path, task: &str) -> Result<Self> {
        if !state::is_known(state_dir, task) {
            return Err(state::unknown_task(state_dir, task));
        }
        let directory = state_dir.join(task);
        let store = Store::open(&directory.join("verify")).map_err(|error| {
            Error::new(ErrorKind::State, "the record of the check can't be opened")
                .at("task", task)
                .because("another check of the task is running, or the record is damaged")
                .help(format!(
                    "wait for the other one, or delete {}/verify and check anew",
                    directory.display()
                ))
                .caused_by(error)
        })?;
        Ok(Self { store })
    }

    /// New hashes: they don't outlive a run, since what is on record was equal.
    pub(super) fn hashing(&self, restart: bool) -> Result<Hashing> {
        if restart {
            self.store.clear()?;
        }
        Ok(Hashing::new(&Hashing::draw()))
    }

    /// What is left to do of an interrupted check of the same tables under the same plan; everything else
    /// is forgotten.
    pub(super) fn resume(&self, subject: &Subject, tables: &[String]) -> Result<Before> {
        let known: Option<Header> = self.store.record(HEADER, VERSION)?;
        let mut parts: Vec<Vec<PartRecord>> = vec![Vec::new(); subject.tables.len()];
        let known = known.filter(|header| header.tables == tables);
        let is_outdated = known.as_ref().is_some_and(|header| header.plan_digest != subject.plan_digest);
        if let Some(header) = known.filter(|_| !is_outdated) {
            for record in self.store.records::<PartRecord>("part ", VERSION)? {
                let table = subject.tables.iter().find(|table| table.name().to_string() == record.table);
                if let Some(parts) = table.and_then(|table| parts.get_mut(table.place)) {
                    parts.push(record);
                }
            }
            return Ok(Before { parts, started_ms: header.started_ms, outdated: 0 });
        }
        let outdated =
            if is_outdated { self.store.records::<PartRecord>("part ", VERSION)?.len() as u64 } else { 0 };
        self.store.clear()?;
        let started_ms = now_ms();
        let header = Header { plan_digest: subject.plan_digest.clone(), tables: tables.to_vec(), started_ms };
        self.store.put_record(HEADER, VERSION, &header)?;
        Ok(Before { parts, started_ms, outdated })
    }

    /// Puts a part on record.
    pub(super) fn note(&self, part: &PartRecord) -> Result<()> {
        self.store.put_record(&format!("part {} {}", part.table, part.number), VERSION, part)
    }

    /// Forgets a check that is over.
    pub(super) fn finish(&self) -> Result<()> {
        self.store.clear()
    }
}
