//! Records that are lines: all of the serial stream, and beginnings and ends in styles `j` and `t`.

use super::Lsn;
use super::event::{Abort, Begin, Commit, Event, SchemaChange, Truncate};
use super::{identifier, json, text as text_style, time};
use crate::replication::fields::Malformed;

const UNKNOWN: Malformed = Malformed("its kind is not known");
const NUMBER: Malformed = Malformed("a number is none");

/// Reads a record of the serial stream, which is at `at`.
pub(super) fn serial(record: &str, at: Lsn) -> Result<Event<'_>, Malformed> {
    if record.starts_with('{') {
        return json::change(record).map(Event::Change);
    }
    if let Some(rest) = record.strip_prefix("BEGIN") {
        let (xid, rest) = leading_number(rest)?;
        let (origin, rest) = tagged(rest, " ORIGIN_ID ")?;
        end(rest)?;
        return Ok(Event::Begin(Begin { xid, first: Some(at), origin, ..Begin::default() }));
    }
    if let Some(rest) = record.strip_prefix("COMMIT") {
        let (xid, rest) = leading_number(rest)?;
        let (committed_at, rest) = parenthesised_time(rest)?;
        let (csn, rest) = tagged(rest, " CSN ")?;
        end(rest)?;
        return Ok(Event::Commit(Commit { xid, csn, committed_at, end: Some(at) }));
    }
    if let Some(rest) = record.strip_prefix("ABORT") {
        let (xid, rest) = leading_number(rest)?;
        let (at, rest) = parenthesised_time(rest)?;
        end(rest)?;
        return Ok(Event::Abort(Abort { xid, at }));
    }
    if let Some(rest) = record.strip_prefix("table ") {
        return truncate(rest);
    }
    if record.starts_with("prefix: ") {
        return schema_change(record);
    }
    Err(UNKNOWN)
}

/// Reads a record of style `j`; `end` is the place behind it where that is known.
pub(super) fn json(record: &str, end: Option<Lsn>) -> Result<Event<'_>, Malformed> {
    if record.starts_with('{') {
        return json::change(record).map(Event::Change);
    }
    parallel(record, end)?.ok_or(UNKNOWN)
}

/// Reads a record of style `t`; `end` is the place behind it where that is known.
pub(super) fn text(record: &str, end: Option<Lsn>) -> Result<Event<'_>, Malformed> {
    if let Some(rest) = record.strip_prefix("table ") {
        return text_style::change(rest).map(Event::Change);
    }
    parallel(record, end)?.ok_or(UNKNOWN)
}

/// Beginnings and ends of the parallel styles.
fn parallel(record: &str, commit_end: Option<Lsn>) -> Result<Option<Event<'static>>, Malformed> {
    if let Some(rest) = record.strip_prefix("BEGIN") {
        let (csn, rest) = tagged(rest, " CSN: ")?;
        let rest = rest.strip_prefix(" first_lsn: ").ok_or(Malformed("a beginning has no first_lsn"))?;
        let (first, rest) = rest.split_at_checked(rest.find(' ').unwrap_or(rest.len())).unwrap_or((rest, ""));
        let first = Some(first.parse().map_err(|_| Malformed("an LSN is not two hexadecimal numbers"))?);
        let (xid, rest) = tagged(rest, " xid: ")?;
        let (committed_at, rest) = match rest.strip_prefix(" commit_time: ") {
            None => (None, rest),
            Some(rest) => {
                let length = rest.find(" origin_id: ").unwrap_or(rest.len());
                let (at, rest) = rest.split_at_checked(length).unwrap_or((rest, ""));
                (Some(time::parse(at)?), rest)
            }
        };
        let (origin, rest) = tagged(rest, " origin_id: ")?;
        end(rest)?;
        return Ok(Some(Event::Begin(Begin { xid, csn, first, committed_at, origin })));
    }
    if let Some(rest) = record.strip_prefix("commit") {
        let (xid, rest) = tagged(rest, " xid: ")?;
        let (committed_at, rest) = parenthesised_time(rest)?;
        end(rest)?;
        return Ok(Some(Event::Commit(Commit { xid, csn: None, committed_at, end: commit_end })));
    }
    Ok(None)
}

/// `public.a, "B".c: TRUNCATE: restart_seqs cascade`; the lack of flags is written out.
fn truncate(record: &str) -> Result<Event<'_>, Malformed> {
    let mut tables = Vec::new();
    let mut rest = record;
    loop {
        let (schema, behind) = identifier::take(rest, b".:,")?;
        let behind = behind.strip_prefix('.').ok_or(Malformed("a table has no schema"))?;
        let (table, behind) = identifier::take(behind, b".:,")?;
        tables.push((schema, table));
        match behind.strip_prefix(", ") {
            Some(next) => rest = next,
            None => {
                rest = behind;
                break;
            }
        }
    }
    let flags = rest.strip_prefix(": TRUNCATE:").ok_or(UNKNOWN)?;
    let (mut restart_sequences, mut cascade) = (false, false);
    if flags != " (no-flags)" {
        let mut words = flags.split(' ');
        if words.next() != Some("") {
            return Err(UNKNOWN);
        }
        for word in words {
            match word {
                "restart_seqs" => restart_sequences = true,
                "cascade" => cascade = true,
                _ => return Err(Malformed("a TRUNCATE has a flag that is not known")),
            }
        }
        if !restart_sequences && !cascade {
            return Err(UNKNOWN);
        }
    }
    Ok(Event::Truncate(Truncate { tables, restart_sequences, cascade }))
}

/// `prefix: deparse, lsn: N, relid N, cmdtype: …, size: N, content: {…}`, and on the next line
/// `decode to: ` with the statement.
fn schema_change(record: &str) -> Result<Event<'_>, Malformed> {
    const BAD: Malformed = Malformed("a change of structure is not written as expected");
    let rest = record.strip_prefix("prefix: deparse, ").ok_or(UNKNOWN)?;
    let (_, rest) = rest.split_once(", cmdtype: ").ok_or(BAD)?;
    let (command, rest) = rest.split_once(", size: ").ok_or(BAD)?;
    let (_, rest) = rest.split_once(", content: ").ok_or(BAD)?;
    let (content, decoded) = rest.split_once("\ndecode to: ").ok_or(BAD)?;
    Ok(Event::SchemaChange(SchemaChange { command, content, decoded }))
}

/// A number behind one space.
fn leading_number(text: &str) -> Result<(Option<u64>, &str), Malformed> {
    match text.strip_prefix(' ') {
        Some(rest) if rest.starts_with(|first: char| first.is_ascii_digit()) => {
            let (number, rest) = number(rest)?;
            Ok((Some(number), rest))
        }
        _ => Ok((None, text)),
    }
}

/// A number behind a tag.
fn tagged<'a, N: TryFrom<u64>>(text: &'a str, tag: &str) -> Result<(Option<N>, &'a str), Malformed> {
    match text.strip_prefix(tag) {
        Some(rest) => {
            let (number, rest) = number(rest)?;
            Ok((Some(number.try_into().map_err(|_| NUMBER)?), rest))
        }
        None => Ok((None, text)),
    }
}

fn number(text: &str) -> Result<(u64, &str), Malformed> {
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at_checked(length).ok_or(NUMBER)?;
    Ok((digits.parse().map_err(|_| NUMBER)?, rest))
}

/// ` (at 2024-03-14 20:31:12.098179+08)`.
fn parenthesised_time(text: &str) -> Result<(Option<i64>, &str), Malformed> {
    let Some(rest) = text.strip_prefix(" (at ") else { return Ok((None, text)) };
    let (at, rest) = rest.split_once(')').ok_or(Malformed("a time has no end"))?;
    Ok((Some(time::parse(at)?), rest))
}

fn end(rest: &str) -> Result<(), Malformed> {
    if rest.is_empty() { Ok(()) } else { Err(Malformed("there is something behind what is known of it")) }
}
