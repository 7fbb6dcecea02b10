//! The copy.

use engine_core::error::{Error, ErrorKind, Result};
use engine_core::finding::{Finding, Severity};
use std::sync::Arc;

use super::Task;
use super::prepare::Prepared;
use crate::snapshot::{self, Copied};
use crate::throttle::Throttle;

/// How often in a row the target may lose everything that is copied.
const COPIED_IN_VAIN: u32 = 3;

/// How often merged tables are copied again because rows moved between them.
const COPIED_AMID_MOVES: u32 = 5;

impl Task {
    pub(super) async fn copy(&self, prepared: &Prepared, online: bool) -> Result<()> {
        let spec = &self.spec;
        // A source without a log can't tell; then nothing is said about it.
        let before = if online { None } else { spec.source.high_watermark().await.ok() };
        let mut done = prepared.record.chunks.clone();
        let (mut in_vain, mut moves) = (0, 0);
        let throttle = Throttle::new(self.options.limits, Arc::clone(&self.progress));
        loop {
            let pass = self.gate.enter().await?;
            let copied = tokio::select! {
                copied = snapshot::copy(spec, &prepared.routes, &done, online, &throttle, &pass.stop) => copied,
                () = throttle.watch(spec.source.as_ref()) => Ok(Copied::Whole),
            };
            drop(pass);
            throttle.over();
            let mut was_paused = false;
            let mut has_moved = false;
            match copied {
                Err(error) if self.gate.is_ours(&error) => {
                    was_paused = true;
                    drop(self.gate.enter().await?);
                }
                other => has_moved = other? == Copied::Moved,
            }
            // What a loader was told was committed may be gone since, if the server crashed.
            self.patiently(|| spec.target.flush()).await?;
            let record = self.patiently(|| spec.target.task(&spec.name)).await?;
            let there = record.map(|record| record.chunks).unwrap_or_default();
            let tables = prepared.routes.iter().map(|route| route.composed().as_ref());
            if snapshot::is_complete(tables, &there) {
                break;
            }
            if has_moved {
                moves += 1;
                if moves > COPIED_AMID_MOVES {
                    return Err(Error::new(ErrorKind::Precondition, "rows keep moving between tables that become one")
                        .at("task", &spec.name)
                        .because("each time they were copied, a row was found in two of them")
                        .help("keep rows where they are until the copy is complete, then run the same command again"));
                }
                done = there;
                continue;
            }
            // A crash can take all that was copied since the last look, but hardly again and again.
            in_vain = if there == done && !was_paused { in_vain + 1 } else { 0 };
            if in_vain > COPIED_IN_VAIN {
                return Err(Error::new(ErrorKind::State, "the target does not keep what is copied into it")
                    .at("task", &spec.name)
                    .because("chunks that it confirmed are not on record there")
                    .help("see whether somebody else changes or restores the target, then run the same command again"));
            }
            if !was_paused {
                tracing::warn!("the target has lost chunks in a crash, which are copied again");
            }
            done = there;
        }
        self.progress.update(|report| report.tables.iter_mut().for_each(|table| table.copied = true));
        if let Some(before) = before
            && spec.source.high_watermark().await.ok().is_some_and(|after| after != before)
        {
            self.note(vec![Finding {
                severity: Severity::Warning,
                subject: "source".into(),
                message:
                    "it was written to while it was copied offline, so tables may be from different moments"
                        .into(),
                fix: Some("stop writes and copy again, or use --mode online".into()),
            }])?;
        }
        Ok(())
    }
}
