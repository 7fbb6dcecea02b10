//! From MySQL's defaults to PostgreSQL's.

use migration_sdk::temporal::Fields;
use migration_sdk::{Endpoint, LogicalType};

use crate::config::ZeroDates;
use crate::literal::{Literal, is_number, quote};

/// Translates a default for a column of the given target type; `Err` says why it can't be.
pub(crate) fn translate(
    sql: &str,
    logical: &LogicalType,
    target_type: &str,
    zero_dates: ZeroDates,
    target: &Endpoint,
) -> Result<Option<String>, String> {
    let sql = without_parentheses(sql.trim());
    if sql.eq_ignore_ascii_case("null") {
        return Ok(None);
    }
    match Literal::parse(sql) {
        Some(literal) => translate_literal(&literal, logical, target_type, zero_dates),
        None => translate_expression(sql, logical, target_type, target).map(Some),
    }
}

fn translate_literal(
    literal: &Literal,
    logical: &LogicalType,
    target_type: &str,
    zero_dates: ZeroDates,
) -> Result<Option<String>, String> {
    let unfit = || Err(format!("the literal does not fit {target_type}"));
    if target_type == "boolean" {
        return match literal {
            Literal::Number(digits) | Literal::Text(digits) | Literal::Bits(digits) if digits == "0" => {
                Ok(Some("false".to_owned()))
            }
            Literal::Number(digits) | Literal::Text(digits) | Literal::Bits(digits) if digits == "1" => {
                Ok(Some("true".to_owned()))
            }
            _ => unfit(),
        };
    }
    match (logical, literal) {
        (
            LogicalType::Integer(_) | LogicalType::Float32 | LogicalType::Float64 | LogicalType::Decimal(_),
            Literal::Number(number) | Literal::Text(number),
        ) if is_number(number) => Ok(Some(number.clone())),
        (LogicalType::Bit(width), Literal::Bits(digits)) => bit_string(digits, *width),
        (LogicalType::Bit(width), Literal::Number(number) | Literal::Text(number)) => {
            match number.parse::<u64>() {
                Ok(value) => bit_string(&format!("{value:b}"), *width),
                Err(_) => unfit(),
            }
        }
        (LogicalType::Date | LogicalType::Timestamp(_), Literal::Text(text) | Literal::Number(text)) => {
            translate_date(text, logical, zero_dates)
        }
        (LogicalType::Bytes(bytes), literal) => {
            let mut digits = match literal {
                Literal::Text(text) | Literal::Number(text) => hexadecimal(text),
                Literal::Hex(digits) => digits.clone(),
                Literal::Bits(_) => return unfit(),
            };
            if let (true, Some(length)) = (bytes.fixed, bytes.max_bytes) {
                digits.extend(std::iter::repeat_n('0', (length as usize * 2).saturating_sub(digits.len())));
            }
            Ok(Some(format!("'\\x{digits}'::bytea")))
        }
        (
            LogicalType::Text(_)
            | LogicalType::Json
            | LogicalType::Uuid
            | LogicalType::Time(_)
            | LogicalType::Enumeration(_)
            | LogicalType::Set(_),
            Literal::Text(text) | Literal::Number(text),
        ) if !text.contains('\0') => Ok(Some(quote(text))),
        _ => unfit(),
    }
}

fn translate_date(
    text: &str,
    logical: &LogicalType,
    zero_dates: ZeroDates,
) -> Result<Option<String>, String> {
    let fields = match (Fields::parse(text), zero_dates) {
        (Some(fields), _) | (None, ZeroDates::Replace(fields)) => fields,
        (None, ZeroDates::Null) => return Ok(None),
        (None, ZeroDates::Fail) => return Err("no calendar has the date".to_owned()),
    };
    let written = fields.to_string();
    Ok(Some(match logical {
        LogicalType::Date => format!("'{}'", written.split(' ').next().unwrap_or_default()),
        // The source prints its zoned values in UTC, the zone of the engine's sessions.
        LogicalType::Timestamp(timestamp) if timestamp.zoned => format!("'{written}+00'"),
        _ => format!("'{written}'"),
    }))
}

fn translate_expression(
    sql: &str,
    logical: &LogicalType,
    target_type: &str,
    target: &Endpoint,
) -> Result<String, String> {
    let unknown = || "the expression has no translation".to_owned();
    let lower = sql.to_ascii_lowercase();
    let (name, argument) = match lower.split_once('(') {
        Some((name, rest)) => (name.trim_end(), rest.strip_suffix(')').ok_or_else(unknown)?.trim()),
        None => (lower.as_str(), ""),
    };
    let precision = match argument {
        "" | "0" => String::new(),
        "1" | "2" | "3" | "4" | "5" | "6" => format!("({argument})"),
        _ => return Err(unknown()),
    };
    match (name, logical) {
        ("current_timestamp" | "now" | "localtimestamp" | "localtime", LogicalType::Timestamp(timestamp)) => {
            let function = if timestamp.zoned { "CURRENT_TIMESTAMP" } else { "LOCALTIMESTAMP" };
            // Without a precision the source's clock has whole seconds, the target's microseconds.
            Ok(if precision.is_empty() { format!("{function}(0)") } else { format!("{function}{precision}") })
        }
        ("curdate" | "current_date" | "current_timestamp" | "now", LogicalType::Date) => {
            Ok("CURRENT_DATE".to_owned())
        }
        ("json_object", LogicalType::Json) if argument.is_empty() => Ok("'{}'".to_owned()),
        ("json_array", LogicalType::Json) if argument.is_empty() => Ok("'[]'".to_owned()),
        ("uuid", LogicalType::Text(_) | LogicalType::Uuid) if argument.is_empty() => {
            if target.engine != "postgres" || major(&target.version) < 13 {
                return Err("gen_random_uuid() needs PostgreSQL 13 or newer".to_owned());
            }
            Ok(if target_type == "uuid" { "gen_random_uuid()" } else { "gen_random_uuid()::text" }.to_owned())
        }
        ("true" | "false", LogicalType::Integer(_)) if target_type == "boolean" => Ok(lower),
        ("true", LogicalType::Integer(_)) => Ok("1".to_owned()),
        ("false", LogicalType::Integer(_)) => Ok("0".to_owned()),
        _ => Err(unknown()),
    }
}

fn bit_string(digits: &str, width: u32) -> Result<Option<String>, String> {
    let significant = digits.trim_start_matches('0');
    if significant.len() > width as usize {
        return Err(format!("the literal has more than {width} bits"));
    }
    Ok(Some(format!("B'{significant:0>width$}'", width = width as usize)))
}

fn hexadecimal(text: &str) -> String {
    text.bytes()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// 15 of `15.18`.
fn major(version: &str) -> u32 {
    let digits = version.split(|character: char| !character.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or(0)
}

/// `expr` of `(expr)`, when the two parentheses belong together.
fn without_parentheses(sql: &str) -> &str {
    let Some(inner) = sql.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) else { return sql };
    let mut depth = 0i32;
    for character in inner.chars() {
        depth += match character {
            '(' => 1,
            ')' => -1,
            // Quotes may hold anything; such an expression stays as it is unless it is one literal.
            '\'' if Literal::parse(inner.trim()).is_none() => return sql,
            _ => 0,
        };
        if depth < 0 {
            return sql;
        }
    }
    without_parentheses(inner.trim())
}
