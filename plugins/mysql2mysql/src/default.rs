//! Defaults, which MySQL writes in one way for literals and in another for expressions.

use migration_sdk::LogicalType;

use migration_sdk::mysql::Flavor;

/// The default in the target's SQL.
pub(crate) fn translate(default: &str, logical: &LogicalType, target_type: &str, target: Flavor) -> String {
    let text = default.trim();
    if is_literal(text) {
        // MySQL takes a literal for a type of any length as an expression only.
        return if !target.is_mariadb && is_long(logical, target_type) {
            format!("({text})")
        } else {
            text.to_owned()
        };
    }
    let name = text.split('(').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_clock = matches!(name.as_str(), "current_timestamp" | "now" | "localtimestamp" | "localtime");
    if is_clock && matches!(logical, LogicalType::Timestamp(_)) || text.starts_with('(') {
        return text.to_owned();
    }
    format!("({text})")
}

/// Whether `MariaDB` makes the value with a sequence, in either of its spellings; `information_schema` shows the first.
pub(crate) fn takes_from_sequence(default: &str) -> bool {
    let text = default.trim().trim_start_matches('(').to_ascii_lowercase();
    !is_literal(&text)
        && ["nextval(", "next value for ", "lastval(", "setval("].iter().any(|call| text.contains(call))
}

fn is_literal(text: &str) -> bool {
    let number = text.strip_prefix('-').unwrap_or(text);
    let is_number =
        number.starts_with(|c: char| c.is_ascii_digit() || c == '.') && text.parse::<f64>().is_ok();
    let quoted = |prefix: &str| text.starts_with(prefix) && text.ends_with('\'') && text.len() > prefix.len();
    let whole = quoted("'")
        && !text
            .get(1..text.len() - 1)
            .unwrap_or_default()
            .replace("''", "")
            .replace("\\'", "")
            .contains('\'');
    is_number || whole || quoted("b'") || quoted("x'") || text.starts_with("0x")
}

fn is_long(logical: &LogicalType, target_type: &str) -> bool {
    let word = target_type.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    matches!(logical, LogicalType::Json | LogicalType::Other(_))
        || word.to_ascii_lowercase().ends_with("text")
        || word.to_ascii_lowercase().ends_with("blob")
        || word.eq_ignore_ascii_case("json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_sdk::testing;

    #[test]
    fn sequences() {
        assert!(takes_from_sequence("nextval(`shop`.`s`)"));
        assert!(takes_from_sequence("(NEXT VALUE FOR `s`)"));
        assert!(!takes_from_sequence("'nextval(`s`)'"));
        assert!(!takes_from_sequence("uuid()"));
    }

    #[test]
    fn literals_and_expressions() {
        let mysql = Flavor { is_mariadb: false, version: (9, 7, 0) };
        let of = |text: &str, target_type: &str| translate(text, &testing::text(20), target_type, mysql);
        assert_eq!(of("'it''s'", "varchar(20)"), "'it''s'");
        assert_eq!(of("'a'", "longtext"), "('a')");
        assert_eq!(of("uuid()", "varchar(36)"), "(uuid())");
        assert_eq!(of("(uuid())", "varchar(36)"), "(uuid())");
        assert_eq!(of("-5", "int"), "-5");
        assert_eq!(of("b'101'", "bit(3)"), "b'101'");
        assert_eq!(of("'a' + 'b'", "int"), "('a' + 'b')");
    }
}
