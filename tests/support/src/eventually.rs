//! Waiting for a condition.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long anything in a test may take, on a machine that does much else: what lasts longer hangs.
pub const PATIENCE: Duration = Duration::from_mins(5);

const INTERVAL: Duration = Duration::from_millis(20);

/// Asks again and again until there is an answer; fails when patience has run out, naming `what` was awaited.
pub async fn eventually<T>(what: &str, ask: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    within(what, PATIENCE, ask).await
}

/// Like [`eventually`], with a limit of its own.
pub async fn within<T>(
    what: &str,
    limit: Duration,
    mut ask: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if begin.elapsed() > limit {
            bail!("{what}: not within {} s", limit.as_secs());
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
