//! Tables that are in the target before a task creates its own.

use engine_core::Result;
use engine_core::plan::TargetTable;
use engine_core::schema::TableName;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::control::{self, field};
use super::failure::translate;
use super::session::Session;
use super::shared;

/// What is wrong with a target that has a task's tables already.
pub(super) const NOT_OURS: &str = "the target has tables that this task did not create";

/// What can be done about it.
pub(super) const WAY_OUT: &str = "nothing was touched; drop or rename them, map to another database in the plugin's \
    configuration, leave them out with --exclude, or give --name of the task that created them";

/// A table or view that has the name of a table of the task.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Existing {
    pub(super) name: TableName,
    /// Whether it is a table that the task created.
    pub(super) is_own: bool,
}

/// A name as a server compares it that stores names in lower case, or compares them so.
pub(super) fn folded(name: &TableName, lower_case_table_names: u8) -> TableName {
    match lower_case_table_names {
        0 => name.clone(),
        _ => TableName::new(name.namespace.to_lowercase(), name.name.to_lowercase()),
    }
}

/// Those of `tables` that are there.
pub(super) async fn tables(
    session: &mut Session,
    task: &str,
    tables: &[Arc<TargetTable>],
    lower_case_table_names: u8,
) -> Result<Vec<Existing>> {
    let failed = |error| translate(error, "the target's tables can't be listed");
    let fold = |name: &TableName| folded(name, lower_case_table_names);
    let owned = owned(session, task).await?;
    let owned: HashMap<TableName, bool> = owned.into_iter().map(|(name, made)| (fold(&name), made)).collect();
    let shared: HashSet<TableName> = shared::known(session, tables).await?.iter().map(fold).collect();
    let wanted: HashSet<TableName> = tables.iter().map(|table| fold(&table.name)).collect();
    let databases: HashSet<&str> = tables.iter().map(|table| table.name.namespace.as_str()).collect();
    let mut existing = Vec::new();
    for database in databases {
        let rows = session
            .select(
                "SELECT CONVERT(table_schema USING utf8mb4), CONVERT(table_name USING utf8mb4), \
                 table_type = 'BASE TABLE' FROM information_schema.tables WHERE LOWER(table_schema) = LOWER(?)",
                (database,),
            )
            .await
            .map_err(failed)?;
        for mut row in rows {
            let name = TableName::new(field::<String>(&mut row, 0)?, field::<String>(&mut row, 1)?);
            let (name, is_table) = (fold(&name), field::<bool>(&mut row, 2)?);
            if !wanted.contains(&name) {
                continue;
            }
            let is_own = is_table
                && match owned.get(&name) {
                    _ if shared.contains(&name) => true,
                    Some(true) => true,
                    // The engine died while it made the table: a row in it would be somebody else's.
                    Some(false) => is_empty(session, &name).await?,
                    None => false,
                };
            existing.push(Existing { name, is_own });
        }
    }
    Ok(existing)
}

/// The tables that the task is on record as creating, and whether it is on record that it did.
async fn owned(session: &mut Session, task: &str) -> Result<Vec<(TableName, bool)>> {
    if !control::exists(session).await? {
        return Ok(Vec::new());
    }
    let rows = session
        .select("SELECT namespace, name, made FROM _migration.owned_table WHERE task = ?", (task,))
        .await
        .map_err(|error| translate(error, "the target's tables can't be listed"))?;
    rows.into_iter()
        .map(|mut row| {
            let name = TableName::new(field::<String>(&mut row, 0)?, field::<String>(&mut row, 1)?);
            Ok((name, field(&mut row, 2)?))
        })
        .collect()
}

pub(super) async fn is_empty(session: &mut Session, name: &TableName) -> Result<bool> {
    let rows = session
        .query(format!("SELECT 1 FROM {} LIMIT 1", crate::sql::table(name)))
        .await
        .map_err(|error| translate(error, "the target's rows can't be read").at("table", name))?;
    Ok(rows.is_empty())
}

/// The names, for a message; the first few of many.
pub(super) fn list(tables: &[Existing]) -> String {
    /// More names than this would hide the message.
    const LISTED: usize = 10;
    let mut list: Vec<String> = tables.iter().take(LISTED).map(|table| table.name.to_string()).collect();
    let more = tables.len().saturating_sub(LISTED);
    if more > 0 {
        list.push(format!("and {more} more"));
    }
    list.join(", ")
}
