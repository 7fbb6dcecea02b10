//! What the user may set.
//!
//! The JSON Schema in `config.schema.json` is made from these types by a test, which fails when the
//! two differ: a component that made it itself would carry the generator along.

use std::collections::BTreeMap;

use migration_sdk::settings::OnRowError;
use migration_sdk::temporal::Fields;
use serde::Deserialize;

/// The JSON Schema of [`Config`].
pub(crate) const SCHEMA: &str = include_str!("config.schema.json");

/// Configuration of mysql2og. Everything is optional.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Target schema per source database. A database that is not named keeps its own name.
    pub(crate) schemas: BTreeMap<String, String>,
    /// Put before the target schema of every database that `schemas` does not name.
    pub(crate) schema_prefix: String,
    /// Turns the names of schemas, tables and columns into lower case.
    pub(crate) lowercase_names: bool,
    /// What becomes of dates that no calendar has, such as 0000-00-00: "fail", "null", or the date
    /// to put in their place, "YYYY-MM-DD" or "YYYY-MM-DD hh:mm:ss" (UTC where the column has a zone).
    #[cfg_attr(test, schemars(with = "String"))]
    pub(crate) zero_dates: ZeroDates,
    /// Type of tinyint(1). As a boolean, a value other than 0 and 1 stops the task.
    pub(crate) tinyint1: TinyInt1,
    /// Type of bigint unsigned. As a bigint, a value above 9223372036854775807 stops the task.
    pub(crate) unsigned_bigint: UnsignedBigint,
    /// Type of JSON; by default jsonb for MySQL, and json for MariaDB, which keeps JSON as text.
    pub(crate) json: Option<Json>,
    /// Type of geometries: bytea, or geometry of the `PostGIS` extension; both hold extended WKB.
    pub(crate) geometry: Geometry,
    /// Type of vectors: `real[]`, or the type of the pgvector extension.
    pub(crate) vector: VectorType,
    /// What becomes of empty strings where the target can't tell them from NULL, an openGauss database of compatibility A.
    pub(crate) empty_strings: EmptyStrings,
    /// Removes U+0000 from text, which PostgreSQL can't hold. Otherwise such a value stops the task.
    pub(crate) strip_nul: bool,
    /// What becomes of a row that can't be carried over: "fail" stops the task, "dead-letter" sets the
    /// row aside and goes on.
    pub(crate) on_row_error: OnRowError,
    /// Tables to take, as "database.table" with * for any characters; empty = all.
    pub(crate) include: Vec<String>,
    /// Tables to leave out, likewise; stronger than `include`.
    pub(crate) exclude: Vec<String>,
    /// Exceptions per table, by "database.table", where * stands for any characters; a table's own name is
    /// stronger.
    pub(crate) tables: BTreeMap<String, TableOverride>,
}

/// Exceptions for one table.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TableOverride {
    /// Target schema.
    pub(crate) schema: Option<String>,
    /// Target name.
    pub(crate) name: Option<String>,
    /// Creates the table without its rows.
    pub(crate) schema_only: bool,
    /// Leaves the table out.
    pub(crate) skip: bool,
    /// As the setting of the same name, for this table.
    pub(crate) on_row_error: Option<OnRowError>,
    /// Exceptions per column.
    pub(crate) columns: BTreeMap<String, ColumnOverride>,
}

/// Exceptions for one column.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ColumnOverride {
    /// Target name.
    pub(crate) name: Option<String>,
    /// Target type, in the target's SQL.
    #[serde(rename = "type")]
    pub(crate) target_type: Option<String>,
    /// Default, in the target's SQL; "" for none.
    pub(crate) default: Option<String>,
    /// Whether NULL is allowed.
    pub(crate) nullable: Option<bool>,
    /// Leaves the column out.
    pub(crate) drop: bool,
    /// As the setting of the same name, for this column.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(crate) zero_dates: Option<ZeroDates>,
    /// As the setting of the same name, for this column.
    pub(crate) tinyint1: Option<TinyInt1>,
    /// As the setting of the same name, for this column.
    pub(crate) unsigned_bigint: Option<UnsignedBigint>,
    /// As the setting of the same name, for this column.
    pub(crate) json: Option<Json>,
    /// As the setting of the same name, for this column.
    pub(crate) empty_strings: Option<EmptyStrings>,
    /// As the setting of the same name, for this column.
    pub(crate) strip_nul: Option<bool>,
    /// Conversions of the values, in order, after those the other settings ask for.
    pub(crate) ops: Vec<Operation>,
}

/// What becomes of dates that no calendar has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum ZeroDates {
    /// They stop the task.
    #[default]
    Fail,
    /// They become NULL.
    Null,
    /// They become this date.
    Replace(Fields),
}

impl TryFrom<String> for ZeroDates {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "fail" => Ok(Self::Fail),
            "null" => Ok(Self::Null),
            date => Fields::parse(date).map(Self::Replace).ok_or_else(|| {
                format!("zero_dates = \"{date}\" is none of \"fail\", \"null\", \"YYYY-MM-DD\", \"YYYY-MM-DD hh:mm:ss\"")
            }),
        }
    }
}

/// What becomes of empty strings where the target can't tell them from NULL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum EmptyStrings {
    /// They stop the task.
    #[default]
    Fail,
    /// They become NULL.
    Null,
}

/// Type of tinyint(1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum TinyInt1 {
    /// All its values fit.
    #[default]
    Smallint,
    /// 0 and 1 only.
    Boolean,
}

/// Type of bigint unsigned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum UnsignedBigint {
    /// numeric(20,0): all its values fit.
    #[default]
    Numeric,
    /// Faster and smaller, half the range.
    Bigint,
}

/// Type of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum Json {
    /// Parsed, can be indexed.
    Jsonb,
    /// Kept as text.
    Json,
}

/// Type of geometries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum Geometry {
    /// Extended WKB.
    #[default]
    Bytea,
    /// The type `geometry` of the `PostGIS` extension.
    Postgis,
}

/// Type of vectors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum VectorType {
    /// An array.
    #[default]
    #[serde(rename = "real[]")]
    RealArray,
    /// The type `vector` of the pgvector extension.
    Pgvector,
}

/// A conversion of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Operation {
    /// Text: removes trailing spaces.
    TrimEnd,
    /// Text: lower case.
    Lowercase,
    /// Text: upper case.
    Uppercase,
    /// An empty value becomes NULL.
    EmptyToNull,
    /// 0 and 1 become booleans, anything else stops the task.
    IntegerToBoolean,
    /// A bit string of at most 64 bits becomes an integer.
    BitToInteger,
    /// Its text.
    ToText,
    /// Bytes become hexadecimal text.
    Hex,
    /// Bytes become base64 text.
    Base64,
}
