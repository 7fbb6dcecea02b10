//! One value of a column vector as a literal of MySQL's SQL.
//!
//! Whatever the server would change without saying so is refused here: it rounds fractions of a
//! second and the digits of `FLOAT(M,D)`, reads a year of two digits as one of four, pads BINARY,
//! takes trailing spaces off CHAR, and finds labels by their collation. For what it does tell of,
//! see [`super::session`].

use engine_core::column::{Column, Vector};
use engine_core::logical::LogicalType;
use engine_core::temporal::{FOUR_DIGIT_DAYS, Fields, MICROS_PER_DAY, is_irregular};
use std::collections::HashMap;
use std::io::Write as _;
use std::sync::Arc;

use super::column_type::ColumnType;
use super::json;
use super::literal;
use crate::server::Flavor;

/// The longest time, 838:59:59, in microseconds.
const LONGEST_TIME: u64 = ((838 * 60 + 59) * 60 + 59) * 1_000_000;

/// Why a value has no representation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CellFault {
    Null,
    OutOfRange,
    TooPrecise,
    TooLong,
    TrailingSpace,
    WrongLength,
    UnknownLabel,
    NotFinite,
    NotANumber,
    JsonNumber,
    NoJson,
    WrongKind,
}

impl CellFault {
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::OutOfRange => "out-of-range",
            Self::TooPrecise => "too-precise",
            Self::TooLong => "too-long",
            Self::TrailingSpace => "trailing-space",
            Self::WrongLength => "wrong-length",
            Self::UnknownLabel => "unknown-label",
            Self::NotFinite => "not-finite",
            Self::NotANumber => "not-a-number",
            Self::JsonNumber => "json-number",
            Self::NoJson => "no-json",
            Self::WrongKind => "wrong-kind",
        }
    }

    pub(super) fn why(self) -> &'static str {
        match self {
            Self::Null => "the column does not allow NULL",
            Self::OutOfRange => "it lies outside the range of the type",
            Self::TooPrecise => "the type has fewer digits than it, and the server would round it",
            Self::TooLong => "it is longer than the type",
            Self::TrailingSpace => "the type takes spaces off its end",
            Self::WrongLength => "the type has another length, and the server would pad it",
            Self::UnknownLabel => "it is none of the labels of the type",
            Self::NotFinite => "the type has no infinity and no NaN",
            Self::NotANumber => "it is no decimal number",
            Self::JsonNumber => "it holds a number that MySQL's JSON would round",
            Self::NoJson => "it is no JSON text",
            Self::WrongKind => "its vector is not of the column's type",
        }
    }

    pub(super) fn help(self) -> &'static str {
        match self {
            Self::Null => {
                "allow NULL for the column, or give NULL a value, in the plugin's configuration; on a way back, let the \
                 column be NULL, or change the value where it was written"
            }
            Self::WrongKind => "report the plugin, which answered another type than it planned",
            Self::JsonNumber | Self::NoJson => "choose longtext for the column in the plugin's configuration",
            _ => {
                "choose a type that holds it in the plugin's configuration; on a way back, give the column such a type, or \
                 change the value where it was written"
            }
        }
    }
}

/// The places of labels.
type Labels = Arc<HashMap<Vec<u8>, u32>>;

/// How the values of a column are written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Encoder {
    Boolean,
    Signed,
    Unsigned,
    Year,
    Decimal {
        scale: u32,
    },
    Float {
        digits: Option<u32>,
    },
    Double {
        digits: Option<u32>,
    },
    /// Big-endian bytes of at most 64 bits as a number.
    Bits,
    Text {
        limit: Option<u32>,
        fixed: bool,
    },
    Json {
        parsed: bool,
    },
    Bytes {
        exactly: Option<u32>,
    },
    Uuid,
    Date {
        with_clock: bool,
    },
    Datetime {
        precision: u32,
    },
    Time {
        precision: u32,
    },
    /// By its place, so that no collation and no character set has a say.
    Label(Labels),
    Labels(Labels),
}

impl Encoder {
    /// The way from values of a logical type into a column; `None` when there is no exact one.
    pub(super) fn new(logical: &LogicalType, column_type: &ColumnType, flavor: Flavor) -> Option<Self> {
        use ColumnType as C;
        use LogicalType as L;
        let text_type = |encoder: fn(Option<u32>, bool) -> Self| match column_type {
            C::Char { length } => Some(encoder(Some(*length), true)),
            C::Varchar { length } => Some(encoder(Some(*length), false)),
            C::Text => Some(encoder(None, false)),
            _ => None,
        };
        let places = |labels: &[String]| -> Labels {
            // From the last to the first, so that of equal labels the first place stands.
            let numbered = labels.iter().enumerate().rev();
            Arc::new(numbered.map(|(place, label)| (label.clone().into_bytes(), place as u32 + 1)).collect())
        };
        Some(match (logical, column_type) {
            (L::Boolean, C::Integer | C::Bit | C::Decimal { .. }) => Self::Boolean,
            (L::Integer { .. }, C::Year) => Self::Year,
            (L::Integer { signed: true, .. }, C::Integer | C::Decimal { .. })
            | (L::Integer { bits: ..=32, signed: true }, C::Double { digits: None }) => Self::Signed,
            (L::Integer { signed: false, .. }, C::Integer | C::Decimal { .. } | C::Bit)
            | (L::Integer { bits: ..=32, signed: false }, C::Double { digits: None }) => Self::Unsigned,
            (L::Decimal { .. }, C::Decimal { scale }) => Self::Decimal { scale: *scale },
            (L::Decimal { scale: ..=0, .. }, C::Integer) => Self::Decimal { scale: 0 },
            (L::Float32 | L::Float64, C::Float { digits }) => Self::Float { digits: *digits },
            (L::Float32 | L::Float64, C::Double { digits }) => Self::Double { digits: *digits },
            (L::Bit { width: ..=64 }, C::Bit) => Self::Bits,
            (L::Enumeration { .. } | L::Text { .. }, C::Enumeration { labels }) => {
                Self::Label(places(labels))
            }
            (L::Set { .. } | L::Text { .. }, C::Set { labels }) if labels.len() <= 64 => {
                Self::Labels(places(labels))
            }
            (L::Json, C::Json) => Self::Json { parsed: flavor == Flavor::MySql },
            (L::Text { .. } | L::Enumeration { .. } | L::Set { .. } | L::Json, _) => match column_type {
                C::Address => Self::Text { limit: None, fixed: false },
                _ => return text_type(|limit, fixed| Self::Text { limit, fixed }),
            },
            (L::Bytes { .. }, C::Binary { length }) => Self::Bytes { exactly: Some(*length) },
            (L::Bytes { .. } | L::Uuid | L::Other(_), C::Blob) => Self::Bytes { exactly: None },
            (L::Uuid, C::Binary { length: 16 }) => Self::Bytes { exactly: Some(16) },
            (L::Uuid, C::Uuid | C::Text | C::Char { length: 36.. } | C::Varchar { length: 36.. }) => {
                Self::Uuid
            }
            (L::Date, C::Date) => Self::Date { with_clock: false },
            (L::Date, C::Datetime { .. }) => Self::Date { with_clock: true },
            (L::Timestamp { .. }, C::Datetime { precision })
            | (L::Timestamp { zoned: true, .. }, C::Timestamp { precision }) => {
                Self::Datetime { precision: *precision }
            }
            (L::Time { .. }, C::Time { precision }) => Self::Time { precision: *precision },
            (L::Other(name), C::Geometry | C::Vector)
                if name == if *column_type == C::Vector { "vector" } else { "geometry" } =>
            {
                Self::Bytes { exactly: None }
            }
            _ => return None,
        })
    }

    /// Whether a value stands for no label at all, MySQL's invalid index 0, which a strict session
    /// refuses to write.
    pub(super) fn is_no_label(&self, column: &Column, row: usize) -> bool {
        match (self, &column.values) {
            (Self::Label(places), Vector::Varlen(values)) => {
                !column.is_null(row) && values.get(row).is_empty() && !places.contains_key(&[][..])
            }
            _ => false,
        }
    }

    /// Appends the literal of a value that is not NULL.
    pub(super) fn write(&self, column: &Column, row: usize, out: &mut Vec<u8>) -> Result<(), CellFault> {
        match (self, &column.values) {
            (Self::Boolean, Vector::Bits(bits)) => out.push(if bits.get(row) { b'1' } else { b'0' }),
            (Self::Signed, Vector::I64(values)) => literal::integer(at(values, row), out),
            (Self::Unsigned, Vector::U64(values)) => literal::unsigned(at(values, row), out),
            (Self::Year, Vector::I64(values)) => year(at(values, row), out)?,
            (Self::Year, Vector::U64(values)) => {
                year(i64::try_from(at(values, row)).map_err(|_| CellFault::OutOfRange)?, out)?;
            }
            (Self::Decimal { scale }, Vector::Varlen(values)) => decimal(values.get(row), *scale, out)?,
            (Self::Float { digits }, Vector::F64(values)) => {
                let value = at(values, row);
                if !value.is_finite() {
                    return Err(CellFault::NotFinite);
                }
                if f64::from(value as f32).to_bits() != value.to_bits() {
                    return Err(CellFault::TooPrecise);
                }
                #[expect(clippy::float_cmp, reason = "whether the server's rounding changes the value")]
                if rounded(value, *digits) as f32 != value as f32 {
                    return Err(CellFault::TooPrecise);
                }
                literal::float(value, out);
            }
            (Self::Double { digits }, Vector::F64(values)) => {
                let value = at(values, row);
                if !value.is_finite() {
                    return Err(CellFault::NotFinite);
                }
                #[expect(clippy::float_cmp, reason = "whether the server's rounding changes the value")]
                if rounded(value, *digits) != value {
                    return Err(CellFault::TooPrecise);
                }
                literal::float(value, out);
            }
            (Self::Bits, Vector::Varlen(values)) => {
                let bytes = values.get(row);
                let value = bytes.iter().fold(0_u64, |value, &byte| value << 8 | u64::from(byte));
                literal::unsigned(value, out);
            }
            (Self::Text { limit, fixed }, Vector::Varlen(values)) => {
                let text = values.get(row);
                if let Some(limit) = limit
                    && text.len() > *limit as usize
                    && characters(text) > *limit as usize
                {
                    return Err(CellFault::TooLong);
                }
                if *fixed && text.last() == Some(&b' ') {
                    return Err(CellFault::TrailingSpace);
                }
                literal::quoted(text, out);
            }
            (Self::Json { parsed }, Vector::Varlen(values)) => {
                if *parsed {
                    json::write(values.get(row), out)?;
                } else {
                    literal::quoted(values.get(row), out);
                }
            }
            (Self::Bytes { exactly }, Vector::Varlen(values)) => {
                let bytes = values.get(row);
                if exactly.is_some_and(|length| bytes.len() != length as usize) {
                    return Err(CellFault::WrongLength);
                }
                literal::binary(bytes, out);
            }
            (Self::Uuid, Vector::Varlen(values)) => uuid(values.get(row), out)?,
            (Self::Date { with_clock }, Vector::I64(values)) => {
                let value = at(values, row);
                if !is_irregular(value) && !FOUR_DIGIT_DAYS.contains(&value) {
                    return Err(CellFault::OutOfRange);
                }
                let Fields { year, month, day, .. } = Fields::from_date(value);
                let _ = write!(out, "'{year:04}-{month:02}-{day:02}");
                out.extend_from_slice(if *with_clock { b" 00:00:00'" } else { b"'" });
            }
            (Self::Datetime { precision }, Vector::I64(values)) => {
                let value = at(values, row);
                if !is_irregular(value) && !FOUR_DIGIT_DAYS.contains(&value.div_euclid(MICROS_PER_DAY)) {
                    return Err(CellFault::OutOfRange);
                }
                let Fields { year, month, day, micros } = Fields::from_timestamp(value);
                let _ = write!(out, "'{year:04}-{month:02}-{day:02} ");
                clock(micros, *precision, out)?;
            }
            (Self::Time { precision }, Vector::I64(values)) => {
                let value = at(values, row);
                if value.unsigned_abs() > LONGEST_TIME {
                    return Err(CellFault::OutOfRange);
                }
                out.extend_from_slice(if value < 0 { b"'-" } else { b"'" });
                clock(value.unsigned_abs(), *precision, out)?;
            }
            (Self::Label(places), Vector::Varlen(values)) => {
                let label = values.get(row);
                let place = match places.get(label) {
                    Some(place) => *place,
                    None if label.is_empty() => 0,
                    None => return Err(CellFault::UnknownLabel),
                };
                literal::unsigned(place.into(), out);
            }
            (Self::Labels(places), Vector::Varlen(values)) => {
                let mut set = 0_u64;
                for label in values.get(row).split(|&byte| byte == b',') {
                    match places.get(label) {
                        Some(place) => set |= 1 << (place - 1),
                        None if values.get(row).is_empty() => {}
                        None => return Err(CellFault::UnknownLabel),
                    }
                }
                literal::unsigned(set, out);
            }
            _ => return Err(CellFault::WrongKind),
        }
        Ok(())
    }
}

fn at<T: Copy + Default>(values: &[T], row: usize) -> T {
    values.get(row).copied().unwrap_or_default()
}

fn characters(text: &[u8]) -> usize {
    text.iter().filter(|&&byte| byte & 0xc0 != 0x80).count()
}

fn year(value: i64, out: &mut Vec<u8>) -> Result<(), CellFault> {
    if value != 0 && !(1901..=2155).contains(&value) {
        return Err(CellFault::OutOfRange);
    }
    literal::integer(value, out);
    Ok(())
}

fn decimal(text: &[u8], scale: u32, out: &mut Vec<u8>) -> Result<(), CellFault> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let mut parts = digits.splitn(2, |&byte| byte == b'.');
    let (whole, fraction) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if whole.is_empty() || !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        return Err(CellFault::NotANumber);
    }
    let significant = fraction.iter().rposition(|&digit| digit != b'0').map_or(0, |last| last + 1);
    if significant > scale as usize {
        return Err(CellFault::TooPrecise);
    }
    out.extend_from_slice(text);
    Ok(())
}

/// A number as `FLOAT(M,D)` and `DOUBLE(M,D)` round it.
fn rounded(value: f64, digits: Option<u32>) -> f64 {
    match digits {
        Some(digits) => {
            let factor = 10_f64.powi(digits as i32);
            let (whole, fraction) = (value.trunc(), value.fract());
            whole + (fraction * factor).round_ties_even() / factor
        }
        None => value,
    }
}

fn uuid(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), CellFault> {
    if bytes.len() != 16 {
        return Err(CellFault::WrongLength);
    }
    out.push(b'\'');
    for (place, byte) in bytes.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        let _ = write!(out, "{byte:02x}");
    }
    out.push(b'\'');
    Ok(())
}

/// Hours to fraction, and the closing quote.
fn clock(micros: u64, precision: u32, out: &mut Vec<u8>) -> Result<(), CellFault> {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    if fraction % 10_u64.pow(6_u32.saturating_sub(precision)) != 0 {
        return Err(CellFault::TooPrecise);
    }
    let _ = write!(out, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction != 0 {
        let _ = write!(out, ".{fraction:06}");
    }
    out.push(b'\'');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::column_type::Declared;
    use super::*;
    use engine_core::column::Varlen;
    use engine_core::temporal::{INFINITY, NEGATIVE_INFINITY};

    fn written(logical: &LogicalType, target: &str, values: Vector) -> Result<String, CellFault> {
        let encoder = Encoder::new(logical, &Declared::parse(target).column_type, Flavor::MySql)
            .expect("an exact conversion");
        let mut out = Vec::new();
        encoder.write(&Column::new(values), 0, &mut out)?;
        Ok(String::from_utf8(out).expect("these are text"))
    }

    fn bytes(value: &[u8]) -> Vector {
        let mut values = Varlen::default();
        values.push(value);
        Vector::Varlen(values)
    }

    fn text() -> LogicalType {
        LogicalType::Text { max_chars: None, fixed: false, charset: None, collation: None }
    }

    #[test]
    fn what_the_server_would_change_in_silence_is_refused() {
        let stamp = LogicalType::Timestamp { precision: 6, zoned: false };
        let of = |target: &str, micros| written(&stamp, target, Vector::I64(vec![micros]));
        assert_eq!(of("datetime(3)", 1_500_000).as_deref(), Ok("'1970-01-01 00:00:01.500000'"));
        assert_eq!(of("datetime(3)", 1_500_001), Err(CellFault::TooPrecise));
        let year = LogicalType::Integer { bits: 16, signed: true };
        assert_eq!(written(&year, "year", Vector::I64(vec![70])), Err(CellFault::OutOfRange));
        assert_eq!(written(&year, "year", Vector::I64(vec![0])).as_deref(), Ok("0"));
        assert_eq!(written(&text(), "char(5)", bytes(b"a ")), Err(CellFault::TrailingSpace));
        assert_eq!(written(&text(), "varchar(2)", bytes(b"a  ")), Err(CellFault::TooLong));
        assert_eq!(written(&text(), "varchar(2)", bytes("éé".as_bytes())).as_deref(), Ok("'éé'"));
        let raw = LogicalType::Bytes { max_bytes: None, fixed: false };
        assert_eq!(written(&raw, "binary(3)", bytes(b"a")), Err(CellFault::WrongLength));
        let number = LogicalType::Decimal { precision: 10, scale: 4 };
        assert_eq!(written(&number, "decimal(10,2)", bytes(b"1.2500")).as_deref(), Ok("1.2500"));
        assert_eq!(written(&number, "decimal(10,2)", bytes(b"1.2510")), Err(CellFault::TooPrecise));
        let float = |value| written(&LogicalType::Float64, "float", Vector::F64(vec![value]));
        assert_eq!(float(0.1), Err(CellFault::TooPrecise));
        assert_eq!(float(f64::from(0.1_f32)).as_deref(), Ok("1.0000000149011612e-1"));
        let fixed = |value| written(&LogicalType::Float64, "double(7,2)", Vector::F64(vec![value]));
        assert_eq!(fixed(1.25).as_deref(), Ok("1.25e0"));
        assert_eq!(fixed(1.251), Err(CellFault::TooPrecise));
    }

    #[test]
    fn labels_are_written_by_their_place() {
        let labels = LogicalType::Enumeration { labels: vec!["a".into(), "A".into()] };
        let of = |value: &[u8]| written(&labels, "enum('a','A')", bytes(value));
        assert_eq!((of(b"A").as_deref(), of(b"").as_deref()), (Ok("2"), Ok("0")));
        assert_eq!(of(b"b"), Err(CellFault::UnknownLabel));
        let set = LogicalType::Set { labels: Vec::new() };
        let of = |value: &[u8]| written(&set, "set('x','y','z')", bytes(value));
        assert_eq!((of(b"x,z").as_deref(), of(b"").as_deref()), (Ok("5"), Ok("0")));
        assert_eq!(of(b"x,q"), Err(CellFault::UnknownLabel));
    }

    #[test]
    fn dates_that_are_none_and_times_beyond_a_day() {
        let odd = Fields { year: 2024, month: 2, day: 31, micros: 0 };
        let date = written(&LogicalType::Date, "date", Vector::I64(vec![odd.to_date()]));
        assert_eq!(date.as_deref(), Ok("'2024-02-31'"));
        for far in [INFINITY, NEGATIVE_INFINITY, -719_163, 2_932_897] {
            let date = written(&LogicalType::Date, "date", Vector::I64(vec![far]));
            assert_eq!(date, Err(CellFault::OutOfRange));
        }
        let stamp = LogicalType::Timestamp { precision: 6, zoned: true };
        for far in [INFINITY, NEGATIVE_INFINITY] {
            for target in ["datetime(6)", "timestamp(6)"] {
                assert_eq!(written(&stamp, target, Vector::I64(vec![far])), Err(CellFault::OutOfRange));
            }
        }
        let time = LogicalType::Time { precision: 6 };
        let of = |micros| written(&time, "time(6)", Vector::I64(vec![micros]));
        assert_eq!(of(-(LONGEST_TIME as i64)).as_deref(), Ok("'-838:59:59'"));
        assert_eq!(of(-500_000).as_deref(), Ok("'-00:00:00.500000'"));
        assert_eq!(of(LONGEST_TIME as i64 + 1), Err(CellFault::OutOfRange));
    }

    #[test]
    fn no_conversion_that_is_not_exact() {
        let none = |logical: &LogicalType, target: &str| {
            Encoder::new(logical, &Declared::parse(target).column_type, Flavor::MySql).is_none()
        };
        assert!(none(&LogicalType::Float64, "decimal(10,2)"));
        assert!(none(&LogicalType::Decimal { precision: 5, scale: 2 }, "int"));
        assert!(none(&LogicalType::Integer { bits: 64, signed: true }, "double"));
        assert!(none(&LogicalType::Bytes { max_bytes: None, fixed: false }, "text"));
        assert!(none(&LogicalType::Timestamp { precision: 0, zoned: false }, "timestamp"));
    }
}
