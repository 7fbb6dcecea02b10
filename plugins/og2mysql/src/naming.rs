//! What tables are called in the target.

use migration_sdk::{Endpoint, TableSchema, planning::TargetTable};

use crate::config::{Config, TableOverride};

/// The table's name in the target.
pub(crate) fn target(
    config: &Config,
    table: &TableSchema,
    exception: &TableOverride,
    (source, target): (&Endpoint, &Endpoint),
) -> TargetTable {
    let configured = exception.database.clone().or_else(|| config.databases.get(&table.namespace).cloned());
    let of_public = || {
        let is_public = table.namespace == "public";
        target.database().or_else(|| source.database()).filter(|_| is_public).map(str::to_owned)
    };
    TargetTable {
        namespace: configured.or_else(of_public).unwrap_or_else(|| table.namespace.clone()),
        name: exception.name.clone().unwrap_or_else(|| table.name.clone()),
    }
}
