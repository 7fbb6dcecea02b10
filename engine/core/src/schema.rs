//! Tables as the source has them.

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::logical::LogicalType;

/// Namespace (MySQL: database, PostgreSQL: schema) and name of a table, exactly as stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableName {
    /// Database or schema.
    pub namespace: String,
    /// Table.
    pub name: String,
}

impl TableName {
    /// `namespace.name`
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.namespace, self.name)
    }
}

/// A column of a source table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnSchema {
    /// Name as stored.
    pub name: String,
    /// What its values are.
    pub logical: LogicalType,
    /// The type as the source prints it, e.g. `int(10) unsigned zerofill`.
    pub native: String,
    /// Whether NULL is allowed.
    pub nullable: bool,
    /// Default, in the source's SQL: a quoted literal (`'it''s'`, `b'0'`, `42`) or an expression.
    /// `None` when there is none (or it is NULL).
    pub default: Option<String>,
    /// Whether the source renews the column at each update (`ON UPDATE CURRENT_TIMESTAMP`).
    pub on_update_now: bool,
    /// Expression of a generated column, in the source's SQL.
    pub generated: Option<String>,
    /// Numbers itself (`AUTO_INCREMENT`, identity).
    pub identity: bool,
    /// Left out of `SELECT *`.
    pub invisible: bool,
    /// Comment; empty when there is none.
    pub comment: String,
    /// Target type text decided by an earlier plugin of the chain.
    pub target_type: Option<String>,
    /// What else the source knows of it that a plugin may use: `collation` of an enumeration or a set,
    /// `generated` of a generated column (`stored` or `virtual`).
    #[serde(default)]
    pub attributes: Vec<(String, String)>,
}

/// What an index is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum IndexKind {
    /// The primary key.
    Primary,
    /// A unique key.
    Unique,
    /// An ordinary index.
    Plain,
    /// Full text.
    Fulltext,
    /// Spatial.
    Spatial,
}

/// One part of an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexPart {
    /// Ordinal of the column in [`TableSchema::columns`]; `None` for an expression.
    pub column: Option<usize>,
    /// Expression of a functional part, in the source's SQL.
    pub expression: Option<String>,
    /// Leading characters (or bytes of a binary column) that are indexed; `None` = all.
    pub prefix: Option<u32>,
    /// Descending order.
    pub descending: bool,
}

/// An index of a source table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexSchema {
    /// Name, unique within the table (`PRIMARY` for MySQL's primary key).
    pub name: String,
    /// What it is for.
    pub kind: IndexKind,
    /// The parts, in order.
    pub parts: Vec<IndexPart>,
}

impl IndexSchema {
    /// The column ordinals when every part is a whole column.
    pub fn plain_columns(&self) -> Option<Vec<usize>> {
        self.parts.iter().map(|part| if part.prefix.is_none() { part.column } else { None }).collect()
    }
}

/// What happens to a child row when its parent goes or changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReferentialAction {
    /// Refused at the end of the statement.
    NoAction,
    /// Refused at once.
    Restrict,
    /// The child follows.
    Cascade,
    /// The child's columns become NULL.
    SetNull,
    /// The child's columns take their default.
    SetDefault,
}

/// A foreign key of a source table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignKey {
    /// Constraint name.
    pub name: String,
    /// Ordinals of the child's columns.
    pub columns: Vec<usize>,
    /// The parent.
    pub parent: TableName,
    /// Names of the parent's columns, in the order of `columns`.
    pub parent_columns: Vec<String>,
    /// When a parent is deleted.
    pub on_delete: ReferentialAction,
    /// When a parent's key changes.
    pub on_update: ReferentialAction,
}

/// A source table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSchema {
    /// Its name.
    pub name: TableName,
    /// All columns, in the source's order; generated and invisible ones are among them.
    pub columns: Vec<ColumnSchema>,
    /// All indexes.
    pub indexes: Vec<IndexSchema>,
    /// All foreign keys.
    pub foreign_keys: Vec<ForeignKey>,
    /// Comment; empty when there is none.
    pub comment: String,
    /// Collation of text columns that are added without one of their own, where the source has such.
    #[serde(default)]
    pub collation: Option<String>,
    /// Rows as the source's statistics have it.
    pub row_estimate: Option<u64>,
    /// Bytes of data as the source's statistics have it.
    pub byte_estimate: Option<u64>,
    /// Next value of the identity column, when there is one.
    pub next_identity: Option<u64>,
}

impl TableSchema {
    /// The columns that tell rows apart: the primary key, else a unique key whose columns are all
    /// whole and NOT NULL. `None` when only the full row does.
    pub fn row_key(&self) -> Option<Vec<usize>> {
        let whole_not_null = |index: &&IndexSchema| {
            index.plain_columns().is_some_and(|columns| {
                columns.iter().all(|&column| self.columns.get(column).is_some_and(|column| !column.nullable))
            })
        };
        let of_kind = |kind| self.indexes.iter().filter(move |index| index.kind == kind);
        of_kind(IndexKind::Primary)
            .chain(of_kind(IndexKind::Unique))
            .find(whole_not_null)
            .and_then(IndexSchema::plain_columns)
    }
}
