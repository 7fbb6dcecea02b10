//! Which lane applies which transaction.
//!
//! Transactions of a set that meet under a key go to one lane together, in their order. Against
//! earlier sets a group of them goes to a lane that still has something it meets, where it
//! queues behind; what it meets in other lanes it waits for. Waits are for earlier sets only, and
//! a lane takes its parts in order, so no two parts ever wait for each other.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

/// Rows that a lane gets of a set before another lane gets any: big statements are cheap ones, and the
/// next set keeps the other lanes busy.
const WORTH_A_LANE: usize = 2048;

/// The transactions of a set, as far as the dispatcher cares.
#[derive(Debug, Clone, Default)]
pub(crate) struct Work {
    /// Row changes of each transaction.
    pub(crate) rows: Vec<usize>,
    /// The first table of each transaction; may be left out.
    pub(crate) tables: Vec<u32>,
    /// Pairs of a transaction and a [key](super::keys::ConflictKeys) that it touches.
    pub(crate) keys: Vec<(u32, u64)>,
}

/// One lane's share of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// The lane.
    pub(crate) lane: usize,
    /// Its transactions, in order.
    pub(crate) transactions: Vec<u32>,
    /// Parts of other lanes that must be committed before: lane, and how many of its parts.
    pub(crate) waits: Vec<(usize, u64)>,
}

/// Assigns transactions to lanes.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    lanes: Vec<Lane>,
    /// For keys of parts that are not committed: the lane, and the last of its parts.
    claimed: HashMap<u64, (usize, u64), BuildHasherDefault<Hashed>>,
}

#[derive(Debug, Default)]
struct Lane {
    /// Parts assigned so far.
    assigned: u64,
    /// Parts committed so far.
    committed: u64,
    /// Rows and keys of the parts between.
    open: VecDeque<(usize, Vec<u64>)>,
}

impl Lane {
    fn rows(&self) -> usize {
        self.open.iter().map(|(rows, _)| rows).sum()
    }
}

impl Dispatcher {
    /// A dispatcher for `lanes` idle lanes.
    pub(crate) fn new(lanes: usize) -> Self {
        Self { lanes: (0..lanes).map(|_| Lane::default()).collect(), claimed: HashMap::default() }
    }

    /// Says that `lane` has committed `parts` of its parts in all.
    pub(crate) fn committed(&mut self, lane: usize, parts: u64) {
        let Some(state) = self.lanes.get_mut(lane) else { return };
        while state.committed < parts
            && let Some((_, keys)) = state.open.pop_front()
        {
            state.committed += 1;
            for key in keys {
                if self.claimed.get(&key) == Some(&(lane, state.committed)) {
                    self.claimed.remove(&key);
                }
            }
        }
    }

    /// Assigns a whole set to `lane`, which nothing may overtake: the other lanes are idle, and stay
    /// so until it is committed.
    pub(crate) fn assign_all(&mut self, lane: usize) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.assigned += 1;
            lane.open.push_back((0, Vec::new()));
        }
    }

    /// Assigns every transaction of a set; at most one part for each lane.
    pub(crate) fn assign(&mut self, work: &Work) -> Vec<Assignment> {
        let mut shares: Vec<Share> = self.lanes.iter().map(|_| Share::default()).collect();
        let mut lane_of = vec![0; work.rows.len()];
        let fair = work.rows.iter().sum::<usize>().div_ceil(self.lanes.len().max(1)).max(WORTH_A_LANE);
        let mut filling = None;
        let mut groups = self.groups(work);
        // Those of one table side by side: a lane that gets many rows of few tables writes them by few statements.
        groups.sort_by_key(|group| {
            group.transactions.first().and_then(|&first| work.tables.get(first as usize)).copied()
        });
        for group in groups {
            let lane = match (group.meets.keys().next(), filling) {
                (Some(&lane), _) => lane,
                (None, Some(lane)) if shares.get(lane).is_some_and(|share: &Share| share.rows < fair) => lane,
                (None, _) => *filling.insert(self.freest(&shares)),
            };
            if let Some(share) = shares.get_mut(lane) {
                share.take(&group, lane);
            }
            for &transaction in &group.transactions {
                if let Some(slot) = lane_of.get_mut(transaction as usize) {
                    *slot = lane;
                }
            }
        }
        for (transaction, &lane) in (0..).zip(&lane_of) {
            if let Some(share) = shares.get_mut(lane) {
                share.transactions.push(transaction);
            }
        }
        for &(transaction, key) in &work.keys {
            if let Some(share) = lane_of.get(transaction as usize).and_then(|&lane| shares.get_mut(lane)) {
                share.keys.push(key);
            }
        }
        let mut assignments = Vec::new();
        for (lane, (state, share)) in self.lanes.iter_mut().zip(shares).enumerate() {
            if share.transactions.is_empty() {
                continue;
            }
            state.assigned += 1;
            self.claimed.extend(share.keys.iter().map(|&key| (key, (lane, state.assigned))));
            state.open.push_back((share.rows, share.keys));
            let waits = share.waits.into_iter().collect();
            assignments.push(Assignment { lane, transactions: share.transactions, waits });
        }
        assignments
    }

    /// The lane with the fewest rows before it.
    fn freest(&self, shares: &[Share]) -> usize {
        let rows = |(_, (lane, share)): &(usize, (&Lane, &Share))| lane.rows() + share.rows;
        self.lanes.iter().zip(shares).enumerate().min_by_key(rows).map_or(0, |(lane, _)| lane)
    }

    /// The transactions that meet under keys, together, by their first ones.
    fn groups(&self, work: &Work) -> Vec<Group> {
        let mut union = Union((0..work.rows.len() as u32).collect());
        let mut first: HashMap<u64, u32, BuildHasherDefault<Hashed>> = HashMap::default();
        for &(transaction, key) in &work.keys {
            let other = *first.entry(key).or_insert(transaction);
            union.join(transaction, other);
        }
        let mut groups: Vec<Group> = Vec::new();
        let mut places: HashMap<u32, usize> = HashMap::new();
        for (transaction, &rows) in (0_u32..).zip(&work.rows) {
            let place = *places.entry(union.root(transaction)).or_insert_with(|| {
                groups.push(Group::default());
                groups.len() - 1
            });
            if let Some(group) = groups.get_mut(place) {
                group.transactions.push(transaction);
                group.rows += rows;
            }
        }
        for &(transaction, key) in &work.keys {
            if let Some(&(lane, part)) = self.claimed.get(&key)
                && let Some(group) =
                    places.get(&union.root(transaction)).and_then(|&place| groups.get_mut(place))
            {
                let last = group.meets.entry(lane).or_default();
                *last = part.max(*last);
            }
        }
        groups
    }
}

#[derive(Debug, Default)]
struct Group {
    transactions: Vec<u32>,
    rows: usize,
    /// Parts not committed that it meets: for each lane the last one.
    meets: BTreeMap<usize, u64>,
}

/// What a lane gets of a set.
#[derive(Debug, Default)]
struct Share {
    transactions: Vec<u32>,
    rows: usize,
    keys: Vec<u64>,
    waits: BTreeMap<usize, u64>,
}

impl Share {
    /// Takes a group in for `lane`.
    fn take(&mut self, group: &Group, lane: usize) {
        self.rows += group.rows;
        for (&other, &part) in group.meets.iter().filter(|&(&other, _)| other != lane) {
            let last = self.waits.entry(other).or_default();
            *last = part.max(*last);
        }
    }
}

/// Which transactions are joined: each points to another of its group, the first one to itself.
struct Union(Vec<u32>);

impl Union {
    fn root(&mut self, transaction: u32) -> u32 {
        let mut at = transaction;
        loop {
            let next = self.0.get(at as usize).copied().unwrap_or(at);
            if next == at {
                return at;
            }
            // Halves the way for the next time.
            let beyond = self.0.get(next as usize).copied().unwrap_or(next);
            if let Some(slot) = self.0.get_mut(at as usize) {
                *slot = beyond;
            }
            at = beyond;
        }
    }

    fn join(&mut self, one: u32, other: u32) {
        let (one, other) = (self.root(one), self.root(other));
        if let Some(slot) = self.0.get_mut(one.max(other) as usize) {
            *slot = one.min(other);
        }
    }
}

/// For keys that are hashes already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}
