//! Values in PostgreSQL's text form into column vectors.
//!
//! The same text comes with `COPY … TO STDOUT` and with `pgoutput`. It is that of a session with
//! `client_encoding` UTF8, `DateStyle` ISO, `IntervalStyle` postgres, `TimeZone` UTC,
//! `extra_float_digits` 3, `bytea_output` hex and `lc_monetary` C; anything else is malformed. What
//! openGauss writes otherwise is taken as well: `1` and `0` for booleans, `.5`, `00FF` for `blob`,
//! `0000-00-00`.

mod number;
mod temporal;

use engine_core::column::{Column, Vector};
use engine_core::logical::LogicalType;
use engine_core::schema::ColumnSchema;

/// Why a text is no value of its column.
pub(crate) type Malformed = &'static str;

/// Decodes the values of one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CellDecoder(Form);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Boolean,
    /// Of so many bits.
    Signed(u8),
    Unsigned(u8),
    Float32,
    Float64,
    /// With so many digits after the point.
    Decimal(usize),
    /// `-$1,234.56`
    Money,
    /// Without bounds.
    Numeric,
    Utf8,
    /// Blanks at the end mean nothing.
    Blanks,
    /// `\x00ff`
    Bytes,
    /// `00FF`
    Hexadecimal,
    Date,
    Time,
    /// With a zone, or without one.
    Timestamp(bool),
    Uuid,
    /// So many digits 0 and 1.
    Bits(usize),
}

impl CellDecoder {
    /// Chooses by the logical type and the native one. `Err` says why there is no decoder.
    pub(crate) fn new(schema: &ColumnSchema) -> Result<Self, String> {
        Ok(Self(match &schema.logical {
            LogicalType::Boolean => Form::Boolean,
            LogicalType::Integer { bits, signed: true } => Form::Signed(*bits),
            LogicalType::Integer { bits, signed: false } => Form::Unsigned(*bits),
            LogicalType::Float32 => Form::Float32,
            LogicalType::Float64 => Form::Float64,
            LogicalType::Decimal { .. } if schema.native == "money" => Form::Money,
            LogicalType::Decimal { scale, .. } => Form::Decimal(usize::try_from(*scale).unwrap_or(0)),
            LogicalType::Text { fixed: true, .. } => Form::Blanks,
            LogicalType::Text { .. } | LogicalType::Json | LogicalType::Enumeration { .. } => Form::Utf8,
            LogicalType::Bytes { .. } => match schema.native.as_str() {
                "blob" | "raw" | "tinyblob" | "mediumblob" | "longblob" => Form::Hexadecimal,
                _ => Form::Bytes,
            },
            LogicalType::Date => Form::Date,
            LogicalType::Time { .. } => Form::Time,
            LogicalType::Timestamp { zoned, .. } => Form::Timestamp(*zoned),
            LogicalType::Uuid => Form::Uuid,
            LogicalType::Bit { width } => Form::Bits(*width as usize),
            logical @ (LogicalType::Set { .. } | LogicalType::Other(_)) => match logical.text_form() {
                Some("numeric") => Form::Numeric,
                Some(_) => Form::Utf8,
                None => return Err(format!("values of the type {} are not read", schema.native)),
            },
        }))
    }

    /// Appends the value that `text` stands for. `Err` says why it stands for none; the column is not
    /// to be used then.
    #[inline]
    pub(crate) fn push(self, text: &[u8], column: &mut Column) -> Result<(), Malformed> {
        match &mut column.values {
            Vector::I64(values) => values.push(self.integer(text)?),
            Vector::U64(values) => match self.0 {
                Form::Unsigned(bits) => values.push(number::unsigned(text, bits)?),
                _ => return Err(OTHER_LAYOUT),
            },
            Vector::F64(values) => values.push(match self.0 {
                Form::Float32 => number::float32(text)?,
                Form::Float64 => number::float64(text)?,
                _ => return Err(OTHER_LAYOUT),
            }),
            Vector::Bits(values) if self.0 == Form::Boolean => values.push(boolean(text)?),
            Vector::Bits(_) => return Err(OTHER_LAYOUT),
            Vector::Varlen(values) => {
                self.bytes(text, &mut values.data)?;
                values.end_value();
            }
        }
        column.note_present();
        Ok(())
    }

    #[inline]
    fn integer(self, text: &[u8]) -> Result<i64, Malformed> {
        match self.0 {
            Form::Signed(bits) => number::signed(text, bits),
            Form::Date => temporal::date(text),
            Form::Time => temporal::time(text),
            Form::Timestamp(zoned) => temporal::timestamp(text, zoned),
            _ => Err(OTHER_LAYOUT),
        }
    }

    #[inline]
    fn bytes(self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        match self.0 {
            Form::Utf8 => utf8(text, out),
            Form::Blanks => {
                let end = text.iter().rposition(|&byte| byte != b' ').map_or(0, |last| last + 1);
                utf8(text.get(..end).unwrap_or_default(), out)
            }
            Form::Decimal(scale) => number::decimal(text, scale, out),
            Form::Money => number::money(text, out),
            Form::Numeric => number::numeric(text, out),
            Form::Bytes => {
                hexadecimal(text.strip_prefix(b"\\x").ok_or("it is no bytea of the form \\x00ff")?, out)
            }
            Form::Hexadecimal => hexadecimal(text, out),
            Form::Uuid => uuid(text, out),
            Form::Bits(width) => bits(text, width, out),
            _ => Err(OTHER_LAYOUT),
        }
    }
}

const OTHER_LAYOUT: Malformed = "its column has another layout than its type";

fn boolean(text: &[u8]) -> Result<bool, Malformed> {
    match text {
        b"t" | b"true" | b"1" => Ok(true),
        b"f" | b"false" | b"0" => Ok(false),
        _ => Err("it is no boolean"),
    }
}

#[inline]
fn utf8(text: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    if std::str::from_utf8(text).is_err() {
        return Err("it is not UTF-8");
    }
    out.extend_from_slice(text);
    Ok(())
}

fn hexadecimal(digits: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let start = out.len();
    out.resize(start + digits.len() / 2, 0);
    let bytes = out.get_mut(start..).unwrap_or_default();
    hex::decode_to_slice(digits, bytes).map_err(|_| "its bytes are not hexadecimal digits in pairs")
}

/// `01890a5d-ac96-774b-bcce-b302099a8057`
fn uuid(text: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let hyphen = |place: usize| text.get(place) == Some(&b'-');
    if text.len() != 36 || ![8, 13, 18, 23].into_iter().all(hyphen) {
        return Err("it is no UUID");
    }
    for part in [0..8, 9..13, 14..18, 19..23, 24..36] {
        hexadecimal(text.get(part).unwrap_or_default(), out).map_err(|_| "it is no UUID")?;
    }
    Ok(())
}

/// Digits into bytes, right-aligned.
fn bits(text: &[u8], width: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
    if text.len() != width {
        return Err("it has another number of bits than its column");
    }
    let (first, rest) = text.split_at_checked(width % 8).unwrap_or_default();
    for group in std::iter::once(first).filter(|first| !first.is_empty()).chain(rest.chunks(8)) {
        let byte = group.iter().try_fold(0_u8, |byte, &digit| match digit {
            b'0' | b'1' => Some(byte << 1 | (digit - b'0')),
            _ => None,
        });
        out.push(byte.ok_or("a bit is neither 0 nor 1")?);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
