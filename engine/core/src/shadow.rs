//! A copy of some of a target's rows, in which defects are planted to see whether a check finds them.

mod planting;

use async_trait::async_trait;
use std::sync::Arc;

use crate::error::Result;
use crate::examine::{Examiner, KeyRange};
use crate::plan::TargetTable;

pub use planting::{Ground, OtherKey, Planting, Spoiling};

/// What can be wrong with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Defect {
    /// The last digit of a number or a date is another.
    LastDigit,
    /// One bit is another, in a text of its last character.
    OneBit,
    /// There is a space more at the end.
    TrailingSpace,
    /// NULL in place of a value.
    NullForValue,
    /// An empty value in place of NULL.
    EmptyForNull,
    /// A document is wrapped into another.
    OtherDocument,
    /// Two rows have each other's values.
    SwappedValues,
    /// A row is not there.
    MissingRow,
    /// The first or the last row of a part is not there.
    MissingEdge,
    /// There is a row with a key that no other has.
    ExtraRow,
    /// A row is there twice.
    DoubledRow,
}

impl Defect {
    /// The name that people and scripts see.
    pub fn name(self) -> &'static str {
        match self {
            Self::LastDigit => "last digit",
            Self::OneBit => "one bit",
            Self::TrailingSpace => "trailing space",
            Self::NullForValue => "NULL for a value",
            Self::EmptyForNull => "empty for NULL",
            Self::OtherDocument => "other document",
            Self::SwappedValues => "swapped values",
            Self::MissingRow => "missing row",
            Self::MissingEdge => "missing edge of a part",
            Self::ExtraRow => "extra row",
            Self::DoubledRow => "doubled row",
        }
    }
}

/// What a check must say of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// The row is missing.
    Missing,
    /// The row should not be there.
    Extra,
    /// The row has other values.
    Different,
}

/// A defect that was planted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planted {
    /// What was done.
    pub defect: Defect,
    /// To which column, by its [source name](crate::plan::TargetColumn::source_name).
    pub column: Option<String>,
    /// The rows that a check must find fault with, [canonical](crate::examine). Of a table with a row key the
    /// key alone counts.
    pub effects: Vec<(Vec<u8>, Effect)>,
}

/// A connection with a copy of some of a table's rows.
///
/// As an [`Examiner`] it reads the copy in place of the table. [`begin`](Examiner::begin) says where the task stood in the
/// snapshot that the copy is of: one of all copies, taken by the first `begin`, or one of each, taken by
/// [`copy`](Self::copy). [`end`](Examiner::end) does nothing.
/// Neither the copies nor anything else of it can be seen by others, nor outlives the connection.
#[async_trait]
pub trait Shadow: Examiner {
    /// Copies the rows of some consecutive parts of a table, in place of what was copied before; how many these are.
    async fn copy(&mut self, table: &Arc<TargetTable>, parts: &[KeyRange]) -> Result<u64>;

    /// Plants defects of every kind that the types of the table's columns allow, each in rows of its own. What there
    /// are no rows left for comes with the next call, after an [`undo`](Self::undo); none when nothing is left.
    async fn plant(&mut self) -> Result<Vec<Planted>>;

    /// Puts the copy back to what it was.
    async fn undo(&mut self) -> Result<()>;

    /// What was not planted for want of a row that it could be done to, each with its column.
    fn not_planted(&self) -> Vec<(Defect, Option<String>)>;
}
