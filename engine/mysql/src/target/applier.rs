//! Applies changes, many rows to a statement, one transaction at a time.
//!
//! Lanes lock each other's places in unique indexes, so a transaction may be rolled back for another's
//! sake. What it did is kept until it is committed, and then done again.

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

use super::connection::Connections;
use super::control::{self, Claim};
use super::failure::{Failure, is_ambiguous, translate};
use super::lanes::Lane;
use super::layout::TableLayout;
use super::session::Session;
use super::shared;
use super::statement::{self, Statement};
use super::{change, rows};

/// How often a transaction is begun again that was rolled back for another's sake.
const ATTEMPTS: usize = 20;

/// A connection that applies changes.
pub(super) struct MysqlApplier {
    connections: Connections,
    session: Session,
    stand: Stand,
    layouts: HashMap<TableName, Arc<TableLayout>>,
    in_transaction: bool,
    /// What the open transaction has done.
    done: Vec<Done>,
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

/// Statements that were carried out, and how many rows each found.
struct Done {
    statement: Statement,
    found: Vec<u64>,
}

impl MysqlApplier {
    /// An applier for a lane, over a connection of its own.
    pub(super) async fn new(connections: Connections, lane: Lane) -> Result<Self> {
        Self::open(connections, Stand::Lane(lane)).await
    }

    /// One for rows that were set aside.
    pub(super) async fn of_no_lane(connections: Connections, claim: Claim) -> Result<Self> {
        Self::open(connections, Stand::Still(claim)).await
    }

    async fn open(connections: Connections, stand: Stand) -> Result<Self> {
        let session = connections.open().await?;
        Ok(Self {
            connections,
            session,
            stand,
            layouts: HashMap::new(),
            in_transaction: false,
            done: Vec::new(),
            failed: false,
        })
    }

    fn layout(&mut self, table: &Arc<TargetTable>) -> Result<Arc<TableLayout>> {
        if let Some(layout) = self.layouts.get(&table.name)
            && (Arc::ptr_eq(&layout.table, table) || layout.table == *table)
        {
            return Ok(Arc::clone(layout));
        }
        let layout = Arc::new(TableLayout::new(table, self.connections.flavor())?);
        self.layouts.insert(table.name.clone(), Arc::clone(&layout));
        Ok(layout)
    }

    /// Refuses to go on after a failure; else counts as failed until [`Self::succeed`].
    fn enter(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.failed, true) {
            return Err(Error::new(ErrorKind::Internal, "an applier was used after it had failed"));
        }
        Ok(())
    }

    /// Says of a row of a merged table that is in the way which tasks may have written it.
    async fn explain(&self, table: &TargetTable, error: Error) -> Error {
        let claim = match &self.stand {
            Stand::Lane(lane) => &lane.claim,
            Stand::Still(claim) => claim,
        };
        shared::explain(&self.connections, claim, table, error).await
    }

    fn succeed(&mut self) {
        self.failed = false;
    }

    async fn begin(&mut self) -> Result<()> {
        if !self.in_transaction {
            control::begin(&mut self.session).await?;
            self.in_transaction = true;
            self.done.clear();
        }
        Ok(())
    }

    /// Runs a statement, and everything before it again when the transaction was rolled back for another's
    /// sake; how many rows each statement of it found.
    async fn run(&mut self, statement: Statement) -> Result<Vec<u64>, (Statement, usize, Failure)> {
        let mut attempt = 1;
        loop {
            match change::execute(&mut self.session, &statement).await {
                Ok(found) => {
                    self.done.push(Done { statement, found: found.clone() });
                    return Ok(found);
                }
                Err((_, failure)) if failure.is_deadlock() && attempt < ATTEMPTS => {
                    attempt += 1;
                    if let Err(failure) = self.redo(&mut attempt).await {
                        return Err((statement, 0, failure));
                    }
                }
                Err((place, failure)) => return Err((statement, place, failure)),
            }
        }
    }

    /// Does again what a transaction had done that was rolled back. Rows that it finds otherwise now can't
    /// be its lane's business, which is the only one for their keys.
    async fn redo(&mut self, attempt: &mut usize) -> Result<(), Failure> {
        let failed = |error| Failure::NotAgain(Some(error));
        'again: loop {
            self.session.run("ROLLBACK").await.map_err(failed)?;
            self.session.run("START TRANSACTION").await.map_err(failed)?;
            for done in &self.done {
                match change::execute(&mut self.session, &done.statement).await {
                    Ok(found) if found == done.found => {}
                    Err((_, failure)) if failure.is_deadlock() && *attempt < ATTEMPTS => {
                        *attempt += 1;
                        continue 'again;
                    }
                    Err((_, Failure::Failed(error))) => return Err(failed(error)),
                    Ok(_) | Err(_) => return Err(Failure::NotAgain(None)),
                }
            }
            return Ok(());
        }
    }

    async fn apply_net(&mut self, table: &Arc<TargetTable>, changes: &NetChanges) -> Result<Vec<Refusal>> {
        self.enter()?;
        let mut refusals = Vec::new();
        let layout = self.layout(table)?;
        let Some(key) = layout.key.clone() else {
            return Err(Error::new(ErrorKind::Internal, "net changes of a table without a row key")
                .at("table", &table.name));
        };
        self.begin().await?;
        let all = layout.all();
        match changes {
            NetChanges::Idempotent { .. } if table.is_shared() => {
                // It would take the row of another task for its own.
                return Err(Error::new(
                    ErrorKind::Internal,
                    "changes of a merged table that may be there already",
                )
                .at("table", &table.name));
            }
            NetChanges::Idempotent { deletes, upserts } => {
                if deletes.rows > 0 {
                    layout.check_shape(deletes, &key)?;
                    self.delete(&layout, &key, deletes).await?;
                }
                if upserts.rows > 0 {
                    layout.check_shape(upserts, &all)?;
                    // Never by ON DUPLICATE KEY or REPLACE: either would take the row of another key for
                    // the one that is meant if they share another unique value.
                    self.delete(&layout, &key, &change::keys_of(upserts, &key)).await?;
                    if table.on_row_error == RowErrorPolicy::DeadLetter {
                        refusals = self.upsert_or_refuse(&layout, upserts).await?;
                    } else {
                        self.insert(&layout, upserts, 0..upserts.rows).await?;
                    }
                }
            }
            NetChanges::Strict { deletes, updates, inserts } => {
                if deletes.rows > 0 {
                    layout.check_shape(deletes, &key)?;
                }
                let deleted = self.delete(&layout, &key, deletes).await?;
                if deleted != deletes.rows as u64 {
                    let error = change::gone().at("table", &table.name);
                    return Err(match self.find_missing(&layout, &key, deletes).await {
                        Some(row) => error.at("key", layout.key_text(deletes, &key, row)),
                        None => error,
                    });
                }
                if updates.rows > 0 {
                    layout.check_shape(updates, &all)?;
                    self.update(&layout, &key, updates).await?;
                }
                if inserts.rows > 0 {
                    layout.check_shape(inserts, &all)?;
                    self.insert(&layout, inserts, 0..inserts.rows).await?;
                }
            }
        }
        self.succeed();
        Ok(refusals)
    }

    /// Deletes rows by their keys; how many there were.
    async fn delete(&mut self, layout: &TableLayout, key: &[usize], keys: &Batch) -> Result<u64> {
        let mut deleted = 0;
        for statement in statement::delete(layout, key, keys)? {
            let found = self.run(statement).await.map_err(|(_, _, failure)| {
                failure.explain("rows can't be deleted").at("table", &layout.table.name)
            })?;
            deleted += found.iter().sum::<u64>();
        }
        Ok(deleted)
    }

    async fn insert(
        &mut self,
        layout: &TableLayout,
        batch: &Batch,
        rows: std::ops::Range<usize>,
    ) -> Result<()> {
        for statement in statement::insert(layout, batch, rows)? {
            let expected = statement.rows.len();
            match self.run(statement).await {
                Ok(found) if found.iter().sum::<u64>() == expected as u64 => {}
                Ok(found) => return Err(rows::kept_others(layout, found.iter().sum(), expected)),
                Err((statement, _, failure)) => {
                    return Err(rows::refused(&mut self.session, layout, batch, &statement, failure).await);
                }
            }
        }
        Ok(())
    }

    /// Updates rows, every one of which must be there.
    async fn update(&mut self, layout: &TableLayout, key: &[usize], batch: &Batch) -> Result<()> {
        for statement in statement::update(layout, key, batch)? {
            let first = statement.rows.start;
            let at = |error: Error, row: usize| {
                error
                    .at("table", &layout.table.name)
                    .at("key", layout.key_text(batch, &layout.all(), first + row))
            };
            match self.run(statement).await {
                Ok(found) => {
                    if let Some(missing) = found.iter().position(|&rows| rows != 1) {
                        return Err(at(change::gone(), missing));
                    }
                }
                Err((_, place, failure)) => {
                    let about_values = failure.is_about_values();
                    let what =
                        if about_values { "the target refused a row" } else { "rows can't be changed" };
                    let error = failure.explain(what);
                    return Err(if about_values {
                        at(error, place)
                    } else {
                        error.at("table", &layout.table.name)
                    });
                }
            }
        }
        Ok(())
    }

    /// Upserts rows one by halves, all but those that the server refuses, which are then not there.
    async fn upsert_or_refuse(&mut self, layout: &TableLayout, batch: &Batch) -> Result<Vec<Refusal>> {
        let mut refusals = Vec::new();
        let mut parts: Vec<std::ops::Range<usize>> = std::iter::once(0..batch.rows).collect();
        while let Some(range) = parts.pop() {
            if range.is_empty() {
                continue;
            }
            self.run(change::savepoint()).await.map_err(|(_, _, failure)| step(layout, failure))?;
            let kept = self.done.len();
            let mut refused = None;
            for statement in statement::insert(layout, batch, range.clone())? {
                let expected = statement.rows.len() as u64;
                match self.run(statement).await {
                    Ok(found) if found.iter().sum::<u64>() == expected => {}
                    Ok(found) => {
                        return Err(rows::kept_others(layout, found.iter().sum(), expected as usize));
                    }
                    Err((_, _, failure)) if failure.is_about_values() => {
                        refused = Some(failure);
                        break;
                    }
                    Err((_, _, failure)) => return Err(step(layout, failure)),
                }
            }
            let Some(failure) = refused else { continue };
            self.session
                .run(change::TO_SAVEPOINT)
                .await
                .map_err(|error| step(layout, Failure::Failed(error)))?;
            self.done.truncate(kept);
            if range.len() == 1 {
                refusals.push(layout.refusal(range.start, &failure));
            } else {
                let middle = range.start + range.len() / 2;
                parts.push(middle..range.end);
                parts.push(range.start..middle);
            }
        }
        refusals.sort_unstable_by_key(|refusal| refusal.row);
        Ok(refusals)
    }

    /// The first of `keys` that no row has, looked for after the failed transaction was given up.
    async fn find_missing(&mut self, layout: &TableLayout, key: &[usize], keys: &Batch) -> Option<usize> {
        self.session.run("ROLLBACK").await.ok()?;
        for row in 0..keys.rows {
            let sql = statement::is_there(layout, key, keys, row).ok()?;
            let mut answer = self.session.query(sql).await.ok()?.into_iter().next()?;
            if !control::field::<bool>(&mut answer, 0).ok()? {
                return Some(row);
            }
        }
        None
    }
}

fn step(layout: &TableLayout, failure: Failure) -> Error {
    failure.explain("rows can't be written").at("table", &layout.table.name)
}

#[async_trait]
impl Applier for MysqlApplier {
    async fn apply(&mut self, table: &Arc<TargetTable>, changes: &NetChanges) -> Result<Vec<Refusal>> {
        match self.apply_net(table, changes).await {
            Err(error) => Err(self.explain(table, error).await),
            applied => applied,
        }
    }

    async fn apply_ordered(&mut self, table: &Arc<TargetTable>, changes: &OrderedChanges) -> Result<()> {
        self.enter()?;
        let layout = self.layout(table)?;
        if layout.key.is_some() {
            return Err(Error::new(ErrorKind::Internal, "ordered changes of a table with a row key")
                .at("table", &table.name));
        }
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
        }
        self.begin().await?;
        let (mut place, mut new, mut old) = (0, 0, 0);
        while let Some(op) = changes.ops.get(place) {
            if *op == Op::Insert {
                let run = changes.ops.iter().skip(place).take_while(|&&op| op == Op::Insert).count();
                self.insert(&layout, &changes.after, new..new + run).await?;
                place += run;
                new += run;
                continue;
            }
            let mut no_labels = 0;
            let sql = if *op == Op::Delete {
                statement::delete_row(&layout, &changes.before, old)?
            } else {
                no_labels = layout.no_labels(&changes.after, new);
                new += 1;
                statement::update_row(&layout, (&changes.after, new - 1), (&changes.before, old))?
            };
            let found = self.run(Statement { sql, statements: 1, rows: old..old + 1, no_labels }).await;
            let at = |error: Error| {
                error.at("table", &table.name).at("key", layout.key_text(&changes.before, &all, old))
            };
            match found {
                Ok(found) if found == [1] => {}
                Ok(_) => return Err(at(change::none_alike())),
                Err((_, _, failure)) => return Err(at(failure.explain("a row can't be changed"))),
            }
            place += 1;
            old += 1;
        }
        self.succeed();
        Ok(())
    }

    async fn commit(&mut self, standing: &Standing) -> Result<()> {
        self.enter()?;
        self.begin().await?;
        let Stand::Lane(lane) = &mut self.stand else { return Err(of_no_lane()) };
        lane.stand(&mut self.session, standing).await?;
        Failpoint::StandingWritten.reach();
        if let Err(error) = self.session.run("COMMIT").await {
            let is_ambiguous = is_ambiguous(&error);
            let broken = translate(error, "changes can't be committed");
            if !is_ambiguous {
                return Err(broken);
            }
            self.session = self.connections.open().await?;
            if !lane.stands(&mut self.session).await? {
                return Err(broken);
            }
        }
        self.in_transaction = false;
        self.done.clear();
        self.succeed();
        Ok(())
    }

    async fn taken_over(&mut self) -> Option<Error> {
        self.session.run("ROLLBACK").await.ok()?;
        let Stand::Lane(lane) = &self.stand else { return None };
        lane.taken_over(&mut self.session).await
    }
}

#[async_trait]
impl Mender for MysqlApplier {
    async fn mend(&mut self, table: &Arc<TargetTable>, changes: &NetChanges) -> Result<Vec<Refusal>> {
        let refusals = self.apply(table, changes).await?;
        self.enter()?;
        let Stand::Still(claim) = &self.stand else { return Err(of_no_lane()) };
        claim.hold(&mut self.session).await?;
        self.session.run("COMMIT").await.map_err(|error| {
            translate(error, "rows that were set aside can't be written").at("table", &table.name)
        })?;
        self.in_transaction = false;
        self.done.clear();
        self.succeed();
        Ok(refusals)
    }
}

fn of_no_lane() -> Error {
    Error::new(ErrorKind::Internal, "rows are committed with another connection than was opened for them")
}
