//! A check that meets a change of structure begins anew, once the target has it.
//!
//! Rows from before the change and rows from after it have different plans, so that what was compared counts for
//! nothing. Which of the two is first to be seen depends on how far the engine is: the check's own stream meets the
//! statement, a read fails over a column that is gone, or the target has another plan already.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use engine_core::error::Result;
use engine_core::position::Position;

use crate::task::TaskSpec;

use super::look::interrupted;
use super::report::Progress;

/// How often a check is begun at the most.
pub(super) const MOST: u32 = 20;
/// For how long a target may stand still that has not come to the change: longer, and no engine runs.
const STANDSTILL: Duration = Duration::from_secs(30);
/// How long the check's own stream may take to meet what a read has failed over.
const MEETING: Duration = Duration::from_secs(2);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// What a check has met.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Met {
    /// The plan that was compared by.
    plan_digest: String,
    /// Where the change ends in the source, as far as it was read there.
    position: Option<Position>,
}

/// Where whoever meets a change of structure notes it.
#[derive(Debug, Default)]
pub(super) struct Altered(Mutex<Option<Met>>);

impl Altered {
    /// Notes a change that ends at `position`, which the plan of `plan_digest` is older than.
    pub(super) fn note(&self, plan_digest: &str, position: Option<Position>) {
        let met = Met { plan_digest: plan_digest.to_owned(), position };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(met);
    }

    fn met(&self) -> Option<Met> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives the check's stream the time to meet what a read may have failed over.
    pub(super) async fn settle(&self) {
        let until = Instant::now() + MEETING;
        while self.met().is_none() && Instant::now() < until {
            tokio::time::sleep(PAUSE / 5).await;
        }
    }

    /// Waits until the target has the change that was met; `false` when none was, or nobody carries it over.
    pub(super) async fn is_over(
        &self,
        spec: &TaskSpec,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> Result<bool> {
        let Some(met) = self.met() else { return Ok(false) };
        progress.update(|state| {
            state.doing = "waiting for a change of structure to be carried over";
            (state.rows, state.wrong, state.tables_done) = (0, 0, 0);
        });
        let (mut stands, mut since) = (None, Instant::now());
        loop {
            let Some(record) = spec.target.task(&spec.name).await? else { return Ok(false) };
            if record.plan_digest != met.plan_digest {
                return Ok(true);
            }
            if let (Some(wanted), Some(reached)) = (&met.position, &record.position)
                && spec.source.covers(reached, wanted)?
            {
                return Ok(true);
            }
            if record.position != stands {
                (stands, since) = (record.position, Instant::now());
            }
            if since.elapsed() > STANDSTILL {
                return Ok(false);
            }
            tokio::select! {
                () = stop.cancelled() => return Err(interrupted()),
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }
}
