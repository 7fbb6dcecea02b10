//! MySQL's binary JSON to the text that the server prints for it.

use std::io::Write as _;

use super::bytes::{Bytes, Malformed};
use super::decimal::PackedDecimal;
use super::temporal;

/// The server refuses documents deeper than 100.
pub(super) const MAX_DEPTH: usize = 100;

const SMALL_OBJECT: u8 = 0x00;
const LARGE_OBJECT: u8 = 0x01;
const SMALL_ARRAY: u8 = 0x02;
const LARGE_ARRAY: u8 = 0x03;
const LITERAL: u8 = 0x04;
const INT16: u8 = 0x05;
const UINT16: u8 = 0x06;
const INT32: u8 = 0x07;
const UINT32: u8 = 0x08;
const INT64: u8 = 0x09;
const UINT64: u8 = 0x0a;
const DOUBLE: u8 = 0x0b;
const STRING: u8 = 0x0c;
const OPAQUE: u8 = 0x0f;

/// Column types that an opaque value names.
const TYPE_TIMESTAMP: u8 = 7;
const TYPE_DATE: u8 = 10;
const TYPE_TIME: u8 = 11;
const TYPE_DATETIME: u8 = 12;
const TYPE_NEWDECIMAL: u8 = 246;

/// Appends the text of a document.
///
/// An empty document is `null`: the server stores it so when it has to invent a value.
pub(crate) fn decode_into(document: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let Some((&kind, value)) = document.split_first() else {
        out.extend_from_slice(b"null");
        return Ok(());
    };
    // Every value takes more than a byte, so that a document whose offsets loop or share parts,
    // and which would grow without end, is found out.
    let mut printer = Printer { out, budget: document.len() + 1 };
    printer.value(kind, value, 0)
}

/// Writes text.
pub(super) struct Printer<'o> {
    pub(super) out: &'o mut Vec<u8>,
    /// Values that may still come.
    pub(super) budget: usize,
}

impl Printer<'_> {
    /// Appends a value of type `kind`, `depth` containers deep, that begins with `data`.
    pub(super) fn value(&mut self, kind: u8, data: &[u8], depth: usize) -> Result<(), Malformed> {
        self.budget = self.budget.checked_sub(1).ok_or(Malformed("a JSON document repeats its parts"))?;
        let mut input = Bytes::new(data);
        match kind {
            SMALL_OBJECT | LARGE_OBJECT | SMALL_ARRAY | LARGE_ARRAY => self.container(kind, data, depth),
            LITERAL => self.literal(u16::from(input.u8()?)),
            INT16 => self.print(input.u16()? as i16),
            UINT16 => self.print(input.u16()?),
            INT32 => self.print(input.u32()? as i32),
            UINT32 => self.print(input.u32()?),
            INT64 => self.print(input.u64()? as i64),
            UINT64 => self.print(input.u64()?),
            DOUBLE => double(f64::from_bits(input.u64()?), self.out),
            STRING => {
                let length = variable_length(&mut input)?;
                self.string(input.take(length)?)
            }
            OPAQUE => {
                let column_type = input.u8()?;
                let length = variable_length(&mut input)?;
                self.opaque(column_type, input.take(length)?)
            }
            _ => Err(Malformed("a JSON value has an unknown type")),
        }
    }

    fn print(&mut self, value: impl std::fmt::Display) -> Result<(), Malformed> {
        write!(self.out, "{value}").map_err(|_| Malformed("out of memory"))
    }

    fn literal(&mut self, value: u16) -> Result<(), Malformed> {
        self.out.extend_from_slice(match value {
            0 => b"null",
            1 => b"true",
            2 => b"false",
            _ => return Err(Malformed("a JSON literal is none of null, true, false")),
        });
        Ok(())
    }

    fn container(&mut self, kind: u8, data: &[u8], depth: usize) -> Result<(), Malformed> {
        check_depth(depth)?;
        let mut members = Members::open(kind, data)?;
        let (open, close) = if members.are_named() { (b'{', b'}') } else { (b'[', b']') };
        self.out.push(open);
        let mut first = true;
        while let Some(member) = members.next()? {
            self.separate(&mut first, member.name)?;
            self.value(member.kind, member.data, depth + 1)?;
        }
        self.out.push(close);
        Ok(())
    }

    /// What stands before a member: a comma, unless it is the first, and its name, if it has one.
    pub(super) fn separate(&mut self, first: &mut bool, name: Option<&[u8]>) -> Result<(), Malformed> {
        if !std::mem::replace(first, false) {
            self.out.extend_from_slice(b", ");
        }
        if let Some(name) = name {
            self.string(name)?;
            self.out.extend_from_slice(b": ");
        }
        Ok(())
    }

    fn string(&mut self, text: &[u8]) -> Result<(), Malformed> {
        std::str::from_utf8(text).map_err(|_| Malformed("a JSON string is not UTF-8"))?;
        self.out.push(b'"');
        let mut plain = 0;
        for (index, &byte) in text.iter().enumerate() {
            let escape = match byte {
                b'"' => b"\\\"",
                b'\\' => b"\\\\",
                0x08 => b"\\b",
                0x0c => b"\\f",
                b'\n' => b"\\n",
                b'\r' => b"\\r",
                b'\t' => b"\\t",
                0..0x20 => b"\\u",
                _ => continue,
            };
            self.out.extend_from_slice(text.get(plain..index).unwrap_or(&[]));
            self.out.extend_from_slice(escape);
            if escape == b"\\u" {
                write!(self.out, "{byte:04x}").map_err(|_| Malformed("out of memory"))?;
            }
            plain = index + 1;
        }
        self.out.extend_from_slice(text.get(plain..).unwrap_or(&[]));
        self.out.push(b'"');
        Ok(())
    }

    fn opaque(&mut self, column_type: u8, data: &[u8]) -> Result<(), Malformed> {
        let mut input = Bytes::new(data);
        match column_type {
            TYPE_NEWDECIMAL => {
                let (precision, scale) = (input.u8()?, input.u8()?);
                PackedDecimal::new(precision, scale)
                    .ok_or(Malformed("a JSON decimal has an impossible type"))?
                    .decode_into(&mut input, self.out)
            }
            TYPE_DATE | TYPE_DATETIME | TYPE_TIMESTAMP => {
                let packed = input.u64()?;
                let (whole, micros) = (packed >> 24, packed & 0xff_ffff);
                let fields = temporal::packed_fields(whole, micros)?;
                let (seconds, fraction) = (fields.micros / 1_000_000, fields.micros % 1_000_000);
                self.print(format_args!("\"{:04}-{:02}-{:02}", fields.year, fields.month, fields.day))?;
                if column_type != TYPE_DATE {
                    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
                    self.print(format_args!(" {hour:02}:{minute:02}:{second:02}.{fraction:06}"))?;
                }
                self.out.push(b'"');
                Ok(())
            }
            TYPE_TIME => {
                let packed = input.u64()? as i64;
                let magnitude = packed.unsigned_abs();
                let micros = temporal::packed_time(magnitude >> 24, magnitude & 0xff_ffff)?;
                let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
                let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
                let sign = if packed < 0 { "-" } else { "" };
                self.print(format_args!("\"{sign}{hour:02}:{minute:02}:{second:02}.{fraction:06}\""))
            }
            _ => {
                self.print(format_args!("\"base64:type{column_type}:"))?;
                base64(data, self.out);
                self.out.push(b'"');
                Ok(())
            }
        }
    }
}

/// The members of a container, one after the other.
pub(super) struct Members<'d> {
    /// The container: offsets count from its start, its header included.
    body: &'d [u8],
    /// Bytes of a number in its header.
    width: usize,
    /// Where the names are, if they have any.
    names: Option<Bytes<'d>>,
    values: Bytes<'d>,
}

/// A member of a container.
pub(super) struct Member<'d> {
    pub(super) name: Option<&'d [u8]>,
    pub(super) kind: u8,
    /// The value and what comes after it.
    pub(super) data: &'d [u8],
}

impl<'d> Members<'d> {
    /// Whether values of the type have members.
    pub(super) fn has(kind: u8) -> bool {
        matches!(kind, SMALL_OBJECT | LARGE_OBJECT | SMALL_ARRAY | LARGE_ARRAY)
    }

    /// The members of a container of type `kind` that begins with `data`.
    pub(super) fn open(kind: u8, data: &'d [u8]) -> Result<Self, Malformed> {
        let width = if matches!(kind, LARGE_OBJECT | LARGE_ARRAY) { 4 } else { 2 };
        let mut header = Bytes::new(data);
        let count = header.little_endian(width)? as usize;
        let size = header.little_endian(width)? as usize;
        let body = data.get(..size).ok_or(Malformed("a JSON container ends too early"))?;
        let mut entries = |size: usize| header.take(count.checked_mul(size).ok_or(TOO_MANY)?);
        let names = match kind {
            SMALL_OBJECT | LARGE_OBJECT => Some(Bytes::new(entries(width + 2)?)),
            _ => None,
        };
        let values = Bytes::new(entries(1 + width)?);
        Ok(Self { body, width, names, values })
    }

    /// Whether it is an object.
    pub(super) fn are_named(&self) -> bool {
        self.names.is_some()
    }

    /// Members that have not been taken yet.
    pub(super) fn left(&self) -> usize {
        self.values.rest().len() / (1 + self.width)
    }

    /// Takes the next member.
    pub(super) fn next(&mut self) -> Result<Option<Member<'d>>, Malformed> {
        if self.values.is_empty() {
            return Ok(None);
        }
        let name = match &mut self.names {
            Some(names) => {
                let offset = names.little_endian(self.width)? as usize;
                let length = usize::from(names.u16()?);
                let name = self.body.get(offset..).and_then(|rest| rest.get(..length));
                Some(name.ok_or(Malformed("a JSON key lies outside its object"))?)
            }
            None => None,
        };
        let kind = self.values.u8()?;
        let slot = self.values.take(self.width)?;
        let inline =
            matches!(kind, LITERAL | INT16 | UINT16) || self.width == 4 && matches!(kind, INT32 | UINT32);
        let data = if inline {
            slot
        } else {
            let offset = Bytes::new(slot).little_endian(self.width)? as usize;
            self.body.get(offset..).ok_or(Malformed("a JSON value lies outside its container"))?
        };
        Ok(Some(Member { name, kind, data }))
    }
}

/// Errors when a container is deeper than the server allows.
pub(super) fn check_depth(depth: usize) -> Result<(), Malformed> {
    if depth < MAX_DEPTH { Ok(()) } else { Err(Malformed("a JSON document is nested too deeply")) }
}

const TOO_MANY: Malformed = Malformed("a JSON container has too many members");

/// A length in groups of seven bits, lowest first; the top bit says that more follow.
fn variable_length(input: &mut Bytes<'_>) -> Result<usize, Malformed> {
    let mut length = 0u64;
    for shift in [0, 7, 14, 21, 28] {
        let byte = input.u8()?;
        length |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(length as usize);
        }
    }
    Err(Malformed("a JSON string is too long"))
}

/// Decimal exponents for which the server prints a double without `e`: the value is 0.d × 10^n.
/// One whose digits go on after the point is printed so too.
const PLAIN_EXPONENTS: std::ops::RangeInclusive<i32> = -14..=15;

/// Appends a double: the shortest digits that read back as the same value, and a point or an
/// exponent in any case.
fn double(value: f64, out: &mut Vec<u8>) -> Result<(), Malformed> {
    if !value.is_finite() {
        return Err(Malformed("a JSON number is not finite"));
    }
    if value == 0.0 {
        out.extend_from_slice(if value.is_sign_negative() { b"-0.0" } else { b"0.0" });
        return Ok(());
    }
    let (digits, point) = shortest(value).ok_or(Malformed("a JSON number can't be printed"))?;
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let length = digits.len() as i32;
    if !PLAIN_EXPONENTS.contains(&point) && !(1..length).contains(&point) {
        let (first, rest) = digits.split_at(1);
        out.extend_from_slice(first.as_bytes());
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest.as_bytes());
        }
        return write!(out, "e{}", point - 1).map_err(|_| Malformed("out of memory"));
    }
    let zeros = |count: i32| std::iter::repeat_n(b'0', usize::try_from(count).unwrap_or(0));
    let (whole, fraction) = digits.split_at(point.clamp(0, length) as usize);
    out.extend_from_slice(if point > 0 { whole.as_bytes() } else { b"0" });
    out.extend(zeros(point - length));
    out.push(b'.');
    out.extend(zeros(-point));
    out.extend_from_slice(if fraction.is_empty() { b"0" } else { fraction.as_bytes() });
    Ok(())
}

/// The fewest digits that read back as the value, and where the point is: 0.d × 10^n. Of two
/// candidates equally near the value the one with the even last digit, as the server has it.
fn shortest(value: f64) -> Option<(String, i32)> {
    let magnitude = value.abs();
    let mut text = format!("{magnitude:e}");
    let digits = text.bytes().take_while(|&byte| byte != b'e').filter(u8::is_ascii_digit).count();
    let rounded = format!("{magnitude:.*e}", digits.checked_sub(1)?);
    if rounded.parse() == Ok(magnitude) {
        text = rounded;
    }
    let (mantissa, exponent) = text.split_once('e')?;
    Some((mantissa.replace('.', ""), exponent.parse::<i32>().ok()? + 1))
}

fn base64(data: &[u8], out: &mut Vec<u8>) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in data.chunks(3) {
        let group =
            chunk.iter().fold(0u32, |group, &byte| group << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let letter = ALPHABET.get((group >> (18 - 6 * index) & 63) as usize).copied().unwrap_or(b'=');
            out.push(if index <= chunk.len() { letter } else { b'=' });
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    pub(crate) fn text(document: &[u8]) -> Result<String, Malformed> {
        let mut out = Vec::new();
        decode_into(document, &mut out)?;
        Ok(String::from_utf8(out).expect("UTF-8"))
    }

    fn length_prefixed(text: &str) -> Vec<u8> {
        let mut length = text.len();
        let mut bytes = Vec::new();
        while length >= 0x80 {
            bytes.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }

    /// A document as the server stores it, with large containers throughout when `large`.
    pub(crate) fn document(value: &Value, large: bool) -> Vec<u8> {
        let (kind, body) = encode(value, large);
        [vec![kind], body].concat()
    }

    /// Encodes as the server does, with large containers throughout when `large`.
    fn encode(value: &Value, large: bool) -> (u8, Vec<u8>) {
        let width = if large { 4 } else { 2 };
        match value {
            Value::Null => (LITERAL, vec![0]),
            Value::Bool(value) => (LITERAL, vec![if *value { 1 } else { 2 }]),
            Value::Number(number) => match number.as_i64() {
                Some(number) => match i16::try_from(number) {
                    Ok(small) => (INT16, small.to_le_bytes().to_vec()),
                    Err(_) => (INT64, number.to_le_bytes().to_vec()),
                },
                None => (DOUBLE, number.as_f64().expect("a double").to_le_bytes().to_vec()),
            },
            Value::String(text) => (STRING, length_prefixed(text)),
            Value::Array(items) => {
                let members = items.iter().map(|item| (None, item)).collect::<Vec<_>>();
                (if large { LARGE_ARRAY } else { SMALL_ARRAY }, container(&members, width, large))
            }
            Value::Object(fields) => {
                let mut members =
                    fields.iter().map(|(key, item)| (Some(key.as_str()), item)).collect::<Vec<_>>();
                members.sort_by_key(|(key, _)| key.map(|key| (key.len(), key)));
                (if large { LARGE_OBJECT } else { SMALL_OBJECT }, container(&members, width, large))
            }
        }
    }

    fn container(members: &[(Option<&str>, &Value)], width: usize, large: bool) -> Vec<u8> {
        let number = |value: usize| (value as u64).to_le_bytes()[..width].to_vec();
        let keys: usize = members.iter().filter(|(key, _)| key.is_some()).count() * (width + 2);
        let start = 2 * width + keys + members.len() * (1 + width);
        let (mut key_entries, mut value_entries, mut data) = (Vec::new(), Vec::new(), Vec::new());
        for (key, _) in members {
            if let Some(key) = key {
                key_entries.extend(number(start + data.len()));
                key_entries.extend((key.len() as u16).to_le_bytes());
                data.extend_from_slice(key.as_bytes());
            }
        }
        for (_, value) in members {
            let (kind, bytes) = encode(value, large);
            value_entries.push(kind);
            if matches!(kind, LITERAL | INT16) {
                let mut slot = bytes;
                slot.resize(width, 0);
                value_entries.extend(slot);
            } else {
                value_entries.extend(number(start + data.len()));
                data.extend(bytes);
            }
        }
        [number(members.len()), number(start + data.len()), key_entries, value_entries, data].concat()
    }

    #[test]
    fn numbers_print_as_the_server_prints_them() {
        for (value, expected) in [
            (1e15, "1e15"),
            (1e14, "100000000000000.0"),
            (123_456_789_012_345.0, "123456789012345.0"),
            (1_234_567_890_123_456.0, "1.234567890123456e15"),
            (1_420_777_418_111_243.2, "1420777418111243.2"),
            (-1_440_375_592_969_708.2, "-1440375592969708.2"),
            (25.5, "25.5"),
            (0.00001, "0.00001"),
            (1e-15, "0.000000000000001"),
            (1.5e-15, "0.0000000000000015"),
            (1e20, "1e20"),
            (-0.0, "-0.0"),
            (5e-324, "5e-324"),
            (-1.5e-200, "-1.5e-200"),
            (f64::MAX, "1.7976931348623157e308"),
        ] {
            let mut out = Vec::new();
            double(value, &mut out).expect("finite");
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }

    #[test]
    fn opaque_values() {
        let opaque = |kind: u8, data: &[u8]| [&[OPAQUE, kind, data.len() as u8], data].concat();
        assert_eq!(text(&opaque(15, &[0, 0xff])).as_deref(), Ok("\"base64:type15:AP8=\""));
        let decimal = [&[5, 2][..], &super::super::decimal::tests::pack(true, "001", "50")].concat();
        assert_eq!(text(&opaque(TYPE_NEWDECIMAL, &decimal)).as_deref(), Ok("-1.50"));
        let date = ((2024u64 * 13 + 1) << 22 | 2 << 17) << 24;
        assert_eq!(text(&opaque(TYPE_DATE, &date.to_le_bytes())).as_deref(), Ok("\"2024-01-02\""));
        let datetime = date | (3 << 12 | 4 << 6 | 5) << 24 | 7;
        assert_eq!(
            text(&opaque(TYPE_DATETIME, &datetime.to_le_bytes())).as_deref(),
            Ok("\"2024-01-02 03:04:05.000007\"")
        );
        let time = -((838i64 << 12 | 0x3b << 6 | 0x3b) << 24);
        assert_eq!(text(&opaque(TYPE_TIME, &time.to_le_bytes())).as_deref(), Ok("\"-838:59:59.000000\""));
    }

    #[test]
    fn base64_of_every_remainder() {
        for (data, expected) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            let mut out = Vec::new();
            base64(data.as_bytes(), &mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }

    #[test]
    fn a_document_that_contains_itself_is_refused() {
        // An array of two whose members are the array.
        let looped = [SMALL_ARRAY, 2, 0, 10, 0, SMALL_ARRAY, 0, 0, SMALL_ARRAY, 0, 0];
        assert!(text(&looped).is_err());
    }

    pub(crate) fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<i16>().prop_map(Value::from),
            any::<f64>()
                .prop_filter("finite", |value| value.is_finite() && *value != 0.0)
                .prop_map(Value::from),
            "\\PC*|[\\x00-\\x7f]*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map("[a-zé\"]{0,5}", inner, 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn documents_round_trip(value in json(), large: bool) {
            let printed = text(&document(&value, large)).expect("well-formed");
            let mut read: Value = serde_json::from_str(&printed).expect("JSON");
            let mut expected = value;
            fold_numbers(&mut read);
            fold_numbers(&mut expected);
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn any_bytes_are_survived(document: Vec<u8>) {
            let _ = text(&document);
        }
    }

    /// Numbers are kept as text by the JSON library; 1e15 and 1000000000000000.0 are one.
    fn fold_numbers(value: &mut Value) {
        match value {
            Value::Number(number) if number.as_i64().is_none() => {
                *value = Value::from(number.as_f64().expect("a double").to_bits().to_string());
            }
            Value::Array(items) => items.iter_mut().for_each(fold_numbers),
            Value::Object(fields) => fields.values_mut().for_each(fold_numbers),
            _ => {}
        }
    }
}
