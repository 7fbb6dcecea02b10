//! Mends single rows while an engine may be following.
//!
//! The lanes' rows of `_migration.lane` are locked first: a lane writes its own row last, so that from
//! then on none can commit, and the position read after it is the one that the mended rows take part
//! in. A lane that has already written to one of these rows holds its lock and waits for us. So we
//! never wait for a row: we give everything up, let the lane commit, and try again.

use async_trait::async_trait;
use engine_core::batch::Batch;
use engine_core::column::Column;
use engine_core::examine::{Attempt, Repairer, Stand};
use engine_core::logical::LogicalType;
use engine_core::plan::TargetTable;
use engine_core::target::NetChanges;
use engine_core::{Error, ErrorKind, Result};
use std::sync::Arc;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use crate::array::{self, Encoded};
use crate::dialect::Dialect;
use crate::failure::translate;
use crate::identifier::{self, fit, literal, qualified};
use crate::layout::TableLayout;
use crate::{applier, apply_sql, check, lanes, value_text};

/// How long the lanes may take to commit what they are about to.
const LANES_WAIT: &str = "2s";
/// How long a row's lock is waited for.
const ROW_WAIT: &str = "50ms";
/// How long a statement that mends rows may take where only that can be limited. The rows that are there are locked
/// before, without waiting; one that a lane is about to insert can be waited for.
const WRITE_WAIT: &str = "10s";

/// A connection that mends rows.
pub(crate) struct PostgresRepairer {
    client: Client,
    dialect: Dialect,
    /// Whether foreign keys and triggers can be silenced.
    is_silent: bool,
    in_transaction: bool,
}

impl PostgresRepairer {
    /// A repairer over an open connection.
    pub(crate) async fn new(client: Client, dialect: Dialect) -> Result<Self> {
        let failed = |error| translate(error, "the session of a repairer can't be set up");
        let is_silent = check::may_silence_triggers(&client, dialect).await?;
        client
            .batch_execute(
                "SELECT pg_catalog.set_config('synchronous_commit', 'on', false) \
                 WHERE pg_catalog.current_setting('synchronous_commit') = 'off'",
            )
            .await
            .map_err(failed)?;
        if is_silent {
            client.batch_execute("SET session_replication_role = replica").await.map_err(failed)?;
        }
        Ok(Self { client, dialect, is_silent, in_transaction: false })
    }

    /// Refuses a table whose triggers would run: a cascade takes other rows along.
    async fn require_silence(&self, table: &TargetTable) -> Result<()> {
        if self.is_silent {
            return Ok(());
        }
        let row = self
            .client
            .query_one(
                "SELECT count(*) FROM pg_catalog.pg_trigger t \
                 JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname = $1 AND c.relname = $2 AND t.tgenabled <> 'D'",
                &[&fit(&table.name.namespace), &fit(&table.name.name)],
            )
            .await
            .map_err(|error| translate(error, "the table's triggers can't be read"))?;
        if row.get::<_, i64>(0) == 0 {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Precondition, "rows of a table with triggers or foreign keys can't be mended")
            .at("table", &table.name)
            .because("the account may not silence them, and a cascade would change other rows too")
            .help("GRANT SET ON PARAMETER session_replication_role TO the account (PostgreSQL 15), or use a superuser"))
    }

    fn is_busy(&self, error: &tokio_postgres::Error) -> bool {
        error.code().is_some_and(|state| self.dialect.is_busy(state))
    }

    async fn execute(&self, layout: &TableLayout, sql: &str, arrays: &[Encoded]) -> Result<Attempt> {
        let outcome = async {
            let statement = self.client.prepare(sql).await?;
            applier::execute(&self.client, &statement, arrays).await
        };
        match outcome.await {
            Ok(_) => Ok(Attempt::Done),
            Err(error) if self.is_busy(&error) => Ok(Attempt::Busy),
            Err(error) => Err(translate(error, "rows can't be mended").at("table", &layout.table.name)),
        }
    }

    /// Locks the rows that are to be mended, as far as they are there.
    async fn lock(&self, layout: &TableLayout, key: &[usize], changes: &NetChanges) -> Result<Attempt> {
        let NetChanges::Idempotent { deletes, upserts } = changes else { return Ok(Attempt::Done) };
        let keys = key.iter().filter_map(|&place| upserts.columns.get(place).cloned()).collect();
        let upserts = Batch { rows: upserts.rows, columns: keys };
        for keys in [deletes, &upserts].into_iter().filter(|keys| keys.rows > 0) {
            layout.check_shape(keys, key)?;
            let arrays = array::columns(layout, keys, key, 0..keys.rows)?;
            if self.execute(layout, &apply_sql::lock_keys(layout, key), &arrays).await? == Attempt::Busy {
                return Ok(Attempt::Busy);
            }
        }
        Ok(Attempt::Done)
    }

    async fn changes(&self, layout: &TableLayout, changes: &NetChanges) -> Result<Attempt> {
        let internal = |why| {
            Error::new(ErrorKind::Internal, "rows can't be mended")
                .at("table", &layout.table.name)
                .because(why)
        };
        let NetChanges::Idempotent { deletes, upserts } = changes else {
            return Err(internal("the changes expect something of the rows that are there"));
        };
        let key = layout.key.as_ref().ok_or_else(|| internal("the table has no row key"))?;
        if self.dialect.is_opengauss() && self.lock(layout, key, changes).await? == Attempt::Busy {
            return Ok(Attempt::Busy);
        }
        if deletes.rows > 0 {
            layout.check_shape(deletes, key)?;
            let arrays = array::columns(layout, deletes, key, 0..deletes.rows)?;
            if self.execute(layout, &apply_sql::delete_keys(layout, key), &arrays).await? == Attempt::Busy {
                return Ok(Attempt::Busy);
            }
        }
        if upserts.rows > 0 {
            layout.check_shape(upserts, &layout.all())?;
            layout.check_columns(upserts, &layout.all())?;
            let arrays = array::columns(layout, upserts, &layout.all(), 0..upserts.rows)?;
            return self.execute(layout, &apply_sql::insert_rows(layout, Some(key)), &arrays).await;
        }
        Ok(Attempt::Done)
    }
}

/// The error of a row that was counted and is no more.
fn miscounted(layout: &TableLayout) -> Error {
    Error::new(ErrorKind::Internal, "rows that were counted are not there").at("table", &layout.table.name)
}

#[async_trait]
impl Repairer for PostgresRepairer {
    async fn hold(&mut self, task: &str) -> Result<Option<Stand>> {
        self.give_up().await?;
        let failed = |error| translate(error, "the task's lanes can't be held").at("task", task);
        self.in_transaction = true;
        self.client
            .batch_execute(&format!(
                "BEGIN ISOLATION LEVEL READ COMMITTED; {}",
                self.dialect.limit_waits(LANES_WAIT)
            ))
            .await
            .map_err(failed)?;
        for sql in [
            "SELECT 1 FROM _migration.task WHERE name = $1 FOR SHARE",
            "SELECT 1 FROM _migration.lane WHERE task = $1 ORDER BY number FOR UPDATE",
        ] {
            match self.client.query(sql, &[&task]).await {
                Ok(_) => {}
                Err(error) if self.is_busy(&error) => {
                    self.give_up().await?;
                    return Ok(None);
                }
                Err(error) => return Err(failed(error)),
            }
        }
        let wait = if self.dialect.is_opengauss() { WRITE_WAIT } else { ROW_WAIT };
        self.client.batch_execute(&self.dialect.limit_waits(wait)).await.map_err(failed)?;
        // Lanes that were opened while the locks were waited for are not among the locked ones; the
        // task's row keeps others from being opened.
        match self
            .client
            .query(
                "SELECT 1 FROM _migration.lane WHERE task = $1 ORDER BY number FOR UPDATE NOWAIT",
                &[&task],
            )
            .await
        {
            Ok(_) => {}
            Err(error) if self.is_busy(&error) => {
                self.give_up().await?;
                return Ok(None);
            }
            Err(error) => return Err(failed(error)),
        }
        lanes::stand(&self.client, task).await.map(Some)
    }

    async fn write(&mut self, table: &Arc<TargetTable>, changes: &NetChanges) -> Result<Attempt> {
        if !self.in_transaction {
            return Err(Error::new(ErrorKind::Internal, "rows are mended while nothing holds the lanes"));
        }
        self.require_silence(table).await?;
        let layout = TableLayout::resolve(&self.client, self.dialect, table).await?;
        let attempt = self.changes(&layout, changes).await?;
        if attempt == Attempt::Busy {
            self.give_up().await?;
        }
        Ok(attempt)
    }

    async fn count(&mut self, table: &Arc<TargetTable>, rows: &[Batch]) -> Result<Option<Vec<u64>>> {
        let layout = TableLayout::resolve(&self.client, self.dialect, table).await?;
        let failed = |error| translate(error, "rows can't be counted").at("table", &table.name);
        let statement = self.client.prepare(&apply_sql::count_rows(&layout)).await.map_err(failed)?;
        let mut counts = Vec::with_capacity(rows.len());
        for row in rows {
            layout.check_shape(row, &layout.all())?;
            let image = array::row(&layout, row, &layout.all(), 0)?;
            let parameters: Vec<&(dyn ToSql + Sync)> =
                image.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
            match self.client.query_one(&statement, &parameters).await {
                Ok(found) => counts.push(found.get::<_, i64>(0).unsigned_abs()),
                Err(error) if self.is_busy(&error) => {
                    self.give_up().await?;
                    return Ok(None);
                }
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(Some(counts))
    }

    async fn write_times(&mut self, table: &Arc<TargetTable>, rows: &[(Batch, i64)]) -> Result<Attempt> {
        self.require_silence(table).await?;
        let layout = TableLayout::resolve(&self.client, self.dialect, table).await?;
        let all = layout.all();
        for (row, times) in rows {
            let (sql, parameters) = match *times {
                0 => continue,
                1.. => {
                    layout.check_columns(row, &all)?;
                    let rows = row.take(&vec![0; times.unsigned_abs() as usize]);
                    let arrays = array::columns(&layout, &rows, &all, 0..rows.rows)?;
                    (apply_sql::insert_rows(&layout, None), arrays)
                }
                ..0 => (
                    apply_sql::delete_rows(&layout, times.unsigned_abs()),
                    array::row(&layout, row, &all, 0)?,
                ),
            };
            let outcome = async {
                let statement = self.client.prepare(&sql).await?;
                applier::execute(&self.client, &statement, &parameters).await
            };
            match outcome.await {
                Ok(found) if found == times.unsigned_abs() => {}
                Ok(_) => return Err(miscounted(&layout)),
                Err(error) if self.is_busy(&error) => {
                    self.give_up().await?;
                    return Ok(Attempt::Busy);
                }
                Err(error) => {
                    return Err(translate(error, "rows can't be mended").at("table", &table.name));
                }
            }
        }
        Ok(Attempt::Done)
    }

    async fn commit(&mut self) -> Result<()> {
        // A lost answer costs nothing: what was mended is compared once more.
        self.in_transaction = false;
        self.client
            .batch_execute("COMMIT")
            .await
            .map_err(|error| translate(error, "mended rows can't be committed"))
    }

    async fn give_up(&mut self) -> Result<()> {
        if std::mem::take(&mut self.in_transaction) {
            self.client
                .batch_execute("ROLLBACK")
                .await
                .map_err(|error| translate(error, "what was mended can't be given up"))?;
        }
        Ok(())
    }

    fn render(&self, table: &TargetTable, changes: &NetChanges) -> Vec<String> {
        render(self.dialect, table, changes)
    }

    fn render_times(&self, table: &TargetTable, rows: &[(Batch, i64)]) -> Vec<String> {
        rows.iter().filter_map(|(row, times)| render_times(self.dialect, table, row, *times)).collect()
    }
}

/// The statement that inserts a row so many times, or deletes so many.
fn render_times(dialect: Dialect, table: &TargetTable, row: &Batch, times: i64) -> Option<String> {
    let name = qualified(&table.name);
    let columns: Vec<(String, String)> = table
        .written_columns()
        .zip(&row.columns)
        .filter_map(|(ordinal, values)| {
            let name = identifier::column(&table.columns.get(ordinal)?.name);
            Some((name, value(table, ordinal, values, 0)))
        })
        .collect();
    match times {
        0 => None,
        1.. => {
            let (names, values): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
            Some(format!(
                "INSERT INTO {name} ({}){} SELECT {} FROM generate_series(1, {times});",
                names.join(", "),
                dialect.overriding(),
                values.join(", ")
            ))
        }
        ..0 => {
            let conditions: Vec<String> =
                columns.iter().map(|(name, value)| format!("{name} IS NOT DISTINCT FROM {value}")).collect();
            Some(format!(
                "DELETE FROM {name} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {name} WHERE {} LIMIT {}));",
                conditions.join(" AND "),
                times.unsigned_abs()
            ))
        }
    }
}

/// The statements of [`Repairer::render`].
fn render(dialect: Dialect, table: &TargetTable, changes: &NetChanges) -> Vec<String> {
    let NetChanges::Idempotent { deletes, upserts } = changes else { return Vec::new() };
    let name = qualified(&table.name);
    let key: Vec<usize> = table.row_key.clone().unwrap_or_default();
    let written: Vec<usize> = table.written_columns().collect();
    let column = |ordinal: usize| {
        table.columns.get(ordinal).map_or_else(String::new, |column| identifier::column(&column.name))
    };
    let mut statements = Vec::new();
    for row in 0..deletes.rows {
        let conditions: Vec<String> = key
            .iter()
            .zip(&deletes.columns)
            .map(|(&ordinal, values)| format!("{} = {}", column(ordinal), value(table, ordinal, values, row)))
            .collect();
        statements.push(format!("DELETE FROM {name} WHERE {};", conditions.join(" AND ")));
    }
    let names: Vec<String> = written.iter().map(|&ordinal| column(ordinal)).collect();
    let keys: Vec<String> = key.iter().map(|&ordinal| column(ordinal)).collect();
    let others: Vec<String> = written
        .iter()
        .filter(|ordinal| !key.contains(ordinal))
        .map(|&ordinal| format!("{0} = EXCLUDED.{0}", column(ordinal)))
        .collect();
    let action =
        if others.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", others.join(", ")) };
    for row in 0..upserts.rows {
        let values: Vec<String> = written
            .iter()
            .zip(&upserts.columns)
            .map(|(&ordinal, values)| value(table, ordinal, values, row))
            .collect();
        if dialect.is_opengauss() {
            statements.push(merge(&name, &names, &keys, &values));
            continue;
        }
        statements.push(format!(
            "INSERT INTO {name} ({}) OVERRIDING SYSTEM VALUE VALUES ({}) ON CONFLICT ({}) DO {action};",
            names.join(", "),
            values.join(", "),
            keys.join(", ")
        ));
    }
    statements
}

/// The statement that writes a row, whether it is there or not, where there is no `ON CONFLICT`.
fn merge(table: &str, names: &[String], keys: &[String], values: &[String]) -> String {
    let row: Vec<String> =
        names.iter().zip(values).map(|(name, value)| format!("{value} AS {name}")).collect();
    let same: Vec<String> = keys.iter().map(|name| format!("t.{name} = n.{name}")).collect();
    let others: Vec<String> =
        names.iter().filter(|name| !keys.contains(name)).map(|name| format!("{name} = n.{name}")).collect();
    let update = if others.is_empty() {
        String::new()
    } else {
        format!("WHEN MATCHED THEN UPDATE SET {} ", others.join(", "))
    };
    let new: Vec<String> = names.iter().map(|name| format!("n.{name}")).collect();
    format!(
        "MERGE INTO {table} AS t USING (SELECT {}) AS n ON ({}) {update}WHEN NOT MATCHED THEN INSERT ({}) VALUES ({});",
        row.join(", "),
        same.join(" AND "),
        names.join(", "),
        new.join(", ")
    )
}

/// A value with its type, as the encoder would write it.
fn value(table: &TargetTable, ordinal: usize, column: &Column, row: usize) -> String {
    let Some(target) = table.columns.get(ordinal) else { return "NULL".to_owned() };
    if column.is_null(row) {
        return "NULL".to_owned();
    }
    let pg_type = crate::pg_type::PgType::parse(&target.target_type);
    let is_text = matches!(
        target.logical,
        LogicalType::Text { .. }
            | LogicalType::Json
            | LogicalType::Enumeration { .. }
            | LogicalType::Set { .. }
    );
    let text = match (&column.values, is_text) {
        (engine_core::column::Vector::Varlen(values), true) => {
            String::from_utf8_lossy(values.get(row)).into_owned()
        }
        _ => {
            let mut encoded = Vec::new();
            let encoder = crate::cell::Encoder::new(&target.logical, &pg_type, true);
            match encoder.map(|encoder| encoder.encode(column, row, &mut encoded)) {
                Some(Ok(())) => value_text::text(&pg_type, encoded.get(4..).unwrap_or_default()),
                _ => engine_core::message::value(column, row, &target.logical),
            }
        }
    };
    format!("{}::{}", literal(&text), target.target_type)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::batch::Batch;
    use engine_core::column::{Varlen, Vector};

    #[test]
    fn statements_for_people() {
        let table = crate::ddl::tests::orders();
        let ids = |ids: &[i64]| Column::new(Vector::I64(ids.to_vec()));
        let texts = |value: &[u8]| {
            let mut values = Varlen::default();
            values.push(value);
            Column::new(Vector::Varlen(values))
        };
        let mut customer = Column::new(Vector::I64(vec![0]));
        customer.set_null(0);
        let changes = NetChanges::Idempotent {
            deletes: Batch { rows: 2, columns: vec![ids(&[7, 8])] },
            upserts: Batch { rows: 1, columns: vec![ids(&[9]), customer, texts(b"it's"), texts(&[0, 255])] },
        };
        insta::assert_snapshot!(render(Dialect::Postgres, &table, &changes).join("\n"), @r#"
        DELETE FROM "shop"."orders" WHERE "id" = '7'::bigint;
        DELETE FROM "shop"."orders" WHERE "id" = '8'::bigint;
        INSERT INTO "shop"."orders" ("id", "customer", "Note ""x""", "hash") OVERRIDING SYSTEM VALUE VALUES ('9'::bigint, NULL, 'it''s'::varchar(200), E'\\x00ff'::bytea) ON CONFLICT ("id") DO UPDATE SET "customer" = EXCLUDED."customer", "Note ""x""" = EXCLUDED."Note ""x""", "hash" = EXCLUDED."hash";
        "#);
    }
}
