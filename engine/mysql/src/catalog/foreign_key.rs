//! Foreign keys, from `information_schema`.

use std::collections::HashMap;

use engine_core::schema::{ForeignKey, ReferentialAction, TableName};
use engine_core::{Error, ErrorKind, Result};
use mysql_async::Conn;

use super::{Fields, Tables, rows};

type Actions = (ReferentialAction, ReferentialAction);

/// Adds the foreign keys of every table.
pub(super) async fn read(conn: &mut Conn, tables: &mut Tables, scope: &str) -> Result<()> {
    let actions = read_actions(conn, scope).await?;
    let query = format!(
        "SELECT table_schema, table_name, constraint_name, column_name, referenced_table_schema, \
         referenced_table_name, referenced_column_name FROM information_schema.key_column_usage \
         WHERE table_schema {scope} AND referenced_table_name IS NOT NULL \
         ORDER BY table_schema, table_name, constraint_name, ordinal_position"
    );
    for row in rows(conn, &query).await? {
        let mut row = Fields::new(row);
        let table_name = TableName::new(row.text()?, row.text()?);
        let Some(table) = tables.get_mut(&table_name) else { continue };
        let (name, column_name) = (row.text()?, row.text()?);
        let parent = TableName::new(row.text()?, row.text()?);
        let parent_column = row.text()?;
        let column = table.columns.iter().position(|column| column.name.eq_ignore_ascii_case(&column_name));
        let (Some(column), Some(&(on_delete, on_update))) =
            (column, actions.get(&(table_name.clone(), name.clone())))
        else {
            return Err(Error::new(ErrorKind::Divergence, "a foreign key changed while it was read")
                .at("table", &table_name)
                .at("foreign key", &name)
                .help("run again"));
        };
        match table.foreign_keys.last_mut() {
            Some(key) if key.name == name => {
                key.columns.push(column);
                key.parent_columns.push(parent_column);
            }
            _ => table.foreign_keys.push(ForeignKey {
                name,
                columns: vec![column],
                parent,
                parent_columns: vec![parent_column],
                on_delete,
                on_update,
            }),
        }
    }
    Ok(())
}

async fn read_actions(conn: &mut Conn, scope: &str) -> Result<HashMap<(TableName, String), Actions>> {
    let query = format!(
        "SELECT constraint_schema, table_name, constraint_name, delete_rule, update_rule \
         FROM information_schema.referential_constraints WHERE constraint_schema {scope}"
    );
    let mut actions = HashMap::new();
    for row in rows(conn, &query).await? {
        let mut row = Fields::new(row);
        let table = TableName::new(row.text()?, row.text()?);
        let name = row.text()?;
        let rules = (action(&row.text()?)?, action(&row.text()?)?);
        actions.insert((table, name), rules);
    }
    Ok(actions)
}

fn action(rule: &str) -> Result<ReferentialAction> {
    match rule {
        "NO ACTION" => Ok(ReferentialAction::NoAction),
        "RESTRICT" => Ok(ReferentialAction::Restrict),
        "CASCADE" => Ok(ReferentialAction::Cascade),
        "SET NULL" => Ok(ReferentialAction::SetNull),
        "SET DEFAULT" => Ok(ReferentialAction::SetDefault),
        _ => Err(Error::new(ErrorKind::Unrepresentable, "a foreign key has an unknown action").because(rule)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_and_nothing_else() {
        assert_eq!(action("SET NULL").expect("known"), ReferentialAction::SetNull);
        assert!(action("EXPLODE").is_err());
    }
}
