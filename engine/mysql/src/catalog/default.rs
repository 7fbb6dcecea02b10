//! Column defaults and expressions, brought into one form for both servers.
//!
//! MySQL's `information_schema` shows a literal default without quotes and marks expressions with
//! `DEFAULT_GENERATED` in `EXTRA`; inside expressions it escapes quotes and backslashes once more
//! than its own parser wants. MariaDB shows what one would write, and `NULL` for no default.

use engine_core::logical::LogicalType;

use crate::server::Flavor;
use crate::sql;

/// The default as SQL: a quoted literal (backslash and quote doubled), a number, `b'…'`, `0x…` or
/// an expression. `None` when there is none or it is NULL.
pub(super) fn normalise(
    raw: Option<&str>,
    extra: &str,
    logical: &LogicalType,
    flavor: Flavor,
) -> Option<String> {
    let raw = raw?;
    match flavor {
        Flavor::MariaDb if raw.eq_ignore_ascii_case("NULL") => None,
        Flavor::MariaDb => Some(match sql::unquote(raw) {
            Some((text, "")) => sql::literal(&text),
            _ => raw.to_owned(),
        }),
        Flavor::MySql if extra.contains("DEFAULT_GENERATED") => Some(expression(raw, flavor)),
        Flavor::MySql => Some(match logical {
            LogicalType::Integer { .. }
            | LogicalType::Decimal { .. }
            | LogicalType::Float32
            | LogicalType::Float64
            | LogicalType::Bit { .. } => raw.to_owned(),
            LogicalType::Bytes { .. } if raw.starts_with("0x") => match raw.len() {
                2 => "''".to_owned(),
                _ => raw.to_owned(),
            },
            _ => sql::literal(raw),
        }),
    }
}

/// An expression as one would write it.
pub(super) fn expression(raw: &str, flavor: Flavor) -> String {
    if flavor == Flavor::MariaDb {
        return raw.to_owned();
    }
    let mut text = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.extend(chars.next()),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> LogicalType {
        LogicalType::Text { max_chars: Some(20), fixed: false, charset: None, collation: None }
    }

    fn mysql(raw: &str, extra: &str, logical: &LogicalType) -> Option<String> {
        normalise(Some(raw), extra, logical, Flavor::MySql)
    }

    fn mariadb(raw: &str, logical: &LogicalType) -> Option<String> {
        normalise(Some(raw), "", logical, Flavor::MariaDb)
    }

    #[test]
    fn literals_are_quoted_alike() {
        assert_eq!(mysql("it's", "", &text()).as_deref(), Some("'it''s'"));
        assert_eq!(mariadb("'it''s'", &text()).as_deref(), Some("'it''s'"));
        assert_eq!(mysql("a\\b\nc", "", &text()).as_deref(), Some("'a\\\\b\nc'"));
        assert_eq!(mariadb("'a\\\\b\\nc'", &text()).as_deref(), Some("'a\\\\b\nc'"));
        assert_eq!(mysql("", "", &text()).as_deref(), Some("''"));
        assert_eq!(mysql("2020-01-01", "", &LogicalType::Date).as_deref(), Some("'2020-01-01'"));
    }

    #[test]
    fn numbers_and_bits_stay_bare() {
        let integer = LogicalType::Integer { bits: 32, signed: true };
        assert_eq!(mysql("5", "", &integer).as_deref(), Some("5"));
        assert_eq!(mysql("b'101'", "", &LogicalType::Bit { width: 4 }).as_deref(), Some("b'101'"));
        assert_eq!(mariadb("b'101'", &LogicalType::Bit { width: 4 }).as_deref(), Some("b'101'"));
        let binary = LogicalType::Bytes { max_bytes: Some(3), fixed: true };
        assert_eq!(mysql("0x6162", "", &binary).as_deref(), Some("0x6162"));
    }

    #[test]
    fn the_word_null_is_a_default_only_in_quotes() {
        assert_eq!(mariadb("NULL", &text()), None);
        assert_eq!(mariadb("'NULL'", &text()).as_deref(), Some("'NULL'"));
        assert_eq!(mysql("NULL", "", &text()).as_deref(), Some("'NULL'"));
        assert_eq!(normalise(None, "", &text(), Flavor::MySql), None);
    }

    #[test]
    fn expressions_lose_mysqls_second_escaping() {
        let stamp = LogicalType::Timestamp { precision: 0, zoned: true };
        assert_eq!(
            mysql("CURRENT_TIMESTAMP", "DEFAULT_GENERATED on update CURRENT_TIMESTAMP", &stamp).as_deref(),
            Some("CURRENT_TIMESTAMP")
        );
        assert_eq!(
            expression(r"concat(_utf8mb4\'x\\\\y\',_utf8mb4\'it\\\'s\')", Flavor::MySql),
            r"concat(_utf8mb4'x\\y',_utf8mb4'it\'s')"
        );
    }
}
