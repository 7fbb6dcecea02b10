//! Key values as bytes, and as SQL that means exactly the same value.
//!
//! A bound is a version byte, the number of values, and per value a tag, the length of what
//! follows (32 bits, little-endian), and that.

use engine_core::column::{Column, Varlen, Vector};
use engine_core::logical::LogicalType;
use engine_core::source::KeyBound;
use engine_core::temporal::Fields;
use mysql_async::Value;

const VERSION: u8 = 1;

/// The value of one key column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeyValue {
    Int(i64),
    Uint(u64),
    /// Digits as the server prints them.
    Decimal(String),
    /// Raw bytes in the column's character set.
    Text {
        charset: String,
        collation: String,
        raw: Vec<u8>,
    },
    Bytes(Vec<u8>),
    /// `2024-02-31` or `2024-02-31 00:00:00.000000`
    Date(String),
    /// A UUID or an address as the server prints it, and reads it in a comparison.
    Native(String),
}

impl KeyValue {
    /// Takes a value of a typed result; `None` when it is not of the column's type.
    pub(super) fn new(value: &Value, logical: &LogicalType) -> Option<Self> {
        Some(match (logical, value) {
            (LogicalType::Integer { .. }, Value::Int(value)) => Self::Int(*value),
            (LogicalType::Integer { .. }, Value::UInt(value)) => Self::Uint(*value),
            (LogicalType::Decimal { .. }, Value::Bytes(digits)) => {
                Self::Decimal(String::from_utf8(digits.clone()).ok().filter(|digits| is_decimal(digits))?)
            }
            (
                LogicalType::Text { charset: Some(charset), collation: Some(collation), .. },
                Value::Bytes(raw),
            ) => Self::Text { charset: charset.clone(), collation: collation.clone(), raw: raw.clone() },
            (LogicalType::Uuid | LogicalType::Text { charset: None, .. }, Value::Bytes(text)) => {
                Self::Native(String::from_utf8(text.clone()).ok().filter(|text| is_native(text))?)
            }
            (LogicalType::Bytes { .. }, Value::Bytes(raw)) => Self::Bytes(raw.clone()),
            (LogicalType::Date, &Value::Date(year, month, day, ..)) => {
                Self::Date(format!("{year:04}-{month:02}-{day:02}"))
            }
            (LogicalType::Timestamp { .. }, &Value::Date(year, month, day, hour, minute, second, micros)) => {
                Self::Date(format!(
                    "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}"
                ))
            }
            _ => return None,
        })
    }

    /// The value as a column of one row; `None` when it has no place in one of that type.
    pub(super) fn column(&self, logical: &LogicalType) -> Option<Column> {
        let bytes = |value: &[u8]| {
            let mut values = Varlen::default();
            values.push(value);
            Vector::Varlen(values)
        };
        Some(Column::new(match (self, logical) {
            (Self::Int(value), LogicalType::Integer { signed: true, .. }) => Vector::I64(vec![*value]),
            (Self::Int(value), LogicalType::Integer { signed: false, .. }) => {
                Vector::U64(vec![u64::try_from(*value).ok()?])
            }
            (Self::Uint(value), LogicalType::Integer { signed: false, .. }) => Vector::U64(vec![*value]),
            (Self::Uint(value), LogicalType::Integer { signed: true, .. }) => {
                Vector::I64(vec![i64::try_from(*value).ok()?])
            }
            (Self::Bytes(raw), LogicalType::Bytes { .. }) => bytes(raw),
            (Self::Date(text), LogicalType::Date) => Vector::I64(vec![fields(text)?.to_date()]),
            (Self::Date(text), LogicalType::Timestamp { .. }) => {
                Vector::I64(vec![fields(text)?.to_timestamp()])
            }
            _ => return None,
        }))
    }

    /// The value in SQL.
    pub(super) fn literal(&self) -> String {
        match self {
            Self::Int(value) => value.to_string(),
            Self::Uint(value) => value.to_string(),
            Self::Decimal(digits) => digits.clone(),
            Self::Text { charset, collation, raw } => {
                format!("_{charset} X'{}' COLLATE {collation}", hex::encode_upper(raw))
            }
            Self::Bytes(raw) => format!("X'{}'", hex::encode_upper(raw)),
            Self::Date(text) | Self::Native(text) => format!("'{text}'"),
        }
    }
}

/// Reads `2024-02-31` and `2024-02-31 01:02:03.000004`.
fn fields(text: &str) -> Option<Fields> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u64>().ok();
    let micros = if text.len() > 10 {
        ((number(11..13)? * 60 + number(14..16)?) * 60 + number(17..19)?) * 1_000_000 + number(20..26)?
    } else {
        0
    };
    Some(Fields { year: number(0..4)? as u16, month: number(5..7)? as u8, day: number(8..10)? as u8, micros })
}

fn is_decimal(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
}

fn is_date(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b':' | b'.' | b' '))
}

fn is_native(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'-' | b':' | b'.'))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

pub(super) fn encode(values: &[KeyValue]) -> KeyBound {
    let mut bytes = vec![VERSION, values.len() as u8];
    let mut field = |tag: u8, parts: &[&[u8]]| {
        bytes.push(tag);
        for part in parts {
            bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
            bytes.extend_from_slice(part);
        }
    };
    for value in values {
        match value {
            KeyValue::Int(value) => field(1, &[&value.to_le_bytes()]),
            KeyValue::Uint(value) => field(2, &[&value.to_le_bytes()]),
            KeyValue::Decimal(digits) => field(3, &[digits.as_bytes()]),
            KeyValue::Text { charset, collation, raw } => {
                field(4, &[charset.as_bytes(), collation.as_bytes(), raw]);
            }
            KeyValue::Bytes(raw) => field(5, &[raw]),
            KeyValue::Date(text) => field(6, &[text.as_bytes()]),
            KeyValue::Native(text) => field(7, &[text.as_bytes()]),
        }
    }
    KeyBound(bytes)
}

/// The values of a bound; `None` when it is damaged or of another version.
pub(super) fn decode(bound: &KeyBound) -> Option<Vec<KeyValue>> {
    let (&[version, count], mut rest) = bound.0.split_first_chunk::<2>()?;
    if version != VERSION || count == 0 {
        return None;
    }
    let mut values = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let (&tag, after) = rest.split_first()?;
        rest = after;
        values.push(match tag {
            1 => KeyValue::Int(i64::from_le_bytes(part(&mut rest)?.try_into().ok()?)),
            2 => KeyValue::Uint(u64::from_le_bytes(part(&mut rest)?.try_into().ok()?)),
            3 => KeyValue::Decimal(text(&mut rest, is_decimal)?),
            4 => KeyValue::Text {
                charset: text(&mut rest, is_name)?,
                collation: text(&mut rest, is_name)?,
                raw: part(&mut rest)?.to_vec(),
            },
            5 => KeyValue::Bytes(part(&mut rest)?.to_vec()),
            6 => KeyValue::Date(text(&mut rest, is_date)?),
            7 => KeyValue::Native(text(&mut rest, is_native)?),
            _ => return None,
        });
    }
    rest.is_empty().then_some(values)
}

fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (part, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = after;
    Some(part)
}

/// A part that becomes SQL as it is, and so must look like what it is.
fn text(rest: &mut &[u8], check: fn(&str) -> bool) -> Option<String> {
    let text = String::from_utf8(part(rest)?.to_vec()).ok()?;
    check(&text).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_value() -> impl Strategy<Value = KeyValue> {
        prop_oneof![
            any::<i64>().prop_map(KeyValue::Int),
            any::<u64>().prop_map(KeyValue::Uint),
            "-?[0-9]{1,65}(\\.[0-9]{1,30})?".prop_map(KeyValue::Decimal),
            ("[a-z0-9_]{1,16}", "[a-z0-9_]{1,32}", any::<Vec<u8>>())
                .prop_map(|(charset, collation, raw)| KeyValue::Text { charset, collation, raw }),
            any::<Vec<u8>>().prop_map(KeyValue::Bytes),
            "[0-9]{4}-[0-9]{2}-[0-9]{2}( [0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{6})?".prop_map(KeyValue::Date),
            "[0-9a-f:.-]{2,39}".prop_map(KeyValue::Native),
        ]
    }

    proptest! {
        #[test]
        fn bounds_round_trip(values in proptest::collection::vec(any_value(), 1..16)) {
            prop_assert_eq!(decode(&encode(&values)), Some(values));
        }

        #[test]
        fn damage_is_noticed_not_panicked_at(values in proptest::collection::vec(any_value(), 1..4), cut in any::<usize>()) {
            let KeyBound(mut bytes) = encode(&values);
            bytes.truncate(cut % bytes.len());
            prop_assert_eq!(decode(&KeyBound(bytes)), None);
        }

        #[test]
        fn any_bytes_are_survived(bytes in any::<Vec<u8>>()) {
            let _ = decode(&KeyBound(bytes));
        }
    }

    #[test]
    fn values_become_columns() {
        let stamp = LogicalType::Timestamp { precision: 6, zoned: false };
        let column = |value: KeyValue, logical| value.column(logical).map(|column| column.values);
        assert_eq!(
            column(KeyValue::Date("1970-01-02 00:00:01.000002".to_owned()), &stamp),
            Some(Vector::I64(vec![86_401_000_002]))
        );
        assert_eq!(
            column(KeyValue::Date("1970-01-02".to_owned()), &LogicalType::Date),
            Some(Vector::I64(vec![1]))
        );
        let unsigned = LogicalType::Integer { bits: 64, signed: false };
        assert_eq!(column(KeyValue::Uint(u64::MAX), &unsigned), Some(Vector::U64(vec![u64::MAX])));
        assert_eq!(column(KeyValue::Int(-1), &unsigned), None);
    }

    #[test]
    fn sql_in_a_bound_is_damage() {
        let evil = KeyValue::Decimal("1 OR 1".to_owned());
        assert_eq!(decode(&encode(&[evil])), None);
        let evil = KeyValue::Native("::1' OR ''='".to_owned());
        assert_eq!(decode(&encode(&[evil])), None);
        let evil = KeyValue::Text { charset: "x X'' OR".into(), collation: "c".into(), raw: Vec::new() };
        assert_eq!(decode(&encode(&[evil])), None);
    }

    #[test]
    fn values_are_never_plain_text() {
        let bytes = KeyValue::new(
            &Value::Bytes(b"a'b".to_vec()),
            &LogicalType::Bytes { max_bytes: None, fixed: false },
        );
        assert_eq!(bytes.expect("bytes").literal(), "X'612762'");
        let integer = LogicalType::Integer { bits: 64, signed: false };
        let greatest = KeyValue::new(&Value::UInt(u64::MAX), &integer).expect("an integer");
        assert_eq!(greatest.literal(), "18446744073709551615");
        let odd = KeyValue::new(&Value::Date(2024, 2, 31, 0, 0, 0, 0), &LogicalType::Date).expect("a date");
        assert_eq!(odd.literal(), "'2024-02-31'");
        assert_eq!(KeyValue::new(&Value::NULL, &integer), None);
    }
}
