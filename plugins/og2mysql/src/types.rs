//! From PostgreSQL's types to MySQL's.

use migration_sdk::{ColumnSchema, Finding, LogicalType, NativeOp};

use crate::config::{Arrays, Config, Enums, Interval, Json, Numeric, Timestamptz, Uuid};
use crate::literal::quote;
use migration_sdk::mysql::Flavor;

/// How names of logical types begin whose values are text.
const TEXT_FORM: &str = "text/";

/// Longest CHAR, in characters.
const LONGEST_CHAR: u32 = 255;

/// What a column becomes; its length may still depend on the table's keys and on its other columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Type {
    /// Of a known size, in bytes.
    Plain {
        /// In the target's SQL.
        sql: String,
        /// Bytes of a row or key.
        bytes: u32,
    },
    /// Text of at most so many characters.
    Text {
        /// `None` = any number.
        max_chars: Option<u32>,
        /// CHAR rather than VARCHAR.
        fixed: bool,
        /// Of ASCII alone.
        ascii: bool,
    },
    /// Bytes, any number of them unless there is a limit.
    Bytes {
        /// `None` = any number.
        max_bytes: Option<u32>,
    },
    /// A parsed document.
    Json,
    /// An enumeration.
    Enumeration {
        /// Its labels.
        labels: Vec<String>,
    },
    /// What the user, or another plugin, says.
    Decided(String),
}

impl Type {
    fn plain(sql: impl Into<String>, bytes: u32) -> Self {
        Self::Plain { sql: sql.into(), bytes }
    }

    fn ascii(max_chars: u32) -> Self {
        Self::Text { max_chars: Some(max_chars), fixed: false, ascii: true }
    }

    const LONG_TEXT: Self = Self::Text { max_chars: None, fixed: false, ascii: false };

    /// In the target's SQL, with character set and collation.
    pub(crate) fn sql(&self, target: Flavor) -> String {
        let (sql, ascii) = match self {
            Self::Plain { sql, .. } | Self::Decided(sql) => return sql.clone(),
            Self::Json => return "json".to_owned(),
            Self::Bytes { max_bytes: Some(length) } => return format!("varbinary({length})"),
            Self::Bytes { max_bytes: None } => return "longblob".to_owned(),
            Self::Enumeration { labels } => {
                let labels: Vec<String> = labels.iter().map(|label| quote(label)).collect();
                (format!("enum({})", labels.join(",")), false)
            }
            Self::Text { max_chars: Some(length), fixed: true, ascii } if *length <= LONGEST_CHAR => {
                (format!("char({length})"), *ascii)
            }
            Self::Text { max_chars: Some(length), ascii, .. } => {
                let bytes = length.saturating_mul(if *ascii { 1 } else { 4 });
                let sql = match bytes {
                    0..=65_532 => format!("varchar({length})"),
                    65_533..=65_535 => "text".to_owned(),
                    65_536..=16_777_215 => "mediumtext".to_owned(),
                    _ => "longtext".to_owned(),
                };
                (sql, *ascii)
            }
            Self::Text { max_chars: None, ascii, .. } => ("longtext".to_owned(), *ascii),
        };
        if ascii {
            return format!("{sql} CHARACTER SET ascii COLLATE ascii_bin");
        }
        format!("{sql} CHARACTER SET utf8mb4 COLLATE {}", exact_collation(target))
    }
}

/// The collation to which texts are equal as they are to PostgreSQL: byte for byte, and without regard
/// to blanks at the end only where there is none that has regard to them.
fn exact_collation(target: Flavor) -> &'static str {
    if target.is_mariadb_since((10, 2, 2)) {
        "utf8mb4_nopad_bin"
    } else if target.is_mysql_since((8, 0, 17)) {
        "utf8mb4_0900_bin"
    } else {
        "utf8mb4_bin"
    }
}

/// Whether two texts that differ in blanks at their ends alone are equal in the target.
pub(crate) fn pads(target: Flavor) -> bool {
    exact_collation(target) == "utf8mb4_bin"
}

/// Type and what the user should know.
pub(crate) struct Mapped {
    pub(crate) target: Type,
    pub(crate) findings: Vec<Finding>,
}

/// Maps one column; `Err` says why there is no type for it.
pub(crate) fn map(
    ordinal: u32,
    column: &ColumnSchema,
    config: &Config,
    target: Flavor,
) -> Result<Mapped, String> {
    let mut findings = Vec::new();
    let mut note = |message: &str, fix: &str| {
        findings.push(Finding::note(Some(ordinal), message).with_fix(fix));
    };
    let mapped = match &column.logical {
        LogicalType::Boolean => Type::plain("tinyint(1)", 1),
        LogicalType::Integer(integer) => match (integer.bits, integer.signed) {
            (8, true) => Type::plain("tinyint", 1),
            (8, false) => Type::plain("tinyint unsigned", 1),
            (16, true) => Type::plain("smallint", 2),
            (16, false) => Type::plain("smallint unsigned", 2),
            (..=32, true) => Type::plain("int", 4),
            (..=32, false) => Type::plain("int unsigned", 4),
            (_, true) => Type::plain("bigint", 8),
            (_, false) => Type::plain("bigint unsigned", 8),
        },
        LogicalType::Float32 => Type::plain("float", 4),
        LogicalType::Float64 => Type::plain("double", 8),
        LogicalType::Decimal(decimal) => {
            if column.native == "money" {
                note("amounts are taken for hundredths, as lc_monetary C has them", "set the column's type");
            }
            bounded(decimal.precision, decimal.scale)?
        }
        LogicalType::Text(text) => {
            if text.collation.as_deref() == Some("citext") {
                findings.push(
                    Finding::warning(
                        Some(ordinal),
                        "citext compares without regard to case, the target's column with it",
                    )
                    .with_fix("set the column's type, with a collation such as utf8mb4_0900_as_ci"),
                );
            }
            let fixed = text.fixed && text.max_chars.is_some_and(|length| length <= LONGEST_CHAR);
            Type::Text { max_chars: text.max_chars, fixed, ascii: false }
        }
        LogicalType::Bytes(_) => Type::Bytes { max_bytes: None },
        LogicalType::Date => Type::plain("date", 3),
        LogicalType::Time(precision) => Type::plain(format!("time({precision})"), 6),
        LogicalType::Timestamp(timestamp) if timestamp.zoned => {
            let precision = timestamp.precision;
            match config.timestamptz {
                Timestamptz::Datetime => {
                    note(
                        "the time with time zone becomes a datetime in UTC",
                        "set timestamptz = \"timestamp\" for one in the session's time zone, up to 2038",
                    );
                    Type::plain(format!("datetime({precision})"), 8)
                }
                Timestamptz::Timestamp => Type::plain(format!("timestamp({precision})"), 7),
            }
        }
        LogicalType::Timestamp(timestamp) => Type::plain(format!("datetime({})", timestamp.precision), 8),
        LogicalType::Json => match config.json {
            Json::Text => Type::LONG_TEXT,
            Json::Json => {
                if !target.is_mariadb && column.native == "json" {
                    note(
                        "documents are parsed: spaces, the order of keys, and all but the last of equal keys go",
                        "set json = \"text\"",
                    );
                }
                Type::Json
            }
        },
        LogicalType::Uuid => match config.uuid {
            Uuid::Text => Type::Text { max_chars: Some(36), fixed: true, ascii: true },
            Uuid::Bytes => Type::plain("binary(16)", 16),
            Uuid::Native if target.is_mariadb_since((10, 7, 0)) => Type::plain("uuid", 16),
            Uuid::Native => {
                return Err(format!("{} has no type uuid: set uuid = \"char(36)\"", target.name()));
            }
        },
        LogicalType::Bit(width) if *width <= 64 => Type::plain(format!("bit({width})"), 8),
        LogicalType::Bit(width) => {
            note("a bit string of more than 64 bits becomes its text", "");
            Type::ascii(*width)
        }
        LogicalType::Enumeration(labels) => {
            let longest = labels.iter().map(|label| label.chars().count()).max().unwrap_or(1);
            let as_text = Type::Text { max_chars: Some(longest as u32), fixed: false, ascii: false };
            let blank = labels.iter().any(|label| label.ends_with(' '));
            match config.enums {
                Enums::Text => Type::LONG_TEXT,
                Enums::Enum if blank || labels.is_empty() => {
                    note("MySQL takes blanks off the ends of labels, so the enum becomes text", "");
                    as_text
                }
                Enums::Enum => Type::Enumeration { labels: labels.clone() },
            }
        }
        LogicalType::Set(_) => Type::LONG_TEXT,
        LogicalType::Other(name) => {
            let form = name.strip_prefix(TEXT_FORM).ok_or_else(|| no_type(&column.native))?;
            text_form(form, &column.native, config, &mut note)?
        }
    };
    Ok(Mapped { target: mapped, findings })
}

fn no_type(native: &str) -> String {
    format!(
        "there is no type for {native}; set the column's type, such as \"longtext\" for its text, or leave it out with drop = true"
    )
}

/// A number with bounds, in MySQL's bounds.
fn bounded(precision: u16, scale: i16) -> Result<Type, String> {
    let digits_after = u16::try_from(scale).unwrap_or(0);
    // A negative scale means zeros before the point.
    let all = if scale < 0 { precision + scale.unsigned_abs() } else { precision.max(digits_after) };
    if all > 65 || digits_after > 30 {
        return Err(format!(
            "numeric({precision},{scale}) has more digits than MySQL's decimal(65,30); set the column's type, such as \"varchar({})\" for its text",
            all + 3
        ));
    }
    Ok(Type::plain(format!("decimal({all},{digits_after})"), u32::from(all).div_ceil(9) * 4 + 4))
}

/// Values that travel as their text.
fn text_form(
    form: &str,
    native: &str,
    config: &Config,
    note: &mut impl FnMut(&str, &str),
) -> Result<Type, String> {
    Ok(match form {
        "numeric" => match config.numeric {
            Numeric::Fail => {
                return Err("a number without bounds: set numeric = \"decimal(p,s)\" or \"text\", or the column's type".to_owned());
            }
            Numeric::Text => Type::LONG_TEXT,
            Numeric::Decimal { precision, scale } => {
                note(
                    &format!(
                        "the number has no bounds: one that decimal({precision},{scale}) does not hold stops the task"
                    ),
                    "set numeric, or the column's type",
                );
                Type::plain(format!("decimal({precision},{scale})"), u32::from(precision).div_ceil(9) * 4 + 4)
            }
        },
        "interval" => match config.interval {
            Interval::Text => Type::ascii(128),
            Interval::Microseconds => Type::plain("bigint", 8),
        },
        "array" => match config.arrays {
            Arrays::Json => {
                note("arrays become JSON", "set arrays = \"text\" to keep them as PostgreSQL writes them");
                Type::Json
            }
            Arrays::Text => Type::LONG_TEXT,
        },
        "range" if matches!(native, "int4range" | "int8range" | "daterange" | "tsrange" | "tstzrange") => {
            Type::ascii(100)
        }
        "timetz" => Type::ascii(32),
        "inet" | "cidr" => Type::ascii(49),
        "macaddr" | "pg_lsn" => Type::ascii(17),
        "macaddr8" => Type::ascii(23),
        "varbit" => match arguments(native) {
            Some(bits) => Type::ascii(bits),
            None => Type::LONG_TEXT,
        },
        "unknown" | "geometry" | "geography" | "vector" => return Err(no_type(native)),
        _ => {
            note(&format!("{native} becomes its text"), "set the column's type");
            Type::LONG_TEXT
        }
    })
}

/// 10 of `bit varying(10)`.
fn arguments(native: &str) -> Option<u32> {
    native.split_once('(')?.1.strip_suffix(')')?.parse().ok()
}

/// The conversions that values need to be those of a target's type.
pub(crate) fn conversions(column: &ColumnSchema, target_type: &str) -> Vec<NativeOp> {
    let word = target_type.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    let word = word.to_ascii_lowercase();
    let is_text = matches!(word.as_str(), "char" | "varchar") || word.ends_with("text");
    match &column.logical {
        LogicalType::Bit(_) if is_text => vec![NativeOp::ToText],
        LogicalType::Other(name) => match (name.strip_prefix(TEXT_FORM), word.as_str()) {
            (Some("numeric"), "decimal" | "numeric") => match decimal_bounds(target_type) {
                Some((precision, scale)) => {
                    let arguments = format!(r#"{{"precision":{precision},"scale":{scale}}}"#);
                    vec![other("to-decimal", arguments)]
                }
                None => Vec::new(),
            },
            (Some("interval"), "bigint") => vec![other("interval-to-microseconds", String::new())],
            (Some("array"), "json") => {
                let delimiter = attribute(column, "delimiter").unwrap_or(",");
                let element = attribute(column, "element").unwrap_or("text");
                vec![other(
                    "array-to-json",
                    format!(r#"{{"delimiter":"{delimiter}","element":"{element}"}}"#),
                )]
            }
            (Some(_), _) if is_text => vec![NativeOp::ToText],
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// An operation that the contract has no case for.
pub(crate) fn other(name: &str, arguments: String) -> NativeOp {
    NativeOp::Other((name.to_owned(), arguments))
}

/// Precision and scale of `decimal(10,2)`, `decimal(10)`.
fn decimal_bounds(target_type: &str) -> Option<(u16, u16)> {
    let (_, rest) = target_type.split_once('(')?;
    let (arguments, _) = rest.split_once(')')?;
    match arguments.split_once(',') {
        Some((precision, scale)) => Some((precision.trim().parse().ok()?, scale.trim().parse().ok()?)),
        None => Some((arguments.trim().parse().ok()?, 0)),
    }
}

fn attribute<'a>(column: &'a ColumnSchema, name: &str) -> Option<&'a str> {
    column.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}
