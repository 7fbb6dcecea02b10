//! Waiting between attempts.

use std::time::Duration;
use tokio_util::sync::CancellationToken;

use engine_core::error::{Error, ErrorKind, Result};

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);
const MOST: u32 = 66;

/// Whether a task that was running may find things mended later. A server that is down refuses
/// connections, which at the start of a task would be a mistake in its URL.
pub(crate) fn may_pass(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Transient | ErrorKind::Connection)
}

/// Waits that double up to ten seconds, for about ten minutes in all: as long as a server takes to be restarted.
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// Before the first attempt.
    pub(crate) fn new() -> Self {
        Self { attempts: 0 }
    }

    /// Waits before the next attempt; gives the error back when there were enough of them, and
    /// `Interrupted` when the task is being stopped.
    pub(crate) async fn wait(&mut self, error: Error, stop: &CancellationToken) -> Result<()> {
        self.attempts += 1;
        if self.attempts > MOST {
            return Err(error);
        }
        let pause = FIRST.saturating_mul(1 << self.attempts.min(10)).min(LONGEST);
        tracing::warn!(attempt = self.attempts, pause_ms = pause.as_millis() as u64, "trying again: {error}");
        tokio::select! {
            () = stop.cancelled() => Err(Error::new(ErrorKind::Interrupted, "stopped while waiting to try again")),
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }
}

/// Does something again as long as it fails for a reason that may pass, with pauses in between.
pub(crate) async fn retried<T, F: Future<Output = Result<T>>>(
    stop: &CancellationToken,
    mut work: impl FnMut() -> F,
) -> Result<T> {
    let mut backoff = Backoff::new();
    loop {
        match work().await {
            Err(error) if may_pass(&error) => backoff.wait(error, stop).await?,
            result => return result,
        }
    }
}
