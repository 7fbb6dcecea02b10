//! The last step, which can't be undone, and what comes after it.

use engine_core::cut_over::CutOver;
use engine_core::error::{Error, ErrorKind};
use engine_core::position::Position;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

use super::super::{Completed, Step, intent};
use super::{ATTEMPTS, Frozen, MARKING, Work};
use crate::progress::now_ms;

impl Work {
    /// Records the end. The error says whether what was done can be undone.
    pub(super) async fn commit(
        &mut self,
        frozen: &Frozen,
        (position, way_back): (Position, Option<Position>),
    ) -> Result<Completed, (Error, bool)> {
        let spec = Arc::clone(&self.subject.spec);
        self.begin(Step::Commit, "recording the end").await;
        let (before, at_ms) = (frozen.before.clone(), now_ms());
        let mark = CutOver { task: spec.name.clone(), position, way_back, before, at_ms };
        let marked = timeout(MARKING, spec.target.mark_cut_over(&mark))
            .await
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Transient, "the target does not answer")));
        if let Err(error) = marked {
            self.recorded(&mark, error).await?;
        }
        let frozen_ms = frozen.since.elapsed().as_millis() as u64;
        self.subject.progress.update(|report| report.cut_over = Some(mark.position.to_string()));
        self.done("the end is on record in the target, and no engine can write for this task any more").await;
        // From here on nothing may fail.
        if let Err(error) = intent::remove(&self.subject.directory) {
            tracing::warn!("{error}");
        }
        self.subject.gate.complete();
        if self.subject.spec.target.takes_objects() {
            self.events().await;
        }
        Ok(Completed {
            task: spec.name.clone(),
            source: spec.source_label.clone(),
            target: spec.target_label.clone(),
            position: mark.position.to_string(),
            way_back: mark.way_back.as_ref().map(ToString::to_string),
            frozen_ms,
            undo: frozen.before.as_ref().map(|before| before.statement.clone()),
        })
    }

    /// Has the events run, which can be done by hand if it fails.
    async fn events(&mut self) {
        self.begin(Step::Events, "waking events").await;
        let spec = Arc::clone(&self.subject.spec);
        match timeout(MARKING, spec.target.enable_events(&spec.name)).await {
            Ok(Ok(events)) => self.done(format!("{events} events run")).await,
            failed => {
                let why = match failed {
                    Ok(Err(error)) => error.to_string(),
                    _ => "the target does not answer".to_owned(),
                };
                self.done(format!("not every event runs, see ALTER EVENT … ENABLE on the target: {why}"))
                    .await;
            }
        }
    }

    /// Asks the target whether it has the record after all, its answer to the commit being lost.
    async fn recorded(&self, mark: &CutOver, error: Error) -> Result<(), (Error, bool)> {
        for _ in 0..ATTEMPTS {
            match timeout(MARKING, self.subject.spec.target.cut_over(&mark.task)).await {
                Ok(Ok(Some(found))) if found.position == mark.position => return Ok(()),
                Ok(Ok(_)) => return Err((error, true)),
                Ok(Err(_)) | Err(_) => sleep(Duration::from_secs(1)).await,
            }
        }
        let undo = mark.before.as_ref().map_or_else(
            || "if not, let the applications write to the source again".to_owned(),
            |before| format!("if not, have the source take writes again: {}", before.statement),
        );
        Err((
            Error::new(ErrorKind::Transient, "whether the end was recorded in the target is not known")
                .at("task", &mark.task)
                .because(error)
                .help(format!(
                    "once the target answers: SELECT * FROM _migration.cut_over WHERE task = '{}'; if there is a row, the \
                     task is cut over; {undo}",
                    mark.task
                )),
            false,
        ))
    }
}
