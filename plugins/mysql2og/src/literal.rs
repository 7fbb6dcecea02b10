//! Literals of the source's SQL.

/// A literal default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Literal {
    /// `'it''s'`, its text.
    Text(String),
    /// `42`, `-1.5e3`, as written.
    Number(String),
    /// `b'0101'`, its digits.
    Bits(String),
    /// `x'00ff'` or `0x00ff`, its bytes as lower-case hexadecimal digits.
    Hex(String),
}

impl Literal {
    /// Reads a literal; `None` for anything else.
    pub(crate) fn parse(sql: &str) -> Option<Self> {
        let lower = sql.to_ascii_lowercase();
        if sql.starts_with('\'') {
            return unquote(sql).map(Self::Text);
        }
        if let Some(rest) = lower.strip_prefix('_')
            && let Some(quote) = rest.find('\'')
            && rest.get(..quote)?.bytes().all(|byte| byte.is_ascii_alphanumeric())
        {
            // A character set introducer: the text has already been converted.
            return unquote(sql.get(quote + 1..)?).map(Self::Text);
        }
        if let Some(digits) = quoted(&lower, 'b') {
            return digits
                .bytes()
                .all(|byte| matches!(byte, b'0' | b'1'))
                .then(|| Self::Bits(digits.to_owned()));
        }
        if let Some(digits) = quoted(&lower, 'x').or_else(|| lower.strip_prefix("0x")) {
            let even = digits.len().is_multiple_of(2);
            return (even && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
                .then(|| Self::Hex(digits.to_owned()));
        }
        is_number(sql).then(|| Self::Number(sql.to_owned()))
    }
}

/// Whether `text` is a decimal number as SQL writes it.
pub(crate) fn is_number(text: &str) -> bool {
    let starts_like_one =
        text.trim_start_matches(['-', '+']).starts_with(|first: char| first.is_ascii_digit() || first == '.');
    starts_like_one && text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// `text` as a literal of the target.
pub(crate) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn quoted(lower: &str, prefix: char) -> Option<&str> {
    lower.strip_prefix(prefix)?.strip_prefix('\'')?.strip_suffix('\'')
}

/// The text of a literal that doubles quotes and escapes with backslashes.
fn unquote(sql: &str) -> Option<String> {
    let mut text = String::new();
    let mut characters = sql.strip_prefix('\'')?.chars();
    loop {
        match characters.next()? {
            '\'' => match characters.next() {
                Some('\'') => text.push('\''),
                Some(_) => return None,
                None => return Some(text),
            },
            '\\' => text.push(match characters.next()? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'b' => '\u{8}',
                'Z' => '\u{1a}',
                '0' => '\0',
                other => other,
            }),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_source_prints() {
        for (sql, expected) in [
            ("'it''s'", Literal::Text("it's".into())),
            (r"'a\\b\n'", Literal::Text("a\\b\n".into())),
            ("_utf8mb4'{}'", Literal::Text("{}".into())),
            ("b'0101'", Literal::Bits("0101".into())),
            ("0xFF00", Literal::Hex("ff00".into())),
            ("x'0a'", Literal::Hex("0a".into())),
            ("-1.50", Literal::Number("-1.50".into())),
        ] {
            assert_eq!(Literal::parse(sql), Some(expected), "{sql}");
        }
        for sql in ["uuid()", "'open", "'a' + 'b'", "nan", "inf", "1 + 1", "0xF", "b'2'", ""] {
            assert_eq!(Literal::parse(sql), None, "{sql}");
        }
    }
}
