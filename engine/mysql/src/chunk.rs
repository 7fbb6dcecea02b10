//! Reading a table in ranges of a key.
//!
//! A chunk is `after < key <= to`. Keys are compared by the server alone, in its own collations:
//! bounds go to it typed, text as raw bytes with character set and collation.

mod bound;

use std::fmt::Write as _;

use engine_core::batch::Batch;
use engine_core::column::Column;
use engine_core::logical::LogicalType;
use engine_core::schema::{IndexKind, TableSchema};
use engine_core::source::{ChunkRange, KeyBound};
use engine_core::{Error, ErrorKind, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

use self::bound::KeyValue;
use crate::error::server_error;
use crate::sql;

/// The index whose columns cut a table into chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChunkKey<'a> {
    index: &'a str,
    columns: Vec<usize>,
}

impl<'a> ChunkKey<'a> {
    /// The primary key, else a unique key of whole NOT NULL columns, if its types have bounds.
    pub(crate) fn choose(table: &'a TableSchema) -> Option<Self> {
        let of_kind = |kind| table.indexes.iter().filter(move |index| index.kind == kind);
        of_kind(IndexKind::Primary).chain(of_kind(IndexKind::Unique)).find_map(|index| {
            let columns = index.plain_columns()?;
            let usable = |&column: &usize| {
                table.columns.get(column).is_some_and(|column| {
                    !column.nullable && is_chunkable(&column.logical) && !is_year(&column.native)
                })
            };
            columns.iter().all(usable).then_some(Self { index: &index.name, columns })
        })
    }

    fn names(&self, table: &TableSchema) -> Vec<String> {
        self.columns
            .iter()
            .filter_map(|&column| table.columns.get(column))
            .map(|column| sql::identifier(&column.name))
            .collect()
    }
}

fn is_chunkable(logical: &LogicalType) -> bool {
    matches!(
        logical,
        LogicalType::Integer { .. }
            | LogicalType::Decimal { .. }
            | LogicalType::Text { .. }
            | LogicalType::Bytes { .. }
            | LogicalType::Uuid
            | LogicalType::Date
            | LogicalType::Timestamp { .. }
    )
}

/// YEAR compares with numbers below 100 as two-digit years.
fn is_year(native: &str) -> bool {
    native.starts_with("year")
}

/// `table FORCE INDEX (…) WHERE …` for the rows of `range`.
pub(crate) fn from_clause(table: &TableSchema, range: &ChunkRange) -> Result<String> {
    let mut clause = sql::table(&table.name);
    if range.after.is_none() && range.to.is_none() {
        return Ok(clause);
    }
    let key = required_key(table)?;
    let _ = write!(clause, " FORCE INDEX ({}) WHERE ", sql::identifier(key.index));
    let names = key.names(table);
    let bounds = [(&range.after, ">", ">"), (&range.to, "<", "<=")];
    let mut conditions = Vec::new();
    for (bound, strictly, last) in bounds {
        if let Some(bound) = bound {
            let values = values_of(&key, bound).map_err(|error| error.at("table", &table.name))?;
            let values: Vec<String> = values.iter().map(KeyValue::literal).collect();
            conditions.push(condition(&names, &values, strictly, last));
        }
    }
    clause.push_str(&conditions.join(" AND "));
    Ok(clause)
}

/// The upper bound of a chunk of `rows` rows after `after`; `None` when fewer are left.
pub(crate) async fn end(
    conn: &mut Conn,
    table: &TableSchema,
    after: Option<&KeyBound>,
    rows: u64,
) -> Result<Option<KeyBound>> {
    let key = required_key(table)?;
    let names = key.names(table);
    let failed = |error| server_error("the end of a chunk can't be found", error).at("table", &table.name);
    let from = match after {
        Some(_) => from_clause(table, &ChunkRange { after: after.cloned(), to: None })?,
        None => format!("{} FORCE INDEX ({})", sql::table(&table.name), sql::identifier(key.index)),
    };
    let names = names.join(", ");
    let offset = rows.saturating_sub(1);
    let query = format!("SELECT {names} FROM {from} ORDER BY {names} LIMIT 1 OFFSET {offset}");
    // Prepared, so that values arrive typed.
    let statement = conn.prep(query).await.map_err(failed)?;
    let row: Option<Row> = conn.exec_first(&statement, ()).await.map_err(failed)?;
    conn.close(statement).await.map_err(failed)?;
    row.map(|row| bound_of(table, &key, &row)).transpose()
}

/// The columns of a bound's key and its values, one row.
pub(crate) fn values(table: &TableSchema, bound: &KeyBound) -> Result<Option<(Vec<usize>, Batch)>> {
    let key = required_key(table)?;
    let values = values_of(&key, bound).map_err(|error| error.at("table", &table.name))?;
    let columns: Option<Vec<Column>> = key
        .columns
        .iter()
        .zip(&values)
        .map(|(&column, value)| value.column(&table.columns.get(column)?.logical))
        .collect();
    Ok(columns.map(|columns| (key.columns, Batch { rows: 1, columns })))
}

fn bound_of(table: &TableSchema, key: &ChunkKey<'_>, row: &Row) -> Result<KeyBound> {
    let values = key.columns.iter().enumerate().map(|(index, &column)| {
        let column = table.columns.get(column)?;
        KeyValue::new(row.as_ref(index)?, &column.logical)
    });
    let values: Option<Vec<KeyValue>> = values.collect();
    let values = values.ok_or_else(|| {
        Error::new(ErrorKind::Divergence, "a key value is not of the type that its column had")
            .at("table", &table.name)
            .help("the table was changed during the copy; run again")
    })?;
    Ok(bound::encode(&values))
}

fn required_key(table: &TableSchema) -> Result<ChunkKey<'_>> {
    ChunkKey::choose(table).ok_or_else(|| {
        Error::new(ErrorKind::Internal, "a table without a usable key was asked for in chunks")
            .at("table", &table.name)
    })
}

fn values_of(key: &ChunkKey<'_>, bound: &KeyBound) -> Result<Vec<KeyValue>> {
    let values = bound::decode(bound).filter(|values| values.len() == key.columns.len());
    values.ok_or_else(|| {
        Error::new(ErrorKind::State, "the bound of a chunk can't be read")
            .because("it does not fit the table's key, or the record is damaged")
            .help("if the key of the table was changed, start the task anew")
    })
}

/// `(a > x OR (a = x AND (b > y OR …)))` with `last` for the last column, so that the server
/// compares column by column; a plain `a >= x` before it lets the optimiser use the index.
pub(crate) fn condition(names: &[String], values: &[String], strictly: &str, last: &str) -> String {
    let mut expanded = String::new();
    for (index, (name, value)) in names.iter().zip(values).enumerate().rev() {
        expanded = if index + 1 == values.len() {
            format!("{name} {last} {value}")
        } else {
            format!("({name} {strictly} {value} OR ({name} = {value} AND {expanded}))")
        };
    }
    match (names, values) {
        ([first, _, ..], [value, ..]) => format!("{first} {strictly}= {value} AND {expanded}"),
        _ => expanded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::schema::{ColumnSchema, IndexPart, IndexSchema, TableName};

    fn column(name: &str, logical: LogicalType, nullable: bool) -> ColumnSchema {
        ColumnSchema {
            name: name.into(),
            native: "int".into(),
            logical,
            nullable,
            default: None,
            on_update_now: false,
            generated: None,
            identity: false,
            invisible: false,
            comment: String::new(),
            target_type: None,
            attributes: Vec::new(),
        }
    }

    fn index(name: &str, kind: IndexKind, columns: &[usize]) -> IndexSchema {
        let part =
            |&column| IndexPart { column: Some(column), expression: None, prefix: None, descending: false };
        IndexSchema { name: name.into(), kind, parts: columns.iter().map(part).collect() }
    }

    fn table(columns: Vec<ColumnSchema>, indexes: Vec<IndexSchema>) -> TableSchema {
        TableSchema {
            name: TableName::new("shop", "orders"),
            columns,
            indexes,
            foreign_keys: Vec::new(),
            comment: String::new(),
            collation: None,
            row_estimate: None,
            byte_estimate: None,
            next_identity: None,
        }
    }

    fn integer() -> LogicalType {
        LogicalType::Integer { bits: 32, signed: true }
    }

    fn text() -> LogicalType {
        LogicalType::Text {
            max_chars: Some(9),
            fixed: false,
            charset: Some("latin1".into()),
            collation: Some("latin1_swedish_ci".into()),
        }
    }

    #[test]
    fn takes_the_first_key_that_has_bounds() {
        let columns = vec![
            column("f", LogicalType::Float64, false),
            column("n", integer(), true),
            column("i", integer(), false),
        ];
        let indexes = vec![
            index("PRIMARY", IndexKind::Primary, &[0]),
            index("u1", IndexKind::Unique, &[1]),
            index("p", IndexKind::Plain, &[2]),
            index("u2", IndexKind::Unique, &[2]),
        ];
        let with_key = table(columns.clone(), indexes.clone());
        assert_eq!(ChunkKey::choose(&with_key), Some(ChunkKey { index: "u2", columns: vec![2] }));
        assert_eq!(ChunkKey::choose(&table(columns, indexes[..3].to_vec())), None);
    }

    #[test]
    fn composite_bounds_are_expanded() {
        let table = table(
            vec![column("a", integer(), false), column("b", text(), false)],
            vec![index("PRIMARY", IndexKind::Primary, &[0, 1])],
        );
        let value = |text: &str| KeyValue::Text {
            charset: "latin1".into(),
            collation: "latin1_swedish_ci".into(),
            raw: text.as_bytes().to_vec(),
        };
        let range = ChunkRange {
            after: Some(bound::encode(&[KeyValue::Int(-1), value("")])),
            to: Some(bound::encode(&[KeyValue::Int(7), value("it's")])),
        };
        assert_eq!(
            from_clause(&table, &range).expect("bounds of the key"),
            "`shop`.`orders` FORCE INDEX (`PRIMARY`) WHERE \
             `a` >= -1 AND (`a` > -1 OR (`a` = -1 AND `b` > _latin1 X'' COLLATE latin1_swedish_ci)) AND \
             `a` <= 7 AND (`a` < 7 OR (`a` = 7 AND `b` <= _latin1 X'69742773' COLLATE latin1_swedish_ci))"
        );
    }

    #[test]
    fn a_bound_of_another_key_is_refused() {
        let table =
            table(vec![column("a", integer(), false)], vec![index("PRIMARY", IndexKind::Primary, &[0])]);
        let two = bound::encode(&[KeyValue::Int(1), KeyValue::Int(2)]);
        for bound in [two, KeyBound(vec![9, 9]), KeyBound(Vec::new())] {
            let range = ChunkRange { after: Some(bound), to: None };
            assert_eq!(from_clause(&table, &range).expect_err("no such key").kind(), ErrorKind::State);
        }
        let whole = from_clause(&table, &ChunkRange { after: None, to: None }).expect("no bounds");
        assert_eq!(whole, "`shop`.`orders`");
    }
}
