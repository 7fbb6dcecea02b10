//! Which tables take part, and what they are called.

use migration_sdk::{Endpoint, TableSchema, planning::TargetTable};

use crate::config::{Config, TableOverride};

/// Whether the table is among those the user asked for.
pub(crate) fn selected(config: &Config, table: &TableSchema) -> bool {
    let name = format!("{}.{}", table.namespace, table.name);
    (config.include.is_empty() || is_one_of(&config.include, &name)) && !is_one_of(&config.exclude, &name)
}

/// Whether one of the patterns matches `name`.
pub(crate) fn is_one_of(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern.as_bytes(), name.as_bytes()))
}

/// The database in the target of one in the source.
pub(crate) fn database(config: &Config, namespace: &str, target: &Endpoint) -> String {
    let of_url = || {
        let named = target.attributes.iter().find(|(name, _)| name == "database");
        named.map(|(_, database)| database.clone())
    };
    config.databases.get(namespace).cloned().or_else(of_url).unwrap_or_else(|| namespace.to_owned())
}

/// The table's name in the target: as configured, else in the database that the target's URL names,
/// else in one that is called as the source's.
pub(crate) fn target(
    config: &Config,
    table: &TableSchema,
    exception: &TableOverride,
    target: &Endpoint,
) -> TargetTable {
    TargetTable {
        namespace: exception.database.clone().unwrap_or_else(|| database(config, &table.namespace, target)),
        name: exception.name.clone().unwrap_or_else(|| table.name.clone()),
    }
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
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
