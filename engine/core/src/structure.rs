//! Changes of structure: what a statement does to the tables of a source, and what the target is to
//! do about it.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

use crate::column::Column;
use crate::plan::TargetTable;
use crate::position::Position;
use crate::schema::{TableName, TableSchema};

/// A source table as the task knows it, kept in the target with the rows that have its structure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedTable {
    /// The table.
    pub schema: TableSchema,
    /// A position that holds every transaction that reading the structure can have seen: whether a
    /// change of it before this position is in the structure can't be told. `None` when it follows
    /// from the stream, and so is exact.
    pub as_of: Option<Position>,
}

/// What a statement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StructureKind {
    /// `create-table`
    CreateTable,
    /// `alter-table`
    AlterTable,
    /// `drop-table`
    DropTable,
    /// `rename-table`
    RenameTable,
    /// `truncate`
    Truncate,
    /// `create-index`
    CreateIndex,
    /// `drop-index`
    DropIndex,
}

impl StructureKind {
    /// The word that plugins know it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::CreateTable => "create-table",
            Self::AlterTable => "alter-table",
            Self::DropTable => "drop-table",
            Self::RenameTable => "rename-table",
            Self::Truncate => "truncate",
            Self::CreateIndex => "create-index",
            Self::DropIndex => "drop-index",
        }
    }
}

/// What rows that are there already have in a column that is added.
#[derive(Debug, Clone, PartialEq)]
pub enum Fill {
    /// This value, the only one of the column.
    Value(Column),
    /// Not known, for this reason: the column can be added to a table without rows only.
    Unknown(String),
}

/// Where a column of an altered table comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum ColumnOrigin {
    /// From the column of this ordinal. Its values are what they were, whatever its type is now.
    Kept(usize),
    /// It is new.
    Added(Fill),
}

/// What a statement did to one table of the source.
#[derive(Debug, Clone, PartialEq)]
pub struct TableEvolution {
    /// What the statement did.
    pub kind: StructureKind,
    /// The table's name before; `None` when it came into being.
    pub before: Option<TableName>,
    /// The table after; `None` when it went.
    pub after: Option<TableSchema>,
    /// One per column of `after`, where there was a table before.
    pub columns: Vec<ColumnOrigin>,
    /// Its rows went.
    pub emptied: bool,
}

/// What the target is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum TargetAction {
    /// What the difference between the two tables asks for.
    Translate,
    /// These statements, and nothing else. None at all is for a change that the target does not
    /// take part in.
    Execute(Vec<String>),
}

/// A change of one table of the target.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetEvolution {
    /// The source table before; `None` when it came into being.
    pub source: Option<TableName>,
    /// The table before; `None` when there was none.
    pub before: Option<Arc<TargetTable>>,
    /// The table after; `None` when there is none.
    pub after: Option<Arc<TargetTable>>,
    /// One per column of `after`, where there was a table before; ordinals are those of `before`. A
    /// generated column that is new has [`Fill::Unknown`], and the target computes it.
    pub columns: Vec<ColumnOrigin>,
    /// Its rows go.
    pub emptied: bool,
    /// What to do.
    pub action: TargetAction,
}

/// Everything that changes in the target at one position.
#[derive(Debug, Clone, PartialEq)]
pub struct Evolution {
    /// Every table of the task before.
    pub before: Vec<Arc<TargetTable>>,
    /// Every table of the task after.
    pub after: Vec<Arc<TargetTable>>,
    /// What changes.
    pub changes: Vec<TargetEvolution>,
    /// Source tables whose record goes.
    pub forgotten: Vec<TableName>,
    /// Source tables whose record is new or replaced, after `forgotten` went.
    pub recorded: Vec<RecordedTable>,
    /// Digest of the plan before.
    pub old_digest: String,
    /// Digest of the plan after.
    pub new_digest: String,
    /// Where the stream goes on.
    pub position: Position,
}
