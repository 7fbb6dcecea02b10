//! What a database has beside tables: views, triggers, functions, procedures and events.

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::schema::TableName;

/// What an object is. In the order in which objects are created: what comes later may use what comes
/// before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectKind {
    /// A stored function.
    Function,
    /// A stored procedure.
    Procedure,
    /// A view.
    View,
    /// What a database does by the clock.
    Event,
    /// What a database does when a row changes.
    Trigger,
}

impl ObjectKind {
    /// The word for it, in messages and in the plugin contract.
    pub fn name(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Procedure => "procedure",
            Self::View => "view",
            Self::Event => "event",
            Self::Trigger => "trigger",
        }
    }

    /// Whether it acts on rows by itself, so that a target that changes are still applied to must not
    /// have it.
    pub fn acts(self) -> bool {
        matches!(self, Self::Event | Self::Trigger)
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An object of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseObject {
    /// What it is.
    pub kind: ObjectKind,
    /// Its database and name.
    pub name: TableName,
    /// The table of a trigger, in the same database.
    pub table: Option<String>,
    /// The account with whose rights it runs, as the source quotes it; empty when it has none.
    pub definer: String,
    /// The statement that creates it, in the source's SQL, without its definer and what `environment`
    /// has of it. Its own database is not named in it, unless whoever wrote it did so.
    pub definition: String,
    /// What else it depends on: `sql_mode`, `time_zone`, character sets and collations of the session
    /// that made it, by the source's names for them.
    pub environment: Vec<(String, String)>,
}

/// With whose rights an object runs in the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Definer {
    /// Those of the account that it has in the source, which the target must know.
    Keep,
    /// Those of the account that creates it.
    Account,
    /// Those of whoever uses it; where there are no such objects, as [`Account`](Self::Account).
    Invoker,
}

/// What a plugin makes of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectAction {
    /// It is created in the target.
    Copy(ObjectMapping),
    /// It stays behind, for this reason.
    LeaveOut(String),
}

/// How an object is created in the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMapping {
    /// Its database there.
    pub namespace: String,
    /// The statement, in the target's SQL.
    pub definition: String,
    /// With whose rights it runs.
    pub definer: Definer,
    /// What else it depends on, by the target's names.
    pub environment: Vec<(String, String)>,
}

/// An object as the target is to have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetObject {
    /// What it is.
    pub kind: ObjectKind,
    /// Its name in the source.
    pub source: TableName,
    /// Its name in the target.
    pub name: TableName,
    /// The account that it has in the source.
    pub definer: String,
    /// How it is created.
    pub mapping: ObjectMapping,
}

impl TargetObject {
    /// What the object depends on, by name; empty when nothing is known.
    pub fn environment(&self, name: &str) -> &str {
        let found = self.mapping.environment.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

impl fmt::Display for TargetObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.source)
    }
}
