//! Reading chunks of tables over one connection.
//!
//! Each is read in a transaction of its own whose snapshot is known: which transactions it sees is exact.

use async_trait::async_trait;
use engine_core::batch::Batch;
use engine_core::column::Column;
use engine_core::position::{Position, Watermarks};
use engine_core::schema::{ColumnSchema, TableName, TableSchema};
use engine_core::source::{BatchSink, KeyedRequest, ReadRequest, Reader};
use engine_core::{Error, ErrorKind, Result};
use futures_util::TryStreamExt as _;
use std::sync::Arc;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::commits::Commits;
use super::copy_text::CopyRow;
use super::position::LogPosition;
use super::value::CellDecoder;
use super::watermark::{self, Visibility};
use super::{chunk, keyed};
use crate::connect::Connector;
use crate::failure::translate;
use crate::family::Family;
use crate::identifier::quote;

/// See the module.
pub(super) struct ChunkReader {
    connector: Connector,
    family: Family,
    system: Arc<str>,
    visibility: Arc<Visibility>,
    commits: Arc<Commits>,
    /// `None` after a failure: what is left of an answer must not be taken for the next one.
    client: Option<Client>,
}

impl ChunkReader {
    pub(super) async fn open(
        connector: Connector,
        family: Family,
        system: Arc<str>,
        visibility: Arc<Visibility>,
        commits: Arc<Commits>,
    ) -> Result<Self> {
        let client = Some(connector.connect().await?);
        Ok(Self { connector, family, system, visibility, commits, client })
    }

    async fn client(&mut self) -> Result<Client> {
        match self.client.take().filter(|client| !client.is_closed()) {
            Some(client) => Ok(client),
            None => self.connector.connect().await,
        }
    }

    async fn chunk(
        &self,
        client: &Client,
        request: &ReadRequest,
        sink: &mut dyn BatchSink,
    ) -> Result<Watermarks> {
        let table = &request.table;
        let failed = |error| translate(error, "rows can't be read").at("table", &table.name);
        // Before the snapshot, or it would not have to be seen by it.
        self.visibility.note(client).await?;
        client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(failed)?;
        let snapshot = watermark::snapshot(client, self.family).await?;
        let end = watermark::end_of_log(client, self.family).await?;
        let timeline = Some(watermark::timeline(client, self.family).await?);
        let low = self.visibility.low(&snapshot);
        let query = format!(
            "COPY (SELECT {} FROM {}{}) TO STDOUT",
            names(table, &request.columns).join(", "),
            chunk::relation(&table.name),
            chunk::condition(table, &request.range)?,
        );
        let mut rows = Rows::new(table, &request.columns)?;
        let answer = client.copy_out(&query).await.map_err(failed)?;
        let mut answer = std::pin::pin!(answer);
        while let Some(message) = answer.try_next().await.map_err(failed)? {
            if rows.count > 0 && rows.bytes + message.len() > request.batch_bytes {
                sink.push(rows.take()).await?;
            }
            rows.push(&message)?;
            if rows.count >= request.batch_rows {
                sink.push(rows.take()).await?;
            }
        }
        if rows.count > 0 {
            sink.push(rows.take()).await?;
        }
        client.batch_execute("COMMIT").await.map_err(failed)?;
        watermark::flushed(client, self.family, end).await?;
        let position = |lsn, snapshot| {
            let system = Arc::clone(&self.system);
            Position::from(&LogPosition { system, timeline, slot: None, lsn, snapshot, is_begun: false })
        };
        Ok(if request.exact {
            self.commits.read(low, end, &snapshot);
            Watermarks { low: position(low, Some(snapshot)), high: position(end, None) }
        } else {
            Watermarks { low: position(low, None), high: position(end, None) }
        })
    }

    async fn one(&self, client: &Client, request: &KeyedRequest) -> Result<Batch> {
        let table = &request.table;
        let failed = |error| translate(error, "a row can't be read by its key").at("table", &table.name);
        let mut conditions = Vec::with_capacity(request.key.len());
        for (&ordinal, values) in request.key.iter().zip(&request.values.columns) {
            let column = column(table, ordinal)?;
            let value = keyed::value(values, &column.logical).ok_or_else(|| {
                Error::new(ErrorKind::Precondition, "rows of the table can't be asked for by their key")
                    .at("table", &table.name)
                    .at("column", &column.name)
                    .because(format_args!("no value of type {} can be written down exactly", column.native))
            })?;
            conditions.push(format!("{} = {value}::{}", quote(&column.name), column.native));
        }
        let query = format!(
            "SELECT {} FROM {} WHERE {} LIMIT 2",
            names(table, &request.columns).join(", "),
            chunk::relation(&table.name),
            conditions.join(" AND ")
        );
        let answer = client.simple_query(&query).await.map_err(failed)?;
        let mut rows = Rows::new(table, &request.columns)?;
        for message in &answer {
            let SimpleQueryMessage::Row(row) = message else { continue };
            rows.push_cells((0..row.len()).map(|place| Ok(row.get(place).map(str::as_bytes))))?;
        }
        if rows.count > 1 {
            return Err(Error::new(ErrorKind::Divergence, "the source has several rows under a unique key")
                .at("table", &table.name)
                .help("see whether the table's key was changed, and run again"));
        }
        Ok(rows.take())
    }
}

#[async_trait]
impl Reader for ChunkReader {
    async fn read(&mut self, request: &ReadRequest, sink: &mut dyn BatchSink) -> Result<Watermarks> {
        let client = self.client().await?;
        let watermarks = self.chunk(&client, request, sink).await?;
        self.client = Some(client);
        Ok(watermarks)
    }

    async fn read_by_key(&mut self, request: &KeyedRequest) -> Result<Batch> {
        let client = self.client().await?;
        let batch = self.one(&client, request).await?;
        self.client = Some(client);
        Ok(batch)
    }
}

/// Rows decoded so far.
pub(super) struct Rows<'a> {
    table: &'a TableName,
    slots: Vec<Slot<'a>>,
    count: usize,
    /// As they were sent.
    bytes: usize,
    scratch: Vec<u8>,
}

/// A column, how its values are decoded, and those decoded so far.
struct Slot<'a> {
    schema: &'a ColumnSchema,
    decoder: CellDecoder,
    values: Column,
}

impl<'a> Rows<'a> {
    fn new(table: &'a TableSchema, columns: &[usize]) -> Result<Self> {
        let slots = columns.iter().map(|&ordinal| {
            let schema = column(table, ordinal)?;
            let decoder = decoder(&table.name, schema)?;
            Ok(Slot { schema, decoder, values: schema.logical.layout().empty_column() })
        });
        let slots = slots.collect::<Result<_>>()?;
        Ok(Self { table: &table.name, slots, count: 0, bytes: 0, scratch: Vec::new() })
    }

    /// A row as `COPY` sends it.
    fn push(&mut self, message: &[u8]) -> Result<()> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let cells = CopyRow::new(message).map_err(|why| malformed(self.table, why))?;
        let mut wanted = self.slots.iter_mut();
        for cell in cells {
            let slot =
                wanted.next().ok_or_else(|| malformed(self.table, "it has more columns than asked for"))?;
            let text = cell.text(&mut scratch).map_err(|why| malformed(self.table, why))?;
            slot.push(self.table, text)?;
        }
        if wanted.next().is_some() {
            return Err(malformed(self.table, "it has fewer columns than asked for"));
        }
        self.scratch = scratch;
        self.count += 1;
        self.bytes += message.len() + 8 * self.slots.len();
        Ok(())
    }

    /// A row cell by cell.
    fn push_cells<'c>(&mut self, cells: impl Iterator<Item = Result<Option<&'c [u8]>>>) -> Result<()> {
        for (slot, cell) in self.slots.iter_mut().zip(cells) {
            slot.push(self.table, cell?)?;
        }
        self.count += 1;
        Ok(())
    }

    fn take(&mut self) -> Batch {
        let columns = self
            .slots
            .iter_mut()
            .map(|slot| std::mem::replace(&mut slot.values, slot.schema.logical.layout().empty_column()));
        let batch = Batch { rows: self.count, columns: columns.collect() };
        (self.count, self.bytes) = (0, 0);
        batch
    }
}

impl Slot<'_> {
    #[inline]
    fn push(&mut self, table: &TableName, text: Option<&[u8]>) -> Result<()> {
        match text {
            None => self.values.push_null(),
            Some(text) => {
                self.decoder
                    .push(text, &mut self.values)
                    .map_err(|why| refused(table, self.schema, text, why))?;
            }
        }
        Ok(())
    }
}

/// How the values of a column are decoded.
pub(super) fn decoder(table: &TableName, column: &ColumnSchema) -> Result<CellDecoder> {
    CellDecoder::new(column).map_err(|why| {
        Error::new(ErrorKind::Unrepresentable, "the column's values can't be decoded")
            .at("table", table)
            .at("column", &column.name)
            .because(why)
            .help("leave the table or the column out, or change the column's type")
    })
}

/// The error of a value that can't be decoded.
pub(super) fn refused(table: &TableName, column: &ColumnSchema, text: &[u8], why: &str) -> Error {
    /// More of a value would hide the message.
    const SHOWN: usize = 64;
    let shown = String::from_utf8_lossy(text.get(..SHOWN.min(text.len())).unwrap_or_default()).into_owned();
    Error::new(ErrorKind::Unrepresentable, "a value of the source can't be decoded")
        .at("table", table)
        .at("column", &column.name)
        .at("value", shown)
        .because(why)
        .help("leave the column out or convert it at the source; its type may have been changed meanwhile")
}

fn malformed(table: &TableName, why: &str) -> Error {
    Error::new(ErrorKind::Internal, "a row of the source can't be read").at("table", table).because(why)
}

fn column(table: &TableSchema, ordinal: usize) -> Result<&ColumnSchema> {
    table.columns.get(ordinal).ok_or_else(|| {
        Error::new(ErrorKind::Internal, "a column was asked for that the table does not have")
            .at("table", &table.name)
    })
}

fn names(table: &TableSchema, columns: &[usize]) -> Vec<String> {
    columns
        .iter()
        .filter_map(|&ordinal| table.columns.get(ordinal))
        .map(|column| quote(&column.name))
        .collect()
}
