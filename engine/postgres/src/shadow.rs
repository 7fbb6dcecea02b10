//! A copy of rows in which defects are planted: a temporary table, in a transaction that is never committed.

mod defects;

use async_trait::async_trait;
use engine_core::examine::{CanonicalRows, Examiner, KeyRange, RowSink, Stand};
use engine_core::plan::TargetTable;
use engine_core::shadow::{Defect, Effect, Planted, Shadow};
use engine_core::{Error, ErrorKind, Result};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio_postgres::Client;

use crate::examiner::{conditions, copy_out};
use crate::failure::translate;
use crate::identifier;
use crate::key_reader::wire_form;
use crate::lanes;
use crate::layout::TableLayout;
use crate::row_form::CanonicalForm;

use defects::Spoiling;

/// The copy.
const COPY: &str = "pg_temp._migration_shadow";
/// Numbers its rows.
const ROW: &str = "_migration_row";

/// A connection with a copy of rows.
pub(crate) struct PostgresShadow {
    client: Client,
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

impl PostgresShadow {
    /// One over an open connection, which nothing else uses.
    pub(crate) fn new(client: Client) -> Self {
        Self { client, stand: None, copied: None, is_spoiled: false }
    }

    async fn run(&self, sql: &str) -> Result<()> {
        self.client
            .batch_execute(sql)
            .await
            .map_err(|error| translate(error, "rows can't be copied aside for the self-test"))
    }

    /// The numbers of rows that fit and have no defect yet.
    async fn rows(&self, used: &[i64], fits: &str, order: &str, count: u32) -> Result<Vec<i64>> {
        let sql = format!(
            "SELECT t.{ROW} FROM {COPY} AS t WHERE NOT t.{ROW} = ANY ($1) AND ({fits}) ORDER BY {order} LIMIT {count}"
        );
        let rows = self
            .client
            .query(&sql, &[&used])
            .await
            .map_err(|error| translate(error, "the copy of the self-test can't be read"))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// A row in canonical form.
    async fn canonical(&self, form: &CanonicalForm, row: i64) -> Result<Vec<u8>> {
        let sql = format!("SELECT {} FROM {COPY} WHERE {ROW} = $1", names(form.layout()));
        let found = self
            .client
            .query_one(&sql, &[&row])
            .await
            .map_err(|error| translate(error, "the copy of the self-test can't be read"))?;
        let (mut rows, mut bytes) = (CanonicalRows::default(), Vec::new());
        wire_form(&found, &mut bytes).and_then(|()| form.take_row(&bytes, &mut rows)).ok_or_else(|| {
            Error::new(
                ErrorKind::Internal,
                "a row of the self-test's copy is not in the form that it was asked for in",
            )
        })?;
        Ok(rows.iter().next().unwrap_or_default().to_vec())
    }

    /// Plants a defect; `None` when there is no row for it.
    async fn plant_one(
        &self,
        form: &CanonicalForm,
        task: &Task,
        used: &mut Vec<i64>,
    ) -> Result<Option<Vec<(Vec<u8>, Effect)>>> {
        let layout = form.layout();
        let has_key = layout.key.is_some();
        let any = "true".to_owned();
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
                let fits = format!("t.{name} <> (SELECT {name} FROM {COPY} WHERE {ROW} = {row})");
                let Some(other) = self.rows(used, &fits, ROW, 1).await?.first().copied() else {
                    return Ok(None);
                };
                touched.push(other);
                let second = self.canonical(form, other).await?;
                self.run(&format!(
                    "UPDATE {COPY} AS t SET {name} = other.{name} FROM {COPY} AS other \
                     WHERE (t.{ROW}, other.{ROW}) IN (({row}, {other}), ({other}, {row}))"
                ))
                .await?;
                let mut effects = self.spoiled(form, has_key, row, before).await?;
                effects.extend(self.spoiled(form, has_key, other, second).await?);
                effects
            }
            Task::Spoil(spoiling) => {
                let name = column(layout, spoiling.place);
                self.run(&format!("UPDATE {COPY} SET {name} = {} WHERE {ROW} = {row}", spoiling.value))
                    .await?;
                self.spoiled(form, has_key, row, before).await?
            }
            Task::Edge { .. } | Task::Missing => {
                self.run(&format!("DELETE FROM {COPY} WHERE {ROW} = {row}")).await?;
                vec![(before, Effect::Missing)]
            }
            Task::Doubled => {
                let names = names(layout);
                self.run(&format!(
                    "INSERT INTO {COPY} ({ROW}, {names}) SELECT -{ROW}, {names} FROM {COPY} WHERE {ROW} = {row}"
                ))
                .await?;
                touched.push(-row);
                vec![(before, Effect::Extra)]
            }
            Task::Extra { value, place, .. } => {
                let names = names(layout);
                let values: Vec<&str> = (0..layout.columns.len())
                    .map(|other| if other == *place { value.as_str() } else { column(layout, other) })
                    .collect();
                self.run(&format!(
                    "INSERT INTO {COPY} ({ROW}, {names}) SELECT -{ROW}, {} FROM {COPY} AS t WHERE {ROW} = {row}",
                    values.join(", ")
                ))
                .await?;
                touched.push(-row);
                vec![(self.canonical(form, -row).await?, Effect::Extra)]
            }
        };
        used.extend(touched);
        Ok(Some(effects))
    }

    /// What a check must say of a row that has other values than before.
    async fn spoiled(
        &self,
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
        && let Some((fits, value)) = defects::other_key(&first.pg_type, &first.name, COPY)
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

#[async_trait]
impl Examiner for PostgresShadow {
    async fn begin(&mut self, task: &str) -> Result<Stand> {
        if let Some(stand) = &self.stand {
            return Ok(stand.clone());
        }
        self.run("SET jit = off; BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
        let stand = lanes::stand(&self.client, task).await?;
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
                copy_out(&self.client, &copied.form, COPY, range, sink).await
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
impl Shadow for PostgresShadow {
    async fn copy(&mut self, table: &Arc<TargetTable>, parts: &[KeyRange]) -> Result<u64> {
        self.undo().await?;
        let form = CanonicalForm::new(TableLayout::resolve(&self.client, table).await?);
        let layout = form.layout();
        let conditions: Vec<String> =
            parts.iter().map(|part| conditions(layout, part)).collect::<Result<_>>()?;
        let queue = tasks(layout, if conditions.len() > 1 { &conditions } else { &[] });
        let wanted: Vec<String> = conditions.iter().map(|condition| format!("({condition})")).collect();
        self.run(&format!(
            "DROP TABLE IF EXISTS {COPY}; CREATE TEMPORARY TABLE _migration_shadow AS \
             SELECT row_number() OVER () AS {ROW}, {} FROM {} WHERE {}",
            names(layout),
            identifier::qualified(&table.name),
            wanted.join(" OR ")
        ))
        .await
        .map_err(|error| error.at("table", &table.name))?;
        let count = self
            .client
            .query_one(&format!("SELECT count(*) FROM {COPY}"), &[])
            .await
            .map_err(|error| translate(error, "the copy of the self-test can't be read"))?;
        self.copied = Some(Copied { form, queue, not_planted: Vec::new() });
        Ok(count.get::<_, i64>(0).unsigned_abs())
    }

    async fn plant(&mut self) -> Result<Vec<Planted>> {
        self.undo().await?;
        let Some(mut copied) = self.copied.take() else { return Ok(Vec::new()) };
        if copied.queue.is_empty() {
            self.copied = Some(copied);
            return Ok(Vec::new());
        }
        self.run("SAVEPOINT as_copied").await?;
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
            self.run("ROLLBACK TO SAVEPOINT as_copied; RELEASE SAVEPOINT as_copied").await?;
        }
        Ok(())
    }

    fn not_planted(&self) -> Vec<(Defect, Option<String>)> {
        self.copied.as_ref().map(|copied| copied.not_planted.clone()).unwrap_or_default()
    }
}
