//! The copy: tables cut into chunks, read, converted and loaded by several workers at once.

mod chunks;
mod worker;

use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use engine_core::error::{Error, ErrorKind, Result};
use engine_core::target::ChunkRecord;

use crate::compose::Composed;
use crate::route::Route;
use crate::task::TaskSpec;
use crate::throttle::Throttle;

use chunks::ChunkQueue;
use worker::Worker;

/// Whether the chunks in `done` are all there are.
pub fn is_complete<'a>(tables: impl IntoIterator<Item = &'a Composed>, done: &[ChunkRecord]) -> bool {
    let done = chunks::by_table(done);
    tables
        .into_iter()
        .filter(|table| table.target.with_rows)
        .all(|table| done.get(&table.schema.name).is_some_and(|records| chunks::is_complete(records)))
}

/// Copies every table that has rows to copy, going on after the chunks in `done`.
pub(crate) async fn copy(
    spec: &TaskSpec,
    routes: &[Arc<Route>],
    done: &[ChunkRecord],
    online: bool,
    throttle: &Arc<Throttle>,
    stop: &CancellationToken,
) -> Result<()> {
    let progress = throttle.progress();
    let queue = Arc::new(ChunkQueue::new(Arc::clone(&spec.source), routes, done));
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
        Some(error) => Err(error),
        None if stop.is_cancelled() => Err(Error::new(ErrorKind::Interrupted, "stopped during the copy")),
        None => Ok(()),
    }
}
