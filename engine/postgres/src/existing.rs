//! Tables that are in the target before a task creates its own.

use engine_core::Result;
use engine_core::plan::TargetTable;
use std::sync::Arc;
use tokio_postgres::GenericClient;

use crate::failure::translate;
use crate::identifier::fit;

/// What is wrong with a target that has a task's tables already.
pub(crate) const NOT_OURS: &str = "the target has tables that this task did not create";

/// What can be done about it.
pub(crate) const WAY_OUT: &str = "nothing was touched; drop or rename them, map to another schema in the plugin's \
    configuration, leave them out with --exclude, or give --name of the task that created them";

/// A relation that has the name of a table of the task.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Existing {
    /// Its schema.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// Whether it is a table that the task created.
    pub(crate) is_own: bool,
}

/// Those of `tables` that are there.
pub(crate) async fn tables(
    client: &impl GenericClient,
    task: &str,
    tables: &[Arc<TargetTable>],
) -> Result<Vec<Existing>> {
    let failed = |error| translate(error, "the target's tables can't be listed");
    let row = client
        .query_one("SELECT pg_catalog.to_regclass('_migration.owned_table') IS NOT NULL", &[])
        .await
        .map_err(failed)?;
    let owned = if row.get(0) {
        "EXISTS (SELECT FROM _migration.owned_table o \
         WHERE o.namespace = w.namespace AND o.name = w.name AND o.task = $3)"
    } else {
        // The task's name, unused, keeps the parameters the same.
        "$3::text IS NULL"
    };
    let namespaces: Vec<String> = tables.iter().map(|table| fit(&table.name.namespace)).collect();
    let names: Vec<String> = tables.iter().map(|table| fit(&table.name.name)).collect();
    let rows = client
        .query(
            &format!(
                "SELECT w.namespace, w.name, c.relkind = 'r' AND {owned} \
                 FROM unnest($1::text[], $2::text[]) AS w(namespace, name) \
                 JOIN pg_catalog.pg_namespace n ON n.nspname = w.namespace \
                 JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name"
            ),
            &[&namespaces, &names, &task],
        )
        .await
        .map_err(failed)?;
    Ok(rows
        .iter()
        .map(|row| Existing { namespace: row.get(0), name: row.get(1), is_own: row.get(2) })
        .collect())
}

/// The names, for a message; the first few of many.
pub(crate) fn list(tables: &[Existing]) -> String {
    /// More names than this would hide the message.
    const LISTED: usize = 10;
    let mut list: Vec<String> =
        tables.iter().take(LISTED).map(|table| format!("{}.{}", table.namespace, table.name)).collect();
    let more = tables.len().saturating_sub(LISTED);
    if more > 0 {
        list.push(format!("and {more} more"));
    }
    list.join(", ")
}
