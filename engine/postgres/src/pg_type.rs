//! What a column type's text says about how its values are written.

use std::fmt;

/// A type as far as encoding is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PgType {
    /// `boolean`
    Bool,
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `numeric`, with precision and scale when declared.
    Numeric(Option<(u16, i16)>),
    /// `real`
    Float4,
    /// `double precision`
    Float8,
    /// `text`, and types whose binary form is their text (`citext`).
    Text,
    /// `varchar(n)`
    Varchar(Option<u32>),
    /// `char(n)`, blank-padded.
    Bpchar(Option<u32>),
    /// `json`
    Json,
    /// `jsonb`
    Jsonb,
    /// `xml`
    Xml,
    /// `bytea`
    Bytea,
    /// `uuid`
    Uuid,
    /// `date`
    Date,
    /// `time(p) without time zone`
    Time(u8),
    /// `timestamp(p) without time zone`
    Timestamp(u8),
    /// `timestamp(p) with time zone`
    TimestampTz(u8),
    /// `interval(p)`
    Interval(u8),
    /// `bit(n)`
    Bit(u32),
    /// `bit varying(n)`
    Varbit(Option<u32>),
    /// `real[]`
    Float4Array,
    /// `double precision[]`
    Float8Array,
    /// `geometry` or `geography` of `PostGIS`: extended WKB.
    Geometry,
    /// pgvector's `vector`.
    Vector,
    /// Another name, as written. The server says what it is when rows are to be written: an
    /// enumeration takes text, a domain is its base type, anything else is refused.
    Named(String),
    /// An enumeration, by its name as written.
    Enum(String),
}

impl PgType {
    /// Reads a type as written in SQL or as `format_type` prints it. Never fails: what isn't known
    /// is [`PgType::Named`].
    pub(crate) fn parse(text: &str) -> Self {
        let trimmed = text.trim();
        let named = || Self::Named(trimmed.to_owned());
        if let Some(element) = trimmed.strip_suffix("[]") {
            return match Self::parse(element) {
                Self::Float4 => Self::Float4Array,
                Self::Float8 => Self::Float8Array,
                _ => named(),
            };
        }
        if trimmed.contains('"') {
            return named();
        }
        let lower = trimmed.to_ascii_lowercase();
        let Some((name, arguments)) = split_arguments(&lower) else { return named() };
        let name = name.strip_prefix("pg_catalog.").unwrap_or(&name);
        let first = arguments.first().copied();
        let none = arguments.is_empty();
        let length = first.and_then(|length| u32::try_from(length).ok());
        let digits = first.and_then(|digits| u8::try_from(digits).ok()).unwrap_or(6).min(6);
        match name {
            "boolean" | "bool" if none => Self::Bool,
            "smallint" | "int2" if none => Self::Int2,
            "integer" | "int" | "int4" if none => Self::Int4,
            "bigint" | "int8" if none => Self::Int8,
            "numeric" | "decimal" | "dec" => Self::Numeric(first.and_then(|precision| {
                let scale = arguments.get(1).copied().unwrap_or(0);
                Some((u16::try_from(precision).ok()?, i16::try_from(scale).ok()?))
            })),
            "real" | "float4" if none => Self::Float4,
            "double precision" | "float8" if none => Self::Float8,
            "float" => match length {
                Some(1..=24) => Self::Float4,
                _ => Self::Float8,
            },
            "text" | "citext" if none => Self::Text,
            "character varying" | "varchar" => Self::Varchar(length),
            "character" | "char" => Self::Bpchar(Some(length.unwrap_or(1))),
            "bpchar" => Self::Bpchar(length),
            "json" if none => Self::Json,
            "jsonb" if none => Self::Jsonb,
            "xml" if none => Self::Xml,
            "bytea" if none => Self::Bytea,
            "uuid" if none => Self::Uuid,
            "date" if none => Self::Date,
            "time" | "time without time zone" => Self::Time(digits),
            "timestamp" | "timestamp without time zone" => Self::Timestamp(digits),
            "timestamptz" | "timestamp with time zone" => Self::TimestampTz(digits),
            "interval" => Self::Interval(digits),
            "bit" => Self::Bit(length.unwrap_or(1)),
            "bit varying" | "varbit" => Self::Varbit(length),
            "geometry" | "geography" | "public.geometry" | "public.geography" => Self::Geometry,
            "vector" | "public.vector" => Self::Vector,
            _ => named(),
        }
    }

    /// The name under which `unnest` takes an array of the type, without a length: a cast to a type
    /// with one would cut values in silence, where the assignment to the column refuses them.
    /// `None` for types that go as text and are cast to the column's type by the server.
    pub(crate) fn array_element(&self) -> Option<&'static str> {
        Some(match self {
            Self::Bool => "pg_catalog.bool",
            Self::Int2 => "pg_catalog.int2",
            Self::Int4 => "pg_catalog.int4",
            Self::Int8 => "pg_catalog.int8",
            Self::Numeric(_) => "pg_catalog.numeric",
            Self::Float4 => "pg_catalog.float4",
            Self::Float8 => "pg_catalog.float8",
            Self::Text => "pg_catalog.text",
            Self::Varchar(_) => "pg_catalog.varchar",
            Self::Bpchar(_) => "pg_catalog.bpchar",
            Self::Json => "pg_catalog.json",
            Self::Jsonb => "pg_catalog.jsonb",
            Self::Xml => "pg_catalog.xml",
            Self::Bytea => "pg_catalog.bytea",
            Self::Uuid => "pg_catalog.uuid",
            Self::Date => "pg_catalog.date",
            Self::Time(_) => "pg_catalog.\"time\"",
            Self::Timestamp(_) => "pg_catalog.\"timestamp\"",
            Self::TimestampTz(_) => "pg_catalog.timestamptz",
            Self::Interval(_) => "pg_catalog.\"interval\"",
            Self::Bit(_) => "pg_catalog.\"bit\"",
            Self::Varbit(_) => "pg_catalog.varbit",
            Self::Float4Array
            | Self::Float8Array
            | Self::Geometry
            | Self::Vector
            | Self::Named(_)
            | Self::Enum(_) => return None,
        })
    }
}

impl fmt::Display for PgType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("boolean"),
            Self::Int2 => f.write_str("smallint"),
            Self::Int4 => f.write_str("integer"),
            Self::Int8 => f.write_str("bigint"),
            Self::Numeric(None) => f.write_str("numeric"),
            Self::Numeric(Some((precision, scale))) => write!(f, "numeric({precision},{scale})"),
            Self::Float4 => f.write_str("real"),
            Self::Float8 => f.write_str("double precision"),
            Self::Text => f.write_str("text"),
            Self::Varchar(None) => f.write_str("varchar"),
            Self::Varchar(Some(length)) => write!(f, "varchar({length})"),
            Self::Bpchar(None) => f.write_str("bpchar"),
            Self::Bpchar(Some(length)) => write!(f, "char({length})"),
            Self::Json => f.write_str("json"),
            Self::Jsonb => f.write_str("jsonb"),
            Self::Xml => f.write_str("xml"),
            Self::Bytea => f.write_str("bytea"),
            Self::Uuid => f.write_str("uuid"),
            Self::Date => f.write_str("date"),
            Self::Time(digits) => write!(f, "time({digits})"),
            Self::Timestamp(digits) => write!(f, "timestamp({digits})"),
            Self::TimestampTz(digits) => write!(f, "timestamptz({digits})"),
            Self::Interval(digits) => write!(f, "interval({digits})"),
            Self::Bit(width) => write!(f, "bit({width})"),
            Self::Varbit(None) => f.write_str("bit varying"),
            Self::Varbit(Some(width)) => write!(f, "bit varying({width})"),
            Self::Float4Array => f.write_str("real[]"),
            Self::Float8Array => f.write_str("double precision[]"),
            Self::Geometry => f.write_str("geometry"),
            Self::Vector => f.write_str("vector"),
            Self::Named(name) | Self::Enum(name) => f.write_str(name),
        }
    }
}

/// `timestamp(6) without time zone` → `timestamp without time zone`, `[6]`. `None` when the
/// parentheses hold anything but numbers.
fn split_arguments(text: &str) -> Option<(String, Vec<i64>)> {
    let collapse = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let Some((before, rest)) = text.split_once('(') else {
        return Some((collapse(text), Vec::new()));
    };
    let (inside, after) = rest.split_once(')')?;
    let arguments = inside.split(',').map(|part| part.trim().parse().ok()).collect::<Option<Vec<i64>>>();
    // `geometry(Point,4326)`: the modifier is the server's to check.
    let before = collapse(before);
    match arguments {
        Some(arguments) => Some((collapse(&format!("{before} {after}")), arguments)),
        None if before.ends_with("geometry") || before.ends_with("geography") => Some((before, Vec::new())),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_plans_and_the_server_write() {
        for (text, expected) in [
            ("smallint", PgType::Int2),
            (" BIGINT ", PgType::Int8),
            ("numeric(20,0)", PgType::Numeric(Some((20, 0)))),
            ("numeric(65, 30)", PgType::Numeric(Some((65, 30)))),
            ("decimal(5)", PgType::Numeric(Some((5, 0)))),
            ("numeric(3,-2)", PgType::Numeric(Some((3, -2)))),
            ("numeric", PgType::Numeric(None)),
            ("double  precision", PgType::Float8),
            ("float(24)", PgType::Float4),
            ("float", PgType::Float8),
            ("timestamp(6) without time zone", PgType::Timestamp(6)),
            ("timestamp(3) with time zone", PgType::TimestampTz(3)),
            ("timestamptz", PgType::TimestampTz(6)),
            ("time(0)", PgType::Time(0)),
            ("interval", PgType::Interval(6)),
            ("varchar(5)", PgType::Varchar(Some(5))),
            ("character varying", PgType::Varchar(None)),
            ("char(3)", PgType::Bpchar(Some(3))),
            ("character", PgType::Bpchar(Some(1))),
            ("bit(10)", PgType::Bit(10)),
            ("bit", PgType::Bit(1)),
            ("bit varying(8)", PgType::Varbit(Some(8))),
            ("real[]", PgType::Float4Array),
            ("geometry", PgType::Geometry),
            ("geometry(Point,4326)", PgType::Geometry),
            ("pg_catalog.int4", PgType::Int4),
        ] {
            assert_eq!(PgType::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn leaves_what_it_does_not_know_to_the_server() {
        for text in
            [r#""my schema"."my enum""#, "mood", "text[]", "int4range", "time with time zone", "money"]
        {
            assert_eq!(PgType::parse(text), PgType::Named(text.to_owned()));
        }
    }

    #[test]
    fn prints_what_it_reads() {
        for text in ["numeric(20,0)", "timestamptz(3)", "bit varying(8)", "char(3)", "real[]", "interval(6)"]
        {
            assert_eq!(PgType::parse(text).to_string(), text);
        }
    }
}
