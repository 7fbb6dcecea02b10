//! Paths to values in JSON documents, as the log writes them: `$.name[3]."a name"[last-1]`.

use std::borrow::Cow;

use super::bytes::Malformed;
use super::json::MAX_DEPTH;

/// One step from a container to a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Leg<'p> {
    /// To the member of an object that has this name.
    Member(Cow<'p, str>),
    /// To a cell of an array.
    Cell(Cell),
}

/// A place in an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell {
    /// So many cells after the first.
    FromStart(usize),
    /// So many cells before the last.
    FromEnd(usize),
}

impl Cell {
    /// Index of the cell in an array that has it.
    pub(super) fn existing(self, length: usize) -> Option<usize> {
        match self {
            Self::FromStart(index) => Some(index).filter(|&index| index < length),
            Self::FromEnd(back) => length.checked_sub(1)?.checked_sub(back),
        }
    }

    /// Index that a new cell gets: one beyond the end is the end, one before the start is the start.
    pub(super) fn inserted(self, length: usize) -> usize {
        match self {
            Self::FromStart(index) => index.min(length),
            Self::FromEnd(_) => self.existing(length).unwrap_or(0),
        }
    }
}

const WRONG: Malformed = Malformed("a path into a JSON document can't be read");

/// Reads a path to one value. Paths that stand for several are never in the log.
pub(super) fn parse(path: &[u8]) -> Result<Vec<Leg<'_>>, Malformed> {
    let path = std::str::from_utf8(path).map_err(|_| WRONG)?;
    let mut rest = path.strip_prefix('$').ok_or(WRONG)?;
    let mut legs = Vec::new();
    while !rest.is_empty() {
        if legs.len() > MAX_DEPTH {
            return Err(Malformed("a path into a JSON document is too deep"));
        }
        let leg;
        (leg, rest) = if let Some(cell) = rest.strip_prefix('[') {
            let (cell, rest) = cell.split_once(']').ok_or(WRONG)?;
            (Leg::Cell(parse_cell(cell).ok_or(WRONG)?), rest)
        } else {
            let (name, rest) = parse_name(rest.strip_prefix('.').ok_or(WRONG)?).ok_or(WRONG)?;
            (Leg::Member(name), rest)
        };
        legs.push(leg);
    }
    Ok(legs)
}

fn parse_cell(text: &str) -> Option<Cell> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { text.parse().ok() } else { None }
    };
    match text.strip_prefix("last") {
        Some("") => Some(Cell::FromEnd(0)),
        Some(back) => Some(Cell::FromEnd(number(back.strip_prefix('-')?)?)),
        None => Some(Cell::FromStart(number(text)?)),
    }
}

/// A name and what comes after it. One that is not an identifier is a JSON string.
fn parse_name(text: &str) -> Option<(Cow<'_, str>, &str)> {
    if text.starts_with('"') {
        let mut strings = serde_json::Deserializer::from_str(text).into_iter::<String>();
        let name = strings.next()?.ok()?;
        return Some((name.into(), text.get(strings.byte_offset()..)?));
    }
    let (name, rest) = text.split_at(text.find(['.', '[']).unwrap_or(text.len()));
    // Letters, digits, marks, `$` and `_`; anything else would stand between quotes.
    let plain = !name.is_empty() && !name.contains(['*', '\\', '"', ' ', '\t', '\n', '\r']);
    plain.then_some((name.into(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn member(name: &str) -> Leg<'_> {
        Leg::Member(name.into())
    }

    #[test]
    fn every_kind_of_leg() {
        let path = r#"$.a[0]."x \"y\".z[1]"[last][last-12].été"#.as_bytes();
        let cells = [Cell::FromStart(0), Cell::FromEnd(0), Cell::FromEnd(12)].map(Leg::Cell);
        let [first, last, before] = cells;
        let expected = vec![member("a"), first, member("x \"y\".z[1]"), last, before, member("été")];
        assert_eq!(parse(path), Ok(expected));
        assert_eq!(parse(b"$"), Ok(vec![]));
        assert_eq!(parse(br#"$."\u0001""#), Ok(vec![member("\u{1}")]));
    }

    #[test]
    fn what_is_no_path_to_one_value() {
        for path in [
            "",
            "a",
            "$a",
            "$.",
            "$[",
            "$[]",
            "$[-1]",
            "$[last+1]",
            "$[*]",
            "$.*",
            "$**.a",
            "$.\"a",
            "$[1 to 2]",
        ] {
            assert!(parse(path.as_bytes()).is_err(), "{path}");
        }
        assert!(parse(&[&b"$"[..], &b"[0]".repeat(1000)].concat()).is_err());
    }

    #[test]
    fn places_in_an_array() {
        assert_eq!([0, 2, 3].map(|index| Cell::FromStart(index).existing(3)), [Some(0), Some(2), None]);
        assert_eq!([0, 2, 3].map(|back| Cell::FromEnd(back).existing(3)), [Some(2), Some(0), None]);
        assert_eq!([0, 3, 9].map(|index| Cell::FromStart(index).inserted(3)), [0, 3, 3]);
        assert_eq!([0, 2, 9].map(|back| Cell::FromEnd(back).inserted(3)), [2, 0, 0]);
        assert_eq!(Cell::FromEnd(0).inserted(0), 0);
    }

    proptest! {
        #[test]
        fn any_name_between_quotes_is_read(names in prop::collection::vec("\\PC*|[\\x00-\\x7f]*", 0..5)) {
            let quoted = names.iter().map(|name| format!(".{}", serde_json::Value::from(name.as_str())));
            let path = format!("${}", quoted.collect::<String>());
            let read = parse(path.as_bytes()).expect("a path");
            prop_assert_eq!(read, names.iter().map(|name| member(name)).collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_are_survived(path: Vec<u8>) {
            let _ = parse(&[b"$".as_slice(), &path].concat());
        }
    }
}
