//! Loads chunks by binary `COPY`.

use async_trait::async_trait;
use bytes::Bytes;
use engine_core::batch::Batch;
use engine_core::column::Column;
use engine_core::failpoint::Failpoint;
use engine_core::message;
use engine_core::plan::{RowErrorPolicy, TargetTable};
use engine_core::schema::TableName;
use engine_core::target::{ChunkRecord, Loader, Refusal};
use engine_core::{Error, ErrorKind, Result};
use futures_util::SinkExt;
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use tokio_postgres::{Client, CopyInSink};

use crate::connect::Connector;
use crate::control::{self, Claim};
use crate::dialect::Dialect;
use crate::failure::{copy_place, is_ambiguous, kind_of, translate};
use crate::layout::TableLayout;
use crate::{careful, copy};

/// Size of a piece of `COPY` data on its way to the server.
const PIECE: usize = 128 << 10;

/// Bytes of row keys remembered to name a row that the server refuses.
const KEY_MEMORY: usize = 8 << 20;

/// A connection that loads one chunk after the other.
pub(crate) struct PostgresLoader {
    connector: Connector,
    dialect: Dialect,
    client: Client,
    claim: Claim,
    layouts: HashMap<TableName, Arc<TableLayout>>,
    in_transaction: bool,
    chunk: Option<Chunk>,
}

/// The chunk being written.
struct Chunk {
    layout: Arc<TableLayout>,
    sink: Option<Pin<Box<CopyInSink<Bytes>>>>,
    buffer: Vec<u8>,
    rows: u64,
    keys: KeyMemory,
    /// A write failed: the chunk can only be given up.
    failed: bool,
}

impl PostgresLoader {
    /// A loader over an open connection.
    pub(crate) fn new(connector: Connector, dialect: Dialect, client: Client, claim: Claim) -> Self {
        Self {
            connector,
            dialect,
            client,
            claim,
            layouts: HashMap::new(),
            in_transaction: false,
            chunk: None,
        }
    }

    async fn layout(&mut self, table: &Arc<TargetTable>) -> Result<Arc<TableLayout>> {
        if let Some(layout) = self.layouts.get(&table.name)
            && (Arc::ptr_eq(&layout.table, table) || layout.table == *table)
        {
            return Ok(Arc::clone(layout));
        }
        let layout = Arc::new(TableLayout::resolve(&self.client, self.dialect, table).await?);
        self.layouts.insert(table.name.clone(), Arc::clone(&layout));
        Ok(layout)
    }

    async fn roll_back(&mut self) -> Result<()> {
        // A dropped sink tells the server to give the COPY up.
        self.chunk = None;
        if std::mem::take(&mut self.in_transaction) {
            self.client
                .batch_execute("ROLLBACK")
                .await
                .map_err(|error| translate(error, "a chunk can't be rolled back"))?;
        }
        Ok(())
    }
}

#[async_trait]
impl Loader for PostgresLoader {
    async fn begin(&mut self, table: &Arc<TargetTable>) -> Result<()> {
        self.roll_back().await?;
        let layout = self.layout(table).await?;
        self.in_transaction = true;
        // Why off: see the module documentation of `control`.
        self.client
            .batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = off")
            .await
            .map_err(|error| translate(error, "a chunk can't be begun").at("table", &table.name))?;
        self.chunk = Some(Chunk {
            layout,
            sink: None,
            buffer: Vec::with_capacity(PIECE + (PIECE >> 2)),
            rows: 0,
            keys: KeyMemory::default(),
            failed: false,
        });
        Ok(())
    }

    async fn write(&mut self, batch: &Batch) -> Result<Vec<Refusal>> {
        let chunk = self.chunk.as_mut().ok_or_else(|| not_begun("written"))?;
        // Stays set when this call fails or is dropped half-way.
        if std::mem::replace(&mut chunk.failed, true) {
            return Err(not_begun("written"));
        }
        let table = &chunk.layout.table;
        let refusals = if table.on_row_error == RowErrorPolicy::DeadLetter && table.row_key.is_some() {
            careful::write(&self.client, &chunk.layout, batch).await?
        } else {
            chunk.write(&self.client, batch).await?;
            Vec::new()
        };
        chunk.failed = false;
        Ok(refusals)
    }

    async fn commit(&mut self, record: &ChunkRecord) -> Result<()> {
        let mut chunk = self.chunk.take().ok_or_else(|| not_begun("committed"))?;
        if chunk.failed {
            return Err(not_begun("committed"));
        }
        chunk.finish().await?;
        control::insert_chunk(&self.client, &self.claim, record).await?;
        Failpoint::ChunkWritten.reach();
        match self.client.batch_execute("COMMIT").await {
            Ok(()) => {
                self.in_transaction = false;
                Ok(())
            }
            Err(error) if !is_ambiguous(&error) => {
                Err(translate(error, "a chunk can't be committed").at("table", &record.table))
            }
            Err(error) => {
                let broken = translate(error, "the connection broke while a chunk was committed");
                self.client = self.connector.connect().await?;
                self.in_transaction = false;
                if control::has_chunk(&self.client, &self.claim, record).await? {
                    Ok(())
                } else {
                    Err(broken.at("table", &record.table))
                }
            }
        }
    }

    async fn abort(&mut self) -> Result<()> {
        self.roll_back().await
    }
}

fn not_begun(what: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("a chunk was {what} that had not begun or had failed"))
}

impl Chunk {
    async fn write(&mut self, client: &Client, batch: &Batch) -> Result<()> {
        let layout = Arc::clone(&self.layout);
        let positions = layout.all();
        layout.check_shape(batch, &positions)?;
        layout.check_columns(batch, &positions)?;
        if self.sink.is_none() {
            let sink = client
                .copy_in(&copy::statement(&layout))
                .await
                .map_err(|error| translate(error, "rows can't be copied").at("table", &layout.table.name))?;
            self.sink = Some(Box::pin(sink));
            self.buffer.extend_from_slice(copy::HEADER);
        }
        self.keys.remember(&layout, batch, self.rows);
        self.rows += batch.rows as u64;
        let mut row = 0;
        while row < batch.rows {
            row = copy::encode_rows(&layout, batch, row, &mut self.buffer, PIECE)?;
            if self.buffer.len() >= PIECE {
                self.send().await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<()> {
        let Some(sink) = &mut self.sink else { return Ok(()) };
        let next = Vec::with_capacity(self.buffer.capacity().max(PIECE));
        let piece = Bytes::from(std::mem::replace(&mut self.buffer, next));
        match sink.feed(piece).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.refused(error)),
        }
    }

    async fn finish(&mut self) -> Result<()> {
        if self.sink.is_none() {
            return Ok(());
        }
        self.buffer.extend_from_slice(copy::TRAILER);
        self.send().await?;
        let Some(mut sink) = self.sink.take() else { return Ok(()) };
        let copied = sink.as_mut().finish().await.map_err(|error| self.refused(error))?;
        if copied == self.rows {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Divergence, "the target kept a different number of rows than were written")
            .at("table", &self.layout.table.name)
            .because(format_args!(
                "{copied} of {} rows: a trigger or a rule of the table changes them",
                self.rows
            ))
            .help("drop the trigger or rule for the time of the migration"))
    }

    /// The error of a `COPY` that the server gave up, with the row it was at.
    fn refused(&self, error: tokio_postgres::Error) -> Error {
        let place = copy_place(&error);
        let about_values = error.code().is_some_and(|state| kind_of(state) == ErrorKind::Unrepresentable);
        let what = if about_values { "the target refused a row" } else { "rows can't be copied" };
        let mut translated = translate(error, what).at("table", &self.layout.table.name);
        if let Some(place) = place {
            match self.keys.name(&self.layout, place.line - place.line.min(1)) {
                Some(key) => translated = translated.at("key", key),
                None => translated = translated.at("row", format_args!("{} of the chunk", place.line)),
            }
            if let Some(column) = place.column {
                translated = translated.at("column", column);
            }
        }
        translated
    }
}

/// The keys of the rows written last.
#[derive(Default)]
struct KeyMemory {
    batches: VecDeque<Keys>,
    bytes: usize,
}

struct Keys {
    first_row: u64,
    rows: u64,
    columns: Vec<Column>,
}

impl KeyMemory {
    fn remember(&mut self, layout: &TableLayout, batch: &Batch, first_row: u64) {
        let Some(key) = &layout.key else { return };
        let columns: Vec<Column> =
            key.iter().filter_map(|&column| batch.columns.get(column).cloned()).collect();
        self.bytes += columns.iter().map(Column::size).sum::<usize>();
        self.batches.push_back(Keys { first_row, rows: batch.rows as u64, columns });
        while self.bytes > KEY_MEMORY
            && let Some(oldest) = self.batches.pop_front()
        {
            self.bytes -= oldest.columns.iter().map(Column::size).sum::<usize>();
        }
    }

    fn name(&self, layout: &TableLayout, row: u64) -> Option<String> {
        let keys =
            self.batches.iter().find(|keys| (keys.first_row..keys.first_row + keys.rows).contains(&row))?;
        let batch = Batch { rows: keys.rows as usize, columns: keys.columns.clone() };
        let named = layout.key.iter().flatten().enumerate().filter_map(|(index, &position)| {
            let column = layout.table.columns.get(layout.columns.get(position)?.ordinal)?;
            Some((index, column.name.as_str(), &column.logical))
        });
        Some(message::key(&batch, (row - keys.first_row) as usize, named))
    }
}
