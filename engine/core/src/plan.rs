//! What a plan says: per plugin of the chain a [`StagePlan`], and as their result the
//! [`TargetTable`] that the target creates and writes.

use serde::{Deserialize, Serialize};

use crate::finding::Finding;
use crate::logical::LogicalType;
use crate::schema::{IndexKind, ReferentialAction, TableName};

/// A single value, for constants and rare paths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Scalar {
    /// NULL.
    Null,
    /// Boolean.
    Boolean(bool),
    /// Signed integer; also days, and microseconds of a time.
    Int(i64),
    /// Unsigned integer.
    Uint(u64),
    /// Floating point.
    Real(f64),
    /// Decimal text.
    Decimal(String),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Microseconds since 1970-01-01T00:00:00.
    Timestamp(i64),
}

/// Whether and how a table takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Disposition {
    /// Structure and rows.
    Migrate,
    /// Structure alone.
    SchemaOnly,
    /// Not at all.
    Skip,
}

/// A conversion that the host runs over whole columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum NativeOp {
    /// Text: removes U+0000.
    StripNul,
    /// Text: removes trailing spaces.
    TrimEnd,
    /// Text: lower case.
    Lowercase,
    /// Text: upper case.
    Uppercase,
    /// Text, bytes: an empty value becomes NULL.
    EmptyToNull,
    /// NULL becomes the value.
    NullTo(Scalar),
    /// Dates: an irregular value (see [`crate::temporal`]) becomes NULL.
    IrregularDateToNull,
    /// Dates: an irregular value becomes this one, in the column's own unit.
    IrregularDateTo(i64),
    /// Timestamps: adds seconds.
    ShiftSeconds(i32),
    /// Text: keeps the first characters.
    TruncateChars(u32),
    /// Integers: 0 and 1 become booleans, anything else is an error.
    IntegerToBoolean,
    /// Bit strings of at most 64 bits: becomes an unsigned integer.
    BitToInteger,
    /// Anything: its canonical text; dates as `YYYY-MM-DD HH:MM:SS.ffffff`, irregular ones too.
    ToText,
    /// Bytes: lower-case hexadecimal text.
    Hex,
    /// Bytes: base64 text.
    Base64,
    /// `geometry`: extended WKB, little-endian, with the SRID in its header.
    GeometryToEwkb,
    /// Dates: a calendar value outside of these, in the column's own unit, or an infinite one becomes
    /// the nearest of them, or NULL.
    DatesWithin {
        /// The first that stays.
        first: i64,
        /// The last that stays.
        last: i64,
        /// Whether the others become the nearest of them, rather than NULL.
        nearest: bool,
    },
    /// Floating-point numbers, decimals, `text/numeric`: NaN and the infinities become NULL.
    NotFiniteToNull,
    /// Decimals, `text/numeric`: becomes a decimal; an error when it has more digits.
    ToDecimal {
        /// All digits.
        precision: u16,
        /// Digits after the point.
        scale: u16,
    },
    /// `text/array`: becomes a JSON array, of arrays where there are several dimensions. An array whose
    /// elements aren't counted from 1 is an error.
    ArrayToJson {
        /// What stands between the elements.
        delimiter: char,
        /// What the elements become.
        element: ArrayElement,
    },
    /// `text/interval`: becomes an integer, a day counting 24 hours; an error when there are months in it.
    IntervalToMicroseconds,
    /// `text/interval`: becomes a time, as [`IntervalToMicroseconds`](Self::IntervalToMicroseconds) has it.
    IntervalToTime,
}

/// What the elements of an array become in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArrayElement {
    /// `true` and `false`.
    Boolean,
    /// Numbers, as the source writes them.
    Number,
    /// What they are.
    Json,
    /// Strings.
    Text,
}

/// What becomes of one source column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ColumnRule {
    /// Stays as it is.
    Keep,
    /// Goes.
    Drop,
    /// Changes.
    Remap(ColumnMapping),
}

/// How a column changes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ColumnMapping {
    /// New name; `None` = unchanged.
    pub name: Option<String>,
    /// Type in the target's SQL; `None` = left to another plugin of the chain.
    pub target_type: Option<String>,
    /// Default expression in the target's SQL; `None` = no default when `target_type` is given, else
    /// unchanged.
    pub default: Option<String>,
    /// Whether NULL is allowed; `None` = as the source.
    pub nullable: Option<bool>,
    /// Conversions, in order.
    pub ops: Vec<NativeOp>,
}

/// Where the values of an extra column come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ExtraSource {
    /// The same value in every row.
    Constant(Scalar),
    /// The plugin's transform writes it.
    Computed,
    /// The target computes and stores it from this expression in its own SQL.
    Generated(String),
}

/// A column that the source does not have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExtraColumn {
    /// Name.
    pub name: String,
    /// Type in the target's SQL.
    pub target_type: String,
    /// What its values are.
    pub logical: LogicalType,
    /// Whether NULL is allowed.
    pub nullable: bool,
    /// Where they come from.
    pub source: ExtraSource,
}

/// A column that a plugin's transform returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WriteColumn {
    /// In place of this input column, in the same layout.
    Input(usize),
    /// This extra column.
    Extra(usize),
}

/// Which of a plugin's row functions the table needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Calls {
    /// `filter`
    pub filter: bool,
    /// `transform-batch`
    pub transform: bool,
}

/// When the target already has a row under the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConflictPolicy {
    /// The task stops.
    Fail,
    /// The incoming row wins.
    Overwrite,
    /// The existing row stays.
    Ignore,
    /// The plugin is asked.
    AskPlugin,
    /// The task stops, as with [`Fail`](Self::Fail), and other tasks have rows in the table too.
    Shared,
}

/// When a row can't be carried over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowErrorPolicy {
    /// The task stops.
    Fail,
    /// The row is set aside and the task goes on.
    DeadLetter,
}

/// One plugin's plan for one table. Ordinals are those of the schema the plugin was shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StagePlan {
    /// Whether the table takes part.
    pub disposition: Disposition,
    /// Name in the target.
    pub target: TableName,
    /// Empty = keep all; else one rule per column.
    pub columns: Vec<ColumnRule>,
    /// Columns added after the others.
    pub extra_columns: Vec<ExtraColumn>,
    /// Columns passed to `filter`, in order.
    pub filter_reads: Vec<usize>,
    /// Columns passed to `transform-batch`, in order.
    pub transform_reads: Vec<usize>,
    /// Columns it returns, in order.
    pub transform_writes: Vec<WriteColumn>,
    /// Row functions needed.
    pub calls: Calls,
    /// Key conflicts.
    pub on_conflict: ConflictPolicy,
    /// Bad rows.
    pub on_row_error: RowErrorPolicy,
    /// Handed back to the plugin's worker instances.
    pub state: Vec<u8>,
    /// Decisions and warnings for the reader of the plan.
    pub findings: Vec<Finding>,
}

/// A column of a target table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetColumn {
    /// Name.
    pub name: String,
    /// The source column it comes from, for messages; its own name for extra columns.
    pub source_name: String,
    /// Type in the target's SQL.
    pub target_type: String,
    /// What the values are that arrive in batches.
    pub logical: LogicalType,
    /// Whether NULL is allowed.
    pub nullable: bool,
    /// Default expression in the target's SQL.
    pub default: Option<String>,
    /// Expression by which the target computes the column; such a column is not in batches.
    pub generated: Option<String>,
    /// Numbers itself.
    pub identity: bool,
    /// Comment; empty when there is none.
    pub comment: String,
}

/// One part of a target index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetIndexPart {
    /// Ordinal in [`TargetTable::columns`].
    pub column: usize,
    /// Leading characters or bytes that are indexed; `None` = all.
    pub prefix: Option<u32>,
    /// Descending order.
    pub descending: bool,
}

/// An index of a target table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetIndex {
    /// The source's name for it.
    pub name: String,
    /// Full-text and spatial ones only where the target says that it
    /// [has them](crate::endpoint::INDEX_KINDS); else they are left out of the plan with a warning.
    pub kind: IndexKind,
    /// The parts, in order.
    pub parts: Vec<TargetIndexPart>,
}

/// A foreign key of a target table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetForeignKey {
    /// Constraint name.
    pub name: String,
    /// Ordinals of the child's columns.
    pub columns: Vec<usize>,
    /// Parent, by its name in the target.
    pub parent: TableName,
    /// The parent's columns, by their names in the target.
    pub parent_columns: Vec<String>,
    /// When a parent is deleted.
    pub on_delete: ReferentialAction,
    /// When a parent's key changes.
    pub on_update: ReferentialAction,
}

/// A table as the target is to have it. Batches for it hold exactly
/// [`TargetTable::written_columns`], in that order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetTable {
    /// The table it comes from.
    pub source: TableName,
    /// Its name in the target.
    pub name: TableName,
    /// All columns.
    pub columns: Vec<TargetColumn>,
    /// Primary and unique keys and indexes.
    pub indexes: Vec<TargetIndex>,
    /// Foreign keys to tables of the same task.
    pub foreign_keys: Vec<TargetForeignKey>,
    /// Comment; empty when there is none.
    pub comment: String,
    /// Ordinals of the columns that tell rows apart; `None` = only the full row does.
    pub row_key: Option<Vec<usize>>,
    /// Whether rows are to be copied.
    pub with_rows: bool,
    /// Key conflicts.
    pub on_conflict: ConflictPolicy,
    /// Bad rows.
    pub on_row_error: RowErrorPolicy,
}

impl TargetTable {
    /// Whether other tasks write rows of their own to the table.
    pub fn is_shared(&self) -> bool {
        self.on_conflict == ConflictPolicy::Shared
    }

    /// Ordinals of the columns that batches hold: all but the generated ones.
    pub fn written_columns(&self) -> impl Iterator<Item = usize> + '_ {
        self.columns
            .iter()
            .enumerate()
            .filter(|(_, column)| column.generated.is_none())
            .map(|(index, _)| index)
    }
}
