//! What a connector does to be read from.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::batch::Batch;
use crate::change::{ChangeSet, SchemaChange};
use crate::cut_over::WriteState;
use crate::digest::{Digest, DigestRequest, ValueForm};
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::finding::Finding;
use crate::object::DatabaseObject;
use crate::position::{Position, Watermarks};
use crate::schema::{TableName, TableSchema};
use crate::selection::Selection;
use crate::structure::TableEvolution;
use crate::survey::Needs;
use crate::target::Target;
use crate::transaction::TransactionSet;

/// A bound of a chunk: key values in the connector's own typed encoding, which orders nothing by
/// itself. Only the source compares keys, by its own collations.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyBound(pub Vec<u8>);

/// Rows whose key lies in `(after, to]`; an open end where there is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRange {
    /// Exclusive lower bound.
    pub after: Option<KeyBound>,
    /// Inclusive upper bound.
    pub to: Option<KeyBound>,
}

/// What to read of one table.
#[derive(Debug, Clone)]
pub struct ReadRequest {
    /// The table.
    pub table: Arc<TableSchema>,
    /// Ordinals of the columns wanted, in the order wanted.
    pub columns: Arc<[usize]>,
    /// The part of it; both ends open = the whole table in one read.
    pub range: ChunkRange,
    /// Size at which a batch is handed over, in bytes; a bigger row goes alone.
    pub batch_bytes: usize,
    /// Rows at which a batch is handed over.
    pub batch_rows: usize,
    /// The returned `low` must hold *exactly* the transactions on this table that the rows show:
    /// for tables without a row key, whose changes can't be applied twice.
    pub exact: bool,
}

/// A row to read by its key.
#[derive(Debug, Clone)]
pub struct KeyedRequest {
    /// The table.
    pub table: Arc<TableSchema>,
    /// Ordinals of the columns wanted, in the order wanted.
    pub columns: Arc<[usize]>,
    /// Ordinals of the columns of a unique key.
    pub key: Arc<[usize]>,
    /// Its values, one row.
    pub values: Batch,
}

/// Takes the rows of a read, in any order.
#[async_trait]
pub trait BatchSink: Send {
    /// Takes a batch; returns when there is room for the next.
    async fn push(&mut self, batch: Batch) -> Result<()>;
}

/// A connection that reads chunks, one after the other.
#[async_trait]
pub trait Reader: Send {
    /// Reads one chunk in one statement or one consistent read, pushing every row of it exactly
    /// once, and says what the read contains. A broken connection is an error, never an early end.
    async fn read(&mut self, request: &ReadRequest, sink: &mut dyn BatchSink) -> Result<Watermarks>;

    /// Reads the row that has the key, by the source's own idea of equal keys, as it is now: one row
    /// or none. [`Precondition`](crate::ErrorKind::Precondition) when the table can't be asked by
    /// this key.
    async fn read_by_key(&mut self, request: &KeyedRequest) -> Result<Batch>;

    /// Has the server sum up rows, and says what the sum contains. The columns have a
    /// [form](Source::value_forms) each.
    async fn digest(&mut self, request: &DigestRequest) -> Result<(Digest, Watermarks)> {
        Err(Error::new(ErrorKind::Internal, "a source of this kind sums up no rows")
            .at("table", &request.table.name))
    }
}

/// How far a replica is behind its primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lag {
    /// By this time, as the replica says.
    Behind(Duration),
    /// It does not replicate.
    Stopped,
}

/// A table whose changes are wanted.
#[derive(Debug, Clone)]
pub struct StreamTable {
    /// The table as it was when the stream's first position was taken.
    pub schema: Arc<TableSchema>,
    /// Ordinals of the columns wanted, in the order wanted; the same as the snapshot's.
    pub columns: Arc<[usize]>,
    /// Changes of transactions in this position are left out: an exact read had them.
    pub since: Option<Position>,
}

/// What to follow.
#[derive(Debug, Clone)]
pub struct StreamRequest {
    /// Where to begin: the first transaction that this position doesn't hold.
    pub from: Position,
    /// Transactions after it that are left out all the same: the target has them.
    pub applied: TransactionSet,
    /// The tables.
    pub tables: Vec<StreamTable>,
    /// Tables that belong to the task: a change of one that is not in `tables` is an error, as is
    /// not knowing; tables outside the selection are passed over.
    pub selection: Selection,
    /// Tables of the selection whose rows the plan leaves out; changes of their structure are told.
    pub skipped: Vec<TableName>,
    /// Size at which a set is handed over even inside a transaction, in bytes.
    pub set_bytes: usize,
    /// Row changes at which a set is handed over at the next end of a transaction.
    pub set_rows: usize,
}

/// The changes of a source, in commit order.
#[async_trait]
pub trait ChangeStream: Send {
    /// Waits for the next set. An idle source yields sets without changes from time to time, whose
    /// position has moved on. Cancel-safe: a dropped call loses nothing.
    ///
    /// Sets gather transactions for a few milliseconds while more is already on the wire, so that
    /// a busy stream is cheap and a quiet one quick.
    async fn next(&mut self) -> Result<ChangeSet>;

    /// What the source keeps its log by, where it does so only for those who ask.
    fn hold(&self) -> Option<Arc<dyn LogHold>> {
        None
    }
}

/// A part of a source's log that is kept for a stream's sake.
pub trait LogHold: Send + Sync {
    /// Says that the target has everything up to `position`, and will have it after a crash: the source may
    /// drop its log up to there.
    fn release(&self, position: &Position) -> Result<()>;
}

/// A database that rows and changes are read from.
#[async_trait]
pub trait Source: Send + Sync {
    /// What it says it is.
    fn endpoint(&self) -> &Endpoint;

    /// Says where the source may keep files that a stream needs for as long as it is open. Without, it keeps none.
    fn keep_files_in(&self, _directory: &Path) {}

    /// Checks account, settings and the tables of the selection; `online` asks for what following
    /// changes needs. Writes nothing. A [`Failed`](crate::finding::Severity::Failed) finding means
    /// that a task can't run. A [`Warning`](crate::finding::Severity::Warning) about the server as a
    /// whole, whose subject begins with `source`, means that data or the task are at risk: somebody is
    /// asked before a task begins.
    async fn check(&self, selection: &Selection, online: bool) -> Result<Vec<Finding>>;

    /// Looks for what doesn't stand in a task's way and is worth knowing before it begins: objects
    /// that stay behind, settings that cost time, room for `needs`. Writes nothing.
    async fn survey(&self, _selection: &Selection, _needs: &Needs) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    /// The base tables of the selection, by name.
    async fn catalog(&self, selection: &Selection) -> Result<Vec<TableSchema>>;

    /// The views, triggers, routines and events of the selection, by kind and in the order in which they
    /// can be created, as far as the source tells; and a warning for each that can't be read.
    async fn objects(&self, _selection: &Selection) -> Result<(Vec<DatabaseObject>, Vec<Finding>)> {
        Ok((Vec::new(), Vec::new()))
    }

    /// Accounts and what they may do in the selection, a note for each. None of it is copied.
    async fn accounts(&self, _selection: &Selection) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    /// Where a new task can begin to follow the tables of the selection: every transaction in the position is
    /// visible to a read that begins after this call. A source that keeps its log only for those who ask
    /// keeps it from there on, until the task is [let go](Self::let_go).
    async fn begin_following(&self, _selection: &Selection) -> Result<Position> {
        self.low_watermark().await
    }

    /// This database as the target of a way back.
    async fn as_target(&self) -> Result<Arc<dyn Target>> {
        let endpoint = self.endpoint();
        Err(Error::new(ErrorKind::Precondition, "there is no way back into this source yet")
            .at("source", format_args!("{} {}", endpoint.engine, endpoint.version))
            .help("cut over without one"))
    }

    /// Whether two positions at which tasks began are of one and the same task, at its first and at a later beginning.
    fn is_begun_anew(&self, _first: &Position, _later: &Position) -> bool {
        false
    }

    /// Has the tables log whole rows of what changes, where that is a property of a table.
    async fn log_whole_rows(&self, _tables: &[TableName]) -> Result<()> {
        Ok(())
    }

    /// Undoes what [`begin_following`](Self::begin_following) left on the source. Nobody follows any more.
    async fn let_go(&self) -> Result<()> {
        Ok(())
    }

    /// A position every transaction in which is visible to a read that begins after this call.
    async fn low_watermark(&self) -> Result<Position>;

    /// A position that holds every transaction that a read ended before this call can have seen.
    async fn high_watermark(&self) -> Result<Position>;

    /// For how long the source keeps its log, whoever has yet to read it; `None` when the clock takes nothing away.
    async fn log_kept_for(&self) -> Result<Option<Duration>> {
        Ok(None)
    }

    /// Whether a stream that reached `reached` has delivered everything in `wanted`.
    fn covers(&self, reached: &Position, wanted: &Position) -> Result<bool>;

    /// Those of `transactions` that `position` does not hold.
    fn beyond(&self, position: &Position, transactions: &TransactionSet) -> Result<TransactionSet>;

    /// Whether the table can be read in ranges of a key.
    fn can_chunk(&self, table: &TableSchema) -> bool;

    /// The upper bound of a chunk of about `rows` rows after `after`; `None` when fewer are left.
    async fn chunk_end(
        &self,
        table: &TableSchema,
        after: Option<&KeyBound>,
        rows: u64,
    ) -> Result<Option<KeyBound>>;

    /// The values of a bound that [`chunk_end`](Self::chunk_end) gave: the ordinals of its columns, and
    /// one row of them. `None` when they have no form that others can read.
    fn bound_values(&self, table: &TableSchema, bound: &KeyBound) -> Result<Option<(Vec<usize>, Batch)>> {
        let _ = (table, bound);
        Ok(None)
    }

    /// What a statement of the stream does to tables, given those that the task knew before it.
    ///
    /// Nothing is guessed: a statement, or a part of one, whose effect on structure and rows doesn't
    /// follow from its text is an [`Unrepresentable`](crate::ErrorKind::Unrepresentable) error that
    /// says which. Without any entry, it changes nothing that a target could take part in.
    async fn evolve(
        &self,
        change: &SchemaChange,
        known: &[TableSchema],
        selection: &Selection,
    ) -> Result<Vec<TableEvolution>>;

    /// The table that a change of the stream leaves, whatever it did to rows, where the stream tells more of it than
    /// today's catalog does.
    async fn structure_after(
        &self,
        _change: &SchemaChange,
        _known: &[TableSchema],
    ) -> Result<Option<TableSchema>> {
        Ok(None)
    }

    /// How many statements the source is working on at this moment, the engine's own reads among
    /// them; `None` when it doesn't say. What a load limit is held against.
    async fn load(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// How the server can write down the columns of a table in a [digest](crate::digest), each by its ordinal;
    /// `None` for columns that it can't.
    fn value_forms(&self, table: &TableSchema) -> Vec<Option<ValueForm>> {
        table.columns.iter().map(|_| None).collect()
    }

    /// The server whose changes are followed, as a source of its own, where rows are read from another one:
    /// for whoever wants to know what the source has, and not what a copy of it has.
    fn followed(&self) -> Option<Arc<dyn Source>> {
        None
    }

    /// How far the server that is read from lags behind the one that is followed; `None` when they are one.
    async fn lag(&self) -> Result<Option<Lag>> {
        Ok(None)
    }

    /// Whether the source takes writes. A [`Precondition`](ErrorKind::Precondition) error from a
    /// source that can't be told to refuse them.
    async fn write_state(&self) -> Result<WriteState> {
        Err(not_frozen_by_us(self.endpoint()))
    }

    /// Tries whether the account may have the source refuse writes, without doing it.
    async fn may_freeze(&self) -> Result<()> {
        Err(not_frozen_by_us(self.endpoint()))
    }

    /// Has the source refuse writes, those of open transactions among them. Waits for statements and
    /// commits in progress for as long as `patience`, and leaves everything as it was when they last
    /// longer.
    async fn freeze(&self, _patience: Duration) -> Result<()> {
        Err(not_frozen_by_us(self.endpoint()))
    }

    /// Has the source as it was.
    async fn restore_writes(&self, _before: &WriteState) -> Result<()> {
        Err(not_frozen_by_us(self.endpoint()))
    }

    /// What of work begun on the source at least `ago` may still be committed: a failed finding for
    /// each kind that [`freeze`](Self::freeze) would not stop, however old, a warning for what it does.
    async fn unfinished(&self, _ago: Duration) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    /// Rows of a table, counted.
    async fn count_rows(&self, _table: &TableSchema) -> Result<u64> {
        Err(Error::new(ErrorKind::Precondition, "rows of this kind of source can't be counted"))
    }

    /// Opens a connection for chunks.
    async fn open_reader(&self) -> Result<Box<dyn Reader>>;

    /// Opens the stream. An error says why changes can't be followed from there (purged, another
    /// server), if they can't; the source must have `applied`, since the target has.
    async fn open_stream(&self, request: StreamRequest) -> Result<Box<dyn ChangeStream>>;

    /// Opens a stream beside the task's own, which may be open elsewhere and isn't disturbed. It holds no log.
    async fn open_stream_beside(&self, request: StreamRequest) -> Result<Box<dyn ChangeStream>> {
        self.open_stream(request).await
    }
}

fn not_frozen_by_us(endpoint: &Endpoint) -> Error {
    Error::new(ErrorKind::Precondition, "the engine can't have this source refuse writes")
        .at("source", format_args!("{} {}", endpoint.engine, endpoint.version))
        .help("stop the writes yourself, and leave out --set-source-read-only")
}
