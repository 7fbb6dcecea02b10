//! What the source's catalog says of the types that columns have.

use std::collections::BTreeMap;

/// Reads the types whose oids are `$1` (`oid[]`), and those that they are made of.
///
/// Runs on PostgreSQL and on openGauss, whose catalog is that of PostgreSQL 9.2. What an array is made
/// of is said for true arrays only: `name`, `point` and `oidvector` have a `typelem` too.
pub(crate) const TYPES: &str = "\
WITH RECURSIVE used(oid) AS (
    SELECT u.oid FROM unnest($1::oid[]) AS u(oid)
  UNION
    SELECT CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.typelem END
    FROM used JOIN pg_catalog.pg_type t ON t.oid = used.oid
    WHERE t.typtype = 'd' OR t.typelem <> 0
)
SELECT t.oid, n.nspname::text, t.typname::text, t.typtype::text,
       CASE WHEN e.typarray = t.oid THEN t.typelem ELSE 0::oid END AS element,
       t.typdelim::text, t.typbasetype, t.typtypmod,
       pg_catalog.format_type(nullif(t.typbasetype, 0::oid), t.typtypmod) AS base,
       ARRAY(SELECT l.enumlabel::text FROM pg_catalog.pg_enum l
             WHERE l.enumtypid = t.oid ORDER BY l.enumsortorder) AS labels
FROM used
JOIN pg_catalog.pg_type t ON t.oid = used.oid
JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem";

/// A row of `pg_type`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TypeRow {
    /// Its number.
    pub(crate) oid: u32,
    /// Its schema.
    pub(crate) schema: String,
    /// `typname`
    pub(crate) name: String,
    /// `typtype`: `b` base, `c` composite, `d` domain, `e` enum, `r` range, `m` multirange.
    pub(crate) kind: char,
    /// What a true array is made of; 0 for anything else.
    pub(crate) element: u32,
    /// What stands between the elements of an array of this type.
    pub(crate) delimiter: char,
    /// What a domain is based on; 0 for anything else.
    pub(crate) base: u32,
    /// The modifier of a domain's base type.
    pub(crate) base_modifier: i32,
    /// A domain's base type, as `format_type` prints it; empty for anything else.
    pub(crate) base_native: String,
    /// The labels of an enum, in order.
    pub(crate) labels: Vec<String>,
}

impl TypeRow {
    /// From a row that [`TYPES`] gives.
    pub(crate) fn read(row: &tokio_postgres::Row) -> Result<Self, tokio_postgres::Error> {
        let letter = |place: usize| -> Result<char, tokio_postgres::Error> {
            Ok(row.try_get::<_, &str>(place)?.chars().next().unwrap_or(' '))
        };
        Ok(Self {
            oid: row.try_get(0)?,
            schema: row.try_get(1)?,
            name: row.try_get(2)?,
            kind: letter(3)?,
            element: row.try_get(4)?,
            delimiter: letter(5)?,
            base: row.try_get(6)?,
            base_modifier: row.try_get(7)?,
            base_native: row.try_get::<_, Option<_>>(8)?.unwrap_or_default(),
            labels: row.try_get(9)?,
        })
    }
}

/// The types of a database that matter, by their numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct TypeCatalog {
    rows: BTreeMap<u32, TypeRow>,
}

impl TypeCatalog {
    /// The type `oid`, if it was read.
    pub(crate) fn get(&self, oid: u32) -> Option<&TypeRow> {
        self.rows.get(&oid)
    }
}

impl FromIterator<TypeRow> for TypeCatalog {
    fn from_iter<T: IntoIterator<Item = TypeRow>>(rows: T) -> Self {
        Self { rows: rows.into_iter().map(|row| (row.oid, row)).collect() }
    }
}
