//! Places that may be confirmed.
//!
//! The server believes any place that it is told, and forgets what is before it. The places of a task are not all
//! such: one may be inside of a commit, which is passed over then. So it is told the last one at or before the task's
//! that was seen to lie between two transactions.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::replication::lsn::Lsn;

/// So many are remembered; of more, every second one goes, and a little more is sent once more.
const KEPT: usize = 1 << 14;

/// Ends of transactions that the target may not have yet, in their order.
#[derive(Debug, Default)]
pub(in crate::source) struct Ends(Mutex<VecDeque<Lsn>>);

impl Ends {
    /// Takes in a place behind all that was sent before.
    pub(super) fn note(&self, end: Lsn) {
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ends.back().is_some_and(|last| *last >= end) {
            return;
        }
        if ends.len() >= KEPT {
            let mut is_kept = false;
            ends.retain(|_| {
                is_kept = !is_kept;
                is_kept
            });
        }
        ends.push_back(end);
    }

    /// What may be confirmed once the target has everything before a place. Said once.
    pub(in crate::source) fn up_to(&self, place: Lsn) -> Option<Lsn> {
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let past = ends.partition_point(|end| *end <= place);
        ends.drain(..past).next_back()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_confirmed_is_an_end_and_not_beyond_what_the_target_has() {
        let ends = Ends::default();
        for end in [10, 20, 20, 30] {
            ends.note(Lsn(end));
        }
        assert_eq!(ends.up_to(Lsn(9)), None);
        assert_eq!(ends.up_to(Lsn(29)), Some(Lsn(20)));
        assert_eq!(ends.up_to(Lsn(29)), None);
        assert_eq!(ends.up_to(Lsn(30)), Some(Lsn(30)));
        for end in 0..100_000 {
            ends.note(Lsn(100 + end));
        }
        assert!(ends.up_to(Lsn(50_000)).is_some_and(|end| end <= Lsn(50_000)));
    }
}
