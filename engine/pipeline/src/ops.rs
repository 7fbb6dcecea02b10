//! Native operations: conversions that run over a whole column.

mod text_form;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::ops::RangeInclusive;

use engine_core::bitmap::Bitmap;
use engine_core::column::{Column, Varlen, Vector};
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::logical::LogicalType;
use engine_core::plan::{NativeOp, Scalar};
use engine_core::temporal;

/// A row that an operation could not convert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpFailure {
    /// Row in the batch.
    pub row: usize,
    /// Why, with the value.
    pub reason: String,
}

/// The type of a column after `op`, or why the operation makes no sense on `logical`.
pub fn result_type(op: &NativeOp, logical: &LogicalType) -> Result<LogicalType> {
    let text = || LogicalType::Text { max_chars: None, fixed: false, charset: None, collation: None };
    let refuse = |wants: &str| {
        Err(Error::new(ErrorKind::Plugin, format!("the operation {op:?} needs {wants}, not {logical:?}")))
    };
    match op {
        NativeOp::StripNul
        | NativeOp::TrimEnd
        | NativeOp::Lowercase
        | NativeOp::Uppercase
        | NativeOp::TruncateChars(_) => match logical {
            logical if logical.is_text() => Ok(logical.clone()),
            _ => refuse("a text column"),
        },
        NativeOp::EmptyToNull => match logical {
            LogicalType::Bytes { .. } => Ok(logical.clone()),
            logical if logical.is_text() => Ok(logical.clone()),
            _ => refuse("a text or binary column"),
        },
        NativeOp::NullTo(value) => constant(value, logical, 1).map(|_| logical.clone()).ok_or_else(|| {
            Error::new(ErrorKind::Plugin, format!("{value:?} is no value of a {logical:?} column"))
        }),
        NativeOp::IrregularDateToNull | NativeOp::IrregularDateTo(_) => match logical {
            LogicalType::Date | LogicalType::Timestamp { .. } => Ok(logical.clone()),
            _ => refuse("a date or timestamp column"),
        },
        NativeOp::ShiftSeconds(_) => match logical {
            LogicalType::Timestamp { .. } => Ok(logical.clone()),
            _ => refuse("a timestamp column"),
        },
        NativeOp::IntegerToBoolean => match logical {
            LogicalType::Integer { .. } => Ok(LogicalType::Boolean),
            _ => refuse("an integer column"),
        },
        NativeOp::BitToInteger => match logical {
            LogicalType::Bit { width } if *width <= 64 => {
                Ok(LogicalType::Integer { bits: 64, signed: false })
            }
            _ => refuse("a bit column of at most 64 bits"),
        },
        NativeOp::ToText => match logical {
            logical if logical.text_form().is_some() => Ok(text()),
            LogicalType::Bytes { .. } | LogicalType::Other(_) | LogicalType::Uuid => {
                refuse("a column with a text form")
            }
            _ => Ok(text()),
        },
        NativeOp::DatesWithin { first, last, .. } if first > last => refuse("a first date before the last"),
        NativeOp::DatesWithin { .. } => match logical {
            LogicalType::Date | LogicalType::Timestamp { .. } => Ok(logical.clone()),
            _ => refuse("a date or timestamp column"),
        },
        NativeOp::NotFiniteToNull => match logical {
            LogicalType::Float32 | LogicalType::Float64 | LogicalType::Decimal { .. } => Ok(logical.clone()),
            logical if logical.text_form() == Some("numeric") => Ok(logical.clone()),
            _ => refuse("a column of numbers that need not be whole"),
        },
        NativeOp::ToDecimal { precision, scale } if scale > precision => refuse("a scale that fits"),
        NativeOp::ToDecimal { precision, scale } => match logical {
            logical
                if matches!(logical, LogicalType::Decimal { .. })
                    || logical.text_form() == Some("numeric") =>
            {
                Ok(LogicalType::Decimal { precision: *precision, scale: scale.cast_signed() })
            }
            _ => refuse("a column of decimal numbers"),
        },
        NativeOp::ArrayToJson { .. } => match logical.text_form() {
            Some("array") => Ok(LogicalType::Json),
            _ => refuse("a column of arrays"),
        },
        NativeOp::IntervalToMicroseconds => match logical.text_form() {
            Some("interval") => Ok(LogicalType::Integer { bits: 64, signed: true }),
            _ => refuse("a column of intervals"),
        },
        NativeOp::IntervalToTime => match logical.text_form() {
            Some("interval") => Ok(LogicalType::Time { precision: 6 }),
            _ => refuse("a column of intervals"),
        },
        NativeOp::Hex | NativeOp::Base64 => match logical {
            LogicalType::Bytes { .. }
            | LogicalType::Other(_)
            | LogicalType::Uuid
            | LogicalType::Bit { .. } => Ok(text()),
            _ => refuse("a binary column"),
        },
        NativeOp::GeometryToEwkb => match logical {
            LogicalType::Other(name) if name == "geometry" => {
                Ok(LogicalType::Bytes { max_bytes: None, fixed: false })
            }
            _ => refuse("a geometry column"),
        },
    }
}

/// Runs `op` over a column of type `logical`. A row that can't be converted keeps its slot and is
/// named in `failures`.
pub fn apply(op: &NativeOp, column: Column, logical: &LogicalType, failures: &mut Vec<OpFailure>) -> Column {
    match op {
        NativeOp::StripNul => {
            if matches!(&column.values, Vector::Varlen(varlen) if !varlen.data.contains(&0)) {
                return column;
            }
            map_text(column, |value, out| out.extend(value.iter().filter(|&&byte| byte != 0)))
        }
        NativeOp::TrimEnd => map_text(column, |value, out| {
            let end = value.iter().rposition(|&byte| byte != b' ').map_or(0, |last| last + 1);
            out.extend_from_slice(value.get(..end).unwrap_or(value));
        }),
        NativeOp::Lowercase => {
            map_str(column, |text, out| out.extend_from_slice(text.to_lowercase().as_bytes()))
        }
        NativeOp::Uppercase => {
            map_str(column, |text, out| out.extend_from_slice(text.to_uppercase().as_bytes()))
        }
        NativeOp::TruncateChars(limit) => map_str(column, |text, out| {
            let end = text.char_indices().nth(*limit as usize).map_or(text.len(), |(index, _)| index);
            out.extend_from_slice(text.get(..end).unwrap_or(text).as_bytes());
        }),
        NativeOp::EmptyToNull => empty_to_null(column),
        NativeOp::NullTo(value) => null_to(column, value, logical),
        NativeOp::IrregularDateToNull => {
            let mut column = column;
            for row in irregular_rows(&column) {
                column.set_null(row);
                if let Vector::I64(values) = &mut column.values
                    && let Some(value) = values.get_mut(row)
                {
                    *value = 0;
                }
            }
            column
        }
        NativeOp::IrregularDateTo(replacement) => {
            let mut column = column;
            if let Vector::I64(values) = &mut column.values {
                for value in values.iter_mut().filter(|value| temporal::is_irregular(**value)) {
                    *value = *replacement;
                }
            }
            column
        }
        NativeOp::ShiftSeconds(seconds) => shift(column, *seconds, failures),
        NativeOp::IntegerToBoolean => integer_to_boolean(&column, failures),
        NativeOp::BitToInteger => bit_to_integer(&column),
        NativeOp::ToText => to_text(&column, logical),
        NativeOp::Hex => map_text(column, |value, out| out.extend_from_slice(hex::encode(value).as_bytes())),
        NativeOp::Base64 => {
            map_text(column, |value, out| out.extend_from_slice(BASE64_STANDARD.encode(value).as_bytes()))
        }
        NativeOp::GeometryToEwkb => geometry_to_ewkb(column, failures),
        NativeOp::DatesWithin { first, last, nearest } => dates_within(column, *first..=*last, *nearest),
        NativeOp::NotFiniteToNull => not_finite_to_null(column),
        NativeOp::ToDecimal { precision, scale } => {
            text_form::to_decimal(&column, *precision, *scale, failures)
        }
        NativeOp::ArrayToJson { delimiter, element } => {
            text_form::array_to_json(&column, *delimiter, *element, failures)
        }
        NativeOp::IntervalToMicroseconds | NativeOp::IntervalToTime => {
            text_form::interval_to_microseconds(&column, failures)
        }
    }
}

/// A column of `rows` times `value`, in the layout of `logical`; `None` when they don't fit.
pub fn constant(value: &Scalar, logical: &LogicalType, rows: usize) -> Option<Column> {
    let layout = logical.layout().empty_column().values;
    let values = match (value, layout) {
        (Scalar::Null, mut empty) => {
            (0..rows).for_each(|_| empty.push_empty());
            return Some(Column { values: empty, validity: Some(Bitmap::filled(rows, false)) });
        }
        (Scalar::Boolean(value), Vector::Bits(_)) => Vector::Bits(Bitmap::filled(rows, *value)),
        (Scalar::Int(value) | Scalar::Timestamp(value), Vector::I64(_)) => Vector::I64(vec![*value; rows]),
        (Scalar::Uint(value), Vector::U64(_)) => Vector::U64(vec![*value; rows]),
        (Scalar::Uint(value), Vector::I64(_)) => Vector::I64(vec![i64::try_from(*value).ok()?; rows]),
        (Scalar::Int(value), Vector::U64(_)) => Vector::U64(vec![u64::try_from(*value).ok()?; rows]),
        (Scalar::Real(value), Vector::F64(_)) => Vector::F64(vec![*value; rows]),
        (Scalar::Decimal(text), Vector::Varlen(_)) if matches!(logical, LogicalType::Decimal { .. }) => {
            repeat(text.as_bytes(), rows)
        }
        (Scalar::Text(text), Vector::Varlen(_)) if logical.is_text() => repeat(text.as_bytes(), rows),
        (Scalar::Bytes(bytes), Vector::Varlen(_)) if !logical.is_text() => repeat(bytes, rows),
        _ => return None,
    };
    Some(Column::new(values))
}

fn repeat(value: &[u8], rows: usize) -> Vector {
    let mut varlen = Varlen::default();
    (0..rows).for_each(|_| varlen.push(value));
    Vector::Varlen(varlen)
}

fn map_text(column: Column, mut convert: impl FnMut(&[u8], &mut Vec<u8>)) -> Column {
    let Vector::Varlen(from) = &column.values else { return column };
    let mut to =
        Varlen { offsets: Vec::with_capacity(from.offsets.len()), data: Vec::with_capacity(from.data.len()) };
    to.offsets.push(0);
    for row in 0..from.len() {
        convert(from.get(row), &mut to.data);
        to.end_value();
    }
    Column { values: Vector::Varlen(to), validity: column.validity }
}

fn map_str(column: Column, mut convert: impl FnMut(&str, &mut Vec<u8>)) -> Column {
    map_text(column, |value, out| match std::str::from_utf8(value) {
        Ok(text) => convert(text, out),
        // Connectors promise UTF-8; should one break it, the target refuses the value by name.
        Err(_) => out.extend_from_slice(value),
    })
}

fn empty_to_null(mut column: Column) -> Column {
    let empty: Vec<usize> = match &column.values {
        Vector::Varlen(values) => (0..values.len()).filter(|&row| values.get(row).is_empty()).collect(),
        _ => Vec::new(),
    };
    empty.into_iter().for_each(|row| column.set_null(row));
    column
}

fn null_to(column: Column, value: &Scalar, logical: &LogicalType) -> Column {
    let Some(replacement) = constant(value, logical, 1).filter(|_| column.validity.is_some()) else {
        return column;
    };
    let mut filled = Column::new(column.values.empty_like());
    for row in 0..column.len() {
        if column.is_null(row) {
            filled.push_from(&replacement, 0);
        } else {
            filled.push_from(&column, row);
        }
    }
    filled
}

fn irregular_rows(column: &Column) -> Vec<usize> {
    match &column.values {
        Vector::I64(values) => values
            .iter()
            .enumerate()
            .filter(|(_, value)| temporal::is_irregular(**value))
            .map(|(row, _)| row)
            .collect(),
        _ => Vec::new(),
    }
}

fn dates_within(mut column: Column, kept: RangeInclusive<i64>, nearest: bool) -> Column {
    let outside: Vec<usize> = match &mut column.values {
        Vector::I64(values) => {
            let far = |value: i64| !temporal::is_irregular(value) && !kept.contains(&value);
            let rows = values.iter_mut().enumerate().filter(|(_, value)| far(**value));
            rows.map(|(row, value)| {
                *value = if nearest { (*value).clamp(*kept.start(), *kept.end()) } else { 0 };
                row
            })
            .collect()
        }
        _ => Vec::new(),
    };
    if !nearest {
        outside.into_iter().for_each(|row| column.set_null(row));
    }
    column
}

fn not_finite_to_null(mut column: Column) -> Column {
    let rows: Vec<usize> = match &column.values {
        Vector::F64(values) => {
            (0..).zip(values).filter(|(_, value)| !value.is_finite()).map(|(row, _)| row).collect()
        }
        Vector::Varlen(values) => text_form::not_finite(values),
        _ => Vec::new(),
    };
    rows.into_iter().for_each(|row| column.set_null(row));
    column
}

fn shift(mut column: Column, seconds: i32, failures: &mut Vec<OpFailure>) -> Column {
    if let Vector::I64(values) = &mut column.values {
        let shifts = |value: i64| !temporal::is_irregular(value) && !temporal::is_infinite(value);
        for (row, value) in values.iter_mut().enumerate().filter(|(_, value)| shifts(**value)) {
            match value.checked_add(i64::from(seconds) * 1_000_000) {
                Some(shifted) => *value = shifted,
                None => {
                    failures.push(OpFailure { row, reason: "the shifted timestamp is out of range".into() });
                }
            }
        }
    }
    column
}

fn integer_to_boolean(column: &Column, failures: &mut Vec<OpFailure>) -> Column {
    let mut bits = Bitmap::new();
    for row in 0..column.len() {
        let value = match &column.values {
            Vector::I64(values) => values.get(row).copied().map(i128::from),
            Vector::U64(values) => values.get(row).copied().map(i128::from),
            _ => None,
        };
        match value {
            Some(0) => bits.push(false),
            Some(1) => bits.push(true),
            value => {
                bits.push(false);
                if !column.is_null(row) {
                    let value = value.map_or_else(String::new, |value| value.to_string());
                    failures.push(OpFailure {
                        row,
                        reason: format!(
                            "{value} is neither 0 nor 1, so no boolean; tinyint1 = \"smallint\" keeps every value"
                        ),
                    });
                }
            }
        }
    }
    Column { values: Vector::Bits(bits), validity: column.validity.clone() }
}

fn bit_to_integer(column: &Column) -> Column {
    let values = (0..column.len())
        .map(|row| match &column.values {
            Vector::Varlen(values) => {
                values.get(row).iter().fold(0_u64, |number, &byte| number << 8 | u64::from(byte))
            }
            _ => 0,
        })
        .collect();
    Column { values: Vector::U64(values), validity: column.validity.clone() }
}

fn to_text(column: &Column, logical: &LogicalType) -> Column {
    let mut varlen = Varlen::default();
    for row in 0..column.len() {
        if !column.is_null(row) {
            varlen.data.extend_from_slice(text_of(column, row, logical).as_bytes());
        }
        varlen.end_value();
    }
    Column { values: Vector::Varlen(varlen), validity: column.validity.clone() }
}

/// The canonical text of one value that is not NULL.
pub fn text_of(column: &Column, row: usize, logical: &LogicalType) -> String {
    match (&column.values, logical) {
        (Vector::Bits(bits), _) => bits.get(row).to_string(),
        (Vector::I64(values), logical) => {
            let value = values.get(row).copied().unwrap_or_default();
            match logical {
                LogicalType::Date => temporal::date_text(value),
                LogicalType::Timestamp { .. } => temporal::timestamp_text(value),
                LogicalType::Time { .. } => time_text(value),
                _ => value.to_string(),
            }
        }
        (Vector::U64(values), _) => values.get(row).copied().unwrap_or_default().to_string(),
        (Vector::F64(values), LogicalType::Float32) => {
            (values.get(row).copied().unwrap_or_default() as f32).to_string()
        }
        (Vector::F64(values), _) => values.get(row).copied().unwrap_or_default().to_string(),
        (Vector::Varlen(values), LogicalType::Bit { width }) => {
            let bytes = values.get(row);
            let bits: String = bytes
                .iter()
                .flat_map(|byte| (0..8).rev().map(move |bit| if byte >> bit & 1 == 1 { '1' } else { '0' }))
                .collect();
            bits.chars().skip(bits.len().saturating_sub(*width as usize)).collect()
        }
        (Vector::Varlen(values), logical) => match std::str::from_utf8(values.get(row)) {
            Ok(text) if logical.is_text() || logical.text_form().is_some() => text.to_owned(),
            Ok(text) if matches!(logical, LogicalType::Decimal { .. }) => text.to_owned(),
            _ => format!("0x{}", hex::encode(values.get(row))),
        },
    }
}

fn time_text(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    let seconds = micros / 1_000_000;
    let clock = format!("{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    match micros % 1_000_000 {
        0 => clock,
        fraction => format!("{clock}.{fraction:06}"),
    }
}

/// Sets the SRID flag in the type word of WKB and inserts the SRID after it. MySQL writes WKB
/// little-endian with a 4-byte little-endian SRID before it.
fn geometry_to_ewkb(column: Column, failures: &mut Vec<OpFailure>) -> Column {
    const HAS_SRID: u32 = 0x2000_0000;
    let present: Vec<bool> = (0..column.len()).map(|row| !column.is_null(row)).collect();
    let mut row = 0;
    map_text(column, |value, out| {
        if let Some((srid, rest)) = value.split_first_chunk::<4>()
            && let Some((&[1], rest)) = rest.split_first_chunk::<1>()
            && let Some((kind, body)) = rest.split_first_chunk::<4>()
        {
            out.push(1);
            if *srid == [0; 4] {
                out.extend_from_slice(kind);
            } else {
                out.extend_from_slice(&(u32::from_le_bytes(*kind) | HAS_SRID).to_le_bytes());
                out.extend_from_slice(srid);
            }
            out.extend_from_slice(body);
        } else if present.get(row) == Some(&true) {
            failures.push(OpFailure {
                row,
                reason: "the geometry is not little-endian WKB behind an SRID".into(),
            });
        }
        row += 1;
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::temporal::Fields;

    fn text(values: &[&str]) -> Column {
        let mut varlen = Varlen::default();
        values.iter().for_each(|value| varlen.push(value.as_bytes()));
        Column::new(Vector::Varlen(varlen))
    }

    fn texts(column: &Column) -> Vec<Option<String>> {
        let Vector::Varlen(values) = &column.values else { return Vec::new() };
        (0..column.len())
            .map(|row| (!column.is_null(row)).then(|| String::from_utf8_lossy(values.get(row)).into_owned()))
            .collect()
    }

    fn run(op: &NativeOp, column: Column, logical: &LogicalType) -> (Column, Vec<OpFailure>) {
        let mut failures = Vec::new();
        let column = apply(op, column, logical, &mut failures);
        (column, failures)
    }

    const TEXT: LogicalType =
        LogicalType::Text { max_chars: None, fixed: false, charset: None, collation: None };

    #[test]
    fn text_operations() {
        for (op, expected) in [
            (NativeOp::StripNul, ["ab", "É "]),
            (NativeOp::TrimEnd, ["a\0b", "É"]),
            (NativeOp::Lowercase, ["a\0b", "é "]),
            (NativeOp::TruncateChars(1), ["a", "É"]),
        ] {
            let (column, failures) = run(&op, text(&["a\0b", "É "]), &TEXT);
            assert_eq!(texts(&column), expected.map(|text| Some(text.to_owned())), "{op:?}");
            assert!(failures.is_empty());
        }
    }

    #[test]
    fn base64_pads() {
        let (column, _) = run(&NativeOp::Base64, text(&["", "f", "fo", "foo", "foob"]), &TEXT);
        let expected = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="];
        assert_eq!(texts(&column), expected.map(|text| Some(text.to_owned())));
    }

    #[test]
    fn irregular_dates_become_what_was_decided() {
        let zero = Fields { year: 0, month: 0, day: 0, micros: 0 }.to_date();
        let column = || Column::new(Vector::I64(vec![0, zero]));
        let (nulled, _) = run(&NativeOp::IrregularDateToNull, column(), &LogicalType::Date);
        assert_eq!((nulled.is_null(0), nulled.is_null(1)), (false, true));
        let (moved, _) = run(&NativeOp::IrregularDateTo(5), column(), &LogicalType::Date);
        assert_eq!(moved.values, Vector::I64(vec![0, 5]));
        assert_eq!(text_of(&column(), 1, &LogicalType::Date), "0000-00-00");
    }

    #[test]
    fn only_zero_and_one_are_booleans() {
        let logical = LogicalType::Integer { bits: 8, signed: true };
        let mut column = Column::new(Vector::I64(vec![1, 0, 127]));
        column.push_null();
        let (bits, failures) = run(&NativeOp::IntegerToBoolean, column, &logical);
        assert_eq!(failures.iter().map(|failure| failure.row).collect::<Vec<_>>(), [2]);
        assert!(bits.is_null(3));
    }

    #[test]
    fn nulls_get_their_value() {
        let mut column = text(&["a"]);
        column.push_null();
        let (filled, _) = run(&NativeOp::NullTo(Scalar::Text("-".into())), column, &TEXT);
        assert_eq!(texts(&filled), [Some("a".into()), Some("-".into())]);
        assert!(result_type(&NativeOp::NullTo(Scalar::Int(1)), &TEXT).is_err());
    }

    #[test]
    fn negative_times_read_right() {
        let column = Column::new(Vector::I64(vec![-500_000, 3_020_399_000_000]));
        let logical = LogicalType::Time { precision: 6 };
        assert_eq!(text_of(&column, 0, &logical), "-00:00:00.500000");
        assert_eq!(text_of(&column, 1, &logical), "838:59:59");
    }

    #[test]
    fn geometry_gets_its_srid_into_the_header() {
        let mut varlen = Varlen::default();
        let mut raw = 4326_u32.to_le_bytes().to_vec();
        raw.extend([1, 1, 0, 0, 0]);
        raw.extend(10_f64.to_le_bytes());
        raw.extend(20_f64.to_le_bytes());
        varlen.push(&raw);
        let logical = LogicalType::Other("geometry".into());
        let (column, failures) =
            run(&NativeOp::GeometryToEwkb, Column::new(Vector::Varlen(varlen)), &logical);
        assert!(failures.is_empty());
        let Vector::Varlen(values) = &column.values else { panic!("bytes stay bytes") };
        assert_eq!(hex::encode(values.get(0)), "0101000020e610000000000000000024400000000000003440");
    }

    #[test]
    fn far_dates_become_what_was_decided() {
        let zero = Fields { year: 0, month: 0, day: 0, micros: 0 }.to_date();
        let dates = [temporal::NEGATIVE_INFINITY, -1, 0, 9, 10, temporal::INFINITY, zero];
        let within = |nearest| NativeOp::DatesWithin { first: 0, last: 9, nearest };
        let column = || Column::new(Vector::I64(dates.to_vec()));
        let (nearest, _) = run(&within(true), column(), &LogicalType::Date);
        assert_eq!(nearest.values, Vector::I64(vec![0, 0, 0, 9, 9, 9, zero]));
        let (nulled, _) = run(&within(false), column(), &LogicalType::Date);
        let nulls: Vec<bool> = (0..dates.len()).map(|row| nulled.is_null(row)).collect();
        assert_eq!(nulls, [true, true, false, false, true, true, false]);
    }

    #[test]
    fn numbers_that_are_none_become_null() {
        let floats = Column::new(Vector::F64(vec![f64::NAN, 1.0, f64::NEG_INFINITY]));
        let (floats, _) = run(&NativeOp::NotFiniteToNull, floats, &LogicalType::Float64);
        assert_eq!((floats.is_null(0), floats.is_null(1), floats.is_null(2)), (true, false, true));
        let numbers = text(&["NaN", "1", "Infinity"]);
        let (numbers, _) = run(&NativeOp::NotFiniteToNull, numbers, &LogicalType::in_text_form("numeric"));
        assert_eq!(texts(&numbers), [None, Some("1".to_owned()), None]);
    }
}
