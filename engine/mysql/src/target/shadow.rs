//! A copy of rows in which defects are planted: two temporary tables of one connection, one that stays as it was copied
//! and one that is spoiled in a transaction which is rolled back.
//!
//! An `INSERT … SELECT` locks what it reads and reads the latest, unless the session reads committed rows: then it
//! reads a snapshot of its own. So a copy is made by one statement, which takes along where the lanes stand in
//! that very snapshot. A temporary table can be named only once in a statement of MySQL, and so what looks from one
//! row at the others looks at the table that stays.

mod defects;

use async_trait::async_trait;
use engine_core::examine::{CanonicalRows, Examiner, KeyRange, RowSink, Stand};
use engine_core::plan::TargetTable;
use engine_core::shadow::{Defect, Effect, Planted, Shadow};
use engine_core::{Error, ErrorKind, Result};
use std::collections::VecDeque;
use std::sync::Arc;

use super::connection::Connections;
use super::control::field;
use super::examiner::{from_clause, read_rows};
use super::failure::translate;
use super::lanes;
use super::layout::TableLayout;
use super::row_form::CanonicalForm;
use super::session::Session;
use crate::charset::Charsets;
use crate::sql;

use defects::Spoiling;

/// The copy that is spoiled, and compared.
const COPY: &str = "_migration._migration_shadow";
/// The copy that stays as it is.
const ALL: &str = "_migration._migration_original";
/// Numbers their rows.
const ROW: &str = "_migration_row";
/// Where the lanes stand, in the first row.
const STAND: &str = "_migration_stand";
/// Whether the row is one.
const IS_ROW: &str = "_migration_is_row";

/// While rows are copied: values are there already, whatever they are.
const COPYING: &str =
    "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION'";
/// While defects are planted: a value that the type does not have is no defect.
const PLANTING: &str = "SET SESSION \
    sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION'";

/// A connection with a copy of rows.
pub(super) struct MysqlShadow {
    session: Session,
    connections: Connections,
    charsets: Charsets,
    task: String,
    stand: Option<Stand>,
    copied: Option<Copied>,
    is_spoiled: bool,
}

struct Copied {
    form: CanonicalForm,
    /// What is still to be planted.
    queue: VecDeque<Task>,
    not_planted: Vec<(Defect, Option<String>)>,
}

/// A defect that is to be planted.
#[derive(Debug, Clone)]
enum Task {
    Spoil(Spoiling),
    /// The first or last row of the part in that order.
    Edge {
        condition: String,
        order: String,
    },
    Missing,
    Extra {
        fits: String,
        value: String,
        place: usize,
    },
    Doubled,
}

impl Task {
    fn defect(&self) -> Defect {
        match self {
            Self::Spoil(spoiling) => spoiling.defect,
            Self::Edge { .. } => Defect::MissingEdge,
            Self::Missing => Defect::MissingRow,
            Self::Extra { .. } => Defect::ExtraRow,
            Self::Doubled => Defect::DoubledRow,
        }
    }
}

impl MysqlShadow {
    /// One over a connection of its own.
    pub(super) async fn open(connections: Connections, charsets: Charsets) -> Result<Self> {
        let mut session = connections.open_reading().await?;
        let set_up = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
        for statement in [set_up, "SET SESSION group_concat_max_len = 1073741824"] {
            session
                .run(statement)
                .await
                .map_err(|error| translate(error, "a session for the self-test can't be set up"))?;
        }
        let (stand, copied) = (None, None);
        Ok(Self { session, connections, charsets, task: String::new(), stand, copied, is_spoiled: false })
    }

    async fn run(&mut self, sql: &str) -> Result<()> {
        self.session.run(sql).await.map_err(|error| {
            translate(error, "rows can't be copied aside for the self-test")
                .help("the self-test makes temporary tables: GRANT CREATE TEMPORARY TABLES ON `_migration`.* to the target's account")
        })
    }

    /// The numbers of rows that fit and have no defect yet.
    async fn rows(&mut self, used: &[i64], fits: &str, order: &str, count: u32) -> Result<Vec<i64>> {
        let used: Vec<String> = used.iter().map(i64::to_string).collect();
        let unused =
            if used.is_empty() { "TRUE".to_owned() } else { format!("t.{ROW} NOT IN ({})", used.join(", ")) };
        let sql = format!(
            "SELECT t.{ROW} FROM {COPY} AS t WHERE {unused} AND ({fits}) ORDER BY {order} LIMIT {count}"
        );
        let rows = self.session.query(sql).await.map_err(not_read)?;
        rows.into_iter().map(|mut row| field(&mut row, 0)).collect()
    }

    /// A row in canonical form.
    async fn canonical(&mut self, form: &CanonicalForm, row: i64) -> Result<Vec<u8>> {
        let sql = format!("SELECT {} FROM {COPY} WHERE {ROW} = {row}", form.selected());
        let mut found = Collected::default();
        read_rows(&self.charsets, &mut self.session, form, sql.into_bytes(), &mut found).await?;
        Ok(found.0)
    }

    /// Copies the rows under a condition, with where the lanes stand beside them.
    async fn fill(&mut self, layout: &TableLayout, conditions: &[String]) -> Result<u64> {
        let names = names(layout);
        for copy in [COPY, ALL] {
            if self.copied.is_some() {
                self.run(&format!("DROP TEMPORARY TABLE {copy}")).await?;
            }
        }
        self.copied = None;
        self.run(COPYING).await?;
        // Columns of the outer side of a join take NULL, and are of the very types.
        for copy in [COPY, ALL] {
            self.run(&format!(
                "CREATE TEMPORARY TABLE {copy} ({ROW} BIGINT NOT NULL PRIMARY KEY, {STAND} LONGTEXT NULL, \
                 {IS_ROW} INT NULL) ENGINE = InnoDB SELECT 0 AS {ROW}, NULL AS {STAND}, NULL AS {IS_ROW}, {names} \
                 FROM (SELECT 1 AS one) AS one LEFT JOIN {} ON FALSE LIMIT 0",
                layout.name
            ))
            .await?;
        }
        let stand = format!(
            "(SELECT GROUP_CONCAT(CONCAT_WS(' ', sequence, HEX(position), HEX(applied)) SEPARATOR ',') \
             FROM _migration.lane WHERE task = {})",
            sql::literal(&self.task)
        );
        self.run(&format!(
            "INSERT INTO {ALL} ({ROW}, {STAND}, {IS_ROW}, {names}) \
             SELECT number, IF(number = 1, {stand}, NULL), {IS_ROW}, {names} FROM \
             (SELECT ROW_NUMBER() OVER () AS number, {IS_ROW}, {names} FROM (SELECT 1 AS one) AS one \
             LEFT JOIN (SELECT 1 AS {IS_ROW}, {names} FROM {} WHERE {}) AS r ON TRUE) AS numbered",
            layout.name,
            conditions.join(" OR ")
        ))
        .await?;
        let stood = self
            .session
            .query(format!("SELECT {STAND} FROM {ALL} WHERE {ROW} = 1"))
            .await
            .map_err(not_read)?;
        let stood: Option<String> = match stood.into_iter().next() {
            Some(mut row) => field(&mut row, 0)?,
            None => None,
        };
        self.run(&format!("DELETE FROM {ALL} WHERE {IS_ROW} IS NULL")).await?;
        self.run(&format!("INSERT INTO {COPY} SELECT * FROM {ALL}")).await?;
        self.run(PLANTING).await?;
        if let Some(stand) = self.stand.as_mut().filter(|stand| stand.position.is_some()) {
            let (position, applied) = lanes::stood(&stood.unwrap_or_default())?;
            (stand.position, stand.applied) = (Some(position), applied);
        }
        let counted = self.session.query(format!("SELECT COUNT(*) FROM {ALL}")).await.map_err(not_read)?;
        counted.into_iter().next().map_or(Ok(0), |mut row| field(&mut row, 0))
    }

    /// Plants a defect; `None` when there is no row for it.
    async fn plant_one(
        &mut self,
        form: &CanonicalForm,
        task: &Task,
        used: &mut Vec<i64>,
    ) -> Result<Option<Vec<(Vec<u8>, Effect)>>> {
        let layout = form.layout();
        let has_key = layout.key.is_some();
        let any = "TRUE".to_owned();
        let (fits, order) = match task {
            Task::Spoil(spoiling) => (&spoiling.fits, ROW),
            Task::Edge { condition, order } => (condition, order.as_str()),
            Task::Extra { fits, .. } => (fits, ROW),
            Task::Missing | Task::Doubled => (&any, ROW),
        };
        let Some(row) = self.rows(used, fits, order, 1).await?.first().copied() else { return Ok(None) };
        let before = self.canonical(form, row).await?;
        let mut touched = vec![row];
        let effects = match task {
            Task::Spoil(Spoiling { defect: Defect::SwappedValues, place, .. }) => {
                let name = column(layout, *place);
                let fits = format!(
                    "CAST(t.{name} AS BINARY) <> (SELECT CAST({name} AS BINARY) FROM {ALL} WHERE {ROW} = {row})"
                );
                let Some(other) = self.rows(used, &fits, ROW, 1).await?.first().copied() else {
                    return Ok(None);
                };
                touched.push(other);
                let second = self.canonical(form, other).await?;
                for (row, other) in [(row, other), (other, row)] {
                    let value = format!("(SELECT {name} FROM {ALL} WHERE {ROW} = {other})");
                    self.set(name, &value, row).await?;
                }
                let mut effects = self.spoiled(form, has_key, row, before).await?;
                effects.extend(self.spoiled(form, has_key, other, second).await?);
                effects
            }
            Task::Spoil(spoiling) => {
                self.set(column(layout, spoiling.place), &spoiling.value, row).await?;
                self.spoiled(form, has_key, row, before).await?
            }
            Task::Edge { .. } | Task::Missing => {
                self.run(&format!("DELETE FROM {COPY} WHERE {ROW} = {row}")).await?;
                vec![(before, Effect::Missing)]
            }
            Task::Doubled => {
                self.double(layout, row).await?;
                touched.push(-row);
                vec![(before, Effect::Extra)]
            }
            Task::Extra { value, place, .. } => {
                self.double(layout, row).await?;
                self.set(column(layout, *place), value, -row).await?;
                touched.push(-row);
                vec![(self.canonical(form, -row).await?, Effect::Extra)]
            }
        };
        used.extend(touched);
        Ok(Some(effects))
    }

    /// Gives a column of a row another value.
    async fn set(&mut self, name: &str, value: &str, row: i64) -> Result<()> {
        self.run(&format!("UPDATE {COPY} AS t SET t.{name} = {value} WHERE t.{ROW} = {row}")).await
    }

    /// Adds a row that equals another, under its number with a minus.
    async fn double(&mut self, layout: &TableLayout, row: i64) -> Result<()> {
        let names = names(layout);
        self.run(&format!(
            "INSERT INTO {COPY} ({ROW}, {names}) SELECT -{ROW}, {names} FROM {ALL} WHERE {ROW} = {row}"
        ))
        .await
    }

    /// What a check must say of a row that has other values than before.
    async fn spoiled(
        &mut self,
        form: &CanonicalForm,
        has_key: bool,
        row: i64,
        before: Vec<u8>,
    ) -> Result<Vec<(Vec<u8>, Effect)>> {
        if has_key {
            return Ok(vec![(before, Effect::Different)]);
        }
        let after = self.canonical(form, row).await?;
        Ok(vec![(before, Effect::Missing), (after, Effect::Extra)])
    }
}

/// The one row that is read.
#[derive(Default)]
struct Collected(Vec<u8>);

#[async_trait]
impl RowSink for Collected {
    async fn push(&mut self, rows: &CanonicalRows) -> Result<()> {
        if let Some(row) = rows.iter().next() {
            self.0 = row.to_vec();
        }
        Ok(())
    }
}

fn not_read(error: mysql_async::Error) -> Error {
    translate(error, "the copy of the self-test can't be read")
}

fn column(layout: &TableLayout, place: usize) -> &str {
    layout.columns.get(place).map_or("", |column| column.name.as_str())
}

fn names(layout: &TableLayout) -> String {
    let names: Vec<&str> = layout.columns.iter().map(|column| column.name.as_str()).collect();
    names.join(", ")
}

/// All that is to be planted in a table.
fn tasks(layout: &TableLayout, parts: &[String]) -> VecDeque<Task> {
    let mut tasks = VecDeque::new();
    let first = layout.key.as_ref().and_then(|key| key.first().copied());
    // Before any row is taken away, whose key it might get.
    if let Some((place, first)) = first.and_then(|place| Some((place, layout.columns.get(place)?)))
        && let Some((fits, value)) = defects::other_key(&first.column_type, &first.name, ALL)
    {
        tasks.push_back(Task::Extra { fits, value, place });
    }
    // These need certain rows, which nothing else may have touched.
    for condition in parts {
        for direction in ["ASC", "DESC"] {
            let key = layout.key.iter().flatten();
            let columns: Vec<String> =
                key.map(|&place| format!("{} {direction}", column(layout, place))).collect();
            tasks.push_back(Task::Edge { condition: condition.clone(), order: columns.join(", ") });
        }
    }
    tasks.push_back(Task::Missing);
    tasks.push_back(Task::Doubled);
    tasks.extend(defects::of(layout).into_iter().map(Task::Spoil));
    tasks
}

/// What the rows of a range have, as a condition.
fn condition(layout: &TableLayout, range: &KeyRange) -> Result<String> {
    let clause = from_clause(layout, "", range)?;
    Ok(clause.strip_prefix(" WHERE ").map_or_else(|| "TRUE".to_owned(), |found| format!("({found})")))
}

#[async_trait]
impl Examiner for MysqlShadow {
    async fn begin(&mut self, task: &str) -> Result<Stand> {
        if let Some(stand) = &self.stand {
            return Ok(stand.clone());
        }
        task.clone_into(&mut self.task);
        self.run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").await?;
        let stand = lanes::stand(&mut self.session, task).await?;
        self.run("COMMIT").await?;
        Ok(self.stand.insert(stand).clone())
    }

    async fn read(
        &mut self,
        table: &Arc<TargetTable>,
        range: &KeyRange,
        sink: &mut dyn RowSink,
    ) -> Result<()> {
        match &self.copied {
            Some(copied) if copied.form.layout().table == *table => {
                let form = &copied.form;
                let query =
                    format!("SELECT {} FROM {}", form.selected(), from_clause(form.layout(), COPY, range)?);
                read_rows(&self.charsets, &mut self.session, form, query.into_bytes(), sink).await
            }
            _ => Err(Error::new(ErrorKind::Internal, "a table was not copied aside for the self-test")
                .at("table", &table.name)),
        }
    }

    async fn end(&mut self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Shadow for MysqlShadow {
    async fn copy(&mut self, table: &Arc<TargetTable>, parts: &[KeyRange]) -> Result<u64> {
        self.undo().await?;
        let form = CanonicalForm::new(TableLayout::new(table, self.connections.flavor())?);
        let layout = form.layout();
        let conditions: Vec<String> =
            parts.iter().map(|part| condition(layout, part)).collect::<Result<_>>()?;
        let queue = tasks(layout, if conditions.len() > 1 { &conditions } else { &[] });
        let count = self.fill(layout, &conditions).await.map_err(|error| error.at("table", &table.name))?;
        self.copied = Some(Copied { form, queue, not_planted: Vec::new() });
        Ok(count)
    }

    async fn plant(&mut self) -> Result<Vec<Planted>> {
        self.undo().await?;
        let Some(mut copied) = self.copied.take() else { return Ok(Vec::new()) };
        if copied.queue.is_empty() {
            self.copied = Some(copied);
            return Ok(Vec::new());
        }
        self.run("START TRANSACTION").await?;
        self.is_spoiled = true;
        let (mut planted, mut used, mut later) = (Vec::new(), Vec::new(), VecDeque::new());
        while let Some(task) = copied.queue.pop_front() {
            let column = match &task {
                Task::Spoil(Spoiling { place, .. }) => {
                    let layout = copied.form.layout();
                    let ordinal = layout.columns.get(*place).map(|column| column.ordinal);
                    let column = ordinal.and_then(|ordinal| layout.table.columns.get(ordinal));
                    column.map(|column| column.source_name.clone())
                }
                _ => None,
            };
            self.run("SAVEPOINT one").await?;
            match self.plant_one(&copied.form, &task, &mut used).await {
                Ok(Some(effects)) => {
                    planted.push(Planted { defect: task.defect(), column, effects });
                }
                // There may be one when no row is taken yet.
                Ok(None) if !used.is_empty() => later.push_back(task),
                Ok(None) => copied.not_planted.push((task.defect(), column)),
                // A value that the type does not have.
                Err(error) if !matches!(error.kind(), ErrorKind::Transient | ErrorKind::Connection) => {
                    tracing::debug!(%error, defect = task.defect().name(), "a defect can't be planted");
                    self.run("ROLLBACK TO SAVEPOINT one").await?;
                    copied.not_planted.push((task.defect(), column));
                }
                Err(error) => return Err(error.at("table", &copied.form.layout().table.name)),
            }
            self.run("RELEASE SAVEPOINT one").await?;
        }
        copied.queue = later;
        self.copied = Some(copied);
        Ok(planted)
    }

    async fn undo(&mut self) -> Result<()> {
        if std::mem::take(&mut self.is_spoiled) {
            self.run("ROLLBACK").await?;
        }
        Ok(())
    }

    fn not_planted(&self) -> Vec<(Defect, Option<String>)> {
        self.copied.as_ref().map(|copied| copied.not_planted.clone()).unwrap_or_default()
    }
}
