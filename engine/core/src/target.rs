//! What a connector does to be written to.
//!
//! The target holds the truth about a task: which chunks it has and which source position its rows
//! stand at, each committed in the same transaction as the rows. What the engine keeps on disk
//! beside that is a cache.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use crate::batch::Batch;
use crate::change::Op;
use crate::cut_over::CutOver;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::examine::{Examiner, Repairer, RowForm};
use crate::finding::Finding;
use crate::object::TargetObject;
use crate::plan::TargetTable;
use crate::position::{Position, Watermarks};
use crate::schema::TableName;
use crate::shadow::Shadow;
use crate::source::{ChunkRange, Source};
use crate::structure::{Evolution, RecordedTable};
use crate::survey::Needs;
use crate::transaction::TransactionSet;

/// A chunk that the target holds completely.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRecord {
    /// Source table.
    pub table: TableName,
    /// Number within the table. Chunks are cut one after the other, so that `range.after` of
    /// number n + 1 is `range.to` of number n.
    pub number: u64,
    /// Its keys.
    pub range: ChunkRange,
    /// Rows read from the source.
    pub rows: u64,
    /// What the read contains.
    pub watermarks: Watermarks,
}

/// What the target knows of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Digest of the plan that the task was begun with.
    pub plan_digest: String,
    /// Where the stream begins: a low watermark from before the first chunk; empty for a task
    /// that copies and does not follow.
    pub start: Option<Position>,
    /// The target has everything up to here; `start` until changes were applied.
    pub position: Option<Position>,
    /// The finished chunks.
    pub chunks: Vec<ChunkRecord>,
    /// Whether everything that follows the copy [was built](Target::record_built).
    pub built: bool,
    /// Whether anything was made for it in the target, a table or a chunk. Until then neither plan nor start
    /// binds it, and whoever [claims](Target::claim) it begins it anew.
    pub is_bound: bool,
}

/// What the target remembers of a row that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterRecord {
    /// Tells it from the task's others.
    pub identity: [u8; 16],
    /// What is known of the row but its values: JSON that only the pipeline reads.
    pub content: String,
}

/// Which objects to build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildStep {
    /// The row key: primary key, or the unique key in its place. Needed before changes are applied.
    RowKeys,
    /// Every other index.
    Indexes,
    /// Foreign keys, validated.
    ForeignKeys,
}

/// One object to build, independent of the others of its step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildJob {
    /// Target table.
    pub table: TableName,
    /// For progress: `primary key of shop.orders`.
    pub label: String,
    /// The statements, which do nothing when the object is already there.
    pub statements: Vec<String>,
}

/// The net effect of consecutive changes on one table: for each row key what becomes of its row.
///
/// Applied in the order of the fields. A row whose key or whose value under another unique key moved
/// is deleted and written anew, so that no order of writes can collide with a value not yet freed.
/// Keys are batches of the key's columns in key order, rows of all written columns.
#[derive(Debug, Clone, PartialEq)]
pub enum NetChanges {
    /// The target has all changes before these and none of these. Every delete and every update
    /// finds one row and every insert none, or else the target has diverged: an error that names
    /// the table and a key.
    Strict {
        /// Keys of the rows that go.
        deletes: Batch,
        /// Rows that are there.
        updates: Batch,
        /// Rows that are not.
        inserts: Batch,
    },
    /// The target may have some of these changes already, as the copy may have read them.
    Idempotent {
        /// Keys of the rows that must be gone.
        deletes: Batch,
        /// Rows as they must be.
        upserts: Batch,
    },
}

/// Where a lane of the target stands, with the transaction that says so committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Number of the position: of two lanes, the greater one's position is the later.
    pub sequence: u64,
    /// The target as a whole has everything up to here, whichever lane applied it.
    pub position: Position,
    /// What this lane has applied of the transactions after it.
    pub applied: TransactionSet,
}

/// Connections that apply changes side by side, and where they begin.
pub struct Lanes {
    /// The target has everything up to here.
    pub position: Position,
    /// It has these transactions too. Some may be older than the position.
    pub applied: TransactionSet,
    /// The connections.
    pub appliers: Vec<Box<dyn Applier>>,
}

/// Changes of a table without a row key, in source order: whole rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OrderedChanges {
    /// The changes, in order.
    pub ops: Vec<Op>,
    /// New images: one row for each insert and each update, in order.
    pub after: Batch,
    /// Old images: one row for each update and each delete, in order.
    pub before: Batch,
}

/// A row that the target refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Row of the batch.
    pub row: usize,
    /// The [source name](crate::plan::TargetColumn::source_name) of the column at fault, when one is
    /// known.
    pub column: Option<String>,
    /// Machine-readable reason.
    pub code: String,
    /// Reason.
    pub reason: String,
}

/// Tells which rows of a table have no representation, before anything is sent.
pub trait RowCheck: Send + Sync {
    /// The rows that can't be written for a value in one of the written columns at `columns`, each
    /// row once, in order. What only the server knows of is not among them.
    fn refusals(&self, batch: &Batch, columns: &[usize]) -> Result<Vec<Refusal>>;
}

/// Loads chunks over one connection.
#[async_trait]
pub trait Loader: Send {
    /// Starts a transaction for rows of `table`; an unfinished one is rolled back first.
    async fn begin(&mut self, table: &Arc<TargetTable>) -> Result<()>;
    /// Writes rows: exactly the table's written columns. A value that has no representation is an
    /// error that names table, key, column and value; nothing of the chunk remains then. Of a table
    /// with a row key whose bad rows are [set aside](crate::plan::RowErrorPolicy::DeadLetter), rows
    /// that the server refuses are left out instead and returned.
    async fn write(&mut self, batch: &Batch) -> Result<Vec<Refusal>>;
    /// Commits the rows together with the record of the chunk. Both, and nothing else, may be lost in
    /// a crash of the server until [`flush`](Target::flush).
    async fn commit(&mut self, record: &ChunkRecord) -> Result<()>;
    /// Gives the chunk up.
    async fn abort(&mut self) -> Result<()>;
}

/// Applies changes over one connection. Foreign keys and triggers of the target stay silent.
#[async_trait]
pub trait Applier: Send {
    /// Applies net changes of a table with a row key, in the open transaction (begun if need be).
    ///
    /// Of a table whose bad rows are [set aside](crate::plan::RowErrorPolicy::DeadLetter), upserts
    /// that the server refuses are left out and returned, and the rows that the target had under
    /// their keys are deleted: it never has a row that is not as the source's.
    async fn apply(&mut self, table: &Arc<TargetTable>, changes: &NetChanges) -> Result<Vec<Refusal>>;
    /// Applies changes of a table without one.
    async fn apply_ordered(&mut self, table: &Arc<TargetTable>, changes: &OrderedChanges) -> Result<()>;
    /// Commits what was applied together with where the lane stands then; with nothing applied,
    /// only that. After a broken connection the target is asked whether the commit happened.
    async fn commit(&mut self, standing: &Standing) -> Result<()>;
    /// The error of a task that another engine has taken over, if one has, asked of an applier whose
    /// changes did not fit: they may have been applied by the other already. Gives up the open
    /// transaction. `None` also when the target doesn't answer.
    async fn taken_over(&mut self) -> Option<Error>;
}

/// Writes rows that were set aside, outside of the order of changes.
#[async_trait]
pub trait Mender: Send {
    /// Applies [idempotent](NetChanges::Idempotent) changes as an [`Applier`] does, in a transaction of
    /// their own that does not move the target's position and fails once another engine has
    /// claimed the task.
    async fn mend(&mut self, table: &Arc<TargetTable>, changes: &NetChanges) -> Result<Vec<Refusal>>;
}

/// A database that rows are written to.
#[async_trait]
pub trait Target: Send + Sync {
    /// What it says it is.
    fn endpoint(&self) -> &Endpoint;

    /// Checks account, settings and what is there already against the plan of `task`: a table of the
    /// same name that another task or nobody created is a failure. Writes nothing. A warning whose
    /// subject begins with `target` has somebody asked before a task begins, as with
    /// [`Source::check`](crate::source::Source::check).
    async fn check(&self, task: &str, tables: &[Arc<TargetTable>], online: bool) -> Result<Vec<Finding>>;

    /// Looks for what doesn't stand in a task's way and is worth knowing before it begins: what else
    /// is there, names that need quoting, room for `needs`. Writes nothing.
    async fn survey(
        &self,
        _task: &str,
        _tables: &[Arc<TargetTable>],
        _needs: &Needs,
    ) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    /// The statements that create schema and table, in order; pure.
    fn render_table(&self, table: &TargetTable) -> Result<Vec<String>>;

    /// The objects of one step over all tables; pure.
    fn render_step(&self, step: BuildStep, tables: &[Arc<TargetTable>]) -> Result<Vec<BuildJob>>;

    /// Reads what the target knows of task `name`; `None` when it knows nothing. Writes nothing.
    async fn task(&self, name: &str) -> Result<Option<TaskRecord>>;

    /// Registers the task, or takes it over: an engine that had it before can't commit any more.
    /// Of a task that is [bound](TaskRecord::is_bound), `start` is kept and another plan is refused; any other is
    /// begun anew with both. Everything below needs it done.
    async fn claim(&self, name: &str, plan_digest: &str, start: Option<&Position>) -> Result<()>;

    /// Makes the chunks that are committed survive a crash of the server. Which these are is to be
    /// asked of [`task`](Self::task) afterwards.
    async fn flush(&self) -> Result<()>;

    /// The source tables that the task knows, by name; none when they were never recorded.
    async fn structure(&self, name: &str) -> Result<Vec<RecordedTable>>;

    /// Records the source tables that the task begins with, in place of any others.
    async fn record_structure(&self, tables: &[RecordedTable]) -> Result<()>;

    /// Changes the target's structure, and in the same transaction the record of the source's tables
    /// and of their chunks, the plan's digest, and the position. A table that comes into being is
    /// recorded as copied completely, as of the position, with no rows; a renamed table takes its
    /// chunks along.
    ///
    /// A target whose statements of structure commit by themselves must write down first what it is
    /// about to do, do it, and record it as done together with the position; when called again with
    /// an intent on record it compares what is there with both tables and does what is missing.
    ///
    /// An error leaves everything as it was, [`Transient`](crate::ErrorKind::Transient) ones after a
    /// broken connection excepted: then the target has to be asked for its position.
    async fn evolve(&self, evolution: &Evolution) -> Result<()>;

    /// Creates the tables that aren't there. A table that exists and isn't the task's own is an
    /// error and nothing is touched.
    async fn create_tables(&self, tables: &[Arc<TargetTable>]) -> Result<()>;

    /// Runs one job.
    async fn build(&self, job: &BuildJob) -> Result<()>;

    /// Records that indexes and foreign keys are built. From here on they are what changes of the
    /// source's structure, and whoever answers these, make of them.
    async fn record_built(&self) -> Result<()>;

    /// Sets the identity columns to go on after the greatest of the table's value and `next`.
    async fn set_identity(&self, table: &TargetTable, next: Option<u64>) -> Result<()>;

    /// Gathers statistics, so that the first queries after the move are planned well.
    async fn analyze(&self, table: &TargetTable) -> Result<()>;

    /// What tells which rows of `table`, which need not exist yet, can't be written.
    async fn row_check(&self, table: &Arc<TargetTable>) -> Result<Arc<dyn RowCheck>>;

    /// Opens a connection for chunks.
    async fn open_loader(&self) -> Result<Box<dyn Loader>>;

    /// Opens `count` connections that apply changes side by side. Connections opened before can't
    /// commit any more; what they did commit is in the answer. The number may differ each time.
    async fn open_lanes(&self, count: usize) -> Result<Lanes>;

    /// Rows of a table, counted. Needs no claim.
    async fn count_rows(&self, _table: &TargetTable) -> Result<u64> {
        Err(not_cut_over(self.endpoint()))
    }

    /// Whether a [shared](TargetTable::is_shared) table may have rows of other tasks than this one. Needs no
    /// claim.
    async fn has_rows_of_others(&self, _task: &str, table: &TargetTable) -> Result<bool> {
        Ok(table.is_shared())
    }

    /// Removes all rows of a [shared](TargetTable::is_shared) table and the record of the chunks that they were
    /// copied by, those of the source's tables `from`, in one transaction. False, and nothing is changed, when
    /// it has other rows than these chunks wrote.
    async fn clear_copy(&self, _table: &TargetTable, _from: &[TableName]) -> Result<bool> {
        Ok(false)
    }

    /// Whether applications can be let in: foreign keys there and validated, triggers on. A failed
    /// finding for what is not, with the statement that mends it; a pass for what is. Needs no claim.
    async fn ready_for_use(&self, _tables: &[Arc<TargetTable>]) -> Result<Vec<Finding>> {
        Err(not_cut_over(self.endpoint()))
    }

    /// Records that the task was cut over, in one transaction with what keeps any engine that has it
    /// from committing anything further, this one included.
    async fn mark_cut_over(&self, _mark: &CutOver) -> Result<()> {
        Err(not_cut_over(self.endpoint()))
    }

    /// What [`mark_cut_over`](Self::mark_cut_over) recorded. Needs no claim.
    async fn cut_over(&self, _task: &str) -> Result<Option<CutOver>> {
        Ok(None)
    }

    /// The database as a source, for the way back: of `task`, which goes `to` another one.
    async fn as_source(&self, _task: &str, _to: &str) -> Result<Arc<dyn Source>> {
        let endpoint = self.endpoint();
        Err(Error::new(ErrorKind::Precondition, "there is no way back from this target yet")
            .at("target", format_args!("{} {}", endpoint.engine, endpoint.version))
            .help("leave out --way-back"))
    }

    /// Forgets a task whose tables it took over: the record of it, not the tables. An engine that has the task can't
    /// commit any more.
    async fn forget(&self, _task: &str) -> Result<()> {
        let endpoint = self.endpoint();
        Err(Error::new(ErrorKind::Precondition, "this target can't forget a task")
            .at("target", format_args!("{} {}", endpoint.engine, endpoint.version)))
    }

    /// Takes over tables that are there with all rows that the task's source has, so that the task has nothing
    /// to create and to copy. Claims no other task's tables; fails for what would have the rows differ that the
    /// task writes. Doing it twice is doing it.
    async fn adopt_tables(&self, _tables: &[Arc<TargetTable>]) -> Result<()> {
        let endpoint = self.endpoint();
        Err(Error::new(ErrorKind::Precondition, "tables that are there can't be taken over in this target")
            .at("target", format_args!("{} {}", endpoint.engine, endpoint.version)))
    }

    /// Whether it can have a source's views, triggers, routines and events. If not they stay behind, and the
    /// methods for them are not called.
    fn takes_objects(&self) -> bool {
        false
    }

    /// Checks whether the objects can be created: accounts, rights, settings, and what is there already under
    /// their names. A failed finding for what stands in the way of a task. Writes nothing, needs no claim.
    async fn check_objects(&self, _task: &str, _objects: &[TargetObject]) -> Result<Vec<Finding>> {
        Err(no_objects(self.endpoint()))
    }

    /// Creates those that aren't there, as [`create_tables`](Self::create_tables) does tables: one that exists
    /// and is neither the task's own nor the very same is an error. Events don't run until they are
    /// [let](Self::enable_events). A warning for each that the target refuses, which is not there then.
    async fn create_objects(&self, _objects: &[TargetObject]) -> Result<Vec<Finding>> {
        Err(no_objects(self.endpoint()))
    }

    /// Removes the triggers that the task has created, since changes are going to be applied again.
    async fn withdraw_triggers(&self) -> Result<()> {
        Ok(())
    }

    /// Has the events that the task has created run, those that do in the source; how many these are. Needs
    /// no claim, since a task that was cut over has none.
    async fn enable_events(&self, _task: &str) -> Result<u64> {
        Ok(0)
    }

    /// What the target remembers of the task's rows that are set aside, in the order in which they were;
    /// `None` from a target that remembers none. Needs no claim.
    async fn dead_letters(&self, _task: &str) -> Result<Option<Vec<DeadLetterRecord>>> {
        Ok(None)
    }

    /// Forgets some rows and then remembers others, in one transaction that fails once another engine has
    /// claimed the task. One that is known is left as it is. What is committed here is not lost in a crash
    /// of the server while something survives that was committed later.
    async fn record_dead_letters(&self, _gone: &[[u8; 16]], _new: &[DeadLetterRecord]) -> Result<()> {
        Ok(())
    }

    /// Opens a connection for rows that were set aside.
    async fn open_mender(&self) -> Result<Box<dyn Mender>>;

    /// What makes rows of `table` canonical. Needs no claim.
    async fn row_form(&self, table: &Arc<TargetTable>) -> Result<Arc<dyn RowForm>> {
        let _ = table;
        Err(not_compared(self.endpoint()))
    }

    /// Opens a connection that reads the target back. Needs no claim, and an engine may run the task
    /// meanwhile.
    async fn open_examiner(&self) -> Result<Box<dyn Examiner>> {
        Err(not_compared(self.endpoint()))
    }

    /// Opens a connection in which a copy of rows can be spoiled, to try a check on. Needs no claim.
    async fn open_shadow(&self) -> Result<Box<dyn Shadow>> {
        Err(not_compared(self.endpoint()))
    }

    /// Opens a connection that mends rows. Needs no claim, and an engine may run the task meanwhile.
    async fn open_repairer(&self) -> Result<Box<dyn Repairer>> {
        Err(not_compared(self.endpoint()))
    }

    /// Looks whether keys, indexes and foreign keys are there as planned and identity columns go on
    /// beyond the greatest value. Only what is not as it should be is a finding. Writes nothing.
    async fn inspect(&self, tables: &[Arc<TargetTable>]) -> Result<Vec<Finding>> {
        let _ = tables;
        Err(not_compared(self.endpoint()))
    }
}

fn not_compared(endpoint: &Endpoint) -> Error {
    Error::new(ErrorKind::Precondition, "a target of this kind can't be compared with its source")
        .at("target", format_args!("{} {}", endpoint.engine, endpoint.version))
        .help("compare it by its own means")
}

fn not_cut_over(endpoint: &Endpoint) -> Error {
    Error::new(ErrorKind::Precondition, "a task with this kind of target can't be cut over by the engine")
        .at("target", format_args!("{} {}", endpoint.engine, endpoint.version))
}

fn no_objects(endpoint: &Endpoint) -> Error {
    Error::new(
        ErrorKind::Precondition,
        "a target of this kind can't have the source's views, triggers, routines and events",
    )
    .at("target", format_args!("{} {}", endpoint.engine, endpoint.version))
}
