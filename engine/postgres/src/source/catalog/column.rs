//! Columns, their types, and the sequences behind them.

use engine_core::Result;
use engine_core::schema::{ColumnSchema, TableSchema};
use tokio_postgres::{Row, Transaction};

use super::{TABLES, Tables, USER_SCHEMAS};
use crate::failure::translate;
use crate::source::logical;
use crate::source::type_catalog::{TYPES, TypeCatalog, TypeRow};

/// Attribute with the number of a column's type, which the stream has too.
const TYPE: &str = "type-oid";
/// Attribute with the modifier of it.
const MODIFIER: &str = "type-modifier";

/// Whether a column has the type of this number and modifier.
pub(crate) fn is_type(column: &ColumnSchema, number: u32, modifier: i32) -> bool {
    let is = |name: &str, value: String| {
        column.attributes.iter().any(|(known, text)| known == name && *text == value)
    };
    is(TYPE, number.to_string()) && is(MODIFIER, modifier.to_string())
}

/// Reads the columns.
pub(super) async fn read(client: &Transaction<'_>, tables: &mut Tables) -> Result<()> {
    let failed = |error| translate(error, "the source's columns can't be listed");
    let query = format!(
        "SELECT a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod, \
         pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, \
         pg_catalog.pg_get_expr(d.adbin, d.adrelid), a.attidentity::text, a.attgenerated::text, \
         pg_catalog.col_description(a.attrelid, a.attnum), \
         CASE WHEN a.attcollation <> t.typcollation OR k.collname <> 'default' THEN k.collname END, \
         s.seqrelid IS NOT NULL, \
         CASE WHEN s.seqrelid IS NOT NULL AND pg_catalog.has_sequence_privilege(s.seqrelid, 'SELECT,USAGE') \
              THEN coalesce(pg_catalog.pg_sequence_last_value(s.seqrelid) + s.seqincrement, s.seqstart) END \
         FROM pg_catalog.pg_attribute a \
         JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
         LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
         LEFT JOIN pg_catalog.pg_collation k ON k.oid = a.attcollation \
         LEFT JOIN LATERAL (SELECT q.* FROM pg_catalog.pg_depend o JOIN pg_catalog.pg_sequence q ON q.seqrelid = o.objid \
               WHERE o.classid = 'pg_catalog.pg_class'::regclass AND o.refclassid = 'pg_catalog.pg_class'::regclass \
               AND o.refobjid = a.attrelid AND o.refobjsubid = a.attnum AND o.deptype IN ('a', 'i') LIMIT 1) s ON true \
         WHERE a.attnum > 0 AND NOT a.attisdropped AND {TABLES} AND {USER_SCHEMAS} \
         ORDER BY a.attrelid, a.attnum"
    );
    let rows = client.query(&query, &[]).await.map_err(failed)?;
    let types = types(client, &rows).await?;
    for row in &rows {
        let Some((table, ordinals)) = tables.get_mut(row.get(0)) else { continue };
        ordinals.insert(row.get(1), table.columns.len());
        let column = column(row, &types)
            .map_err(|error| error.at("table", &table.name).at("column", row.get::<_, &str>(2)))?;
        if column.identity
            && let Some(next) = row.get::<_, Option<i64>>(13)
        {
            raise_identity(table, next);
        }
        table.columns.push(column);
    }
    Ok(())
}

async fn types(client: &Transaction<'_>, columns: &[Row]) -> Result<TypeCatalog> {
    let failed = |error| translate(error, "the types of the source's columns can't be read");
    let mut used: Vec<u32> = columns.iter().map(|row| row.get(3)).collect();
    used.sort_unstable();
    used.dedup();
    let rows = client.query(TYPES, &[&used]).await.map_err(failed)?;
    rows.iter().map(TypeRow::read).collect::<Result<_, _>>().map_err(failed)
}

fn column(row: &Row, types: &TypeCatalog) -> Result<ColumnSchema> {
    let described =
        logical::describe(types, row.get(3), row.get(4), row.get(5), row.get::<_, Option<&str>>(11))?;
    let expression: Option<String> = row.get(7);
    let (numbered, generated): (&str, &str) = (row.get(8), row.get(9));
    let identity = !numbered.is_empty() || (row.get(12) && is_next_value(expression.as_deref()));
    let is_generated = !generated.is_empty();
    let mut attributes = described.attributes;
    attributes.push((TYPE.to_owned(), row.get::<_, u32>(3).to_string()));
    attributes.push((MODIFIER.to_owned(), row.get::<_, i32>(4).to_string()));
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

/// Whether a default is the next value of a sequence, as `serial` columns have it.
fn is_next_value(default: Option<&str>) -> bool {
    default.is_some_and(|default| default.starts_with("nextval("))
}

fn raise_identity(table: &mut TableSchema, next: i64) {
    let next = u64::try_from(next).unwrap_or_default();
    table.next_identity = Some(table.next_identity.unwrap_or_default().max(next));
}
