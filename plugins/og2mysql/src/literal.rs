//! Literals, of either side.

/// `text` as a literal of MySQL.
pub(crate) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// The text of a literal of PostgreSQL that stands alone: `'it''s'`, `E'a\\b'`.
pub(crate) fn unquote(sql: &str) -> Option<String> {
    let (escapes, rest) = match sql.strip_prefix(['E', 'e']) {
        Some(rest) => (true, rest),
        None => (false, sql),
    };
    let mut text = String::new();
    let mut characters = rest.strip_prefix('\'')?.chars();
    loop {
        match characters.next()? {
            '\'' => match characters.next() {
                Some('\'') => text.push('\''),
                Some(_) => return None,
                None => return Some(text),
            },
            '\\' if escapes => match characters.next()? {
                // `pg_get_expr` writes no escape but this.
                '\\' => text.push('\\'),
                _ => return None,
            },
            other => text.push(other),
        }
    }
}

/// A literal or expression, and the type that `::` makes of it.
pub(crate) fn cast(sql: &str) -> (&str, Option<&str>) {
    let end_of_literal = sql.rfind('\'').map_or(0, |quote| quote + 1);
    match sql.get(end_of_literal..).and_then(|rest| rest.find("::")) {
        Some(place) => {
            let (value, rest) = sql.split_at(end_of_literal + place);
            (value, rest.strip_prefix("::"))
        }
        None => (sql, None),
    }
}

/// Whether `text` is a decimal number as SQL writes it.
pub(crate) fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
        && digits.parse::<f64>().is_ok_and(f64::is_finite)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_as_the_server_prints_them() {
        assert_eq!(unquote("'it''s'").as_deref(), Some("it's"));
        assert_eq!(unquote(r"'a\b'").as_deref(), Some(r"a\b"));
        assert_eq!(unquote(r"E'a\\b'").as_deref(), Some(r"a\b"));
        assert_eq!(unquote("'a' || 'b'"), None);
        assert_eq!(cast("'a::b'::text"), ("'a::b'", Some("text")));
        assert_eq!(cast("'-1'::integer"), ("'-1'", Some("integer")));
        assert_eq!(cast("now()"), ("now()", None));
        assert_eq!(quote(r"it's a\b"), r"'it''s a\\b'");
    }
}
