//! A lane: a connection to the target that applies its parts of the sets in order.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, mpsc, watch};

use engine_core::batch::Batch;
use engine_core::change::Op;
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::failpoint::Failpoint;
use engine_core::plan::TargetTable;
use engine_core::position::Position;
use engine_core::target::{Applier, NetChanges, OrderedChanges, Refusal};
use engine_core::transaction::TransactionId;

use crate::dead_letter::{Letter, Operation};
use crate::merge::{self, Changes, Entry, MergeKeys};
use crate::merged::Company;
use crate::route::{Met, Route};

use super::ledger::Ledger;

/// Changes of one table after its route.
#[derive(Debug)]
pub(crate) struct RoutedTable {
    pub(crate) target: Arc<TargetTable>,
    /// Without, rows are told apart by all their values.
    pub(crate) keys: Option<MergeKeys>,
    /// The target has none of the changes yet.
    pub(crate) strict: bool,
    pub(crate) after: Batch,
    pub(crate) before: Batch,
    /// The other tables that become the same one.
    pub(crate) company: Option<Arc<Company>>,
    /// What letters need, of a table whose bad rows are set aside.
    pub(crate) origin: Option<Origin>,
}

/// Where the new images of a table come from.
pub(crate) struct Origin {
    pub(crate) route: Arc<Route>,
    /// The images as the source has them.
    pub(crate) input: Batch,
    /// For each of them its change and its transaction.
    pub(crate) changes: Vec<(Op, TransactionId)>,
    /// For each image that came through its place in `input`.
    pub(crate) places: Vec<usize>,
}

impl Origin {
    /// The letter for an image; the refusal has its place in `input`.
    pub(super) fn letter(&self, refusal: &Refusal) -> Option<Letter> {
        let (op, transaction) = self.changes.get(refusal.row)?;
        Some(self.route.letter(&self.input, refusal, met(*op, transaction)))
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin").field("rows", &self.input.rows).finish_non_exhaustive()
    }
}

/// Where a change was met.
pub(super) fn met(op: Op, transaction: &TransactionId) -> Met {
    let operation = match op {
        Op::Insert => Operation::Insert,
        Op::Update => Operation::Update,
        Op::Delete => Operation::Delete,
    };
    Met { operation, position: format!("{}:{}", transaction.origin, transaction.number), chunk: None }
}

/// What a lane is to do next.
#[derive(Debug)]
pub(super) struct Part {
    /// The set's tables.
    pub(super) tables: Arc<Vec<RoutedTable>>,
    /// For each of them the changes that are this lane's.
    pub(super) entries: Vec<Vec<Entry>>,
    /// Parts of other lanes that must be committed before.
    pub(super) waits: Vec<(usize, u64)>,
    /// What to commit then.
    pub(super) end: End,
    /// Where the set ends, for messages.
    pub(super) position: Option<Position>,
}

/// What comes after the changes of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// More of the same transaction.
    More,
    /// The end of the lane's part of this set.
    Set(u64),
    /// Nothing but where the target stands.
    Standing,
}

/// What lanes and whoever feeds them share.
pub(super) struct Shared {
    pub(super) ledger: Mutex<Ledger>,
    /// A part was committed.
    pub(super) progressed: Notify,
    /// Parts committed, by lane.
    pub(super) committed: Vec<watch::Sender<u64>>,
}

impl Shared {
    /// Does something with the ledger.
    pub(super) fn ledger<T>(&self, work: impl FnOnce(&mut Ledger) -> T) -> T {
        work(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Applies parts until there are no more.
pub(super) async fn run(
    lane: usize,
    mut applier: Box<dyn Applier>,
    mut parts: mpsc::Receiver<Part>,
    shared: Arc<Shared>,
) -> Result<()> {
    let mut is_amid = false;
    while let Some(part) = parts.recv().await {
        if is_amid && part.end == End::Standing {
            return Err(Error::new(ErrorKind::Internal, "a lane is to commit a part of a transaction"));
        }
        for &(other, count) in &part.waits {
            let Some(mut committed) = shared.committed.get(other).map(watch::Sender::subscribe) else {
                continue;
            };
            let ended = |_| Error::new(ErrorKind::Internal, "a lane ended before another that waits for it");
            committed.wait_for(|&committed| committed >= count).await.map_err(ended)?;
        }
        if let Err(error) = apply(&part, applier.as_mut()).await {
            if error.kind() == ErrorKind::Divergence
                && let Some(taken_over) = applier.taken_over().await
            {
                return Err(taken_over);
            }
            return Err(match &part.position {
                Some(position) => error.at("position", position),
                None => error,
            });
        }
        is_amid = part.end == End::More;
        let sequence = match part.end {
            End::More => continue,
            End::Set(sequence) => Some(sequence),
            End::Standing => None,
        };
        let standing = shared.ledger(|ledger| ledger.standing(lane, sequence));
        if sequence.is_some() {
            Failpoint::ChangesApplied.reach();
        }
        applier.commit(&standing).await.map_err(|error| error.at("position", &standing.position))?;
        if sequence.is_some() {
            Failpoint::ChangesCommitted.reach();
        }
        shared.ledger(|ledger| ledger.committed(lane, sequence, &standing));
        if sequence.is_some()
            && let Some(committed) = shared.committed.get(lane)
        {
            committed.send_modify(|parts| *parts += 1);
        }
        shared.progressed.notify_one();
    }
    Ok(())
}

async fn apply(part: &Part, applier: &mut dyn Applier) -> Result<()> {
    let mut later = Vec::new();
    for (table, entries) in part.tables.iter().zip(&part.entries) {
        if entries.is_empty() {
            continue;
        }
        let Some(keys) = &table.keys else {
            applier.apply_ordered(&table.target, &ordered(table, entries)).await?;
            continue;
        };
        let changes = Changes { entries, after: &table.after, before: &table.before };
        let net = merge::merge(changes, keys, table.strict);
        let (net, rest) = match net {
            // A row may move from one table to another that becomes the same one, in whatever order the
            // statements were: what goes from any of them makes room for what comes to another.
            NetChanges::Strict { deletes, updates, inserts } if table.target.is_shared() => {
                let none = || Batch { rows: 0, columns: Vec::new() };
                let rest = NetChanges::Strict { deletes: none(), updates, inserts };
                (NetChanges::Strict { deletes, updates: none(), inserts: none() }, Some(rest))
            }
            net => (net, None),
        };
        if rows(&net) > 0 {
            let refusals = match applier.apply(&table.target, &net).await {
                Ok(refusals) => refusals,
                Err(error) => return Err(explained(table, &net, error).await),
            };
            set_aside(table, changes, keys, &refusals).await?;
        }
        later.extend(rest.filter(|rest| rows(rest) > 0).map(|rest| (table, rest)));
    }
    for (table, net) in later {
        if let Err(error) = applier.apply(&table.target, &net).await {
            return Err(explained(table, &net, error).await);
        }
    }
    Ok(())
}

fn rows(net: &NetChanges) -> usize {
    match net {
        NetChanges::Strict { deletes, updates, inserts } => deletes.rows + updates.rows + inserts.rows,
        NetChanges::Idempotent { deletes, upserts } => deletes.rows + upserts.rows,
    }
}

/// Says of a merged table which of the source's tables have the row.
async fn explained(table: &RoutedTable, net: &NetChanges, error: Error) -> Error {
    match (&table.company, net) {
        (Some(company), NetChanges::Strict { inserts, .. }) => {
            company.explain(&table.target, inserts, error).await
        }
        _ => error,
    }
}

/// Writes the letters of upserts that the target refused, before anything is committed without them.
async fn set_aside(
    table: &RoutedTable,
    changes: Changes<'_>,
    keys: &MergeKeys,
    refusals: &[Refusal],
) -> Result<()> {
    let Some(origin) = table.origin.as_ref().filter(|_| !refusals.is_empty()) else { return Ok(()) };
    let upserted = merge::upserted(changes, keys);
    let letters = refusals.iter().map(|refusal| {
        let row = *origin.places.get(*upserted.get(refusal.row)?)?;
        origin.letter(&Refusal { row, ..refusal.clone() })
    });
    let letters: Option<Vec<Letter>> = letters.collect();
    let letters = letters
        .ok_or_else(|| Error::new(ErrorKind::Internal, "the target refused a row that it was not given"))?;
    origin.route.dead_letters().write(&letters).await
}

fn ordered(table: &RoutedTable, entries: &[Entry]) -> OrderedChanges {
    let ops: Vec<Op> = entries.iter().filter_map(Entry::op).collect();
    let after: Vec<usize> = entries.iter().filter_map(|entry| entry.after).collect();
    let before: Vec<usize> = entries.iter().filter_map(|entry| entry.before).collect();
    OrderedChanges { ops, after: table.after.take(&after), before: table.before.take(&before) }
}
