//! What a run is asked for beside the task itself; it may differ from one run to the next.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use engine_core::error::Result;
use engine_core::finding::Finding;

use crate::throttle::Limits;

/// Decides whether a task that has never run begins in spite of warnings.
#[async_trait]
pub trait Consent: Send + Sync {
    /// Whether it does. The warnings have been shown.
    async fn to_begin(&self, warnings: &[Finding]) -> Result<bool>;
}

/// Begins, whatever the warnings say.
#[derive(Debug, Clone, Copy)]
pub struct Accepted;

#[async_trait]
impl Consent for Accepted {
    async fn to_begin(&self, _warnings: &[Finding]) -> Result<bool> {
        Ok(true)
    }
}

/// See the module.
#[derive(Clone)]
pub struct RunOptions {
    /// Asked about warnings before a task's first start.
    pub consent: Arc<dyn Consent>,
    /// When the work begins; the checks are made at once.
    pub start_at: Option<SystemTime>,
    /// How fast the copy may be.
    pub limits: Limits,
    /// Compare what changes after it was applied.
    pub check_changes: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { consent: Arc::new(Accepted), start_at: None, limits: Limits::default(), check_changes: false }
    }
}
