//! What tables are called in the target.

use migration_sdk::{Endpoint, TableSchema, planning::TargetTable};

use crate::config::{Config, TableOverride};

/// The database in the target of one in the source.
pub(crate) fn database(config: &Config, namespace: &str, target: &Endpoint) -> String {
    let of_url = || target.database().map(str::to_owned);
    config.databases.get(namespace).cloned().or_else(of_url).unwrap_or_else(|| namespace.to_owned())
}

/// The table's name in the target: as configured, else in the database that the target's URL names,
/// else in one that is called as the source's.
pub(crate) fn target(
    config: &Config,
    table: &TableSchema,
    exception: &TableOverride,
    target: &Endpoint,
) -> TargetTable {
    TargetTable {
        namespace: exception.database.clone().unwrap_or_else(|| database(config, &table.namespace, target)),
        name: exception.name.clone().unwrap_or_else(|| table.name.clone()),
    }
}
