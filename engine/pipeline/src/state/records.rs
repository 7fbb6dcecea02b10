//! What is stored.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::compose::Composed;
use crate::progress::now_ms;

/// What plugins get in place of a clock and of chance; the same for the whole life of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunContext {
    /// Names the task.
    pub run_id: String,
    /// When the task was begun, microseconds since 1970.
    pub started_at_us: i64,
    /// Derived from the task's name.
    pub seed: u64,
}

impl RunContext {
    /// The context of a task that begins now. The seed depends on the name alone.
    pub fn of_task(name: &str) -> Self {
        let digest = Sha256::digest(name.as_bytes());
        let seed = digest.iter().take(8).fold(0_u64, |seed, &byte| seed << 8 | u64::from(byte));
        Self { run_id: name.to_owned(), started_at_us: (now_ms() * 1000) as i64, seed }
    }
}

/// A plugin that the task was begun with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginRecord {
    /// Its name, by its own account.
    pub name: String,
    /// Its version, by its own account.
    pub version: String,
    /// SHA-256 of the file, in hexadecimal.
    pub digest: String,
    /// Its configuration as JSON; empty when none was given.
    pub config: String,
}

/// Which file a plugin of the chain is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginFile {
    /// Its name, by its own account.
    pub name: String,
    /// Its version, by its own account.
    pub version: String,
    /// SHA-256 of the file, in hexadecimal.
    pub digest: String,
}

impl From<&PluginRecord> for PluginFile {
    fn from(record: &PluginRecord) -> Self {
        Self { name: record.name.clone(), version: record.version.clone(), digest: record.digest.clone() }
    }
}

impl PluginFile {
    /// What is seen of the digest, as `engine plugin inspect` shows it in full.
    pub fn short_digest(&self) -> &str {
        self.digest.get(..12).unwrap_or(&self.digest)
    }
}

/// The plan that a task was begun with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskPlanRecord {
    /// Digest over plugins, configuration and tables.
    pub digest: String,
    /// The chain.
    pub plugins: Vec<PluginRecord>,
    /// What plugins were told.
    pub context: RunContext,
    /// The tables, with the structure that they had on the source.
    pub tables: Vec<Composed>,
}
