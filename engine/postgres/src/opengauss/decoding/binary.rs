//! Style `b`.

use super::Lsn;
use super::event::{Begin, Change, Column, ColumnType, Commit, Event, Op, Value};
use super::{identifier, time};
use crate::replication::fields::Fields;
use crate::replication::fields::Malformed;

/// Length of a value that is NULL.
const NULL: u32 = u32::MAX;
/// The fewest bytes that a column takes.
const SMALLEST_COLUMN: usize = 2 + 4 + 4;

/// Reads a record without its length and place, which is `at`.
pub(super) fn event(record: &[u8], at: Lsn) -> Result<Event<'_>, Malformed> {
    let mut rest = Fields::new(record);
    let event = match rest.u8()? {
        b'B' => {
            let (csn, first) = (Some(rest.u64()?), Some(Lsn(rest.u64()?)));
            let (xid, committed_at) = (xid(&mut rest)?, committed_at(&mut rest)?);
            let origin = if takes(&mut rest, b'O') { Some(rest.u32()?) } else { None };
            Event::Begin(Begin { xid, csn, first, committed_at, origin })
        }
        b'C' => {
            let (xid, committed_at) = (xid(&mut rest)?, committed_at(&mut rest)?);
            Event::Commit(Commit { xid, csn: None, committed_at, end: Some(at) })
        }
        b'I' => {
            let (schema, table) = relation(&mut rest)?;
            let new = tuple(&mut rest, b'N')?;
            change(Op::Insert, schema, table, new, None)
        }
        b'U' => {
            let (schema, table) = relation(&mut rest)?;
            let new = tuple(&mut rest, b'N')?;
            let old = tuple(&mut rest, b'O')?;
            change(Op::Update, schema, table, new, old)
        }
        b'D' => {
            let (schema, table) = relation(&mut rest)?;
            let old = tuple(&mut rest, b'O')?;
            change(Op::Delete, schema, table, None, old)
        }
        _ => return Err(Malformed("its kind is not known")),
    };
    if rest.is_empty() { Ok(event) } else { Err(Malformed("there is something behind its last field")) }
}

fn change<'a>(
    op: Op,
    schema: &'a str,
    table: &'a str,
    new: Option<Vec<Column<'a>>>,
    old: Option<Vec<Column<'a>>>,
) -> Event<'a> {
    Event::Change(Change { op, schema: schema.into(), table: table.into(), new, old })
}

fn xid(rest: &mut Fields<'_>) -> Result<Option<u64>, Malformed> {
    if takes(rest, b'X') { rest.u64().map(Some) } else { Ok(None) }
}

fn committed_at(rest: &mut Fields<'_>) -> Result<Option<i64>, Malformed> {
    if !takes(rest, b'T') {
        return Ok(None);
    }
    let length = rest.u32()? as usize;
    time::parse(text(rest, length)?).map(Some)
}

/// Schema and table: these stand without quotes, unlike the columns.
fn relation<'a>(rest: &mut Fields<'a>) -> Result<(&'a str, &'a str), Malformed> {
    let length = usize::from(rest.u16()?);
    let schema = text(rest, length)?;
    let length = usize::from(rest.u16()?);
    Ok((schema, text(rest, length)?))
}

/// A text of so many bytes.
fn text<'a>(rest: &mut Fields<'a>, bytes: usize) -> Result<&'a str, Malformed> {
    std::str::from_utf8(rest.take(bytes)?).map_err(|_| Malformed("a text is not UTF-8"))
}

/// Takes a byte if it is this one.
fn takes(rest: &mut Fields<'_>, byte: u8) -> bool {
    let is_next = rest.rest().first() == Some(&byte);
    is_next && rest.u8().is_ok()
}

fn tuple<'a>(rest: &mut Fields<'a>, kind: u8) -> Result<Option<Vec<Column<'a>>>, Malformed> {
    if !takes(rest, kind) {
        return Ok(None);
    }
    let count = usize::from(rest.u16()?);
    if count * SMALLEST_COLUMN > rest.rest().len() {
        return Err(Malformed("it says it has more columns than fit into it"));
    }
    let mut columns = Vec::with_capacity(count);
    for _ in 0..count {
        let length = usize::from(rest.u16()?);
        let name = identifier::whole(text(rest, length)?)?;
        let column_type = ColumnType::Oid(rest.u32()?);
        let value = match rest.u32()? {
            NULL => Value::Null,
            length => Value::Text(text(rest, length as usize)?.into()),
        };
        columns.push(Column { name, column_type, value });
    }
    Ok(Some(columns))
}
