//! The check beside the stream: keys that changed are compared after they were applied.
//!
//! # How
//! Before the lanes get a set of changes, it is [noted](note) what the target must have of each key that the set
//! touches. A look takes a snapshot of the target, which says exactly which transactions it holds, waits
//! until everything that was given to the lanes before the snapshot is noted, and reads the keys that have a
//! change in the snapshot. Each of them must be as its last change in the snapshot left it: a newer one can't
//! have been applied, or it would be in the snapshot and noted. So nothing is waited for or tried again, and
//! what is called wrong is wrong.
//!
//! What is expected comes from the stream in source order, after plan and plugins; merging, lanes and applier have
//! no part in it, and are checked by it. So are triggers of the target, and whoever else writes to it.
//!
//! # Memory
//! At most half a million changes wait. What comes beyond that is counted as not checked, and so are the older changes
//! of the same rows. What waits when the process is killed is [recalled](recall) by the next one.

mod floor;
mod note;
mod pending;
mod recall;
mod watch;

use async_trait::async_trait;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine_core::batch::Batch;
use engine_core::column::Column;
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::examine::{CanonicalRows, Examiner, RowSink};
use engine_core::finding::{Finding, Severity};
use engine_core::plan::TargetTable;
use engine_core::position::Position;
use engine_core::transaction::TransactionSet;

use crate::progress::{ChangeCheck, Progress, WrongRow};
use crate::route::Route;
use crate::task::TaskSpec;

use super::describe;
use super::hash::{ByHash, Hash, Hashing};
use super::report::Kind;
use super::subject::Table;
use floor::Floor;
use pending::{Due, Judgement, Pending};

pub(crate) use watch::{Fed, Watch};

/// Keys that are read by one statement.
const READ_AT_ONCE: usize = 2048;
/// Wrong rows that are told one by one.
const TOLD: usize = 100;

/// Compares what changes, over all sessions of a run.
pub(crate) struct Incremental {
    spec: TaskSpec,
    progress: Arc<Progress>,
    hashing: Hashing,
    pending: Mutex<Pending>,
    tables: Mutex<Arc<Vec<Table>>>,
    /// A connection for looks, and the right to look.
    examiner: tokio::sync::Mutex<Option<Box<dyn Examiner>>>,
    floor: Floor,
    /// Whether what an earlier run left was taken on.
    is_recalled: tokio::sync::Mutex<bool>,
}

impl std::fmt::Debug for Incremental {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incremental").field("task", &self.spec.name).finish_non_exhaustive()
    }
}

impl Incremental {
    /// Looks whether the target can be read back by keys. Writes nothing.
    pub(crate) async fn open(spec: &TaskSpec, progress: Arc<Progress>) -> Result<Self> {
        let examiner = spec.target.open_examiner().await?;
        if !examiner.reads_keys() {
            let endpoint = spec.target.endpoint();
            return Err(Error::new(
                ErrorKind::Precondition,
                "changes can't be compared on a target of this kind",
            )
            .at("target", format_args!("{} {}", endpoint.engine, endpoint.version))
            .help("leave out --check-changes, and compare both sides with: engine verify"));
        }
        progress.update(|report| report.check = Some(ChangeCheck::default()));
        Ok(Self {
            spec: spec.clone(),
            progress,
            hashing: Hashing::new(&Hashing::draw()),
            pending: Mutex::new(Pending::new(pending::MOST)),
            tables: Mutex::default(),
            examiner: tokio::sync::Mutex::default(),
            floor: Floor::new(&spec.state_dir.join(&spec.name)),
            is_recalled: tokio::sync::Mutex::default(),
        })
    }

    /// Forgets up to where earlier runs of a task compared: this one applies changes and does not.
    pub(crate) fn forget(spec: &TaskSpec) -> Result<()> {
        Floor::new(&spec.state_dir.join(&spec.name)).remove()
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tables(&self) -> Arc<Vec<Table>> {
        Arc::clone(&self.tables.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes on the task's tables, as they are now, and a target that stands there.
    async fn adopt(
        &self,
        routes: &[Arc<Route>],
        position: &Position,
        applied: &TransactionSet,
    ) -> Result<()> {
        let known = self.tables();
        let (mut tables, mut from) = (Vec::with_capacity(routes.len()), Vec::with_capacity(routes.len()));
        for (place, route) in routes.iter().enumerate() {
            let target = Arc::new(route.composed().target.clone());
            let before = known.iter().position(|table| table.target == target);
            from.push(before);
            let form = match before.and_then(|before| known.get(before)) {
                Some(table) => Arc::clone(&table.form),
                None => self.spec.target.row_form(&target).await?,
            };
            let written: Vec<usize> = target.written_columns().collect();
            let place_of = |ordinal: &usize| written.iter().position(|column| column == ordinal);
            let key = target.row_key.as_ref().map(|key| key.iter().filter_map(place_of).collect());
            let route = Arc::clone(route);
            tables.push(Table { place, route, target, form, key, cut: None, is_wanted: true });
        }
        let without_key: Vec<String> = tables
            .iter()
            .filter(|table| table.target.with_rows && table.key.is_none())
            .map(|table| table.name().to_string())
            .collect();
        *self.tables.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(tables);
        let mut pending = self.pending();
        pending.adopt(&from);
        pending.rewind(self.spec.source.as_ref(), position, applied)?;
        drop(pending);
        self.progress.update(|report| {
            if let Some(check) = &mut report.check {
                check.tables_without_key = without_key;
            }
        });
        self.tell();
        Ok(())
    }

    /// Looks at everything that can be compared in a snapshot of now; `caught_up` returns once all that was given to
    /// the lanes before it was called is noted.
    async fn look<F: Future<Output = Result<()>>>(&self, caught_up: impl FnOnce() -> F) -> Result<()> {
        let mut connection = self.examiner.lock().await;
        let mut examiner = match connection.take() {
            Some(open) => open,
            None => self.spec.target.open_examiner().await?,
        };
        let stand = examiner.begin(&self.spec.name).await?;
        let position = stand.position.ok_or_else(|| {
            Error::new(ErrorKind::State, "the target does not know where the task stands")
                .at("task", &self.spec.name)
        })?;
        caught_up().await?;
        let (held, due) = {
            let pending = self.pending();
            let held = pending.held(self.spec.source.as_ref(), &position, &stand.applied)?;
            let due = pending.due(&held);
            (held, due)
        };
        let tables = self.tables();
        let mut of_table: Vec<Vec<Due>> = (0..tables.len()).map(|_| Vec::new()).collect();
        for due in due {
            if let Some(of_table) = of_table.get_mut(due.table) {
                of_table.push(due);
            }
        }
        for (table, due) in tables.iter().zip(of_table) {
            for some in due.chunks(READ_AT_ONCE) {
                self.compare(table, some, examiner.as_mut()).await?;
                self.tell();
            }
        }
        examiner.end().await?;
        self.pending().forget(&held);
        self.floor.raise(&position, &stand.plan_digest)?;
        *connection = Some(examiner);
        Ok(())
    }

    async fn compare(&self, table: &Table, due: &[Due], examiner: &mut dyn Examiner) -> Result<()> {
        let expected = due.iter().map(|due| (due.key, due)).collect();
        let mut found = Found { table, hashing: self.hashing, expected, rows: HashMap::default() };
        examiner.read_keys(&table.target, &keys(due), &mut found).await?;
        let rows = found.rows;
        for due in due {
            let (right, other) = match rows.get(&due.key) {
                Some(row) => (row.right, row.other.as_deref()),
                None => (0, None),
            };
            let is_right = match due.expected.hash {
                Some(_) => right == 1 && other.is_none() || Self::is_set_aside(table, due, right, other),
                // Into a shared table another task may have written a row under the key since.
                None => other.is_none() || table.target.is_shared(),
            };
            match self.pending().judge(due, is_right) {
                Judgement::Wrong => self.warn(table, due, right > 0 || other.is_some(), other),
                Judgement::RightAgain => {
                    tracing::info!(table = %table.name(), "a row that was wrong is right again");
                }
                Judgement::Right | Judgement::StillWrong | Judgement::Void => {}
            }
        }
        Ok(())
    }

    /// Whether the target does not have the row because it is in the dead-letter file.
    fn is_set_aside(table: &Table, due: &Due, right: usize, other: Option<&[u8]>) -> bool {
        let Some(letter) = &due.expected.letter else { return false };
        right == 0 && other.is_none() && table.route.dead_letters().holds(&table.name().to_string(), letter)
    }

    /// Tells of a row that is wrong.
    fn warn(&self, table: &Table, due: &Due, is_there: bool, other: Option<&[u8]>) {
        let kind = match (due.expected.hash, is_there) {
            (None, _) => Kind::Extra,
            (Some(_), false) => Kind::Missing,
            (Some(_), true) => Kind::Different,
        };
        let columns: Vec<String> = match (kind, &due.expected.row, other) {
            (Kind::Different, Some(expected), Some(found)) => {
                let columns = describe::differing(table, expected, found);
                columns.into_iter().map(|column| column.column).collect()
            }
            _ => Vec::new(),
        };
        let key = Self::key_text(table, due);
        let row = WrongRow {
            table: table.name().to_string(),
            target: table.target.name.to_string(),
            kind,
            key,
            columns,
        };
        self.progress.update(|report| {
            let Some(check) = &mut report.check else { return };
            if check.rows.len() < TOLD {
                report.findings.push(finding(&row, &self.spec.name));
                check.rows.push(row);
            } else if !check.is_cut_short {
                check.is_cut_short = true;
                report.findings.push(Finding {
                    severity: Severity::Warning,
                    subject: "changes".into(),
                    message: format!("more than {TOLD} rows are not as their last changes left them; the others are counted and not named"),
                    fix: Some(format!("engine verify {} finds all of them", self.spec.name)),
                });
            }
        });
    }

    /// The key as people read it.
    fn key_text(table: &Table, due: &Due) -> Vec<(String, Option<String>)> {
        let columns =
            table.target.row_key.iter().flatten().filter_map(|&ordinal| table.target.columns.get(ordinal));
        columns
            .zip(&due.at.keys.columns)
            .map(|(column, values)| {
                let text = (!values.is_null(due.at.row))
                    .then(|| crate::ops::text_of(values, due.at.row, &column.logical));
                (column.source_name.clone(), text)
            })
            .collect()
    }

    /// Closes the connection until the next look.
    async fn rest(&self) {
        drop(self.examiner.lock().await.take());
    }

    /// Tells how much was checked.
    fn tell(&self) {
        let counts = self.pending().counts();
        self.progress.update(|report| {
            if let Some(check) = &mut report.check {
                check.checked = counts.checked;
                check.wrong = counts.wrong;
                check.not_checked = counts.not_checked;
                check.waiting = counts.waiting;
            }
        });
    }

    /// Ends the check of a run: counts what was not looked at, and looks whether keys, indexes and foreign keys
    /// are there as planned; `with_identities` also whether identity columns go on beyond the greatest value, which
    /// they don't before the stream is over.
    pub(crate) async fn finish(&self, with_objects: bool, with_identities: bool) -> Result<()> {
        self.pending().give_up();
        self.tell();
        let mut findings = Vec::new();
        let not_checked = self.pending().counts().not_checked;
        if not_checked > 0 {
            findings.push(Finding {
                severity: Severity::Warning,
                subject: "changes".into(),
                message: format!("{not_checked} changes were applied and not compared afterwards"),
                fix: Some(format!("engine verify {} compares every row", self.spec.name)),
            });
        }
        if with_objects {
            let targets: Vec<Arc<TargetTable>> =
                self.tables().iter().map(|table| objects(&table.target, with_identities)).collect();
            let found = self.spec.target.inspect(&targets).await?;
            let amiss = found.iter().filter(|finding| finding.severity >= Severity::Warning).count();
            self.progress.update(|report| {
                if let Some(check) = &mut report.check {
                    check.objects_amiss = Some(amiss as u64);
                }
            });
            findings.extend(found);
        }
        self.progress.update(|report| report.findings.extend(findings));
        Ok(())
    }
}

/// The table as far as its objects are looked at.
fn objects(table: &Arc<TargetTable>, with_identities: bool) -> Arc<TargetTable> {
    if with_identities {
        return Arc::clone(table);
    }
    let mut table = TargetTable::clone(table);
    table.columns.iter_mut().for_each(|column| column.identity = false);
    Arc::new(table)
}

fn finding(row: &WrongRow, task: &str) -> Finding {
    let key: Vec<String> = row
        .key
        .iter()
        .map(|(name, value)| {
            format!(
                "{name}={}",
                value
                    .as_ref()
                    .map_or_else(|| "NULL".to_owned(), |value| format!("'{}'", value.escape_debug()))
            )
        })
        .collect();
    let what = match row.kind {
        Kind::Missing => "is missing from the target".to_owned(),
        Kind::Extra => "should be gone from the target".to_owned(),
        Kind::Different if row.columns.is_empty() => "is not as its last change left it".to_owned(),
        Kind::Different => format!("is not as its last change left it: {}", row.columns.join(", ")),
    };
    Finding {
        severity: Severity::Warning,
        subject: row.table.clone(),
        message: format!("row {} {what}", key.join(", ")),
        fix: Some(format!(
            "engine verify {task} --repair mends it, once it is known who wrote to {}",
            row.target
        )),
    }
}

/// The keys as one batch.
fn keys(due: &[Due]) -> Batch {
    let like = due.first().map(|due| Arc::clone(&due.at.keys));
    let columns = like.iter().flat_map(|like| &like.columns);
    let mut columns: Vec<Column> = columns.map(|column| Column::new(column.values.empty_like())).collect();
    for due in due {
        for (column, from) in columns.iter_mut().zip(&due.at.keys.columns) {
            column.push_from(from, due.at.row);
        }
    }
    Batch { rows: due.len(), columns }
}

/// What the target has under some keys.
struct Found<'a> {
    table: &'a Table,
    hashing: Hashing,
    expected: HashMap<Hash, &'a Due, ByHash>,
    rows: HashMap<Hash, FoundRow, ByHash>,
}

#[derive(Default)]
struct FoundRow {
    /// How often it is there as it must be.
    right: usize,
    /// A row that is not.
    other: Option<Vec<u8>>,
}

#[async_trait]
impl RowSink for Found<'_> {
    async fn push(&mut self, rows: &CanonicalRows) -> Result<()> {
        for bytes in rows.iter() {
            let key = self.hashing.fields(bytes, self.table.key.as_deref().unwrap_or_default());
            // A key that only the target takes for the same is another one.
            let Some(due) = self.expected.get(&key) else { continue };
            let found = self.rows.entry(key).or_default();
            if due.expected.hash == Some(self.hashing.bytes(bytes)) {
                found.right += 1;
            } else {
                found.other = Some(bytes.to_vec());
            }
        }
        Ok(())
    }
}
