//! Dispatcher, ledger and merging together against a source and a target in memory: whatever the
//! order in which lanes commit, and wherever it is cut off, the target ends as the source did.

use std::collections::{BTreeMap, VecDeque};

use engine_core::position::Position;
use engine_core::target::Standing;
use engine_core::transaction::{TransactionId, TransactionSet};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::merge::{self, Changes};
use crate::test_rows::{Row, Source, apply, batch, merge_keys};

use super::dispatch::{Dispatcher, Work};
use super::keys::ConflictKeys;
use super::ledger::{Entry, Ledger};

/// Sets that may be open at once.
const SETS_OPEN: usize = 4;

/// What the target keeps: rows, and where its lanes stand.
struct Target {
    table: BTreeMap<i64, Row>,
    lanes: Vec<Standing>,
}

impl Target {
    /// What all lanes together say, as the first thing of a session.
    fn stands(&self) -> (usize, TransactionSet) {
        let latest = self.lanes.iter().max_by_key(|lane| lane.sequence).expect("a lane");
        let mut applied = TransactionSet::default();
        self.lanes.iter().for_each(|lane| applied.extend(&lane.applied));
        (latest.position.0.parse().expect("a number"), applied)
    }
}

/// A part that a lane has and has not committed.
struct Part {
    changes: Source,
    waits: Vec<(usize, u64)>,
    sequence: u64,
}

struct Session<'a> {
    log: &'a [Source],
    applied: TransactionSet,
    dispatcher: Dispatcher,
    ledger: Ledger,
    queues: Vec<VecDeque<Part>>,
    committed: Vec<u64>,
    /// Transactions fed.
    fed: usize,
}

fn name(number: usize) -> TransactionId {
    TransactionId { origin: "model".into(), number: number as u64 }
}

/// The changes of several transactions as those of one.
fn together<'a>(transactions: impl Iterator<Item = &'a Source>) -> Source {
    let mut all = Source::default();
    for transaction in transactions {
        let (after, before) = (all.after.len(), all.before.len());
        all.entries.extend(transaction.entries.iter().map(|entry| merge::Entry {
            after: entry.after.map(|row| row + after),
            before: entry.before.map(|row| row + before),
        }));
        all.after.extend(&transaction.after);
        all.before.extend(&transaction.before);
    }
    all
}

impl<'a> Session<'a> {
    /// A session of `lanes` lanes from where the target stands. The source leaves out what is behind
    /// the position.
    fn begin(log: &'a [Source], target: &mut Target, lanes: usize) -> Self {
        let (position, applied) = target.stands();
        let applied: Vec<_> =
            applied.iter().filter(|transaction| transaction.number >= position as u64).collect();
        let applied: TransactionSet = applied.iter().collect();
        target.lanes = (0..lanes)
            .map(|lane| Standing {
                sequence: 0,
                position: Position(position.to_string()),
                applied: if lane == 0 { applied.clone() } else { TransactionSet::default() },
            })
            .collect();
        Self {
            log,
            dispatcher: Dispatcher::new(lanes),
            ledger: Ledger::new(Position(position.to_string()), &applied),
            applied,
            queues: (0..lanes).map(|_| VecDeque::new()).collect(),
            committed: vec![0; lanes],
            fed: position,
        }
    }

    fn feed(&mut self, transactions: usize) {
        let keys = ConflictKeys { table: 0, keys: vec![vec![(0, None)], vec![(1, None)]] };
        let end = (self.fed + transactions).min(self.log.len());
        let (passed_over, changing): (Vec<_>, Vec<_>) =
            (self.fed..end).partition(|&number| self.applied.contains(&name(number)));
        let mut work = Work::default();
        for (place, &number) in (0..).zip(&changing) {
            let transaction = &self.log[number];
            // As if it were big enough for a lane of its own.
            work.rows.push(transaction.entries.len() * 1000);
            for images in [batch(&transaction.after), batch(&transaction.before)] {
                (0..images.rows).for_each(|row| keys.hash(&images, row, |key| work.keys.push((place, key))));
            }
        }
        for (lane, &committed) in self.committed.iter().enumerate() {
            self.dispatcher.committed(lane, committed);
        }
        let assignments = self.dispatcher.assign(&work);
        let of = |transactions: &[u32]| -> Vec<usize> {
            transactions.iter().map(|&place| changing[place as usize]).collect()
        };
        let parts = assignments.iter().map(|assignment| {
            (assignment.lane, of(&assignment.transactions).into_iter().map(name).collect())
        });
        let sequence = self.ledger.open(Entry {
            position: Some(Position(end.to_string())),
            parts: parts.collect(),
            passed_over: passed_over.into_iter().map(name).collect(),
            transactions: (end - self.fed) as u64,
            committed_at: None,
            changes: Vec::new(),
        });
        for assignment in assignments {
            let numbers = of(&assignment.transactions);
            let changes = together(numbers.iter().map(|&number| &self.log[number]));
            self.queues[assignment.lane].push_back(Part { changes, waits: assignment.waits, sequence });
        }
        self.fed = end;
    }

    /// The lanes whose next part waits for nothing.
    fn ready(&self) -> Vec<usize> {
        let is_ready = |part: &Part| part.waits.iter().all(|&(lane, count)| self.committed[lane] >= count);
        let lanes = self.queues.iter().enumerate();
        lanes.filter(|(_, queue)| queue.front().is_some_and(is_ready)).map(|(lane, _)| lane).collect()
    }

    /// Applies a lane's next part: rows and standing become the target's at once, and if the answer
    /// is lost nobody hears of it.
    fn commit(&mut self, lane: usize, target: &mut Target, heard: bool) {
        let part = self.queues[lane].pop_front().expect("a part");
        let (after, before) = (batch(&part.changes.after), batch(&part.changes.before));
        let changes = Changes { entries: &part.changes.entries, after: &after, before: &before };
        apply(&mut target.table, &merge::merge(changes, &merge_keys(), true));
        let standing = self.ledger.standing(lane, Some(part.sequence));
        target.lanes[lane] = standing.clone();
        if heard {
            self.committed[lane] += 1;
            self.ledger.committed(lane, Some(part.sequence), &standing);
        }
    }

    fn settle(&mut self, target: &mut Target) {
        let standing = self.ledger.standing(0, None);
        target.lanes[0] = standing.clone();
        self.ledger.committed(0, None, &standing);
    }
}

/// A log of transactions over a handful of rows, so that they meet all the time.
fn log(random: &mut StdRng) -> (Vec<Source>, BTreeMap<i64, Row>) {
    let mut source = Source::default();
    let transactions = (0..random.random_range(1..60)).map(|_| {
        let mut transaction = Source { table: std::mem::take(&mut source.table), ..Source::default() };
        for _ in 0..random.random_range(0..5) {
            let old = random.random_bool(0.7).then(|| random.random_range(0..10));
            let code = random.random_bool(0.8).then(|| random.random_range(0..8));
            let new = (random.random_range(0..10), code, random.random_range(0..100));
            transaction.write(old, random.random_bool(0.8).then_some(new));
        }
        source.table = std::mem::take(&mut transaction.table);
        transaction
    });
    let log = transactions.collect();
    (log, source.table)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn every_schedule_with_every_crash_ends_as_the_source(seed in any::<u64>()) {
        let mut random = StdRng::seed_from_u64(seed);
        let (log, end) = log(&mut random);
        let start = Standing { sequence: 0, position: Position("0".into()), applied: TransactionSet::default() };
        let mut target = Target { table: BTreeMap::new(), lanes: vec![start] };
        let crashes = random.random_range(0.0..0.2);
        let mut reached = 0;
        'sessions: loop {
            let lanes = random.random_range(1..5);
            let mut session = Session::begin(&log, &mut target, lanes);
            let (position, _) = target.stands();
            prop_assert!(position >= reached, "the position went back from {reached} to {position}");
            reached = position;
            loop {
                let ready = session.ready();
                let may_feed = session.fed < log.len() && session.ledger.open_sets() < SETS_OPEN;
                if ready.is_empty() && !may_feed {
                    session.settle(&mut target);
                    prop_assert!(session.queues.iter().all(VecDeque::is_empty), "lanes wait for each other");
                    prop_assert_eq!(session.fed, log.len());
                    break 'sessions;
                }
                if may_feed && (ready.is_empty() || random.random_bool(0.4)) {
                    session.feed(random.random_range(1..8));
                } else if random.random_bool(0.1) {
                    session.settle(&mut target);
                } else {
                    let lane = ready[random.random_range(0..ready.len())];
                    let crashed = random.random_bool(crashes);
                    session.commit(lane, &mut target, !crashed);
                    if crashed {
                        continue 'sessions;
                    }
                }
                session.ledger.advance();
            }
        }
        prop_assert_eq!(&target.table, &end);
        prop_assert_eq!(target.stands().0, log.len());
    }
}
