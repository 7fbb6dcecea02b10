//! Entry points for the fuzz targets in `fuzz/`: each takes any bytes, and must return.
//!
//! Where a decoded value has an invariant, breaking it is a panic for the fuzzer to find.

#![expect(clippy::missing_panics_doc, reason = "a panic is what a fuzzer looks for")]

use engine_core::batch::Batch;
use engine_core::logical::Layout;
use engine_core::position::Position;

use super::bytes::Bytes;
use super::cell::CellDecoder;
use super::decimal::PackedDecimal;
use super::event::{self, EventKind, Header, MariaDbGtid, MySqlGtid, Query};
use super::extent::{WireColumn, wire_type};
use super::gtid::{GtidSet, GtidState};
use super::partial::decode_partial_update;
use super::payload::{Payload, unpack_mariadb};
use super::position::LogPosition;
use super::rows::{ColumnPlan, RowsEvent, decode_row};
use super::statement::classify;
use super::table_map::TableMap;
use super::{json, json_diff, table_map};
use crate::charset::Charset;

/// Events inside of a compressed transaction that are looked at.
const INNER_EVENTS: usize = 64;

/// An event: the header, then the body.
pub fn event(input: &[u8]) {
    let mut rest = Bytes::new(input);
    if let Ok(header) = Header::read(&mut rest) {
        assert_eq!(
            header.to_bytes()[..],
            input[..header.to_bytes().len()],
            "a header reads as it is written"
        );
        body(header.kind, rest.rest(), true);
    }
}

fn body(kind: u8, body: &[u8], outer: bool) {
    match EventKind::of(kind) {
        Some(EventKind::Query { compressed }) => query(body, compressed),
        Some(EventKind::LoadQuery) => drop(Query::read(body, true)),
        Some(EventKind::Rotate) => drop(event::rotate(body)),
        Some(EventKind::Gtid | EventKind::AnonymousGtid) => drop(MySqlGtid::read(body)),
        Some(EventKind::TaggedGtid) => drop(MySqlGtid::read_tagged(body)),
        Some(EventKind::MariaDbGtid) => drop(MariaDbGtid::read(body)),
        Some(EventKind::TableMap) => drop((TableMap::read(body), table_map::names(body))),
        Some(EventKind::Rows(kind)) => {
            if let Ok(event) = RowsEvent::read(body, kind)
                && kind.compressed
            {
                drop(unpack_mariadb(event.packed));
            }
        }
        Some(EventKind::TransactionPayload) if outer => payload(body),
        _ => {}
    }
}

fn query(body: &[u8], compressed: bool) {
    let Ok(query) = Query::read(body, false) else { return };
    let unpacked = if compressed { unpack_mariadb(query.statement).ok() } else { None };
    let statement = unpacked.as_deref().unwrap_or(query.statement);
    classify(&String::from_utf8_lossy(statement), &String::from_utf8_lossy(query.database));
}

fn payload(outer: &[u8]) {
    let Ok(mut payload) = Payload::open(outer) else { return };
    for _ in 0..INNER_EVENTS {
        match payload.next() {
            Ok(Some((header, inner))) => body(header.kind, &inner, false),
            Ok(None) | Err(_) => return,
        }
    }
}

/// Rows: the length of a table map in two bytes, the table map, row images as it describes them. With
/// the highest bit of the length they are updates that may hold differences of JSON documents.
pub fn rows(input: &[u8]) {
    let mut rest = Bytes::new(input);
    let Ok(length) = rest.u16() else { return };
    let (partial, length) = (length >> 15 == 1, length & 0x7fff);
    let Ok(map) = rest.take(usize::from(length)) else { return };
    let Ok(map) = TableMap::read(map) else { return };
    let mut plans = Vec::new();
    let mut batch = Batch { rows: 0, columns: Vec::new() };
    for wire in map.columns {
        let wanted = decoder(wire).map(|(decoder, layout)| {
            batch.columns.push(layout.empty_column());
            (batch.columns.len() - 1, decoder)
        });
        plans.push(ColumnPlan { extent: wire.extent, is_json: wire.kind == wire_type::JSON, wanted });
    }
    if plans.is_empty() {
        return;
    }
    let mut before = batch.clone();
    while !rest.is_empty() {
        let decoded = if partial {
            decode_partial_update(&plans, &mut rest, &mut before, &mut batch)
        } else {
            decode_row(&plans, &mut rest, &mut batch)
        };
        if decoded.is_err() {
            return;
        }
        for batch in [&batch, &before] {
            assert!(
                batch.columns.iter().all(|column| column.len() == batch.rows),
                "columns are of one length"
            );
        }
    }
}

/// A decoder that goes with the type of the log.
fn decoder(wire: WireColumn) -> Option<(CellDecoder, Layout)> {
    use wire_type::{
        BIT, BLOB, DATE, DATETIME, DATETIME2, DOUBLE, ENUM, FLOAT, GEOMETRY, INT24, JSON, LONG, LONGLONG,
        NEWDECIMAL, SET, SHORT, STRING, TIME, TIME2, TIMESTAMP, TIMESTAMP2, TINY, VARCHAR, YEAR,
    };
    let digits = || Some(wire.detail as u8);
    let labels = || vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
    Some(match wire.kind {
        TINY => (CellDecoder::Signed(1), Layout::I64),
        SHORT => (CellDecoder::Signed(2), Layout::I64),
        INT24 => (CellDecoder::Signed(3), Layout::I64),
        LONG => (CellDecoder::Unsigned, Layout::U64),
        LONGLONG => (CellDecoder::Signed(8), Layout::I64),
        YEAR => (CellDecoder::Year, Layout::I64),
        FLOAT => (CellDecoder::Float, Layout::F64),
        DOUBLE => (CellDecoder::Double, Layout::F64),
        NEWDECIMAL => {
            let decimal = PackedDecimal::new((wire.detail >> 8) as u8, wire.detail as u8)?;
            (CellDecoder::Decimal(decimal), Layout::Varlen)
        }
        DATE => (CellDecoder::Date, Layout::I64),
        TIME => (CellDecoder::Time(None), Layout::I64),
        TIME2 => (CellDecoder::Time(digits()), Layout::I64),
        DATETIME => (CellDecoder::DateTime(None), Layout::I64),
        DATETIME2 => (CellDecoder::DateTime(digits()), Layout::I64),
        TIMESTAMP => (CellDecoder::Timestamp(None), Layout::I64),
        TIMESTAMP2 => (CellDecoder::Timestamp(digits()), Layout::I64),
        VARCHAR => (CellDecoder::Text { charset: Charset::native("utf8mb4")?, trim: false }, Layout::Varlen),
        STRING if wire.detail == 4 || wire.detail == 16 => {
            (CellDecoder::Address(usize::from(wire.detail)), Layout::Varlen)
        }
        STRING => (CellDecoder::Padded(usize::from(wire.detail)), Layout::Varlen),
        BLOB | GEOMETRY => (CellDecoder::Raw, Layout::Varlen),
        BIT => (CellDecoder::Bit(usize::from(wire.detail).div_ceil(8)), Layout::Varlen),
        JSON => (CellDecoder::Json, Layout::Varlen),
        ENUM => (CellDecoder::Enumeration(labels()), Layout::Varlen),
        SET => (CellDecoder::Set(labels()), Layout::Varlen),
        _ => return None,
    })
}

/// Text of GTID sets, of MariaDB's states and of positions.
pub fn gtid(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Some(set) = GtidSet::parse(&text) {
        assert_eq!(GtidSet::parse(&set.to_string()).as_ref(), Some(&set), "a set reads as it is written");
        assert!(set.contains_all(&set), "a set holds itself");
    }
    if let Some(state) = GtidState::parse(&text) {
        assert_eq!(GtidState::parse(&state.to_string()).as_ref(), Some(&state), "so does a state");
    }
    if let Ok(position) = LogPosition::parse(&Position(text.into_owned())) {
        assert!(position.covers(&position).is_ok(), "a position compares with itself");
    }
}

/// A statement of structure.
pub fn ddl(input: &[u8]) {
    crate::ddl::fuzzing::statement(input);
}

/// A binary JSON document.
pub fn json(input: &[u8]) {
    let mut out = Vec::new();
    if json::decode_into(input, &mut out).is_ok() {
        assert!(std::str::from_utf8(&out).is_ok(), "JSON is UTF-8");
    }
}

/// Differences of a binary JSON document: the document's length in two bytes, the document, the differences.
pub fn json_diff(input: &[u8]) {
    let mut rest = Bytes::new(input);
    let Ok(length) = rest.u16() else { return };
    let Ok(document) = rest.take(usize::from(length)) else { return };
    let mut out = Vec::new();
    if json_diff::apply_into(document, rest.rest(), &mut out).is_ok() {
        assert!(std::str::from_utf8(&out).is_ok(), "JSON is UTF-8");
    }
}

/// A packed decimal: precision, scale, digits.
pub fn decimal(input: &[u8]) {
    let mut rest = Bytes::new(input);
    let (Ok(precision), Ok(scale)) = (rest.u8(), rest.u8()) else { return };
    let Some(decimal) = PackedDecimal::new(precision, scale) else { return };
    let mut out = Vec::new();
    if decimal.decode_into(&mut rest, &mut out).is_ok() {
        let digits = out.iter().filter(|byte| byte.is_ascii_digit()).count();
        assert!(digits >= 1 && digits <= usize::from(precision) + 1, "a decimal has its digits");
        assert!(out.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'.')), "and nothing else");
    }
}
