//! What a record says, whichever way it was written.

use std::borrow::Cow;

use crate::replication::lsn::Lsn;

/// One record of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it is, as its frame says it, or the message if it has no frame. Rows that one statement
    /// wrote may share it. See [`Commit::end`] for what a place means.
    pub lsn: Lsn,
    /// What it says.
    pub event: Event<'a>,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// A transaction begins; it has committed, and all of it follows.
    Begin(Begin),
    /// A row changed.
    Change(Change<'a>),
    /// Tables were emptied. Only in the serial stream.
    Truncate(Truncate<'a>),
    /// A change of structure. Only in the serial stream, of a database with a publication of such.
    SchemaChange(SchemaChange<'a>),
    /// The end of the transaction.
    Commit(Commit),
    /// The transaction ends without effect.
    Abort(Abort),
}

/// The beginning of a transaction. What the server was told not to say is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Begin {
    /// The transaction's number, of 64 bits.
    pub xid: Option<u64>,
    /// Its place in the order of commits; the serial stream has it at the end.
    pub csn: Option<u64>,
    /// Where its first record is; the serial stream has it as the record's place.
    pub first: Option<Lsn>,
    /// When it was committed, microseconds since 1970.
    pub committed_at: Option<i64>,
    /// The replication origin it came by.
    pub origin: Option<u32>,
}

/// The end of a transaction. What the server was told not to say is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Commit {
    /// The transaction's number, of 64 bits.
    pub xid: Option<u64>,
    /// Its place in the order of commits.
    pub csn: Option<u64>,
    /// When it was committed, microseconds since 1970.
    pub committed_at: Option<i64>,
    /// The place behind the commit: what may be confirmed to the server once the transaction is applied.
    /// `None` in the parallel styles `j` and `t` without batches, which have only the place where the
    /// commit begins: the server would send the transaction once more.
    pub end: Option<Lsn>,
}

/// The end of a transaction that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Abort {
    /// The transaction's number, of 64 bits.
    pub xid: Option<u64>,
    /// When, microseconds since 1970.
    pub at: Option<i64>,
}

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// A new row.
    Insert,
    /// A row changed.
    Update,
    /// A row went.
    Delete,
}

/// A change of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<'a> {
    /// What happened.
    pub op: Op,
    /// Schema of the table, without quotes.
    pub schema: Cow<'a, str>,
    /// Name of the table, without quotes; of a partition its table's.
    pub table: Cow<'a, str>,
    /// The row after it.
    pub new: Option<Vec<Column<'a>>>,
    /// The row before it: the columns of the replica identity. `None` where the table has none.
    pub old: Option<Vec<Column<'a>>>,
}

impl Change<'_> {
    /// Whether it is a delete without a row. On a table that has a replica identity, a parallel style takes
    /// back by it the insert just before it, which an upsert had tried.
    pub fn is_retraction(&self) -> bool {
        self.op == Op::Delete && self.old.is_none()
    }
}

/// A column of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column<'a> {
    /// Its name, without quotes.
    pub name: Cow<'a, str>,
    /// Its type.
    pub column_type: ColumnType<'a>,
    /// Its value.
    pub value: Value<'a>,
}

/// How a record says a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnType<'a> {
    /// As `format_type` says it, without the modifier: `character varying`.
    Name(Cow<'a, str>),
    /// As an OID: the binary style.
    Oid(u32),
}

/// A value in the server's text form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// NULL.
    Null,
    /// A big value that did not change and isn't there.
    Unchanged,
    /// The text, without quotes.
    Text(Cow<'a, str>),
}

/// Tables that were emptied at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truncate<'a> {
    /// Schema and name of each, without quotes.
    pub tables: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Their sequences begin anew.
    pub restart_sequences: bool,
    /// Tables that refer to them were emptied too.
    pub cascade: bool,
}

/// A change of structure, as the server says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaChange<'a> {
    /// What sort of command it is: `Simple`, `Drop Table`.
    pub command: &'a str,
    /// The statement as a JSON document of the server's own.
    pub content: &'a str,
    /// The statement as SQL, and what the server says after it.
    pub decoded: &'a str,
}
