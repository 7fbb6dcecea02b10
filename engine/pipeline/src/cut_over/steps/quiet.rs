//! Whether writes are stopped, and the target has everything.

use engine_core::error::{Error, ErrorKind, Result};
use engine_core::finding::Severity;
use engine_core::position::Position;
use std::sync::Arc;
use tokio::time::sleep;

use super::{Frozen, LOOK, STILL, STILL_UNFROZEN, Work};
use crate::control::gate::Held;

/// What the target had when it had everything up to a position.
struct Applied {
    position: Position,
    /// By the source's table.
    changes: Vec<(String, u64)>,
    tables: Arc<Held>,
}

impl Applied {
    /// Whether nothing was written between the two.
    fn is_same(&self, later: &Self) -> bool {
        self.changes == later.changes && self.tables.is_same(&later.tables)
    }

    /// The tables that were written to between the two.
    fn written(&self, later: &Self) -> String {
        let is_new = |change: &&(String, u64)| !self.changes.contains(change);
        let written: Vec<&str> =
            later.changes.iter().filter(is_new).map(|(table, _)| table.as_str()).collect();
        if written.is_empty() { "the structure of a table".to_owned() } else { written.join(", ") }
    }
}

impl Work {
    /// Waits until nothing of the task's tables is written, and no transaction is open that was when
    /// writes were stopped. The stream proves it: from one position of the source to a later one it
    /// had no change. Other databases of the server may be written to meanwhile.
    pub(super) async fn quiet(&mut self, frozen: &Frozen) -> Result<Position> {
        let source = Arc::clone(&self.subject.spec.source);
        let still = if frozen.before.is_some() { STILL } else { STILL_UNFROZEN };
        loop {
            let before = self.applied_to_here().await?;
            sleep(still).await;
            let after = self.applied_to_here().await?;
            let open = source.unfinished(frozen.since.elapsed()).await?;
            // What is open on a frozen source can't commit any more, unless it is prepared.
            let open =
                open.iter().find(|finding| finding.severity == Severity::Failed || frozen.before.is_none());
            if let Some(open) = open {
                self.underway(format!("{}: {}", open.subject, open.message)).await;
            } else if before.is_same(&after) {
                return Ok(after.position);
            } else {
                self.underway(format!("still being written to: {}", before.written(&after))).await;
            }
        }
    }

    /// Reads the source's position and waits until the target has everything up to there.
    async fn applied_to_here(&self) -> Result<Applied> {
        let source = &self.subject.spec.source;
        let position = source.high_watermark().await?;
        loop {
            let report = self.subject.progress.report();
            if let Some(reached) = report.position.clone().map(Position)
                && source.covers(&reached, &position)?
            {
                let changes =
                    report.tables.iter().map(|table| (table.table.clone(), table.changes_applied)).collect();
                let tables = self.subject.gate.tables();
                return Ok(Applied { position, changes, tables });
            }
            sleep(LOOK / 4).await;
        }
    }

    /// Makes sure that nothing was written since `end`; answers with the source's position now, up to
    /// which the target has everything.
    pub(super) async fn still_quiet(&self, end: Position, held: &Arc<Held>) -> Result<Position> {
        let now = self.subject.spec.source.high_watermark().await?;
        if now == end {
            return Ok(end);
        }
        // Of another database, perhaps: the stream knows.
        let before = self.subject.progress.report().changes_applied();
        self.subject.gate.drain(&now).await?;
        let is_same = self.subject.gate.tables().is_same(held)
            && self.subject.progress.report().changes_applied() == before;
        if is_same {
            return Ok(now);
        }
        Err(Error::new(ErrorKind::Precondition, "the source was written to after writes were stopped")
            .at("position", &now)
            .because(format!("nothing had been written up to {end}"))
            .help("find who writes; accounts with special rights write to a read-only MariaDB, too"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_still_written_to_is_named() {
        let applied = |changes: &[(&str, u64)]| Applied {
            position: Position("p".into()),
            changes: changes.iter().map(|&(table, count)| (table.to_owned(), count)).collect(),
            tables: Arc::default(),
        };
        let before = applied(&[("shop.a", 3), ("shop.b", 7)]);
        let after = applied(&[("shop.a", 3), ("shop.b", 8), ("shop.c", 2)]);
        assert_eq!(before.written(&after), "shop.b, shop.c");
        assert!(!before.is_same(&after));
    }
}
