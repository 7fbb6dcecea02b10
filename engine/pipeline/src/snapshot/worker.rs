//! One worker of the copy: a connection to each side, chunk after chunk.

use async_trait::async_trait;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

use engine_core::batch::Batch;
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::failpoint::Failpoint;
use engine_core::plan::TargetTable;
use engine_core::source::{BatchSink, ReadRequest, Reader, Source};
use engine_core::target::{ChunkRecord, Loader, Refusal, Target};

use crate::dead_letter::{Letter, Occurrences, Operation, SNAPSHOT};
use crate::merged::Company;
use crate::progress::Progress;
use crate::retry::{Backoff, may_pass};
use crate::route::{Met, Route};
use crate::throttle::Throttle;
use engine_plugin::Origin;

use super::chunks::{Chunk, ChunkQueue};

/// Batches of this size keep the plugin crossing cheap and the memory small.
const BATCH_BYTES: usize = 768 << 10;
const BATCH_ROWS: usize = 4096;

pub(super) struct Worker {
    pub(super) source: Arc<dyn Source>,
    pub(super) target: Arc<dyn Target>,
    pub(super) routes: Vec<Arc<Route>>,
    pub(super) queue: Arc<ChunkQueue>,
    pub(super) task: String,
    pub(super) progress: Arc<Progress>,
    pub(super) throttle: Arc<Throttle>,
    pub(super) online: bool,
    pub(super) stop: CancellationToken,
}

struct Connections {
    reader: Box<dyn Reader>,
    loader: Box<dyn Loader>,
}

impl Worker {
    pub(super) async fn run(self) -> Result<()> {
        let mut connections = None;
        while !self.stop.is_cancelled() {
            self.throttle.before_chunk(&self.stop).await;
            let Some(chunk) = self.next_chunk().await? else { break };
            self.copy(&chunk, &mut connections).await?;
            if self.queue.finish(&chunk).await {
                self.progress.update_table(chunk.table, |table| table.copied = true);
            }
        }
        Ok(())
    }

    async fn next_chunk(&self) -> Result<Option<Chunk>> {
        let mut backoff = Backoff::new();
        loop {
            match self.queue.next().await {
                Err(error) if may_pass(&error) => backoff.wait(error, &self.stop).await?,
                result => return result,
            }
        }
    }

    /// Copies a chunk. A broken connection costs the chunk's work, which is done again over new ones.
    async fn copy(&self, chunk: &Chunk, connections: &mut Option<Connections>) -> Result<()> {
        let mut backoff = Backoff::new();
        loop {
            match self.attempt(chunk, connections).await {
                Ok(()) => return Ok(()),
                Err(error) if may_pass(&error) => {
                    *connections = None;
                    backoff.wait(error, &self.stop).await?;
                    if self.committed(chunk).await? {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the target has the chunk after all: its commit may have happened unheard.
    async fn committed(&self, chunk: &Chunk) -> Result<bool> {
        let Some(route) = self.routes.get(chunk.table) else { return Ok(false) };
        let table = &route.composed().schema.name;
        match self.target.task(&self.task).await {
            Ok(Some(task)) => {
                Ok(task.chunks.iter().any(|record| record.table == *table && record.number == chunk.number))
            }
            Ok(None) => Ok(false),
            Err(error) if may_pass(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn attempt(&self, chunk: &Chunk, connections: &mut Option<Connections>) -> Result<()> {
        let route = self.routes.get(chunk.table).ok_or_else(|| {
            Error::new(ErrorKind::Internal, "a chunk names a table that the task does not have")
        })?;
        let composed = route.composed();
        if connections.is_none() {
            let (reader, loader) = tokio::try_join!(self.source.open_reader(), self.target.open_loader())?;
            *connections = Some(Connections { reader, loader });
        }
        let Some(Connections { reader, loader }) = connections else {
            return Err(Error::new(ErrorKind::Internal, "there is no connection"));
        };
        let (batch_rows, batch_bytes) = self.throttle.batch(BATCH_ROWS, BATCH_BYTES);
        let request = ReadRequest {
            table: Arc::new(composed.schema.clone()),
            columns: composed.reads.clone().into(),
            range: chunk.range.clone(),
            batch_bytes,
            batch_rows,
            exact: self.online && (composed.target.row_key.is_none() || composed.target.is_shared()),
        };
        let target = Arc::new(composed.target.clone());
        let company = Company::of(&self.source, &self.routes, route);
        loader.begin(&target).await?;
        let mut sink = RouteSink {
            route,
            company: company.as_deref(),
            loader: loader.as_mut(),
            target: &target,
            progress: &self.progress,
            throttle: &self.throttle,
            queue: &self.queue,
            index: chunk.table,
            chunk: chunk.number,
            occurrences: Occurrences::default(),
            stop: &self.stop,
            counts: Counts::default(),
        };
        let read = reader.read(&request, &mut sink).await;
        let counts = sink.counts;
        let watermarks = match read {
            Ok(watermarks) => watermarks,
            Err(error) => {
                self.progress.update_table(chunk.table, |table| counts.take_back(table));
                loader.abort().await.ok();
                // A reader that was stopped half-way is in the middle of a result.
                *connections = None;
                return Err(error);
            }
        };
        let record = ChunkRecord {
            table: composed.schema.name.clone(),
            number: chunk.number,
            range: chunk.range.clone(),
            rows: counts.rows,
            watermarks,
        };
        if let Err(error) = loader.commit(&record).await {
            self.progress.update_table(chunk.table, |table| counts.take_back(table));
            return Err(error);
        }
        Failpoint::ChunkCommitted.reach();
        self.queue.learn(chunk.table, counts.rows, counts.bytes);
        Ok(())
    }
}

#[derive(Clone, Copy, Default)]
struct Counts {
    rows: u64,
    bytes: u64,
    filtered: u64,
}

impl Counts {
    fn take_back(&self, table: &mut crate::progress::TableProgress) {
        table.rows_copied = table.rows_copied.saturating_sub(self.rows);
        table.bytes_copied = table.bytes_copied.saturating_sub(self.bytes);
        table.rows_filtered = table.rows_filtered.saturating_sub(self.filtered);
    }
}

/// Sends what is read through the route into the loader.
struct RouteSink<'a> {
    route: &'a Route,
    company: Option<&'a Company>,
    loader: &'a mut dyn Loader,
    target: &'a TargetTable,
    progress: &'a Progress,
    throttle: &'a Throttle,
    queue: &'a ChunkQueue,
    index: usize,
    chunk: u64,
    occurrences: Occurrences,
    stop: &'a CancellationToken,
    counts: Counts,
}

#[async_trait]
impl BatchSink for RouteSink<'_> {
    async fn push(&mut self, batch: Batch) -> Result<()> {
        if self.stop.is_cancelled() || self.queue.is_closed() {
            return Err(Error::new(ErrorKind::Interrupted, "stopped during the copy"));
        }
        let (rows, bytes) = (batch.rows as u64, batch.size() as u64);
        let routed = self.route.run(batch, Origin::Snapshot).await?;
        let mut refused = routed.refused.clone();
        if routed.batch.rows > 0 {
            let refusals = match self.loader.write(&routed.batch).await {
                Ok(refusals) => refusals,
                Err(error) => {
                    let error = error.at("table", &self.target.source);
                    return Err(match self.company {
                        Some(company) => {
                            let (error, has_moved) = company.meet(self.target, &routed.batch, error).await;
                            if has_moved {
                                self.queue.row_moved(&self.target.name);
                            }
                            error
                        }
                        None => error,
                    });
                }
            };
            if !refusals.is_empty() {
                let places = routed.places();
                let placed = |refusal: Refusal| Some(Refusal { row: *places.get(refusal.row)?, ..refusal });
                refused.extend(refusals.into_iter().filter_map(placed));
            }
        }
        self.set_aside(routed.input.as_ref(), &refused).await?;
        self.counts.rows += rows;
        self.counts.bytes += bytes;
        self.counts.filtered += routed.filtered;
        self.progress.update_table(self.index, |table| {
            table.rows_copied += rows;
            table.bytes_copied += bytes;
            table.rows_filtered += routed.filtered;
        });
        self.throttle.after_batch(rows, bytes, self.stop).await;
        Ok(())
    }
}

impl RouteSink<'_> {
    async fn set_aside(&mut self, input: Option<&Batch>, refused: &[Refusal]) -> Result<()> {
        let Some(input) = input.filter(|_| !refused.is_empty()) else { return Ok(()) };
        let letters: Vec<Letter> = refused
            .iter()
            .map(|refusal| {
                let met =
                    Met { operation: Operation::Copy, position: SNAPSHOT.into(), chunk: Some(self.chunk) };
                let mut letter = self.route.letter(input, refusal, met);
                self.occurrences.number(&mut letter);
                letter
            })
            .collect();
        let all = self.route.dead_letters();
        all.write(&letters).await?;
        let dead = all.count(&self.target.source.to_string());
        self.progress.update_table(self.index, |table| table.rows_dead = dead);
        Ok(())
    }
}
