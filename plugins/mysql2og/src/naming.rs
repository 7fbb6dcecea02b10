//! Which tables take part, and what they are called.

use migration_sdk::{TableSchema, planning::TargetTable};

use crate::config::{Config, TableOverride};

/// Whether the table is among those the user asked for.
pub(crate) fn selected(config: &Config, table: &TableSchema) -> bool {
    let name = format!("{}.{}", table.namespace, table.name);
    let any =
        |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern.as_bytes(), name.as_bytes()));
    (config.include.is_empty() || any(&config.include)) && !any(&config.exclude)
}

/// The table's name in the target.
pub(crate) fn target(config: &Config, table: &TableSchema, exception: &TableOverride) -> TargetTable {
    let namespace = exception.schema.clone().or_else(|| config.schemas.get(&table.namespace).cloned());
    TargetTable {
        namespace: namespace
            .unwrap_or_else(|| cased(config, &format!("{}{}", config.schema_prefix, table.namespace))),
        name: exception.name.clone().unwrap_or_else(|| cased(config, &table.name)),
    }
}

/// A name in the letter case that the user asked for.
pub(crate) fn cased(config: &Config, name: &str) -> String {
    if config.lowercase_names { name.to_lowercase() } else { name.to_owned() }
}

/// Whether `pattern`, in which `*` stands for any characters, matches all of `name`.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            matches(rest, name) || name.split_first().is_some_and(|(_, tail)| matches(pattern, tail))
        }
        (Some((one, rest)), Some((other, tail))) => one == other && matches(rest, tail),
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
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
