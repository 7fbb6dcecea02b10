//! How rows of one table are written: which literal for which column, and what names a row.

use engine_core::batch::Batch;
use engine_core::message;
use engine_core::plan::TargetTable;
use engine_core::schema::IndexKind;
use engine_core::target::{Refusal, RowCheck};
use engine_core::{Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::cell::{CellFault, Encoder};
use super::column_type::{ColumnType, Declared};
use super::failure::Failure;
use crate::server::Flavor;
use crate::sql;

/// A column that batches hold.
#[derive(Debug, Clone)]
pub(super) struct WrittenColumn {
    /// Ordinal in the table.
    pub(super) ordinal: usize,
    /// Name, quoted.
    pub(super) name: String,
    pub(super) column_type: ColumnType,
    /// Whether the server may hold NULL there.
    pub(super) nullable: bool,
    /// The server computes it: batches have its values, statements don't.
    pub(super) generated: bool,
    /// Writes its values.
    pub(super) encoder: Encoder,
}

/// How rows of a table are written.
#[derive(Debug, Clone)]
pub(super) struct TableLayout {
    /// The table.
    pub(super) table: Arc<TargetTable>,
    /// Its name, quoted.
    pub(super) name: String,
    /// The columns of a batch, in order.
    pub(super) columns: Vec<WrittenColumn>,
    /// Positions in `columns` of the row key, in key order.
    pub(super) key: Option<Vec<usize>>,
    pub(super) flavor: Flavor,
}

impl TableLayout {
    /// The layout that the table's types ask for.
    pub(super) fn new(table: &Arc<TargetTable>, flavor: Flavor) -> Result<Self> {
        let in_primary_key = |ordinal| {
            let primary = table.indexes.iter().filter(|index| index.kind == IndexKind::Primary);
            primary.flat_map(|index| &index.parts).any(|part| part.column == ordinal)
        };
        let mut columns = Vec::new();
        for (ordinal, column) in table.columns.iter().enumerate() {
            if column.generated.is_some() {
                continue;
            }
            let Declared { column_type, generated } = Declared::parse(&column.target_type);
            let Some(encoder) = Encoder::new(&column.logical, &column_type, flavor) else {
                return Err(no_encoder(table, ordinal));
            };
            columns.push(WrittenColumn {
                ordinal,
                name: sql::identifier(&column.name),
                column_type,
                nullable: column.nullable && !column.identity && !in_primary_key(ordinal),
                generated,
                encoder,
            });
        }
        let position = |ordinal: &usize| columns.iter().position(|column| column.ordinal == *ordinal);
        let key = match &table.row_key {
            None => None,
            Some(ordinals) => match ordinals.iter().map(position).collect::<Option<Vec<_>>>() {
                Some(key) if !key.is_empty() => Some(key),
                _ => {
                    return Err(Error::new(
                        ErrorKind::Internal,
                        "the row key has a column that is not among the written ones",
                    )
                    .at("table", &table.name));
                }
            },
        };
        Ok(Self { table: Arc::clone(table), name: sql::table(&table.name), columns, key, flavor })
    }

    /// Positions of the columns of a batch of whole rows, in order.
    pub(super) fn all(&self) -> Vec<usize> {
        (0..self.columns.len()).collect()
    }

    /// Positions of those that statements write.
    pub(super) fn stored(&self) -> Vec<usize> {
        let stored = self.columns.iter().enumerate().filter(|(_, column)| !column.generated);
        stored.map(|(position, _)| position).collect()
    }

    /// Refuses a batch that does not consist of the columns at `positions`.
    pub(super) fn check_shape(&self, batch: &Batch, positions: &[usize]) -> Result<()> {
        let fits = batch.columns.len() == positions.len()
            && batch.columns.iter().all(|column| column.is_well_formed(batch.rows));
        if fits {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Internal, "a batch does not have the columns of its table")
            .at("table", &self.table.name)
            .because(format_args!("{} columns for {}", batch.columns.len(), positions.len())))
    }

    /// Appends the literal of the value at `row` in column `index` of a batch, which is the one at
    /// `position` of the table.
    pub(super) fn literal(
        &self,
        batch: &Batch,
        (index, position): (usize, usize),
        row: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), CellFault> {
        let (Some(written), Some(column)) = (self.columns.get(position), batch.columns.get(index)) else {
            return Err(CellFault::WrongKind);
        };
        if !column.is_null(row) {
            return written.encoder.write(column, row, out);
        }
        if !written.nullable && !written.generated {
            return Err(CellFault::Null);
        }
        out.extend_from_slice(b"NULL");
        Ok(())
    }

    /// Whether a row has a value that only a lenient session can write, see [`Encoder::is_no_label`]; how many.
    pub(super) fn no_labels(&self, batch: &Batch, row: usize) -> usize {
        let columns = self.columns.iter().zip(&batch.columns).filter(|(written, _)| !written.generated);
        columns.filter(|(written, column)| written.encoder.is_no_label(column, row)).count()
    }

    /// Whether there can be such values at all.
    pub(super) fn has_labels(&self) -> bool {
        self.columns.iter().any(|column| matches!(column.encoder, Encoder::Label(_)))
    }

    /// The error for the value of `row` in column `index` of a batch that consists of `positions`.
    #[cold]
    pub(super) fn fault(
        &self,
        batch: &Batch,
        positions: &[usize],
        (row, index): (usize, usize),
        fault: CellFault,
    ) -> Error {
        let error = Error::new(ErrorKind::Unrepresentable, "a value can't be written to the target")
            .at("table", &self.table.name)
            .at("key", self.key_text(batch, positions, row));
        let column = positions
            .get(index)
            .and_then(|&position| self.table.columns.get(self.columns.get(position)?.ordinal));
        let (Some(column), Some(values)) = (column, batch.columns.get(index)) else {
            return error.because(fault.why());
        };
        error
            .at("column", &column.name)
            .at("value", message::value(values, row, &column.logical))
            .at("type", &column.target_type)
            .because(fault.why())
            .help(fault.help())
    }

    /// What tells `row` apart, for messages: its key, or its first columns.
    pub(super) fn key_text(&self, batch: &Batch, positions: &[usize], row: usize) -> String {
        let first_columns: Vec<usize> = positions.iter().copied().take(4).collect();
        let key = self.key.as_ref().unwrap_or(&first_columns);
        let columns = key.iter().filter_map(|wanted| {
            let index = positions.iter().position(|position| position == wanted)?;
            let column = self.table.columns.get(self.columns.get(*wanted)?.ordinal)?;
            Some((index, column.name.as_str(), &column.logical))
        });
        message::key(batch, row, columns)
    }

    /// What a server's refusal of one row says about it.
    pub(super) fn refusal(&self, row: usize, failure: &Failure) -> Refusal {
        let column = failure.column().map(|name| {
            let known = self.table.columns.iter().find(|column| column.name == name);
            known.map_or_else(|| name.to_owned(), |column| column.source_name.clone())
        });
        Refusal { row, column, code: failure.code(), reason: failure.reason() }
    }
}

impl RowCheck for TableLayout {
    fn refusals(&self, batch: &Batch, columns: &[usize]) -> Result<Vec<Refusal>> {
        self.check_shape(batch, &self.all())?;
        let mut refusals: BTreeMap<usize, Refusal> = BTreeMap::new();
        let mut scratch = Vec::new();
        for &position in columns {
            let Some(written) = self.columns.get(position).filter(|written| !written.generated) else {
                continue;
            };
            for row in 0..batch.rows {
                scratch.clear();
                let Err(fault) = self.literal(batch, (position, position), row, &mut scratch) else {
                    continue;
                };
                let column = self.table.columns.get(written.ordinal);
                refusals.entry(row).or_insert_with(|| Refusal {
                    row,
                    column: column.map(|column| column.source_name.clone()),
                    code: fault.code().to_owned(),
                    reason: fault.why().to_owned(),
                });
            }
        }
        Ok(refusals.into_values().collect())
    }
}

/// The error for a column whose values have no exact way into its type.
pub(super) fn no_encoder(table: &TargetTable, ordinal: usize) -> Error {
    let error =
        Error::new(ErrorKind::Unrepresentable, "a column's values can't be written as its target type")
            .at("table", &table.name)
            .help(
                "choose another target type for the column in the plugin's configuration, or convert it to text there",
            );
    match table.columns.get(ordinal) {
        None => error,
        Some(column) => error
            .at("column", &column.name)
            .at("type", &column.target_type)
            .because(format_args!("there is no exact conversion from {:?}", column.logical)),
    }
}
