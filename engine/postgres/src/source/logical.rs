//! What the values of a column are, from its type in the source's catalog.

use engine_core::error::{Error, ErrorKind, Result};
use engine_core::logical::LogicalType;

use super::type_catalog::{TypeCatalog, TypeRow};

/// Domains upon domains that are followed.
const DEEPEST: usize = 32;

/// Length word that modifiers of `varchar`, `bpchar` and `numeric` count in (`VARHDRSZ`).
const HEADER: i32 = 4;

/// A column's type in the engine's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DescribedType {
    /// What the values are.
    pub(crate) logical: LogicalType,
    /// The type as `format_type` prints it; of a domain, the type that it is based on.
    pub(crate) native: String,
    /// What else a plugin may use: `domain` (its name with its schema), `delimiter` of an array when it
    /// is no comma, `element` of an array: `boolean`, `number`, `json` or `text`.
    pub(crate) attributes: Vec<(String, String)>,
}

/// Describes the type `oid` with the modifier of a column (`atttypmod`), which `format_type` prints as
/// `native`. `collation` is the name of the column's collation when it is not the database's.
pub(crate) fn describe(
    types: &TypeCatalog,
    oid: u32,
    modifier: i32,
    native: &str,
    collation: Option<&str>,
) -> Result<DescribedType> {
    let unread =
        |oid: u32| Error::new(ErrorKind::Divergence, "the source's catalog has no such type").at("type", oid);
    let mut attributes = Vec::new();
    let mut row = types.get(oid).ok_or_else(|| unread(oid))?;
    let (mut modifier, mut native) = (modifier, native);
    let mut depth = 0;
    while row.kind == 'd' {
        if attributes.is_empty() {
            attributes.push(("domain".to_owned(), format!("{}.{}", row.schema, row.name)));
        }
        (modifier, native) = (row.base_modifier, &row.base_native);
        depth += 1;
        row = types.get(row.base).filter(|_| depth < DEEPEST).ok_or_else(|| unread(row.base))?;
    }
    let logical = match row.kind {
        'e' => LogicalType::Enumeration { labels: row.labels.clone() },
        'r' => LogicalType::in_text_form("range"),
        'm' => LogicalType::in_text_form("multirange"),
        'c' => LogicalType::in_text_form("composite"),
        _ if row.element != 0 => {
            let element = types.get(row.element).ok_or_else(|| unread(row.element))?;
            if element.delimiter != ',' {
                attributes.push(("delimiter".to_owned(), element.delimiter.to_string()));
            }
            attributes.push(("element".to_owned(), element_kind(types, element).to_owned()));
            LogicalType::in_text_form("array")
        }
        _ if row.schema == "pg_catalog" => built_in(&row.name, modifier, collation),
        _ => of_extension(row, collation),
    };
    Ok(DescribedType { logical, native: native.to_owned(), attributes })
}

/// What an element of an array is in JSON.
fn element_kind(types: &TypeCatalog, element: &TypeRow) -> &'static str {
    let mut row = element;
    for _ in 0..DEEPEST {
        match types.get(row.base) {
            Some(base) if row.kind == 'd' => row = base,
            _ => break,
        }
    }
    if row.schema != "pg_catalog" {
        return "text";
    }
    match row.name.as_str() {
        "bool" => "boolean",
        "int1" | "int2" | "int4" | "int8" | "oid" | "float4" | "float8" | "numeric" => "number",
        "json" | "jsonb" => "json",
        _ => "text",
    }
}

/// Types that the server brings along.
fn built_in(name: &str, modifier: i32, collation: Option<&str>) -> LogicalType {
    let integer = |bits, signed| LogicalType::Integer { bits, signed };
    let unless_limited = u32::try_from(modifier - HEADER).ok().filter(|_| modifier >= HEADER);
    let precision = u8::try_from(modifier).unwrap_or(6).min(6);
    match name {
        "bool" => LogicalType::Boolean,
        // openGauss: 0 to 255, and -128 to 127 with dolphin.
        "int1" | "int2" => integer(16, true),
        "int4" => integer(32, true),
        "int8" => integer(64, true),
        "oid" | "cid" => integer(32, false),
        // 32 bits in PostgreSQL, 64 in openGauss.
        "xid" | "xid8" => integer(64, false),
        "float4" => LogicalType::Float32,
        "float8" => LogicalType::Float64,
        "numeric" if modifier < HEADER => LogicalType::in_text_form("numeric"),
        "numeric" => {
            let (precision, scale) = numeric_bounds(modifier);
            LogicalType::Decimal { precision, scale }
        }
        // An integer of hundredths, once the session's lc_monetary is C.
        "money" => LogicalType::Decimal { precision: 19, scale: 2 },
        "text" | "clob" => text(None, false, collation),
        "name" => text(Some(63), false, collation),
        "char" => text(Some(4), false, None),
        "varchar" | "nvarchar2" => text(unless_limited, false, collation),
        "bpchar" => text(unless_limited, unless_limited.is_some(), collation),
        "bytea" | "blob" | "raw" => LogicalType::Bytes { max_bytes: None, fixed: false },
        "date" => LogicalType::Date,
        "time" => LogicalType::Time { precision },
        "timestamp" => LogicalType::Timestamp { precision, zoned: false },
        "timestamptz" => LogicalType::Timestamp { precision, zoned: true },
        "smalldatetime" => LogicalType::Timestamp { precision: 0, zoned: false },
        "json" | "jsonb" => LogicalType::Json,
        "uuid" => LogicalType::Uuid,
        "bit" if modifier > 0 => LogicalType::Bit { width: modifier.unsigned_abs() },
        "bit" | "varbit" => LogicalType::in_text_form("varbit"),
        other => of_dolphin(other).unwrap_or_else(|| LogicalType::in_text_form(other)),
    }
}

/// MySQL's types, which openGauss has with its extension dolphin.
fn of_dolphin(name: &str) -> Option<LogicalType> {
    let integer = |bits, signed| LogicalType::Integer { bits, signed };
    Some(match name {
        "uint1" => integer(8, false),
        "uint2" => integer(16, false),
        "uint4" => integer(32, false),
        "uint8" => integer(64, false),
        "year" => integer(16, true),
        "binary" | "varbinary" | "tinyblob" | "mediumblob" | "longblob" => {
            LogicalType::Bytes { max_bytes: None, fixed: false }
        }
        _ => return None,
    })
}

/// Types of well-known extensions; they live in whatever schema the user chose.
fn of_extension(row: &TypeRow, collation: Option<&str>) -> LogicalType {
    match (row.kind, row.name.as_str()) {
        ('b', "citext") => text(None, false, Some(collation.unwrap_or("citext"))),
        ('b', name @ ("hstore" | "ltree" | "geometry" | "geography" | "vector")) => {
            LogicalType::in_text_form(name)
        }
        ('b', name) => of_dolphin(name).unwrap_or_else(|| LogicalType::in_text_form("unknown")),
        _ => LogicalType::in_text_form("unknown"),
    }
}

fn text(max_chars: Option<u32>, fixed: bool, collation: Option<&str>) -> LogicalType {
    LogicalType::Text { max_chars, fixed, charset: None, collation: collation.map(str::to_owned) }
}

/// Precision and scale: sixteen bits and eleven, the latter signed since PostgreSQL 15 (`numeric.c`).
/// Scales of older servers, up to 1000, read the same.
fn numeric_bounds(modifier: i32) -> (u16, i16) {
    let packed = modifier - HEADER;
    let precision = (packed >> 16 & 0xffff) as u16;
    let scale = ((packed & 0x7ff) ^ 0x400) - 0x400;
    (precision, scale as i16)
}

#[cfg(test)]
mod tests;
