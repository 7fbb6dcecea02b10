//! What the test kit writes by the protocol's description, read back.

use proptest::prelude::*;
use test_kit::opengauss::stream::{self, Bound, Change as Sent, Column as SentColumn, Event as SentEvent};

use super::{Abort, Begin, ColumnType, Commit, Event, Lsn, Op, Record, Style, Value, records};

const AT: Lsn = Lsn(0x0005_5982_5858);

fn one(style: Style, payload: &[u8]) -> engine_core::Result<Event<'_>> {
    let mut all: Vec<_> = records(style, AT, payload).collect::<engine_core::Result<_>>()?;
    assert_eq!(all.len(), 1, "one record");
    Ok(all.remove(0).event)
}

fn change(style: Style, payload: &str) -> super::Change<'_> {
    match one(style, payload.as_bytes()).expect("a change") {
        Event::Change(change) => change,
        other => panic!("{other:?} is no change"),
    }
}

const SERIAL_INSERT: &str = r#"{"table_name":"public.t","op_type":"INSERT","columns_name":["id","c"],"columns_type":["integer","character varying"],"columns_val":["1","'a'"],"old_keys_name":[],"old_keys_type":[],"old_keys_val":[]}"#;

#[test]
fn reads_the_serial_lines() {
    let begin = |xid, origin| Begin { xid, first: Some(AT), origin, ..Begin::default() };
    let commit = |xid, committed_at| Commit { xid, csn: Some(951_909), committed_at, end: Some(AT) };
    let at = Some(1_710_419_472_098_179);
    for (line, expected) in [
        ("BEGIN", Event::Begin(begin(None, None))),
        ("BEGIN 1004573", Event::Begin(begin(Some(1_004_573), None))),
        ("BEGIN 1004573 ORIGIN_ID 3", Event::Begin(begin(Some(1_004_573), Some(3)))),
        ("BEGIN ORIGIN_ID 3", Event::Begin(begin(None, Some(3)))),
        ("COMMIT CSN 951909", Event::Commit(commit(None, None))),
        (
            "COMMIT 1004573 (at 2024-03-14 20:31:12.098179+08) CSN 951909",
            Event::Commit(commit(Some(1_004_573), at)),
        ),
        ("ABORT 7 (at 2024-03-14 12:31:12.098179+00)", Event::Abort(Abort { xid: Some(7), at })),
    ] {
        assert_eq!(one(Style::Serial, line.as_bytes()).expect(line), expected);
    }
}

#[test]
fn reads_a_change_as_json() {
    let change = change(Style::Serial, SERIAL_INSERT);
    assert_eq!((change.op, change.schema.as_ref(), change.table.as_ref()), (Op::Insert, "public", "t"));
    let new = change.new.expect("a row");
    assert_eq!(new[1].column_type, ColumnType::Name("character varying".into()));
    assert_eq!([&new[0].value, &new[1].value], [&Value::Text("1".into()), &Value::Text("a".into())]);
    assert_eq!(change.old, None);
}

/// The server prints without spaces and in one order; a document means the same otherwise.
#[test]
fn reads_json_however_it_is_printed() {
    let spaced = SERIAL_INSERT.replace(',', " , ");
    let (members, name) = (SERIAL_INSERT.trim_matches(['{', '}']), "\"table_name\":\"public.t\"");
    let reordered = format!("{{{},{name}}}", members.trim_start_matches(name).trim_start_matches(','));
    for document in [spaced, reordered] {
        assert_eq!(change(Style::Serial, &document), change(Style::Serial, SERIAL_INSERT), "{document}");
    }
    let escaped = SERIAL_INSERT.replace("'a'", r#"'\u00e9\\\\\"\n\ud83d\ude00'"#);
    let new = change(Style::Serial, &escaped).new.expect("a row");
    assert_eq!(new[1].value, Value::Text("é\\\\\"\n😀".into()));
}

#[test]
fn reads_a_truncate() {
    let Event::Truncate(truncate) =
        one(Style::Serial, br#"table public.t1, "A.b"."x""y": TRUNCATE: restart_seqs cascade"#).expect("one")
    else {
        panic!("it is no TRUNCATE")
    };
    let tables: Vec<_> = truncate.tables.iter().map(|(schema, table)| (&**schema, &**table)).collect();
    assert_eq!(tables, [("public", "t1"), ("A.b", "x\"y")]);
    assert!(truncate.restart_sequences && truncate.cascade);
    let line = b"table public.t: TRUNCATE: (no-flags)";
    assert!(matches!(one(Style::Serial, line), Ok(Event::Truncate(_))));
}

#[test]
fn reads_a_change_of_structure() {
    let line = "prefix: deparse, lsn: 0, relid 16384, cmdtype: Simple, size: 13, content: {\"fmt\": \"x\"}\n\
                decode to: CREATE TABLE t (), [owner u]";
    let Event::SchemaChange(change) = one(Style::Serial, line.as_bytes()).expect("one") else {
        panic!("it is no change of structure")
    };
    assert_eq!((change.command, change.content), ("Simple", "{\"fmt\": \"x\"}"));
    assert_eq!(change.decoded, "CREATE TABLE t (), [owner u]");
}

#[test]
fn reads_the_lines_of_the_parallel_styles() {
    let style = Style::Text { batched: false };
    let line = "BEGIN CSN: 951909 first_lsn: 5/59825858 xid: 7 commit_time: 2024-03-14 20:31:12.098179+08 origin_id: 2";
    let begin = Begin {
        xid: Some(7),
        csn: Some(951_909),
        first: Some(Lsn(0x5_5982_5858)),
        committed_at: Some(1_710_419_472_098_179),
        origin: Some(2),
    };
    assert_eq!(one(style, line.as_bytes()).expect("a beginning"), Event::Begin(begin));
    // Without a frame there is only the place where the commit begins, which must not be confirmed.
    assert_eq!(one(style, b"commit").expect("an end"), Event::Commit(Commit::default()));
    let update =
        change(style, "table public t UPDATE: old-key: id[integer]:1 new-tuple: id[integer]:2 c[bit]:B'01'");
    assert_eq!(update.old.expect("an old row")[0].value, Value::Text("1".into()));
    assert_eq!(update.new.expect("a new row")[1].value, Value::Text("01".into()));
    let delete = change(style, "table public t DELETE: (no-tuple-data)");
    assert!(delete.is_retraction());
    let odd = change(
        style,
        r#"table public t INSERT: "a ""[b"[integer[]]:'{1}' c["T]:".x]:null d[text]:unchanged-toast-datum"#,
    );
    let new = odd.new.expect("a row");
    assert_eq!((&*new[0].name, &new[1].value, &new[2].value), ("a \"[b", &Value::Null, &Value::Unchanged));
    assert_eq!(new[0].column_type, ColumnType::Name("integer[]".into()));
}

/// Values of rows must not be in errors, and nothing that isn't understood may be passed over.
#[test]
fn refuses_what_it_does_not_know_without_repeating_it() {
    let text = Style::Text { batched: false };
    let json = Style::Json { batched: false };
    for (style, payload) in [
        (Style::Serial, "PREPARE TRANSACTION 'secret'"),
        (Style::Serial, "BEGIN 12 secret"),
        (Style::Serial, "COMMIT (at yesterday) CSN 1"),
        (Style::Serial, "table public.secret: VACUUM"),
        (Style::Serial, "table public.t: TRUNCATE: secret"),
        (Style::Serial, "prefix: secret, lsn: 0"),
        (Style::Serial, ""),
        (json, "commit secret"),
        (json, "BEGIN CSN: 1"),
        (json, "{\"secret\":1}"),
        (json, "table public t INSERT: a[text]:'secret'"),
        (text, "table public t INSERT: a[text]:'secret"),
        (text, "table public t INSERT: a[text]:secret?"),
        (text, "table public t INSERT: a[text]:'b' 'secret'"),
        (text, "table my schema t INSERT: a[text]:'secret'"),
        (text, "table public t TRUNCATE: secret"),
        (text, "table public t INSERT: a[bit]:B'2'"),
        (text, "table public t UPDATE: old-key: a[text]:'secret'"),
        (text, SERIAL_INSERT),
    ] {
        let error = one(style, payload.as_bytes()).expect_err(payload).to_string();
        assert!(!error.contains("secret"), "{error}");
        assert!(error.contains("position 5/59825858"), "{error}");
    }
    for (from, to) in [
        ("INSERT", "UPSERT"),
        ("[\"1\",", "["),
        ("\"old_keys_name\":[]", "\"old_keys_name\":[\"id\"]"),
        (",\"old_keys_val\":[]", ""),
        ("\"1\"", "1"),
        ("public.t", "t"),
        ("'a'", "'a"),
    ] {
        let line = SERIAL_INSERT.replacen(from, to, 1);
        assert!(one(Style::Serial, line.as_bytes()).is_err(), "{line}");
    }
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z][a-z0-9_]{0,8}", "[A-Za-z0-9é\". ]{1,6}"]
}

fn column() -> impl Strategy<Value = SentColumn> {
    let typed = prop_oneof![
        (Just("integer".to_owned()), Just(23), "-?[0-9]{1,9}".prop_map(Some)),
        (
            Just("numeric".to_owned()),
            Just(1700),
            prop_oneof![Just("NaN".to_owned()), "-?\\.[0-9]{1,30}"].prop_map(Some)
        ),
        (Just("boolean".to_owned()), Just(16), "[tf]".prop_map(Some)),
        (Just("bit varying".to_owned()), Just(1562), "[01]{0,9}".prop_map(Some)),
        (
            Just("character varying".to_owned()),
            Just(1043),
            any::<String>().prop_map(|text| Some(text.replace('\0', "")))
        ),
        (Just("text".to_owned()), Just(25), "['\"\\\\ \n:\\[\\]a]{0,9}".prop_map(Some)),
        (Just("integer[]".to_owned()), Just(1007), proptest::option::of(Just("{1,2}".to_owned()))),
        (Just("timestamp without time zone".to_owned()), Just(1114), Just(None)),
    ];
    (name(), typed).prop_map(|(name, (type_name, type_oid, value))| SentColumn {
        name,
        type_name,
        type_oid,
        value,
    })
}

fn row() -> impl Strategy<Value = Option<Vec<SentColumn>>> {
    proptest::collection::vec(column(), 1..5).prop_map(Some)
}

fn sent() -> impl Strategy<Value = stream::Record> {
    let bound = (any::<Option<u64>>(), any::<u64>(), proptest::bool::ANY).prop_map(|(xid, csn, timed)| {
        Bound { xid, csn, time: timed.then(|| "2024-03-14 20:31:12.098179+08".to_owned()), origin: None }
    });
    let changed = prop_oneof![
        row().prop_map(|new| (stream::Op::Insert, new, None)),
        (row(), row()).prop_map(|(new, old)| (stream::Op::Update, new, old)),
        row().prop_map(|new| (stream::Op::Update, new, None)),
        row().prop_map(|old| (stream::Op::Delete, None, old)),
        Just((stream::Op::Delete, None, None)),
    ];
    let change = (name(), name(), changed)
        .prop_map(|(schema, table, (op, new, old))| SentEvent::Change(Sent { op, schema, table, new, old }));
    let event = prop_oneof![
        1 => bound.clone().prop_map(SentEvent::Begin),
        1 => bound.prop_map(SentEvent::Commit),
        4 => change
    ];
    (1..u64::MAX, event).prop_map(|(lsn, event)| stream::Record { lsn, event })
}

/// Fails unless a record says what was sent.
fn require(style: Style, sent: &stream::Record, got: &Record<'_>) {
    match (&sent.event, &got.event) {
        (SentEvent::Begin(bound), Event::Begin(begin)) => {
            assert_eq!((begin.xid, begin.first), (bound.xid, Some(Lsn(sent.lsn))));
            let (csn, timed) =
                if style == Style::Serial { (None, false) } else { (Some(bound.csn), bound.time.is_some()) };
            assert_eq!((begin.csn, begin.committed_at.is_some()), (csn, timed));
        }
        (SentEvent::Commit(bound), Event::Commit(commit)) => {
            assert_eq!((commit.xid, commit.committed_at.is_some()), (bound.xid, bound.time.is_some()));
            let unframed = matches!(style, Style::Json { batched: false } | Style::Text { batched: false });
            assert_eq!(commit.end, (!unframed).then_some(Lsn(sent.lsn)));
        }
        (SentEvent::Change(sent), Event::Change(change)) => {
            assert_eq!((&*change.schema, &*change.table), (&*sent.schema, &*sent.table));
            assert_eq!(change.op as u8, sent.op as u8);
            for (sent, got) in [(&sent.new, &change.new), (&sent.old, &change.old)] {
                assert_eq!(sent.is_some(), got.is_some());
                let (sent, got) = (sent.iter().flatten(), got.iter().flatten());
                assert_eq!(sent.clone().count(), got.clone().count());
                sent.zip(got).for_each(|(sent, got)| require_column(style, sent, got));
            }
        }
        (sent, got) => panic!("{sent:?} was read as {got:?}"),
    }
}

fn require_column(style: Style, sent: &SentColumn, got: &super::Column<'_>) {
    assert_eq!(got.name, sent.name);
    let column_type = if style == Style::Binary {
        ColumnType::Oid(sent.type_oid)
    } else {
        ColumnType::Name(sent.type_name.as_str().into())
    };
    assert_eq!(got.column_type, column_type);
    let value = match sent.value.as_deref() {
        Some("t") if sent.type_name == "boolean" && style != Style::Binary => Some("true"),
        Some("f") if sent.type_name == "boolean" && style != Style::Binary => Some("false"),
        other => other,
    };
    assert_eq!(got.value, value.map_or(Value::Null, |value| Value::Text(value.into())));
}

/// The text style has schema and table as they are, so that spaces in them can't be told.
fn speakable(style: stream::Style, record: &stream::Record) -> bool {
    match &record.event {
        SentEvent::Change(change) => {
            style != stream::Style::Text || !change.schema.contains(' ') && !change.table.contains(' ')
        }
        _ => true,
    }
}

proptest! {
    #[test]
    fn reads_what_is_sent(sent in proptest::collection::vec(sent(), 1..6), timed: bool) {
        for (written, single, batched) in [
            (stream::Style::Serial, Style::Serial, None),
            (stream::Style::Json, Style::Json { batched: false }, Some(Style::Json { batched: true })),
            (stream::Style::Text, Style::Text { batched: false }, Some(Style::Text { batched: true })),
            (stream::Style::Binary, Style::Binary, Some(Style::Binary)),
        ] {
            let sent: Vec<_> = sent.iter().filter(|record| speakable(written, record)).cloned().collect();
            for record in &sent {
                let payload = stream::single(written, record);
                let got: Vec<_> =
                    records(single, Lsn(record.lsn), &payload).collect::<Result<_, _>>().expect("records");
                assert_eq!(got.len(), 1);
                require(single, record, &got[0]);
            }
            if let Some(style) = batched.filter(|_| !sent.is_empty()) {
                let payload = stream::batch(written, &sent, timed);
                let got: Vec<_> = records(style, AT, &payload).collect::<Result<_, _>>().expect("records");
                assert_eq!(got.len(), sent.len());
                for (sent, got) in sent.iter().zip(&got) {
                    assert_eq!(got.lsn, Lsn(sent.lsn), "the frame says the place");
                    require(style, sent, got);
                }
            }
        }
    }

    /// A payload that ends early is an error, wherever it ends.
    #[test]
    fn refuses_what_is_cut_short(sent in proptest::collection::vec(sent(), 1..4), timed: bool, cut: prop::sample::Index) {
        for (written, style) in
            [(stream::Style::Json, Style::Json { batched: true }), (stream::Style::Binary, Style::Binary)]
        {
            let payload = stream::batch(written, &sent, timed);
            let short = &payload[..cut.index(payload.len())];
            assert!(records(style, AT, short).any(|record| record.is_err()));
        }
    }

    #[test]
    fn takes_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for style in [
            Style::Serial,
            Style::Json { batched: true },
            Style::Json { batched: false },
            Style::Text { batched: true },
            Style::Text { batched: false },
            Style::Binary,
        ] {
            let _ = records(style, AT, &bytes).count();
        }
    }

    #[test]
    fn takes_any_text(line in "(table |BEGIN|COMMIT|prefix: deparse, )?[ a-z\\[\\]:'\",.(){}0-9A-Z/+-]{0,60}") {
        for style in [Style::Serial, Style::Json { batched: false }, Style::Text { batched: false }] {
            let _ = records(style, AT, line.as_bytes()).count();
        }
    }
}
