//! JSON text as an expression that means the same to MySQL.
//!
//! MySQL's own documents hold 64-bit integers, doubles and exact decimals, and it prints them all as
//! numbers. Text that it parses has no decimals: what isn't an integer becomes a double, rounded without
//! a word. So a document with numbers that no double prints as is put together from its parts.

use super::cell::CellFault;
use super::literal;

/// Digits that a decimal of MySQL has at most, and how many of them after the point.
const LONGEST: (usize, usize) = (65, 30);
/// Documents nested deeper than this are refused; MySQL itself takes 100.
const DEEPEST: usize = 100;

/// Appends an expression for a document.
pub(super) fn write(text: &[u8], out: &mut Vec<u8>) -> Result<(), CellFault> {
    if is_parsed_exactly(text)? {
        literal::quoted(text, out);
        return Ok(());
    }
    let mut parts = Parts { rest: text };
    if parts.peek() == Some(b'{') || parts.peek() == Some(b'[') {
        parts.value(out, 0)?;
    } else {
        out.extend_from_slice(b"CAST(");
        parts.value(out, 0)?;
        out.extend_from_slice(b" AS JSON)");
    }
    if parts.peek().is_some() { Err(CellFault::NoJson) } else { Ok(()) }
}

/// Whether MySQL prints every number of the text as it stands there, once it has parsed it.
fn is_parsed_exactly(text: &[u8]) -> Result<bool, CellFault> {
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = match byte {
            b'"' => after_string(after).ok_or(CellFault::NoJson)?,
            b'-' | b'0'..=b'9' => {
                let (number, after) = number(rest)?;
                if !is_integer(number) && !is_double(number)? {
                    return Ok(false);
                }
                after
            }
            _ => after,
        };
    }
    Ok(true)
}

/// The number that text begins with, and what follows it.
fn number(text: &[u8]) -> Result<(&str, &[u8]), CellFault> {
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
    let end = text.iter().position(|byte| !is_part(byte)).unwrap_or(text.len());
    let (number, after) = text.split_at_checked(end).ok_or(CellFault::NoJson)?;
    Ok((std::str::from_utf8(number).map_err(|_| CellFault::NoJson)?, after))
}

/// What is left of a document that is taken apart.
struct Parts<'a> {
    rest: &'a [u8],
}

impl Parts<'_> {
    fn peek(&mut self) -> Option<u8> {
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let begin = self.rest.iter().position(|byte| !blank(byte)).unwrap_or(self.rest.len());
        self.rest = self.rest.get(begin..).unwrap_or_default();
        self.rest.first().copied()
    }

    fn take(&mut self, wanted: u8) -> Result<(), CellFault> {
        if self.peek() != Some(wanted) {
            return Err(CellFault::NoJson);
        }
        self.rest = self.rest.get(1..).unwrap_or_default();
        Ok(())
    }

    fn value(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), CellFault> {
        match self.peek().ok_or(CellFault::NoJson)? {
            _ if depth > DEEPEST => Err(CellFault::NoJson),
            b'{' => self.members(out, (b'{', b'}'), depth),
            b'[' => self.members(out, (b'[', b']'), depth),
            b'"' => {
                out.extend_from_slice(b"CAST(");
                literal::quoted(self.string()?, out);
                out.extend_from_slice(b" AS JSON)");
                Ok(())
            }
            b'-' | b'0'..=b'9' => {
                let (text, after) = number(self.rest)?;
                write_number(text, out)?;
                self.rest = after;
                Ok(())
            }
            _ => {
                let word =
                    [&b"true"[..], b"false", b"null"].into_iter().find(|word| self.rest.starts_with(word));
                let word = word.ok_or(CellFault::NoJson)?;
                self.rest = self.rest.get(word.len()..).unwrap_or_default();
                out.extend_from_slice(b"CAST('");
                out.extend_from_slice(word);
                out.extend_from_slice(b"' AS JSON)");
                Ok(())
            }
        }
    }

    /// An object or an array.
    fn members(&mut self, out: &mut Vec<u8>, (open, close): (u8, u8), depth: usize) -> Result<(), CellFault> {
        self.take(open)?;
        out.extend_from_slice(if open == b'{' { b"JSON_OBJECT(" } else { b"JSON_ARRAY(" });
        let mut first = true;
        while self.peek() != Some(close) {
            if !std::mem::replace(&mut first, false) {
                self.take(b',')?;
                out.push(b',');
            }
            if open == b'{' {
                self.peek();
                out.extend_from_slice(b"JSON_UNQUOTE(");
                literal::quoted(self.string()?, out);
                out.extend_from_slice(b"),");
                self.take(b':')?;
            }
            self.value(out, depth + 1)?;
        }
        out.push(b')');
        self.take(close)
    }

    /// A string with its quotes.
    fn string(&mut self) -> Result<&[u8], CellFault> {
        let inside = self.rest.strip_prefix(b"\"").ok_or(CellFault::NoJson)?;
        let after = after_string(inside).ok_or(CellFault::NoJson)?;
        let (string, after) =
            self.rest.split_at_checked(self.rest.len() - after.len()).ok_or(CellFault::NoJson)?;
        self.rest = after;
        Ok(string)
    }
}

fn write_number(text: &str, out: &mut Vec<u8>) -> Result<(), CellFault> {
    if is_integer(text) {
        out.extend_from_slice(text.as_bytes());
        return Ok(());
    }
    if is_double(text)? {
        literal::float(text.parse().map_err(|_| CellFault::NoJson)?, out);
        return Ok(());
    }
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let fraction = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    if text.contains(['e', 'E']) || digits > LONGEST.0 || fraction > LONGEST.1 {
        return Err(CellFault::JsonNumber);
    }
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn after_string(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let (&byte, after) = rest.split_first()?;
        rest = match byte {
            b'"' => return Some(after),
            b'\\' => after.split_first()?.1,
            _ => after,
        };
    }
}

fn is_integer(number: &str) -> bool {
    number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok()
}

/// Whether a number is what a double prints as, but for how its exponent is written. A point and one
/// zero tell a double without a fraction from an integer.
fn is_double(number: &str) -> Result<bool, CellFault> {
    let double: f64 = number.parse().map_err(|_| CellFault::NoJson)?;
    if !double.is_finite() {
        return Err(CellFault::JsonNumber);
    }
    let has_exponent = number.contains(['e', 'E']);
    let spare_zero = number.contains('.') && number.ends_with('0') && !number.ends_with(".0");
    if !has_exponent && (spare_zero || !number.contains('.')) {
        return Ok(false);
    }
    Ok(exactly(number) == exactly(&format!("{double:e}")))
}

/// Significant digits, and the power of ten of the first.
fn exactly(number: &str) -> (bool, String, i64) {
    let unsigned = number.strip_prefix('-').unwrap_or(number);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let exponent: i64 = exponent.trim_start_matches('+').parse().unwrap_or(i64::MAX / 4);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let zeros = digits.len() - digits.trim_start_matches('0').len();
    let significant = digits.trim_start_matches('0').trim_end_matches('0').to_owned();
    if significant.is_empty() {
        return (false, significant, 0);
    }
    (number.starts_with('-'), significant, exponent + whole.len() as i64 - zeros as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Result<String, CellFault> {
        let mut out = Vec::new();
        write(text.as_bytes(), &mut out)?;
        Ok(String::from_utf8(out).expect("these are text"))
    }

    #[test]
    fn what_mysql_parses_exactly_stays_text() {
        for kept in ["0", "-1", "18446744073709551615", "1.5", "1e20", "100.0", "1.8446744073709552e19"] {
            assert_eq!(written(&format!("[{kept}]")), Ok(format!("'[{kept}]'")), "{kept}");
        }
        assert_eq!(
            written(r#"{"18446744073709551617": "1.50"}"#),
            Ok(r#"'{"18446744073709551617": "1.50"}'"#.into())
        );
    }

    #[test]
    fn decimals_are_put_in_as_such() {
        assert_eq!(written("169.090000").as_deref(), Ok("CAST(169.090000 AS JSON)"));
        assert_eq!(
            written(r#"{"it's": [18446744073709551617, -1.50, 2.5, "a\n", null, {}]}"#).as_deref(),
            Ok(concat!(
                r#"JSON_OBJECT(JSON_UNQUOTE('"it\'s"'),JSON_ARRAY(18446744073709551617,-1.50,2.5e0,"#,
                r#"CAST('"a\\n"' AS JSON),CAST('null' AS JSON),JSON_OBJECT()))"#
            ))
        );
        for refused in ["1e400", "0.1000000000000000000000000000000001", "1.00000000000000000000001e5"] {
            assert_eq!(written(&format!("[1.50, {refused}]")), Err(CellFault::JsonNumber), "{refused}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [r#"{"a": 1.50"#, r#"["open"#, "[1.50,]", "[1.50] 2", "1.5.0"] {
            assert!(written(text).is_err(), "{text}");
        }
    }
}
