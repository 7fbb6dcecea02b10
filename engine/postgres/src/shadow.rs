//! A copy of rows in which defects are planted: a temporary table, in a transaction that is never committed.

mod defects;

use async_trait::async_trait;
use engine_core::examine::{CanonicalRows, Examiner, KeyRange, RowSink, Stand};
use engine_core::plan::TargetTable;
use engine_core::shadow::{Defect, Ground, OtherKey, Planted, Planting, Shadow};
use engine_core::{Error, ErrorKind, Result};
use std::sync::Arc;
use tokio_postgres::Client;

use crate::dialect::{self, Dialect};
use crate::examiner::{conditions, copy_out};
use crate::failure::translate;
use crate::identifier;
use crate::key_reader::wire_form;
use crate::lanes;
use crate::layout::{TableLayout, WrittenColumn};
use crate::row_form::CanonicalForm;

/// The copy.
const COPY: &str = "pg_temp._migration_shadow";
/// Numbers its rows.
const ROW: &str = "_migration_row";

/// A connection with a copy of rows.
pub(crate) struct PostgresShadow {
    client: Client,
    dialect: Dialect,
    stand: Option<Stand>,
    copied: Option<Copied>,
    is_spoiled: bool,
}

struct Copied {
    form: CanonicalForm,
    planting: Planting,
}

impl PostgresShadow {
    /// One over an open connection, which nothing else uses.
    pub(crate) fn new(client: Client, dialect: Dialect) -> Self {
        Self { client, dialect, stand: None, copied: None, is_spoiled: false }
    }

    async fn run(&self, sql: &str) -> Result<()> {
        self.client
            .batch_execute(sql)
            .await
            .map_err(|error| translate(error, "rows can't be copied aside for the self-test"))
    }
}

/// The copy while it is spoiled.
struct Spoiled<'a> {
    shadow: &'a PostgresShadow,
    form: &'a CanonicalForm,
}

impl Spoiled<'_> {
    fn column(&self, place: usize) -> &str {
        column(self.form.layout(), place)
    }
}

#[async_trait]
impl Ground for Spoiled<'_> {
    async fn find(&mut self, used: &[i64], fits: &str, order: Option<&str>) -> Result<Option<i64>> {
        let order = order.unwrap_or(ROW);
        let sql = format!(
            "SELECT t.{ROW} FROM {COPY} AS t WHERE NOT t.{ROW} = ANY ($1) AND ({fits}) ORDER BY {order} LIMIT 1"
        );
        let found = self.shadow.client.query_opt(&sql, &[&used]).await.map_err(not_read)?;
        Ok(found.map(|row| row.get(0)))
    }

    fn differs(&self, place: usize, row: i64) -> String {
        let name = self.column(place);
        format!("t.{name} <> (SELECT {name} FROM {COPY} WHERE {ROW} = {row})")
    }

    async fn canonical(&mut self, row: i64) -> Result<Vec<u8>> {
        let sql = format!("SELECT {} FROM {COPY} WHERE {ROW} = $1", names(self.form.layout()));
        let found = self.shadow.client.query_one(&sql, &[&row]).await.map_err(not_read)?;
        let (mut rows, mut bytes) = (CanonicalRows::default(), Vec::new());
        let taken = wire_form(&found, &mut bytes).and_then(|()| self.form.take_row(&bytes, &mut rows));
        taken.ok_or_else(|| {
            Error::new(
                ErrorKind::Internal,
                "a row of the self-test's copy is not in the form that it was asked for in",
            )
        })?;
        Ok(rows.iter().next().unwrap_or_default().to_vec())
    }

    async fn set(&mut self, place: usize, value: &str, row: i64) -> Result<()> {
        let name = self.column(place);
        self.shadow.run(&format!("UPDATE {COPY} AS t SET {name} = {value} WHERE t.{ROW} = {row}")).await
    }

    async fn swap(&mut self, place: usize, one: i64, other: i64) -> Result<()> {
        let name = self.column(place);
        let sql = format!(
            "UPDATE {COPY} AS t SET {name} = other.{name} FROM {COPY} AS other \
             WHERE (t.{ROW}, other.{ROW}) IN (({one}, {other}), ({other}, {one}))"
        );
        self.shadow.run(&sql).await
    }

    async fn remove(&mut self, row: i64) -> Result<()> {
        self.shadow.run(&format!("DELETE FROM {COPY} WHERE {ROW} = {row}")).await
    }

    async fn double(&mut self, row: i64) -> Result<()> {
        let names = names(self.form.layout());
        let sql = format!(
            "INSERT INTO {COPY} ({ROW}, {names}) SELECT -{ROW}, {names} FROM {COPY} WHERE {ROW} = {row}"
        );
        self.shadow.run(&sql).await
    }

    async fn mark(&mut self) -> Result<()> {
        self.shadow.run("SAVEPOINT one").await
    }

    async fn back_to_mark(&mut self) -> Result<()> {
        self.shadow.run("ROLLBACK TO SAVEPOINT one").await
    }

    async fn unmark(&mut self) -> Result<()> {
        self.shadow.run("RELEASE SAVEPOINT one").await
    }
}

fn not_read(error: tokio_postgres::Error) -> Error {
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
fn planting(layout: &TableLayout, parts: &[String]) -> Planting {
    let key: Vec<&str> = layout.key.iter().flatten().map(|&place| column(layout, place)).collect();
    let first = layout.key.as_ref().and_then(|key| key.first().copied());
    let other_key = first.and_then(|place| {
        let first = layout.columns.get(place)?;
        let (fits, value) = defects::other_key(&first.pg_type, &first.name, COPY)?;
        Some(OtherKey { place, fits, value })
    });
    let source_name = |written: &WrittenColumn| {
        let column = layout.table.columns.get(written.ordinal);
        column.map_or_else(String::new, |column| column.source_name.clone())
    };
    let columns = layout.columns.iter().map(source_name).collect();
    let parts = if parts.len() > 1 { parts } else { &[] };
    Planting::new(columns, &key, other_key, parts, defects::of(layout))
}

#[async_trait]
impl Examiner for PostgresShadow {
    async fn begin(&mut self, task: &str) -> Result<Stand> {
        if let Some(stand) = &self.stand {
            return Ok(stand.clone());
        }
        self.run(&dialect::settings(&[("jit", "off")])).await?;
        self.run("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
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
        let form = CanonicalForm::new(TableLayout::resolve(&self.client, self.dialect, table).await?);
        let layout = form.layout();
        let conditions: Vec<String> =
            parts.iter().map(|part| conditions(layout, part)).collect::<Result<_>>()?;
        let planting = planting(layout, &conditions);
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
        let count =
            self.client.query_one(&format!("SELECT count(*) FROM {COPY}"), &[]).await.map_err(not_read)?;
        self.copied = Some(Copied { form, planting });
        Ok(count.get::<_, i64>(0).unsigned_abs())
    }

    async fn plant(&mut self) -> Result<Vec<Planted>> {
        self.undo().await?;
        let Some(mut copied) = self.copied.take() else { return Ok(Vec::new()) };
        let planted = if copied.planting.is_done() {
            Ok(Vec::new())
        } else {
            self.run("SAVEPOINT as_copied").await?;
            self.is_spoiled = true;
            let Copied { form, planting } = &mut copied;
            planting.plant(&mut Spoiled { shadow: self, form }).await
        };
        let planted = planted.map_err(|error| error.at("table", &copied.form.layout().table.name))?;
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
        self.copied.as_ref().map(|copied| copied.planting.not_planted().to_vec()).unwrap_or_default()
    }
}
