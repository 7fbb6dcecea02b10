//! The rows of one statement, as batches.

use engine_core::batch::Batch;
use engine_core::column::Column;
use engine_core::schema::ColumnSchema;
use engine_core::source::{BatchSink, ReadRequest};
use engine_core::{Error, ErrorKind, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Column as WireColumn, Conn, Row, Statement, Value};

use super::cell::Decoder;
use crate::charset::Charsets;
use crate::error::server_error;

/// Decodes the rows of one prepared statement straight into column vectors.
pub(super) struct RowReader<'a> {
    request: &'a ReadRequest,
    slots: Vec<Slot<'a>>,
}

/// A column of the result: how its values are decoded, and those decoded so far.
struct Slot<'a> {
    schema: &'a ColumnSchema,
    decoder: Decoder,
    values: Column,
}

impl<'a> RowReader<'a> {
    /// Decides once per column how its values are decoded; `wire` describes the result.
    pub(super) async fn prepare(
        conn: &mut Conn,
        charsets: &Charsets,
        request: &'a ReadRequest,
        wire: &[WireColumn],
    ) -> Result<Self> {
        let mut slots = Vec::with_capacity(request.columns.len());
        for (&ordinal, wire) in request.columns.iter().zip(wire) {
            let Some(schema) = request.table.columns.get(ordinal) else { continue };
            let collation = wire.character_set();
            if let Some(name) = charsets.name_of_collation(collation)
                && name != "binary"
            {
                charsets.require(conn, [name]).await?;
            }
            let decoder = Decoder::new(schema, charsets.by_collation(collation)).map_err(|why| {
                Error::new(ErrorKind::Unrepresentable, "the column's values can't be decoded")
                    .at("table", &request.table.name)
                    .at("column", &schema.name)
                    .because(why)
            })?;
            slots.push(Slot { schema, decoder, values: schema.logical.layout().empty_column() });
        }
        Ok(Self { request, slots })
    }

    /// Runs the statement and pushes every row of it; their number.
    pub(super) async fn run(
        &mut self,
        conn: &mut Conn,
        statement: &Statement,
        sink: &mut dyn BatchSink,
    ) -> Result<u64> {
        let table = &self.request.table.name;
        let failed = |error| server_error("the rows can't be read", error).at("table", table);
        let mut answer = conn.exec_iter(statement, ()).await.map_err(failed)?;
        let same = |(sent, promised): (&WireColumn, &WireColumn)| {
            sent.column_type() == promised.column_type() && sent.character_set() == promised.character_set()
        };
        let (sent, promised) = (answer.columns_ref(), statement.columns());
        if sent.len() != promised.len() || !sent.iter().zip(promised.iter()).all(same) {
            return Err(Error::new(ErrorKind::Divergence, "the table changed while it was being read")
                .at("table", table)
                .help("run again"));
        }
        let (mut total, mut rows, mut bytes) = (0, 0, 0);
        while let Some(row) = answer.next().await.map_err(failed)? {
            let size = self.size_of(&row);
            if rows > 0 && bytes + size > self.request.batch_bytes {
                sink.push(self.take(rows)).await?;
                (rows, bytes) = (0, 0);
            }
            self.push(&row)?;
            total += 1;
            rows += 1;
            bytes += size;
            if rows >= self.request.batch_rows {
                sink.push(self.take(rows)).await?;
                (rows, bytes) = (0, 0);
            }
        }
        if rows > 0 {
            sink.push(self.take(rows)).await?;
        }
        Ok(total)
    }

    fn push(&mut self, row: &Row) -> Result<()> {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let cell = row.as_ref(index).unwrap_or(&Value::NULL);
            if let Err(why) = slot.decoder.push(cell, &mut slot.values) {
                let column = slot.schema;
                return Err(self.refused(row, column, &why));
            }
        }
        Ok(())
    }

    /// Memory that the row will take, about.
    fn size_of(&self, row: &Row) -> usize {
        let varlen = |index| match row.as_ref(index) {
            Some(Value::Bytes(bytes)) => bytes.len(),
            _ => 0,
        };
        (0..self.slots.len()).map(|index| varlen(index) + 8).sum()
    }

    /// The batch so far. The next one is given as much room, so that it need not grow.
    fn take(&mut self, rows: usize) -> Batch {
        let columns = self.slots.iter_mut().map(|slot| {
            let next = with_room_of(&slot.values);
            std::mem::replace(&mut slot.values, next)
        });
        Batch { rows, columns: columns.collect() }
    }

    #[cold]
    fn refused(&self, row: &Row, column: &ColumnSchema, why: &str) -> Error {
        let error = Error::new(ErrorKind::Unrepresentable, "a value can't be decoded")
            .at("table", &self.request.table.name)
            .at("column", &column.name);
        let error = match self.key_of(row) {
            Some(key) => error.at("key", key),
            None => error,
        };
        error.because(why).help("correct the value on the source, or exclude the table")
    }

    /// The row's key, `id=5, name='x'`, when it is among the columns read.
    fn key_of(&self, row: &Row) -> Option<String> {
        let parts = self.request.table.row_key()?.into_iter().map(|ordinal| {
            let index = self.request.columns.iter().position(|&column| column == ordinal)?;
            let name = &self.request.table.columns.get(ordinal)?.name;
            Some(format!("{name}={}", row.as_ref(index)?.as_sql(true)))
        });
        Some(parts.collect::<Option<Vec<_>>>()?.join(", "))
    }
}

fn with_room_of(column: &Column) -> Column {
    use engine_core::column::{Varlen, Vector};
    let rows = column.len();
    Column::new(match &column.values {
        Vector::Bits(_) => column.values.empty_like(),
        Vector::I64(_) => Vector::I64(Vec::with_capacity(rows)),
        Vector::U64(_) => Vector::U64(Vec::with_capacity(rows)),
        Vector::F64(_) => Vector::F64(Vec::with_capacity(rows)),
        Vector::Varlen(values) => {
            let mut offsets = Vec::with_capacity(rows + 1);
            offsets.push(0);
            Vector::Varlen(Varlen { offsets, data: Vec::with_capacity(values.data.len()) })
        }
    })
}
