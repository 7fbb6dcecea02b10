//! Values as the server sends them, by the binary protocol.

use engine_core::temporal::{Fields, MICROS_PER_DAY};
use mysql_async::Value;

use super::{NO_TEXT, Rule, big_endian, put_address, put_decimal, put_integer, put_json};
use crate::charset::Charset;

/// Appends a value that is not NULL; `None` when it is not of the column's type.
pub(super) fn put(rule: &Rule, value: &Value, charset: Option<&Charset>, out: &mut Vec<u8>) -> Option<()> {
    match (rule, value) {
        (Rule::Integer | Rule::Label(_) | Rule::Labels(_), Value::Int(value)) => {
            put_integer(i128::from(*value), out)
        }
        (Rule::Integer | Rule::Label(_) | Rule::Labels(_), Value::UInt(value)) => {
            put_integer(i128::from(*value), out)
        }
        // BIT comes as bytes.
        (Rule::Integer, Value::Bytes(bytes)) if bytes.len() <= 8 => {
            put_integer(i128::from(big_endian(bytes)), out)
        }
        (Rule::Decimal, Value::Bytes(digits)) => put_decimal(digits, out),
        (Rule::Float, Value::Float(value)) => {
            out.extend_from_slice(&value.to_bits().to_be_bytes());
            Some(())
        }
        (Rule::Double, Value::Double(value)) => {
            out.extend_from_slice(&value.to_bits().to_be_bytes());
            Some(())
        }
        (Rule::Text, Value::Bytes(bytes)) => {
            put_text(bytes, charset, out);
            Some(())
        }
        (Rule::Json(members), Value::Bytes(bytes)) => {
            let mut text = Vec::with_capacity(bytes.len());
            put_text(bytes, charset, &mut text);
            put_json(&text, *members, out);
            Some(())
        }
        (Rule::Bytes, Value::Bytes(bytes)) => {
            out.extend_from_slice(bytes);
            Some(())
        }
        (Rule::Uuid, Value::Bytes(text)) => {
            let digits: Vec<u8> = text.iter().copied().filter(|&byte| byte != b'-').collect();
            let start = out.len();
            out.resize(start + 16, 0);
            hex::decode_to_slice(digits, out.get_mut(start..)?).ok()
        }
        (Rule::Address, Value::Bytes(text)) => put_address(text, out),
        (Rule::Date, &Value::Date(year, month, day, ..)) => {
            out.extend_from_slice(&Fields { year, month, day, micros: 0 }.to_date().to_be_bytes());
            Some(())
        }
        (Rule::Datetime, &Value::Date(year, month, day, hour, minute, second, micros)) => {
            let micros = clock(u64::from(hour), minute, second, micros);
            out.extend_from_slice(&Fields { year, month, day, micros }.to_timestamp().to_be_bytes());
            Some(())
        }
        (Rule::Time, &Value::Time(is_negative, days, hour, minute, second, micros)) => {
            let clock = clock(u64::from(hour), minute, second, micros) as i64;
            let micros = i64::from(days) * MICROS_PER_DAY + clock;
            out.extend_from_slice(&if is_negative { -micros } else { micros }.to_be_bytes());
            Some(())
        }
        _ => None,
    }
}

fn put_text(bytes: &[u8], charset: Option<&Charset>, out: &mut Vec<u8>) {
    let is_text = match charset {
        Some(charset) if !charset.is_utf8() => charset.decode_into(bytes, out).is_ok(),
        _ => {
            let is_text = std::str::from_utf8(bytes).is_ok();
            if is_text {
                out.extend_from_slice(bytes);
            }
            is_text
        }
    };
    if !is_text {
        out.push(NO_TEXT);
        out.extend_from_slice(bytes);
    }
}

fn clock(hour: u64, minute: u8, second: u8, micros: u32) -> u64 {
    ((hour * 60 + u64::from(minute)) * 60 + u64::from(second)) * 1_000_000 + u64::from(micros)
}
