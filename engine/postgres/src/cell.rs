//! One value in PostgreSQL's binary form: a 4-byte length and the body its type's `recv` function
//! reads; -1 for NULL. The same in `COPY` and in array parameters.

use engine_core::column::{Column, Vector};
use engine_core::logical::LogicalType;
use engine_core::temporal::{MICROS_PER_DAY, is_irregular};

use crate::numeric::{self, IntegerText, NumericFault};
use crate::pg_type::PgType;

/// Days and microseconds between 1970-01-01 and PostgreSQL's epoch, 2000-01-01.
const EPOCH_DAYS: i64 = 10_957;
const EPOCH_MICROS: i64 = EPOCH_DAYS * MICROS_PER_DAY;
/// `date` from 4714-11-24 BC up to, not including, 5874898-01-01, in days since 2000-01-01.
const DATE_RANGE: std::ops::Range<i64> = -2_451_545..2_145_031_949;
/// `timestamp` from 4714-11-24 BC up to, not including, 294277-01-01, in microseconds since 2000-01-01.
const TIMESTAMP_RANGE: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;
/// Longest value that a message of the protocol can carry, a little less than 1 GiB.
const MAX_VALUE: usize = 0x3fff_0000;

/// Why a value can't be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CellFault {
    /// No calendar has the date.
    Irregular,
    /// Beyond the least or greatest value of the type.
    OutOfRange,
    /// The type would round it.
    Inexact,
    /// Longer than the column allows.
    TooLong,
    /// Text with U+0000.
    Nul,
    /// Text of no characters, which the database can't tell from NULL.
    Empty,
    /// NULL in a column that allows none.
    Null,
    /// Not in the form that its logical type has.
    Malformed,
}

impl CellFault {
    /// The reason, for machines.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Irregular => "irregular-date",
            Self::OutOfRange => "out-of-range",
            Self::Inexact => "inexact",
            Self::TooLong => "too-long",
            Self::Nul => "nul",
            Self::Empty => "empty",
            Self::Null => "null",
            Self::Malformed => "malformed",
        }
    }

    /// The reason, as a clause.
    pub(crate) fn why(self) -> &'static str {
        match self {
            Self::Irregular => "no calendar has this date, and PostgreSQL stores none that isn't one",
            Self::OutOfRange => "the value is outside the range of the column's type",
            Self::Inexact => "the column's type would round the value",
            Self::TooLong => "the value is longer than the column allows",
            Self::Nul => "PostgreSQL's text types can't hold the character U+0000",
            Self::Empty => "an empty string is NULL in a database of compatibility A",
            Self::Null => "the column is NOT NULL",
            Self::Malformed => "the value does not have the form of its logical type",
        }
    }

    /// The setting that decides.
    pub(crate) fn help(self) -> &'static str {
        match self {
            Self::Irregular => {
                "decide in the plugin's configuration: zero_dates = \"null\", \"fail\", or a date such as \"1970-01-01\""
            }
            Self::Nul => {
                "decide in the plugin's configuration: strip_nul = true removes the character; or map the column to bytea"
            }
            Self::Empty => {
                "decide in the plugin's configuration: empty_strings = \"null\" makes them NULL; or migrate to a database of \
                 compatibility B or PG, which keeps them"
            }
            Self::OutOfRange | Self::Inexact | Self::TooLong => {
                "give the column a wider target type in the plugin's configuration"
            }
            Self::Null => {
                "let the plan make the column nullable, or give NULLs a value there; a zero date made NULL needs a nullable column"
            }
            Self::Malformed => {
                "this is a mistake of the source connector or of a plugin that writes the column"
            }
        }
    }
}

/// How values of one logical type become values of one column type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Bool,
    BoolInt2,
    BoolBit,
    Int2,
    Int4,
    Int8,
    IntNumeric(Option<(u16, i16)>),
    IntText,
    Float4,
    Float8,
    Numeric(Option<(u16, i16)>),
    /// Text of at most so many characters.
    Text(Option<u32>),
    /// Text whose trailing spaces don't count.
    Blank(Option<u32>),
    Jsonb,
    Bytes,
    Uuid,
    Date,
    DateTimestamp,
    /// Values are multiples of so many microseconds.
    Timestamp(i64),
    Time(i64),
    Interval(i64),
    /// Width in bits.
    Bit(u32),
    Float4Array,
    Float8Array,
    Vector,
    Geometry,
}

/// Writes the values of one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Encoder {
    rule: Rule,
    nullable: bool,
    /// Text must be searched for U+0000.
    is_text: bool,
    /// Text of no characters is refused.
    refuses_empty: bool,
}

impl Encoder {
    /// The encoder from `logical` to `to`; `None` when there is no exact way.
    pub(crate) fn new(logical: &LogicalType, to: &PgType, nullable: bool) -> Option<Self> {
        use LogicalType as L;
        let rule = match (logical, to) {
            (L::Boolean, PgType::Bool) => Rule::Bool,
            (L::Boolean, PgType::Int2) => Rule::BoolInt2,
            (L::Boolean, PgType::Bit(1)) => Rule::BoolBit,
            (L::Integer { .. }, PgType::Int2) => Rule::Int2,
            (L::Integer { .. }, PgType::Int4) => Rule::Int4,
            (L::Integer { .. }, PgType::Int8) => Rule::Int8,
            (L::Integer { .. }, PgType::Numeric(declared)) => Rule::IntNumeric(*declared),
            (L::Integer { .. }, PgType::Text | PgType::Varchar(None)) => Rule::IntText,
            (L::Float32 | L::Float64, PgType::Float4) => Rule::Float4,
            (L::Float32 | L::Float64, PgType::Float8) => Rule::Float8,
            (L::Decimal { .. }, PgType::Numeric(declared)) => Rule::Numeric(*declared),
            (
                L::Decimal { .. } | L::Text { .. } | L::Enumeration { .. } | L::Set { .. },
                PgType::Varchar(length),
            ) => Rule::Text(*length),
            (L::Text { .. } | L::Enumeration { .. } | L::Set { .. }, PgType::Bpchar(length)) => {
                Rule::Blank(*length)
            }
            (
                L::Decimal { .. } | L::Text { .. } | L::Enumeration { .. } | L::Set { .. } | L::Json,
                PgType::Text,
            )
            | (L::Text { .. } | L::Enumeration { .. }, PgType::Enum(_))
            | (L::Json | L::Text { .. }, PgType::Json)
            | (L::Text { .. }, PgType::Xml) => Rule::Text(None),
            (L::Json | L::Text { .. }, PgType::Jsonb) => Rule::Jsonb,
            (L::Bytes { .. } | L::Bit { .. } | L::Uuid | L::Other(_), PgType::Bytea) => Rule::Bytes,
            (L::Uuid | L::Bytes { max_bytes: Some(16), fixed: true }, PgType::Uuid) => Rule::Uuid,
            (L::Date, PgType::Date) => Rule::Date,
            (L::Date, PgType::Timestamp(_)) => Rule::DateTimestamp,
            (L::Timestamp { .. }, PgType::Timestamp(digits) | PgType::TimestampTz(digits)) => {
                Rule::Timestamp(unit(*digits))
            }
            (L::Time { .. }, PgType::Time(digits)) => Rule::Time(unit(*digits)),
            (L::Time { .. }, PgType::Interval(digits)) => Rule::Interval(unit(*digits)),
            (L::Bit { width }, PgType::Bit(bits)) if width == bits => Rule::Bit(*width),
            (L::Bit { width }, PgType::Varbit(bits)) if bits.is_none_or(|bits| bits >= *width) => {
                Rule::Bit(*width)
            }
            (L::Other(name), PgType::Float4Array) if name == "vector" => Rule::Float4Array,
            (L::Other(name), PgType::Float8Array) if name == "vector" => Rule::Float8Array,
            (L::Other(name), PgType::Vector) if name == "vector" => Rule::Vector,
            (L::Other(_) | L::Bytes { .. }, PgType::Geometry) => Rule::Geometry,
            _ => return None,
        };
        let is_text = matches!(rule, Rule::Text(_) | Rule::Blank(_) | Rule::Jsonb);
        Some(Self { rule, nullable, is_text, refuses_empty: false })
    }

    /// One that refuses text of no characters, for a database that can't tell it from NULL. `char(n)` has none: there
    /// it is a text of spaces.
    pub(crate) fn without_empty_text(self) -> Self {
        let refuses_empty = matches!(self.rule, Rule::Text(_));
        Self { refuses_empty, ..self }
    }

    /// The first row at fault, for what is cheaper to look for in the whole column: U+0000, and
    /// NULLs in a column that allows none.
    pub(crate) fn check(&self, column: &Column, rows: usize) -> Result<(), (usize, CellFault)> {
        if !self.nullable
            && let Some(validity) = &column.validity
            && !validity.all()
        {
            let row = (0..rows).find(|&row| column.is_null(row)).unwrap_or_default();
            return Err((row, CellFault::Null));
        }
        if self.is_text
            && let Vector::Varlen(values) = &column.values
            && let Some(offset) = memchr::memchr(0, &values.data)
        {
            let row = values.offsets.partition_point(|&start| start as usize <= offset).saturating_sub(1);
            return Err((row, CellFault::Nul));
        }
        Ok(())
    }

    /// Why the value of `row` can't be written, if it can't; `scratch` is written over.
    pub(crate) fn fault_of(&self, column: &Column, row: usize, scratch: &mut Vec<u8>) -> Option<CellFault> {
        if column.is_null(row) {
            return (!self.nullable).then_some(CellFault::Null);
        }
        if self.is_text
            && let Vector::Varlen(values) = &column.values
            && memchr::memchr(0, values.get(row)).is_some()
        {
            return Some(CellFault::Nul);
        }
        scratch.clear();
        self.encode(column, row, scratch).err()
    }

    /// Appends length and body of one value. On a fault `out` holds a part of it.
    #[inline]
    pub(crate) fn encode(&self, column: &Column, row: usize, out: &mut Vec<u8>) -> Result<(), CellFault> {
        if column.is_null(row) {
            out.extend_from_slice(&(-1i32).to_be_bytes());
            return Ok(());
        }
        match &column.values {
            Vector::I64(values) => {
                self.encode_signed(values.get(row).copied().ok_or(CellFault::Malformed)?, out)
            }
            Vector::U64(values) => {
                self.encode_unsigned(values.get(row).copied().ok_or(CellFault::Malformed)?, out)
            }
            Vector::F64(values) => {
                self.encode_float(values.get(row).copied().ok_or(CellFault::Malformed)?, out)
            }
            Vector::Varlen(values) => self.encode_bytes(values.get(row), out),
            Vector::Bits(values) => match self.rule {
                Rule::Bool => {
                    fixed(out, [u8::from(values.get(row))]);
                    Ok(())
                }
                Rule::BoolInt2 => {
                    fixed(out, i16::from(values.get(row)).to_be_bytes());
                    Ok(())
                }
                Rule::BoolBit => {
                    fixed(out, [0, 0, 0, 1, u8::from(values.get(row)) << 7]);
                    Ok(())
                }
                _ => Err(CellFault::Malformed),
            },
        }
    }

    fn encode_signed(&self, value: i64, out: &mut Vec<u8>) -> Result<(), CellFault> {
        let irregular =
            |value| if is_irregular(value) { CellFault::Irregular } else { CellFault::OutOfRange };
        match self.rule {
            Rule::Int2 => fixed(out, i16::try_from(value).map_err(|_| CellFault::OutOfRange)?.to_be_bytes()),
            Rule::Int4 => fixed(out, i32::try_from(value).map_err(|_| CellFault::OutOfRange)?.to_be_bytes()),
            Rule::Int8 => fixed(out, value.to_be_bytes()),
            Rule::IntNumeric(declared) => {
                return numeric_body(IntegerText::from(value).as_bytes(), declared, out);
            }
            Rule::IntText => sized(out, IntegerText::from(value).as_bytes()),
            Rule::Date => {
                let days = value.saturating_sub(EPOCH_DAYS);
                if is_irregular(value) || !DATE_RANGE.contains(&days) {
                    return Err(irregular(value));
                }
                fixed(out, (days as i32).to_be_bytes());
            }
            Rule::DateTimestamp => {
                let micros = value.saturating_sub(EPOCH_DAYS).saturating_mul(MICROS_PER_DAY);
                if is_irregular(value) || !TIMESTAMP_RANGE.contains(&micros) {
                    return Err(irregular(value));
                }
                fixed(out, micros.to_be_bytes());
            }
            Rule::Timestamp(unit) => {
                let micros = value.saturating_sub(EPOCH_MICROS);
                if is_irregular(value) || !TIMESTAMP_RANGE.contains(&micros) {
                    return Err(irregular(value));
                }
                if unit != 1 && value % unit != 0 {
                    return Err(CellFault::Inexact);
                }
                fixed(out, micros.to_be_bytes());
            }
            Rule::Time(unit) => {
                if !(0..=MICROS_PER_DAY).contains(&value) {
                    return Err(CellFault::OutOfRange);
                }
                if unit != 1 && value % unit != 0 {
                    return Err(CellFault::Inexact);
                }
                fixed(out, value.to_be_bytes());
            }
            Rule::Interval(unit) => {
                if unit != 1 && value % unit != 0 {
                    return Err(CellFault::Inexact);
                }
                // Microseconds alone; days and months, which an interval keeps apart, stay 0.
                let mut body = [0u8; 16];
                body[..8].copy_from_slice(&value.to_be_bytes());
                fixed(out, body);
            }
            _ => return Err(CellFault::Malformed),
        }
        Ok(())
    }

    fn encode_unsigned(&self, value: u64, out: &mut Vec<u8>) -> Result<(), CellFault> {
        match self.rule {
            Rule::Int2 | Rule::Int4 | Rule::Int8 => {
                self.encode_signed(i64::try_from(value).map_err(|_| CellFault::OutOfRange)?, out)
            }
            Rule::IntNumeric(declared) => numeric_body(IntegerText::from(value).as_bytes(), declared, out),
            Rule::IntText => {
                sized(out, IntegerText::from(value).as_bytes());
                Ok(())
            }
            _ => Err(CellFault::Malformed),
        }
    }

    fn encode_float(&self, value: f64, out: &mut Vec<u8>) -> Result<(), CellFault> {
        match self.rule {
            Rule::Float4 => {
                let narrow = value as f32;
                if !value.is_nan() && f64::from(narrow).to_bits() != value.to_bits() {
                    return Err(if narrow.is_finite() { CellFault::Inexact } else { CellFault::OutOfRange });
                }
                fixed(out, narrow.to_be_bytes());
            }
            Rule::Float8 => fixed(out, value.to_be_bytes()),
            _ => return Err(CellFault::Malformed),
        }
        Ok(())
    }

    fn encode_bytes(&self, value: &[u8], out: &mut Vec<u8>) -> Result<(), CellFault> {
        if value.len() > MAX_VALUE {
            return Err(CellFault::TooLong);
        }
        if self.refuses_empty && value.is_empty() {
            return Err(CellFault::Empty);
        }
        match self.rule {
            Rule::Text(length) => {
                if length.is_some_and(|length| {
                    value.len() > length as usize && characters(value) > length as usize
                }) {
                    return Err(CellFault::TooLong);
                }
                sized(out, value);
            }
            Rule::Blank(length) => {
                if length.is_some_and(|length| {
                    value.len() > length as usize && characters(value) > length as usize
                }) {
                    let kept = value.trim_ascii_end();
                    if value[kept.len()..].iter().any(|&byte| byte != b' ')
                        || length.is_some_and(|length| characters(kept) > length as usize)
                    {
                        return Err(CellFault::TooLong);
                    }
                }
                sized(out, value);
            }
            Rule::Bytes => sized(out, value),
            Rule::Jsonb => {
                out.extend_from_slice(&(value.len() as i32 + 1).to_be_bytes());
                // The version of the binary form, of which there is one.
                out.push(1);
                out.extend_from_slice(value);
            }
            Rule::Numeric(declared) => return numeric_body(value, declared, out),
            Rule::Uuid => fixed::<16>(out, value.try_into().map_err(|_| CellFault::Malformed)?),
            Rule::Bit(width) => return bit_body(value, width, out),
            Rule::Float4Array | Rule::Float8Array | Rule::Vector => return self.float_array(value, out),
            Rule::Geometry => {
                // Byte order, type, and in the type's highest byte only flags. MySQL's own form has
                // the byte order 1 there instead, after the SRID.
                if value.len() < 5 || value[0] > 1 || (value[0] == 1 && value[4] == 1) {
                    return Err(CellFault::Malformed);
                }
                sized(out, value);
            }
            _ => return Err(CellFault::Malformed),
        }
        Ok(())
    }

    /// Little-endian 32-bit floats as an array or as a pgvector.
    fn float_array(&self, value: &[u8], out: &mut Vec<u8>) -> Result<(), CellFault> {
        const FLOAT4_OID: i32 = 700;
        const FLOAT8_OID: i32 = 701;
        let chunks = value.chunks_exact(4);
        if !chunks.remainder().is_empty() {
            return Err(CellFault::Malformed);
        }
        let count = i32::try_from(chunks.len()).map_err(|_| CellFault::TooLong)?;
        let floats = chunks.map(|bytes| {
            let mut array = [0u8; 4];
            array.copy_from_slice(bytes);
            f32::from_le_bytes(array)
        });
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        if self.rule == Rule::Vector {
            out.extend_from_slice(&u16::try_from(count).map_err(|_| CellFault::TooLong)?.to_be_bytes());
            out.extend_from_slice(&[0; 2]);
            floats.for_each(|float| out.extend_from_slice(&float.to_be_bytes()));
        } else {
            let (oid, wide) =
                if self.rule == Rule::Float8Array { (FLOAT8_OID, true) } else { (FLOAT4_OID, false) };
            // Dimensions, no NULLs, element type; per dimension its length and lower bound.
            let dimensions = i32::from(count > 0);
            for word in [dimensions, 0, oid] {
                out.extend_from_slice(&word.to_be_bytes());
            }
            if count > 0 {
                out.extend_from_slice(&count.to_be_bytes());
                out.extend_from_slice(&1i32.to_be_bytes());
            }
            for float in floats {
                if wide {
                    fixed(out, f64::from(float).to_be_bytes());
                } else {
                    fixed(out, float.to_be_bytes());
                }
            }
        }
        patch_length(out, start)
    }
}

/// Microseconds in the last of `digits` decimal places of a second.
fn unit(digits: u8) -> i64 {
    10i64.pow(6u32.saturating_sub(u32::from(digits)))
}

fn characters(text: &[u8]) -> usize {
    // Every byte but the continuation bytes of UTF-8 begins a character.
    text.iter().filter(|&&byte| byte & 0xC0 != 0x80).count()
}

#[inline]
fn fixed<const N: usize>(out: &mut Vec<u8>, body: [u8; N]) {
    out.extend_from_slice(&(N as i32).to_be_bytes());
    out.extend_from_slice(&body);
}

#[inline]
fn sized(out: &mut Vec<u8>, body: &[u8]) {
    out.extend_from_slice(&(body.len() as i32).to_be_bytes());
    out.extend_from_slice(body);
}

fn patch_length(out: &mut [u8], start: usize) -> Result<(), CellFault> {
    let length = i32::try_from(out.len() - start - 4).map_err(|_| CellFault::TooLong)?;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn numeric_body(text: &[u8], declared: Option<(u16, i16)>, out: &mut Vec<u8>) -> Result<(), CellFault> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    numeric::encode_text(text, declared, out).map_err(|fault| match fault {
        NumericFault::Malformed => CellFault::Malformed,
        NumericFault::TooLarge => CellFault::OutOfRange,
        NumericFault::TooPrecise => CellFault::Inexact,
    })?;
    patch_length(out, start)
}

/// A bit string: its length in bits, then the bits from the left. The value has them to the right.
fn bit_body(value: &[u8], width: u32, out: &mut Vec<u8>) -> Result<(), CellFault> {
    let length = width.div_ceil(8) as usize;
    let shift = (8 - width % 8) % 8;
    if value.len() != length || value.first().is_some_and(|&first| shift > 0 && first >> (8 - shift) != 0) {
        return Err(CellFault::Malformed);
    }
    out.extend_from_slice(&(length as i32 + 4).to_be_bytes());
    out.extend_from_slice(&width.to_be_bytes());
    for (index, &byte) in value.iter().enumerate() {
        let next = value.get(index + 1).copied().unwrap_or(0);
        let pair = u16::from_be_bytes([byte, next]) << shift;
        out.push((pair >> 8) as u8);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::column::Varlen;
    use engine_core::temporal::Fields;
    use postgres_protocol::types as oracle;
    use proptest::prelude::*;

    const INTEGER: LogicalType = LogicalType::Integer { bits: 64, signed: true };
    const TEXT: LogicalType =
        LogicalType::Text { max_chars: None, fixed: false, charset: None, collation: None };

    fn encode(logical: &LogicalType, to: &str, values: Vector) -> Result<Vec<u8>, CellFault> {
        let mut out = Vec::new();
        let encoder = Encoder::new(logical, &PgType::parse(to), true).expect("an encoder");
        encoder.encode(&Column::new(values), 0, &mut out)?;
        let length = i32::from_be_bytes([out[0], out[1], out[2], out[3]]);
        assert_eq!(length as usize, out.len() - 4);
        Ok(out.split_off(4))
    }

    fn varlen(value: &[u8]) -> Vector {
        let mut values = Varlen::default();
        values.push(value);
        Vector::Varlen(values)
    }

    #[test]
    fn integers_are_checked_against_the_column() {
        assert_eq!(encode(&INTEGER, "smallint", Vector::I64(vec![32_767])), Ok(vec![0x7f, 0xff]));
        assert_eq!(encode(&INTEGER, "smallint", Vector::I64(vec![32_768])), Err(CellFault::OutOfRange));
        assert_eq!(
            encode(&INTEGER, "integer", Vector::I64(vec![-2_147_483_649])),
            Err(CellFault::OutOfRange)
        );
        let unsigned = LogicalType::Integer { bits: 64, signed: false };
        assert_eq!(encode(&unsigned, "bigint", Vector::U64(vec![u64::MAX])), Err(CellFault::OutOfRange));
        let decimal = LogicalType::Decimal { precision: 20, scale: 0 };
        assert_eq!(
            encode(&unsigned, "numeric(20,0)", Vector::U64(vec![u64::MAX])),
            encode(&decimal, "numeric(20,0)", varlen(b"18446744073709551615"))
        );
    }

    #[test]
    fn dates_that_are_none_are_refused() {
        let zero = Fields { year: 0, month: 0, day: 0, micros: 0 };
        assert_eq!(
            encode(&LogicalType::Date, "date", Vector::I64(vec![zero.to_date()])),
            Err(CellFault::Irregular)
        );
        let timestamp = LogicalType::Timestamp { precision: 6, zoned: false };
        assert_eq!(
            encode(&timestamp, "timestamp", Vector::I64(vec![zero.to_timestamp()])),
            Err(CellFault::Irregular)
        );
        assert_eq!(
            encode(&timestamp, "timestamp", Vector::I64(vec![-8_000_000_000_000_000_000])),
            Err(CellFault::OutOfRange)
        );
        // 9999-12-31 23:59:59.999999 would become the year 10000.
        let last = Fields { year: 9999, month: 12, day: 31, micros: 86_399_999_999 };
        assert_eq!(
            encode(&timestamp, "timestamp(3)", Vector::I64(vec![last.to_timestamp()])),
            Err(CellFault::Inexact)
        );
    }

    #[test]
    fn bits_move_to_the_left() {
        let bit = |width| LogicalType::Bit { width };
        assert_eq!(encode(&bit(10), "bit(10)", varlen(&[0, 1])), Ok(vec![0, 0, 0, 10, 0, 0b0100_0000]));
        assert_eq!(encode(&bit(1), "bit(1)", varlen(&[1])), Ok(vec![0, 0, 0, 1, 0x80]));
        assert_eq!(
            encode(&bit(64), "bit(64)", varlen(&[0xff; 8])).map(|bytes| bytes[4..].to_vec()),
            Ok(vec![0xff; 8])
        );
        assert_eq!(encode(&bit(10), "bit(10)", varlen(&[4, 1])), Err(CellFault::Malformed));
        assert!(Encoder::new(&bit(10), &PgType::Bit(9), true).is_none());
    }

    #[test]
    fn text_is_measured_in_characters() {
        assert_eq!(encode(&TEXT, "varchar(2)", varlen("éé".as_bytes())), Ok("éé".as_bytes().to_vec()));
        // The server would drop the space.
        assert_eq!(encode(&TEXT, "varchar(2)", varlen(b"ab ")), Err(CellFault::TooLong));
        assert_eq!(encode(&TEXT, "char(2)", varlen(b"ab ")), Ok(b"ab ".to_vec()));
        assert_eq!(encode(&TEXT, "char(2)", varlen(b"abc")), Err(CellFault::TooLong));
    }

    #[test]
    fn finds_the_row_with_a_nul_among_empty_ones() {
        let mut values = Varlen::default();
        for value in [&b""[..], b"a", b"", b"b\0", b""] {
            values.push(value);
        }
        let encoder = Encoder::new(&TEXT, &PgType::Text, true).expect("an encoder");
        assert_eq!(encoder.check(&Column::new(Vector::Varlen(values)), 5), Err((3, CellFault::Nul)));
    }

    #[test]
    fn vectors_become_arrays() {
        let floats: Vec<u8> = [1f32, 2.0, -0.5].iter().flat_map(|float| float.to_le_bytes()).collect();
        let body = encode(&LogicalType::Other("vector".into()), "real[]", varlen(&floats)).expect("an array");
        let array = oracle::array_from_sql(&body).expect("an array");
        assert_eq!(array.element_type(), 700);
        let pgvector =
            encode(&LogicalType::Other("vector".into()), "vector", varlen(&floats)).expect("a vector");
        assert_eq!(pgvector[..4], [0, 3, 0, 0]);
    }

    #[test]
    fn floats_never_lose_bits() {
        assert_eq!(encode(&LogicalType::Float64, "real", Vector::F64(vec![0.1])), Err(CellFault::Inexact));
        assert_eq!(
            encode(&LogicalType::Float64, "real", Vector::F64(vec![1e300])),
            Err(CellFault::OutOfRange)
        );
        let widened = f64::from(0.1f32);
        assert_eq!(
            encode(&LogicalType::Float32, "real", Vector::F64(vec![widened])),
            Ok(0.1f32.to_be_bytes().to_vec())
        );
        assert_eq!(
            encode(&LogicalType::Float64, "double precision", Vector::F64(vec![-0.0])),
            Ok((-0.0f64).to_be_bytes().to_vec())
        );
    }

    proptest! {
        #[test]
        fn dates_and_times_are_read_back(days in -719_162i64..=2_932_896, micros in -3_020_399_999_999i64..=3_020_399_999_999) {
            let date = encode(&LogicalType::Date, "date", Vector::I64(vec![days])).expect("a date");
            prop_assert_eq!(i64::from(oracle::date_from_sql(&date).expect("a date")) + 10_957, days);
            let instant = days * MICROS_PER_DAY + micros.rem_euclid(MICROS_PER_DAY);
            let timestamp = LogicalType::Timestamp { precision: 6, zoned: true };
            let bytes = encode(&timestamp, "timestamptz", Vector::I64(vec![instant])).expect("a timestamp");
            prop_assert_eq!(oracle::timestamp_from_sql(&bytes).expect("a timestamp") + EPOCH_MICROS, instant);
            let interval = encode(&LogicalType::Time { precision: 6 }, "interval", Vector::I64(vec![micros])).expect("an interval");
            prop_assert_eq!(&interval[..8], &micros.to_be_bytes());
            prop_assert_eq!(&interval[8..], &[0u8; 8]);
        }

        #[test]
        fn bit_strings_are_read_back(value: u64, width in 1u32..=64) {
            let value = value & (u64::MAX >> (64 - width));
            let bytes = &value.to_be_bytes()[8 - width.div_ceil(8) as usize..];
            let to = format!("bit({width})");
            let body = encode(&LogicalType::Bit { width }, &to, varlen(bytes)).expect("a bit string");
            let read = oracle::varbit_from_sql(&body).expect("a bit string");
            prop_assert_eq!(read.len(), width as usize);
            let text = (0..read.len()).map(|bit| if read.bytes()[bit / 8] >> (7 - bit % 8) & 1 == 1 { '1' } else { '0' });
            prop_assert_eq!(text.collect::<String>(), format!("{value:0width$b}", width = width as usize));
        }
    }
}
