//! The statements that create a table.
//!
//! InnoDB keeps a table's rows in the order of its first key, so that key is made with the table, and
//! so is the one that a numbering column needs. All others are built after the load.

use engine_core::plan::{TargetColumn, TargetIndex, TargetIndexPart, TargetTable};
use engine_core::schema::IndexKind;
use engine_core::{Error, ErrorKind, Result};
use std::fmt::Write as _;

use super::column_type::{ColumnType, Declared};
use crate::sql;

/// Bytes of a key, with pages of 16 KiB.
const LONGEST_KEY: u32 = 3072;
/// Bytes of a character, at most.
const LONGEST_CHARACTER: u32 = 4;
/// Longest prefix that an index gets of a column that it can't have whole.
const LONGEST_PREFIX: u32 = 255;

/// Name of the unique key that a row key gets when no key of the source has its columns.
const ROW_KEY: &str = "row_key";
/// Name of the index that a numbering column gets when it leads none.
pub(super) const NUMBER_KEY: &str = "auto_increment";
/// Characters of a column's comment.
pub(super) const LONGEST_COLUMN_COMMENT: usize = 1024;
/// Characters of a table's comment.
pub(super) const LONGEST_TABLE_COMMENT: usize = 2048;

/// Database and table, in order.
pub(super) fn table(table: &TargetTable) -> Result<Vec<String>> {
    let mut elements: Vec<String> = table.columns.iter().map(column).collect();
    for index in with_table(table) {
        elements.push(index_definition(table, index)?);
    }
    if let Some(row_key) = lone_row_key(table) {
        let names: Vec<String> =
            row_key.iter().map(|&ordinal| column_name(table, ordinal)).collect::<Result<_>>()?;
        elements.push(format!("UNIQUE KEY {} ({})", sql::identifier(ROW_KEY), names.join(", ")));
    }
    if let Some(column) = lone_number(table) {
        elements.push(format!("KEY {} ({})", sql::identifier(NUMBER_KEY), sql::identifier(&column.name)));
    }
    let comment = match comment(&table.comment, LONGEST_TABLE_COMMENT) {
        "" => String::new(),
        comment => format!(" COMMENT = {}", sql::literal(comment)),
    };
    Ok(vec![
        format!("CREATE DATABASE IF NOT EXISTS {}", sql::identifier(&table.name.namespace)),
        format!(
            "CREATE TABLE {} (\n    {}\n) ENGINE = InnoDB{comment}",
            sql::table(&table.name),
            elements.join(",\n    ")
        ),
    ])
}

/// A column's definition.
pub(super) fn column(column: &TargetColumn) -> String {
    let mut text = format!("{} {}", sql::identifier(&column.name), column.target_type);
    if let Some(expression) = &column.generated {
        let _ = write!(text, " GENERATED ALWAYS AS ({expression}) STORED");
    } else if !Declared::parse(&column.target_type).generated {
        // Said either way: a TIMESTAMP without a word may mean either.
        text.push_str(if column.nullable { " NULL" } else { " NOT NULL" });
        if column.identity {
            text.push_str(" AUTO_INCREMENT");
        } else if let Some(default) = &column.default {
            text.push_str(" DEFAULT ");
            text.push_str(default);
        }
    }
    if !column.comment.is_empty() {
        text.push_str(" COMMENT ");
        text.push_str(&sql::literal(comment(&column.comment, LONGEST_COLUMN_COMMENT)));
    }
    text
}

/// As much of a comment as there is room for.
pub(super) fn comment(text: &str, longest: usize) -> &str {
    let end = text.char_indices().nth(longest).map_or(text.len(), |(end, _)| end);
    text.get(..end).unwrap_or(text)
}

/// The indexes that a table is created with.
pub(super) fn with_table(table: &TargetTable) -> Vec<&TargetIndex> {
    if table.is_shared() {
        // While one task builds an index, another may be copying.
        return table.indexes.iter().collect();
    }
    let of_row_key = |index: &&TargetIndex| {
        let Some(row_key) = &table.row_key else { return false };
        index.kind == IndexKind::Unique
            && index.parts.len() == row_key.len()
            && index.parts.iter().all(|part| part.prefix.is_none() && row_key.contains(&part.column))
    };
    let numbers = |index: &&TargetIndex| is_led_by_number(table, index);
    let primary = table.indexes.iter().find(|index| index.kind == IndexKind::Primary);
    let mut chosen: Vec<&TargetIndex> = primary.into_iter().collect();
    if !chosen.iter().any(|index| is_whole(table, index)) {
        chosen.extend(table.indexes.iter().find(of_row_key));
    }
    let needs_number = table.columns.iter().any(|column| column.identity);
    if needs_number && !chosen.iter().any(numbers) {
        chosen.extend(table.indexes.iter().find(numbers));
    }
    chosen
}

/// Whether a numbering column is the first of an index.
fn is_led_by_number(table: &TargetTable, index: &TargetIndex) -> bool {
    let first = index.parts.first().and_then(|part| table.columns.get(part.column));
    first.is_some_and(|column| column.identity)
        && !matches!(index.kind, IndexKind::Fulltext | IndexKind::Spatial)
}

/// The numbering column, when it leads no index of the table.
pub(super) fn lone_number(table: &TargetTable) -> Option<&TargetColumn> {
    let leads = |index: &TargetIndex| is_led_by_number(table, index);
    let leads_row_key = || {
        let first = lone_row_key(table).and_then(|row_key| table.columns.get(*row_key.first()?));
        first.is_some_and(|column| column.identity)
    };
    let number = table.columns.iter().find(|column| column.identity)?;
    (!table.indexes.iter().any(leads) && !leads_row_key()).then_some(number)
}

/// Whether an index has exactly the columns of the row key.
fn is_whole(table: &TargetTable, index: &TargetIndex) -> bool {
    table.row_key.as_ref().is_some_and(|row_key| {
        index.parts.len() == row_key.len()
            && index.parts.iter().all(|part| part.prefix.is_none() && row_key.contains(&part.column))
    })
}

/// The row key, when no index of the table has its columns.
fn lone_row_key(table: &TargetTable) -> Option<&[usize]> {
    let of_kind = |index: &&TargetIndex| matches!(index.kind, IndexKind::Primary | IndexKind::Unique);
    let has_key = table.indexes.iter().filter(of_kind).any(|index| is_whole(table, index));
    table.row_key.as_deref().filter(|_| !has_key)
}

/// `UNIQUE KEY` `name` `(...)`, as it stands in a table or after `ADD`.
pub(super) fn index_definition(table: &TargetTable, index: &TargetIndex) -> Result<String> {
    let kind = match index.kind {
        IndexKind::Primary => "PRIMARY KEY".to_owned(),
        IndexKind::Unique => format!("UNIQUE KEY {}", sql::identifier(&index.name)),
        IndexKind::Plain => format!("KEY {}", sql::identifier(&index.name)),
        IndexKind::Fulltext => format!("FULLTEXT KEY {}", sql::identifier(&index.name)),
        IndexKind::Spatial => format!("SPATIAL KEY {}", sql::identifier(&index.name)),
    };
    let parts: Vec<String> = index
        .parts
        .iter()
        .map(|part| {
            let mut text = column_name(table, part.column)?;
            let prefix = part.prefix.or_else(|| needed_prefix(table, index, part.column));
            if let Some(length) = prefix.filter(|_| index.kind != IndexKind::Spatial) {
                let _ = write!(text, "({length})");
            }
            if part.descending {
                text.push_str(" DESC");
            }
            Ok(text)
        })
        .collect::<Result<_>>()?;
    Ok(format!("{kind} ({})", parts.join(", ")))
}

/// Characters or bytes of a column that an ordinary index has room for, where it has none for the
/// whole: an index finds the same rows by the beginnings of their texts.
fn needed_prefix(table: &TargetTable, index: &TargetIndex, ordinal: usize) -> Option<u32> {
    if index.kind != IndexKind::Plain {
        return None;
    }
    let share = LONGEST_KEY / u32::try_from(index.parts.len()).ok()?.max(1);
    let target_type = &table.columns.get(ordinal)?.target_type;
    let characters = (share / LONGEST_CHARACTER).min(LONGEST_PREFIX);
    let whole = || -> u32 { index.parts.iter().map(|part| key_bytes(table, part)).sum() };
    match Declared::parse(target_type).column_type {
        ColumnType::Text => Some(characters),
        ColumnType::Char { length } | ColumnType::Varchar { length }
            if length > characters && whole() > LONGEST_KEY =>
        {
            Some(characters)
        }
        ColumnType::Blob if !target_type.to_ascii_lowercase().starts_with("varbinary") => {
            Some(share.min(LONGEST_PREFIX))
        }
        _ => None,
    }
}

/// Bytes that a part takes of its index, unless it gets a prefix whatever the others take.
fn key_bytes(table: &TargetTable, part: &TargetIndexPart) -> u32 {
    /// Of the longest number or time.
    const LONGEST_PLAIN: u32 = 32;
    let Some(column) = table.columns.get(part.column) else { return 0 };
    let length = match Declared::parse(&column.target_type).column_type {
        ColumnType::Char { length } | ColumnType::Varchar { length } => length,
        ColumnType::Binary { length } => return length,
        _ => return LONGEST_PLAIN,
    };
    part.prefix.unwrap_or(length).saturating_mul(bytes_of_character(&column.target_type))
}

/// Bytes that a character of a text type may have.
fn bytes_of_character(target_type: &str) -> u32 {
    let lower = target_type.to_ascii_lowercase();
    let set = lower.split_once("character set ").and_then(|(_, rest)| rest.split_whitespace().next());
    match set {
        Some("utf8" | "utf8mb3" | "ujis" | "eucjpms") => 3,
        Some("ucs2" | "gbk" | "gb2312" | "big5" | "sjis" | "cp932" | "euckr") => 2,
        None | Some("utf8mb4" | "utf16" | "utf16le" | "utf32" | "gb18030") => LONGEST_CHARACTER,
        Some(_) => 1,
    }
}

/// A column's name, quoted.
pub(super) fn column_name(table: &TargetTable, ordinal: usize) -> Result<String> {
    table.columns.get(ordinal).map(|column| sql::identifier(&column.name)).ok_or_else(|| {
        Error::new(ErrorKind::Internal, "a key of the plan names a column that isn't there")
            .at("table", &table.name)
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use engine_core::logical::LogicalType;
    use engine_core::plan::{ConflictPolicy, RowErrorPolicy, TargetForeignKey};
    use engine_core::schema::{ReferentialAction, TableName};

    pub(crate) fn named(name: &str, target_type: &str, logical: LogicalType) -> TargetColumn {
        TargetColumn {
            name: name.to_owned(),
            source_name: name.to_owned(),
            target_type: target_type.to_owned(),
            logical,
            nullable: false,
            default: None,
            generated: None,
            identity: false,
            comment: String::new(),
        }
    }

    fn index(name: &str, kind: IndexKind, parts: &[(usize, Option<u32>, bool)]) -> TargetIndex {
        let part = |&(column, prefix, descending): &(usize, Option<u32>, bool)| TargetIndexPart {
            column,
            prefix,
            descending,
        };
        TargetIndex { name: name.to_owned(), kind, parts: parts.iter().map(part).collect() }
    }

    /// A table with a bit of everything.
    pub(crate) fn orders() -> TargetTable {
        let integer = LogicalType::Integer { bits: 64, signed: true };
        let text = LogicalType::Text { max_chars: Some(200), fixed: false, charset: None, collation: None };
        TargetTable {
            source: TableName::new("shop", "orders"),
            name: TableName::new("shop", "orders"),
            columns: vec![
                TargetColumn { identity: true, ..named("id", "bigint unsigned", integer.clone()) },
                TargetColumn { nullable: true, ..named("customer", "int", integer.clone()) },
                TargetColumn {
                    default: Some("'new'".to_owned()),
                    comment: "it's\\free".to_owned(),
                    ..named("no`te", "varchar(200) CHARACTER SET latin1 COLLATE latin1_bin", text)
                },
                named("twice", "bigint GENERATED ALWAYS AS (`id` * 2) VIRTUAL", integer),
            ],
            indexes: vec![
                index("PRIMARY", IndexKind::Primary, &[(0, None, false)]),
                index("by_note", IndexKind::Unique, &[(2, Some(10), false), (1, None, true)]),
                index("by_customer", IndexKind::Plain, &[(1, None, false)]),
            ],
            foreign_keys: vec![TargetForeignKey {
                name: "orders_customer".to_owned(),
                columns: vec![1],
                parent: TableName::new("shop", "customers"),
                parent_columns: vec!["id".to_owned()],
                on_delete: ReferentialAction::Cascade,
                on_update: ReferentialAction::NoAction,
            }],
            comment: "All orders".to_owned(),
            row_key: Some(vec![0]),
            with_rows: true,
            on_conflict: ConflictPolicy::Fail,
            on_row_error: RowErrorPolicy::Fail,
        }
    }

    #[test]
    fn renders_a_table() {
        insta::assert_snapshot!(table(&orders()).expect("a good table").join(";\n"), @r"
        CREATE DATABASE IF NOT EXISTS `shop`;
        CREATE TABLE `shop`.`orders` (
            `id` bigint unsigned NOT NULL AUTO_INCREMENT,
            `customer` int NULL,
            `no``te` varchar(200) CHARACTER SET latin1 COLLATE latin1_bin NOT NULL DEFAULT 'new' COMMENT 'it''s\\free',
            `twice` bigint GENERATED ALWAYS AS (`id` * 2) VIRTUAL,
            PRIMARY KEY (`id`)
        ) ENGINE = InnoDB COMMENT = 'All orders'
        ");
    }

    #[test]
    fn a_numbering_column_has_its_key_and_a_row_key_that_is_none_gets_one() {
        let mut odd = orders();
        odd.indexes.remove(0);
        odd.indexes.push(index("by_id", IndexKind::Plain, &[(0, None, false)]));
        odd.row_key = Some(vec![0, 1]);
        let created = table(&odd).expect("a good table").join("\n");
        assert!(created.contains("KEY `by_id` (`id`)"), "{created}");
        assert!(created.contains("UNIQUE KEY `row_key` (`id`, `customer`)"), "{created}");
        assert!(!created.contains("by_customer"), "{created}");
    }

    #[test]
    fn an_ordinary_index_takes_of_a_text_what_it_has_room_for() {
        let text = LogicalType::Text { max_chars: None, fixed: false, charset: None, collation: None };
        let columns = [
            "longtext",
            "varchar(768)",
            "varchar(769)",
            "longblob",
            "varbinary(3000)",
            "varchar(1000) CHARACTER SET latin1",
        ];
        let mut odd = orders();
        odd.columns = columns.iter().map(|target_type| named("c", target_type, text.clone())).collect();
        let of = |parts: &[(usize, Option<u32>, bool)], kind| {
            index_definition(&odd, &index("i", kind, parts)).expect("an index")
        };
        let plain = |column| of(&[(column, None, false)], IndexKind::Plain);
        let shown: Vec<String> = (0..columns.len()).map(plain).collect();
        assert_eq!(
            shown,
            [
                "KEY `i` (`c`(255))",
                "KEY `i` (`c`)",
                "KEY `i` (`c`(255))",
                "KEY `i` (`c`(255))",
                "KEY `i` (`c`)",
                "KEY `i` (`c`)"
            ]
        );
        // Each by itself has room for the whole.
        assert_eq!(
            of(&[(1, None, false), (1, None, true)], IndexKind::Plain),
            "KEY `i` (`c`(255), `c`(255) DESC)"
        );
        assert_eq!(of(&[(0, Some(9), true)], IndexKind::Plain), "KEY `i` (`c`(9) DESC)");
        assert_eq!(of(&[(0, None, false)], IndexKind::Unique), "UNIQUE KEY `i` (`c`)");
        let many: Vec<(usize, Option<u32>, bool)> = vec![(0, None, false); 6];
        assert!(of(&many, IndexKind::Plain).contains("`c`(128),"));
    }
}
