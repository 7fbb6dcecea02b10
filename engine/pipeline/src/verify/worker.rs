//! Comparing part after part.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

use engine_core::error::{ErrorKind, Result};
use engine_core::failpoint::Failpoint;
use engine_core::plan::RowErrorPolicy;
use engine_core::position::Position;
use engine_core::source::KeyBound;

use crate::dead_letter::{self, Letter};
use crate::retry::{Backoff, may_pass};

use super::describe;
use super::hash::{ByHash, Hash};
use super::journal::{Journal, PartRecord};
use super::look::{Connections, interrupted};
use super::parts::{Part, Parts};
use super::push_down::PushDown;
use super::report::{Cutting, Difference, Progress, TableReport};
use super::side::Scope;
use super::subject::{Subject, Table};
use super::trail::Trail;
use super::weigh::{Wrong, weigh};

/// Wrong rows that are told one by one, of each table.
const LISTED: usize = 10_000;
/// How often the source's load is looked at while it is too high.
const BUSY: Duration = Duration::from_millis(500);

/// Up to where a worker's next look will see everything on both sides.
pub(super) enum Floor {
    /// It has not looked yet.
    None,
    /// Target and source.
    At(Position, Position),
    /// There is no next look.
    Ended,
}

/// What was found in one part.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) equal: u64,
    pub(super) followed: u64,
    pub(super) set_aside: u64,
    pub(super) passed: u64,
    /// Keys of rows that are wrong.
    pub(super) wrong: Vec<(Hash, Wrong)>,
    pub(super) differences: Vec<Difference>,
    /// Parts that both databases summed up.
    pub(super) summed: u64,
    /// Where the target stood.
    pub(super) position: Option<Position>,
}

/// What was found so far, by table of the task.
#[derive(Default)]
pub(super) struct Outcomes {
    tables: Vec<TableOutcome>,
    position: Option<Position>,
}

#[derive(Default)]
struct TableOutcome {
    /// The parts compared, each from its lower bound to its upper one.
    ranges: HashMap<Option<KeyBound>, Option<KeyBound>>,
    /// Whether the last part is among them; others, begun before it, may not be.
    has_end: bool,
    /// Why a part could not be compared.
    unsettled: Option<String>,
    found: Found,
    /// Parts with rows that are wrong.
    suspects: Vec<(Part, Vec<Hash>)>,
}

impl Outcomes {
    pub(super) fn new(tables: usize, before: &[Vec<PartRecord>]) -> Self {
        let mut outcomes =
            Self { tables: (0..tables).map(|_| TableOutcome::default()).collect(), position: None };
        for (outcome, parts) in outcomes.tables.iter_mut().zip(before) {
            for part in parts {
                let (_, range) = part.range();
                outcome.has_end |= range.to.is_none();
                outcome.ranges.insert(range.after, range.to);
                outcome.found.equal += part.equal;
                outcome.found.followed += part.followed;
                outcome.found.set_aside += part.set_aside;
                outcome.found.passed += part.passed;
                outcome.found.summed += u64::from(part.is_summed);
            }
        }
        outcomes
    }

    /// Takes in what was found in a part.
    pub(super) fn add(&mut self, part: &Part, found: Found) {
        if found.position.is_some() {
            self.position.clone_from(&found.position);
        }
        let Some(outcome) = self.tables.get_mut(part.table) else { return };
        outcome.has_end |= part.range.to.is_none();
        outcome.ranges.insert(part.range.after.clone(), part.range.to.clone());
        if !found.wrong.is_empty() {
            outcome.suspects.push((part.clone(), found.wrong.iter().map(|&(key, _)| key).collect()));
        }
        outcome.found.take(found);
    }

    /// Whether every part of the table was compared.
    pub(super) fn is_complete(&self, table: usize) -> bool {
        self.tables.get(table).is_some_and(TableOutcome::is_complete)
    }

    /// Notes that a part could not be compared.
    fn leave(&mut self, part: &Part, why: String) {
        if let Some(outcome) = self.tables.get_mut(part.table) {
            outcome.unsettled = Some(why);
        }
    }

    /// Takes out the wrong rows, which are about to be looked at again.
    pub(super) fn doubt(&mut self) -> Vec<(Part, Vec<Hash>)> {
        let mut suspects = Vec::new();
        for outcome in &mut self.tables {
            outcome.found.wrong.clear();
            outcome.found.differences.clear();
            suspects.append(&mut outcome.suspects);
        }
        suspects
    }

    /// Parts with rows that are wrong, and their keys.
    pub(super) fn suspects(&self) -> Vec<(Part, Vec<Hash>)> {
        self.tables.iter().flat_map(|outcome| outcome.suspects.iter().cloned()).collect()
    }

    pub(super) fn wrong(&self) -> usize {
        self.tables.iter().map(|outcome| outcome.found.wrong.len()).sum()
    }

    pub(super) fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    pub(super) fn reports(self, subject: &Subject) -> Vec<TableReport> {
        let compared = subject.tables.iter().zip(self.tables).filter(|(table, _)| table.is_compared());
        compared.map(|(table, outcome)| outcome.report(table)).collect()
    }
}

impl Found {
    fn take(&mut self, other: Self) {
        self.equal += other.equal;
        self.followed += other.followed;
        self.set_aside += other.set_aside;
        self.passed += other.passed;
        self.summed += other.summed;
        self.position = other.position.or(self.position.take());
        self.wrong.extend(other.wrong);
        let room = LISTED.saturating_sub(self.differences.len());
        self.differences.extend(other.differences.into_iter().take(room));
    }
}

impl TableOutcome {
    /// Whether the parts lead from the table's beginning to its end, without a gap and with none left over.
    fn is_complete(&self) -> bool {
        let (mut at, mut walked) = (None, 0);
        if !self.has_end {
            return false;
        }
        while let Some(to) = self.ranges.get(&at) {
            walked += 1;
            if to.is_none() || walked > self.ranges.len() {
                return to.is_none() && walked == self.ranges.len();
            }
            at.clone_from(to);
        }
        false
    }

    fn report(mut self, table: &Table) -> TableReport {
        self.found.differences.sort_by(describe::in_order);
        let is_complete = self.is_complete();
        let count = |wanted| self.found.wrong.iter().filter(|(_, wrong)| *wrong == wanted).count() as u64;
        let (missing, extra, different) =
            (count(Wrong::Missing), count(Wrong::Extra), count(Wrong::Different));
        let columns = table.target.columns.iter();
        let not_compared = columns
            .filter(|column| column.generated.is_some())
            .map(|column| (column.name.clone(), "the target computes it".to_owned()))
            .collect();
        let leniencies = table.target.written_columns().enumerate().filter_map(|(place, ordinal)| {
            let column = table.target.columns.get(ordinal)?;
            Some((column.name.clone(), table.form.leniency(place)?.to_owned()))
        });
        TableReport {
            table: table.name().to_string(),
            target: table.target.name.to_string(),
            merged: table.target.is_shared(),
            method: match self.found.summed {
                0 => "stream",
                all if all >= self.ranges.len() as u64 => "push-down",
                _ => "both",
            },
            summed_parts: self.found.summed,
            cutting: if table.cut.is_some() { Cutting::Ranges } else { Cutting::Whole },
            parts: self.ranges.len() as u64,
            rows: self.found.equal + missing + extra + different,
            equal: self.found.equal,
            missing,
            extra,
            different,
            set_aside: self.found.set_aside,
            followed: self.found.followed,
            passed: self.found.passed,
            differences: self.found.differences,
            not_compared,
            leniencies: leniencies.collect(),
            is_complete,
            unsettled: self.unsettled,
        }
    }
}

pub(super) struct Worker {
    pub(super) number: usize,
    pub(super) subject: Arc<Subject>,
    pub(super) parts: Arc<Parts>,
    pub(super) trail: Option<Arc<Trail>>,
    pub(super) push_down: Arc<PushDown>,
    pub(super) outcomes: Arc<Mutex<Outcomes>>,
    pub(super) floors: Arc<Mutex<Vec<Floor>>>,
    pub(super) journal: Journal,
    pub(super) max_load: Option<u64>,
    pub(super) progress: Arc<Progress>,
    pub(super) stop: CancellationToken,
}

impl Worker {
    pub(super) async fn run(self) -> Result<()> {
        let mut connections = None;
        while !self.stop.is_cancelled() {
            self.wait_for_calm().await?;
            let Some(part) = self.parts.next().await? else {
                self.set_floor(Floor::Ended);
                return Ok(());
            };
            let found = match self.patiently(&part, &mut connections).await {
                // What can't be read at one position under these writes is said to be so; the others go on.
                Err(error) if error.kind() == ErrorKind::Precondition && self.is_without_key(&part) => {
                    connections = None;
                    self.lock_outcomes().leave(&part, error.to_string());
                    continue;
                }
                found => found?,
            };
            self.progress.update(|state| state.wrong += found.wrong.len() as u64);
            if found.wrong.is_empty() {
                let table = self.subject.table(part.table)?.name().to_string();
                let mut record = PartRecord::new(table, part.number, &part.range);
                record.equal = found.equal;
                record.followed = found.followed;
                record.set_aside = found.set_aside;
                record.passed = found.passed;
                record.is_summed = found.summed > 0;
                self.journal.note(&record)?;
                Failpoint::PartCompared.reach();
            }
            // Under one lock, so that of the workers that share a table one finishes it.
            let is_complete = {
                let mut outcomes = self.lock_outcomes();
                outcomes.add(&part, found);
                outcomes.is_complete(part.table)
            };
            if is_complete {
                self.progress.update(|state| state.tables_done += 1);
            }
        }
        Err(interrupted())
    }

    fn lock_outcomes(&self) -> MutexGuard<'_, Outcomes> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_without_key(&self, part: &Part) -> bool {
        self.subject.table(part.table).is_ok_and(|table| table.key.is_none())
    }

    /// Waits while the source is busier than it may be.
    async fn wait_for_calm(&self) -> Result<()> {
        let Some(most) = self.max_load else { return Ok(()) };
        while self.subject.spec.source.load().await?.is_some_and(|load| load > most) {
            self.progress.update(|state| state.is_waiting = true);
            tokio::select! {
                () = self.stop.cancelled() => return Err(interrupted()),
                () = tokio::time::sleep(BUSY) => {}
            }
        }
        self.progress.update(|state| state.is_waiting = false);
        Ok(())
    }

    /// A broken connection costs the part's work, which is done again over new ones.
    async fn patiently(&self, part: &Part, connections: &mut Option<Connections>) -> Result<Found> {
        let mut backoff = Backoff::new();
        loop {
            let comparing = async {
                let mut open = match connections.take() {
                    Some(open) => open,
                    None => Connections::open(&self.subject).await?,
                };
                let found = self.compare(part, &mut open).await?;
                *connections = Some(open);
                Ok(found)
            };
            match comparing.await {
                Err(error) if may_pass(&error) => backoff.wait(error, &self.stop).await?,
                result => return result,
            }
        }
    }

    async fn compare(&self, part: &Part, connections: &mut Connections) -> Result<Found> {
        let trail = self.trail.as_deref();
        let began = Instant::now();
        if let Some(by) = self.push_down.wanted(part.table) {
            let summed = connections.sum_up(&self.subject, part, by, trail, &self.stop).await?;
            self.forget(summed.stand.position.clone(), summed.low)?;
            // What was in vain counts as a row of it, so that it is not tried for ever.
            self.push_down.note(part.table, true, summed.equal.unwrap_or(1), began.elapsed());
            if let Some(equal) = summed.equal {
                self.progress.update(|state| state.rows += equal);
                let position = summed.stand.position;
                return Ok(Found { equal, summed: 1, position, ..Found::default() });
            }
        }
        let began = Instant::now();
        let (progress, stop) = (&self.progress, &self.stop);
        let found = compare(&self.subject, part, connections, trail, progress, stop, |target, low| {
            self.forget(target, low)
        })
        .await?;
        self.push_down.note(part.table, false, found.equal, began.elapsed());
        Ok(found)
    }

    /// Forgets changes that no look will meet any more.
    fn forget(&self, target: Option<Position>, low: Option<Position>) -> Result<()> {
        let (Some(trail), Some(target), Some(low)) = (&self.trail, target, low) else { return Ok(()) };
        self.set_floor(Floor::At(target, low));
        let floors = self.floors.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = Vec::with_capacity(floors.len());
        for floor in floors.iter() {
            match floor {
                Floor::None => return Ok(()),
                Floor::At(target, low) => known.push((target.clone(), low.clone())),
                Floor::Ended => {}
            }
        }
        drop(floors);
        trail.changes().forget(self.subject.spec.source.as_ref(), &known)
    }

    fn set_floor(&self, floor: Floor) {
        let mut floors = self.floors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = floors.get_mut(self.number) {
            *own = floor;
        }
    }
}

/// Compares a part, and describes what is wrong with its rows. `looked` is told after each look where the target
/// stood and what the source's rows are known to contain.
pub(super) async fn compare(
    subject: &Subject,
    part: &Part,
    connections: &mut Connections,
    trail: Option<&Trail>,
    progress: &Progress,
    stop: &CancellationToken,
    looked: impl Fn(Option<Position>, Option<Position>) -> Result<()>,
) -> Result<Found> {
    let (mut found, mut scope, mut suspects) =
        (Found::default(), Scope::default(), HashSet::<Hash, ByHash>::default());
    loop {
        let mut seen = connections.look(subject, part, scope.clone(), trail, progress, stop).await?;
        let verdict = weigh(&scope, &mut seen.source, &mut seen.target, &seen.between);
        found.equal += verdict.equal;
        found.followed += verdict.followed;
        suspects.extend(verdict.wrong.into_iter().map(|(key, ..)| key));
        found.position.clone_from(&seen.stand.position);
        looked(seen.stand.position, seen.low)?;
        match verdict.left {
            Some(left) => scope = left,
            None => break,
        }
    }
    let suspects = suspects.into_iter().collect();
    let again = examine_all(subject, part, suspects, connections, trail, progress, stop).await?;
    found.take(again);
    Ok(found)
}

/// Looks at those rows of a part alone, as a whole, and describes what is wrong with them now: at all of
/// them together, or one group after the other where they don't fit.
pub(super) async fn examine_all(
    subject: &Subject,
    part: &Part,
    mut suspects: Vec<Hash>,
    connections: &mut Connections,
    trail: Option<&Trail>,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<Found> {
    let mut found = Found::default();
    let mut most = suspects.len();
    while !suspects.is_empty() {
        let group = suspects.split_off(suspects.len().saturating_sub(most));
        let (some, left) = examine(subject, part, group, connections, trail, progress, stop).await?;
        found.take(some);
        if !left.is_empty() {
            // A single row always fits.
            most = (most / 2).min(left.len()).max(1);
            suspects.extend(left);
        }
    }
    Ok(found)
}

/// What is wrong with those rows of which both sides fit, and the others.
async fn examine(
    subject: &Subject,
    part: &Part,
    suspects: Vec<Hash>,
    connections: &mut Connections,
    trail: Option<&Trail>,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<(Found, Vec<Hash>)> {
    let table = subject.table(part.table)?;
    let suspects: HashSet<Hash, ByHash> = suspects.into_iter().collect();
    let mut left: HashSet<Hash, ByHash> = HashSet::default();
    let count = suspects.len() as u64;
    let scope = Scope { only: Some(Arc::new(suspects)), ..Scope::default() };
    let mut seen = connections.look(subject, part, scope.clone(), trail, progress, stop).await?;
    let verdict = weigh(&scope, &mut seen.source, &mut seen.target, &seen.between);
    let mut found = Found {
        // Copies of a row in a table without a key were counted by the first look.
        equal: if table.key.is_some() { verdict.equal } else { 0 },
        followed: if table.key.is_some() { verdict.followed } else { 0 },
        position: seen.stand.position.clone(),
        ..Found::default()
    };
    let letters = if table.target.on_row_error == RowErrorPolicy::DeadLetter {
        dead_letter::read(&subject.spec.state_dir.join(&subject.spec.name).join("dead-letter.jsonl"))?
    } else {
        Vec::new()
    };
    let name = table.name().to_string();
    for (key, wrong, expected) in verdict.wrong {
        if count > 1 && (seen.source.dropped.contains(&key) || seen.target.dropped.contains(&key)) {
            left.insert(key);
            continue;
        }
        if wrong == Wrong::Missing && table.target.on_row_error == RowErrorPolicy::DeadLetter {
            let of_row = seen.source.whole.get(&key).and_then(|rows| rows.first()?.1.key.clone());
            let of_row = of_row.or_else(|| trail?.changes().letter(part.table, key).cloned());
            let is_letter = |letter: &Letter| letter.table == name && letter.key == of_row;
            // What the target remembered when the check began may be lost from the file.
            let is_remembered =
                of_row.as_ref().is_some_and(|key| table.route.dead_letters().holds(&name, key));
            if of_row.is_some() && (is_remembered || letters.iter().any(is_letter)) {
                found.set_aside += 1;
                continue;
            }
        }
        found.wrong.push((key, wrong));
        if found.differences.len() < LISTED {
            let changed = trail.and_then(|trail| trail.changes().key_fields(part.table, key));
            found.differences.push(describe::difference(table, &seen, (key, wrong, expected), changed));
        }
    }
    found.differences.sort_by(describe::in_order);
    if table.key.is_some() {
        found.passed = count.saturating_sub(found.wrong.len() as u64 + found.set_aside + left.len() as u64);
    }
    Ok((found, left.into_iter().collect()))
}

#[cfg(test)]
mod tests {
    use engine_core::source::ChunkRange;

    use super::*;

    #[test]
    fn a_table_is_complete_when_its_parts_lead_through_it() {
        let bound = |key: u8| Some(KeyBound(vec![key]));
        let complete = |ranges: &[(Option<KeyBound>, Option<KeyBound>)]| {
            let has_end = ranges.iter().any(|(_, to)| to.is_none());
            let ranges = ranges.iter().cloned().collect();
            TableOutcome { ranges, has_end, ..TableOutcome::default() }.is_complete()
        };
        assert!(complete(&[(bound(2), None), (None, bound(1)), (bound(1), bound(2))]));
        assert!(complete(&[(None, None)]));
        assert!(!complete(&[]));
        assert!(!complete(&[(None, bound(1))]));
        assert!(!complete(&[(None, bound(1)), (bound(2), None)]));
        assert!(!complete(&[(None, None), (bound(2), bound(3))]));
        assert!(!complete(&[(None, bound(1)), (bound(1), bound(1))]));
    }

    #[test]
    fn a_table_is_done_with_its_last_part_whichever_that_is() {
        let bound = |key: u8| Some(KeyBound(vec![key]));
        let part =
            |number, after, to| Part { table: 0, number, range: ChunkRange { after, to }, interval: None };
        let mut outcomes = Outcomes::new(1, &[]);
        let mut done = Vec::new();
        for part in [part(2, bound(2), None), part(0, None, bound(1)), part(1, bound(1), bound(2))] {
            outcomes.add(&part, Found::default());
            done.push(outcomes.is_complete(0));
        }
        assert_eq!(done, [false, false, true]);
    }

    #[test]
    fn what_an_interrupted_check_had_done_counts() {
        let range = |after, to| ChunkRange { after, to };
        let bound = Some(KeyBound(vec![1]));
        let record = |number, range| PartRecord::new("shop.t".to_owned(), number, &range);
        let whole = vec![record(0, range(None, bound.clone())), record(1, range(bound.clone(), None))];
        let holed = vec![record(1, range(bound, None))];
        let outcomes = Outcomes::new(2, &[whole, holed]);
        assert!(outcomes.is_complete(0) && !outcomes.is_complete(1));
    }
}
