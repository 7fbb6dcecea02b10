//! Values in the server's binary form as people read them.

use engine_core::column::{Column, Varlen, Vector};
use engine_core::logical::LogicalType;
use engine_core::temporal::{Fields, MICROS_PER_DAY};
use std::fmt::Write as _;

use crate::numeric;
use crate::pg_type::PgType;

/// Days between 1970-01-01 and the server's epoch, 2000-01-01.
const EPOCH_DAYS: i64 = 10_957;

/// `\x00ff`
pub(crate) fn hexadecimal(value: &[u8]) -> String {
    format!("\\x{}", hex::encode(value))
}

/// The text of a value; its bytes in hexadecimal where it has none.
pub(crate) fn text(pg_type: &PgType, value: &[u8]) -> String {
    known(pg_type, value).unwrap_or_else(|| hexadecimal(value))
}

fn known(pg_type: &PgType, value: &[u8]) -> Option<String> {
    let integer = || -> Option<i64> {
        Some(match value.len() {
            2 => i64::from(i16::from_be_bytes(value.try_into().ok()?)),
            4 => i64::from(i32::from_be_bytes(value.try_into().ok()?)),
            8 => i64::from_be_bytes(value.try_into().ok()?),
            _ => return None,
        })
    };
    Some(match pg_type {
        PgType::Bool => (value == [1]).to_string(),
        PgType::Int2 | PgType::Int4 | PgType::Int8 => integer()?.to_string(),
        PgType::Numeric(_) => numeric::decode_text(value)?,
        PgType::Float4 => f32::from_be_bytes(value.try_into().ok()?).to_string(),
        PgType::Float8 => f64::from_be_bytes(value.try_into().ok()?).to_string(),
        PgType::Text | PgType::Varchar(_) | PgType::Bpchar(_) | PgType::Xml | PgType::Enum(_) => {
            std::str::from_utf8(value).ok()?.to_owned()
        }
        PgType::Date => {
            Fields::from_date(integer()?.checked_add(EPOCH_DAYS)?).to_string().get(..10)?.to_owned()
        }
        PgType::Timestamp(_) | PgType::TimestampTz(_) => {
            let micros = integer()?.checked_add(EPOCH_DAYS * MICROS_PER_DAY)?;
            let zone = if matches!(pg_type, PgType::TimestampTz(_)) { "+00" } else { "" };
            format!("{}{zone}", Fields::from_timestamp(micros))
        }
        PgType::Time(_) => clock(integer()?),
        PgType::Interval(_) => {
            let (micros, rest) = value.split_first_chunk::<8>()?;
            let (days, months) = rest.split_first_chunk::<4>()?;
            let (days, months) = (i32::from_be_bytes(*days), i32::from_be_bytes(months.try_into().ok()?));
            let mut text = String::new();
            if months != 0 {
                write!(text, "{months} mons ").ok()?;
            }
            if days != 0 {
                write!(text, "{days} days ").ok()?;
            }
            text + &clock(i64::from_be_bytes(*micros))
        }
        PgType::Bit(_) | PgType::Varbit(_) => {
            let (width, bytes) = value.split_first_chunk::<4>()?;
            let bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
            let bits = bits.take(u32::from_be_bytes(*width) as usize);
            bits.map(|bit| if bit == 1 { '1' } else { '0' }).collect()
        }
        PgType::Uuid => {
            let digits = hex::encode(value);
            let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| digits.get(part));
            parts.into_iter().collect::<Option<Vec<&str>>>()?.join("-")
        }
        PgType::Float4Array
        | PgType::Float8Array
        | PgType::Vector
        | PgType::Geometry
        | PgType::Bytea
        | PgType::Json
        | PgType::Jsonb
        | PgType::Named(_) => return None,
    })
}

/// A value as a column of one row, of the types that keys have.
pub(crate) fn column(pg_type: &PgType, logical: &LogicalType, value: &[u8]) -> Option<Column> {
    let bytes = |value: &[u8]| {
        let mut values = Varlen::default();
        values.push(value);
        Vector::Varlen(values)
    };
    Some(Column::new(match (logical, pg_type) {
        (LogicalType::Boolean, PgType::Bool) => Vector::Bits([value == [1]].into_iter().collect()),
        (LogicalType::Integer { signed, .. }, _) => {
            let text = text(pg_type, value);
            if *signed {
                Vector::I64(vec![text.parse().ok()?])
            } else {
                Vector::U64(vec![text.parse().ok()?])
            }
        }
        (LogicalType::Date, PgType::Date) => {
            let days = i32::from_be_bytes(value.try_into().ok()?);
            Vector::I64(vec![i64::from(days) + EPOCH_DAYS])
        }
        (LogicalType::Timestamp { .. }, PgType::Timestamp(_) | PgType::TimestampTz(_)) => {
            let micros = i64::from_be_bytes(value.try_into().ok()?);
            Vector::I64(vec![micros.checked_add(EPOCH_DAYS * MICROS_PER_DAY)?])
        }
        (LogicalType::Decimal { .. }, PgType::Numeric(_)) => bytes(numeric::decode_text(value)?.as_bytes()),
        (
            LogicalType::Text { .. }
            | LogicalType::Enumeration { .. }
            | LogicalType::Set { .. }
            | LogicalType::Decimal { .. },
            PgType::Text | PgType::Varchar(_) | PgType::Bpchar(_) | PgType::Enum(_),
        )
        | (LogicalType::Bytes { .. } | LogicalType::Uuid, PgType::Bytea | PgType::Uuid) => bytes(value),
        _ => return None,
    }))
}

/// `-838:59:59.000001`
fn clock(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    let seconds = micros / 1_000_000;
    let clock = format!("{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    match micros % 1_000_000 {
        0 => clock,
        fraction => format!("{clock}.{fraction:06}"),
    }
}

/// A canonical JSON value as JSON, as far as it can be told again.
pub(crate) fn json(value: &[u8]) -> String {
    engine_core::json_form::text(value).unwrap_or_else(|| String::from_utf8_lossy(value).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_as_people_read_them() {
        for (pg_type, value, expected) in [
            ("integer", &(-5_i32).to_be_bytes()[..], "-5"),
            ("date", &8_i32.to_be_bytes(), "2000-01-09"),
            ("timestamptz(6)", &1_i64.to_be_bytes(), "2000-01-01 00:00:00.000001+00"),
            ("bit(10)", &[0, 0, 0, 10, 0x80, 0x40], "1000000001"),
            ("bytea", &[0, 255], "\\x00ff"),
            ("text", "é ".as_bytes(), "é "),
            ("numeric(10,2)", &[0, 1, 0, 0, 0x40, 0, 0, 0, 0, 7], "-7"),
            ("time(6)", &3_600_000_001_i64.to_be_bytes(), "01:00:00.000001"),
        ] {
            assert_eq!(text(&PgType::parse(pg_type), value), expected, "{pg_type}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_text(value in proptest::collection::vec(any::<u8>(), 0..20), which in 0_usize..12) {
            let names = ["boolean", "integer", "numeric", "real", "date", "timestamp", "interval", "bit(3)", "uuid",
                "time", "text", "real[]"];
            let _ = text(&PgType::parse(names[which]), &value);
        }
    }
}
