//! Tables that are in the target before a task creates its own.

use engine_core::Result;
use engine_core::plan::TargetTable;
use std::sync::Arc;
use tokio_postgres::GenericClient;

use crate::control::Claim;
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
    /// Whether it is a table that the task created, or one that has taken its place, partitioned.
    pub(crate) is_own: bool,
}

/// Whether schema `_migration` has this table.
pub(crate) async fn has_record(
    client: &impl GenericClient,
    table: &str,
) -> std::result::Result<bool, tokio_postgres::Error> {
    let row = client
        .query_opt(
            "SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = '_migration' AND c.relname = $1",
            &[&table],
        )
        .await?;
    Ok(row.is_some())
}

/// Those of `tables` that are there.
pub(crate) async fn tables(
    client: &impl GenericClient,
    task: &str,
    tables: &[Arc<TargetTable>],
) -> Result<Vec<Existing>> {
    let failed = |error| translate(error, "the target's tables can't be listed");
    let owned = if has_record(client, "owned_table").await.map_err(failed)? {
        "EXISTS (SELECT 1 FROM _migration.owned_table o \
         WHERE o.namespace = w.namespace AND o.name = w.name AND o.task = $3)"
    } else {
        // The task's name, unused, keeps the parameters the same.
        "$3::text IS NULL"
    };
    let namespaces: Vec<String> = tables.iter().map(|table| fit(&table.name.namespace)).collect();
    let names: Vec<String> = tables.iter().map(|table| fit(&table.name.name)).collect();
    // Where no key tells rows apart, their places do, which are those of one partition.
    let may_be_partitioned: Vec<bool> = tables.iter().map(|table| table.row_key.is_some()).collect();
    let rows = client
        .query(
            &format!(
                "SELECT w.namespace, w.name, (c.relkind = 'r' OR (c.relkind = 'p' AND w.is_keyed)) AND {owned} \
                 FROM (SELECT unnest($1::text[]) AS namespace, unnest($2::text[]) AS name, \
                              unnest($4::bool[]) AS is_keyed) AS w \
                 JOIN pg_catalog.pg_namespace n ON n.nspname = w.namespace \
                 JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name"
            ),
            &[&namespaces, &names, &task, &may_be_partitioned],
        )
        .await
        .map_err(failed)?;
    Ok(rows
        .iter()
        .map(|row| Existing { namespace: row.get(0), name: row.get(1), is_own: row.get(2) })
        .collect())
}

/// Records that a table is the task's own, whoever made one of its name before.
pub(crate) async fn record_own(
    client: &impl GenericClient,
    claim: &Claim,
    table: &TargetTable,
) -> std::result::Result<(), tokio_postgres::Error> {
    let (namespace, name) = (fit(&table.name.namespace), fit(&table.name.name));
    let of_another = client
        .execute(
            "UPDATE _migration.owned_table SET task = $3, created_at = now() WHERE namespace = $1 AND name = $2",
            &[&namespace, &name, &claim.task],
        )
        .await?;
    if of_another == 0 {
        client
            .execute(
                "INSERT INTO _migration.owned_table (namespace, name, task) VALUES ($1, $2, $3)",
                &[&namespace, &name, &claim.task],
            )
            .await?;
    }
    Ok(())
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
