//! One value of a row event into its column vector.

use engine_core::column::{Column, Varlen, Vector};
use engine_core::logical::LogicalType;
use engine_core::schema::ColumnSchema;

use super::bytes::{Bytes, Malformed};
use super::decimal::PackedDecimal;
use super::extent::{WireColumn, wire_type};
use super::{address, json, temporal};
use crate::charset::{Charset, Charsets, Unmappable};

/// Why a value could not be decoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CellError {
    /// Bytes that the type doesn't allow.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Text that is none in its character set.
    #[error(transparent)]
    Unmappable(#[from] Unmappable),
}

/// Why a column can't be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ColumnMismatch {
    /// The table map and the schema speak of different types.
    Type,
    /// The type is known, but this storage of it isn't.
    Unsupported(&'static str),
}

/// How the values of one column are decoded.
#[derive(Debug, Clone)]
pub(crate) enum CellDecoder {
    Signed(usize),
    Unsigned,
    Year,
    Float,
    Double,
    Decimal(PackedDecimal),
    Date,
    Time(Option<u8>),
    DateTime(Option<u8>),
    Timestamp(Option<u8>),
    Text {
        charset: Charset,
        trim: bool,
    },
    Raw,
    /// Filled up with zero bytes to its declared length; the log strips them.
    Padded(usize),
    Bit(usize),
    /// MariaDB's INET4 and INET6, of so many bytes.
    Address(usize),
    Json,
    Enumeration(Vec<String>),
    Set(Vec<String>),
}

impl CellDecoder {
    /// The decoder for a column of the schema, when the table map agrees with it.
    pub(crate) fn new(
        schema: &ColumnSchema,
        wire: WireColumn,
        charsets: &Charsets,
    ) -> Result<Self, ColumnMismatch> {
        use wire_type::{
            BIT, BLOB, BLOB_COMPRESSED, DATE, DATETIME, DATETIME2, DOUBLE, ENUM, FLOAT, GEOMETRY, INT24,
            JSON, LONG, LONGLONG, NEWDATE, NEWDECIMAL, SET, SHORT, STRING, TIME, TIME2, TIMESTAMP,
            TIMESTAMP2, TINY, VARCHAR, VARCHAR_COMPRESSED, VECTOR, YEAR,
        };
        if matches!(wire.kind, BLOB_COMPRESSED | VARCHAR_COMPRESSED) {
            return Err(ColumnMismatch::Unsupported(
                "compressed columns of MariaDB can't be read from the log",
            ));
        }
        if let Some(width) = address::width(&schema.native) {
            let same = wire.kind == STRING && usize::from(wire.detail) == width;
            return if same { Ok(Self::Address(width)) } else { Err(ColumnMismatch::Type) };
        }
        let digits = |precision: u8| u16::from(precision) == wire.detail;
        Ok(match (&schema.logical, wire.kind) {
            (LogicalType::Integer { .. }, YEAR) => Self::Year,
            (LogicalType::Integer { bits, signed }, kind) => {
                let width = match kind {
                    TINY => 1,
                    SHORT => 2,
                    INT24 => 3,
                    LONG => 4,
                    LONGLONG => 8,
                    _ => return Err(ColumnMismatch::Type),
                };
                if usize::from(*bits) != width * 8 {
                    return Err(ColumnMismatch::Type);
                }
                if *signed { Self::Signed(width) } else { Self::Unsigned }
            }
            (LogicalType::Float32, FLOAT) => Self::Float,
            (LogicalType::Float64, DOUBLE) => Self::Double,
            (LogicalType::Decimal { precision, scale }, NEWDECIMAL) => {
                let (precision, scale) = (u8::try_from(*precision), u8::try_from(*scale));
                let (Ok(precision), Ok(scale)) = (precision, scale) else { return Err(ColumnMismatch::Type) };
                if wire.detail != u16::from(precision) << 8 | u16::from(scale) {
                    return Err(ColumnMismatch::Type);
                }
                Self::Decimal(PackedDecimal::new(precision, scale).ok_or(ColumnMismatch::Type)?)
            }
            (LogicalType::Date, DATE | NEWDATE) => Self::Date,
            (LogicalType::Time { precision }, TIME2) if digits(*precision) => Self::Time(Some(*precision)),
            (LogicalType::Time { precision: 0 }, TIME) => Self::Time(None),
            (LogicalType::Timestamp { precision, zoned: true }, TIMESTAMP2) if digits(*precision) => {
                Self::Timestamp(Some(*precision))
            }
            (LogicalType::Timestamp { precision: 0, zoned: true }, TIMESTAMP) => Self::Timestamp(None),
            (LogicalType::Timestamp { precision, zoned: false }, DATETIME2) if digits(*precision) => {
                Self::DateTime(Some(*precision))
            }
            (LogicalType::Timestamp { precision: 0, zoned: false }, DATETIME) => Self::DateTime(None),
            (LogicalType::Time { .. } | LogicalType::Timestamp { .. }, TIME | TIMESTAMP | DATETIME) => {
                return Err(ColumnMismatch::Unsupported(
                    "its fractional seconds are stored in MariaDB's format before 10.1.2",
                ));
            }
            (LogicalType::Text { charset, fixed, .. }, STRING | VARCHAR | BLOB) => {
                let name = charset.as_deref().unwrap_or("utf8mb4");
                let charset = charsets.by_name(name).ok_or(ColumnMismatch::Unsupported(
                    "the conversion table of its character set has not been loaded",
                ))?;
                Self::Text { charset, trim: *fixed && wire.kind == STRING }
            }
            (LogicalType::Json, BLOB) => {
                let charset = charsets.by_name("utf8mb4").ok_or(ColumnMismatch::Type)?;
                Self::Text { charset, trim: false }
            }
            (LogicalType::Json, JSON) => Self::Json,
            (LogicalType::Bytes { max_bytes: Some(length), fixed: true }, STRING) => {
                Self::Padded(*length as usize)
            }
            // In the order of its text, whatever the order in which the table stores it.
            (LogicalType::Uuid, STRING) if wire.detail == 16 => Self::Padded(16),
            (LogicalType::Bytes { fixed: false, .. }, STRING | VARCHAR | BLOB) => Self::Raw,
            (LogicalType::Bit { width }, BIT) if *width == u32::from(wire.detail) => {
                Self::Bit(width.div_ceil(8) as usize)
            }
            (LogicalType::Enumeration { labels }, ENUM) => Self::Enumeration(labels.clone()),
            (LogicalType::Set { labels }, SET) => Self::Set(labels.clone()),
            (LogicalType::Other(name), GEOMETRY) if name == "geometry" => Self::Raw,
            (LogicalType::Other(name), VECTOR | VARCHAR | BLOB) if name == "vector" => Self::Raw,
            _ => return Err(ColumnMismatch::Type),
        })
    }

    /// Appends a value to a column of the schema's layout.
    #[inline]
    pub(crate) fn decode(&self, raw: &[u8], column: &mut Column) -> Result<(), CellError> {
        let mut input = Bytes::new(raw);
        match &mut column.values {
            Vector::I64(values) => values.push(self.decode_i64(raw, &mut input)?),
            Vector::U64(values) => values.push(input.little_endian(raw.len())?),
            Vector::F64(values) => values.push(match self {
                Self::Float => f64::from(f32::from_bits(input.u32()?)),
                _ => f64::from_bits(input.u64()?),
            }),
            Vector::Varlen(values) => {
                self.decode_varlen(raw, &mut input, values)?;
                values.end_value();
            }
            Vector::Bits(_) => return Err(Malformed("no column of this source is a boolean").into()),
        }
        column.note_present();
        Ok(())
    }

    #[inline]
    fn decode_i64(&self, raw: &[u8], input: &mut Bytes<'_>) -> Result<i64, Malformed> {
        match self {
            Self::Signed(width) => {
                let unused = 64 - 8 * raw.len().min(*width).max(1) as u32;
                Ok((input.little_endian(*width)? << unused) as i64 >> unused)
            }
            Self::Year => temporal::year(input),
            Self::Date => temporal::date(input),
            Self::Time(Some(precision)) => temporal::time(input, *precision),
            Self::Time(None) => temporal::old_time(input),
            Self::DateTime(Some(precision)) => temporal::datetime(input, *precision),
            Self::DateTime(None) => temporal::old_datetime(input),
            Self::Timestamp(Some(precision)) => temporal::timestamp(input, *precision),
            Self::Timestamp(None) => temporal::old_timestamp(input),
            _ => Err(Malformed("the column is laid out for integers, its values are none")),
        }
    }

    fn decode_varlen(&self, raw: &[u8], input: &mut Bytes<'_>, values: &mut Varlen) -> Result<(), CellError> {
        let out = &mut values.data;
        match self {
            Self::Text { charset, trim } => {
                let start = out.len();
                charset.decode_into(raw, out)?;
                if *trim {
                    while out.len() > start && out.last() == Some(&b' ') {
                        out.pop();
                    }
                }
            }
            Self::Raw => out.extend_from_slice(raw),
            Self::Padded(length) => {
                out.extend_from_slice(raw);
                out.extend(std::iter::repeat_n(0, length.saturating_sub(raw.len())));
            }
            Self::Address(width) => address::decode_into(raw, *width, out)?,
            Self::Decimal(decimal) => decimal.decode_into(input, out)?,
            Self::Json => json::decode_into(raw, out)?,
            Self::Bit(width) if raw.len() == *width => out.extend_from_slice(raw),
            Self::Enumeration(labels) => {
                let ordinal = input.little_endian(raw.len())? as usize;
                // Ordinal 0 is the value that was no label: the empty string.
                if let Some(index) = ordinal.checked_sub(1) {
                    let label = labels.get(index).ok_or(Malformed("an ENUM has no label of that number"))?;
                    out.extend_from_slice(label.as_bytes());
                }
            }
            Self::Set(labels) => {
                let members = input.little_endian(raw.len())?;
                if labels.len() < 64 && members >> labels.len() != 0 {
                    return Err(Malformed("a SET has no label of that number").into());
                }
                let mut first = true;
                for (_, label) in labels.iter().enumerate().filter(|(index, _)| members >> index & 1 == 1) {
                    if !first {
                        out.push(b',');
                    }
                    first = false;
                    out.extend_from_slice(label.as_bytes());
                }
            }
            _ => return Err(Malformed("the column is laid out for bytes, its values are none").into()),
        }
        Ok(())
    }
}
