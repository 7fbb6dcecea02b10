//! Which events of the log there are, and the small ones' contents.

use super::bytes::{Bytes, Malformed};
use super::gtid::Origin;

/// Bytes of the header that every event begins with.
pub(crate) const HEADER_LENGTH: usize = 19;

/// Type number of updates that may hold differences of JSON documents.
const PARTIAL_UPDATE: u8 = 39;

/// The header of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Seconds since 1970 when the statement began.
    pub(crate) timestamp: u32,
    /// Type number.
    pub(crate) kind: u8,
    /// Server on which it was written first.
    pub(crate) server_id: u32,
    /// Size of the event with header and checksum.
    pub(crate) size: u32,
    /// Lower 32 bits of the offset at which the next event begins; 0 in artificial events.
    pub(crate) next: u32,
    /// Flags.
    pub(crate) flags: u16,
}

impl Header {
    /// The event was made up for this connection and is in no file.
    pub(crate) const ARTIFICIAL: u16 = 0x20;

    pub(crate) fn read(input: &mut Bytes<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            timestamp: input.u32()?,
            kind: input.u8()?,
            server_id: input.u32()?,
            size: input.u32()?,
            next: input.u32()?,
            flags: input.u16()?,
        })
    }

    /// The header as it was sent.
    pub(crate) fn to_bytes(self) -> [u8; HEADER_LENGTH] {
        let mut bytes = [0; HEADER_LENGTH];
        let fields = [
            &self.timestamp.to_le_bytes()[..],
            &[self.kind],
            &self.server_id.to_le_bytes(),
            &self.size.to_le_bytes(),
            &self.next.to_le_bytes(),
            &self.flags.to_le_bytes(),
        ];
        for (slot, byte) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
            *slot = *byte;
        }
        bytes
    }
}

/// What an event is to the stream. A type number that is not listed stops it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// A statement, or the begin or end of a transaction in words.
    Query { compressed: bool },
    /// `LOAD DATA` in statement format.
    LoadQuery,
    /// The next file.
    Rotate,
    /// The first event of a file.
    FormatDescription,
    /// The end of a transaction.
    Xid,
    /// The end of the first phase of a distributed transaction.
    XaPrepare,
    /// A table of the row events that follow.
    TableMap,
    /// Row changes.
    Rows(RowsKind),
    /// Nothing has happened for a while.
    Heartbeat,
    /// The beginning of a MySQL transaction with an identifier.
    Gtid,
    /// The beginning of a MySQL transaction with a tagged identifier.
    TaggedGtid,
    /// The beginning of a MySQL transaction without identifier.
    AnonymousGtid,
    /// The beginning of a MariaDB transaction.
    MariaDbGtid,
    /// A compressed transaction.
    TransactionPayload,
    /// Something was lost on the source.
    Incident,
    /// Means nothing to the changes of rows.
    Ignored,
}

/// What a row event does, and how it is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowsKind {
    pub(crate) change: Change,
    /// There is a block of extra data after the flags.
    pub(crate) extra_data: bool,
    /// The rows are compressed (MariaDB).
    pub(crate) compressed: bool,
    /// Of JSON columns the rows after an update may hold differences (MySQL).
    pub(crate) partial: bool,
}

/// What happened to the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Insert,
    Update,
    Delete,
}

impl EventKind {
    /// `None` for a type number that this engine does not know.
    pub(crate) fn of(kind: u8) -> Option<Self> {
        let rows = |change, extra_data, compressed| {
            Self::Rows(RowsKind { change, extra_data, compressed, partial: kind == PARTIAL_UPDATE })
        };
        Some(match kind {
            2 => Self::Query { compressed: false },
            4 => Self::Rotate,
            15 => Self::FormatDescription,
            16 => Self::Xid,
            18 => Self::LoadQuery,
            19 => Self::TableMap,
            23 => rows(Change::Insert, false, false),
            24 => rows(Change::Update, false, false),
            25 => rows(Change::Delete, false, false),
            26 => Self::Incident,
            27 | 41 => Self::Heartbeat,
            30 => rows(Change::Insert, true, false),
            31 | PARTIAL_UPDATE => rows(Change::Update, true, false),
            32 => rows(Change::Delete, true, false),
            33 => Self::Gtid,
            34 => Self::AnonymousGtid,
            38 => Self::XaPrepare,
            40 => Self::TransactionPayload,
            42 => Self::TaggedGtid,
            162 => Self::MariaDbGtid,
            165 => Self::Query { compressed: true },
            166 => rows(Change::Insert, false, true),
            167 => rows(Change::Update, false, true),
            168 => rows(Change::Delete, false, true),
            169 => rows(Change::Insert, true, true),
            170 => rows(Change::Update, true, true),
            171 => rows(Change::Delete, true, true),
            // Stop; the variables, random seeds and file contents that go before a statement; a
            // reserved number that replicas pass over; the text of a row statement; the sets at
            // the head of a file; group replication's notes. Of MariaDB: the text of a row
            // statement, checkpoints, the state at the head of a file, the encryption of a file.
            3 | 5 | 9 | 11 | 13 | 14 | 17 | 28 | 29 | 35 | 36 | 37 | 160 | 161 | 163 | 164 => Self::Ignored,
            _ => return None,
        })
    }
}

/// A Query event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query<'a> {
    /// Number of the connection on the server.
    pub(crate) session: u32,
    /// Number of the error with which the statement ended; 0 when it succeeded.
    pub(crate) error: u16,
    /// Variables of the session, see [`SessionFacts`](super::session::SessionFacts).
    pub(crate) variables: &'a [u8],
    /// Default database of the session.
    pub(crate) database: &'a [u8],
    /// The statement.
    pub(crate) statement: &'a [u8],
}

impl<'a> Query<'a> {
    /// Reads the body. `load` events have 13 more bytes about the file that was loaded.
    pub(crate) fn read(body: &'a [u8], load: bool) -> Result<Self, Malformed> {
        let mut input = Bytes::new(body);
        let (session, _duration) = (input.u32()?, input.u32()?);
        let database_length = usize::from(input.u8()?);
        let error = input.u16()?;
        let variables_length = usize::from(input.u16()?);
        if load {
            input.take(13)?;
        }
        let variables = input.take(variables_length)?;
        let database = input.take(database_length)?;
        if input.u8()? != 0 {
            return Err(Malformed("a database name does not end where it should"));
        }
        Ok(Self { session, error, variables, database, statement: input.rest() })
    }
}

/// The beginning of a MySQL transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MySqlGtid {
    pub(crate) origin: Origin,
    pub(crate) number: u64,
    /// Microseconds since 1970 at which this server committed it; since MySQL 8.0.1.
    pub(crate) committed_at: Option<i64>,
}

impl MySqlGtid {
    /// Reads a Gtid or `Anonymous_gtid` event; the latter has number 0.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut input = Bytes::new(body);
        let _flags = input.u8()?;
        let uuid = uuid(input.take(16)?)?;
        let number = input.u64()?;
        // Logical clock: type 2, then the last committed and the own sequence number.
        let committed_at = match input.u8() {
            Ok(2) if input.take(16).is_ok() => {
                // The top bit says that the original server's time follows.
                input
                    .little_endian(7)
                    .ok()
                    .map(|micros| (micros & !(1 << 55)) as i64)
                    .filter(|&micros| micros > 0)
            }
            _ => None,
        };
        Ok(Self { origin: Origin { uuid, tag: String::new() }, number, committed_at })
    }

    /// Reads a `Gtid_tagged` event, which is in the format of MySQL's serialization library:
    /// version, size, last field that must be understood, then pairs of field number and value.
    pub(crate) fn read_tagged(body: &[u8]) -> Result<Self, Malformed> {
        let mut input = Bytes::new(body);
        if input.serialized()? != 1 {
            return Err(Malformed("a tagged GTID is in a format of a later version"));
        }
        let (_size, required) = (input.serialized()?, input.serialized()?);
        let mut gtid =
            Self { origin: Origin { uuid: [0; 16], tag: String::new() }, number: 0, committed_at: None };
        while !input.is_empty() {
            match input.serialized()? {
                1 => {
                    for byte in &mut gtid.origin.uuid {
                        *byte = input.serialized()? as u8;
                    }
                }
                // Signed: the lowest bit is the sign.
                2 => gtid.number = input.serialized()? >> 1,
                3 => {
                    let length = input.serialized()? as usize;
                    let tag = input.take(length)?;
                    gtid.origin.tag = String::from_utf8_lossy(tag).into_owned();
                }
                6 => gtid.committed_at = Some(input.serialized()? as i64),
                0 | 4 | 5 | 7..=11 => {
                    input.serialized()?;
                }
                unknown if unknown <= required => {
                    return Err(Malformed("a tagged GTID has a field that must be understood and isn't"));
                }
                // Nothing says how long an unknown field is; the known ones precede it.
                _ => break,
            }
        }
        if gtid.number == 0 {
            return Err(Malformed("a tagged GTID has no number"));
        }
        Ok(gtid)
    }
}

fn uuid(bytes: &[u8]) -> Result<[u8; 16], Malformed> {
    bytes.try_into().map_err(|_| Malformed("a UUID is not 16 bytes long"))
}

/// The beginning of a MariaDB transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MariaDbGtid {
    pub(crate) domain: u32,
    pub(crate) sequence: u64,
    /// One statement follows, which ends it; no COMMIT.
    pub(crate) standalone: bool,
    /// A distributed transaction is prepared.
    pub(crate) prepares: bool,
    /// A distributed transaction is committed or rolled back.
    pub(crate) completes: bool,
}

impl MariaDbGtid {
    pub(crate) fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut input = Bytes::new(body);
        let (sequence, domain, flags) = (input.u64()?, input.u32()?, input.u8()?);
        Ok(Self {
            domain,
            sequence,
            standalone: flags & 1 != 0,
            prepares: flags & 64 != 0,
            completes: flags & 128 != 0,
        })
    }
}

/// The next file and the offset in it.
pub(crate) fn rotate(body: &[u8]) -> Result<(String, u64), Malformed> {
    let mut input = Bytes::new(body);
    let offset = input.u64()?;
    let file = std::str::from_utf8(input.rest()).map_err(|_| Malformed("a log file's name is not UTF-8"))?;
    Ok((file.to_owned(), offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_query_is_cut_at_its_lengths() {
        let mut body = vec![0; 8];
        body.push(2);
        body.extend([0, 0, 3, 0, 9, 9, 9]);
        body.extend(b"db\0SELECT 1");
        let query = Query::read(&body, false).expect("well-formed");
        assert_eq!((query.database, query.statement), (&b"db"[..], &b"SELECT 1"[..]));
        body[8] = 3;
        assert!(Query::read(&body, false).is_err());
    }

    #[test]
    fn every_number_is_handled_ignored_or_unknown() {
        for unknown in [0, 1, 6, 7, 8, 10, 12, 20, 21, 22, 43, 159, 172, 255] {
            assert_eq!(EventKind::of(unknown), None, "{unknown}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(body: Vec<u8>) {
            let _ = (Query::read(&body, false), Query::read(&body, true), MySqlGtid::read(&body));
            let _ = (MySqlGtid::read_tagged(&body), MariaDbGtid::read(&body), rotate(&body));
            let _ = Header::read(&mut Bytes::new(&body)).map(Header::to_bytes);
        }
    }
}
