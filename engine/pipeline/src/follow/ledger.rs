//! Which sets of changes the target has, and so where it stands.
//!
//! Lanes commit in any order. The target's position moves over a set when every part of it and of
//! all sets before is committed; what is committed beyond that is remembered by name, each lane
//! remembering its own.

use std::collections::{BTreeSet, VecDeque};

use engine_core::position::Position;
use engine_core::target::Standing;
use engine_core::transaction::{TransactionId, TransactionSet};

/// The sets that are not behind the position yet.
#[derive(Debug)]
pub(crate) struct Ledger {
    sequence: u64,
    position: Position,
    sets: VecDeque<OpenSet>,
    /// What sessions before had applied after the position; the first lane remembers it.
    earlier: BTreeSet<TransactionId>,
    /// The greatest sequence that a lane has committed.
    written: u64,
    /// Its position: the target knows that it has everything up to here.
    written_position: Position,
}

/// A set as the ledger needs to know it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Where the target stands with it; `None` while more of the same transaction follows.
    pub(crate) position: Option<Position>,
    /// Its shares by lane: the transactions.
    pub(crate) parts: Vec<(usize, Vec<TransactionId>)>,
    /// Transactions of it that sessions before had applied.
    pub(crate) passed_over: Vec<TransactionId>,
    /// Transactions that end in it.
    pub(crate) transactions: u64,
    /// When the last was committed at the source.
    pub(crate) committed_at: Option<i64>,
    /// Changes by table of the task.
    pub(crate) changes: Vec<(usize, u64)>,
}

impl Entry {
    /// Both as one, of a transaction that comes in pieces to a single lane.
    pub(crate) fn followed_by(mut self, next: Self) -> Self {
        for (lane, transactions) in next.parts {
            match self.parts.iter_mut().find(|part| part.0 == lane) {
                Some(part) => part.1.extend(transactions),
                None => self.parts.push((lane, transactions)),
            }
        }
        self.passed_over.extend(next.passed_over);
        self.changes.extend(next.changes);
        self.transactions += next.transactions;
        Self { position: next.position, committed_at: next.committed_at, ..self }
    }
}

#[derive(Debug)]
struct OpenSet {
    entry: Entry,
    /// By part.
    committed: Vec<bool>,
}

impl OpenSet {
    fn is_complete_with(&self, lane: Option<usize>) -> bool {
        self.entry.position.is_some()
            && self.entry.parts.iter().zip(&self.committed).all(|(part, &done)| done || Some(part.0) == lane)
    }
}

/// How far the position moved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Advance {
    /// Source transactions that it moved over.
    pub(crate) transactions: u64,
    /// When the last was committed at the source.
    pub(crate) committed_at: Option<i64>,
    /// Changes that it moved over, by table of the task.
    pub(crate) changes: Vec<(usize, u64)>,
}

impl Ledger {
    /// A ledger of a target that stands at `position` and has `earlier` beside.
    pub(crate) fn new(position: Position, earlier: &TransactionSet) -> Self {
        Self {
            sequence: 0,
            written_position: position.clone(),
            position,
            sets: VecDeque::new(),
            earlier: earlier.iter().collect(),
            written: 0,
        }
    }

    /// Takes in the next set and gives its number.
    pub(crate) fn open(&mut self, entry: Entry) -> u64 {
        let committed = vec![false; entry.parts.len()];
        self.sets.push_back(OpenSet { entry, committed });
        self.sequence + self.sets.len() as u64
    }

    /// Where `lane` stands once it has committed its part of set `sequence`; `None` when it commits
    /// no part.
    pub(crate) fn standing(&self, lane: usize, sequence: Option<u64>) -> Standing {
        let mut standing = Standing {
            sequence: self.sequence,
            position: self.position.clone(),
            applied: TransactionSet::default(),
        };
        let mut reached = true;
        let mut passed_over = BTreeSet::new();
        for (number, set) in (self.sequence + 1..).zip(&self.sets) {
            let own = Some(number) == sequence;
            reached = reached && set.is_complete_with(own.then_some(lane));
            if reached && let Some(position) = &set.entry.position {
                standing.sequence = number;
                standing.position = position.clone();
                passed_over.extend(&set.entry.passed_over);
                continue;
            }
            for (part, &committed) in set.entry.parts.iter().zip(&set.committed) {
                if part.0 == lane && (committed || own) {
                    part.1.iter().for_each(|transaction| standing.applied.insert(transaction));
                }
            }
        }
        if lane == 0 {
            let remembered = self.earlier.iter().filter(|transaction| !passed_over.contains(transaction));
            remembered.for_each(|transaction| standing.applied.insert(transaction));
        }
        standing
    }

    /// Says that `lane` has committed with that standing.
    pub(crate) fn committed(&mut self, lane: usize, sequence: Option<u64>, standing: &Standing) {
        if standing.sequence > self.written {
            self.written = standing.sequence;
            self.written_position = standing.position.clone();
        }
        let place = sequence.and_then(|sequence| sequence.checked_sub(self.sequence + 1));
        let set = place.and_then(|place| self.sets.get_mut(usize::try_from(place).ok()?));
        if let Some(set) = set {
            for (part, committed) in set.entry.parts.iter().zip(&mut set.committed) {
                *committed |= part.0 == lane;
            }
        }
    }

    /// Moves the position over the sets that are complete.
    pub(crate) fn advance(&mut self) -> Advance {
        let mut advance = Advance::default();
        while self.sets.front().is_some_and(|set| set.is_complete_with(None)) {
            let Some(OpenSet { entry, .. }) = self.sets.pop_front() else { break };
            for transaction in &entry.passed_over {
                self.earlier.remove(transaction);
            }
            self.sequence += 1;
            self.position = entry.position.unwrap_or_else(|| self.position.clone());
            advance.transactions += entry.transactions;
            advance.committed_at = entry.committed_at.or(advance.committed_at);
            advance.changes.extend(entry.changes);
        }
        advance
    }

    /// The target has everything up to here.
    pub(crate) fn position(&self) -> &Position {
        &self.position
    }

    /// Sets beyond the position.
    pub(crate) fn open_sets(&self) -> usize {
        self.sets.len()
    }

    /// Whether every part given out is committed.
    pub(crate) fn is_idle(&self) -> bool {
        self.sets.iter().all(|set| set.committed.iter().all(|&committed| committed))
    }

    /// Up to where the target knows that it has everything; what it will go on from.
    pub(crate) fn written_position(&self) -> &Position {
        &self.written_position
    }

    /// Whether the target does not know yet that it stands where it stands.
    pub(crate) fn is_unwritten(&self) -> bool {
        self.written < self.sequence
    }
}
