//! Names as the server quotes them.

use memchr::memchr;
use std::borrow::Cow;

use crate::replication::fields::Malformed;

const BAD: Malformed = Malformed("a name is not quoted as it should be");

/// A text that is one name.
pub(super) fn whole(text: &str) -> Result<Cow<'_, str>, Malformed> {
    if !text.is_empty() && memchr(b'"', text.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(text));
    }
    match take(text, b"")? {
        (name, "") => Ok(name),
        _ => Err(BAD),
    }
}

/// A text that is `schema.table`.
pub(super) fn qualified(text: &str) -> Result<(Cow<'_, str>, Cow<'_, str>), Malformed> {
    let (schema, rest) = take(text, b".")?;
    let table = rest.strip_prefix('.').ok_or(Malformed("a table has no schema"))?;
    // Two bare names have one point between them.
    match take(table, b".")? {
        (table, "") => Ok((schema, table)),
        _ => Err(BAD),
    }
}

/// Takes a name off the front, which ends where one without quotes has one of `ends`; answers it and
/// what is left.
pub(super) fn take<'a>(text: &'a str, ends: &[u8]) -> Result<(Cow<'a, str>, &'a str), Malformed> {
    if let Some(quoted) = text.strip_prefix('"') {
        let (name, rest) = until_quote(quoted, b'"')?;
        return if name.is_empty() { Err(BAD) } else { Ok((name, rest)) };
    }
    let length = text
        .bytes()
        .position(|byte| byte == b'"' || byte == b' ' || ends.contains(&byte))
        .unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(length).ok_or(BAD)?;
    if name.is_empty() { Err(BAD) } else { Ok((Cow::Borrowed(name), rest)) }
}

/// Takes a text up to a quote that is not doubled; answers it with single quotes and what is behind.
pub(super) fn until_quote(text: &str, quote: u8) -> Result<(Cow<'_, str>, &str), Malformed> {
    const OPEN: Malformed = Malformed("a quoted text has no end");
    let mut joined = String::new();
    let mut rest = text;
    loop {
        let end = memchr(quote, rest.as_bytes()).ok_or(OPEN)?;
        let (part, behind) = rest.split_at_checked(end).ok_or(OPEN)?;
        let (_, behind) = behind.split_at_checked(1).ok_or(OPEN)?;
        if behind.as_bytes().first() == Some(&quote) {
            // The first of two quotes belongs to the text, the second goes.
            joined.push_str(rest.get(..=end).unwrap_or(part));
            rest = behind.get(1..).unwrap_or_default();
        } else if joined.is_empty() {
            return Ok((Cow::Borrowed(part), behind));
        } else {
            joined.push_str(part);
            return Ok((Cow::Owned(joined), behind));
        }
    }
}
