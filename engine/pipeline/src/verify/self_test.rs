//! The check tries itself: defects are planted in a copy of the target's rows, and it must find all of them and
//! nothing else.
//!
//! The [copy](engine_core::shadow) is made in a snapshot of the target and takes the target's place in the very looks
//! that the full check is made of: the source is the real one, rows come through plan, plugins and encoder, and what
//! changed since the snapshot is followed by the check's own stream. What is wrong with the copy before anything was
//! planted is wrong with the target.

use async_trait::async_trait;
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use engine_core::error::{ErrorKind, Result};
use engine_core::examine::{Examiner, KeyRange, RowSink, Stand};
use engine_core::plan::TargetTable;
use engine_core::selection::Selection;
use engine_core::shadow::{Defect, Effect, Planted, Shadow};

use crate::progress::now_ms;
use crate::task::TaskSpec;

use super::Options;
use super::changes::Changes;
use super::hash::{Hash, Hashing};
use super::look::{Connections, interrupted};
use super::parts::{Part, Parts};
use super::report::Progress;
use super::subject::{Subject, Table};
use super::trail::{self, Trail};
use super::weigh::Wrong;
use super::worker::{Found, compare};

/// Rows of a part that is copied.
const PART_ROWS: u64 = 300;
/// Parts that are copied of a table, so that one has neighbours on both sides.
const PARTS: u64 = 3;
/// The most rows of a table that can't be cut and so is copied as a whole, by the source's statistics.
const MOST_ROWS: u64 = 200_000;

/// A defect that was planted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DefectReport {
    /// What was done.
    pub defect: &'static str,
    /// To which column.
    pub column: Option<String>,
    /// Whether the check found it.
    pub is_found: bool,
}

/// What was tried on one table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct TableTest {
    /// Source name, `database.table`.
    pub table: String,
    /// Rows copied.
    pub rows: u64,
    /// Rows that were wrong before anything was planted: they are so in the target.
    pub wrong_before: u64,
    /// The defects.
    pub planted: Vec<DefectReport>,
    /// Defects that no row copied was fit for, with the column.
    pub not_planted: Vec<(&'static str, Option<String>)>,
    /// Rows that were called wrong and in which nothing was planted.
    pub invented: u64,
    /// Why nothing was tried.
    pub skipped: Option<String>,
}

/// What a self-test found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SelfTest {
    /// Task name.
    pub task: String,
    /// Source without its password.
    pub source: String,
    /// Target without its password.
    pub target: String,
    /// Where the target stood in the snapshot; `None` for a task that does not follow.
    pub position: Option<String>,
    /// Beginning, milliseconds since 1970.
    pub started_ms: u64,
    /// End.
    pub finished_ms: u64,
    /// The tables, by name.
    pub tables: Vec<TableTest>,
}

impl SelfTest {
    /// Defects planted.
    pub fn planted(&self) -> usize {
        self.tables.iter().map(|table| table.planted.len()).sum()
    }

    /// Defects found.
    pub fn found(&self) -> usize {
        let planted = self.tables.iter().flat_map(|table| &table.planted);
        planted.filter(|defect| defect.is_found).count()
    }

    /// Rows that were called wrong and were not.
    pub fn invented(&self) -> u64 {
        self.tables.iter().map(|table| table.invented).sum()
    }

    /// Rows that are wrong in the target.
    pub fn wrong_before(&self) -> u64 {
        self.tables.iter().map(|table| table.wrong_before).sum()
    }

    /// Whether something was planted, all of it was found, and nothing else.
    pub fn is_passed(&self) -> bool {
        self.planted() > 0 && self.found() == self.planted() && self.invented() == 0
    }
}

/// Tries the check on copies of some rows of the task's tables. Takes the task's own specification; an engine may be running
/// the task meanwhile. Nothing that others can see is written.
pub async fn self_test(
    spec: TaskSpec,
    options: Options,
    progress: Arc<Progress>,
    stop: CancellationToken,
) -> Result<SelfTest> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(interrupted()),
        result = test(spec, options, progress, stop.clone()) => result,
    }
}

async fn test(
    spec: TaskSpec,
    options: Options,
    progress: Arc<Progress>,
    stop: CancellationToken,
) -> Result<SelfTest> {
    progress.update(|state| state.doing = "planning");
    let started_ms = now_ms();
    let wanted = Selection { database: None, include: options.tables, exclude: Vec::new() };
    let rows = options.part_rows.unwrap_or(PART_ROWS);
    let hashing = Hashing::new(&Hashing::draw());
    let shadow = spec.target.open_shadow().await?;
    let subject = Arc::new(Subject::open(spec, &wanted, Some(rows), hashing).await?);
    let Connections { reader, mut examiner } = Connections::open(&subject).await?;
    let nothing = || Changes::new(subject.tables.len());
    let trail =
        trail::from_stand(&subject, examiner.as_mut(), subject.copied.as_ref(), nothing, &stop).await?;
    let shadow = Arc::new(Mutex::new(shadow));
    let stand = shadow.lock().await.begin(&subject.spec.name).await?;
    let lent = Box::new(Lent(Arc::clone(&shadow)));
    let parts = Parts::new(&subject, &[]);
    let connections = Connections { reader, examiner: lent };
    let mut test = Test { subject: &subject, trail, progress: &progress, stop: &stop, shadow, connections };
    let compared: Vec<&Table> = subject.tables.iter().filter(|table| table.is_compared()).collect();
    progress.update(|state| {
        state.doing = "planting defects and looking for them";
        state.tables = compared.len() as u64;
    });
    let mut tables = Vec::with_capacity(compared.len());
    for table in compared {
        let tried = test.table(table, &parts).await.map_err(|error| error.at("table", table.name()))?;
        tables.push(tried);
        progress.update(|state| state.tables_done += 1);
    }
    Ok(SelfTest {
        task: subject.spec.name.clone(),
        source: subject.spec.source_label.clone(),
        target: subject.spec.target_label.clone(),
        position: stand.position.map(|position| position.to_string()),
        started_ms,
        finished_ms: now_ms(),
        tables,
    })
}

struct Test<'a> {
    subject: &'a Subject,
    trail: Option<Trail>,
    progress: &'a Progress,
    stop: &'a CancellationToken,
    shadow: Arc<Mutex<Box<dyn Shadow>>>,
    connections: Connections,
}

impl Test<'_> {
    async fn table(&mut self, table: &Table, parts: &Parts) -> Result<TableTest> {
        let mut tried = TableTest { table: table.name().to_string(), ..TableTest::default() };
        if table.target.is_shared() {
            tried.skipped =
                Some("it has rows of other tasks too, which this one's source says nothing of".to_owned());
            return Ok(tried);
        }
        let estimate = table.route.composed().schema.row_estimate.unwrap_or(0);
        if table.cut.is_none() && estimate > MOST_ROWS {
            tried.skipped = Some(format!(
                "it can't be cut and has about {estimate} rows, more than the {MOST_ROWS} that are copied"
            ));
            return Ok(tried);
        }
        let parts = parts.lead(table.place, PARTS).await?;
        let range =
            |part: &Part| part.interval.as_ref().map_or(KeyRange::All, |interval| interval.range.clone());
        let ranges: Vec<KeyRange> = parts.iter().map(range).collect();
        tried.rows = self.shadow.lock().await.copy(&table.target, &ranges).await?;
        let before = match self.compare(&parts).await {
            // What can't be read at one position under these writes can't be tried either.
            Err(error) if error.kind() == ErrorKind::Precondition && table.key.is_none() => {
                tried.skipped = Some(error.to_string());
                return Ok(tried);
            }
            before => before?,
        };
        tried.wrong_before = before.len() as u64;
        loop {
            let planted = self.shadow.lock().await.plant().await?;
            if planted.is_empty() {
                break;
            }
            let found = self.compare(&parts).await?;
            let judged = judge(&planted, &found, &before, |row| key(table, &self.subject.hashing, row));
            tried.invented += judged.invented;
            for (planted, is_found) in planted.into_iter().zip(judged.found) {
                let (defect, column) = (planted.defect.name(), planted.column);
                tried.planted.push(DefectReport { defect, column, is_found });
            }
            self.shadow.lock().await.undo().await?;
        }
        let not_planted = self.shadow.lock().await.not_planted();
        tried.not_planted = not_planted.into_iter().map(|(defect, column)| (defect.name(), column)).collect();
        Ok(tried)
    }

    /// What is wrong with the copy.
    async fn compare(&mut self, parts: &[Part]) -> Result<Vec<(Hash, Wrong)>> {
        let mut wrong = Vec::new();
        for part in parts {
            let trail = self.trail.as_ref();
            let Found { wrong: found, .. } = compare(
                self.subject,
                part,
                &mut self.connections,
                trail,
                self.progress,
                self.stop,
                |_, _| Ok(()),
            )
            .await?;
            wrong.extend(found);
        }
        Ok(wrong)
    }
}

/// What tells a row of the table.
fn key(table: &Table, hashing: &Hashing, row: &[u8]) -> Hash {
    table.key.as_ref().map_or_else(|| hashing.bytes(row), |key| hashing.fields(row, key))
}

/// What became of the defects of a round.
#[derive(Debug, PartialEq, Eq)]
struct Judged {
    /// For each of them whether it was found.
    found: Vec<bool>,
    /// Rows that were called wrong for no reason.
    invented: u64,
}

/// Compares what was planted with what was found, each row as often as it is there. What was wrong `before` need
/// not be wrong still: its row may have been spoiled otherwise.
fn judge(
    planted: &[Planted],
    found: &[(Hash, Wrong)],
    before: &[(Hash, Wrong)],
    key: impl Fn(&[u8]) -> Hash,
) -> Judged {
    let mut left: HashMap<(Hash, Wrong), u64> = HashMap::new();
    found.iter().for_each(|&found| *left.entry(found).or_default() += 1);
    let mut take = |row: Hash, wrong: Wrong| {
        left.get_mut(&(row, wrong)).filter(|times| **times > 0).map(|times| *times -= 1).is_some()
    };
    let is_found = |planted: &Planted| {
        let mut is_found = !planted.effects.is_empty();
        for (row, effect) in &planted.effects {
            let row = key(row);
            // Two rows under the key of one that is just changing are called different from it.
            is_found &= match effect {
                Effect::Missing => take(row, Wrong::Missing),
                Effect::Different => take(row, Wrong::Different),
                Effect::Extra if planted.defect == Defect::DoubledRow => {
                    take(row, Wrong::Extra) || take(row, Wrong::Different)
                }
                Effect::Extra => take(row, Wrong::Extra),
            };
        }
        is_found
    };
    let result = planted.iter().map(is_found).collect();
    let known: HashSet<Hash> = before.iter().map(|&(row, _)| row).collect();
    let invented = left.iter().filter(|((row, _), _)| !known.contains(row)).map(|(_, times)| times).sum();
    Judged { found: result, invented }
}

/// The copy as the examiner of a look.
struct Lent(Arc<Mutex<Box<dyn Shadow>>>);

#[async_trait]
impl Examiner for Lent {
    async fn begin(&mut self, task: &str) -> Result<Stand> {
        self.0.lock().await.begin(task).await
    }

    async fn read(
        &mut self,
        table: &Arc<TargetTable>,
        range: &KeyRange,
        sink: &mut dyn RowSink,
    ) -> Result<()> {
        self.0.lock().await.read(table, range, sink).await
    }

    async fn end(&mut self) -> Result<()> {
        self.0.lock().await.end().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::side::{Scope, Side};
    use crate::verify::weigh::{Between, weigh};

    const SOURCE: &[(u8, &str)] = &[(1, "a"), (2, "b"), (3, "c"), (4, "d")];

    fn planted(defect: Defect, row: u8, effect: Effect) -> Planted {
        Planted { defect, column: None, effects: vec![(vec![row], effect)] }
    }

    fn hashing() -> Hashing {
        Hashing::new(&[7; 16])
    }

    /// Compares as a look does, rows hashed by `hash`.
    fn compared(target: &[(u8, &str)], hash: impl Fn(u8, &str) -> Hash) -> Vec<(Hash, Wrong)> {
        let scope = Arc::new(Scope::default());
        let side = |rows: &[(u8, &str)]| {
            let mut side: Side<()> = Side::new(Arc::clone(&scope));
            rows.iter()
                .for_each(|&(key, value)| side.add(hashing().bytes(&[key]), hash(key, value), || None));
            side
        };
        let verdict = weigh(&scope, &mut side(SOURCE), &mut side(target), &Between::default());
        verdict.wrong.into_iter().map(|(key, wrong, _)| (key, wrong)).collect()
    }

    fn spoiled() -> (Vec<Planted>, Vec<(u8, &'static str)>) {
        let planted = vec![
            planted(Defect::TrailingSpace, 1, Effect::Different),
            planted(Defect::MissingRow, 2, Effect::Missing),
            planted(Defect::ExtraRow, 9, Effect::Extra),
            planted(Defect::DoubledRow, 3, Effect::Extra),
        ];
        (planted, vec![(1, "a "), (3, "c"), (3, "c"), (4, "d"), (9, "x")])
    }

    #[test]
    fn a_check_that_sees_passes() {
        let (planted, target) = spoiled();
        let found = compared(&target, |key, value| hashing().bytes(&[&[key], value.as_bytes()].concat()));
        let judged = judge(&planted, &found, &[], |row| hashing().bytes(row));
        assert_eq!(judged, Judged { found: vec![true; 4], invented: 0 });
    }

    #[test]
    fn a_check_that_is_blind_fails() {
        let (planted, target) = spoiled();
        // To trailing spaces.
        let hash = |key: u8, value: &str| hashing().bytes(&[&[key], value.trim_end().as_bytes()].concat());
        let judged = judge(&planted, &compared(&target, hash), &[], |row| hashing().bytes(row));
        assert_eq!(judged, Judged { found: vec![false, true, true, true], invented: 0 });
        // To everything.
        let judged = judge(&planted, &[], &[], |row| hashing().bytes(row));
        assert_eq!(judged, Judged { found: vec![false; 4], invented: 0 });
    }

    #[test]
    fn a_check_that_cries_wolf_fails() {
        let (planted, target) = spoiled();
        let hash = |key: u8, value: &str| hashing().bytes(&[&[key], value.as_bytes()].concat());
        let mut found = compared(&target, hash);
        found.push((hashing().bytes(&[4]), Wrong::Different));
        let of = |row: &[u8]| hashing().bytes(row);
        assert_eq!(judge(&planted, &found, &[], of).invented, 1);
        // What is wrong with the target itself is no invention.
        let before = [(hashing().bytes(&[4]), Wrong::Different)];
        assert_eq!(judge(&planted, &found, &before, of), Judged { found: vec![true; 4], invented: 0 });
    }

    #[test]
    fn nothing_planted_proves_nothing() {
        let mut test = SelfTest {
            task: String::new(),
            source: String::new(),
            target: String::new(),
            position: None,
            started_ms: 0,
            finished_ms: 0,
            tables: vec![TableTest::default()],
        };
        assert!(!test.is_passed());
        test.tables[0].planted =
            vec![DefectReport { defect: Defect::OneBit.name(), column: None, is_found: true }];
        assert!(test.is_passed());
        test.tables[0].invented = 1;
        assert!(!test.is_passed());
    }
}
