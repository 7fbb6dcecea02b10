//! One value of the binary protocol into a column vector.

use engine_core::column::{Column, Vector};
use engine_core::logical::LogicalType;
use engine_core::schema::ColumnSchema;
use engine_core::temporal::{Fields, MICROS_PER_DAY};
use mysql_async::Value;

use crate::charset::Charset;

/// How the values of a column are decoded.
#[derive(Debug, Clone)]
pub(super) enum Decoder {
    Signed,
    Unsigned,
    Float,
    Decimal,
    /// UTF-8 already, to be validated.
    Utf8,
    Text(Charset),
    Bytes,
    /// As many bytes at least, zeros at the end where the server left them out.
    PaddedRight(usize),
    /// As many bytes at least, zeros in front.
    PaddedLeft(usize),
    /// Thirty-two hexadecimal digits with hyphens between them.
    Uuid,
    Date,
    Time,
    Timestamp,
}

impl Decoder {
    /// Chooses by the column's logical type. `charset` is the one that the server sends it in,
    /// `None` when that is raw bytes. `Err` says why there is no decoder.
    pub(super) fn new(schema: &ColumnSchema, charset: Option<Charset>) -> Result<Self, String> {
        Ok(match &schema.logical {
            LogicalType::Integer { signed: true, .. } => Self::Signed,
            LogicalType::Integer { signed: false, .. } => Self::Unsigned,
            LogicalType::Float32 | LogicalType::Float64 => Self::Float,
            LogicalType::Decimal { .. } => Self::Decimal,
            LogicalType::Text { .. } | LogicalType::Enumeration { .. } | LogicalType::Set { .. } => {
                match charset {
                    Some(charset) if charset.is_utf8() && charset.name() != "ascii" => Self::Utf8,
                    Some(charset) => Self::Text(charset),
                    None => return Err("the server sends it without a character set".to_owned()),
                }
            }
            // MySQL's own JSON is always UTF-8; MariaDB's is text of its column's character set.
            LogicalType::Json => match charset {
                Some(charset) if !charset.is_utf8() => Self::Text(charset),
                _ => Self::Utf8,
            },
            LogicalType::Bytes { fixed: true, max_bytes: Some(length) } => {
                Self::PaddedRight(*length as usize)
            }
            LogicalType::Bytes { .. } | LogicalType::Other(_) => Self::Bytes,
            LogicalType::Bit { width } => Self::PaddedLeft(width.div_ceil(8) as usize),
            LogicalType::Date => Self::Date,
            LogicalType::Time { .. } => Self::Time,
            LogicalType::Timestamp { .. } => Self::Timestamp,
            LogicalType::Uuid => Self::Uuid,
            LogicalType::Boolean => {
                return Err(format!("values of the type {} are not read", schema.native));
            }
        })
    }

    /// Appends a value to `column`. `Err` says why it can't; the column is not to be used then.
    #[inline]
    pub(super) fn push(&self, value: &Value, column: &mut Column) -> Result<(), String> {
        match (self, value, &mut column.values) {
            (_, Value::NULL, _) => {
                column.push_null();
                return Ok(());
            }
            (Self::Signed, Value::Int(value), Vector::I64(values)) => values.push(*value),
            (Self::Signed, Value::UInt(value), Vector::I64(values)) => {
                values.push(i64::try_from(*value).map_err(|_| out_of_range())?);
            }
            (Self::Unsigned, Value::UInt(value), Vector::U64(values)) => values.push(*value),
            (Self::Unsigned, Value::Int(value), Vector::U64(values)) => {
                values.push(u64::try_from(*value).map_err(|_| out_of_range())?);
            }
            (Self::Float, Value::Float(value), Vector::F64(values)) => values.push(f64::from(*value)),
            (Self::Float, Value::Double(value), Vector::F64(values)) => values.push(*value),
            (Self::Utf8, Value::Bytes(bytes), Vector::Varlen(values)) => {
                if let Err(error) = std::str::from_utf8(bytes) {
                    return Err(format!("byte {} of the value is not UTF-8", error.valid_up_to()));
                }
                values.push(bytes);
            }
            (Self::Text(charset), Value::Bytes(bytes), Vector::Varlen(values)) => {
                charset.decode_into(bytes, &mut values.data).map_err(|error| error.to_string())?;
                values.end_value();
            }
            (Self::Bytes, Value::Bytes(bytes), Vector::Varlen(values)) => values.push(bytes),
            (Self::Decimal, Value::Bytes(digits), Vector::Varlen(values)) => {
                push_decimal(digits, &mut values.data)?;
                values.end_value();
            }
            (Self::PaddedRight(length), Value::Bytes(bytes), Vector::Varlen(values)) => {
                values.data.extend_from_slice(bytes);
                values.data.extend(std::iter::repeat_n(0, length.saturating_sub(bytes.len())));
                values.end_value();
            }
            (Self::PaddedLeft(length), Value::Bytes(bytes), Vector::Varlen(values)) => {
                values.data.extend(std::iter::repeat_n(0, length.saturating_sub(bytes.len())));
                values.data.extend_from_slice(bytes);
                values.end_value();
            }
            (Self::Uuid, Value::Bytes(text), Vector::Varlen(values)) => values.push(&uuid(text)?),
            (Self::Date, &Value::Date(year, month, day, ..), Vector::I64(values)) => {
                values.push(Fields { year, month, day, micros: 0 }.to_date());
            }
            (
                Self::Timestamp,
                &Value::Date(year, month, day, hour, minute, second, micros),
                Vector::I64(values),
            ) => {
                let micros = clock_micros(u64::from(hour), minute, second, micros);
                values.push(Fields { year, month, day, micros }.to_timestamp());
            }
            (Self::Time, &Value::Time(negative, days, hour, minute, second, micros), Vector::I64(values)) => {
                let clock = clock_micros(u64::from(hour), minute, second, micros) as i64;
                let micros = i64::from(days) * MICROS_PER_DAY + clock;
                values.push(if negative { -micros } else { micros });
            }
            _ => return Err("the server sent a value of another type than the column has".to_owned()),
        }
        column.note_present();
        Ok(())
    }
}

fn clock_micros(hour: u64, minute: u8, second: u8, micros: u32) -> u64 {
    ((hour * 60 + u64::from(minute)) * 60 + u64::from(second)) * 1_000_000 + u64::from(micros)
}

/// The sixteen bytes of a UUID's text, in its order.
fn uuid(text: &[u8]) -> Result<[u8; 16], String> {
    let digits: Vec<u8> = text.iter().copied().filter(|&byte| byte != b'-').collect();
    let mut bytes = [0; 16];
    hex::decode_to_slice(digits, &mut bytes).map_err(|_| "the server sent a UUID that is none".to_owned())?;
    Ok(bytes)
}

/// Copies a decimal without the zeros in front that ZEROFILL adds.
fn push_decimal(digits: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let (sign, mut rest): (&[u8], &[u8]) = match digits {
        [b'-', rest @ ..] => (b"-", rest),
        rest => (b"", rest),
    };
    if rest.is_empty() || !rest.iter().all(|&byte| byte.is_ascii_digit() || byte == b'.') {
        return Err("the server sent a decimal that is none".to_owned());
    }
    while let [b'0', next, ..] = rest
        && next.is_ascii_digit()
    {
        rest = rest.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(sign);
    out.extend_from_slice(rest);
    Ok(())
}

#[cold]
fn out_of_range() -> String {
    "the value lies outside the range of its column".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::column::Varlen;

    fn decoded(logical: &LogicalType, charset: Option<&str>, value: &Value) -> Result<Column, String> {
        let schema = ColumnSchema {
            name: "c".into(),
            native: String::new(),
            logical: logical.clone(),
            nullable: true,
            default: None,
            on_update_now: false,
            generated: None,
            identity: false,
            invisible: false,
            comment: String::new(),
            target_type: None,
            attributes: Vec::new(),
        };
        let decoder = Decoder::new(&schema, charset.and_then(Charset::native))?;
        let mut column = logical.layout().empty_column();
        decoder.push(value, &mut column)?;
        Ok(column)
    }

    #[expect(clippy::unnecessary_wraps, reason = "compared with what decoding returns")]
    fn varlen(bytes: &[u8]) -> Result<Column, String> {
        let mut values = Varlen::default();
        values.push(bytes);
        Ok(Column::new(Vector::Varlen(values)))
    }

    #[expect(clippy::unnecessary_wraps, reason = "compared with what decoding returns")]
    fn i64s(value: i64) -> Result<Column, String> {
        Ok(Column::new(Vector::I64(vec![value])))
    }

    #[test]
    fn integers_keep_their_full_range() {
        let unsigned = LogicalType::Integer { bits: 64, signed: false };
        assert_eq!(
            decoded(&unsigned, None, &Value::UInt(u64::MAX)),
            Ok(Column::new(Vector::U64(vec![u64::MAX])))
        );
        assert!(decoded(&unsigned, None, &Value::Int(-1)).is_err());
        let signed = LogicalType::Integer { bits: 64, signed: true };
        assert_eq!(decoded(&signed, None, &Value::Int(i64::MIN)), i64s(i64::MIN));
        assert!(decoded(&signed, None, &Value::Bytes(b"5".to_vec())).is_err());
    }

    #[test]
    fn decimals_lose_zerofill_and_nothing_else() {
        let decimal = || LogicalType::Decimal { precision: 10, scale: 2 };
        let of = |digits: &str| decoded(&decimal(), None, &Value::Bytes(digits.as_bytes().to_vec()));
        assert_eq!(of("00000012.50"), varlen(b"12.50"));
        assert_eq!(of("0.00"), varlen(b"0.00"));
        assert_eq!(of("-0.40"), varlen(b"-0.40"));
        assert_eq!(of("0000"), varlen(b"0"));
        assert!(of("1e5").is_err());
    }

    #[test]
    fn fixed_bytes_and_bits_are_padded() {
        let binary = LogicalType::Bytes { max_bytes: Some(3), fixed: true };
        assert_eq!(decoded(&binary, None, &Value::Bytes(b"a".to_vec())), varlen(b"a\0\0"));
        let varbinary = LogicalType::Bytes { max_bytes: Some(3), fixed: false };
        assert_eq!(decoded(&varbinary, None, &Value::Bytes(b"a\0".to_vec())), varlen(b"a\0"));
        assert_eq!(decoded(&LogicalType::Bit { width: 10 }, None, &Value::Bytes(vec![1])), varlen(&[0, 1]));
    }

    #[test]
    fn dates_that_are_none_keep_their_fields() {
        let column =
            decoded(&LogicalType::Date, None, &Value::Date(2024, 2, 31, 0, 0, 0, 0)).expect("a date");
        let Vector::I64(values) = column.values else { panic!("dates are integers") };
        assert_eq!(Fields::from_date(values[0]), Fields { year: 2024, month: 2, day: 31, micros: 0 });
        let stamp = LogicalType::Timestamp { precision: 6, zoned: false };
        assert_eq!(decoded(&stamp, None, &Value::Date(1970, 1, 2, 0, 0, 1, 5)), i64s(86_401_000_005));
    }

    #[test]
    fn times_are_signed_and_longer_than_a_day() {
        let time = || LogicalType::Time { precision: 6 };
        let longest = (838 * 3600 + 59 * 60 + 59) * 1_000_000;
        assert_eq!(decoded(&time(), None, &Value::Time(true, 34, 22, 59, 59, 0)), i64s(-longest));
        assert_eq!(decoded(&time(), None, &Value::Time(true, 0, 0, 0, 0, 500_000)), i64s(-500_000));
    }

    #[test]
    fn text_is_decoded_or_refused() {
        let text = || LogicalType::Text { max_chars: None, fixed: false, charset: None, collation: None };
        assert_eq!(decoded(&text(), Some("utf16"), &Value::Bytes(vec![0x20, 0xac])), varlen("€".as_bytes()));
        assert!(decoded(&text(), Some("utf8mb4"), &Value::Bytes(vec![0xff])).is_err());
        assert!(decoded(&text(), Some("ascii"), &Value::Bytes(vec![0x80])).is_err());
        assert!(decoded(&text(), None, &Value::Bytes(vec![b'a'])).is_err());
    }

    #[test]
    fn a_uuid_is_sixteen_bytes_in_the_order_of_its_text() {
        let of = |text: &str| decoded(&LogicalType::Uuid, None, &Value::Bytes(text.as_bytes().to_vec()));
        let bytes =
            [0x01, 0x89, 0x0a, 0x5d, 0xac, 0x96, 0x77, 0x4b, 0xbc, 0xce, 0xb3, 2, 9, 0x9a, 0x80, 0x57];
        assert_eq!(of("01890a5d-ac96-774b-bcce-b302099a8057"), varlen(&bytes));
        assert!(of("01890a5d-ac96-774b-bcce-b302099a80").is_err());
    }

    #[test]
    fn null_is_not_empty() {
        let bytes = LogicalType::Bytes { max_bytes: None, fixed: false };
        let column = decoded(&bytes, None, &Value::NULL).expect("NULL fits");
        assert!(column.is_null(0));
    }
}
