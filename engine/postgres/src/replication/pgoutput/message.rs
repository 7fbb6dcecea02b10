//! What a message says.

use super::super::fields::{Fields, Malformed};
use super::super::lsn::Lsn;
use super::Unreadable;
use super::tuple::Tuple;

/// A message. Times are microseconds since 1970 by the server's clock, `xid` numbers of transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    /// A transaction begins; its changes follow, and its end.
    Begin(Begin),
    /// It ends.
    Commit(Commit),
    /// The transaction was applied here by replication from elsewhere. Right behind its beginning.
    Origin(Origin<'a>),
    /// What is inside of a transaction.
    Change {
        /// The subtransaction that made it, inside of a block of `StreamStart`; else `None`.
        xid: Option<u32>,
        /// What was done.
        content: Content<'a>,
    },
    /// Changes of a transaction that goes on follow, up to `StreamStop`.
    StreamStart {
        /// The transaction.
        xid: u32,
        /// Nothing of it was sent before.
        is_first: bool,
    },
    /// The block of changes ends.
    StreamStop,
    /// A transaction that was sent in blocks is committed.
    StreamCommit {
        /// The transaction.
        xid: u32,
        /// Its end.
        commit: Commit,
    },
    /// A transaction that was sent in blocks, or a part of it, is rolled back.
    StreamAbort {
        /// The transaction.
        xid: u32,
        /// The subtransaction, or the transaction again when all of it is rolled back.
        subxid: u32,
        /// Place in the log and time, when streaming was asked to be `parallel` (version 4).
        at: Option<(Lsn, i64)>,
    },
    /// A transaction begins that ends by being prepared.
    BeginPrepare(Prepared<'a>),
    /// It ends.
    Prepare(Prepared<'a>),
    /// A prepared transaction is committed.
    CommitPrepared(Prepared<'a>),
    /// A prepared transaction is rolled back.
    RollbackPrepared(RolledBack<'a>),
    /// A transaction that was sent in blocks is prepared.
    StreamPrepare(Prepared<'a>),
    /// openGauss tells where its standbys are.
    Standbys,
}

/// What can be inside of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    /// Describes a table, before its first change and after each change of its structure.
    Relation(Relation<'a>),
    /// Names a type that isn't built in, before a relation that has it.
    Type(TypeName<'a>),
    /// A new row.
    Insert {
        /// Number of its relation.
        relation: u32,
        /// The row.
        new: Tuple<'a>,
    },
    /// A changed row.
    Update(Updated<'a>),
    /// A row went.
    Delete(Deleted<'a>),
    /// Tables were emptied.
    Truncate(Truncated<'a>),
    /// Somebody wrote it into the log (`pg_logical_emit_message`). Outside of a transaction if it says so.
    Message(LogicalMessage<'a>),
}

/// Begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Begin {
    /// Where its commit is in the log.
    pub(crate) final_lsn: Lsn,
    pub(crate) committed_at: i64,
    /// Of openGauss's numbers of 64 bits the lower half.
    pub(crate) xid: u32,
    /// Its place in the order of commits, which openGauss says.
    pub(crate) csn: Option<u64>,
}

impl Begin {
    /// As openGauss says it to a client that uses snapshots.
    pub(super) fn read_opengauss(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let (final_lsn, committed_at) = (fields.lsn()?, fields.time()?);
        Ok(Self { final_lsn, committed_at, xid: fields.u64()? as u32, csn: Some(fields.u64()?) })
    }
}

/// Commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Commit {
    /// Where it begins.
    pub(crate) lsn: Lsn,
    /// Where it ends: what to go on from.
    pub(crate) end: Lsn,
    pub(crate) committed_at: i64,
}

impl Commit {
    fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        no_flags(fields)?;
        Ok(Self { lsn: fields.lsn()?, end: fields.lsn()?, committed_at: fields.time()? })
    }
}

/// Origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin<'a> {
    /// Where its commit is in the log of where it came from.
    pub(crate) lsn: Lsn,
    pub(crate) name: &'a str,
}

/// Preparing, or what is done with what was prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prepared<'a> {
    /// Where the preparation is, or with `CommitPrepared` the commit.
    pub(crate) lsn: Lsn,
    /// Where it ends.
    pub(crate) end: Lsn,
    pub(crate) at: i64,
    pub(crate) xid: u32,
    /// The name under which it was prepared.
    pub(crate) name: &'a str,
}

impl<'a> Prepared<'a> {
    fn read(fields: &mut Fields<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            lsn: fields.lsn()?,
            end: fields.lsn()?,
            at: fields.time()?,
            xid: fields.u32()?,
            name: fields.text()?,
        })
    }
}

/// Rollback of what was prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RolledBack<'a> {
    /// Where the preparation ends.
    pub(crate) prepared_end: Lsn,
    /// Where the rollback ends.
    pub(crate) end: Lsn,
    pub(crate) prepared_at: i64,
    pub(crate) at: i64,
    pub(crate) xid: u32,
    pub(crate) name: &'a str,
}

/// What the old row of an update or delete consists of, `pg_class.relreplident`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplicaIdentity {
    /// The primary key.
    Default,
    /// Nothing.
    Nothing,
    /// All columns.
    Full,
    /// A unique index.
    Index,
}

/// A table as its changes are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relation<'a> {
    /// Its number (OID), by which changes name it.
    pub(crate) id: u32,
    /// Schema; `pg_catalog` is empty in the message, and spelled out here.
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) identity: ReplicaIdentity,
    /// The columns that are sent, in order.
    pub(crate) columns: Vec<RelationColumn<'a>>,
}

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RelationColumn<'a> {
    /// It is part of the replica identity.
    pub(crate) is_key: bool,
    pub(crate) name: &'a str,
    /// OID of its type.
    pub(crate) type_id: u32,
    /// `atttypmod`: -1 for none.
    pub(crate) type_modifier: i32,
}

/// A type that isn't built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TypeName<'a> {
    /// OID.
    pub(crate) id: u32,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
}

/// What is known of a row as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OldRow<'a> {
    /// The columns of the replica identity; all others are NULL here, whatever they were.
    Key(Tuple<'a>),
    /// All columns.
    Full(Tuple<'a>),
}

/// Update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Updated<'a> {
    pub(crate) relation: u32,
    /// Absent when the replica identity is a key, and the update did not change it.
    pub(crate) old: Option<OldRow<'a>>,
    pub(crate) new: Tuple<'a>,
}

/// Delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deleted<'a> {
    pub(crate) relation: u32,
    pub(crate) old: OldRow<'a>,
}

/// Truncate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Truncated<'a> {
    /// Tables that refer to them were emptied too; they are among `relations` if they are published.
    pub(crate) cascade: bool,
    pub(crate) restart_identity: bool,
    relations: &'a [u8],
}

impl<'a> Truncated<'a> {
    fn read(fields: &mut Fields<'a>) -> Result<Self, Malformed> {
        let count = fields.u32()?;
        let flags = fields.u8()?;
        if flags & !3 != 0 {
            return Err(Malformed("a TRUNCATE has an unknown option"));
        }
        let length = (count as usize).checked_mul(4).ok_or(Malformed("a TRUNCATE has too many tables"))?;
        Ok(Self {
            cascade: flags & 1 != 0,
            restart_identity: flags & 2 != 0,
            relations: fields.take(length)?,
        })
    }

    /// Numbers of the relations.
    pub(crate) fn relations(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.relations.as_chunks::<4>().0.iter().map(|id| u32::from_be_bytes(*id))
    }
}

/// A message that was written into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogicalMessage<'a> {
    /// It belongs to the transaction around it; else it stands by itself, wherever it appears.
    pub(crate) is_transactional: bool,
    pub(crate) lsn: Lsn,
    /// Whom it is for.
    pub(crate) prefix: &'a str,
    pub(crate) content: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads what follows the type. `in_block` says that the message is inside of a block of changes.
    pub(super) fn read(kind: u8, fields: &mut Fields<'a>, in_block: bool) -> Result<Self, Unreadable> {
        Ok(match kind {
            b'B' => Self::Begin(Begin {
                final_lsn: fields.lsn()?,
                committed_at: fields.time()?,
                xid: fields.u32()?,
                csn: None,
            }),
            b'C' => Self::Commit(Commit::read(fields)?),
            b'O' => Self::Origin(Origin { lsn: fields.lsn()?, name: fields.text()? }),
            b'S' => Self::StreamStart {
                xid: fields.u32()?,
                is_first: flag(fields, "whether a block of changes is the first isn't told")?,
            },
            b'E' => Self::StreamStop,
            b'c' => Self::StreamCommit { xid: fields.u32()?, commit: Commit::read(fields)? },
            b'A' => Self::StreamAbort {
                xid: fields.u32()?,
                subxid: fields.u32()?,
                at: if fields.is_empty() { None } else { Some((fields.lsn()?, fields.time()?)) },
            },
            b'b' => Self::BeginPrepare(Prepared::read(fields)?),
            b'P' | b'K' | b'p' => {
                no_flags(fields)?;
                let prepared = Prepared::read(fields)?;
                match kind {
                    b'P' => Self::Prepare(prepared),
                    b'K' => Self::CommitPrepared(prepared),
                    _ => Self::StreamPrepare(prepared),
                }
            }
            b'r' => {
                no_flags(fields)?;
                Self::RollbackPrepared(RolledBack {
                    prepared_end: fields.lsn()?,
                    end: fields.lsn()?,
                    prepared_at: fields.time()?,
                    at: fields.time()?,
                    xid: fields.u32()?,
                    name: fields.text()?,
                })
            }
            b'R' | b'Y' | b'I' | b'U' | b'D' | b'T' | b'M' => Self::Change {
                xid: if in_block { Some(fields.u32()?) } else { None },
                content: Content::read(kind, fields)?,
            },
            unknown => return Err(Unreadable::Unknown(unknown)),
        })
    }
}

impl<'a> Content<'a> {
    fn read(kind: u8, fields: &mut Fields<'a>) -> Result<Self, Unreadable> {
        Ok(match kind {
            b'R' => Self::Relation(Relation::read(fields)?),
            b'Y' => Self::Type(TypeName {
                id: fields.u32()?,
                namespace: namespace(fields)?,
                name: fields.text()?,
            }),
            b'I' => Self::Insert { relation: fields.u32()?, new: new_row(fields)? },
            b'U' => {
                let relation = fields.u32()?;
                let old = match fields.rest().first() {
                    Some(b'N') => None,
                    _ => Some(old_row(fields)?),
                };
                Self::Update(Updated { relation, old, new: new_row(fields)? })
            }
            b'D' => Self::Delete(Deleted { relation: fields.u32()?, old: old_row(fields)? }),
            b'T' => Self::Truncate(Truncated::read(fields)?),
            b'M' => Self::Message(LogicalMessage {
                is_transactional: flag(fields, "a logical message has unknown flags")?,
                lsn: fields.lsn()?,
                prefix: fields.text()?,
                content: {
                    let length = fields.u32()?;
                    fields.take(length as usize)?
                },
            }),
            unknown => return Err(Unreadable::Unknown(unknown)),
        })
    }
}

impl<'a> Relation<'a> {
    fn read(fields: &mut Fields<'a>) -> Result<Self, Malformed> {
        let (id, namespace, name) = (fields.u32()?, namespace(fields)?, fields.text()?);
        let identity = match fields.u8()? {
            b'd' => ReplicaIdentity::Default,
            b'n' => ReplicaIdentity::Nothing,
            b'f' => ReplicaIdentity::Full,
            b'i' => ReplicaIdentity::Index,
            _ => return Err(Malformed("a table has an unknown kind of replica identity")),
        };
        let count = fields.u16()?;
        let mut columns = Vec::new();
        for _ in 0..count {
            columns.push(RelationColumn {
                is_key: flag(fields, "a column has unknown flags")?,
                name: fields.text()?,
                type_id: fields.u32()?,
                type_modifier: fields.i32()?,
            });
        }
        Ok(Self { id, namespace, name, identity, columns })
    }
}

/// A schema; that of what is built in is left out.
fn namespace<'a>(fields: &mut Fields<'a>) -> Result<&'a str, Malformed> {
    Ok(match fields.text()? {
        "" => "pg_catalog",
        namespace => namespace,
    })
}

fn new_row<'a>(fields: &mut Fields<'a>) -> Result<Tuple<'a>, Malformed> {
    match fields.u8()? {
        b'N' => Tuple::read(fields),
        _ => Err(Malformed("a change has no new row")),
    }
}

fn old_row<'a>(fields: &mut Fields<'a>) -> Result<OldRow<'a>, Malformed> {
    match fields.u8()? {
        b'K' => Tuple::read(fields).map(OldRow::Key),
        b'O' => Tuple::read(fields).map(OldRow::Full),
        _ => Err(Malformed("a change has neither old nor new row where one must be")),
    }
}

fn flag(fields: &mut Fields<'_>, else_why: &'static str) -> Result<bool, Malformed> {
    match fields.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed(else_why)),
    }
}

/// Flags of which none is defined yet.
fn no_flags(fields: &mut Fields<'_>) -> Result<(), Malformed> {
    match fields.u8()? {
        0 => Ok(()),
        _ => Err(Malformed("an end of a transaction has unknown flags")),
    }
}
