//! From PostgreSQL's defaults to MySQL's.

use migration_sdk::LogicalType;

use crate::literal::{cast, is_number, quote, unquote};
use migration_sdk::mysql::Flavor;

/// Translates a default for a column of the given target type; `Err` says why it can't be.
pub(crate) fn translate(
    sql: &str,
    logical: &LogicalType,
    target_type: &str,
    target: Flavor,
) -> Result<Option<String>, String> {
    let (value, _) = cast(sql.trim());
    let value = value.trim();
    if value.eq_ignore_ascii_case("null") {
        return Ok(None);
    }
    let value = value.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(value);
    let word = target_type.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    // Literals of these types need be expressions, which not every version has.
    let is_long = word.ends_with("text") || word.ends_with("blob") || word == "json";
    let expressions = target.is_mariadb || target.is_mysql_since((8, 0, 13));
    let written = match unquote(value) {
        Some(text) => literal(&text, logical, word, target)?,
        None => {
            let (written, is_expression) = expression(value, logical, word, target)?;
            return match (is_expression, expressions) {
                (false, _) => Ok(Some(written)),
                (true, true) => Ok(Some(format!("({written})"))),
                (true, false) => Err("this version of MySQL takes no expression as a default".to_owned()),
            };
        }
    };
    match (is_long, expressions) {
        (false, _) => Ok(Some(written)),
        (true, true) => Ok(Some(format!("({written})"))),
        (true, false) => Err(format!("a {word} of this version of MySQL has no default")),
    }
}

fn literal(text: &str, logical: &LogicalType, word: &str, target: Flavor) -> Result<String, String> {
    let unfit = || Err(format!("the literal does not fit {word}"));
    match logical {
        LogicalType::Integer(_) | LogicalType::Float32 | LogicalType::Float64 | LogicalType::Decimal(_) => {
            if is_number(text) {
                Ok(text.to_owned())
            } else {
                unfit()
            }
        }
        LogicalType::Boolean => match text {
            "t" | "true" | "1" => Ok("1".to_owned()),
            "f" | "false" | "0" => Ok("0".to_owned()),
            _ => unfit(),
        },
        LogicalType::Text(_) | LogicalType::Enumeration(_) | LogicalType::Json => Ok(quote(text)),
        LogicalType::Uuid if word == "char" || word == "uuid" => Ok(quote(&text.to_lowercase())),
        LogicalType::Bytes(_) => match text.strip_prefix("\\x") {
            Some("") => Ok("''".to_owned()),
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => Ok(format!("x'{digits}'")),
            _ => unfit(),
        },
        LogicalType::Date | LogicalType::Time(_) | LogicalType::Timestamp(_) => {
            // The offset of the session that the catalog was read in.
            let text = text.strip_suffix("+00").unwrap_or(text);
            let is_part = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'-' | b':' | b'.' | b' ');
            let has_year = matches!(logical, LogicalType::Time(_)) || text.find('-') == Some(4);
            if has_year && text.bytes().all(is_part) { Ok(quote(text)) } else { unfit() }
        }
        LogicalType::Bit(_) if text.bytes().all(|byte| matches!(byte, b'0' | b'1')) => {
            Ok(if word == "bit" { format!("b'{text}'") } else { quote(text) })
        }
        LogicalType::Other(name) => match (name.as_str(), word) {
            ("text/numeric", "decimal") if is_number(text) => Ok(text.to_owned()),
            ("text/array", "json") if text == "{}" => {
                Ok(if target.is_mariadb { "'[]'" } else { "json_array()" }.to_owned())
            }
            (_, "char" | "varchar" | "text" | "mediumtext" | "longtext") => Ok(quote(text)),
            _ => unfit(),
        },
        _ => unfit(),
    }
}

/// What is no literal, and whether it is an expression to MySQL.
fn expression(
    sql: &str,
    logical: &LogicalType,
    word: &str,
    target: Flavor,
) -> Result<(String, bool), String> {
    let unknown = || Err("the expression has no translation".to_owned());
    let lower = sql.to_ascii_lowercase();
    let precision = match logical {
        LogicalType::Timestamp(timestamp) if timestamp.precision > 0 => format!("({})", timestamp.precision),
        _ => String::new(),
    };
    let name = lower.split('(').next().unwrap_or_default().trim();
    match (name, logical) {
        _ if is_number(sql) => match logical {
            LogicalType::Other(kind) if kind != "text/numeric" => unknown(),
            LogicalType::Text(_) => Ok((quote(sql), word.ends_with("text"))),
            _ => Ok((sql.to_owned(), false)),
        },
        ("true", LogicalType::Boolean) => Ok(("1".to_owned(), false)),
        ("false", LogicalType::Boolean) => Ok(("0".to_owned(), false)),
        (
            "now"
            | "current_timestamp"
            | "localtimestamp"
            | "statement_timestamp"
            | "transaction_timestamp"
            | "clock_timestamp",
            LogicalType::Timestamp(timestamp),
        ) => {
            // A datetime that stands for an instant holds it in UTC, whatever the session's time zone.
            if timestamp.zoned && word == "datetime" {
                Ok((format!("utc_timestamp{}", if precision.is_empty() { "()" } else { &precision }), true))
            } else {
                Ok((format!("CURRENT_TIMESTAMP{precision}"), false))
            }
        }
        ("current_date" | "now" | "current_timestamp", LogicalType::Date) => {
            Ok(("current_date()".to_owned(), true))
        }
        ("gen_random_uuid" | "uuid_generate_v4", LogicalType::Uuid) if lower.ends_with("()") => match word {
            "binary" if target.is_mariadb => unknown(),
            "binary" => Ok(("uuid_to_bin(uuid())".to_owned(), true)),
            _ => Ok(("uuid()".to_owned(), true)),
        },
        _ => unknown(),
    }
}
