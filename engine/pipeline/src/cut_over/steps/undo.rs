//! How everything comes to be as it was.

use engine_core::cut_over::WriteState;
use engine_core::error::{Error, ErrorKind, Result};
use std::time::Duration;
use tokio::time::{sleep, timeout};

use super::super::{Step, intent, way_back};
use super::{ATTEMPTS, LOOK, MARKING, PATIENCE, Work};

impl Work {
    /// Has everything as it was, and answers with the reason.
    pub(super) async fn roll_back<T>(&mut self, before: Option<&WriteState>, reason: Error) -> Result<T> {
        self.begin(Step::RollBack, "putting everything back").await;
        if self.options.way_back {
            way_back::give_up(&self.subject.spec).await;
        }
        if let Err(error) = self.withdraw().await {
            // With triggers there, no change may be applied; the next run removes them first.
            self.subject.gate.stop_token().cancel();
            tracing::error!("the task stops, since triggers may be left in the target: {error}");
        }
        self.subject.gate.go_on();
        let Some(before) = before else {
            self.done("the task follows its source again").await;
            return Err(reason);
        };
        let mut failure = None;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                sleep(Duration::from_secs(1)).await;
            }
            match timeout(PATIENCE, self.subject.spec.source.restore_writes(before)).await {
                Ok(Ok(())) => {
                    intent::remove(&self.subject.directory)?;
                    self.done("the source takes writes again, and the task follows it").await;
                    return Err(reason);
                }
                Ok(Err(error)) => failure = Some(error.to_string()),
                Err(_) => failure = Some("it does not answer".to_owned()),
            }
        }
        let error = Error::new(ErrorKind::State, "the source is left read-only")
            .at("source", &self.subject.spec.source_label)
            .because(format!("{}; it was to be undone because of: {reason}", failure.unwrap_or_default()))
            .help(format!("run there: {}", before.statement));
        Err(self.failed(error).await)
    }

    /// Removes the triggers, before changes are applied again.
    async fn withdraw(&self) -> Result<()> {
        let mut outcome = Ok(());
        for _ in 0..ATTEMPTS {
            let withdrawn = timeout(MARKING, self.subject.spec.target.withdraw_triggers()).await;
            outcome = withdrawn
                .unwrap_or_else(|_| Err(Error::new(ErrorKind::Transient, "the target does not answer")));
            if outcome.is_ok() {
                break;
            }
            sleep(LOOK * 5).await;
        }
        outcome
    }
}
