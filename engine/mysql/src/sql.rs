//! Pieces of SQL text: quoted names and literals.

use engine_core::schema::TableName;

/// A name in backquotes.
pub(crate) fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// `database`.`table`
pub(crate) fn table(name: &TableName) -> String {
    format!("{}.{}", identifier(&name.namespace), identifier(&name.name))
}

/// Text as a literal that means the same whatever it holds, under the engine's own `sql_mode`.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// The text of a quoted literal as the server prints it, and what follows the closing quote.
///
/// The server doubles quotes and escapes backslash, newline, carriage return and NUL.
pub(crate) fn unquote(sql: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut chars = sql.strip_prefix('\'')?.chars();
    loop {
        match chars.next()? {
            '\'' => match chars.as_str().strip_prefix('\'') {
                Some(rest) => {
                    text.push('\'');
                    chars = rest.chars();
                }
                None => return Some((text, chars.as_str())),
            },
            '\\' => text.push(match chars.next()? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '0' => '\0',
                'Z' => '\u{1a}',
                'b' => '\u{8}',
                other => other,
            }),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_cannot_escape_their_quotes() {
        assert_eq!(table(&TableName::new("a`b", "c")), "`a``b`.`c`");
    }

    #[test]
    fn reads_what_the_server_escapes() {
        assert_eq!(unquote(r"'a\\b','c'"), Some((r"a\b".to_owned(), ",'c'")));
        assert_eq!(unquote(r"'it''s\n\0'"), Some(("it's\n\0".to_owned(), "")));
        assert_eq!(unquote("'open"), None);
        assert_eq!(unquote("5"), None);
    }

    proptest! {
        #[test]
        fn literals_round_trip(text in any::<String>()) {
            let quoted = literal(&text);
            prop_assert_eq!(unquote(&quoted), Some((text, "")));
        }
    }
}
