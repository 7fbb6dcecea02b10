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

/// Configuration of mysql2mysql. Everything is optional.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Target database per source database. One that is not named goes to the database of the target's
    /// URL, or keeps its name if that has none.
    pub(crate) databases: BTreeMap<String, String>,
    /// What becomes of dates that no calendar has, such as 0000-00-00: "keep", "null", or the date to
    /// put in their place, "YYYY-MM-DD" or "YYYY-MM-DD hh:mm:ss" (UTC for a TIMESTAMP).
    #[cfg_attr(test, schemars(with = "String"))]
    pub(crate) zero_dates: ZeroDates,
    /// Type of MariaDB's JSON in MySQL: "text" keeps every document as it is written, "json" parses it.
    pub(crate) json: Json,
    /// Type of MariaDB's UUID in MySQL.
    pub(crate) uuid: Uuid,
    /// What becomes of a row that can't be carried over: "fail" stops the task, "dead-letter" sets the
    /// row aside and goes on.
    pub(crate) on_row_error: OnRowError,
    /// Whether other tables, of this task or of others, become the same ones of the target, each with the rows
    /// of another shard.
    pub(crate) merge: bool,
    /// Tables to take, as "database.table" with * for any characters; empty = all.
    pub(crate) include: Vec<String>,
    /// Tables to leave out, likewise; stronger than `include`.
    pub(crate) exclude: Vec<String>,
    /// Views, triggers, functions, procedures and events.
    pub(crate) objects: Objects,
    /// Exceptions per table, by "database.table", where * stands for any characters; a table's own name is
    /// stronger.
    pub(crate) tables: BTreeMap<String, TableOverride>,
}

/// What becomes of views, triggers, functions, procedures and events.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Objects {
    /// Whether they are copied.
    pub(crate) copy: bool,
    /// With whose rights they run: "keep" has the account that they have in the source, which the target
    /// must know; "account" the one that the engine logs in with; "invoker" whoever uses them, where that
    /// is possible, else as "account".
    pub(crate) definer: Definer,
    /// Objects to leave out, as "database.name" with * for any characters.
    pub(crate) exclude: Vec<String>,
}

impl Default for Objects {
    fn default() -> Self {
        Self { copy: true, definer: Definer::default(), exclude: Vec::new() }
    }
}

/// With whose rights an object runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Definer {
    /// Those of the account that it has in the source.
    #[default]
    Keep,
    /// Those of the account that the engine logs in with.
    Account,
    /// Those of whoever uses it.
    Invoker,
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
    pub(crate) merge: Option<bool>,
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
    /// Target type, in the target's SQL, with its attributes: "varchar(20) INVISIBLE".
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
}

/// What becomes of dates that no calendar has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum ZeroDates {
    /// They stay what they are.
    #[default]
    Keep,
    /// They become NULL.
    Null,
    /// They become this date.
    Replace(Fields),
}

impl TryFrom<String> for ZeroDates {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "keep" => Ok(Self::Keep),
            "null" => Ok(Self::Null),
            date => Fields::parse(date).map(Self::Replace).ok_or_else(|| {
                format!("zero_dates = \"{date}\" is none of \"keep\", \"null\", \"YYYY-MM-DD\", \"YYYY-MM-DD hh:mm:ss\"")
            }),
        }
    }
}

/// Type of MariaDB's JSON in MySQL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum Json {
    /// longtext, as MariaDB itself has it.
    #[default]
    Text,
    /// json.
    Json,
}

/// Type of MariaDB's UUID in MySQL.
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
}
