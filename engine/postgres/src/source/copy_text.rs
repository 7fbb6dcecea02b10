//! Rows of `COPY … TO STDOUT` in its text format.
//!
//! One `CopyData` message holds one row: cells with tabs between them and a line feed at the end. NULL is
//! `\N`; in a value, a backslash stands before what would mean something else (`CopyAttributeOutText` in
//! `copyto.c`).

use super::value::Malformed;

const NO_LINE: Malformed = "a row of COPY does not end its line";
const NO_ESCAPE: Malformed = "a backslash stands before something that COPY does not escape";

/// The cells of one row, in order.
#[derive(Debug, Clone)]
pub(crate) struct CopyRow<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> CopyRow<'a> {
    /// The cells of a message. A table without columns has rows with one empty cell.
    pub(crate) fn new(message: &'a [u8]) -> Result<Self, Malformed> {
        let line = message.strip_suffix(b"\n").ok_or(NO_LINE)?;
        if memchr::memchr(b'\n', line).is_some() {
            return Err(NO_LINE);
        }
        Ok(Self { rest: Some(line) })
    }
}

impl<'a> Iterator for CopyRow<'a> {
    type Item = CopyCell<'a>;

    #[inline]
    fn next(&mut self) -> Option<CopyCell<'a>> {
        let rest = self.rest?;
        let (cell, after) = match memchr::memchr(b'\t', rest).and_then(|tab| rest.split_at_checked(tab)) {
            Some((cell, after)) => (cell, after.get(1..)),
            None => (rest, None),
        };
        self.rest = after;
        Some(CopyCell(cell))
    }
}

/// One cell as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CopyCell<'a>(&'a [u8]);

impl<'a> CopyCell<'a> {
    /// The value's text, `None` for NULL. `scratch` is overwritten when there is something to unescape.
    #[inline]
    pub(crate) fn text<'s>(self, scratch: &'s mut Vec<u8>) -> Result<Option<&'s [u8]>, Malformed>
    where
        'a: 's,
    {
        if self.0 == b"\\N" {
            return Ok(None);
        }
        match memchr::memchr(b'\\', self.0) {
            None => Ok(Some(self.0)),
            Some(_) => {
                unescape(self.0, scratch)?;
                Ok(Some(scratch))
            }
        }
    }
}

fn unescape(cell: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.clear();
    let mut rest = cell;
    while let Some((plain, escaped)) =
        memchr::memchr(b'\\', rest).and_then(|backslash| rest.split_at_checked(backslash))
    {
        out.extend_from_slice(plain);
        let (&[_, letter], after) = escaped.split_first_chunk::<2>().ok_or(NO_ESCAPE)?;
        out.push(match letter {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            b'\\' => b'\\',
            _ => return Err(NO_ESCAPE),
        });
        rest = after;
    }
    out.extend_from_slice(rest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The cells' texts.
    fn cells(message: &[u8]) -> Result<Vec<Option<Vec<u8>>>, Malformed> {
        let mut scratch = Vec::new();
        CopyRow::new(message)?.map(|cell| Ok(cell.text(&mut scratch)?.map(<[u8]>::to_vec))).collect()
    }

    /// A row as the server writes it.
    fn written(cells: &[Option<Vec<u8>>]) -> Vec<u8> {
        let mut line = Vec::new();
        for (place, cell) in cells.iter().enumerate() {
            if place > 0 {
                line.push(b'\t');
            }
            for &byte in cell.as_deref().unwrap_or_default() {
                match b"\x08b\x0cf\nn\rr\tt\x0bv\\\\".chunks(2).find(|pair| pair[0] == byte) {
                    Some(pair) => line.extend([b'\\', pair[1]]),
                    None => line.push(byte),
                }
            }
            if cell.is_none() {
                line.extend(b"\\N");
            }
        }
        line.push(b'\n');
        line
    }

    #[test]
    fn null_empty_and_a_backslash_before_n_differ() {
        assert_eq!(
            cells(b"\\N\t\t\\\\N\ta\\tb\\n\n"),
            Ok(vec![None, Some(vec![]), Some(b"\\N".to_vec()), Some(b"a\tb\n".to_vec())])
        );
        assert_eq!(cells(b"\n"), Ok(vec![Some(vec![])]));
    }

    #[test]
    fn what_the_server_never_writes_is_refused() {
        for bad in [&b"1\t2"[..], b"", b"a\nb\n", b"a\\\n", b"\\x41\n", b"\\.\n", b"\\Nx\n", b"\\101\n"] {
            assert!(cells(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn rows_read_as_they_were_written(
            row in proptest::collection::vec(
                proptest::option::of(proptest::collection::vec(prop_oneof![any::<u8>(), 7_u8..14, Just(b'\\')], 0..9)),
                1..6,
            ),
        ) {
            prop_assert_eq!(cells(&written(&row)), Ok(row));
        }

        #[test]
        fn any_bytes_are_survived(message in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = cells(&message);
        }
    }
}
