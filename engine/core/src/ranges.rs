//! Sets of numbers as ranges.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Disjoint, non-adjacent ranges of numbers in ascending order; both ends inclusive.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }

    /// Whether `number` is in it.
    pub fn contains(&self, number: u64) -> bool {
        self.covering(number).is_some()
    }

    /// Whether every number of `other` is in it.
    pub fn contains_all(&self, other: &Self) -> bool {
        other.0.iter().all(|&(start, end)| self.covering(start).is_some_and(|range| end <= range.1))
    }

    fn covering(&self, number: u64) -> Option<(u64, u64)> {
        let after = self.0.partition_point(|&(start, _)| start <= number);
        let range = *self.0.get(after.checked_sub(1)?)?;
        (number <= range.1).then_some(range)
    }

    /// Adds `start ..= end`, merging what touches.
    pub fn insert(&mut self, start: u64, end: u64) {
        // The common case by far: the number after the last one.
        if let Some(last) = self.0.last_mut()
            && start >= last.0
            && start <= last.1.saturating_add(1)
        {
            last.1 = last.1.max(end);
            return;
        }
        let first = self.0.partition_point(|&(_, stop)| stop.saturating_add(1) < start);
        let beyond = self.0.partition_point(|&(begin, _)| begin <= end.saturating_add(1));
        let touched = self.0.get(first..beyond).unwrap_or(&[]);
        let merged =
            touched.iter().fold((start, end), |merged, range| (merged.0.min(range.0), merged.1.max(range.1)));
        self.0.splice(first..beyond.max(first), [merged]);
    }
}

/// `:1-5:7`, as MySQL writes the numbers of a GTID set.
impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &(start, end) in &self.0 {
            if start == end {
                write!(f, ":{start}")?;
            } else {
                write!(f, ":{start}-{end}")?;
            }
        }
        Ok(())
    }
}
