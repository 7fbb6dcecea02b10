//! What a check or a plan has to say about one thing, short of an error.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Seen, and as it should be.
    Pass,
    /// A decision worth knowing.
    Note,
    /// Works, but somebody should look.
    Warning,
    /// The task can't go on.
    Failed,
}

/// One observation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What it is about: `source binlog_format`, `shop.orders.note`.
    pub subject: String,
    /// What was seen and why it matters.
    pub message: String,
    /// The statement or setting that mends it.
    pub fix: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Pass => "pass",
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Failed => "failed",
        };
        write!(f, "{severity}: {}: {}", self.subject, self.message)?;
        match &self.fix {
            Some(fix) => write!(f, "; {fix}"),
            None => Ok(()),
        }
    }
}
