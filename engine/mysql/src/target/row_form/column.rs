//! Values of batches, to canonical bytes and back.

use engine_core::bitmap::Bitmap;
use engine_core::column::{Column, Varlen, Vector};
use engine_core::logical::{Layout, LogicalType};
use engine_core::temporal::Fields;

use super::super::cell::Encoder;
use super::{Rule, big_endian, put_address, put_decimal, put_integer, put_json, text};

/// Appends the value that a column would have once it was written; `None` when the column can't hold it.
pub(super) fn put(
    rule: &Rule,
    encoder: &Encoder,
    column: &Column,
    row: usize,
    out: &mut Vec<u8>,
) -> Option<()> {
    match (rule, &column.values) {
        (Rule::Integer, values) => put_integer(integer(encoder, values, row)?, out),
        (Rule::Decimal, Vector::Varlen(values)) => put_decimal(values.get(row), out),
        (Rule::Decimal, values) => put_decimal(integer(encoder, values, row)?.to_string().as_bytes(), out),
        (Rule::Float, Vector::F64(values)) => {
            let value = *values.get(row)?;
            let single = value as f32;
            if f64::from(single).to_bits() != value.to_bits() {
                return None;
            }
            out.extend_from_slice(&single.to_bits().to_be_bytes());
            Some(())
        }
        (Rule::Double, Vector::F64(values)) => {
            out.extend_from_slice(&values.get(row)?.to_bits().to_be_bytes());
            Some(())
        }
        (Rule::Double, values) => {
            // Of 32 bits at most, see the encoder.
            let value = integer(encoder, values, row)? as f64;
            out.extend_from_slice(&value.to_bits().to_be_bytes());
            Some(())
        }
        (Rule::Text, Vector::Varlen(values)) => {
            let value = values.get(row);
            match encoder {
                Encoder::Uuid => out.extend_from_slice(text::uuid(value)?.as_bytes()),
                _ => out.extend_from_slice(value),
            }
            Some(())
        }
        (Rule::Json(members), Vector::Varlen(values)) => {
            put_json(values.get(row), *members, out);
            Some(())
        }
        (Rule::Bytes | Rule::Uuid, Vector::Varlen(values)) => {
            out.extend_from_slice(values.get(row));
            Some(())
        }
        (Rule::Address, Vector::Varlen(values)) => put_address(values.get(row), out),
        (Rule::Datetime, Vector::I64(values)) if matches!(encoder, Encoder::Date { .. }) => {
            let value = Fields::from_date(*values.get(row)?).to_timestamp();
            out.extend_from_slice(&value.to_be_bytes());
            Some(())
        }
        (Rule::Date | Rule::Datetime | Rule::Time, Vector::I64(values)) => {
            out.extend_from_slice(&values.get(row)?.to_be_bytes());
            Some(())
        }
        (Rule::Label(_) | Rule::Labels(_), Vector::Varlen(_)) => {
            let mut place = Vec::new();
            encoder.write(column, row, &mut place).ok()?;
            put_integer(std::str::from_utf8(&place).ok()?.parse().ok()?, out)
        }
        _ => None,
    }
}

/// A whole number, whichever vector has it.
fn integer(encoder: &Encoder, values: &Vector, row: usize) -> Option<i128> {
    Some(match values {
        Vector::Bits(bits) => bits.get(row).into(),
        Vector::I64(values) => i128::from(*values.get(row)?),
        Vector::U64(values) => i128::from(*values.get(row)?),
        Vector::Varlen(values) if *encoder == Encoder::Bits => big_endian(values.get(row)).into(),
        Vector::Varlen(values) => {
            let mut digits = Vec::new();
            put_decimal(values.get(row), &mut digits)?;
            std::str::from_utf8(&digits).ok()?.parse().ok()?
        }
        Vector::F64(_) => return None,
    })
}

/// The value of a column's canonical bytes in the form of batches, one row; `None` for types that no key
/// has, and bytes that are no such value.
pub(super) fn of(rule: &Rule, logical: &LogicalType, value: &[u8]) -> Option<Column> {
    let number = || super::integer(value);
    let varlen = |bytes: &[u8]| {
        let mut values = Varlen::default();
        values.push(bytes);
        Vector::Varlen(values)
    };
    let values = match (rule, logical.layout()) {
        (Rule::Integer, Layout::Bits) => Vector::Bits(Bitmap::filled(1, number()? != 0)),
        (Rule::Integer, Layout::I64) => Vector::I64(vec![number()?.try_into().ok()?]),
        (Rule::Integer, Layout::U64) => Vector::U64(vec![number()?.try_into().ok()?]),
        (Rule::Integer, Layout::Varlen) => match logical {
            LogicalType::Bit { width } => {
                let bytes = u64::try_from(number()?).ok()?.to_be_bytes();
                varlen(bytes.get(8_usize.checked_sub(width.div_ceil(8) as usize)?..)?)
            }
            _ => varlen(number()?.to_string().as_bytes()),
        },
        (Rule::Decimal, Layout::I64) => Vector::I64(vec![ascii(value)?.parse().ok()?]),
        (Rule::Decimal, Layout::U64) => Vector::U64(vec![ascii(value)?.parse().ok()?]),
        (Rule::Float, Layout::F64) => {
            Vector::F64(vec![f32::from_bits(u32::from_be_bytes(value.try_into().ok()?)).into()])
        }
        (Rule::Double, Layout::F64) => {
            Vector::F64(vec![f64::from_bits(u64::from_be_bytes(value.try_into().ok()?))])
        }
        (Rule::Text, Layout::Varlen) => {
            let written = std::str::from_utf8(value).ok()?;
            match logical {
                LogicalType::Uuid => varlen(&hex::decode(written.replace('-', "")).ok()?),
                _ => varlen(value),
            }
        }
        (Rule::Decimal | Rule::Bytes | Rule::Uuid, Layout::Varlen) => varlen(value),
        (Rule::Address | Rule::Label(_) | Rule::Labels(_), Layout::Varlen) => {
            varlen(text::text(rule, value)?.as_bytes())
        }
        (Rule::Datetime, Layout::I64) if *logical == LogicalType::Date => {
            let value = i64::from_be_bytes(value.try_into().ok()?);
            Vector::I64(vec![Fields::from_timestamp(value).to_date()])
        }
        (Rule::Date | Rule::Datetime | Rule::Time, Layout::I64) => {
            Vector::I64(vec![i64::from_be_bytes(value.try_into().ok()?)])
        }
        _ => return None,
    };
    Some(Column::new(values))
}

fn ascii(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok()
}
