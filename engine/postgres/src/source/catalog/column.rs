//! Columns, their types, and the sequences behind them.

use engine_core::Result;
use engine_core::logical::LogicalType;
use engine_core::schema::{ColumnSchema, TableSchema};
use tokio_postgres::{Row, Transaction};

use super::Tables;
use crate::failure::translate;
use crate::family::Family;
use crate::source::logical;
use crate::source::type_catalog::{TYPES, TypeCatalog, TypeRow};

/// Attribute with the number of a column's type, which the stream has too.
const TYPE: &str = "type-oid";
/// Attribute with the modifier of it, as far as the stream has it: openGauss's has none.
const MODIFIER: &str = "type-modifier";
/// The modifier of a type that has none.
const NONE: i32 = -1;

/// Attribute with the number of a column, which no other column of its table ever has.
const NUMBER: &str = "number";

/// The number of a column, where it is on record.
pub(crate) fn number(column: &ColumnSchema) -> Option<i16> {
    let (_, number) = column.attributes.iter().find(|(known, _)| known == NUMBER)?;
    number.parse().ok()
}

/// What a column is known by.
#[cfg(test)]
pub(crate) fn attributes_for_tests(number: i16, type_id: u32, modifier: i32) -> Vec<(String, String)> {
    let attributes =
        [(NUMBER, number.to_string()), (TYPE, type_id.to_string()), (MODIFIER, modifier.to_string())];
    attributes.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

/// The number of a column's type, where it is on record.
pub(crate) fn type_number(column: &ColumnSchema) -> Option<u32> {
    let (_, number) = column.attributes.iter().find(|(known, _)| known == TYPE)?;
    number.parse().ok()
}

/// Whether a column has the type of this number and modifier.
pub(crate) fn is_type(column: &ColumnSchema, number: u32, modifier: i32) -> bool {
    let is = |name: &str, value: String| {
        column.attributes.iter().any(|(known, text)| known == name && *text == value)
    };
    is(TYPE, number.to_string()) && is(MODIFIER, modifier.to_string())
}

/// Reads the columns.
pub(super) async fn read(client: &Transaction<'_>, family: Family, tables: &mut Tables) -> Result<()> {
    let failed = |error| translate(error, "the source's columns can't be listed");
    let Numbering { numbered, generated, sequences, next, sequence } = Numbering::of(family);
    let query = format!(
        "SELECT a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod, \
         pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, \
         pg_catalog.pg_get_expr(d.adbin, d.adrelid), {numbered}, {generated}, \
         pg_catalog.col_description(a.attrelid, a.attnum), \
         CASE WHEN a.attcollation <> t.typcollation OR k.collname <> 'default' THEN k.collname END, \
         s.seqrelid IS NOT NULL, {next}, {sequence} \
         FROM pg_catalog.pg_attribute a \
         JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
         LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
         LEFT JOIN pg_catalog.pg_collation k ON k.oid = a.attcollation \
         LEFT JOIN LATERAL (SELECT q.* FROM pg_catalog.pg_depend o JOIN {sequences} q ON q.seqrelid = o.objid \
               WHERE o.classid = 'pg_catalog.pg_class'::regclass AND o.refclassid = 'pg_catalog.pg_class'::regclass \
               AND o.refobjid = a.attrelid AND o.refobjsubid = a.attnum AND o.deptype IN ('a', 'i') LIMIT 1) s ON true \
         WHERE a.attnum > 0 AND NOT a.attisdropped AND {} AND {} ORDER BY a.attrelid, a.attnum",
        family.tables(),
        family.user_schemas()
    );
    let rows = client.query(&query, &[]).await.map_err(failed)?;
    let types = types(client, &rows).await?;
    for row in &rows {
        let Some((table, ordinals)) = tables.get_mut(row.get(0)) else { continue };
        ordinals.insert(row.get(1), table.columns.len());
        let column = column(row, family, &types)
            .map_err(|error| error.at("table", &table.name).at("column", row.get::<_, &str>(2)))?;
        if column.identity {
            let next = match row.get::<_, Option<&str>>(14) {
                Some(sequence) => next_value(client, sequence).await?,
                None => row.get(13),
            };
            if let Some(next) = next {
                raise_identity(table, next);
            }
        }
        table.columns.push(column);
    }
    Ok(())
}

/// How the catalog tells of columns that are numbered or computed.
struct Numbering {
    /// How an identity column numbers; empty or NULL for none.
    numbered: &'static str,
    /// `s` or `v` for a column that is computed; empty or NULL for others.
    generated: &'static str,
    /// Relation of sequences with their number, `seqrelid`.
    sequences: &'static str,
    /// The next number, where the catalog has it.
    next: &'static str,
    /// The sequence's name, where it has to be asked itself.
    sequence: &'static str,
}

impl Numbering {
    fn of(family: Family) -> Self {
        match family {
            Family::PostgreSql => Self {
                numbered: "a.attidentity::text",
                generated: "a.attgenerated::text",
                sequences: "pg_catalog.pg_sequence",
                next: "CASE WHEN s.seqrelid IS NOT NULL AND pg_catalog.has_sequence_privilege(s.seqrelid, 'SELECT,USAGE') \
                       THEN coalesce(pg_catalog.pg_sequence_last_value(s.seqrelid) + s.seqincrement, s.seqstart) END",
                sequence: "NULL::text",
            },
            // Its long sequences (of 128 bits) are of a kind of their own.
            Family::OpenGauss => Self {
                numbered: "NULL::text",
                generated: "CASE WHEN d.adgencol = 's' THEN 's' END",
                sequences: "(SELECT c.oid AS seqrelid, n.nspname, c.relname FROM pg_catalog.pg_class c \
                            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('S', 'L'))",
                next: "NULL::int8",
                sequence: "CASE WHEN s.seqrelid IS NOT NULL AND pg_catalog.has_sequence_privilege(s.seqrelid, 'SELECT') \
                           THEN pg_catalog.quote_ident(s.nspname::text) || '.' || pg_catalog.quote_ident(s.relname::text) END",
            },
        }
    }
}

/// A number that the sequence has not given yet, and that is not beyond the next.
async fn next_value(client: &Transaction<'_>, sequence: &str) -> Result<Option<i64>> {
    let query =
        format!("SELECT (last_value::numeric + CASE WHEN is_called THEN 1 ELSE 0 END)::text FROM {sequence}");
    let row = client.query_one(&query, &[]).await.map_err(|error| {
        translate(error, "a sequence of the source can't be read").at("sequence", sequence)
    })?;
    // One that has run out has no next.
    Ok(row.get::<_, &str>(0).parse().ok())
}

async fn types(client: &Transaction<'_>, columns: &[Row]) -> Result<TypeCatalog> {
    let failed = |error| translate(error, "the types of the source's columns can't be read");
    let mut used: Vec<u32> = columns.iter().map(|row| row.get(3)).collect();
    used.sort_unstable();
    used.dedup();
    let rows = client.query(TYPES, &[&used]).await.map_err(failed)?;
    rows.iter().map(TypeRow::read).collect::<Result<_, _>>().map_err(failed)
}

fn column(row: &Row, family: Family, types: &TypeCatalog) -> Result<ColumnSchema> {
    let described =
        logical::describe(types, row.get(3), row.get(4), row.get(5), row.get::<_, Option<&str>>(11))?;
    let expression: Option<String> = row.get(7);
    let letter = |place: usize| row.get::<_, Option<&str>>(place).unwrap_or_default();
    let (numbered, generated) = (letter(8), letter(9));
    let automatic = expression.as_deref().is_some_and(|text| text.eq_ignore_ascii_case(AUTO_INCREMENT));
    // A sequence may number a column of another type; such a one only has a default.
    let is_integer = matches!(described.logical, LogicalType::Integer { .. });
    let is_numbered = row.get(12) && is_next_value(expression.as_deref()) && is_integer;
    let identity = !numbered.is_empty() || automatic || is_numbered;
    let is_generated = !generated.is_empty();
    let mut attributes = described.attributes;
    attributes.push((NUMBER.to_owned(), row.get::<_, i16>(1).to_string()));
    attributes.push((TYPE.to_owned(), row.get::<_, u32>(3).to_string()));
    let modifier = if family == Family::OpenGauss { NONE } else { row.get(4) };
    attributes.push((MODIFIER.to_owned(), modifier.to_string()));
    if is_generated {
        let how = if generated == "s" { "stored" } else { "virtual" };
        attributes.push(("generated".to_owned(), how.to_owned()));
    }
    Ok(ColumnSchema {
        name: row.get(2),
        logical: described.logical,
        native: described.native,
        nullable: !row.get::<_, bool>(6),
        default: expression.clone().filter(|_| !identity && !is_generated),
        on_update_now: false,
        generated: expression.filter(|_| is_generated),
        identity,
        invisible: false,
        comment: row.get::<_, Option<String>>(10).unwrap_or_default(),
        target_type: None,
        attributes,
    })
}

/// What openGauss, in compatibility B, calls the next value of a sequence that it keeps to itself.
const AUTO_INCREMENT: &str = "auto_increment";

/// Whether a default is the next value of a sequence, as `serial` columns have it.
fn is_next_value(default: Option<&str>) -> bool {
    default.is_some_and(|default| default.starts_with("nextval("))
}

fn raise_identity(table: &mut TableSchema, next: i64) {
    let next = u64::try_from(next).unwrap_or_default();
    table.next_identity = Some(table.next_identity.unwrap_or_default().max(next));
}
