//! Which tables take part, and what they are called.

use migration_sdk::{Endpoint, TableSchema, planning::TargetTable};

use crate::config::{Config, TableOverride};

/// Whether the table is among those the user asked for.
pub(crate) fn selected(config: &Config, table: &TableSchema) -> bool {
    let name = format!("{}.{}", table.namespace, table.name);
    let any =
        |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern.as_bytes(), name.as_bytes()));
    (config.include.is_empty() || any(&config.include)) && !any(&config.exclude)
}

/// The table's name in the target: as configured, else in the database that the target's URL names,
/// else in one that is called as the source's.
pub(crate) fn target(
    config: &Config,
    table: &TableSchema,
    exception: &TableOverride,
    target: &Endpoint,
) -> TargetTable {
    let configured = exception.database.clone().or_else(|| config.databases.get(&table.namespace).cloned());
    let of_url = || {
        let named = target.attributes.iter().find(|(name, _)| name == "database");
        named.map(|(_, database)| database.clone())
    };
    TargetTable {
        namespace: configured.or_else(of_url).unwrap_or_else(|| table.namespace.clone()),
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
