//! Sets of the stream by number, and which of their transactions something holds.

use std::collections::{HashSet, VecDeque};

use engine_core::error::Result;
use engine_core::position::Position;
use engine_core::source::Source;
use engine_core::transaction::{TransactionId, TransactionSet};

#[derive(Debug)]
struct Set {
    /// `None` while more of the same transaction follows.
    end: Option<Position>,
    transactions: Vec<TransactionId>,
}

/// Sets of the stream, in order, each with the number that its place gives it; the first ones may be forgotten.
#[derive(Debug, Default)]
pub(super) struct Sets {
    /// Number of the first set in `sets`.
    first: u64,
    sets: VecDeque<Set>,
}

/// Which transactions something holds.
#[derive(Debug)]
pub(super) struct Held {
    /// All of the sets before this one.
    pub(super) sets: u64,
    /// These of the others.
    others: HashSet<(u64, u32)>,
}

impl Held {
    /// Whether it holds the transaction at this place in the set.
    pub(super) fn holds(&self, set: u64, transaction: u32) -> bool {
        set < self.sets || self.others.contains(&(set, transaction))
    }
}

impl Sets {
    /// None yet; the first will have this number.
    pub(super) fn beginning_at(first: u64) -> Self {
        Self { first, sets: VecDeque::new() }
    }

    /// Takes in the next set, which ends at `end`, or a piece of it when more of the same transaction follows. Its
    /// number, and the place of the first of `transactions` in it.
    pub(super) fn add(&mut self, end: Option<Position>, transactions: Vec<TransactionId>) -> (u64, u32) {
        if let Some(open) = self.sets.back_mut().filter(|set| set.end.is_none()) {
            let offset = open.transactions.len() as u32;
            open.transactions.extend(transactions);
            open.end = end;
            return (self.end() - 1, offset);
        }
        self.sets.push_back(Set { end, transactions });
        (self.end() - 1, 0)
    }

    /// Number of the first set after the known ones.
    pub(super) fn end(&self) -> u64 {
        self.first + self.sets.len() as u64
    }

    /// Number of the first set that ends beyond `position`.
    pub(super) fn within(&self, source: &dyn Source, position: &Position) -> Result<u64> {
        let (mut low, mut high) = (0, self.sets.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let is_in = match self.sets.get(middle).and_then(|set| set.end.as_ref()) {
                Some(end) => source.covers(position, end)?,
                None => false,
            };
            if is_in {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(self.first + low as u64)
    }

    /// Exactly those transactions that `position` holds or that are among `applied`.
    pub(super) fn held(
        &self,
        source: &dyn Source,
        position: &Position,
        applied: &TransactionSet,
    ) -> Result<Held> {
        let sets = self.within(source, position)?;
        let rest = || {
            let later = self.sets.iter().zip(self.first..).skip((sets - self.first) as usize);
            later.flat_map(|(set, number)| {
                (0_u32..).zip(&set.transactions).map(move |(place, name)| (number, place, name))
            })
        };
        let all: TransactionSet = rest().map(|(_, _, name)| name).collect();
        let beyond = source.beyond(position, &all)?;
        let others = rest()
            .filter(|(_, _, name)| applied.contains(name) || !beyond.contains(name))
            .map(|(set, place, _)| (set, place))
            .collect();
        Ok(Held { sets, others })
    }

    /// Number of the first set that is known.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Forgets the sets before this one.
    pub(super) fn forget(&mut self, before: u64) {
        let count = before.saturating_sub(self.first).min(self.sets.len() as u64);
        self.sets.drain(..count as usize);
        self.first += count;
    }

    /// Forgets all of them and gives the next one a number of its own.
    pub(super) fn clear(&mut self) {
        self.first = self.end();
        self.sets.clear();
    }
}
