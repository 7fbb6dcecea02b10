//! A column's type in MySQL's own words, and what it can hold.

use crate::sql;

/// What a column of the target holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ColumnType {
    /// All the integer types, unsigned ones too; the server refuses what is out of range.
    Integer,
    Year,
    Decimal {
        scale: u32,
    },
    /// `None` = as many digits as the value has; else rounded to so many after the point.
    Float {
        digits: Option<u32>,
    },
    Double {
        digits: Option<u32>,
    },
    Bit,
    Char {
        length: u32,
    },
    Varchar {
        length: u32,
    },
    /// All the text types.
    Text,
    Binary {
        length: u32,
    },
    /// VARBINARY and all the blob types.
    Blob,
    Date,
    Time {
        precision: u32,
    },
    Datetime {
        precision: u32,
    },
    Timestamp {
        precision: u32,
    },
    Json,
    Enumeration {
        labels: Vec<String>,
    },
    Set {
        labels: Vec<String>,
    },
    Geometry,
    Vector,
    Uuid,
    Address,
    Unknown(String),
}

/// A type with what of its attributes matters to writing.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Declared {
    pub(super) column_type: ColumnType,
    /// The server computes the column.
    pub(super) generated: bool,
}

impl Declared {
    /// Reads `varchar(20) CHARACTER SET latin1 COLLATE latin1_bin`: a type, then attributes.
    pub(super) fn parse(text: &str) -> Self {
        let text = text.trim();
        let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        let (arguments, attributes) = arguments(rest);
        let generated = mentions(attributes, "as") || mentions(attributes, "generated");
        let number = |index: usize| arguments.get(index).and_then(|text| text.trim().parse::<u32>().ok());
        let precision = number(0).unwrap_or(0);
        let is_binary = mentions(attributes, "binary") && attributes.contains("CHARACTER SET binary");
        let column_type = match word.to_ascii_lowercase().as_str() {
            "tinyint" | "smallint" | "mediumint" | "int" | "integer" | "bigint" | "bool" | "boolean"
            | "serial" => ColumnType::Integer,
            "year" => ColumnType::Year,
            "decimal" | "numeric" | "dec" | "fixed" => ColumnType::Decimal { scale: number(1).unwrap_or(0) },
            "float" => match number(0) {
                Some(25..) if number(1).is_none() => ColumnType::Double { digits: None },
                _ => ColumnType::Float { digits: number(1) },
            },
            "double" | "real" => ColumnType::Double { digits: number(1) },
            "bit" => ColumnType::Bit,
            "char" | "varchar" if is_binary => ColumnType::Unknown(text.to_owned()),
            "char" => ColumnType::Char { length: number(0).unwrap_or(1) },
            "varchar" => ColumnType::Varchar { length: number(0).unwrap_or(0) },
            "tinytext" | "text" | "mediumtext" | "longtext" => ColumnType::Text,
            "binary" => ColumnType::Binary { length: number(0).unwrap_or(1) },
            "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => ColumnType::Blob,
            "date" => ColumnType::Date,
            "time" => ColumnType::Time { precision },
            "datetime" => ColumnType::Datetime { precision },
            "timestamp" => ColumnType::Timestamp { precision },
            "json" => ColumnType::Json,
            "enum" | "set" => match labels(&arguments) {
                Some(labels) if word.eq_ignore_ascii_case("enum") => ColumnType::Enumeration { labels },
                Some(labels) => ColumnType::Set { labels },
                None => ColumnType::Unknown(text.to_owned()),
            },
            "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
            | "multipolygon" | "geomcollection" | "geometrycollection" => ColumnType::Geometry,
            "vector" => ColumnType::Vector,
            "uuid" => ColumnType::Uuid,
            "inet4" | "inet6" => ColumnType::Address,
            _ => ColumnType::Unknown(text.to_owned()),
        };
        Self { column_type, generated }
    }
}

fn labels(arguments: &[&str]) -> Option<Vec<String>> {
    let unquoted = |argument: &&str| match sql::unquote(argument.trim()) {
        Some((label, "")) => Some(label),
        _ => None,
    };
    let labels: Vec<String> = arguments.iter().map(unquoted).collect::<Option<_>>()?;
    (!labels.is_empty()).then_some(labels)
}

/// What stands in the parentheses that `text` begins with, by commas outside of quotes, and what
/// follows them.
fn arguments(text: &str) -> (Vec<&str>, &str) {
    let Some(inside) = text.trim_start().strip_prefix('(') else { return (Vec::new(), text) };
    let mut arguments = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (place, byte) in inside.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'\'' => quoted = !quoted,
            b',' | b')' if !quoted => {
                arguments.extend(inside.get(start..place));
                start = place + 1;
                if byte == b')' {
                    return (arguments, inside.get(start..).unwrap_or_default());
                }
            }
            _ => {}
        }
    }
    (Vec::new(), text)
}

/// Whether a word stands among the attributes, before any parenthesis, name or literal.
fn mentions(attributes: &str, word: &str) -> bool {
    attributes
        .split(['(', '\'', '`', '"'])
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .any(|found| found.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> ColumnType {
        Declared::parse(text).column_type
    }

    #[test]
    fn types_and_their_arguments() {
        assert_eq!(read("int(10) unsigned zerofill"), ColumnType::Integer);
        assert_eq!(read("decimal(10,2) unsigned"), ColumnType::Decimal { scale: 2 });
        assert_eq!(read("float(7,4)"), ColumnType::Float { digits: Some(4) });
        assert_eq!(read("float(30)"), ColumnType::Double { digits: None });
        assert_eq!(read("varchar(20) CHARACTER SET latin1"), ColumnType::Varchar { length: 20 });
        assert_eq!(
            read("TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)"),
            ColumnType::Timestamp { precision: 6 }
        );
        assert_eq!(read("datetime"), ColumnType::Datetime { precision: 0 });
        assert_eq!(
            read(r"enum('a\\b','c''d','e,f)','') CHARACTER SET utf8mb4"),
            ColumnType::Enumeration { labels: [r"a\b", "c'd", "e,f)", ""].map(str::to_owned).to_vec() }
        );
        assert!(matches!(read("polygonia"), ColumnType::Unknown(_)));
    }

    #[test]
    fn generated_columns_are_told_from_the_rest() {
        for text in ["int GENERATED ALWAYS AS (`a` + 1) STORED", "varchar(9) AS (concat(`a`)) VIRTUAL"] {
            assert!(Declared::parse(text).generated, "{text}");
        }
        for text in ["enum('as','generated')", "varchar(5) COLLATE latin1_bin", "int"] {
            assert!(!Declared::parse(text).generated, "{text}");
        }
    }
}
