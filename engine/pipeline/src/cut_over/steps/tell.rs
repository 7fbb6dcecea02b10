//! What is told of the steps, and asked.

use engine_core::error::{Error, ErrorKind, Result};
use std::fmt::Display;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::{Event, Progressed, Step};
use super::Work;
use crate::control::gate::Gate;

impl Work {
    pub(super) async fn ask(&mut self, text: String) -> Result<()> {
        if self.options.yes {
            return Ok(());
        }
        let no = || Error::new(ErrorKind::Interrupted, "the cut-over was given up");
        self.talk.events.send(Event::Question { text }).await.map_err(|_| no())?;
        tokio::select! {
            biased;
            error = given_up(&self.talk.abort, &self.subject.gate) => Err(error),
            answer = self.talk.answers.recv() => if answer == Some(true) { Ok(()) } else { Err(no()) },
        }
    }

    pub(super) async fn begin(&mut self, step: Step, detail: impl Display) {
        if self.step != step || step == Step::Ready {
            self.step = step;
            self.began = Instant::now();
        }
        self.underway(detail).await;
    }

    pub(super) async fn underway(&mut self, detail: impl Display) {
        let detail = detail.to_string();
        self.detail = Some(detail.clone());
        self.tell(Progressed::Underway, detail, None).await;
    }

    pub(super) async fn done(&self, detail: impl Display) {
        self.tell(Progressed::Done, detail, None).await;
    }

    pub(super) async fn done_with(&self, detail: impl Display, undo: Option<String>) {
        self.tell(Progressed::Done, detail, undo).await;
    }

    pub(super) async fn failed(&self, error: Error) -> Error {
        let why = error.why().map(|why| format!(": {why}")).unwrap_or_default();
        self.tell(Progressed::Failed, format!("{}{why}", error.what()), None).await;
        error
    }

    /// Whoever listened may have gone; what is done goes on all the same.
    async fn tell(&self, state: Progressed, detail: impl Display, undo: Option<String>) {
        let detail = detail.to_string();
        tracing::info!(step = self.step.name(), ?state, detail, "cut-over");
        let doing = format!("being cut over, at the step {}", self.step.name());
        self.subject.progress.update(|report| report.waits_for = Some(doing));
        let took_ms = self.began.elapsed().as_millis() as u64;
        let event = Event::Step { step: self.step, state, detail, took_ms, undo };
        drop(self.talk.events.send(event).await);
    }
}

/// Waits until somebody wants no cut-over any more, or there is nothing left to be cut over.
pub(super) async fn given_up(abort: &CancellationToken, gate: &Gate) -> Error {
    tokio::select! {
        () = abort.cancelled() => Error::new(ErrorKind::Interrupted, "the cut-over was given up"),
        () = gate.stop_token().cancelled() => {
            Error::new(ErrorKind::Interrupted, "the task was stopped during the cut-over")
        }
        () = gate.ended() => Error::new(ErrorKind::State, "the task ended during the cut-over")
            .help("its engine run says why"),
    }
}
