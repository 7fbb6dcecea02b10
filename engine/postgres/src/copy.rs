//! Batches as `COPY … WITH (FORMAT binary)`: per row the number of columns, then the cells.

use engine_core::Result;
use engine_core::batch::Batch;

use crate::layout::TableLayout;

/// Signature, flags, and length of the header's extension.
pub(crate) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// In place of a number of columns: the end.
pub(crate) const TRAILER: &[u8] = &[0xff, 0xff];

/// The statement that takes rows of the table.
pub(crate) fn statement(layout: &TableLayout) -> String {
    let columns: Vec<_> = layout.columns.iter().map(|column| column.name.as_str()).collect();
    let table = crate::identifier::qualified(&layout.table.name);
    format!("COPY {table} ({}) FROM STDIN WITH (FORMAT binary)", columns.join(", "))
}

/// Appends rows from `row` on until `out` holds `limit` bytes or the batch ends; returns the next
/// row. The batch's shape and columns have been checked.
pub(crate) fn encode_rows(
    layout: &TableLayout,
    batch: &Batch,
    mut row: usize,
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<usize> {
    let count = (layout.columns.len() as i16).to_be_bytes();
    while row < batch.rows && out.len() < limit {
        out.extend_from_slice(&count);
        for (index, (column, written)) in batch.columns.iter().zip(&layout.columns).enumerate() {
            if let Err(fault) = written.encoder.encode(column, row, out) {
                return Err(layout.fault(batch, &layout.all(), row, index, fault));
            }
        }
        row += 1;
    }
    Ok(row)
}
