//! Whether a table has the columns that rows are written to, after others have changed its structure.

use engine_core::plan::TargetTable;
use engine_core::{Error, ErrorKind, Result};

use super::column_type::{ColumnType, Declared};
use super::control::field;
use super::failure::translate;
use super::session::Session;
use crate::server::Flavor;

/// Fails unless a table has every column that rows are written to, of the planned type.
pub(super) async fn require(session: &mut Session, table: &TargetTable, flavor: Flavor) -> Result<()> {
    let rows = session
        .select(
            "SELECT CONVERT(column_name USING utf8mb4), CONVERT(column_type USING utf8mb4) \
             FROM information_schema.columns WHERE table_schema = ? AND table_name = ?",
            (&table.name.namespace, &table.name.name),
        )
        .await
        .map_err(|error| translate(error, "the target's columns can't be read").at("table", &table.name))?;
    let mut there = Vec::with_capacity(rows.len());
    for mut row in rows {
        there.push((field::<String>(&mut row, 0)?, field::<String>(&mut row, 1)?));
    }
    for ordinal in table.written_columns() {
        let Some(column) = table.columns.get(ordinal) else { continue };
        // Names of columns are the same in any case.
        let found = there.iter().find(|(name, _)| name.to_lowercase() == column.name.to_lowercase());
        let why = match found {
            None => "there is no such column".to_owned(),
            Some((_, found)) if !is_same(&column.target_type, found, flavor) => {
                format!("its type is {found}, not {}", column.target_type)
            }
            Some(_) => continue,
        };
        return Err(Error::new(
            ErrorKind::Divergence,
            "after a change of structure the target's table is not as planned",
        )
        .at("table", &table.name)
        .at("column", &column.name)
        .because(why)
        .help("make of the table what the plan for it says, then run the same command again"));
    }
    Ok(())
}

/// Whether a planned type is the one that the server shows, as far as values go.
fn is_same(planned: &str, found: &str, flavor: Flavor) -> bool {
    let types = [planned, found].map(|text| Declared::parse(text).column_type);
    match &types {
        [ColumnType::Integer, ColumnType::Integer] => integer(planned) == integer(found),
        [ColumnType::Json, ColumnType::Text] => flavor == Flavor::MariaDb,
        [ColumnType::Unknown(_), _] | [_, ColumnType::Unknown(_)] => true,
        [planned, found] => planned == found,
    }
}

/// The size of an integer type in bytes, and whether it has a sign; display widths say nothing.
fn integer(text: &str) -> (u8, bool) {
    let text = text.to_ascii_lowercase();
    let size = match text.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default() {
        "tinyint" | "bool" | "boolean" => 1,
        "smallint" => 2,
        "mediumint" => 3,
        "bigint" | "serial" => 8,
        _ => 4,
    };
    let is_unsigned =
        ["unsigned", "zerofill"].iter().any(|word| text.split_whitespace().any(|found| found == *word));
    (size, is_unsigned || text.starts_with("serial"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_compared_by_the_values_that_they_hold() {
        for (planned, found) in [
            ("int(11)", "int"),
            ("BIGINT UNSIGNED AUTO_INCREMENT", "bigint(20) unsigned"),
            ("varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "varchar(20)"),
            ("enum('a','it''s')", "enum('a','it''s')"),
            ("datetime(3)", "datetime(3)"),
        ] {
            assert!(is_same(planned, found, Flavor::MySql), "{planned} {found}");
        }
        for (planned, found) in [
            ("int", "bigint"),
            ("int unsigned", "int"),
            ("varchar(20)", "varchar(10)"),
            ("enum('a','b')", "enum('a')"),
            ("datetime(3)", "datetime"),
            ("json", "longtext"),
        ] {
            assert!(!is_same(planned, found, Flavor::MySql), "{planned} {found}");
        }
        assert!(is_same("json", "longtext", Flavor::MariaDb));
    }
}
