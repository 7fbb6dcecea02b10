//! What the user may set.
//!
//! The JSON Schema in `config.schema.json` is made from these types by a test, which fails when the
//! two differ: a component that made it itself would carry the generator along.

use std::collections::BTreeMap;

use migration_sdk::settings::OnRowError;
use serde::Deserialize;

/// The JSON Schema of [`Config`].
pub(crate) const SCHEMA: &str = include_str!("config.schema.json");

/// Configuration of og2mysql. Everything is optional.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Target database per source schema. Of those that are not named, "public" goes to the database of
    /// the target's URL, or to one that is called as the source's database; others keep their names.
    pub(crate) databases: BTreeMap<String, String>,
    /// Type of numbers without bounds: "decimal(p,s)", of which one with more digits stops the task,
    /// "text", or "fail" to be told of such columns.
    #[cfg_attr(test, schemars(with = "String"))]
    pub(crate) numeric: Numeric,
    /// What becomes of dates that MySQL doesn't reach: infinite ones, those before the year 1 and those
    /// after 9999 (of a TIMESTAMP, those outside of 1970 to 2038).
    pub(crate) far_dates: FarDates,
    /// What becomes of NaN and of infinite numbers.
    pub(crate) not_finite: NotFinite,
    /// Type of timestamp with time zone; either holds the time in UTC.
    pub(crate) timestamptz: Timestamptz,
    /// Type of interval. In microseconds, a day has 24 hours, and an interval with months stops the task.
    pub(crate) interval: Interval,
    /// Type of arrays. As JSON, one that is not counted from 1 stops the task.
    pub(crate) arrays: Arrays,
    /// Type of json and jsonb.
    pub(crate) json: Json,
    /// Type of uuid.
    pub(crate) uuid: Uuid,
    /// Type of enums.
    pub(crate) enums: Enums,
    /// What becomes of a row that can't be carried over: "fail" stops the task, "dead-letter" sets the
    /// row aside and goes on.
    pub(crate) on_row_error: OnRowError,
    /// Tables to take, as "schema.table" with * for any characters; empty = all.
    pub(crate) include: Vec<String>,
    /// Tables to leave out, likewise; stronger than `include`.
    pub(crate) exclude: Vec<String>,
    /// Exceptions per table, by "schema.table", where * stands for any characters; a table's own name is
    /// stronger.
    pub(crate) tables: BTreeMap<String, TableOverride>,
}

/// Exceptions for one table.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TableOverride {
    /// Target database.
    pub(crate) database: Option<String>,
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
    /// Target type, in the target's SQL, with its attributes: "varchar(20) CHARACTER SET ascii".
    /// The values are converted as that type needs them.
    #[serde(rename = "type")]
    pub(crate) target_type: Option<String>,
    /// Default, in the target's SQL; "" for none.
    pub(crate) default: Option<String>,
    /// Whether NULL is allowed.
    pub(crate) nullable: Option<bool>,
    /// Leaves the column out.
    pub(crate) drop: bool,
    /// As the setting of the same name, for this column.
    pub(crate) far_dates: Option<FarDates>,
    /// As the setting of the same name, for this column.
    pub(crate) not_finite: Option<NotFinite>,
}

/// Type of numbers without bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Numeric {
    /// Whoever plans is told of the column.
    Fail,
    /// Their text.
    Text,
    /// A decimal.
    Decimal {
        /// All digits, at most 65.
        precision: u16,
        /// Digits after the point, at most 30.
        scale: u16,
    },
}

impl Default for Numeric {
    fn default() -> Self {
        Self::Decimal { precision: 65, scale: 30 }
    }
}

impl TryFrom<String> for Numeric {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let decimal = || {
            let (precision, scale) = text.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
            let (precision, scale): (u16, u16) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
            ((1..=65).contains(&precision) && scale <= precision.min(30))
                .then_some(Self::Decimal { precision, scale })
        };
        match text.as_str() {
            "fail" => Ok(Self::Fail),
            "text" => Ok(Self::Text),
            other => decimal().ok_or_else(|| {
                format!("numeric = \"{other}\" is none of \"fail\", \"text\", \"decimal(p,s)\" with p up to 65 and s up to 30")
            }),
        }
    }
}

/// What becomes of dates out of reach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum FarDates {
    /// They stop the task.
    #[default]
    Fail,
    /// They become NULL.
    Null,
    /// They become the nearest date that the column holds.
    Nearest,
}

/// What becomes of NaN and of infinite numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum NotFinite {
    /// They stop the task.
    #[default]
    Fail,
    /// They become NULL.
    Null,
}

/// Type of timestamp with time zone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum Timestamptz {
    /// All years from 1 to 9999; the same to every session.
    #[default]
    Datetime,
    /// 1970 to 2038; shown in the session's time zone.
    Timestamp,
}

/// Type of interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum Interval {
    /// Its text, such as "1 year 2 mons -3 days +04:05:06".
    #[default]
    Text,
    /// bigint.
    Microseconds,
}

/// Type of arrays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum Arrays {
    /// A JSON array.
    #[default]
    Json,
    /// Its text, such as "{1,2,NULL}".
    Text,
}

/// Type of json and jsonb.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum Json {
    /// Parsed, can be queried.
    #[default]
    Json,
    /// Kept as text.
    Text,
}

/// Type of uuid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) enum Uuid {
    /// Its text.
    #[default]
    #[serde(rename = "char(36)")]
    Text,
    /// Its bytes, in the order of the text.
    #[serde(rename = "binary(16)")]
    Bytes,
    /// MariaDB's own type, from 10.7 on.
    #[serde(rename = "uuid")]
    Native,
}

/// Type of enums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum Enums {
    /// ENUM with the same labels.
    #[default]
    Enum,
    /// Their text.
    Text,
}
