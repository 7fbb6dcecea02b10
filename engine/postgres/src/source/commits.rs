//! Which transactions of the stream a snapshot has.
//!
//! A snapshot knows transactions by their numbers, everything else by the places of their commits, and both are in another
//! order: what is logged before a snapshot may not be seen by it yet. So the stream of a check notes the numbers, and
//! each exact read says between which places it wants to know them.

use engine_core::{Error, ErrorKind, Result};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::position::{Numbers, Snapshot};
use crate::replication::lsn::Lsn;

/// Transactions that are known whether or not somebody wants to know of them: a read may begin behind the stream.
const RECENT: usize = 1 << 16;
/// Reads that are known.
const READS: usize = 4096;

/// Numbers of transactions, by the places of their commits.
#[derive(Debug, Default)]
pub(super) struct Commits(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    recent: BTreeMap<Lsn, Numbers>,
    /// By their ends: the stream is beyond most of them.
    reads: VecDeque<Read>,
}

/// An exact read.
#[derive(Debug)]
struct Read {
    /// What is logged before it is seen.
    low: Lsn,
    /// What is logged from here on is not.
    end: Lsn,
    snapshot: Snapshot,
    /// The transactions between the two, as far as the stream has come.
    between: BTreeMap<Lsn, Numbers>,
}

impl Commits {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a transaction of the stream.
    pub(super) fn note(&self, commit: Lsn, numbers: Numbers) {
        let known = &mut *self.known();
        let open = known.reads.iter_mut().rev().take_while(|read| read.end > commit);
        for read in open.filter(|read| read.low <= commit) {
            read.between.insert(commit, numbers);
        }
        known.recent.insert(commit, numbers);
        while known.recent.len() > RECENT {
            known.recent.pop_first();
        }
    }

    /// Says that a snapshot has everything that is logged before `low`, and nothing from `end` on.
    pub(super) fn read(&self, low: Lsn, end: Lsn, snapshot: &Snapshot) {
        let known = &mut *self.known();
        let between = known.recent.range(low..end.max(low)).map(|(&commit, &numbers)| (commit, numbers));
        let between = between.collect();
        let place = known.reads.partition_point(|read| read.end <= end);
        known.reads.insert(place, Read { low, end, snapshot: snapshot.clone(), between });
        if known.reads.len() > READS {
            known.reads.pop_front();
        }
    }

    /// Whether a transaction that was noted is in such a snapshot.
    pub(super) fn has(&self, low: Lsn, snapshot: &Snapshot, commit: Lsn) -> Result<bool> {
        if commit < low {
            return Ok(true);
        }
        let known = self.known();
        let read = known.reads.iter().rev().find(|read| read.low == low && read.snapshot == *snapshot);
        match read {
            Some(read) if commit >= read.end => Ok(false),
            read => {
                let numbers = read.and_then(|read| read.between.get(&commit));
                numbers.map(|&numbers| snapshot.has(numbers)).ok_or_else(|| unknown(commit))
            }
        }
    }
}

fn unknown(commit: Lsn) -> Error {
    Error::new(ErrorKind::Precondition, "it can't be told whether a read has seen a transaction")
        .at("position", commit)
        .because("too many others were committed meanwhile, or too many tables read")
        .help("check again, with fewer tables at a time or while less is written")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(xid: u32) -> Numbers {
        Numbers { xid, csn: None }
    }

    #[test]
    fn what_is_logged_before_a_snapshot_may_not_be_seen_by_it() {
        let commits = Commits::default();
        let snapshot = Snapshot::parse("100:105:101").expect("a snapshot");
        commits.note(Lsn(10), numbers(99));
        commits.note(Lsn(20), numbers(101));
        commits.read(Lsn(15), Lsn(50), &snapshot);
        // The stream comes there later.
        commits.note(Lsn(30), numbers(104));
        commits.note(Lsn(40), numbers(105));
        commits.note(Lsn(50), numbers(103));
        let has = |commit| commits.has(Lsn(15), &snapshot, Lsn(commit)).expect("it is known");
        assert_eq!([10, 20, 30, 40, 50, 60].map(has), [true, false, true, false, false, false]);
        assert!(commits.has(Lsn(15), &snapshot, Lsn(45)).is_err(), "there is none");
        assert!(commits.has(Lsn(16), &snapshot, Lsn(20)).is_err(), "another read");
    }

    #[test]
    fn what_a_read_wants_is_kept() {
        let commits = Commits::default();
        let snapshot = Snapshot::parse("100:105:").expect("a snapshot");
        for place in 0..2 * RECENT as u64 {
            if place == 10 {
                commits.read(Lsn(5), Lsn(20), &snapshot);
            }
            commits.note(Lsn(place), numbers(102));
        }
        assert!(commits.has(Lsn(5), &snapshot, Lsn(7)).expect("it is known"));
        assert!(commits.has(Lsn(5), &snapshot, Lsn(15)).expect("it is known"));
        assert!(!commits.has(Lsn(5), &snapshot, Lsn(20)).expect("it is known"));
        // One that begins that far behind the stream can't be told what it has.
        commits.read(Lsn(6), Lsn(20), &snapshot);
        assert!(commits.has(Lsn(6), &snapshot, Lsn(15)).is_err());
    }
}
