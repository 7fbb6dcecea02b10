//! Messages are written here as the page on formats lays them out, and must read as what they were.

use super::super::lsn::Lsn;
use super::message::*;
use super::tuple::{Cell, Tuple};
use super::*;
use engine_core::Error;
use proptest::prelude::*;

const EPOCH: i64 = 946_684_800_000_000;

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }
    fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    fn time(self, value: i64) -> Self {
        self.u64((value - EPOCH) as u64)
    }
    fn text(mut self, value: &str) -> Self {
        self.0.extend(value.bytes());
        self.u8(0)
    }
    fn bytes(mut self, value: &[u8]) -> Self {
        self.0.extend(value);
        self
    }
    fn commit(self, commit: &Commit) -> Self {
        self.u8(0).u64(commit.lsn.0).u64(commit.end.0).time(commit.committed_at)
    }
    fn prepared(self, prepared: &Prepared<'_>) -> Self {
        let fixed = self.u64(prepared.lsn.0).u64(prepared.end.0).time(prepared.at);
        fixed.u32(prepared.xid).text(prepared.name)
    }
    fn row(self, kind: u8, row: &Tuple<'_>) -> Self {
        row.cells().fold(self.u8(kind).u16(row.len() as u16), |writer, cell| match cell {
            Cell::Null => writer.u8(b'n'),
            Cell::Unchanged => writer.u8(b'u'),
            Cell::Text(value) => writer.u8(b't').u32(value.len() as u32).bytes(value),
            Cell::Binary(value) => writer.u8(b'b').u32(value.len() as u32).bytes(value),
        })
    }
    fn old(self, old: &OldRow<'_>) -> Self {
        match old {
            OldRow::Key(row) => self.row(b'K', row),
            OldRow::Full(row) => self.row(b'O', row),
        }
    }
    fn namespace(self, namespace: &str) -> Self {
        self.text(if namespace == "pg_catalog" { "" } else { namespace })
    }
    fn content(self, xid: Option<u32>, content: &Content<'_>) -> Self {
        let head = |kind| {
            let head = self.u8(kind);
            match xid {
                Some(xid) => head.u32(xid),
                None => head,
            }
        };
        match content {
            Content::Relation(relation) => {
                let identity = match relation.identity {
                    ReplicaIdentity::Default => b'd',
                    ReplicaIdentity::Nothing => b'n',
                    ReplicaIdentity::Full => b'f',
                    ReplicaIdentity::Index => b'i',
                };
                let head = head(b'R').u32(relation.id).namespace(relation.namespace).text(relation.name);
                let head = head.u8(identity).u16(relation.columns.len() as u16);
                relation.columns.iter().fold(head, |writer, column| {
                    let named = writer.u8(u8::from(column.is_key)).text(column.name);
                    named.u32(column.type_id).u32(column.type_modifier as u32)
                })
            }
            Content::Type(name) => head(b'Y').u32(name.id).namespace(name.namespace).text(name.name),
            Content::Insert { relation, new } => head(b'I').u32(*relation).row(b'N', new),
            Content::Update(update) => {
                let head = head(b'U').u32(update.relation);
                let head = match &update.old {
                    Some(old) => head.old(old),
                    None => head,
                };
                head.row(b'N', &update.new)
            }
            Content::Delete(delete) => head(b'D').u32(delete.relation).old(&delete.old),
            Content::Truncate(truncate) => {
                let flags = u8::from(truncate.cascade) | u8::from(truncate.restart_identity) << 1;
                let head = head(b'T').u32(truncate.relations().count() as u32).u8(flags);
                truncate.relations().fold(head, Writer::u32)
            }
            Content::Message(message) => {
                let head = head(b'M').u8(u8::from(message.is_transactional)).u64(message.lsn.0);
                head.text(message.prefix).u32(message.content.len() as u32).bytes(message.content)
            }
        }
    }
    fn message(self, message: &Message<'_>) -> Vec<u8> {
        match message {
            Message::Begin(begin) => {
                self.u8(b'B').u64(begin.final_lsn.0).time(begin.committed_at).u32(begin.xid)
            }
            Message::Commit(commit) => self.u8(b'C').commit(commit),
            Message::Origin(origin) => self.u8(b'O').u64(origin.lsn.0).text(origin.name),
            Message::Change { xid, content } => self.content(*xid, content),
            Message::StreamStart { xid, is_first } => self.u8(b'S').u32(*xid).u8(u8::from(*is_first)),
            Message::StreamStop => self.u8(b'E'),
            Message::StreamCommit { xid, commit } => self.u8(b'c').u32(*xid).commit(commit),
            Message::StreamAbort { xid, subxid, at } => {
                let head = self.u8(b'A').u32(*xid).u32(*subxid);
                match at {
                    Some((lsn, time)) => head.u64(lsn.0).time(*time),
                    None => head,
                }
            }
            Message::BeginPrepare(prepared) => self.u8(b'b').prepared(prepared),
            Message::Prepare(prepared) => self.u8(b'P').u8(0).prepared(prepared),
            Message::CommitPrepared(prepared) => self.u8(b'K').u8(0).prepared(prepared),
            Message::StreamPrepare(prepared) => self.u8(b'p').u8(0).prepared(prepared),
            Message::RollbackPrepared(back) => {
                let places = self.u8(b'r').u8(0).u64(back.prepared_end.0).u64(back.end.0);
                places.time(back.prepared_at).time(back.at).u32(back.xid).text(back.name)
            }
            Message::Standbys => self.u8(b'S').text("standbys"),
        }
        .0
    }
}

/// What messages are made of, as a test draws it.
#[derive(Debug, Clone)]
struct Parts {
    numbers: [u64; 2],
    times: [i64; 2],
    ids: [u32; 4],
    names: [String; 2],
    bits: [bool; 2],
    rows: [Vec<Drawn>; 2],
    columns: Vec<(bool, String, u32, i32)>,
    content: Vec<u8>,
}

#[derive(Debug, Clone)]
enum Drawn {
    Null,
    Unchanged,
    Text(Vec<u8>),
    Binary(Vec<u8>),
}

impl Drawn {
    fn as_cell(&self) -> Cell<'_> {
        match self {
            Self::Null => Cell::Null,
            Self::Unchanged => Cell::Unchanged,
            Self::Text(value) => Cell::Text(value),
            Self::Binary(value) => Cell::Binary(value),
        }
    }

    fn write(row: &[Self]) -> Vec<u8> {
        let head = Writer::default().u16(row.len() as u16);
        row.iter()
            .fold(head, |writer, cell| match cell {
                Self::Null => writer.u8(b'n'),
                Self::Unchanged => writer.u8(b'u'),
                Self::Text(value) => writer.u8(b't').u32(value.len() as u32).bytes(value),
                Self::Binary(value) => writer.u8(b'b').u32(value.len() as u32).bytes(value),
            })
            .0
    }
}

fn parts() -> impl Strategy<Value = Parts> {
    let name = || "[a-zé_]{0,12}";
    let cell = prop_oneof![
        Just(Drawn::Null),
        Just(Drawn::Unchanged),
        any::<Vec<u8>>().prop_map(Drawn::Text),
        any::<Vec<u8>>().prop_map(Drawn::Binary),
    ];
    let row = || prop::collection::vec(cell.clone(), 0..6);
    let column = (any::<bool>(), name(), any::<u32>(), any::<i32>());
    (
        any::<[u64; 2]>(),
        [0i64..1 << 60, 0i64..1 << 60],
        any::<[u32; 4]>(),
        [name(), name()],
        any::<[bool; 2]>(),
        [row(), row()],
        prop::collection::vec(column, 0..6),
        any::<Vec<u8>>(),
    )
        .prop_map(|(numbers, times, ids, names, bits, rows, columns, content)| Parts {
            numbers,
            times,
            ids,
            names,
            bits,
            rows,
            columns,
            content,
        })
}

/// One message of each shape.
fn every_message<'a>(parts: &'a Parts, rows: &'a [Vec<u8>; 2]) -> Vec<Message<'a>> {
    let [lsn, end] = parts.numbers.map(Lsn);
    let [at, later] = parts.times;
    let [xid, subxid, relation, _] = parts.ids;
    let [namespace, name] = [&parts.names[0], &parts.names[1]].map(String::as_str);
    let namespace = if namespace.is_empty() { "pg_catalog" } else { namespace };
    let [new, old] = [&rows[0], &rows[1]].map(|row| Tuple::read(&mut Fields::new(row)).expect("a row"));
    let commit = Commit { lsn, end, committed_at: at };
    let prepared = Prepared { lsn, end, at, xid, name };
    let columns = parts.columns.iter().map(|(is_key, name, type_id, type_modifier)| RelationColumn {
        is_key: *is_key,
        name,
        type_id: *type_id,
        type_modifier: *type_modifier,
    });
    let columns: Vec<_> = columns.collect();
    let identities =
        [ReplicaIdentity::Default, ReplicaIdentity::Nothing, ReplicaIdentity::Full, ReplicaIdentity::Index];
    let mut contents: Vec<_> = identities
        .map(|identity| {
            Content::Relation(Relation { id: relation, namespace, name, identity, columns: columns.clone() })
        })
        .into();
    let mut truncated = Writer::default().u32(parts.ids.len() as u32);
    truncated = truncated.u8(u8::from(parts.bits[0]) | u8::from(parts.bits[1]) << 1);
    let truncated = parts.ids.iter().fold(truncated, |writer, &id| writer.u32(id)).0;
    let mut decoder = Decoder::new();
    let payload = [vec![b'T'], truncated].concat().leak();
    let Ok(Message::Change { content: truncate, .. }) = decoder.decode(payload) else { panic!("a TRUNCATE") };
    contents.extend([
        Content::Type(TypeName { id: relation, namespace, name }),
        Content::Insert { relation, new },
        Content::Update(Updated { relation, old: None, new }),
        Content::Update(Updated { relation, old: Some(OldRow::Key(old)), new }),
        Content::Update(Updated { relation, old: Some(OldRow::Full(old)), new }),
        Content::Delete(Deleted { relation, old: OldRow::Key(old) }),
        Content::Delete(Deleted { relation, old: OldRow::Full(old) }),
        truncate,
        Content::Message(LogicalMessage {
            is_transactional: parts.bits[0],
            lsn,
            prefix: name,
            content: &parts.content,
        }),
    ]);
    let mut messages: Vec<_> =
        contents.iter().map(|content| Message::Change { xid: None, content: content.clone() }).collect();
    messages.push(Message::StreamStart { xid, is_first: parts.bits[0] });
    messages.extend(contents.into_iter().map(|content| Message::Change { xid: Some(subxid), content }));
    messages.extend([
        Message::Origin(Origin { lsn, name }),
        Message::StreamStop,
        Message::Begin(Begin { final_lsn: lsn, committed_at: at, xid, csn: None }),
        Message::Commit(commit),
        Message::StreamCommit { xid, commit },
        Message::StreamAbort { xid, subxid, at: None },
        Message::StreamAbort { xid, subxid, at: Some((lsn, at)) },
        Message::BeginPrepare(prepared),
        Message::Prepare(prepared),
        Message::CommitPrepared(prepared),
        Message::StreamPrepare(prepared),
        Message::RollbackPrepared(RolledBack {
            prepared_end: lsn,
            end,
            prepared_at: at,
            at: later,
            xid,
            name,
        }),
    ]);
    messages
}

proptest! {
    #[test]
    fn every_message_reads_as_it_was_written(parts in parts()) {
        let rows = [&parts.rows[0], &parts.rows[1]].map(|row| Drawn::write(row));
        let mut decoder = Decoder::new();
        for message in every_message(&parts, &rows) {
            let bytes = Writer::default().message(&message);
            prop_assert_eq!(decoder.decode(&bytes), Ok(message));
        }
        for (written, drawn) in rows.iter().zip(&parts.rows) {
            let row = Tuple::read(&mut Fields::new(written)).expect("a row");
            prop_assert_eq!(row.len(), drawn.len());
            prop_assert!(row.cells().eq(drawn.iter().map(Drawn::as_cell)));
        }
    }

    #[test]
    fn a_message_cut_short_or_gone_on_is_malformed(parts in parts(), cut: prop::sample::Index) {
        let rows = [&parts.rows[0], &parts.rows[1]].map(|row| Drawn::write(row));
        let mut decoder = Decoder::new();
        for message in every_message(&parts, &rows) {
            let mut bytes = Writer::default().message(&message);
            let short = cut.index(bytes.len());
            // Version 4's abort begins like that of version 2.
            let is_old_abort = bytes[0] == b'A' && short == 9;
            if !is_old_abort {
                prop_assert!(decoder.clone().decode(&bytes[..short]).is_err(), "{short} of {message:?}");
            }
            decoder.decode(&bytes).expect("a whole message");
            bytes.push(0);
            prop_assert!(decoder.clone().decode(&bytes).is_err(), "{message:?}");
        }
    }

    #[test]
    fn any_bytes_are_survived(payloads: Vec<Vec<u8>>, kinds in prop::collection::vec("[BCORYIUDTMSEcAbPKpr]", 0..8)) {
        let mut decoder = Decoder::new();
        for payload in &payloads {
            let _ = decoder.decode(payload);
            for kind in &kinds {
                if let Ok(Message::Change { content: Content::Insert { new, .. }, .. }) =
                    decoder.decode(&[kind.as_bytes(), payload].concat())
                {
                    prop_assert_eq!(new.cells().count(), new.len());
                }
            }
        }
    }
}

#[test]
fn what_is_not_known_is_named() {
    let mut decoder = Decoder::new();
    let error = Error::from(decoder.decode(b"Z").expect_err("no such message"));
    assert_eq!(error.kind(), ErrorKind::Unrepresentable);
    assert!(error.to_string().ends_with("its type is Z"), "{error}");
    assert_eq!(Error::from(decoder.decode(b"").expect_err("nothing")).kind(), ErrorKind::Divergence);
}

#[test]
fn blocks_do_not_nest() {
    let mut decoder = Decoder::new();
    assert!(decoder.decode(b"E").is_err());
    let start = b"S\0\0\0\x07\x01";
    decoder.decode(start).expect("a beginning");
    assert!(decoder.decode(start).is_err());
    decoder.decode(b"E").expect("an end");
}

#[test]
fn opengauss_has_messages_of_its_own() {
    let mut decoder = Decoder::of(Family::OpenGauss);
    let begin = b"B\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0\x03";
    let Message::Begin(read) = decoder.decode(begin).expect("a beginning") else { panic!("no beginning") };
    assert_eq!((read.final_lsn, read.xid, read.csn), (Lsn(7), 2, Some(3)));
    assert!(decoder.decode(&begin[..21]).is_err(), "PostgreSQL's is shorter");
    let standbys = decoder.decode(b"Shost=a port=1\0").expect("standbys");
    assert_eq!(standbys, Message::Standbys);
}

#[test]
fn a_claimed_length_takes_no_memory() {
    let mut decoder = Decoder::new();
    for claim in
        [&b"I\0\0\0\x01N\xff\xff"[..], b"I\0\0\0\x01N\0\x01t\xff\xff\xff\xff", b"T\xff\xff\xff\xff\0"]
    {
        assert!(decoder.decode(claim).is_err());
    }
}
