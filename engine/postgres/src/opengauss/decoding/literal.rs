//! Values as JSON and text write them.

use std::borrow::Cow;

use super::event::Value;
use super::identifier::until_quote;
use crate::replication::fields::Malformed;

/// A text that is one value.
pub(super) fn whole(text: Cow<'_, str>) -> Result<Value<'_>, Malformed> {
    const BEHIND: Malformed = Malformed("there is something behind a value");
    match text {
        Cow::Borrowed(text) => match take(text)? {
            (value, "") => Ok(value),
            _ => Err(BEHIND),
        },
        Cow::Owned(text) => match take(&text)? {
            (Value::Null, "") => Ok(Value::Null),
            (Value::Unchanged, "") => Ok(Value::Unchanged),
            (Value::Text(value), "") => Ok(Value::Text(Cow::Owned(value.into_owned()))),
            _ => Err(BEHIND),
        },
    }
}

/// Takes a value off the front; answers it and what is left, which begins with a space or is nothing.
///
/// Numbers, booleans and NULL stand as they are, bits between `B'` and a quote, everything else between
/// quotes, which are doubled inside. Backslashes mean nothing.
pub(super) fn take(text: &str) -> Result<(Value<'_>, &str), Malformed> {
    if let Some(quoted) = text.strip_prefix('\'') {
        let (value, rest) = until_quote(quoted, b'\'')?;
        return Ok((Value::Text(value), rest));
    }
    if let Some(quoted) = text.strip_prefix("B'") {
        let (value, rest) = until_quote(quoted, b'\'')?;
        return if value.bytes().all(|byte| matches!(byte, b'0' | b'1')) {
            Ok((Value::Text(value), rest))
        } else {
            Err(Malformed("a bit is neither 0 nor 1"))
        };
    }
    let (bare, rest) = text.split_at_checked(text.find(' ').unwrap_or(text.len())).unwrap_or((text, ""));
    let value = match bare {
        "null" => Value::Null,
        "unchanged-toast-datum" => Value::Unchanged,
        _ if !bare.is_empty() && bare.bytes().all(is_bare) => Value::Text(Cow::Borrowed(bare)),
        _ => return Err(Malformed("a value stands without quotes that needs them")),
    };
    Ok((value, rest))
}

/// What numbers and booleans are made of.
fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'-')
}
