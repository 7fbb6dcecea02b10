//! A change as a line of text: style `t`.

use std::borrow::Cow;

use super::event::{Change, Column, ColumnType, Op};
use super::{identifier, literal};
use crate::replication::fields::Malformed;

const NO_TUPLE: &str = " (no-tuple-data)";
const OLD: &str = " old-key:";
const NEW: &str = " new-tuple:";

/// Reads what follows `table `.
pub(super) fn change(rest: &str) -> Result<Change<'_>, Malformed> {
    let mut words = rest.splitn(3, ' ');
    let (Some(schema), Some(table), Some(rest)) = (words.next(), words.next(), words.next()) else {
        return Err(Malformed("a line about a table has no table"));
    };
    if schema.is_empty() || table.is_empty() {
        return Err(Malformed("a line about a table has no table"));
    }
    let (op, rest) = [("INSERT:", Op::Insert), ("UPDATE:", Op::Update), ("DELETE:", Op::Delete)]
        .into_iter()
        .find_map(|(word, op)| Some((op, rest.strip_prefix(word)?)))
        .ok_or(Malformed(
            "what happened is not known, or a name has a space: the text style doesn't quote names",
        ))?;
    let (mut new, mut old) = (None, None);
    if rest != NO_TUPLE {
        match op {
            Op::Insert => new = only(rest)?,
            Op::Delete => old = only(rest)?,
            Op::Update => match rest.strip_prefix(OLD) {
                None => new = only(rest)?,
                Some(rest) => {
                    let (key, rest) = columns(rest)?;
                    let rest = rest.strip_prefix(NEW).ok_or(Malformed("there is no new row"))?;
                    (old, new) = (key, only(rest)?);
                }
            },
        }
    }
    Ok(Change { op, schema: Cow::Borrowed(schema), table: Cow::Borrowed(table), new, old })
}

/// Columns up to the end.
fn only(text: &str) -> Result<Option<Vec<Column<'_>>>, Malformed> {
    match columns(text)? {
        (columns, "") => Ok(columns),
        _ => Err(Malformed("there is something behind the last column")),
    }
}

/// Columns, each with a space before it: `name[type]:value`.
fn columns(text: &str) -> Result<(Option<Vec<Column<'_>>>, &str), Malformed> {
    let mut columns = Vec::new();
    let mut rest = text;
    while !rest.is_empty() && !rest.starts_with(NEW) {
        let column = rest.strip_prefix(' ').ok_or(Malformed("columns are not apart by a space"))?;
        let (name, behind) = identifier::take(column, b"[")?;
        let behind = behind.strip_prefix('[').ok_or(Malformed("a column has no type"))?;
        let (kind, behind) = column_type(behind)?;
        let (value, behind) = literal::take(behind)?;
        columns.push(Column { name, column_type: ColumnType::Name(Cow::Borrowed(kind)), value });
        rest = behind;
    }
    Ok((if columns.is_empty() { None } else { Some(columns) }, rest))
}

/// A type up to `]:`, which may itself have brackets, and anything at all between quotes.
fn column_type(text: &str) -> Result<(&str, &str), Malformed> {
    let mut quoted = false;
    let end = text
        .as_bytes()
        .windows(2)
        .position(|pair| {
            quoted ^= pair.starts_with(b"\"");
            !quoted && pair == b"]:"
        })
        .ok_or(Malformed("a type has no end"))?;
    match (text.get(..end), text.get(end + 2..)) {
        (Some(kind), Some(rest)) if !kind.is_empty() => Ok((kind, rest)),
        _ => Err(Malformed("a column has no type")),
    }
}
