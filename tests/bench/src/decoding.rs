//! What it costs to read a stream of openGauss's logical decoding, in each style.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Result, ensure};
use engine_postgres::opengauss::decoding::{Event, Lsn, Style, Value, records};
use test_kit::opengauss::stream::{self, Bound, Change, Column, Op, Record};

use crate::measure::{Case, Measure};

/// Changes in a transaction.
const CHANGES: u64 = 10;
/// Records in a batch: a server's holds a mebibyte.
const BATCH: usize = 3000;

/// A stream as it was recorded: payloads of messages.
type Recorded = Vec<Vec<u8>>;

/// Decodes a stream of sysbench's rows, four columns and about 200 bytes: eight inserts, an update and a delete in each
/// transaction. One thread, so that the time on the clock is the time spent. The stream is written by the test kit.
pub(crate) fn measure(changes: u64, runs: usize) -> Result<Vec<Case>> {
    let records = recorded(changes);
    [
        ("decoding: serial stream (JSON)", stream::Style::Serial, Style::Serial, false),
        ("decoding: parallel, JSON, batches", stream::Style::Json, Style::Json { batched: true }, true),
        ("decoding: parallel, text, batches", stream::Style::Text, Style::Text { batched: true }, true),
        ("decoding: parallel, binary, batches", stream::Style::Binary, Style::Binary, true),
    ]
    .into_iter()
    .map(|(name, written, style, batched)| {
        let payloads: Recorded = if batched {
            records.chunks(BATCH).map(|batch| stream::batch(written, batch, false)).collect()
        } else {
            records.iter().map(|record| stream::single(written, record)).collect()
        };
        one(name, style, &payloads, changes, runs)
    })
    .collect()
}

fn one(name: &str, style: Style, payloads: &[Vec<u8>], changes: u64, runs: usize) -> Result<Case> {
    let mut case = Case::new(name, changes);
    for _ in 0..runs {
        let begin = Instant::now();
        let (mut read, mut bytes) = (0_u64, 0_usize);
        for payload in payloads {
            for record in records(style, Lsn(1), payload) {
                let Event::Change(change) = record?.event else { continue };
                read += 1;
                for column in change.new.iter().chain(&change.old).flatten() {
                    if let Value::Text(text) = &column.value {
                        bytes += black_box(text).len();
                    }
                }
            }
        }
        let wall = begin.elapsed().as_secs_f64();
        ensure!(read == changes && bytes > 0, "{name}: {read} of {changes} changes were read");
        case.add(Measure { wall, tool_cpu: wall, ..Measure::default() });
    }
    Ok(case)
}

fn recorded(changes: u64) -> Vec<Record> {
    let mut records = Vec::new();
    let mut lsn = 0x0123_4567;
    let mut push = |event| {
        lsn += 200;
        records.push(Record { lsn, event });
    };
    for transaction in 0..changes.div_ceil(CHANGES) {
        let time = Some("2024-03-14 20:31:12.098179+08".to_owned());
        let bound = Bound { xid: Some(transaction + 1000), csn: transaction + 2000, time, origin: None };
        push(stream::Event::Begin(bound.clone()));
        let first = transaction * CHANGES;
        for id in first..(first + CHANGES).min(changes) {
            let (new, key) = (Some(row(id)), Some(vec![number("id", id)]));
            let (op, new, old) = match id % CHANGES {
                8 => (Op::Update, new, key),
                9 => (Op::Delete, None, key),
                _ => (Op::Insert, new, None),
            };
            let table = format!("sbtest{}", id % 100 + 1);
            push(stream::Event::Change(Change { op, schema: "public".to_owned(), table, new, old }));
        }
        push(stream::Event::Commit(bound));
    }
    records
}

fn row(id: u64) -> Vec<Column> {
    let digits = |groups: u64| {
        let groups = (0..groups).map(|group| format!("{:011}", (id + 1) * (group + 7919) % 99_999_999_999));
        groups.collect::<Vec<_>>().join("-")
    };
    let text = |name: &str, value| Column {
        name: name.to_owned(),
        type_name: "character".to_owned(),
        type_oid: 1042,
        value: Some(value),
    };
    vec![number("id", id), number("k", id % 4999), text("c", digits(10)), text("pad", digits(5))]
}

fn number(name: &str, value: u64) -> Column {
    Column {
        name: name.to_owned(),
        type_name: "integer".to_owned(),
        type_oid: 23,
        value: Some(value.to_string()),
    }
}
