//! Questions to what a plugin is shown of a table and its servers.

use crate::types::{ColumnIndex, IndexKind, TableSchema};
use crate::{Endpoint, PluginError};

impl TableSchema {
    /// "namespace.table", as settings name it.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.namespace, self.name)
    }

    /// Ordinal of the column called `name`.
    pub fn column_index(&self, name: &str) -> Option<ColumnIndex> {
        self.columns.iter().position(|column| column.name == name).map(|index| index as ColumnIndex)
    }

    /// Whether the column is part of the primary key.
    pub fn in_primary_key(&self, column: ColumnIndex) -> bool {
        let primary = self.indexes.iter().filter(|index| index.kind == IndexKind::Primary);
        primary.flat_map(|index| &index.parts).any(|part| part.column == Some(column))
    }
}

impl Endpoint {
    /// The database that the URL names.
    pub fn database(&self) -> Option<&str> {
        self.attributes.iter().find(|(name, _)| name == "database").map(|(_, database)| database.as_str())
    }
}

impl PluginError {
    /// A column that can't be carried over, and why.
    pub fn of_column(table: &TableSchema, column: ColumnIndex, reason: &str) -> Self {
        let name = table.columns.get(column as usize).map_or("", |column| column.name.as_str());
        Self::Unsupported(format!("{}.{name}: {reason}", table.full_name()))
    }
}
