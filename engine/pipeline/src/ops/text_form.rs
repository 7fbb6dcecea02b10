//! Operations on values that travel as PostgreSQL's text: numbers without bounds, arrays, intervals.

use engine_core::column::{Column, Varlen, Vector};
use engine_core::plan::ArrayElement;

use super::OpFailure;

/// Arrays have at most six dimensions (`MAXDIM`).
const DEEPEST: usize = 6;

/// Converts each value that is there. One that can't be keeps an empty slot and is named in `failures`.
fn convert(
    column: &Column,
    failures: &mut Vec<OpFailure>,
    mut value: impl FnMut(&str, &mut Vec<u8>) -> Result<(), String>,
) -> Column {
    let mut to = Varlen::default();
    if let Vector::Varlen(from) = &column.values {
        for row in 0..from.len() {
            if !column.is_null(row) {
                let start = to.data.len();
                let text = std::str::from_utf8(from.get(row)).map_err(|_| "it is not UTF-8".to_owned());
                if let Err(reason) = text.and_then(|text| value(text, &mut to.data)) {
                    to.data.truncate(start);
                    failures.push(OpFailure { row, reason });
                }
            }
            to.end_value();
        }
    }
    Column { values: Vector::Varlen(to), validity: column.validity.clone() }
}

/// Numbers as decimals with exactly `scale` digits after the point.
pub(super) fn to_decimal(
    column: &Column,
    precision: u16,
    scale: u16,
    failures: &mut Vec<OpFailure>,
) -> Column {
    let scale = usize::from(scale);
    let whole_digits = usize::from(precision).saturating_sub(scale);
    convert(column, failures, |text, out| {
        let unfit = |why: &str| Err(format!("{} {why} of decimal({precision},{scale})", shown(text)));
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !all(whole) || !all(fraction) {
            return unfit("is no value");
        }
        if whole.trim_start_matches('0').len() > whole_digits {
            return unfit("has more digits before the point than those");
        }
        let kept = fraction.trim_end_matches('0');
        if kept.len() > scale {
            return unfit("has more digits after the point than those");
        }
        if text.starts_with('-') {
            out.push(b'-');
        }
        out.extend_from_slice(whole.as_bytes());
        if scale > 0 {
            out.push(b'.');
            out.extend_from_slice(kept.as_bytes());
            out.extend(std::iter::repeat_n(b'0', scale - kept.len()));
        }
        Ok(())
    })
}

/// The rows whose numbers are none: `NaN`, `Infinity`, `-Infinity`.
pub(super) fn not_finite(values: &Varlen) -> Vec<usize> {
    let is_none = |row: &usize| matches!(values.get(*row), b"NaN" | b"Infinity" | b"-Infinity");
    (0..values.len()).filter(is_none).collect()
}

/// Arrays as JSON.
pub(super) fn array_to_json(
    column: &Column,
    delimiter: char,
    element: ArrayElement,
    failures: &mut Vec<OpFailure>,
) -> Column {
    convert(column, failures, |text, out| {
        if text.starts_with('[') {
            return Err(format!(
                "the array {} is not counted from 1, which JSON has no form for",
                shown(text)
            ));
        }
        let mut array = Array { rest: text, delimiter, element };
        array.dimension(out, 0)?;
        if array.rest.is_empty() { Ok(()) } else { Err(no_array()) }
    })
}

/// What is left of an array's text.
struct Array<'a> {
    rest: &'a str,
    delimiter: char,
    element: ArrayElement,
}

impl Array<'_> {
    fn take(&mut self, wanted: char) -> bool {
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn dimension(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), String> {
        if depth == DEEPEST || !self.take('{') {
            return Err(no_array());
        }
        out.push(b'[');
        if !self.take('}') {
            loop {
                if self.rest.starts_with('{') {
                    self.dimension(out, depth + 1)?;
                } else {
                    self.element(out)?;
                }
                if self.take('}') {
                    break;
                }
                if !self.take(self.delimiter) {
                    return Err(no_array());
                }
                out.push(b',');
            }
        }
        out.push(b']');
        Ok(())
    }

    fn element(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        if self.take('"') {
            let text = self.quoted()?;
            return write(&text, self.element, out);
        }
        let is_end = |character: char| character == self.delimiter || character == '}';
        let end = self.rest.find(is_end).ok_or_else(no_array)?;
        let (text, rest) = self.rest.split_at_checked(end).ok_or_else(no_array)?;
        self.rest = rest;
        match text {
            "" => Err(no_array()),
            "NULL" => {
                out.extend_from_slice(b"null");
                Ok(())
            }
            text => write(text, self.element, out),
        }
    }

    /// What stands before the closing quote, backslashes taken off.
    fn quoted(&mut self) -> Result<String, String> {
        let mut text = String::new();
        let mut characters = self.rest.chars();
        loop {
            match characters.next().ok_or_else(no_array)? {
                '"' => break,
                '\\' => text.push(characters.next().ok_or_else(no_array)?),
                plain => text.push(plain),
            }
        }
        self.rest = characters.as_str();
        Ok(text)
    }
}

fn write(text: &str, element: ArrayElement, out: &mut Vec<u8>) -> Result<(), String> {
    let written = match (element, text) {
        (ArrayElement::Boolean, "t" | "true" | "1") => "true".to_owned(),
        (ArrayElement::Boolean, "f" | "false" | "0") => "false".to_owned(),
        (ArrayElement::Boolean, _) => return Err(format!("{} is no boolean", shown(text))),
        (ArrayElement::Number, number) => json_number(number)?,
        (ArrayElement::Json, document) => {
            serde_json::from_str::<serde::de::IgnoredAny>(document)
                .map_err(|_| format!("{} is no JSON", shown(document)))?;
            document.to_owned()
        }
        (ArrayElement::Text, text) => {
            serde_json::to_string(text).map_err(|_| format!("{} is no text", shown(text)))?
        }
    };
    out.extend_from_slice(written.as_bytes());
    Ok(())
}

/// A number as JSON has it, the digits as they are.
fn json_number(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let number = match digits.strip_prefix('.') {
        // openGauss leaves out the zero.
        Some(_) => text.replacen('.', "0.", 1),
        None => text.to_owned(),
    };
    let is_number = digits.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && serde_json::from_str::<serde::de::IgnoredAny>(&number).is_ok();
    if is_number { Ok(number) } else { Err(format!("JSON has no number {}", shown(text))) }
}

fn no_array() -> String {
    "it is no array as PostgreSQL writes them".to_owned()
}

/// Intervals as microseconds.
pub(super) fn interval_to_microseconds(column: &Column, failures: &mut Vec<OpFailure>) -> Column {
    let mut micros = Vec::with_capacity(column.len());
    if let Vector::Varlen(values) = &column.values {
        for row in 0..values.len() {
            if column.is_null(row) {
                micros.push(0);
                continue;
            }
            let text = String::from_utf8_lossy(values.get(row));
            micros.push(interval(&text).unwrap_or_else(|reason| {
                failures.push(OpFailure { row, reason });
                0
            }));
        }
    }
    Column { values: Vector::I64(micros), validity: column.validity.clone() }
}

/// `-3 days +04:05:06.789` as microseconds.
fn interval(text: &str) -> Result<i64, String> {
    let none = || format!("{} is no interval of IntervalStyle postgres", shown(text));
    let beyond = || format!("the interval {} is too long for 64 bits of microseconds", shown(text));
    let mut micros = 0_i64;
    let mut words = text.split(' ');
    while let Some(word) = words.next() {
        let part = if word.contains(':') {
            clock(word).ok_or_else(none)?
        } else {
            let count: i64 = word.parse().map_err(|_| none())?;
            match words.next() {
                Some("day" | "days") => {
                    count.checked_mul(engine_core::temporal::MICROS_PER_DAY).ok_or_else(beyond)?
                }
                Some("mon" | "mons" | "year" | "years") if count == 0 => 0,
                Some("mon" | "mons" | "year" | "years") => {
                    return Err(format!(
                        "the interval {} has months, which have no fixed length",
                        shown(text)
                    ));
                }
                _ => return Err(none()),
            }
        };
        micros = micros.checked_add(part).ok_or_else(beyond)?;
    }
    Ok(micros)
}

fn clock(text: &str) -> Option<i64> {
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(unsigned) => (-1, unsigned),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let number = |text: &str| -> Option<i64> {
        let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if all_digits { text.parse().ok() } else { None }
    };
    let (hours, rest) = unsigned.split_once(':')?;
    let (minutes, rest) = rest.split_once(':')?;
    let (seconds, fraction) = match rest.split_once('.') {
        Some((seconds, fraction)) if (1..=6).contains(&fraction.len()) => {
            (seconds, number(&format!("{fraction:0<6}"))?)
        }
        Some(_) => return None,
        None => (rest, 0),
    };
    let seconds = number(hours)?.checked_mul(3600)?.checked_add(number(minutes)? * 60 + number(seconds)?)?;
    seconds.checked_mul(1_000_000)?.checked_add(fraction)?.checked_mul(sign)
}

/// The beginning of a value, for a message.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(60).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn column(text: &str) -> Column {
        let mut values = Varlen::default();
        values.push(text.as_bytes());
        Column::new(Vector::Varlen(values))
    }

    fn only(column: &Column, failures: &mut Vec<OpFailure>) -> Result<String, String> {
        match failures.pop() {
            Some(failure) => Err(failure.reason),
            None => match &column.values {
                Vector::Varlen(values) => Ok(String::from_utf8_lossy(values.get(0)).into_owned()),
                Vector::I64(values) => Ok(values[0].to_string()),
                _ => panic!("no such operation"),
            },
        }
    }

    fn json(text: &str, delimiter: char, element: ArrayElement) -> Result<String, String> {
        let mut failures = Vec::new();
        only(&array_to_json(&column(text), delimiter, element, &mut failures), &mut failures)
    }

    fn decimal(text: &str, precision: u16, scale: u16) -> Result<String, String> {
        let mut failures = Vec::new();
        only(&to_decimal(&column(text), precision, scale, &mut failures), &mut failures)
    }

    fn micros(text: &str) -> Result<String, String> {
        let mut failures = Vec::new();
        only(&interval_to_microseconds(&column(text), &mut failures), &mut failures)
    }

    #[test]
    fn arrays_of_everything() {
        for (text, element, expected) in [
            ("{}", ArrayElement::Number, "[]"),
            ("{1,-2.50,NULL,1e+300}", ArrayElement::Number, "[1,-2.50,null,1e+300]"),
            ("{.5,-.25}", ArrayElement::Number, "[0.5,-0.25]"),
            ("{{1,2},{3,4}}", ArrayElement::Number, "[[1,2],[3,4]]"),
            ("{t,f,NULL}", ArrayElement::Boolean, "[true,false,null]"),
            (r#"{"{\"a\": [1, null]}","null",NULL}"#, ArrayElement::Json, r#"[{"a": [1, null]},null,null]"#),
            (
                r#"{a,"NULL","","a,b}","\"\\","é
"}"#,
                ArrayElement::Text,
                r#"["a","NULL","","a,b}","\"\\","é\n"]"#,
            ),
        ] {
            assert_eq!(json(text, ',', element).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(
            json("{(1,1),(0,0);(2,2),(1,1)}", ';', ArrayElement::Text).as_deref(),
            Ok(r#"["(1,1),(0,0)","(2,2),(1,1)"]"#)
        );
    }

    #[test]
    fn arrays_without_a_json_form_are_refused() {
        for (text, element) in [
            ("[0:1]={1,2}", ArrayElement::Number),
            ("{NaN}", ArrayElement::Number),
            ("{Infinity}", ArrayElement::Number),
            ("{1}{2}", ArrayElement::Number),
            ("{1,}", ArrayElement::Number),
            ("{1", ArrayElement::Number),
            ("1", ArrayElement::Number),
            ("", ArrayElement::Text),
            (r#"{"a}"#, ArrayElement::Text),
            ("{{{{{{{1}}}}}}}", ArrayElement::Number),
            ("{x}", ArrayElement::Boolean),
            ("{x}", ArrayElement::Json),
        ] {
            assert!(json(text, ',', element).is_err(), "{text}");
        }
    }

    #[test]
    fn decimals_are_never_rounded() {
        assert_eq!(decimal("-12.5", 10, 2).as_deref(), Ok("-12.50"));
        assert_eq!(decimal("12.5000", 3, 1).as_deref(), Ok("12.5"));
        assert_eq!(decimal("0.001", 3, 3).as_deref(), Ok("0.001"));
        assert_eq!(decimal("7.00", 1, 0).as_deref(), Ok("7"));
        for bad in ["12.345", "123456789", "NaN", "Infinity", "-Infinity", "", "1e5"] {
            assert!(decimal(bad, 10, 2).is_err(), "{bad}");
        }
    }

    #[test]
    fn intervals_without_months() {
        for (text, expected) in [
            ("00:00:00", "0"),
            ("-00:00:00.5", "-500000"),
            ("1 day -00:00:01", "86399000000"),
            ("-3 days +04:05:06.789", "-244493211000"),
            ("0 years 2562047788:00:54.775807", "9223372036854775807"),
        ] {
            assert_eq!(micros(text).as_deref(), Ok(expected), "{text}");
        }
        for bad in [
            "1 mon",
            "1 year 2 mons",
            "infinity",
            "",
            "1",
            "1 fortnight",
            "00:00",
            "2562047789:00:00",
            "999999999999999999 days",
        ] {
            assert!(micros(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "[{}\\[\\]\",\\\\;0-9a-zNUL:=. +-]{0,40}|\\PC{0,20}") {
            for element in [ArrayElement::Boolean, ArrayElement::Number, ArrayElement::Json, ArrayElement::Text] {
                if let Ok(json) = json(&text, ',', element) {
                    prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&json).is_ok(), "{}", json);
                }
            }
            let _ = (decimal(&text, 10, 2), micros(&text));
        }

        #[test]
        fn texts_in_arrays_stay_what_they_are(texts in proptest::collection::vec("\\PC{0,8}", 0..5)) {
            let quoted: Vec<String> =
                texts.iter().map(|text| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))).collect();
            let json = json(&format!("{{{}}}", quoted.join(",")), ',', ArrayElement::Text).expect("an array");
            prop_assert_eq!(serde_json::from_str::<Vec<String>>(&json).expect("JSON"), texts);
        }
    }
}
