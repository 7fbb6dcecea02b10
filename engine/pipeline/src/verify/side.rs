//! What is kept of the rows of one side during a look at both.
//!
//! Of each row its key's hash and its own, 32 bytes, up to [`CAPACITY`] rows; beyond that the rows with
//! the greater keys (by hash) are only summed up, in [`BUCKETS`] buckets by their keys' first bits. So
//! one look settles a part of a table that fits; of one that doesn't, the rows that were kept and every
//! bucket whose sums agree. What is left is looked at again, with a narrower [`Scope`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::hash::{ByHash, Digest, Hash};

/// Rows of which key and hash are kept, on each side.
pub(super) const CAPACITY: usize = 1 << 19;
/// Buckets of rows that are only summed up.
pub(super) const BUCKETS: usize = 4096;
/// Bytes of whole rows that are kept for a report or a repair.
const KEPT_BYTES: usize = 32 << 20;

/// The bucket of a key.
pub(super) fn bucket(key: Hash) -> usize {
    (key >> 116) as usize
}

/// Which rows a look is about.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    /// Keys from here on.
    pub(super) from: Hash,
    /// Buckets that are open; `None` for all.
    pub(super) open: Option<Vec<bool>>,
    /// Nothing but these keys, and their rows are kept as a whole.
    pub(super) only: Option<Arc<HashSet<Hash, ByHash>>>,
}

impl Scope {
    /// Whether a row with this key is in it.
    #[inline]
    pub(super) fn holds(&self, key: Hash) -> bool {
        key >= self.from
            && self.open.as_ref().is_none_or(|open| open.get(bucket(key)).copied().unwrap_or(false))
            && self.only.as_ref().is_none_or(|only| only.contains(&key))
    }
}

/// One side of a look; `R` is what is kept of a row as a whole.
#[derive(Debug)]
pub(super) struct Side<R> {
    scope: Arc<Scope>,
    /// Rows read, in the scope or not.
    pub(super) read: u64,
    /// The last key, by hash, up to which pairs are kept.
    pub(super) last: Hash,
    /// Of each row kept its key's hash and its own.
    pub(super) pairs: Vec<(Hash, Hash)>,
    /// Sums over all rows in scope.
    pub(super) buckets: Vec<Digest>,
    /// Whole rows by key, with their hash.
    pub(super) whole: HashMap<Hash, Vec<(Hash, R)>, ByHash>,
    /// Keys whose rows there was no room for.
    pub(super) dropped: HashSet<Hash, ByHash>,
    whole_bytes: usize,
    capacity: usize,
    /// Nothing but rows under these keys is taken.
    wanted: Option<HashSet<Hash, ByHash>>,
}

impl<R> Side<R> {
    pub(super) fn new(scope: Arc<Scope>) -> Self {
        Self::with_capacity(scope, CAPACITY)
    }

    pub(super) fn with_capacity(scope: Arc<Scope>, capacity: usize) -> Self {
        Self {
            scope,
            read: 0,
            last: Hash::MAX,
            pairs: Vec::new(),
            buckets: vec![Digest::default(); BUCKETS],
            whole: HashMap::default(),
            dropped: HashSet::default(),
            whole_bytes: 0,
            capacity,
            wanted: None,
        }
    }

    /// Takes nothing but rows under these keys, none of which is greater than the last one.
    pub(super) fn want(&mut self, keys: HashSet<Hash, ByHash>) {
        self.wanted = Some(keys);
    }

    /// Whether rows are wanted as a whole.
    pub(super) fn wants_whole(&self) -> bool {
        self.scope.only.is_some()
    }

    /// Takes a row; `whole` gives it with its size in bytes.
    #[inline]
    pub(super) fn add(&mut self, key: Hash, hash: Hash, whole: impl FnOnce() -> Option<(usize, R)>) {
        self.read += 1;
        if !self.scope.holds(key) || self.wanted.as_ref().is_some_and(|wanted| !wanted.contains(&key)) {
            return;
        }
        if let Some(digest) = self.buckets.get_mut(bucket(key)) {
            digest.add(hash);
        }
        if self.scope.only.is_some() {
            if self.whole_bytes >= KEPT_BYTES {
                self.dropped.insert(key);
            } else if let Some((size, row)) = whole() {
                self.whole_bytes += size;
                self.whole.entry(key).or_default().push((hash, row));
            }
        }
        if key > self.last {
            return;
        }
        self.pairs.push((key, hash));
        // Suspects are few, and all of them are wanted.
        if self.pairs.len() > self.capacity && self.scope.only.is_none() {
            self.narrow();
        }
    }

    /// Halves the keys of which pairs are kept.
    fn narrow(&mut self) {
        while self.pairs.len() > self.capacity && self.last > self.scope.from {
            let last = self.scope.from + (self.last - self.scope.from) / 2;
            self.keep_to(last);
        }
    }

    /// Keeps the pairs up to `last` alone.
    pub(super) fn keep_to(&mut self, last: Hash) {
        if last < self.last {
            self.last = last;
            self.pairs.retain(|&(key, _)| key <= last);
        }
    }
}
