use bytes::Bytes;
use engine_core::logical::LogicalType;
use engine_core::position::Position;
use engine_core::schema::{ColumnSchema, TableName, TableSchema};
use engine_core::selection::Selection;
use engine_core::source::{StreamRequest, StreamTable};
use engine_core::transaction::TransactionSet;
use engine_core::{ErrorKind, Result};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::require::Facts;
use super::retelling::Retelling;
use super::tables::Tables;
use crate::family::Family;
use crate::opengauss::decoding::Style;
use crate::replication::lsn::Lsn;
use crate::replication::pgoutput::Decoder;
use crate::replication::pgoutput::message::{Content, Message, OldRow};
use crate::replication::pgoutput::tuple::{Cell, Tuple};
use crate::replication::stream::Frame;
use crate::source::catalog;
use crate::source::stream::in_progress::Taken;

const TEXT: Style = Style::Text { batched: true };

fn column(name: &str, number: i16, type_id: u32) -> ColumnSchema {
    ColumnSchema {
        name: name.to_owned(),
        native: "text".to_owned(),
        logical: LogicalType::Integer { bits: 32, signed: true },
        nullable: true,
        default: None,
        on_update_now: false,
        generated: None,
        identity: false,
        invisible: false,
        comment: String::new(),
        target_type: None,
        attributes: catalog::attributes_for_tests(number, type_id, -1),
    }
}

/// Of a stream with the table `s.t (id integer, v text)`, of which the target has what is before `from`.
fn retelling(style: Style, from: u64) -> Retelling {
    let schema = TableSchema {
        name: TableName::new("s", "t"),
        columns: vec![column("id", 1, 23), column("v", 2, 25)],
        indexes: Vec::new(),
        foreign_keys: Vec::new(),
        comment: String::new(),
        collation: None,
        row_estimate: None,
        byte_estimate: None,
        next_identity: None,
    };
    let table = StreamTable { schema: Arc::new(schema), columns: Arc::from([0, 1]), since: None };
    let request = StreamRequest {
        from: Position(String::new()),
        applied: TransactionSet::default(),
        tables: vec![table],
        selection: Selection { include: vec!["s.*".to_owned()], ..Selection::default() },
        skipped: Vec::new(),
        set_bytes: 1 << 20,
        set_rows: 100,
    };
    let type_names = HashMap::from([(23, "integer".to_owned()), (25, "text".to_owned())]);
    let schemas = HashSet::from(["pg_catalog".to_owned()]);
    let facts = Facts { type_names, schemas, relations: HashSet::new() };
    let tables = Tables::new(&request, facts).expect("known types");
    Retelling::new(style, tables, Lsn(from), None, None)
}

fn message(lsn: u64, text: &str) -> Frame {
    let payload = Bytes::copy_from_slice(text.as_bytes());
    Frame::Data { start: Lsn(lsn), end: Lsn(lsn), sent_at: 0, payload }
}

/// A batch of records of a parallel style, each with its place.
fn batch(records: &[(u64, &str)]) -> Frame {
    let mut payload = Vec::new();
    for (lsn, text) in records {
        payload.extend((text.len() as u32 + 8).to_be_bytes());
        payload.extend(lsn.to_be_bytes());
        payload.extend(text.as_bytes());
    }
    payload.extend([0; 4]);
    // Where the message says that it is means nothing.
    Frame::Data { start: Lsn(7), end: Lsn(7), sent_at: 0, payload: payload.into() }
}

fn keepalive(end: u64) -> Frame {
    Frame::Keepalive { end: Lsn(end), sent_at: 0, reply_wanted: false }
}

fn row(tuple: &Tuple<'_>) -> String {
    let cells = tuple.cells().map(|cell| match cell {
        Cell::Null => "NULL".to_owned(),
        Cell::Unchanged => "unchanged".to_owned(),
        Cell::Text(text) => String::from_utf8_lossy(text).into_owned(),
        Cell::Binary(_) => "binary".to_owned(),
    });
    cells.collect::<Vec<_>>().join(",")
}

fn old(row_before: &OldRow<'_>) -> String {
    match row_before {
        OldRow::Full(tuple) => row(tuple),
        OldRow::Key(_) => "not whole".to_owned(),
    }
}

/// What is told, in words.
async fn told(retelling: &mut Retelling, frames: Vec<Frame>) -> Result<Vec<String>> {
    let mut decoder = Decoder::of(Family::OpenGauss);
    let mut words = Vec::new();
    for frame in frames {
        for taken in retelling.take(frame).await? {
            match taken {
                Taken::Passed(Frame::Keepalive { end, .. }) => words.push(format!("alive {}", end.0)),
                Taken::Passed(Frame::Data { .. }) | Taken::Kept => words.push("?".to_owned()),
                Taken::Whole(mut whole) => {
                    while let Some(frames) = whole.next().await? {
                        for frame in frames {
                            let Frame::Data { payload, .. } = frame else { continue };
                            words.push(word(&decoder.decode(&payload)?));
                        }
                    }
                }
            }
        }
    }
    Ok(words)
}

fn word(message: &Message<'_>) -> String {
    match message {
        Message::Begin(begin) => format!("begin {} number {:?}", begin.final_lsn.0, begin.csn),
        Message::Commit(commit) => format!("commit {} up to {}", commit.lsn.0, commit.end.0),
        Message::Change { content: Content::Insert { new, .. }, .. } => format!("insert {}", row(new)),
        Message::Change { content: Content::Update(update), .. } => {
            format!("update {} was {}", row(&update.new), update.old.as_ref().map_or_else(String::new, old))
        }
        Message::Change { content: Content::Delete(delete), .. } => format!("delete {}", old(&delete.old)),
        Message::Change { content: Content::Truncate(_), .. } => "truncate".to_owned(),
        _ => "?".to_owned(),
    }
}

fn json(op: &str, new: &str, before: &str) -> String {
    let part = |row: &str| {
        let columns: Vec<(&str, &str)> = row.split(';').filter_map(|cell| cell.split_once('=')).collect();
        let list = |items: Vec<String>| format!("[{}]", items.join(","));
        let names = columns.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let kinds = columns
            .iter()
            .map(|(name, _)| if *name == "id" { "\"integer\"" } else { "\"text\"" }.to_owned())
            .collect();
        let values = columns.iter().map(|(_, value)| format!("\"{value}\"")).collect();
        [list(names), list(kinds), list(values)]
    };
    let ([names, kinds, values], [old_names, old_kinds, old_values]) = (part(new), part(before));
    format!(
        "{{\"table_name\":\"s.t\",\"op_type\":\"{op}\",\"columns_name\":{names},\"columns_type\":{kinds},\
         \"columns_val\":{values},\"old_keys_name\":{old_names},\"old_keys_type\":{old_kinds},\"old_keys_val\":{old_values}}}"
    )
}

const COMMIT: &str = "COMMIT 9 (at 2024-03-14 20:31:12+08) CSN 77";

#[tokio::test]
async fn a_transaction_is_told_when_its_end_is_known() {
    let mut retelling = retelling(Style::Serial, 0);
    let frames = vec![
        keepalive(5),
        message(10, "BEGIN 9"),
        // It has read as far, and sent less.
        keepalive(15),
        message(11, &json("INSERT", "id=1;v='a'", "")),
        message(12, &json("UPDATE", "id=1;v=null", "v='a';id=1")),
        message(13, "table s.t, other.x: TRUNCATE: (no-flags)"),
        message(14, &json("DELETE", "", "id=1;v=null")),
        message(20, COMMIT),
        keepalive(25),
    ];
    let words = told(&mut retelling, frames).await.expect("a stream");
    assert_eq!(
        words,
        [
            "alive 5",
            "begin 19 number Some(77)",
            "insert 1,a",
            "update 1,NULL was 1,a",
            "truncate",
            "delete 1,NULL",
            "commit 19 up to 20",
            "alive 25"
        ]
    );
    let ends = retelling.ends();
    assert_eq!(ends.up_to(Lsn(19)), Some(Lsn(5)), "19 is inside of the commit");
    assert_eq!(ends.up_to(Lsn(24)), Some(Lsn(20)));
}

#[tokio::test]
async fn what_the_target_has_is_left_out() {
    let transaction = |lsn: u64| vec![message(lsn, "BEGIN 9"), message(lsn + 9, COMMIT)];
    for (from, count) in [(19, 2), (20, 0)] {
        let words = told(&mut retelling(Style::Serial, from), transaction(11)).await.expect("a stream");
        assert_eq!(words.len(), count, "from {from}: {words:?}");
    }
}

#[tokio::test]
async fn a_parallel_stream_takes_back_what_an_upsert_tried() {
    let mut retelling = retelling(TEXT, 0);
    let begin = (10, "BEGIN CSN: 77 first_lsn: 0/A xid: 9 commit_time: 2024-03-14 20:31:12+08");
    let commit = (20, "commit xid: 9 (at 2024-03-14 20:31:12+08)");
    let frames = vec![
        keepalive(0),
        batch(&[
            begin,
            (11, "table s t INSERT: id[integer]:1 v[text]:'tried'"),
            (12, "table s t DELETE: (no-tuple-data)"),
            (13, "table s t DELETE: id[integer]:1 v[text]:'old'"),
        ]),
        keepalive(99),
        batch(&[(14, "table s t INSERT: id[integer]:1 v[text]:'new'"), commit]),
        keepalive(99),
    ];
    let words = told(&mut retelling, frames).await.expect("a stream");
    assert_eq!(words, ["begin 19 number Some(77)", "delete 1,old", "insert 1,new", "commit 19 up to 20"]);
    assert_eq!(retelling.ends().up_to(Lsn(u64::MAX)), Some(Lsn(20)), "a sign of life is no end");
    for before in ["table s t DELETE: id[integer]:1 v[text]:'x'", "commit_time"] {
        let mut records = vec![begin];
        records.extend(before.starts_with("table").then_some((11, before)));
        records.push((12, "table s t DELETE: (no-tuple-data)"));
        let error = told(&mut self::retelling(TEXT, 0), vec![batch(&records)]).await.expect_err("no insert");
        assert_eq!(error.kind(), ErrorKind::Divergence);
    }
}

#[tokio::test]
async fn other_columns_and_tables_than_those_on_record_are_errors() {
    let stream = |record: String| vec![message(10, "BEGIN 9"), message(11, &record)];
    for (record, word) in [
        (json("INSERT", "id=1;v='a';w='b'", ""), "w"),
        (json("INSERT", "id=1", ""), "v"),
        (json("UPDATE", "id=1", "id=1"), "v"),
        (json("INSERT", "id=1;v='a'", "").replace("\"text\"", "\"json\""), "type"),
        (json("INSERT", "id=1;v='a'", "").replace("s.t", "s.later"), "s.later"),
    ] {
        let error = told(&mut retelling(Style::Serial, 0), stream(record)).await.expect_err(word);
        assert_eq!(error.kind(), ErrorKind::Divergence, "{error}");
        assert!(format!("{error}").contains(word), "{error}");
    }
    let mut passed = stream(json("INSERT", "x=1", "").replace("s.t", "elsewhere.t"));
    passed.push(message(20, COMMIT));
    assert_eq!(told(&mut retelling(Style::Serial, 0), passed).await.expect("a stream").len(), 2);
}

#[tokio::test]
async fn a_big_value_that_did_not_change_is_the_old_one() {
    let frames = vec![
        message(10, "BEGIN 9"),
        message(11, &json("UPDATE", "id=2", "id=1;v='big'")),
        // The table does not log whole rows.
        message(12, &json("UPDATE", "id=2;v='x'", "id=1")),
        message(20, COMMIT),
    ];
    let words = told(&mut retelling(Style::Serial, 0), frames).await.expect("a stream");
    assert_eq!(
        words.get(1..3).unwrap_or_default(),
        ["update 2,unchanged was 1,big", "update 2,x was not whole"]
    );
}
