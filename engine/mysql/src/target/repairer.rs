//! Mends single rows while an engine may be following.
//!
//! The lanes' rows of `_migration.lane` are locked first: a lane writes its own row last, so that from
//! then on none can commit, and the position read after it is the one that the mended rows take part
//! in. A lane that has already written to one of these rows holds its lock and waits for us. So we
//! never wait for a row: its lock is had at once, or everything is given up. A value of another unique
//! key may be locked too, which is waited for as short as the server can, a second.

use async_trait::async_trait;
use engine_core::batch::Batch;
use engine_core::examine::{Attempt, Repairer, Stand};
use engine_core::plan::TargetTable;
use engine_core::target::NetChanges;
use engine_core::{Error, ErrorKind, Result};
use std::sync::Arc;

use super::change;
use super::control::field;
use super::failure::{Failure, is_busy, translate};
use super::lanes;
use super::layout::TableLayout;
use super::rows;
use super::session::Session;
use super::statement::{self, Statement};
use crate::server::Flavor;

/// How long the lanes may take to commit what they are about to.
const LANES_WAIT: &str = "SET SESSION innodb_lock_wait_timeout = 2";
/// How long another transaction's place in a unique index is waited for.
const ROW_WAIT: &str = "SET SESSION innodb_lock_wait_timeout = 1";

/// A connection that mends rows.
pub(super) struct MysqlRepairer {
    session: Session,
    flavor: Flavor,
    in_transaction: bool,
}

impl MysqlRepairer {
    /// A repairer over an open connection.
    pub(super) fn new(session: Session, flavor: Flavor) -> Self {
        Self { session, flavor, in_transaction: false }
    }

    /// Refuses a table whose triggers would run: nobody can silence them.
    async fn require_silence(&mut self, table: &TargetTable) -> Result<()> {
        let triggers = self
            .session
            .select(
                "SELECT COUNT(*) FROM information_schema.triggers \
                 WHERE event_object_schema = ? AND event_object_table = ?",
                (&table.name.namespace, &table.name.name),
            )
            .await
            .map_err(|error| translate(error, "the table's triggers can't be read"))?;
        let count: u64 = match triggers.into_iter().next() {
            Some(mut row) => field(&mut row, 0)?,
            None => 0,
        };
        if count == 0 {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Precondition, "rows of a table with triggers can't be mended")
            .at("table", &table.name)
            .because("the server has no way to keep them silent, and they would change other rows too")
            .help("drop the table's triggers in the target for the time of the repair"))
    }

    /// Takes the locks of rows at once, or none.
    async fn lock(&mut self, layout: &TableLayout, key: &[usize], keys: &Batch) -> Result<Attempt> {
        for sql in statement::lock(layout, key, keys)? {
            match self.session.query(sql).await {
                Ok(_) => {}
                Err(error) if is_busy(&error) => return Ok(Attempt::Busy),
                Err(error) => {
                    return Err(translate(error, "rows can't be locked").at("table", &layout.table.name));
                }
            }
        }
        Ok(Attempt::Done)
    }

    async fn execute(&mut self, statement: &Statement) -> Result<u64, Failure> {
        let found = change::execute(&mut self.session, statement).await.map_err(|(_, failure)| failure)?;
        Ok(found.iter().sum())
    }

    async fn changes(&mut self, layout: &TableLayout, changes: &NetChanges) -> Result<Attempt> {
        let internal = |why| {
            Error::new(ErrorKind::Internal, "rows can't be mended")
                .at("table", &layout.table.name)
                .because(why)
        };
        let NetChanges::Idempotent { deletes, upserts } = changes else {
            return Err(internal("the changes expect something of the rows that are there"));
        };
        let key = layout.key.clone().ok_or_else(|| internal("the table has no row key"))?;
        let failed =
            |failure: Failure| failure.explain("rows can't be mended").at("table", &layout.table.name);
        if deletes.rows > 0 {
            layout.check_shape(deletes, &key)?;
        }
        let replaced = change::keys_of(upserts, &key);
        if upserts.rows > 0 {
            layout.check_shape(upserts, &layout.all())?;
        }
        for keys in [deletes, &replaced].into_iter().filter(|keys| keys.rows > 0) {
            if self.lock(layout, &key, keys).await? == Attempt::Busy {
                return Ok(Attempt::Busy);
            }
        }
        let mut statements = Vec::new();
        for row in 0..deletes.rows {
            let sql = statement::delete_exactly(layout, &key, deletes, row)?;
            statements.push(Statement { sql, statements: 1, rows: row..row + 1, no_labels: 0 });
        }
        if upserts.rows > 0 {
            statements.extend(statement::delete(layout, &key, &replaced)?);
        }
        for statement in &statements {
            match self.execute(statement).await {
                Ok(_) => {}
                Err(failure) if failure.is_busy() => return Ok(Attempt::Busy),
                Err(failure) => return Err(failed(failure)),
            }
        }
        for statement in statement::insert(layout, upserts, 0..upserts.rows)? {
            let expected = statement.rows.len() as u64;
            match self.execute(&statement).await {
                Ok(inserted) if inserted == expected => {}
                Ok(inserted) => return Err(rows::kept_others(layout, inserted, statement.rows.len())),
                Err(failure) if failure.is_busy() => return Ok(Attempt::Busy),
                Err(failure) => {
                    return Err(rows::refused(&mut self.session, layout, upserts, &statement, failure).await);
                }
            }
        }
        Ok(Attempt::Done)
    }

    /// Runs a statement that waits for the lanes; `false` when they were not had.
    async fn wait(&mut self, sql: &str, task: &str) -> Result<bool> {
        match self.session.select(sql, (task,)).await {
            Ok(_) => Ok(true),
            Err(error) if is_busy(&error) => Ok(false),
            Err(error) => Err(translate(error, "the task's lanes can't be held").at("task", task)),
        }
    }
}

#[async_trait]
impl Repairer for MysqlRepairer {
    async fn hold(&mut self, task: &str) -> Result<Option<Stand>> {
        self.give_up().await?;
        let failed = |error| translate(error, "the task's lanes can't be held").at("task", task);
        self.session.run(LANES_WAIT).await.map_err(failed)?;
        self.session.run("START TRANSACTION").await.map_err(failed)?;
        self.in_transaction = true;
        // The task's row keeps lanes from being opened meanwhile.
        for sql in [
            "SELECT name FROM _migration.task WHERE name = ? LOCK IN SHARE MODE",
            "SELECT number FROM _migration.lane WHERE task = ? ORDER BY number FOR UPDATE",
        ] {
            if !self.wait(sql, task).await? {
                self.give_up().await?;
                return Ok(None);
            }
        }
        self.session.run(ROW_WAIT).await.map_err(failed)?;
        lanes::stand(&mut self.session, task).await.map(Some)
    }

    async fn write(&mut self, table: &Arc<TargetTable>, changes: &NetChanges) -> Result<Attempt> {
        if !self.in_transaction {
            return Err(Error::new(ErrorKind::Internal, "rows are mended while nothing holds the lanes"));
        }
        self.require_silence(table).await?;
        let layout = TableLayout::new(table, self.flavor)?;
        let attempt = self.changes(&layout, changes).await?;
        if attempt == Attempt::Busy {
            self.give_up().await?;
        }
        Ok(attempt)
    }

    async fn count(&mut self, table: &Arc<TargetTable>, rows: &[Batch]) -> Result<Option<Vec<u64>>> {
        let layout = TableLayout::new(table, self.flavor)?;
        let mut counts = Vec::with_capacity(rows.len());
        for row in rows {
            layout.check_shape(row, &layout.all())?;
            match self.session.query(statement::find_rows(&layout, row)?).await {
                Ok(found) => counts.push(found.len() as u64),
                Err(error) if is_busy(&error) => {
                    self.give_up().await?;
                    return Ok(None);
                }
                Err(error) => {
                    return Err(translate(error, "rows can't be counted").at("table", &table.name));
                }
            }
        }
        Ok(Some(counts))
    }

    async fn write_times(&mut self, table: &Arc<TargetTable>, rows: &[(Batch, i64)]) -> Result<Attempt> {
        self.require_silence(table).await?;
        let layout = TableLayout::new(table, self.flavor)?;
        for (row, times) in rows {
            let count = times.unsigned_abs();
            let statements = match *times {
                0 => continue,
                1.. => {
                    let rows = row.take(&vec![0; count as usize]);
                    statement::insert(&layout, &rows, 0..rows.rows)?
                }
                ..0 => {
                    let sql = statement::delete_rows(&layout, row, count)?;
                    vec![Statement { sql, statements: 1, rows: 0..count as usize, no_labels: 0 }]
                }
            };
            for statement in statements {
                match self.execute(&statement).await {
                    Ok(found) if found == statement.rows.len() as u64 => {}
                    Ok(found) => return Err(rows::kept_others(&layout, found, statement.rows.len())),
                    Err(failure) if failure.is_busy() => {
                        self.give_up().await?;
                        return Ok(Attempt::Busy);
                    }
                    Err(failure) => {
                        return Err(failure.explain("rows can't be mended").at("table", &table.name));
                    }
                }
            }
        }
        Ok(Attempt::Done)
    }

    async fn commit(&mut self) -> Result<()> {
        // A lost answer costs nothing: what was mended is compared once more.
        self.in_transaction = false;
        self.session.run("COMMIT").await.map_err(|error| translate(error, "mended rows can't be committed"))
    }

    async fn give_up(&mut self) -> Result<()> {
        if std::mem::take(&mut self.in_transaction) {
            self.session
                .run("ROLLBACK")
                .await
                .map_err(|error| translate(error, "what was mended can't be given up"))?;
        }
        Ok(())
    }

    fn render(&self, table: &TargetTable, changes: &NetChanges) -> Vec<String> {
        match TableLayout::new(&Arc::new(table.clone()), self.flavor) {
            Ok(layout) => render(&layout, changes),
            Err(_) => Vec::new(),
        }
    }

    fn render_times(&self, table: &TargetTable, rows: &[(Batch, i64)]) -> Vec<String> {
        let Ok(layout) = TableLayout::new(&Arc::new(table.clone()), self.flavor) else { return Vec::new() };
        rows.iter().filter_map(|(row, times)| render_times(&layout, row, *times)).collect()
    }
}

/// The statement that inserts a row so many times, or deletes so many.
fn render_times(layout: &TableLayout, row: &Batch, times: i64) -> Option<String> {
    let columns: Vec<(&str, String)> = layout
        .stored()
        .into_iter()
        .filter_map(|place| {
            let value = statement::readable(layout, row, (place, place), 0);
            Some((layout.columns.get(place)?.name.as_str(), value.unwrap_or_else(|| "NULL".to_owned())))
        })
        .collect();
    let count = times.unsigned_abs();
    match times {
        0 => None,
        1.. => {
            let (names, values): (Vec<&str>, Vec<String>) = columns.into_iter().unzip();
            let row = format!("({})", values.join(", "));
            let rows = vec![row; count as usize].join(", ");
            Some(format!("INSERT INTO {} ({}) VALUES {rows};", layout.name, names.join(", ")))
        }
        ..0 => {
            let same: Vec<String> =
                columns.iter().map(|(name, value)| format!("{name} <=> {value}")).collect();
            Some(format!("DELETE FROM {} WHERE {} LIMIT {count};", layout.name, same.join(" AND ")))
        }
    }
}

/// The statements of [`Repairer::render`]: a row that is there is deleted before it is written.
fn render(layout: &TableLayout, changes: &NetChanges) -> Vec<String> {
    let NetChanges::Idempotent { deletes, upserts } = changes else { return Vec::new() };
    let key = layout.key.clone().unwrap_or_default();
    let name = |place: &usize| layout.columns.get(*place).map_or("", |column| column.name.as_str());
    let value = |batch: &Batch, index: usize, place: usize, row: usize| {
        statement::readable(layout, batch, (index, place), row).unwrap_or_else(|| "NULL".to_owned())
    };
    let mut statements = Vec::new();
    for keys in [deletes, &change::keys_of(upserts, &key)] {
        for row in 0..keys.rows {
            let same = key.iter().enumerate();
            let same =
                same.map(|(index, place)| format!("{} = {}", name(place), value(keys, index, *place, row)));
            let same: Vec<String> = same.collect();
            statements.push(format!("DELETE FROM {} WHERE {};", layout.name, same.join(" AND ")));
        }
    }
    let stored = layout.stored();
    let names: Vec<&str> = stored.iter().map(name).collect();
    for row in 0..upserts.rows {
        let values: Vec<String> = stored.iter().map(|&place| value(upserts, place, place, row)).collect();
        statements.push(format!(
            "INSERT INTO {} ({}) VALUES ({});",
            layout.name,
            names.join(", "),
            values.join(", ")
        ));
    }
    statements
}
