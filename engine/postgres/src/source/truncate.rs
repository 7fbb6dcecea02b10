//! `TRUNCATE` in the stream, which comes as the names of tables, not as a statement.

use engine_core::change::SchemaChange;
use engine_core::schema::{TableName, TableSchema};
use engine_core::structure::{ColumnOrigin, StructureKind, TableEvolution};
use engine_core::{Error, ErrorKind, Result};

/// The change of structure that empties the tables.
pub(super) fn change(tables: &[TableName], committed_at: i64) -> SchemaChange {
    let names: Vec<String> = tables.iter().map(ToString::to_string).collect();
    SchemaChange {
        namespace: String::new(),
        tables: tables.to_vec(),
        statement: format!("TRUNCATE {}", names.join(", ")),
        executed_at: Some(committed_at),
        session: Vec::new(),
        with_rows: false,
    }
}

/// What it does to the tables that the task knows.
pub(super) fn evolve(change: &SchemaChange, known: &[TableSchema]) -> Result<Vec<TableEvolution>> {
    change
        .tables
        .iter()
        .map(|name| {
            let table = known.iter().find(|table| table.name == *name).ok_or_else(|| {
                Error::new(ErrorKind::Divergence, "a table was emptied that the task does not know")
                    .at("table", name)
            })?;
            Ok(TableEvolution {
                kind: StructureKind::Truncate,
                before: Some(name.clone()),
                after: Some(table.clone()),
                columns: (0..table.columns.len()).map(ColumnOrigin::Kept).collect(),
                emptied: true,
            })
        })
        .collect()
}
