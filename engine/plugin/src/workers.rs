//! The threads on which row functions run.
//!
//! Guests run synchronously on threads of their own: on the runtime's they would hold up everything
//! else for as long as a batch takes. Each thread has its own instance of each plugin.

use engine_core::batch::Batch;
use engine_core::bitmap::Bitmap;
use engine_core::plan::StagePlan;
use engine_core::schema::TableSchema;
use engine_core::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot};

use crate::opened::Tables;
use crate::plugin::Plugin;
use crate::settings::Settings;
use crate::worker::Worker;

/// Batches that wait for a thread, per thread.
const QUEUED_PER_THREAD: usize = 2;

/// Where rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A read of the table.
    Snapshot,
    /// Changes.
    ChangeStream,
}

/// A row that a plugin could not deal with. The plan's row-error policy decides about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowError {
    /// Row in the batch that was handed over.
    pub row: usize,
    /// Ordinal in the schema that the plugin planned with, where one column is at fault.
    pub column: Option<usize>,
    /// The plugin's own code, or `trap`, `timeout`, `memory`, `malformed`.
    pub code: String,
    /// What happened; after a trap also where in the plugin. May quote the row: not for logs.
    pub message: String,
}

/// What `filter` said about a batch.
#[derive(Debug, PartialEq)]
#[must_use]
pub struct Filtered {
    /// One bit per row. Rows in `errors` are unset and are not to be taken for dropped.
    pub keep: Bitmap,
    /// Rows without an answer, by row.
    pub errors: Vec<RowError>,
    /// The batch that was handed over.
    pub input: Batch,
}

/// What `transform-batch` made of a batch.
#[derive(Debug, PartialEq)]
#[must_use]
pub struct Transformed {
    /// The plan's `transform_writes`, as long as the input. Rows in `errors` hold nothing of use.
    pub output: Batch,
    /// Rows without an answer, by row.
    pub errors: Vec<RowError>,
    /// The batch that was handed over.
    pub input: Batch,
}

/// Runs the row functions of a chain of plugins. Cheap to clone; the threads end with the last clone.
#[derive(Clone)]
pub struct Workers {
    tables: Arc<Tables>,
    jobs: mpsc::Sender<Job>,
}

pub(crate) struct Job {
    pub(crate) table: usize,
    pub(crate) origin: Origin,
    pub(crate) input: Batch,
    pub(crate) reply: Reply,
}

/// Which function to call, and whom to tell.
pub(crate) enum Reply {
    Filter(oneshot::Sender<Result<Filtered>>),
    Transform(oneshot::Sender<Result<Transformed>>),
}

impl Workers {
    /// Starts `threads` threads for the plugins of a chain.
    pub fn start(chain: Vec<(Plugin, Settings)>, threads: usize) -> Result<Self> {
        let threads = threads.max(1);
        let (jobs, queue) = mpsc::channel(threads * QUEUED_PER_THREAD);
        let queue = Arc::new(Mutex::new(queue));
        let (chain, tables) = (Arc::new(chain), Arc::new(Tables::default()));
        for number in 0..threads {
            let mut worker = Worker::new(Arc::clone(&chain), Arc::clone(&tables));
            let queue = Arc::clone(&queue);
            std::thread::Builder::new()
                .name(format!("plugin-{number}"))
                .spawn(move || {
                    while let Some(job) = next(&queue) {
                        worker.run(job);
                    }
                })
                .map_err(|error| {
                    Error::new(ErrorKind::Internal, "a thread for plugins can't be started").caused_by(error)
                })?;
        }
        Ok(Self { tables, jobs })
    }

    /// Registers `table` as plugin `stage` of the chain was shown it, with the plan it made. The
    /// result stands for both in the calls below. A table whose plan changed is registered anew.
    pub fn add_table(&self, stage: usize, table: &TableSchema, plan: &StagePlan) -> Result<usize> {
        self.tables.add(stage, table, plan)
    }

    /// Asks which rows to keep. `input` holds the plan's `filter_reads`, and is handed back.
    ///
    /// Fails when the plugin refuses the batch as a whole or fails at too many of its rows.
    pub async fn filter(&self, table: usize, origin: Origin, input: Batch) -> Result<Filtered> {
        let (reply, answer) = oneshot::channel();
        self.send(Job { table, origin, input, reply: Reply::Filter(reply) }).await?;
        answer.await.map_err(|_| gone())?
    }

    /// Has rows rewritten. `input` holds the plan's `transform_reads`, and is handed back.
    ///
    /// Fails when the plugin refuses the batch as a whole or fails at too many of its rows.
    pub async fn transform(&self, table: usize, origin: Origin, input: Batch) -> Result<Transformed> {
        let (reply, answer) = oneshot::channel();
        self.send(Job { table, origin, input, reply: Reply::Transform(reply) }).await?;
        answer.await.map_err(|_| gone())?
    }

    async fn send(&self, job: Job) -> Result<()> {
        self.jobs.send(job).await.map_err(|_| gone())
    }
}

fn next(queue: &Mutex<mpsc::Receiver<Job>>) -> Option<Job> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv()
}

fn gone() -> Error {
    Error::new(ErrorKind::Internal, "the threads that run plugins have ended")
}
