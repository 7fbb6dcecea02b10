//! Which tables take part, by patterns that users write.

use crate::TableSchema;

/// Whether the table, as "namespace.table", is one of `include` (or that is empty) and none of `exclude`.
pub fn takes(include: &[String], exclude: &[String], table: &TableSchema) -> bool {
    let name = table.full_name();
    (include.is_empty() || is_one_of(include, &name)) && !is_one_of(exclude, &name)
}

/// Whether one of the patterns [matches](matches()) `name`.
pub fn is_one_of(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, name))
}

/// Whether `pattern`, in which `*` stands for any characters, matches all of `name`.
pub fn matches(pattern: &str, name: &str) -> bool {
    bytes_match(pattern.as_bytes(), name.as_bytes())
}

fn bytes_match(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            bytes_match(rest, name) || name.split_first().is_some_and(|(_, tail)| bytes_match(pattern, tail))
        }
        (Some((one, rest)), Some((other, tail))) => one == other && bytes_match(rest, tail),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_match_any_characters() {
        for (pattern, name, expected) in [
            ("shop.*", "shop.orders", true),
            ("*.log_*", "shop.log_2024", true),
            ("shop.orders", "shop.orders_old", false),
            ("*", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
