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

/// The table's name in the target.
pub(crate) fn target(
    config: &Config,
    table: &TableSchema,
    exception: &TableOverride,
    (source, target): (&Endpoint, &Endpoint),
) -> TargetTable {
    let configured = exception.database.clone().or_else(|| config.databases.get(&table.namespace).cloned());
    let of_public = || {
        let is_public = table.namespace == "public";
        database(target).or_else(|| database(source)).filter(|_| is_public).map(str::to_owned)
    };
    TargetTable {
        namespace: configured.or_else(of_public).unwrap_or_else(|| table.namespace.clone()),
        name: exception.name.clone().unwrap_or_else(|| table.name.clone()),
    }
}

fn database(endpoint: &Endpoint) -> Option<&str> {
    endpoint.attributes.iter().find(|(name, _)| name == "database").map(|(_, database)| database.as_str())
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
            ("public.*", "public.orders", true),
            ("*.log_*", "public.log_2024", true),
            ("public.orders", "public.orders_old", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
