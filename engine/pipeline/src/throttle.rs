//! How fast the copy may be: rows and bytes per second, and no faster than the source bears.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use engine_core::error::Result;
use engine_core::source::{Lag, Source};

use crate::progress::Progress;
use crate::snapshot::ChunkSize;

/// Limits of the copy; `None` for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Rows read in a second, over all connections.
    pub rows_per_second: Option<u64>,
    /// Bytes read in a second, in the engine's own form.
    pub bytes_per_second: Option<u64>,
    /// While the source works on more statements than this, nothing new is begun.
    pub load: Option<u64>,
    /// While the replica that is read from is further behind than this, nothing new is begun.
    pub lag: Option<Duration>,
}

/// How long limits may have a chunk take, in seconds.
const CHUNK_SECONDS: u64 = 10;
/// Time between two looks at the source's load.
const LOOK: Duration = Duration::from_secs(1);
/// What a chunk under way waits between two batches while the source is busy.
const BUSY_BREAK: Duration = Duration::from_millis(250);

/// Slows the workers of one copy down.
#[derive(Debug)]
pub(crate) struct Throttle {
    limits: Limits,
    /// When what was read so far may have been read at the earliest.
    free_at: Mutex<Instant>,
    busy: AtomicBool,
    progress: Arc<Progress>,
}

impl Throttle {
    pub(crate) fn new(limits: Limits, progress: Arc<Progress>) -> Arc<Self> {
        Arc::new(Self { limits, free_at: Mutex::new(Instant::now()), busy: AtomicBool::new(false), progress })
    }

    /// Where the progress of the copy is told.
    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Rows and bytes of a batch: with low limits, less than a second's worth.
    pub(crate) fn batch(&self, rows: usize, bytes: usize) -> (usize, usize) {
        let least = |limit: Option<u64>, size: usize| {
            limit.map_or(size, |limit| size.min(usize::try_from(limit.max(1)).unwrap_or(size)))
        };
        (least(self.limits.rows_per_second, rows), least(self.limits.bytes_per_second, bytes))
    }

    /// How big chunks are that `workers` copy at the same time: with low limits, no more than some seconds' worth. A
    /// chunk that a stop or a pause gives up is copied again, and is read in one transaction of the source.
    pub(crate) fn chunk_size(&self, workers: usize) -> ChunkSize {
        let size = ChunkSize::default();
        let worth = |limit: Option<u64>, most: u64| {
            limit.map_or(most, |limit| most.min(limit.saturating_mul(CHUNK_SECONDS) / workers.max(1) as u64))
        };
        ChunkSize {
            bytes: worth(self.limits.bytes_per_second, size.bytes),
            rows: worth(self.limits.rows_per_second, size.rows),
        }
    }

    /// Waits after a batch until the next may be read.
    pub(crate) async fn after_batch(&self, rows: u64, bytes: u64, stop: &CancellationToken) {
        let now = Instant::now();
        let until = self.reserve(now, rows, bytes);
        if until > now {
            self.tell(Some(self.limit_text()));
            sleep(until - now, stop).await;
        }
        if self.busy.load(Ordering::Relaxed) {
            sleep(BUSY_BREAK, stop).await;
        }
    }

    /// Books what was read, and says when more may be.
    fn reserve(&self, now: Instant, rows: u64, bytes: u64) -> Instant {
        let over =
            |number: u64, limit: Option<u64>| limit.map_or(0.0, |limit| number as f64 / limit.max(1) as f64);
        let cost = over(rows, self.limits.rows_per_second).max(over(bytes, self.limits.bytes_per_second));
        if cost <= 0.0 {
            return now;
        }
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        *free_at = (*free_at).max(now) + Duration::from_secs_f64(cost);
        *free_at
    }

    /// Waits before a chunk while the source is busy.
    pub(crate) async fn before_chunk(&self, stop: &CancellationToken) {
        while self.busy.load(Ordering::Relaxed) && !stop.is_cancelled() {
            sleep(BUSY_BREAK, stop).await;
        }
    }

    /// Looks at the source's load, and how far behind it is, until dropped. A source that doesn't tell is not
    /// held against it.
    pub(crate) async fn watch(&self, source: &dyn Source) {
        if self.limits.load.is_none() && self.limits.lag.is_none() {
            return std::future::pending().await;
        }
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let why = match self.too_much(source).await {
                Ok(why) => why,
                // The copy meets the same failure, and knows what to do about it.
                Err(error) => {
                    tracing::debug!("{error}");
                    None
                }
            };
            if self.busy.swap(why.is_some(), Ordering::Relaxed) != why.is_some() {
                tracing::info!(why, "the source's load");
            }
            match why {
                Some(why) => self.tell(Some(why)),
                None if self.limits.rows_per_second.is_none() && self.limits.bytes_per_second.is_none() => {
                    self.tell(None);
                }
                None => {}
            }
        }
    }

    /// Why nothing new may be begun at this moment, if so.
    async fn too_much(&self, source: &dyn Source) -> Result<Option<String>> {
        if let Some(limit) = self.limits.load
            && let Some(load) = source.load().await?.filter(|&load| load > limit)
        {
            return Ok(Some(format!("the source is busy: {load} running, the limit is {limit}")));
        }
        let Some(limit) = self.limits.lag else { return Ok(None) };
        Ok(match source.lag().await? {
            Some(Lag::Behind(lag)) if lag > limit => {
                Some(format!("the replica is {} s behind, the limit is {} s", lag.as_secs(), limit.as_secs()))
            }
            Some(Lag::Stopped) => Some("the replica does not replicate".to_owned()),
            _ => None,
        })
    }

    /// Takes the reason for waiting off the progress.
    pub(crate) fn over(&self) {
        self.tell(None);
    }

    fn tell(&self, why: Option<String>) {
        self.progress.update(|report| report.waits_for = why);
    }

    fn limit_text(&self) -> String {
        let rows = self.limits.rows_per_second.map(|rows| format!("{rows} rows/s"));
        let bytes = self.limits.bytes_per_second.map(|bytes| format!("{} MB/s", bytes as f64 / 1e6));
        format!("limited to {}", rows.into_iter().chain(bytes).collect::<Vec<_>>().join(" and "))
    }
}

async fn sleep(time: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(time) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle(limits: Limits) -> Arc<Throttle> {
        Throttle::new(limits, Arc::new(Progress::new("t", "s", "t")))
    }

    #[test]
    fn all_that_is_read_keeps_to_the_slower_of_two_limits() {
        let limits =
            Limits { rows_per_second: Some(1000), bytes_per_second: Some(10_000), ..Limits::default() };
        let throttle = throttle(limits);
        let now = Instant::now();
        // Several workers book at the same moment.
        let last = (0..10).map(|_| throttle.reserve(now, 100, 5_000)).max();
        assert_eq!(last.map(|last| (last - now).as_secs()), Some(5));
        assert_eq!(throttle.batch(4096, 1 << 20), (1000, 10_000));
        // What was not used of the past is gone.
        let later = now + Duration::from_mins(1);
        assert_eq!((throttle.reserve(later, 1000, 1) - later).as_secs(), 1);
    }

    #[test]
    fn chunks_take_seconds_whatever_the_limit() {
        assert_eq!(throttle(Limits::default()).chunk_size(8), ChunkSize::default());
        let slow =
            Limits { rows_per_second: Some(2_000), bytes_per_second: Some(100_000), ..Limits::default() };
        assert_eq!(throttle(slow).chunk_size(4), ChunkSize { rows: 5_000, bytes: 250_000 });
    }

    #[tokio::test]
    async fn a_stop_ends_the_wait() {
        let throttle = throttle(Limits { rows_per_second: Some(1), ..Limits::default() });
        let stop = CancellationToken::new();
        stop.cancel();
        throttle.after_batch(1_000_000, 1, &stop).await;
    }

    #[test]
    fn without_limits_nothing_waits() {
        let throttle = throttle(Limits::default());
        let now = Instant::now();
        assert_eq!(throttle.reserve(now, 1 << 40, 1 << 50), now);
        assert_eq!(throttle.batch(4096, 1 << 20), (4096, 1 << 20));
    }
}
