//! Statements of structure as they are written, before anything is known about the tables.

use engine_core::schema::{IndexKind, ReferentialAction};

/// A table as a statement names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// Database; the session's where there is none.
    pub(super) database: Option<String>,
    pub(super) table: String,
}

/// A statement.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Statement {
    Create { table: Name, replaces: bool, if_not_exists: bool, elements: Vec<Element>, options: Options },
    CreateLike { table: Name, replaces: bool, if_not_exists: bool, pattern: Name },
    Alter { table: Name, if_exists: bool, alterations: Vec<Alteration>, options: Options },
    CreateIndex { table: Name, index: Index },
    DropIndex { table: Name, index: String, if_exists: bool },
    Drop { tables: Vec<Name> },
    Rename { pairs: Vec<(Name, Name)> },
    Truncate { table: Name },
}

/// What a table definition lists.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Element {
    Column(Column),
    Index(Index),
    ForeignKey(ForeignKey),
    /// A check of values, which is not carried over.
    Check,
}

/// A column's definition.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) data_type: DataType,
    pub(super) charset: CharsetChoice,
    /// `Some(true)` for an explicit NULL.
    pub(super) nullable: Option<bool>,
    pub(super) default: Option<Default>,
    pub(super) on_update_now: bool,
    pub(super) auto_increment: bool,
    pub(super) unique: bool,
    pub(super) primary: bool,
    pub(super) invisible: bool,
    pub(super) comment: String,
}

/// A type with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DataType {
    /// The word, in lower case, synonyms resolved.
    pub(super) name: &'static str,
    pub(super) arguments: Vec<u64>,
    /// Labels of enumerations and sets.
    pub(super) labels: Vec<String>,
    pub(super) unsigned: bool,
    pub(super) zerofill: bool,
}

/// Which character set and collation a column or table gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct CharsetChoice {
    pub(super) charset: Option<String>,
    pub(super) collation: Option<String>,
    /// `BINARY` after a text type: the binary collation of its character set.
    pub(super) binary: bool,
}

/// A column's default.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Default {
    Null,
    Literal(Literal),
    /// `CURRENT_TIMESTAMP` and its synonyms, with the digits of a second's fraction.
    Now(u8),
    /// Any other expression, as written.
    Expression(String),
}

/// A literal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Literal {
    Text(String),
    /// With its sign.
    Number(String),
    Hex(String),
    Bits(String),
    Bool(bool),
}

/// An index's definition.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Index {
    pub(super) name: Option<String>,
    pub(super) kind: IndexKind,
    pub(super) parts: Vec<Part>,
    pub(super) if_not_exists: bool,
}

/// A part of an index.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    /// A column's name, or an expression as written.
    pub(super) column: Result<String, String>,
    pub(super) prefix: Option<u32>,
    pub(super) descending: bool,
}

/// A foreign key's definition.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ForeignKey {
    /// Of the constraint.
    pub(super) name: Option<String>,
    /// Of the index that the server may make for it.
    pub(super) index: Option<String>,
    pub(super) columns: Vec<String>,
    pub(super) parent: Name,
    pub(super) parent_columns: Vec<String>,
    pub(super) on_delete: Option<ReferentialAction>,
    pub(super) on_update: Option<ReferentialAction>,
}

/// Where a column goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    First,
    After(String),
}

/// One clause of ALTER TABLE.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Alteration {
    Add {
        column: Column,
        place: Option<Place>,
        if_not_exists: bool,
    },
    AddIndex(Index),
    AddForeignKey(ForeignKey),
    Drop {
        column: String,
        if_exists: bool,
    },
    DropIndex {
        name: String,
        if_exists: bool,
    },
    DropForeignKey {
        name: String,
        if_exists: bool,
    },
    /// A constraint of any kind.
    DropConstraint {
        name: String,
        if_exists: bool,
    },
    /// MODIFY and CHANGE.
    Change {
        old: String,
        column: Column,
        place: Option<Place>,
        if_exists: bool,
    },
    RenameColumn {
        old: String,
        new: String,
    },
    RenameIndex {
        old: String,
        new: String,
    },
    SetDefault {
        column: String,
        default: Option<Default>,
    },
    SetVisible {
        column: String,
        visible: bool,
    },
    Rename(Name),
}

/// Options of a table that matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) charset: CharsetChoice,
    pub(super) comment: Option<String>,
    pub(super) engine: Option<String>,
    pub(super) auto_increment: Option<u64>,
}
