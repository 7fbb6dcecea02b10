//! Indexes, from `information_schema.statistics`.

use engine_core::schema::{IndexKind, IndexPart, IndexSchema, TableName, TableSchema};
use engine_core::{Error, ErrorKind, Result};
use mysql_async::Conn;

use super::{Fields, Tables, default, rows};
use crate::server::{Flavor, Server};

/// Adds the indexes of every table, each table's primary key first.
pub(super) async fn read(conn: &mut Conn, server: &Server, tables: &mut Tables, scope: &str) -> Result<()> {
    // Functional parts exist in MySQL 8.0.13 and later alone.
    let expression = match server.flavor {
        Flavor::MySql if server.version_number >= (8, 0, 13) => "expression",
        _ => "NULL",
    };
    let query = format!(
        "SELECT table_schema, table_name, index_name, non_unique, index_type, column_name, {expression}, sub_part, \
         collation FROM information_schema.statistics WHERE table_schema {scope} \
         ORDER BY table_schema, table_name, index_name = 'PRIMARY' DESC, index_name, seq_in_index"
    );
    for row in rows(conn, &query).await? {
        let mut row = Fields::new(row);
        let table_name = TableName::new(row.text()?, row.text()?);
        let Some(table) = tables.get_mut(&table_name) else { continue };
        let index_name = row.text()?;
        let non_unique: u8 = row.optional()?.unwrap_or(1);
        let kind = kind(&index_name, non_unique != 0, &row.text()?);
        let part = part(&mut row, table, server)
            .map_err(|error| error.at("table", &table_name).at("index", &index_name))?;
        match table.indexes.last_mut() {
            Some(index) if index.name == index_name => index.parts.push(part),
            _ => table.indexes.push(IndexSchema { name: index_name, kind, parts: vec![part] }),
        }
    }
    Ok(())
}

fn kind(name: &str, non_unique: bool, index_type: &str) -> IndexKind {
    match index_type {
        "FULLTEXT" => IndexKind::Fulltext,
        "SPATIAL" => IndexKind::Spatial,
        _ if name == "PRIMARY" => IndexKind::Primary,
        _ if non_unique => IndexKind::Plain,
        _ => IndexKind::Unique,
    }
}

fn part(row: &mut Fields, table: &TableSchema, server: &Server) -> Result<IndexPart> {
    let column_name: Option<String> = row.optional()?;
    let expression: Option<String> = row.optional()?;
    let prefix: Option<u32> = row.optional()?;
    let descending = row.text()? == "D";
    let column = match &column_name {
        Some(name) => {
            let found = table.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name));
            Some(found.ok_or_else(|| {
                Error::new(ErrorKind::Divergence, "an index names a column that the table does not have")
                    .at("column", name)
                    .help("the table was being changed; run again")
            })?)
        }
        None => None,
    };
    // A spatial index reports the 32 bytes of its bounding box as a prefix.
    let prefix = match column.and_then(|column| table.columns.get(column)) {
        Some(column)
            if column.logical.layout() == engine_core::logical::Layout::Varlen
                && !matches!(column.logical, engine_core::logical::LogicalType::Other(_)) =>
        {
            prefix
        }
        _ => None,
    };
    Ok(IndexPart {
        column,
        expression: expression.map(|text| default::expression(&text, server.flavor)),
        prefix,
        descending,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        assert_eq!(kind("PRIMARY", false, "BTREE"), IndexKind::Primary);
        assert_eq!(kind("u", false, "HASH"), IndexKind::Unique);
        assert_eq!(kind("i", true, "BTREE"), IndexKind::Plain);
        assert_eq!(kind("f", true, "FULLTEXT"), IndexKind::Fulltext);
        assert_eq!(kind("s", true, "SPATIAL"), IndexKind::Spatial);
    }
}
