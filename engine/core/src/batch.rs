//! Rows of one table, column by column.

use crate::bitmap::Bitmap;
use crate::column::Column;

/// A set of columns, each `rows` long. Which column is which is agreed where a batch is handed
/// over: a source's read request, a stage of the plan, or the target table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// Number of rows; meaningful even without columns.
    pub rows: usize,
    /// The columns.
    pub columns: Vec<Column>,
}

impl Batch {
    /// Memory taken, in bytes.
    pub fn size(&self) -> usize {
        self.columns.iter().map(Column::size).sum()
    }

    /// The rows whose bit is set, in order.
    #[must_use]
    pub fn filter(&self, keep: &Bitmap) -> Self {
        if keep.all() {
            return self.clone();
        }
        Self {
            rows: keep.count_ones(),
            columns: self.columns.iter().map(|column| column.filter(keep)).collect(),
        }
    }

    /// The rows at `rows`, in that order.
    #[must_use]
    pub fn take(&self, rows: &[usize]) -> Self {
        Self { rows: rows.len(), columns: self.columns.iter().map(|column| column.take(rows)).collect() }
    }
}
