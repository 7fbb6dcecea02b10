//! What tables are called in the target.

use migration_sdk::{TableSchema, planning::TargetTable};

use crate::config::{Config, TableOverride};

/// The table's name in the target.
pub(crate) fn target(config: &Config, table: &TableSchema, exception: &TableOverride) -> TargetTable {
    let namespace = exception.schema.clone().or_else(|| config.schemas.get(&table.namespace).cloned());
    TargetTable {
        namespace: namespace
            .unwrap_or_else(|| cased(config, &format!("{}{}", config.schema_prefix, table.namespace))),
        name: exception.name.clone().unwrap_or_else(|| cased(config, &table.name)),
    }
}

/// A name in the letter case that the user asked for.
pub(crate) fn cased(config: &Config, name: &str) -> String {
    if config.lowercase_names { name.to_lowercase() } else { name.to_owned() }
}
