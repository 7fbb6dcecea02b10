//! The copy: tables cut into chunks, read, converted and loaded by several workers at once.

mod chunks;
mod worker;

use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use engine_core::error::{Error, ErrorKind, Result};
use engine_core::schema::TableName;
use engine_core::target::ChunkRecord;

use crate::compose::Composed;
use crate::route::Route;
use crate::task::TaskSpec;
use crate::throttle::Throttle;

use chunks::ChunkQueue;
pub(crate) use chunks::ChunkSize;
use worker::Worker;

/// Whether the chunks in `done` are all there are.
pub fn is_complete<'a>(tables: impl IntoIterator<Item = &'a Composed>, done: &[ChunkRecord]) -> bool {
    let done = chunks::by_table(done);
    tables
        .into_iter()
        .filter(|table| table.target.with_rows)
        .all(|table| done.get(&table.schema.name).is_some_and(|records| chunks::is_complete(records)))
}

/// Gives up what was copied of the tables that become `target`; false when the target has other rows there too.
async fn clear(spec: &TaskSpec, routes: &[Arc<Route>], target: &TableName) -> Result<bool> {
    let all = routes.iter().map(|route| route.composed()).filter(|table| table.target.name == *target);
    let from: Vec<TableName> = all.clone().map(|table| table.schema.name.clone()).collect();
    match all.into_iter().next() {
        Some(table) => spec.target.clear_copy(&table.target, &from).await,
        None => Ok(false),
    }
}

/// How a copy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copied {
    /// With every row.
    Whole,
    /// Rows moved between tables that become one, which are to be copied again.
    Moved,
}

/// Copies every table that has rows to copy, going on after the chunks in `done`.
pub(crate) async fn copy(
    spec: &TaskSpec,
    routes: &[Arc<Route>],
    done: &[ChunkRecord],
    online: bool,
    throttle: &Arc<Throttle>,
    stop: &CancellationToken,
) -> Result<Copied> {
    let progress = throttle.progress();
    let size = throttle.chunk_size(spec.parallelism);
    let queue = Arc::new(ChunkQueue::new(Arc::clone(&spec.source), routes, done, size));
    for (index, rows) in queue.rows_done() {
        progress.update_table(index, |table| table.rows_copied = rows);
    }
    let mut workers = JoinSet::new();
    for _ in 0..spec.parallelism.max(1) {
        let worker = Worker {
            source: Arc::clone(&spec.source),
            target: Arc::clone(&spec.target),
            routes: routes.to_vec(),
            queue: Arc::clone(&queue),
            task: spec.name.clone(),
            progress: Arc::clone(progress),
            throttle: Arc::clone(throttle),
            online,
            stop: stop.clone(),
        };
        workers.spawn(worker.run());
    }
    let mut failure: Option<Error> = None;
    while let Some(ended) = workers.join_next().await {
        let result = ended.unwrap_or_else(|error| {
            Err(Error::new(ErrorKind::Internal, "a copy worker ended unexpectedly").caused_by(error))
        });
        if let Err(error) = result {
            // The others stop at the end of their batch; the first real reason is the one to tell.
            queue.close();
            let better = failure.as_ref().is_none_or(|known| known.kind() == ErrorKind::Interrupted);
            if better {
                failure = Some(error);
            }
        }
    }
    match failure {
        Some(error) if error.kind() == ErrorKind::Divergence => match queue.moved() {
            Some(target) if clear(spec, routes, &target).await? => {
                tracing::warn!(%target, "a row moved between the tables that become one, which are copied again");
                Ok(Copied::Moved)
            }
            _ => Err(error),
        },
        Some(error) => Err(error),
        None if stop.is_cancelled() => Err(Error::new(ErrorKind::Interrupted, "stopped during the copy")),
        None => Ok(Copied::Whole),
    }
}
