//! What a proxy does to its connections at the moment.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// What becomes of a `COMMIT`. To the client all of them look alike: the connection breaks before an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFault {
    /// The server gets it and commits; its answer is lost.
    LoseAnswer,
    /// It never reaches the server, which rolls back.
    LoseRequest,
    /// It reaches the server so much later, when the client may have connected again.
    Late(Duration),
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Conditions {
    pub(super) refused: bool,
    pub(super) held: bool,
    /// Connections below this number are held.
    pub(super) forgotten: u64,
    pub(super) delay: Duration,
    pub(super) bytes_per_second: Option<u64>,
    /// One of so many pieces is lost at first.
    pub(super) lost: Option<u64>,
}

/// What is to be done to commits.
#[derive(Debug, Clone, Copy)]
struct BrokenCommits {
    fault: CommitFault,
    /// How many are left.
    number: u32,
    refused: Duration,
}

/// Something that happens once, after so many more bytes.
#[derive(Debug)]
pub(super) struct Countdown(AtomicI64);

/// Nothing is to happen.
const NEVER: i64 = i64::MIN;

impl Default for Countdown {
    fn default() -> Self {
        Self(AtomicI64::new(NEVER))
    }
}

impl Countdown {
    pub(super) fn begin(&self, bytes: u64) {
        self.0.store(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    fn stop(&self) {
        self.0.store(NEVER, Ordering::Relaxed);
    }

    /// Counts these bytes; answers where among them it happens.
    pub(super) fn count(&self, bytes: usize) -> Option<usize> {
        let left = self.0.load(Ordering::Relaxed);
        if left == NEVER {
            return None;
        }
        let rest = left - i64::try_from(bytes).unwrap_or(i64::MAX);
        self.0.store(if rest < 0 { NEVER } else { rest }, Ordering::Relaxed);
        (rest < 0).then_some(usize::try_from(left).unwrap_or(0))
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    conditions: watch::Sender<Conditions>,
    /// Counts how often all connections were cut.
    pub(super) cut: watch::Sender<u64>,
    pub(super) truncation: Countdown,
    pub(super) corruption: Countdown,
    truncations: AtomicU32,
    commits: Mutex<Option<BrokenCommits>>,
    commits_broken: AtomicU32,
    connections: AtomicUsize,
    opened: AtomicU64,
    /// Pieces delivered so far, of all connections.
    pieces: AtomicU64,
    /// Directions of connections that have something to deliver and may not.
    held_back: AtomicUsize,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            conditions: watch::Sender::new(Conditions::default()),
            cut: watch::Sender::new(0),
            truncation: Countdown::default(),
            corruption: Countdown::default(),
            truncations: AtomicU32::new(0),
            commits: Mutex::new(None),
            commits_broken: AtomicU32::new(0),
            connections: AtomicUsize::new(0),
            opened: AtomicU64::new(0),
            pieces: AtomicU64::new(0),
            held_back: AtomicUsize::new(0),
        }
    }
}

impl Conditions {
    /// Whether nothing is delivered over the connection of this number.
    pub(super) const fn holds(&self, connection: u64) -> bool {
        self.held || connection < self.forgotten
    }
}

impl Shared {
    pub(super) fn now(&self) -> Conditions {
        *self.conditions.borrow()
    }

    pub(super) fn watch(&self) -> watch::Receiver<Conditions> {
        self.conditions.subscribe()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Conditions)) {
        self.conditions.send_modify(change);
    }

    pub(super) fn heal(&self) {
        self.truncation.stop();
        self.corruption.stop();
        *self.commits.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.conditions.send_replace(Conditions::default());
    }

    /// How many of these bytes from the server may be delivered before the connection breaks; `None` for all of them
    /// and no break.
    pub(super) fn truncated(&self, bytes: usize) -> Option<usize> {
        let at = self.truncation.count(bytes);
        self.truncations.fetch_add(u32::from(at.is_some()), Ordering::Relaxed);
        at
    }

    pub(super) fn truncations(&self) -> u32 {
        self.truncations.load(Ordering::Relaxed)
    }

    pub(super) fn break_commits(&self, fault: CommitFault, number: u32, refused: Duration) {
        let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        *commits = (number > 0).then_some(BrokenCommits { fault, number, refused });
    }

    /// What to do to the `COMMIT` that a client has just sent.
    pub(super) fn commit_sent(self: &Arc<Self>) -> Option<CommitFault> {
        let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        let now = (*commits)?;
        *commits = (now.number > 1).then(|| BrokenCommits { number: now.number - 1, ..now });
        self.commits_broken.fetch_add(1, Ordering::Relaxed);
        if !now.refused.is_zero() {
            self.change(|conditions| conditions.refused = true);
            let shared = Arc::clone(self);
            tokio::spawn(async move {
                tokio::time::sleep(now.refused).await;
                shared.change(|conditions| conditions.refused = false);
            });
        }
        Some(now.fault)
    }

    pub(super) fn commits_broken(&self) -> u32 {
        self.commits_broken.load(Ordering::Relaxed)
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// How many connections there were so far.
    pub(super) fn connections_opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Counts a new connection; answers its number.
    pub(super) fn opened(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.opened.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn closed(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a piece; whether it is one of those that are lost.
    pub(super) fn is_lost(&self) -> bool {
        let piece = self.pieces.fetch_add(1, Ordering::Relaxed);
        self.now().lost.is_some_and(|of| piece % of.max(1) == of.max(1) - 1)
    }

    pub(super) fn held_back(&self) -> usize {
        self.held_back.load(Ordering::Relaxed)
    }

    /// Counts a direction as held back until the answer is dropped.
    pub(super) fn hold_back(&self) -> HeldBack<'_> {
        self.held_back.fetch_add(1, Ordering::Relaxed);
        HeldBack(&self.held_back)
    }
}

/// See [`Shared::hold_back`].
pub(super) struct HeldBack<'a>(&'a AtomicUsize);

impl Drop for HeldBack<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
