//! Names in PostgreSQL's SQL.

use engine_core::schema::TableName;
use sha2::{Digest, Sha256};

/// Longest name in bytes; the server cuts longer ones in silence (`NAMEDATALEN - 1`).
pub(crate) const MAX_BYTES: usize = 63;

/// A quoted identifier.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A quoted string literal.
pub(crate) fn literal(text: &str) -> String {
    if text.contains('\\') {
        // Means the same whatever `standard_conforming_strings` says.
        format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

/// A name that fits: itself, or its beginning with a hash of the whole, so that two long names that
/// begin alike stay apart.
pub(crate) fn fit(name: &str) -> String {
    if name.len() <= MAX_BYTES {
        return name.to_owned();
    }
    let digest = Sha256::digest(name.as_bytes());
    let hash = hex::encode(digest.get(..4).unwrap_or_default());
    let mut end = MAX_BYTES - hash.len() - 1;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}_{hash}", &name[..end])
}

/// `"schema"."table"`.
pub(crate) fn qualified(table: &TableName) -> String {
    format!("{}.{}", quote(&fit(&table.namespace)), quote(&fit(&table.name)))
}

/// A column's name, cut and quoted.
pub(crate) fn column(name: &str) -> String {
    quote(&fit(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes() {
        assert_eq!(quote(r#"a"b"#), r#""a""b""#);
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"a\'b"), r"E'a\\''b'");
        assert_eq!(qualified(&TableName::new("My Shop", "t")), r#""My Shop"."t""#);
    }

    #[test]
    fn cuts_long_names_apart_and_always_alike() {
        let long = "x".repeat(70);
        let longer = "x".repeat(71);
        assert_eq!(fit(&long).len(), MAX_BYTES);
        assert_ne!(fit(&long), fit(&longer));
        assert_eq!(fit(&long), fit(&long));
        assert_eq!(fit(&"y".repeat(63)), "y".repeat(63));
    }

    #[test]
    fn cuts_between_characters() {
        let name = "é".repeat(40);
        let cut = fit(&name);
        assert!(cut.len() <= MAX_BYTES && cut.starts_with('é'));
    }
}
