//! Defaults of columns: as the catalog shows them, and as the value that rows get which were there
//! before the column.

use engine_core::column::{Column, Varlen, Vector};
use engine_core::logical::{Layout, LogicalType};
use engine_core::schema::ColumnSchema;
use engine_core::structure::Fill;
use engine_core::temporal::{Fields, MICROS_PER_DAY};

use super::parse::Parsed;
use super::session::Session;
use super::syntax::{Default, Literal};
use super::types::Context;
use crate::catalog::NativeType;
use crate::server::Flavor;
use crate::sql;

/// The default as `catalog` would show it; `None` for NULL.
pub(super) fn canonical(
    default: &Default,
    logical: &LogicalType,
    native: &NativeType,
    context: &Context<'_>,
) -> Parsed<Option<String>> {
    let flavor = context.server.flavor;
    match default {
        Default::Null => Ok(None),
        Default::Now(precision) => Ok(Some(match (flavor, precision) {
            (Flavor::MySql, 0) => "CURRENT_TIMESTAMP".to_owned(),
            (Flavor::MySql, digits) => format!("CURRENT_TIMESTAMP({digits})"),
            (Flavor::MariaDb, 0) => "current_timestamp()".to_owned(),
            (Flavor::MariaDb, digits) => format!("current_timestamp({digits})"),
        })),
        Default::Expression(text) => Ok(Some(text.clone())),
        Default::Literal(literal) => canonical_literal(literal, logical, native, context).map(Some),
    }
}

fn unclear() -> String {
    "the engine can't tell which value the server makes of its default".to_owned()
}

fn canonical_literal(
    literal: &Literal,
    logical: &LogicalType,
    native: &NativeType,
    context: &Context<'_>,
) -> Parsed<String> {
    let digits = match literal {
        Literal::Number(text) | Literal::Text(text) => Some(text.as_str()),
        Literal::Bool(true) => Some("1"),
        Literal::Bool(false) => Some("0"),
        Literal::Hex(_) | Literal::Bits(_) => None,
    };
    match logical {
        LogicalType::Integer { .. } => {
            let number: i128 = digits.and_then(|text| text.parse().ok()).ok_or_else(unclear)?;
            if native.data_type == "year" {
                return year(number, literal);
            }
            let width = zerofill_width(&native.column_type);
            Ok(format!("{number:0width$}"))
        }
        LogicalType::Decimal { scale, .. } => decimal(digits.ok_or_else(unclear)?, *scale, native),
        LogicalType::Float32 => float(digits.ok_or_else(unclear)?, 6, native),
        LogicalType::Float64 => float(digits.ok_or_else(unclear)?, 15, native),
        LogicalType::Bit { .. } => {
            let value = match literal {
                Literal::Bits(bits) => u64::from_str_radix(bits, 2).ok(),
                Literal::Hex(hex) => u64::from_str_radix(hex, 16).ok(),
                Literal::Number(number) => number.parse().ok(),
                Literal::Bool(bit) => Some(u64::from(*bit)),
                Literal::Text(_) => None,
            };
            Ok(format!("b'{:b}'", value.ok_or_else(unclear)?))
        }
        // Addresses, which have forms of their own.
        LogicalType::Text { charset: None, .. } => Err(unclear()),
        LogicalType::Text { max_chars, fixed, .. } => {
            let (Literal::Text(text) | Literal::Number(text)) = literal else { return Err(unclear()) };
            let fits = max_chars.is_none_or(|longest| text.chars().count() <= longest as usize);
            // The server cuts pad spaces off CHAR.
            let kept = !*fixed || !text.ends_with(' ');
            if fits && kept { Ok(sql::literal(text)) } else { Err(unclear()) }
        }
        LogicalType::Bytes { max_bytes, fixed } => {
            let bytes = raw(literal).ok_or_else(unclear)?;
            binary(bytes, *max_bytes, *fixed, context.server.flavor)
        }
        LogicalType::Enumeration { labels } => {
            let Literal::Text(text) = literal else { return Err(unclear()) };
            label(text, labels).map(|label| sql::literal(&label))
        }
        LogicalType::Set { labels } => {
            let Literal::Text(text) = literal else { return Err(unclear()) };
            let wanted: Vec<String> = match text.as_str() {
                "" => Vec::new(),
                list => list.split(',').map(|part| label(part, labels)).collect::<Parsed<_>>()?,
            };
            let chosen: Vec<&str> =
                labels.iter().filter(|label| wanted.contains(label)).map(String::as_str).collect();
            Ok(sql::literal(&chosen.join(",")))
        }
        LogicalType::Date | LogicalType::Timestamp { .. } | LogicalType::Time { .. } => {
            let Literal::Text(text) = literal else { return Err(unclear()) };
            temporal(text, logical, context).map(|text| sql::literal(&text))
        }
        LogicalType::Boolean | LogicalType::Json | LogicalType::Uuid | LogicalType::Other(_) => {
            Err(unclear())
        }
    }
}

/// The digits to which a number is filled up with zeros; 0 where it isn't.
fn zerofill_width(column_type: &str) -> usize {
    if !column_type.contains("zerofill") {
        return 0;
    }
    let width = column_type.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    width.and_then(|(digits, _)| digits.parse().ok()).unwrap_or(0)
}

fn year(number: i128, literal: &Literal) -> Parsed<String> {
    let quoted = matches!(literal, Literal::Text(_));
    match number {
        0 if !quoted => Ok("0000".to_owned()),
        0..=69 => Ok((2000 + number).to_string()),
        70..=99 => Ok((1900 + number).to_string()),
        1901..=2155 => Ok(number.to_string()),
        _ => Err(unclear()),
    }
}

/// A plain decimal number: its sign and its digits before and after the point.
fn plain_decimal(text: &str) -> Option<(&str, &str, &str)> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    let all_digits = whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
    (all_digits && whole.len() + fraction.len() > 0).then_some((
        sign,
        whole.trim_start_matches('0'),
        fraction,
    ))
}

fn decimal(text: &str, scale: i16, native: &NativeType) -> Parsed<String> {
    let (sign, whole, fraction) = plain_decimal(text).ok_or_else(unclear)?;
    let scale = usize::try_from(scale).unwrap_or(0);
    let fraction_end = fraction.trim_end_matches('0');
    if fraction_end.len() > scale || native.column_type.contains("zerofill") {
        return Err(unclear());
    }
    let whole = if whole.is_empty() { "0" } else { whole };
    let zero = whole == "0" && fraction_end.is_empty();
    let sign = if zero { "" } else { sign };
    Ok(match scale {
        0 => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{fraction_end:0<scale$}"),
    })
}

fn float(text: &str, digits: usize, native: &NativeType) -> Parsed<String> {
    let (sign, whole, fraction) = plain_decimal(text).ok_or_else(unclear)?;
    let fraction = fraction.trim_end_matches('0');
    if whole.len() + fraction.len() > digits || native.column_type.contains('(') {
        return Err(unclear());
    }
    let whole = if whole.is_empty() { "0" } else { whole };
    let sign = if whole == "0" && fraction.is_empty() { "" } else { sign };
    Ok(if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}

fn raw(literal: &Literal) -> Option<Vec<u8>> {
    match literal {
        Literal::Text(text) if text.is_ascii() => Some(text.clone().into_bytes()),
        Literal::Hex(digits) => {
            hex::decode(format!("{:0>1$}", digits, digits.len().next_multiple_of(2))).ok()
        }
        _ => None,
    }
}

fn binary(mut bytes: Vec<u8>, longest: Option<u32>, fixed: bool, flavor: Flavor) -> Parsed<String> {
    if longest.is_some_and(|longest| bytes.len() > longest as usize) {
        return Err(unclear());
    }
    match flavor {
        Flavor::MySql if bytes.is_empty() => Ok("''".to_owned()),
        Flavor::MySql => Ok(format!("0x{}", hex::encode_upper(bytes))),
        Flavor::MariaDb => {
            if fixed && let Some(longest) = longest {
                bytes.resize(longest as usize, 0);
            }
            String::from_utf8(bytes).map(|text| sql::literal(&text)).map_err(|_| unclear())
        }
    }
}

/// The label that a default names, in whichever case of letters.
fn label(text: &str, labels: &[String]) -> Parsed<String> {
    let exact = labels.iter().find(|label| label.as_str() == text);
    let mut alike = labels.iter().filter(|label| label.eq_ignore_ascii_case(text));
    match (exact, alike.next(), alike.next()) {
        (Some(label), _, _) | (None, Some(label), None) => Ok(label.clone()),
        _ => Err(unclear()),
    }
}

fn temporal(text: &str, logical: &LogicalType, context: &Context<'_>) -> Parsed<String> {
    if let LogicalType::Time { precision } = logical {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let bytes = whole.as_bytes();
        let shaped = bytes.len() == 8
            && bytes.iter().enumerate().all(|(place, byte)| match place {
                2 | 5 => *byte == b':',
                _ => byte.is_ascii_digit(),
            });
        return if shaped { with_fraction(whole, fraction, *precision) } else { Err(unclear()) };
    }
    let fields = parse_date(text).ok_or_else(unclear)?;
    let zero = fields == Fields { year: 0, month: 0, day: 0, micros: 0 };
    if !zero && !fields.is_calendar() {
        return Err(unclear());
    }
    let LogicalType::Timestamp { precision, zoned } = logical else {
        return if fields.micros == 0 { Ok(date_text(&fields)) } else { Err(unclear()) };
    };
    if *zoned && !zero && context.session.time_zone.as_deref() != Some("+00:00") {
        return Err("its default is a time of the session's time zone".to_owned());
    }
    let written = fields.to_string();
    let (whole, fraction) = written.split_once('.').unwrap_or((&written, ""));
    with_fraction(whole, fraction, *precision)
}

fn date_text(fields: &Fields) -> String {
    format!("{:04}-{:02}-{:02}", fields.year, fields.month, fields.day)
}

fn with_fraction(whole: &str, fraction: &str, precision: u8) -> Parsed<String> {
    let fraction = fraction.trim_end_matches('0');
    let precision = usize::from(precision);
    if fraction.len() > precision || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(unclear());
    }
    Ok(if precision == 0 { whole.to_owned() } else { format!("{whole}.{fraction:0<precision$}") })
}

/// `YYYY-MM-DD`, with or without a time of day.
fn parse_date(text: &str) -> Option<Fields> {
    let (date, time) = text.split_once([' ', 'T']).unwrap_or((text, "00:00:00"));
    let mut parts = date.split('-');
    let year = parts.next().filter(|year| year.len() == 4)?.parse().ok()?;
    let month = parts.next()?.parse().ok()?;
    let day = parts.next()?.parse().ok()?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut clock = clock.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let micros: u64 = match fraction {
        "" => 0,
        digits if digits.len() <= 6 => format!("{digits:0<6}").parse().ok()?,
        _ => return None,
    };
    let in_range = hour < 24 && minute < 60 && second < 60 && month <= 12 && day <= 31;
    let ended = parts.next().is_none() && clock.next().is_none();
    let micros = ((hour * 60 + minute) * 60 + second) * 1_000_000 + micros;
    (in_range && ended).then_some(Fields { year, month, day, micros })
}

/// The value that rows have in a column that is added to their table. `wall_clock` is the time of
/// the statement as a clock of its session shows it, where that is known.
pub(super) fn fill(
    column: &ColumnSchema,
    given: Option<&Default>,
    wall_clock: Option<i64>,
    session: &Session,
) -> Fill {
    let value = match given {
        _ if column.identity => None,
        Some(Default::Now(_)) => now(column, wall_clock, session),
        Some(Default::Expression(text)) => expression(text, &column.logical),
        Some(Default::Literal(_)) => {
            column.default.as_deref().and_then(|text| value_of(text, &column.logical))
        }
        None | Some(Default::Null) if column.nullable => Some(null(&column.logical)),
        None | Some(Default::Null) => implicit(&column.logical),
    };
    value.map_or_else(
        || {
            Fill::Unknown(format!(
                "what rows that are there already get in the new column {} can't be told",
                column.name
            ))
        },
        Fill::Value,
    )
}

fn null(logical: &LogicalType) -> Column {
    let mut column = logical.layout().empty_column();
    column.push_null();
    column
}

fn varlen(bytes: &[u8]) -> Column {
    let mut values = Varlen::default();
    values.push(bytes);
    Column::new(Vector::Varlen(values))
}

/// The time of the statement, which a default of `CURRENT_TIMESTAMP` takes.
fn now(column: &ColumnSchema, wall_clock: Option<i64>, session: &Session) -> Option<Column> {
    let LogicalType::Timestamp { precision, zoned } = column.logical else { return None };
    if precision > 0 && !session.exact_time {
        return None;
    }
    let micros = if zoned { session.executed_at } else { wall_clock }?;
    let unit = 10_i64.pow(6 - u32::from(precision.min(6)));
    Some(Column::new(Vector::I64(vec![micros.div_euclid(unit) * unit])))
}

/// The default that ALTER … SET DEFAULT gives to a column.
pub(super) fn of_existing(
    default: &Default,
    column: &ColumnSchema,
    context: &Context<'_>,
) -> Parsed<Option<String>> {
    let data_type: String = column.native.chars().take_while(char::is_ascii_alphanumeric).collect();
    let native = NativeType { data_type, column_type: column.native.clone(), ..NativeType::default() };
    canonical(default, &column.logical, &native, context)
        .map_err(|why| format!("column {}: {why}", column.name))
}

/// Expressions that give the same value in every row.
fn expression(text: &str, logical: &LogicalType) -> Option<Column> {
    let compact: String =
        text.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase();
    match (logical, compact.as_str()) {
        (LogicalType::Json, "json_object()" | "'{}'") => Some(varlen(b"{}")),
        (LogicalType::Json, "json_array()" | "'[]'") => Some(varlen(b"[]")),
        (LogicalType::Text { .. }, "''") => Some(varlen(b"")),
        (LogicalType::Integer { .. }, digits) => value_of(digits, logical),
        _ => None,
    }
}

/// The value of a default in the catalog's form.
fn value_of(text: &str, logical: &LogicalType) -> Option<Column> {
    let quoted = || match sql::unquote(text) {
        Some((inner, "")) => Some(inner),
        _ => None,
    };
    Some(match logical {
        LogicalType::Integer { signed: true, .. } => Column::new(Vector::I64(vec![text.parse().ok()?])),
        LogicalType::Integer { .. } => Column::new(Vector::U64(vec![text.parse().ok()?])),
        LogicalType::Float32 => Column::new(Vector::F64(vec![f64::from(text.parse::<f32>().ok()?)])),
        LogicalType::Float64 => Column::new(Vector::F64(vec![text.parse().ok()?])),
        LogicalType::Decimal { .. } => varlen(text.as_bytes()),
        LogicalType::Text { .. } | LogicalType::Enumeration { .. } | LogicalType::Set { .. } => {
            varlen(quoted()?.as_bytes())
        }
        LogicalType::Bytes { max_bytes, fixed } => {
            let mut bytes = match text.strip_prefix("0x") {
                Some(digits) => hex::decode(digits).ok()?,
                None => quoted()?.into_bytes(),
            };
            if *fixed && let Some(length) = max_bytes {
                bytes.resize(*length as usize, 0);
            }
            varlen(&bytes)
        }
        LogicalType::Bit { width } => {
            let value = u64::from_str_radix(text.strip_prefix("b'")?.strip_suffix('\'')?, 2).ok()?;
            let bytes = value.to_be_bytes();
            varlen(bytes.get(8 - (*width as usize).div_ceil(8)..)?)
        }
        LogicalType::Date => Column::new(Vector::I64(vec![parse_date(&quoted()?)?.to_date()])),
        LogicalType::Timestamp { .. } => {
            Column::new(Vector::I64(vec![parse_date(&quoted()?)?.to_timestamp()]))
        }
        LogicalType::Time { .. } => {
            let text = quoted()?;
            let fields = parse_date(&format!("2000-01-01 {text}"))?;
            let in_day = i64::try_from(fields.micros).ok().filter(|&micros| micros < MICROS_PER_DAY)?;
            Column::new(Vector::I64(vec![in_day]))
        }
        LogicalType::Boolean | LogicalType::Json | LogicalType::Uuid | LogicalType::Other(_) => return None,
    })
}

/// What a column that may not be NULL and has no default has in rows that were there before it.
fn implicit(logical: &LogicalType) -> Option<Column> {
    Some(match logical {
        LogicalType::Integer { signed: true, .. } | LogicalType::Time { .. } => {
            Column::new(Vector::I64(vec![0]))
        }
        LogicalType::Integer { .. } => Column::new(Vector::U64(vec![0])),
        LogicalType::Float32 | LogicalType::Float64 => Column::new(Vector::F64(vec![0.0])),
        LogicalType::Decimal { scale, .. } => {
            varlen(decimal("0", *scale, &NativeType::default()).ok()?.as_bytes())
        }
        LogicalType::Bytes { max_bytes: Some(length), fixed: true } => varlen(&vec![0; *length as usize]),
        LogicalType::Text { charset: Some(_), .. } | LogicalType::Set { .. } | LogicalType::Bytes { .. } => {
            varlen(b"")
        }
        LogicalType::Bit { width } => varlen(&vec![0; (*width as usize).div_ceil(8)]),
        LogicalType::Enumeration { labels } => varlen(labels.first()?.as_bytes()),
        LogicalType::Date => Column::new(Vector::I64(vec![ZERO_DATE.to_date()])),
        LogicalType::Timestamp { .. } => Column::new(Vector::I64(vec![ZERO_DATE.to_timestamp()])),
        LogicalType::Text { charset: None, .. }
        | LogicalType::Boolean
        | LogicalType::Json
        | LogicalType::Uuid
        | LogicalType::Other(_) => return None,
    })
}

const ZERO_DATE: Fields = Fields { year: 0, month: 0, day: 0, micros: 0 };

/// Whether a fill has to fit a layout.
pub(super) fn is_sound(fill: &Fill, layout: Layout) -> bool {
    match fill {
        Fill::Value(column) => column.len() == 1 && layout.fits(&column.values),
        Fill::Unknown(_) => true,
    }
}
