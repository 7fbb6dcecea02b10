//! JSON texts that mean the same, as the same bytes.
//!
//! White space between values goes; strings become their characters, whichever way they were
//! escaped; numbers become their decimal digits without zeros that mean nothing, so that `1e2`, `100`
//! and `100.0` are one number, as `-0` and `0` are. A text that is no JSON stays as it is.

use std::fmt::Write as _;

/// What the order of an object's members means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Members {
    /// Nothing, and of several with one name the last counts: as in `jsonb`.
    Unordered,
    /// They are compared in the order in which they are written, each of them.
    AsWritten,
}

/// Nesting beyond which a text is left as it is.
const DEEPEST: usize = 500;

/// Appends the canonical bytes of a JSON text.
pub fn canonical(text: &[u8], members: Members, out: &mut Vec<u8>) {
    let start = out.len();
    let mut reader = Reader { rest: text, members };
    let read = reader.value(out, 0);
    reader.space();
    if read.is_none() || !reader.rest.is_empty() {
        out.truncate(start);
        // No canonical value begins so.
        out.push(b'!');
        out.extend_from_slice(text);
    }
}

/// JSON that has these canonical bytes, for people; `None` when they are none.
pub fn text(mut form: &[u8]) -> Option<String> {
    if let Some(foreign) = form.strip_prefix(b"!") {
        return Some(String::from_utf8_lossy(foreign).into_owned());
    }
    let mut out = String::new();
    write_text(&mut form, &mut out, 0)?;
    form.is_empty().then_some(out)
}

fn write_text(form: &mut &[u8], out: &mut String, depth: usize) -> Option<()> {
    if depth > DEEPEST {
        return None;
    }
    let (&first, rest) = form.split_first()?;
    *form = rest;
    match first {
        b't' => out.push_str("true"),
        b'f' => out.push_str("false"),
        b'n' => out.push_str("null"),
        b'"' => {
            let (length, rest) = form.split_first_chunk::<8>()?;
            let (text, rest) = rest.split_at_checked(usize::try_from(u64::from_be_bytes(*length)).ok()?)?;
            *form = rest;
            out.push('"');
            for character in String::from_utf8_lossy(text).chars() {
                match character {
                    '"' | '\\' => out.extend(['\\', character]),
                    character if character < ' ' => drop(write!(out, "\\u{:04x}", u32::from(character))),
                    character => out.push(character),
                }
            }
            out.push('"');
        }
        b'0' => {
            let end = form.iter().position(|&byte| byte == b';')?;
            let digits = std::str::from_utf8(form.get(..end)?).ok()?;
            *form = form.get(end + 1..)?;
            let digits = digits.strip_suffix("e0").unwrap_or(digits);
            out.push_str(if digits.is_empty() { "0" } else { digits });
        }
        b'[' | b'{' => {
            let end = if first == b'[' { b']' } else { b'}' };
            out.push(char::from(first));
            let mut is_first = true;
            while *form.first()? != end {
                if !std::mem::take(&mut is_first) {
                    out.push(',');
                }
                write_text(form, out, depth + 1)?;
                if first == b'{' {
                    out.push(':');
                    write_text(form, out, depth + 1)?;
                }
            }
            *form = form.get(1..)?;
            out.push(char::from(end));
        }
        _ => return None,
    }
    Some(())
}

struct Reader<'a> {
    rest: &'a [u8],
    members: Members,
}

impl<'a> Reader<'a> {
    fn space(&mut self) {
        let kept = self.rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
        self.rest = kept.and_then(|kept| self.rest.get(kept..)).unwrap_or_default();
    }

    fn take(&mut self, expected: u8) -> Option<()> {
        let (&first, rest) = self.rest.split_first()?;
        (first == expected).then(|| self.rest = rest)
    }

    /// Whether a list goes on after one of its values: a comma, or `end`.
    fn goes_on(&mut self, end: u8) -> Option<bool> {
        self.space();
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        match first {
            b',' => Some(true),
            first if first == end => Some(false),
            _ => None,
        }
    }

    fn value(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        if depth > DEEPEST {
            return None;
        }
        self.space();
        match self.rest.first()? {
            b'{' => self.object(out, depth),
            b'[' => self.array(out, depth),
            b'"' => self.string(out),
            b'-' | b'0'..=b'9' => self.number(out),
            _ => {
                let word = ["true", "false", "null"].map(str::as_bytes);
                let word = word.into_iter().find(|word| self.rest.starts_with(word))?;
                self.rest = self.rest.get(word.len()..)?;
                out.push(*word.first()?);
                Some(())
            }
        }
    }

    fn array(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        self.take(b'[')?;
        out.push(b'[');
        self.space();
        if self.take(b']').is_none() {
            loop {
                self.value(out, depth + 1)?;
                if !self.goes_on(b']')? {
                    break;
                }
            }
        }
        out.push(b']');
        Some(())
    }

    fn object(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        self.take(b'{')?;
        let mut entries: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        self.space();
        if self.take(b'}').is_none() {
            loop {
                self.space();
                let (mut name, mut value) = (Vec::new(), Vec::new());
                self.string(&mut name)?;
                self.space();
                self.take(b':')?;
                self.value(&mut value, depth + 1)?;
                entries.push((name, value));
                if !self.goes_on(b'}')? {
                    break;
                }
            }
        }
        if self.members == Members::Unordered {
            // Stable, so that of several with one name the last is the last.
            entries.sort_by(|left, right| left.0.cmp(&right.0));
            entries.reverse();
            entries.dedup_by(|later, kept| later.0 == kept.0);
        }
        out.push(b'{');
        for (name, value) in entries {
            out.extend_from_slice(&name);
            out.extend_from_slice(&value);
        }
        out.push(b'}');
        Some(())
    }

    /// A string as its length and its characters. Half of a surrogate pair, which no character is,
    /// takes the form that it would have in UTF-8.
    fn string(&mut self, out: &mut Vec<u8>) -> Option<()> {
        self.take(b'"')?;
        let mut text = Vec::new();
        loop {
            let plain = self.rest.iter().position(|&byte| byte == b'"' || byte == b'\\')?;
            text.extend_from_slice(self.rest.get(..plain)?);
            self.rest = self.rest.get(plain..)?;
            if self.take(b'"').is_some() {
                break;
            }
            let (&[_, escaped], rest) = self.rest.split_first_chunk::<2>()?;
            self.rest = rest;
            match escaped {
                b'"' | b'\\' | b'/' => text.push(escaped),
                b'b' => text.push(8),
                b'f' => text.push(12),
                b'n' => text.push(b'\n'),
                b'r' => text.push(b'\r'),
                b't' => text.push(b'\t'),
                b'u' => self.escape(&mut text)?,
                _ => return None,
            }
        }
        out.push(b'"');
        out.extend_from_slice(&(text.len() as u64).to_be_bytes());
        out.extend_from_slice(&text);
        Some(())
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Option<()> {
        let first = self.hexadecimal()?;
        let mut code = first;
        if (0xd800..0xdc00).contains(&first) && self.rest.starts_with(b"\\u") {
            let before = self.rest;
            self.rest = self.rest.get(2..)?;
            let second = self.hexadecimal()?;
            if (0xdc00..0xe000).contains(&second) {
                code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            } else {
                self.rest = before;
            }
        }
        if let Some(character) = char::from_u32(code) {
            text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            text.extend([
                0xe0 | (code >> 12) as u8,
                0x80 | (code >> 6 & 0x3f) as u8,
                0x80 | (code & 0x3f) as u8,
            ]);
        }
        Some(())
    }

    fn hexadecimal(&mut self) -> Option<u32> {
        let (digits, rest) = self.rest.split_first_chunk::<4>()?;
        self.rest = rest;
        digits.iter().try_fold(0, |code, &digit| Some(code << 4 | char::from(digit).to_digit(16)?))
    }

    fn digits(&mut self) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits
    }

    /// A number as sign, digits, `e`, and the power of ten of the last digit.
    fn number(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let negative = self.take(b'-').is_some();
        let whole = self.digits();
        let fraction = if self.take(b'.').is_some() { self.digits() } else { &[] };
        let mut power = 0_i64;
        if let Some(b'e' | b'E') = self.rest.first() {
            self.rest = self.rest.get(1..)?;
            let down = self.take(b'-').is_some();
            if !down {
                let _ = self.take(b'+');
            }
            let digits = std::str::from_utf8(self.digits()).ok()?;
            power = digits.parse().ok()?;
            if down {
                power = -power;
            }
        }
        if whole.is_empty() {
            return None;
        }
        let all: Vec<u8> = whole.iter().chain(fraction).copied().collect();
        let end = all.iter().rposition(|&digit| digit != b'0').map_or(0, |last| last + 1);
        let start = all.iter().position(|&digit| digit != b'0').unwrap_or(end);
        let digits = all.get(start..end)?;
        out.push(b'0');
        if digits.is_empty() {
            out.push(b';');
            return Some(());
        }
        let power = power.checked_add((all.len() - end) as i64)?.checked_sub(fraction.len() as i64)?;
        if negative {
            out.push(b'-');
        }
        out.extend_from_slice(digits);
        out.push(b'e');
        out.extend_from_slice(power.to_string().as_bytes());
        out.push(b';');
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn form(text: &str, members: Members) -> Vec<u8> {
        let mut out = Vec::new();
        canonical(text.as_bytes(), members, &mut out);
        out
    }

    fn same(left: &str, right: &str) -> bool {
        form(left, Members::Unordered) == form(right, Members::Unordered)
    }

    #[test]
    fn what_means_the_same_is_the_same() {
        for (left, right) in [
            ("1e2", "100.0"),
            ("-0.0", "0"),
            ("1.5e-7", "0.00000015"),
            ("18446744073709551616", "1.8446744073709551616E+19"),
            (r#"{"b":1, "a":[ 1 ,2]}"#, r#"{ "a" : [1,2],"b":1.0}"#),
            (r#"{"b":1,"a":2,"b":3}"#, r#"{"a": 2, "b": 3}"#),
            (r#""\u00e9\ud83d\ude00\/""#, "\"é😀/\""),
            ("  null\n", "null"),
        ] {
            assert!(same(left, right), "{left} {right}");
        }
    }

    #[test]
    fn what_differs_differs() {
        for (left, right) in [
            ("1", "10"),
            ("0.1", "1"),
            ("-1", "1"),
            ("0.1", "0.10000000000000001"),
            ("[1,2]", "[12]"),
            ("[1,2]", "[2,1]"),
            (r#"["a","b"]"#, r#"["a\",\"b"]"#),
            ("{}", "[]"),
            ("null", "\"null\""),
            ("\"\"", "null"),
            (r#"{"a":1}"#, r#"{"a":1,"b":null}"#),
            ("[[],[]]", "[[[]]]"),
            ("nul", "null"),
            ("1 2", "12"),
            ("\"a \"", "\"a\""),
        ] {
            assert!(!same(left, right), "{left} {right}");
        }
    }

    #[test]
    fn members_as_written_are_all_compared_and_in_order() {
        let ordered = |text| form(text, Members::AsWritten);
        assert_eq!(ordered(r#"{"a":1,"a":2}"#), ordered(r#"{ "a": 1, "a": 2 }"#));
        assert_ne!(ordered(r#"{"a":1,"a":2}"#), ordered(r#"{"a":3,"a":2}"#));
        assert_ne!(ordered(r#"{"a":1,"b":2}"#), ordered(r#"{"b":2,"a":1}"#));
    }

    #[test]
    fn a_canonical_text_can_be_told_again() {
        let canonical =
            form(r#"{"b": [1e2, true, null, "\u00e9\""], "a": {}, "c": 1.50}"#, Members::Unordered);
        let told = text(&canonical).expect("JSON");
        assert_eq!(form(&told, Members::Unordered), canonical);
        assert_eq!(text(&form("{", Members::Unordered)).as_deref(), Some("{"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_text_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = text(&bytes);
        }

        #[test]
        fn any_bytes_are_survived(text in "[\\[\\]{}\":,0-9eE.+-]{0,40}|\\PC{0,20}") {
            form(&text, Members::Unordered);
        }

        #[test]
        fn numbers_are_the_same_only_with_the_same_value(left in -1000_i32..1000, right in -1000_i32..1000, zeros in 0_usize..4) {
            let text = format!("{left}.{:0<zeros$}", "", zeros = zeros);
            let text = text.strip_suffix('.').unwrap_or(&text).to_owned();
            prop_assert_eq!(same(&text, &right.to_string()), left == right);
        }
    }
}
