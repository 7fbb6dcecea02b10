//! From a column's native type to its logical type.

use engine_core::logical::LogicalType;

use crate::server::Flavor;
use crate::sql;

/// A column's type as `information_schema.columns` describes it.
#[derive(Debug, Clone, Default)]
pub(crate) struct NativeType {
    /// `varchar`
    pub(crate) data_type: String,
    /// `varchar(20)`, `int(10) unsigned zerofill`
    pub(crate) column_type: String,
    pub(crate) max_chars: Option<u64>,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) precision: Option<u64>,
    pub(crate) scale: Option<u64>,
    pub(crate) datetime_precision: Option<u64>,
    pub(crate) charset: Option<String>,
    pub(crate) collation: Option<String>,
    /// MariaDB: the column has the check that makes a `longtext` JSON.
    pub(crate) json_check: bool,
}

/// The logical type; `Err` says why there is none.
pub(crate) fn logical_type(native: &NativeType, flavor: Flavor) -> Result<LogicalType, String> {
    let unsigned = native.column_type.split_whitespace().any(|word| word == "unsigned" || word == "zerofill");
    let integer = |bits| LogicalType::Integer { bits, signed: !unsigned };
    let precision = native.datetime_precision.and_then(|digits| u8::try_from(digits).ok()).unwrap_or(0);
    let number = |value: Option<u64>, what: &str| {
        value
            .and_then(|value| u16::try_from(value).ok())
            .ok_or_else(|| format!("the server gives no {what} for it"))
    };
    // A table of before MariaDB 10.11.5 has `uuid /* old */`, which is stored in another order.
    let data_type = native.data_type.split_whitespace().next().unwrap_or_default();
    Ok(match data_type {
        "tinyint" => integer(8),
        "smallint" => integer(16),
        "mediumint" => integer(24),
        "int" => integer(32),
        "bigint" => integer(64),
        "year" => LogicalType::Integer { bits: 16, signed: true },
        "decimal" => LogicalType::Decimal {
            precision: number(native.precision, "precision")?,
            scale: i16::try_from(number(native.scale, "scale")?).unwrap_or(i16::MAX),
        },
        "float" => LogicalType::Float32,
        "double" => LogicalType::Float64,
        "bit" => LogicalType::Bit { width: u32::from(number(native.precision, "width")?) },
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => text(native)?,
        "json" => LogicalType::Json,
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => bytes(native),
        "date" => LogicalType::Date,
        "time" => LogicalType::Time { precision },
        "datetime" => LogicalType::Timestamp { precision, zoned: false },
        "timestamp" => LogicalType::Timestamp { precision, zoned: true },
        "enum" => LogicalType::Enumeration { labels: labels(native, "enum", flavor)? },
        "set" => LogicalType::Set { labels: labels(native, "set", flavor)? },
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geomcollection" | "geometrycollection" => {
            LogicalType::Other("geometry".to_owned())
        }
        "uuid" if flavor == Flavor::MariaDb => LogicalType::Uuid,
        "inet4" | "inet6" if flavor == Flavor::MariaDb => address(data_type),
        // MariaDB's vector has another layout and is a version newer than those supported.
        "vector" if flavor == Flavor::MySql => LogicalType::Other("vector".to_owned()),
        _ => return Err(format!("the type {} is not supported", native.column_type)),
    })
}

/// What a plugin may know of a column beside its logical type. `extra` is that of a generated column.
pub(crate) fn attributes(native: &NativeType, extra: Option<&str>) -> Vec<(String, String)> {
    let mut attributes = Vec::new();
    if matches!(native.data_type.as_str(), "enum" | "set") {
        attributes.extend(native.collation.clone().map(|collation| ("collation".to_owned(), collation)));
    }
    if let Some(extra) = extra {
        let stored = ["STORED", "PERSISTENT"].iter().any(|word| extra.to_ascii_uppercase().contains(word));
        attributes.push(("generated".to_owned(), if stored { "stored" } else { "virtual" }.to_owned()));
    }
    attributes
}

fn text(native: &NativeType) -> Result<LogicalType, String> {
    if native.json_check && native.data_type == "longtext" {
        return Ok(LogicalType::Json);
    }
    let charset = native.charset.clone().ok_or("the server gives no character set for it")?;
    Ok(LogicalType::Text {
        max_chars: native.max_chars.and_then(|chars| u32::try_from(chars).ok()),
        fixed: native.data_type == "char",
        charset: Some(charset),
        collation: native.collation.clone(),
    })
}

/// An address is its text, in the one form that the server gives it; it has no character set.
fn address(data_type: &str) -> LogicalType {
    let longest =
        if data_type == "inet4" { "255.255.255.255" } else { "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" };
    LogicalType::Text { max_chars: Some(longest.len() as u32), fixed: false, charset: None, collation: None }
}

fn bytes(native: &NativeType) -> LogicalType {
    LogicalType::Bytes {
        max_bytes: native.max_bytes.and_then(|bytes| u32::try_from(bytes).ok()),
        fixed: native.data_type == "binary",
    }
}

/// The labels of `enum('a','b''c')`.
fn labels(native: &NativeType, keyword: &str, flavor: Flavor) -> Result<Vec<String>, String> {
    let unreadable = || format!("its labels can't be read from {}", native.column_type);
    let mut rest = native.column_type.strip_prefix(keyword).ok_or_else(unreadable)?;
    let mut labels = Vec::new();
    let mut opening = '(';
    while let Some(list) = rest.strip_prefix(opening) {
        let (label, after) = sql::unquote(list).ok_or_else(unreadable)?;
        labels.push(label);
        rest = after;
        opening = ',';
    }
    if labels.is_empty() || rest != ")" {
        return Err(unreadable());
    }
    if flavor == Flavor::MySql && labels.iter().any(|label| label.contains('?')) {
        return Err("MySQL's information_schema shows characters beyond U+FFFF as '?', \
                    so that the true text of a label with '?' can't be known"
            .to_owned());
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn native(data_type: &str, column_type: &str) -> NativeType {
        NativeType {
            data_type: data_type.into(),
            column_type: column_type.into(),
            charset: Some("utf8mb4".into()),
            collation: Some("utf8mb4_bin".into()),
            ..NativeType::default()
        }
    }

    fn mapped(data_type: &str, column_type: &str) -> Result<LogicalType, String> {
        logical_type(&native(data_type, column_type), Flavor::MySql)
    }

    #[test]
    fn integers_know_their_width_and_sign() {
        let integer = |bits, signed| Ok(LogicalType::Integer { bits, signed });
        assert_eq!(mapped("tinyint", "tinyint(1)"), integer(8, true));
        assert_eq!(mapped("mediumint", "mediumint unsigned"), integer(24, false));
        assert_eq!(mapped("int", "int(5) unsigned zerofill"), integer(32, false));
        assert_eq!(mapped("bigint", "bigint(20) unsigned"), integer(64, false));
        assert_eq!(mapped("year", "year(4)"), integer(16, true));
    }

    #[test]
    fn labels_are_unescaped() {
        let labels = |column_type| mapped("enum", column_type);
        let expected = |labels: &[&str]| {
            Ok(LogicalType::Enumeration { labels: labels.iter().map(|&label| label.to_owned()).collect() })
        };
        assert_eq!(labels(r"enum('a\\b','c''d','e,f)','')"), expected(&[r"a\b", "c'd", "e,f)", ""]));
        assert!(labels("enum('a'").is_err());
        assert!(labels("enum('really?')").is_err_and(|why| why.contains('?')));
        let maria = logical_type(&native("enum", "enum('really?')"), Flavor::MariaDb);
        assert_eq!(maria, expected(&["really?"]));
    }

    #[test]
    fn json_of_mariadb_is_a_checked_longtext() {
        let mut column = native("longtext", "longtext");
        assert!(matches!(logical_type(&column, Flavor::MariaDb), Ok(LogicalType::Text { .. })));
        column.json_check = true;
        assert_eq!(logical_type(&column, Flavor::MariaDb), Ok(LogicalType::Json));
    }

    #[test]
    fn unknown_types_are_named() {
        assert!(mapped("inet6", "inet6").is_err_and(|why| why.contains("inet6")));
    }

    #[test]
    fn types_of_mariadb_alone() {
        let maria = |name: &str| logical_type(&native(name, name), Flavor::MariaDb);
        assert_eq!(maria("uuid"), Ok(LogicalType::Uuid));
        assert_eq!(maria("uuid /* old */"), Ok(LogicalType::Uuid));
        let longest = |name| match maria(name) {
            Ok(LogicalType::Text { max_chars, charset: None, .. }) => max_chars,
            other => panic!("{other:?}"),
        };
        assert_eq!((longest("inet4"), longest("inet6")), (Some(15), Some(39)));
    }
}
