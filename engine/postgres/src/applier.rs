//! Applies changes, many rows to a statement, one transaction at a time.

use async_trait::async_trait;
use engine_core::batch::Batch;
use engine_core::change::Op;
use engine_core::failpoint::Failpoint;
use engine_core::plan::{RowErrorPolicy, TargetTable};
use engine_core::schema::TableName;
use engine_core::target::{Applier, Mender, NetChanges, OrderedChanges, Refusal, Standing};
use engine_core::{Error, ErrorKind, Result};
use std::collections::HashMap;
use std::sync::Arc;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use crate::array::{self, Encoded};
use crate::connect::Connector;
use crate::control::Claim;
use crate::dialect::{self, Dialect};
use crate::failure::{is_about_values, is_ambiguous, translate};
use crate::lanes::Lane;
use crate::layout::TableLayout;
use crate::{apply_sql, careful, check};

/// What the session of an applier sets. The changes are joined to the table through the index of
/// its row key, whatever statistics a freshly loaded table has or lacks.
const SESSION: &[(&str, &str)] = &[
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
    ("plan_cache_mode", "force_generic_plan"),
];

/// Rows inserted at a time into a table without a key.
const INSERTED_AT_ONCE: usize = 4096;

/// A connection that applies changes.
pub(crate) struct PostgresApplier {
    connector: Connector,
    dialect: Dialect,
    client: Client,
    stand: Stand,
    tables: HashMap<TableName, Arc<Prepared>>,
    in_transaction: bool,
    /// Something failed or was dropped half-way; what the transaction holds is not known.
    failed: bool,
}

/// What is committed together with rows.
enum Stand {
    /// Where a lane stands then.
    Lane(Lane),
    /// Nothing, as long as the task is this engine's.
    Still(Claim),
}

/// A table's layout and statements.
struct Prepared {
    layout: TableLayout,
    /// New rows.
    insert: Statement,
    by: By,
}

/// How a table's rows are found.
enum By {
    Key {
        /// Places of its columns among the written ones.
        key: Vec<usize>,
        upsert: Upsert,
        /// Without columns beside the key's there is nothing to update.
        update: Option<Statement>,
        delete: Statement,
    },
    WholeRow {
        update: Statement,
        delete: Statement,
    },
}

/// A statement that writes rows whether they are there or not.
pub(crate) struct Upsert {
    pub(crate) statement: Statement,
    /// Whether rows that it leaves as they are count as written.
    counts_every_row: bool,
}

impl Upsert {
    /// Whether so many rows are what comes of writing `expected` ones.
    pub(crate) fn explains(&self, written: u64, expected: usize) -> bool {
        written == expected as u64 || (!self.counts_every_row && written < expected as u64)
    }
}

impl PostgresApplier {
    /// An applier for a lane, over a connection of its own.
    pub(crate) async fn new(connector: Connector, dialect: Dialect, lane: Lane) -> Result<Self> {
        Self::open(connector, dialect, Stand::Lane(lane)).await
    }

    /// One for rows that were set aside.
    pub(crate) async fn of_no_lane(connector: Connector, dialect: Dialect, claim: Claim) -> Result<Self> {
        Self::open(connector, dialect, Stand::Still(claim)).await
    }

    async fn open(connector: Connector, dialect: Dialect, stand: Stand) -> Result<Self> {
        let client = connector.connect().await?;
        set_up(&client, dialect).await?;
        Ok(Self {
            connector,
            dialect,
            client,
            stand,
            tables: HashMap::new(),
            in_transaction: false,
            failed: false,
        })
    }

    async fn prepared(&mut self, table: &Arc<TargetTable>) -> Result<Arc<Prepared>> {
        if let Some(prepared) = self.tables.get(&table.name)
            && (Arc::ptr_eq(&prepared.layout.table, table) || prepared.layout.table == *table)
        {
            return Ok(Arc::clone(prepared));
        }
        let layout = TableLayout::resolve(&self.client, self.dialect, table).await?;
        let client = &self.client;
        let prepare = async |sql: String| {
            client
                .prepare(&sql)
                .await
                .map_err(|error| translate(error, "changes can't be prepared").at("table", &table.name))
        };
        let insert = prepare(apply_sql::insert_rows(&layout, None)).await?;
        let by = match &layout.key {
            Some(key) => By::Key {
                key: key.clone(),
                upsert: Upsert {
                    statement: prepare(apply_sql::insert_rows(&layout, Some(key))).await?,
                    counts_every_row: apply_sql::counts_every_row(&layout, key),
                },
                update: match apply_sql::update_rows(&layout, key) {
                    Some(sql) => Some(prepare(sql).await?),
                    None => None,
                },
                delete: prepare(apply_sql::delete_keys(&layout, key)).await?,
            },
            None => By::WholeRow {
                update: prepare(apply_sql::update_row(&layout)).await?,
                delete: prepare(apply_sql::delete_row(&layout)).await?,
            },
        };
        let prepared = Arc::new(Prepared { layout, insert, by });
        self.tables.insert(table.name.clone(), Arc::clone(&prepared));
        Ok(prepared)
    }

    /// Refuses to go on after a failure; else counts as failed until [`Self::succeed`].
    fn enter(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.failed, true) {
            return Err(Error::new(ErrorKind::Internal, "an applier was used after it had failed"));
        }
        Ok(())
    }

    fn succeed(&mut self) {
        self.failed = false;
    }

    async fn begin(&mut self) -> Result<()> {
        if !self.in_transaction {
            self.client
                .batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED")
                .await
                .map_err(|error| translate(error, "a transaction can't be begun"))?;
            self.in_transaction = true;
        }
        Ok(())
    }

    /// Writes rows with a statement that takes whole ones; a row that is already there is an error
    /// or takes the new values, as the statement has it.
    async fn write(
        &self,
        layout: &TableLayout,
        statement: &Statement,
        batch: &Batch,
        (rows, explains): (std::ops::Range<usize>, impl Fn(u64, usize) -> bool + Send),
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let expected = rows.len();
        let arrays = array::columns(layout, batch, &layout.all(), rows.clone())?;
        let written = match execute(&self.client, statement, &arrays).await {
            Ok(written) => written,
            Err(error) => {
                let state = error.as_db_error().map(tokio_postgres::error::DbError::code);
                let about_values = state.is_some_and(is_about_values);
                let taken = state == Some(&SqlState::UNIQUE_VIOLATION);
                let error = if taken {
                    place_taken(error)
                } else {
                    translate(
                        error,
                        if about_values { "the target refused a row" } else { "rows can't be written" },
                    )
                };
                let error = error.at("table", &layout.table.name);
                let row =
                    if about_values { self.find_refused(layout, statement, batch, rows).await } else { None };
                return Err(match row {
                    Some(row) => error.at("key", layout.key_text(batch, &layout.all(), row)),
                    None => error,
                });
            }
        };
        if explains(written, expected) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Divergence, "the target kept a different number of rows than were written")
            .at("table", &layout.table.name)
            .because(format_args!(
                "{written} of {expected} rows: a trigger or a rule of the table changes them"
            )))
    }

    /// Runs a statement that must find a row for each key of `keys`.
    async fn change(
        &self,
        layout: &TableLayout,
        key: &[usize],
        statement: &Statement,
        (arrays, expected): (&[Encoded], usize),
        keys: impl FnOnce() -> Batch,
    ) -> Result<()> {
        let changed = execute(&self.client, statement, arrays)
            .await
            .map_err(|error| translate(error, "rows can't be changed").at("table", &layout.table.name))?;
        if changed == expected as u64 {
            return Ok(());
        }
        let error =
            Error::new(ErrorKind::Divergence, "the target does not have a row that the source changed")
                .at("table", &layout.table.name)
                .because(format_args!(
                    "{changed} of {expected} rows were there; somebody else writes to the table"
                ))
                .help("compare the table with the source's, stop the other writer, and copy the table again");
        let keys = keys();
        Err(match self.find_missing(layout, key, &keys).await {
            Some(Some(row)) => error.at("key", layout.key_text(&keys, key, row)),
            // Deleted and written anew while the statement waited for it, as a repair does with rows whose
            // unique values were swapped: PostgreSQL shows the statement neither.
            Some(None) if changed < expected as u64 => Error::new(
                ErrorKind::Transient,
                "a row was replaced in the target while it was being changed",
            )
            .at("table", &layout.table.name)
            .because(format_args!("{changed} of {expected} rows were there, and now all are")),
            _ => error,
        })
    }

    /// The first of `keys` that no row has, if one is like that, looked for after the failed transaction was
    /// given up; `None` when the target doesn't answer.
    async fn find_missing(&self, layout: &TableLayout, key: &[usize], keys: &Batch) -> Option<Option<usize>> {
        self.client.batch_execute("ROLLBACK").await.ok()?;
        let arrays = array::columns(layout, keys, key, 0..keys.rows).ok()?;
        let statement = self.client.prepare(&apply_sql::missing_key(layout, key)).await.ok()?;
        let parameters: Vec<&(dyn ToSql + Sync)> =
            arrays.iter().map(|array| array as &(dyn ToSql + Sync)).collect();
        let Some(row) = self.client.query_opt(&statement, &parameters).await.ok()? else { return Some(None) };
        Some(Some(usize::try_from(row.get::<_, i64>(0)).ok()?.checked_sub(1)?))
    }

    /// The row among `rows` that the server refuses, found by halves in transactions that are rolled
    /// back; the failed one is given up first. `None` when the rows are refused only together.
    async fn find_refused(
        &self,
        layout: &TableLayout,
        statement: &Statement,
        batch: &Batch,
        mut rows: std::ops::Range<usize>,
    ) -> Option<usize> {
        self.client.batch_execute("ROLLBACK").await.ok()?;
        while rows.len() > 1 {
            let middle = rows.start + rows.len() / 2;
            let halves = [rows.start..middle, middle..rows.end];
            let mut refused = None;
            for half in halves {
                let arrays = array::columns(layout, batch, &layout.all(), half.clone()).ok()?;
                self.client.batch_execute("BEGIN").await.ok()?;
                let outcome = execute(&self.client, statement, &arrays).await;
                self.client.batch_execute("ROLLBACK").await.ok()?;
                if outcome.is_err() {
                    refused = Some(half);
                    break;
                }
            }
            rows = refused?;
        }
        Some(rows.start)
    }

    /// Applies a change of one row that its whole old image, `before[row]`, must find.
    async fn change_one(
        &self,
        layout: &TableLayout,
        statement: &Statement,
        parameters: &[Encoded],
        (before, row): (&Batch, usize),
    ) -> Result<()> {
        let place = |error: Error| {
            error.at("table", &layout.table.name).at("key", layout.key_text(before, &layout.all(), row))
        };
        match execute(&self.client, statement, parameters).await {
            Err(error) => Err(place(translate(error, "a row can't be changed"))),
            Ok(1) => Ok(()),
            Ok(_) => Err(place(
                Error::new(ErrorKind::Divergence, "the target does not have a row that the source changed")
                    .because("no row equals the old one in every column; somebody else writes to the table")
                    .help("compare the table with the source's, stop the other writer, and copy the table again"),
            )),
        }
    }
}

/// That every row was written.
fn all_of_them(written: u64, expected: usize) -> bool {
    written == expected as u64
}

/// The error of a row whose key or other unique value a row of the target has.
fn place_taken(error: tokio_postgres::Error) -> Error {
    let translated = translate(error, "the target has a row in the place of one that the source wrote");
    let mut taken = Error::new(ErrorKind::Divergence, translated.what());
    for (what, value) in translated.place() {
        taken = taken.at(what, value);
    }
    taken.because(translated.why().unwrap_or_default()).help(
        "somebody else writes to the table, or the rows are not unique under the target's rules: \
         compare the table with the source's, and the collations of the key",
    )
}

async fn set_up(client: &Client, dialect: Dialect) -> Result<()> {
    let failed = |error| translate(error, "the session of an applier can't be set up");
    client.batch_execute(&dialect::settings(SESSION)).await.map_err(failed)?;
    // Silences foreign keys and triggers. An account that may not do so goes on without: `check`
    // has refused it where that matters.
    if check::may_silence_triggers(client, dialect).await? {
        client.batch_execute("SET session_replication_role = replica").await.map_err(failed)?;
    }
    Ok(())
}

pub(crate) async fn execute(
    client: &Client,
    statement: &Statement,
    parameters: &[Encoded],
) -> Result<u64, tokio_postgres::Error> {
    client.execute_raw(statement, parameters.iter().map(|parameter| parameter as &dyn ToSql)).await
}

#[async_trait]
impl Applier for PostgresApplier {
    async fn apply(&mut self, table: &Arc<TargetTable>, changes: &NetChanges) -> Result<Vec<Refusal>> {
        self.enter()?;
        let mut refusals = Vec::new();
        let prepared = self.prepared(table).await?;
        let layout = &prepared.layout;
        let By::Key { key, upsert, update, delete } = &prepared.by else {
            return Err(Error::new(ErrorKind::Internal, "net changes of a table without a row key")
                .at("table", &table.name));
        };
        self.begin().await?;
        let all = layout.all();
        let check = |batch: &Batch, positions: &[usize]| {
            layout.check_shape(batch, positions)?;
            layout.check_columns(batch, positions)
        };
        match changes {
            NetChanges::Idempotent { deletes, upserts } => {
                if deletes.rows > 0 {
                    check(deletes, key)?;
                    let arrays = array::columns(layout, deletes, key, 0..deletes.rows)?;
                    execute(&self.client, delete, &arrays).await.map_err(|error| {
                        translate(error, "rows can't be deleted").at("table", &table.name)
                    })?;
                }
                if upserts.rows > 0 {
                    check(upserts, &all)?;
                }
                if upserts.rows > 0 && table.on_row_error == RowErrorPolicy::DeadLetter {
                    refusals = careful::upsert(&self.client, layout, key, (upsert, delete), upserts).await?;
                } else {
                    let explains = |written, expected| upsert.explains(written, expected);
                    self.write(layout, &upsert.statement, upserts, (0..upserts.rows, explains)).await?;
                }
            }
            NetChanges::Strict { deletes, updates, inserts } => {
                if deletes.rows > 0 {
                    check(deletes, key)?;
                    let arrays = array::columns(layout, deletes, key, 0..deletes.rows)?;
                    self.change(layout, key, delete, (&arrays, deletes.rows), || deletes.clone()).await?;
                }
                if let Some(update) = update
                    && updates.rows > 0
                {
                    check(updates, &all)?;
                    let arrays = array::columns(layout, updates, &all, 0..updates.rows)?;
                    let keys = || Batch {
                        rows: updates.rows,
                        columns: key
                            .iter()
                            .filter_map(|&place| updates.columns.get(place).cloned())
                            .collect(),
                    };
                    self.change(layout, key, update, (&arrays, updates.rows), keys).await?;
                }
                if inserts.rows > 0 {
                    check(inserts, &all)?;
                    self.write(layout, &prepared.insert, inserts, (0..inserts.rows, all_of_them)).await?;
                }
            }
        }
        self.succeed();
        Ok(refusals)
    }

    async fn apply_ordered(&mut self, table: &Arc<TargetTable>, changes: &OrderedChanges) -> Result<()> {
        self.enter()?;
        let prepared = self.prepared(table).await?;
        let layout = &prepared.layout;
        let By::WholeRow { update, delete } = &prepared.by else {
            return Err(Error::new(ErrorKind::Internal, "ordered changes of a table with a row key")
                .at("table", &table.name));
        };
        let all = layout.all();
        let inserts = changes.ops.iter().filter(|&&op| op == Op::Insert).count();
        let deletes = changes.ops.iter().filter(|&&op| op == Op::Delete).count();
        let images = (changes.ops.len() - deletes, changes.ops.len() - inserts);
        if images != (changes.after.rows, changes.before.rows) {
            return Err(Error::new(ErrorKind::Internal, "changes and their images differ in number")
                .at("table", &table.name));
        }
        for batch in [&changes.after, &changes.before].into_iter().filter(|batch| batch.rows > 0) {
            layout.check_shape(batch, &all)?;
            layout.check_columns(batch, &all)?;
        }
        self.begin().await?;
        let (mut change, mut new, mut old) = (0, 0, 0);
        while let Some(op) = changes.ops.get(change) {
            match op {
                Op::Insert => {
                    let run = changes.ops.iter().skip(change).take(INSERTED_AT_ONCE);
                    let length = run.take_while(|&&op| op == Op::Insert).count();
                    let rows = (new..new + length, all_of_them);
                    self.write(layout, &prepared.insert, &changes.after, rows).await?;
                    change += length;
                    new += length;
                }
                Op::Delete => {
                    let image = array::row(layout, &changes.before, &all, old)?;
                    self.change_one(layout, delete, &image, (&changes.before, old)).await?;
                    change += 1;
                    old += 1;
                }
                Op::Update => {
                    let mut images = array::row(layout, &changes.after, &all, new)?;
                    images.extend(array::row(layout, &changes.before, &all, old)?);
                    self.change_one(layout, update, &images, (&changes.before, old)).await?;
                    change += 1;
                    new += 1;
                    old += 1;
                }
            }
        }
        self.succeed();
        Ok(())
    }

    async fn commit(&mut self, standing: &Standing) -> Result<()> {
        self.enter()?;
        self.begin().await?;
        let Stand::Lane(lane) = &mut self.stand else { return Err(of_no_lane()) };
        lane.stand(&self.client, standing).await?;
        Failpoint::StandingWritten.reach();
        if let Err(error) = self.client.batch_execute("COMMIT").await {
            let is_ambiguous = is_ambiguous(&error);
            let broken = translate(error, "changes can't be committed");
            if !is_ambiguous {
                return Err(broken);
            }
            self.tables.clear();
            self.client = self.connector.connect().await?;
            set_up(&self.client, self.dialect).await?;
            if !lane.stands(&self.client).await? {
                return Err(broken);
            }
        }
        self.in_transaction = false;
        self.succeed();
        Ok(())
    }

    async fn taken_over(&mut self) -> Option<Error> {
        self.client.batch_execute("ROLLBACK").await.ok()?;
        let Stand::Lane(lane) = &self.stand else { return None };
        lane.taken_over(&self.client).await
    }
}

#[async_trait]
impl Mender for PostgresApplier {
    async fn mend(&mut self, table: &Arc<TargetTable>, changes: &NetChanges) -> Result<Vec<Refusal>> {
        let refusals = self.apply(table, changes).await?;
        self.enter()?;
        let Stand::Still(claim) = &self.stand else { return Err(of_no_lane()) };
        let failed =
            |error| translate(error, "rows that were set aside can't be written").at("table", &table.name);
        let held = self
            .client
            .query_opt(
                "SELECT 1 FROM _migration.task WHERE name = $1 AND epoch = $2 FOR SHARE",
                &[&claim.task, &claim.epoch],
            )
            .await
            .map_err(failed)?;
        if held.is_none() {
            return Err(claim.lost());
        }
        self.client.batch_execute("COMMIT").await.map_err(failed)?;
        self.in_transaction = false;
        self.succeed();
        Ok(refusals)
    }
}

fn of_no_lane() -> Error {
    Error::new(ErrorKind::Internal, "rows are committed with another connection than was opened for them")
}
