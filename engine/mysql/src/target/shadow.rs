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
use engine_core::shadow::{Defect, Ground, OtherKey, Planted, Planting, Shadow};
use engine_core::{Error, ErrorKind, Result};
use std::sync::Arc;

use super::connection::Connections;
use super::control::field;
use super::examiner::{from_clause, read_rows};
use super::failure::translate;
use super::lanes;
use super::layout::{TableLayout, WrittenColumn};
use super::row_form::CanonicalForm;
use super::session::Session;
use crate::charset::Charsets;
use crate::sql;

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
    planting: Planting,
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
}

/// The copy while it is spoiled.
struct Spoiled<'a> {
    shadow: &'a mut MysqlShadow,
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
        let used: Vec<String> = used.iter().map(i64::to_string).collect();
        let unused =
            if used.is_empty() { "TRUE".to_owned() } else { format!("t.{ROW} NOT IN ({})", used.join(", ")) };
        let order = order.unwrap_or(ROW);
        let sql =
            format!("SELECT t.{ROW} FROM {COPY} AS t WHERE {unused} AND ({fits}) ORDER BY {order} LIMIT 1");
        let found = self.shadow.session.query(sql).await.map_err(not_read)?;
        found.into_iter().next().map(|mut row| field(&mut row, 0)).transpose()
    }

    fn differs(&self, place: usize, row: i64) -> String {
        let name = self.column(place);
        format!("CAST(t.{name} AS BINARY) <> (SELECT CAST({name} AS BINARY) FROM {ALL} WHERE {ROW} = {row})")
    }

    async fn canonical(&mut self, row: i64) -> Result<Vec<u8>> {
        let sql = format!("SELECT {} FROM {COPY} WHERE {ROW} = {row}", self.form.selected());
        let mut found = Collected::default();
        let MysqlShadow { charsets, session, .. } = &mut *self.shadow;
        read_rows(charsets, session, self.form, sql.into_bytes(), &mut found).await?;
        Ok(found.0)
    }

    async fn set(&mut self, place: usize, value: &str, row: i64) -> Result<()> {
        let name = self.column(place);
        let sql = format!("UPDATE {COPY} AS t SET t.{name} = {value} WHERE t.{ROW} = {row}");
        self.shadow.run(&sql).await
    }

    async fn swap(&mut self, place: usize, one: i64, other: i64) -> Result<()> {
        let name = self.column(place).to_owned();
        for (row, other) in [(one, other), (other, one)] {
            let value = format!("(SELECT {name} FROM {ALL} WHERE {ROW} = {other})");
            self.set(place, &value, row).await?;
        }
        Ok(())
    }

    async fn remove(&mut self, row: i64) -> Result<()> {
        self.shadow.run(&format!("DELETE FROM {COPY} WHERE {ROW} = {row}")).await
    }

    async fn double(&mut self, row: i64) -> Result<()> {
        let names = names(self.form.layout());
        let sql = format!(
            "INSERT INTO {COPY} ({ROW}, {names}) SELECT -{ROW}, {names} FROM {ALL} WHERE {ROW} = {row}"
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
fn planting(layout: &TableLayout, parts: &[String]) -> Planting {
    let key: Vec<&str> = layout.key.iter().flatten().map(|&place| column(layout, place)).collect();
    let first = layout.key.as_ref().and_then(|key| key.first().copied());
    let other_key = first.and_then(|place| {
        let first = layout.columns.get(place)?;
        let (fits, value) = defects::other_key(&first.column_type, &first.name, ALL)?;
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
        let planting = planting(layout, &conditions);
        let count = self.fill(layout, &conditions).await.map_err(|error| error.at("table", &table.name))?;
        self.copied = Some(Copied { form, planting });
        Ok(count)
    }

    async fn plant(&mut self) -> Result<Vec<Planted>> {
        self.undo().await?;
        let Some(mut copied) = self.copied.take() else { return Ok(Vec::new()) };
        let planted = if copied.planting.is_done() {
            Ok(Vec::new())
        } else {
            self.run("START TRANSACTION").await?;
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
            self.run("ROLLBACK").await?;
        }
        Ok(())
    }

    fn not_planted(&self) -> Vec<(Defect, Option<String>)> {
        self.copied.as_ref().map(|copied| copied.planting.not_planted().to_vec()).unwrap_or_default()
    }
}
