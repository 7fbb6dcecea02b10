//! How rows of one table are written: which encoder for which column, and what names a row.

use engine_core::batch::Batch;
use engine_core::message;
use engine_core::plan::TargetTable;
use engine_core::schema::IndexKind;
use engine_core::target::{Refusal, RowCheck};
use engine_core::{Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::cell::{CellFault, Encoder};
use crate::dialect::Dialect;
use crate::pg_type::PgType;
use crate::{failure, identifier};

/// A column that batches hold.
#[derive(Debug, Clone)]
pub(crate) struct WrittenColumn {
    /// Ordinal in the table.
    pub(crate) ordinal: usize,
    /// Name, quoted.
    pub(crate) name: String,
    /// Type, domains resolved.
    pub(crate) pg_type: PgType,
    /// Type as the plan has it, for casts.
    pub(crate) type_text: String,
    /// Whether the server may hold NULL there.
    pub(crate) nullable: bool,
    /// Writes its values.
    pub(crate) encoder: Encoder,
}

/// How rows of a table are written.
#[derive(Debug, Clone)]
pub(crate) struct TableLayout {
    /// The SQL that writes it.
    pub(crate) dialect: Dialect,
    /// The table.
    pub(crate) table: Arc<TargetTable>,
    /// The columns of a batch, in order.
    pub(crate) columns: Vec<WrittenColumn>,
    /// Positions in `columns` of the row key, in key order.
    pub(crate) key: Option<Vec<usize>>,
}

impl TableLayout {
    /// Resolves the columns' types, asking the server about names that only it knows.
    pub(crate) async fn resolve(client: &Client, dialect: Dialect, table: &Arc<TargetTable>) -> Result<Self> {
        let mut types = Vec::with_capacity(table.columns.len());
        for column in &table.columns {
            types.push(match PgType::parse(&column.target_type) {
                PgType::Named(name) if column.generated.is_none() => ask_server(client, &name)
                    .await
                    .map_err(|error| error.at("table", &table.name).at("column", &column.name))?,
                known => known,
            });
        }
        Self::new(dialect, table, types)
    }

    /// The layout for `types`, one per column of the table.
    pub(crate) fn new(dialect: Dialect, table: &Arc<TargetTable>, types: Vec<PgType>) -> Result<Self> {
        let in_primary_key = |ordinal| {
            table
                .indexes
                .iter()
                .filter(|index| index.kind == IndexKind::Primary)
                .any(|index| index.parts.iter().any(|part| part.column == ordinal))
        };
        let mut columns = Vec::new();
        for (ordinal, (column, pg_type)) in table.columns.iter().zip(types).enumerate() {
            if column.generated.is_some() {
                continue;
            }
            let nullable = column.nullable && !column.identity && !in_primary_key(ordinal);
            let pg_type = dialect.stored(pg_type);
            let Some(encoder) = Encoder::new(&column.logical, &pg_type, nullable) else {
                return Err(no_encoder(table, ordinal));
            };
            let encoder = if dialect.empty_is_null() { encoder.without_empty_text() } else { encoder };
            columns.push(WrittenColumn {
                ordinal,
                name: identifier::column(&column.name),
                type_text: dialect.declaration(&column.target_type),
                pg_type,
                nullable,
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
        Ok(Self { dialect, table: Arc::clone(table), columns, key })
    }

    /// The columns of a batch of whole rows, in order.
    pub(crate) fn all(&self) -> Vec<usize> {
        (0..self.columns.len()).collect()
    }

    /// Refuses a batch that does not consist of the columns at `positions`.
    pub(crate) fn check_shape(&self, batch: &Batch, positions: &[usize]) -> Result<()> {
        let fits = batch.columns.len() == positions.len()
            && batch.columns.iter().all(|column| column.is_well_formed(batch.rows));
        if fits {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Internal, "a batch does not have the columns of its table")
            .at("table", &self.table.name)
            .because(format_args!("{} columns for {}", batch.columns.len(), positions.len())))
    }

    /// Refuses a batch with values that can be told at the sight of a whole column.
    pub(crate) fn check_columns(&self, batch: &Batch, positions: &[usize]) -> Result<()> {
        for (index, (column, &position)) in batch.columns.iter().zip(positions).enumerate() {
            if let Some(written) = self.columns.get(position)
                && let Err((row, fault)) = written.encoder.check(column, batch.rows)
            {
                return Err(self.fault(batch, positions, row, index, fault));
            }
        }
        Ok(())
    }

    /// The error for the value of `row` in column `index` of a batch that consists of `positions`.
    #[cold]
    pub(crate) fn fault(
        &self,
        batch: &Batch,
        positions: &[usize],
        row: usize,
        index: usize,
        fault: CellFault,
    ) -> Error {
        let error = Error::new(ErrorKind::Unrepresentable, "a value can't be written to the target")
            .at("table", &self.table.name)
            .at("key", self.key_text(batch, positions, row));
        let target = positions
            .get(index)
            .and_then(|&position| self.columns.get(position))
            .and_then(|written| Some((written, self.table.columns.get(written.ordinal)?)));
        let (Some((written, column)), Some(values)) = (target, batch.columns.get(index)) else {
            return error.because(fault.why());
        };
        error
            .at("column", &column.name)
            .at("value", message::value(values, row, &column.logical))
            .at("type", &written.pg_type)
            .because(fault.why())
            .help(fault.help())
    }

    /// What tells `row` apart, for messages: its key, or its first columns.
    pub(crate) fn key_text(&self, batch: &Batch, positions: &[usize], row: usize) -> String {
        let first_columns: Vec<usize> = positions.iter().copied().take(4).collect();
        let key = self.key.as_ref().unwrap_or(&first_columns);
        let columns = key.iter().filter_map(|wanted| {
            let index = positions.iter().position(|position| position == wanted)?;
            let column = self.table.columns.get(self.columns.get(*wanted)?.ordinal)?;
            Some((index, column.name.as_str(), &column.logical))
        });
        message::key(batch, row, columns)
    }
}

impl RowCheck for TableLayout {
    fn refusals(&self, batch: &Batch, columns: &[usize]) -> Result<Vec<Refusal>> {
        self.check_shape(batch, &self.all())?;
        let mut refusals: BTreeMap<usize, Refusal> = BTreeMap::new();
        let mut scratch = Vec::new();
        for &position in columns {
            let (Some(written), Some(column)) = (self.columns.get(position), batch.columns.get(position))
            else {
                continue;
            };
            for row in 0..batch.rows {
                if let Some(fault) = written.encoder.fault_of(column, row, &mut scratch) {
                    refusals.entry(row).or_insert_with(|| Refusal {
                        row,
                        column: self
                            .table
                            .columns
                            .get(written.ordinal)
                            .map(|column| column.source_name.clone()),
                        code: fault.code().to_owned(),
                        reason: fault.why().to_owned(),
                    });
                }
            }
        }
        Ok(refusals.into_values().collect())
    }
}

/// What a server's refusal of one row says about it.
pub(crate) fn refusal(table: &TargetTable, row: usize, error: &tokio_postgres::Error) -> Refusal {
    let place = failure::copy_place(error).and_then(|place| place.column);
    let server = error.as_db_error();
    let column = place.as_deref().or_else(|| failure::column_of(server?));
    let column = column.map(|name| {
        let known = table.columns.iter().find(|column| column.name == name);
        known.map_or_else(|| name.to_owned(), |column| column.source_name.clone())
    });
    let mut reason = server.map_or_else(|| error.to_string(), |server| server.message().to_owned());
    if let Some(constraint) = server.and_then(tokio_postgres::error::DbError::constraint)
        && !reason.contains(constraint)
    {
        reason = format!("{reason} (constraint {constraint})");
    }
    let code = error.code().map_or("refused", SqlState::code).to_owned();
    Refusal { row, column, code, reason }
}

/// The error for a column whose values have no exact way into its type.
pub(crate) fn no_encoder(table: &TargetTable, ordinal: usize) -> Error {
    let error = Error::new(ErrorKind::Unrepresentable, "a column's values can't be written as its target type")
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

/// Asks what a type name stands for. Enumerations take their labels as text and domains are what
/// they are based on; the binary form of any other type is its author's own, so it is not guessed.
async fn ask_server(client: &Client, name: &str) -> Result<PgType> {
    let mut name = name.to_owned();
    // A domain over a domain over …: a handful in practice, and the server allows no cycles.
    for _ in 0..32 {
        let row = client
            .query_one(
                "SELECT t.typtype::text, t.typname::text, pg_catalog.format_type(t.typbasetype, t.typtypmod) \
                 FROM pg_catalog.pg_type t WHERE t.oid = $1::text::pg_catalog.regtype",
                &[&name],
            )
            .await
            .map_err(|error| failure::translate(error, "the target does not know a type"))?;
        let (kind, own_name, under): (String, String, Option<String>) = (row.get(0), row.get(1), row.get(2));
        match (kind.as_str(), own_name.as_str()) {
            ("e", _) => return Ok(PgType::Enum(name)),
            ("d", _) => match PgType::parse(&under.unwrap_or_default()) {
                PgType::Named(next) => name = next,
                known => return Ok(known),
            },
            ("b", "citext") => return Ok(PgType::Text),
            ("b", "geometry" | "geography") => return Ok(PgType::Geometry),
            ("b", "vector") => return Ok(PgType::Vector),
            _ => break,
        }
    }
    Ok(PgType::Named(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::column::{Column, Varlen, Vector};

    #[test]
    fn every_row_that_can_not_be_written_is_named_once() {
        let table = Arc::new(crate::ddl::tests::orders());
        let types = table.columns.iter().map(|column| PgType::parse(&column.target_type)).collect();
        let layout = TableLayout::new(Dialect::Postgres, &table, types).expect("a table that can be written");
        let texts = |values: &[&str]| {
            let mut column = Varlen::default();
            values.iter().for_each(|value| column.push(value.as_bytes()));
            Column::new(Vector::Varlen(column))
        };
        let mut customers = Column::new(Vector::I64(vec![1, 1 << 40, 1 << 40, 1]));
        customers.push_null();
        let mut hashes = texts(&["", "", "", ""]);
        hashes.push_null();
        let long = "é".repeat(201);
        let batch = Batch {
            rows: 5,
            columns: vec![
                Column::new(Vector::I64(vec![1, 2, 3, 4, 5])),
                customers,
                texts(&["fine", "fine", "a\0b", &long, "fine"]),
                hashes,
            ],
        };
        let named = |columns: &[usize]| -> Vec<(usize, String, String)> {
            let refusals = layout.refusals(&batch, columns).expect("the table's columns");
            let column = |refusal: &Refusal| refusal.column.clone().unwrap_or_default();
            refusals.iter().map(|refusal| (refusal.row, column(refusal), refusal.code.clone())).collect()
        };
        let refused = |row: usize, column: &str, code: &str| (row, column.to_owned(), code.to_owned());
        assert_eq!(
            named(&[0, 1, 2, 3]),
            [
                refused(1, "customer", "out-of-range"),
                refused(2, "customer", "out-of-range"),
                refused(3, "Note \"x\"", "too-long"),
                refused(4, "hash", "null"),
            ]
        );
        assert_eq!(named(&[0]), []);
    }
}
