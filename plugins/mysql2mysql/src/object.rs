//! Views, triggers, routines and events: where they go, and what the target calls their session.

use migration_sdk::{DatabaseObject, Endpoint, ObjectAction, ObjectDefiner, ObjectMapping};

use crate::charset;
use crate::config::{Config, Definer};
use crate::naming;
use migration_sdk::mysql::Flavor;

/// Modes that change nothing of what a stored program means: they are about statements for accounts, and
/// about what a server shows.
const WITHOUT_EFFECT: [&str; 6] =
    ["NO_AUTO_CREATE_USER", "NO_FIELD_OPTIONS", "NO_KEY_OPTIONS", "NO_TABLE_OPTIONS", "MYSQL40", "MYSQL323"];
/// Modes that both kinds of server have, with the same meaning.
const COMMON: [&str; 20] = [
    "ALLOW_INVALID_DATES",
    "ANSI",
    "ANSI_QUOTES",
    "ERROR_FOR_DIVISION_BY_ZERO",
    "HIGH_NOT_PRECEDENCE",
    "IGNORE_SPACE",
    "NO_AUTO_VALUE_ON_ZERO",
    "NO_BACKSLASH_ESCAPES",
    "NO_DIR_IN_CREATE",
    "NO_ENGINE_SUBSTITUTION",
    "NO_UNSIGNED_SUBTRACTION",
    "NO_ZERO_DATE",
    "NO_ZERO_IN_DATE",
    "ONLY_FULL_GROUP_BY",
    "PAD_CHAR_TO_FULL_LENGTH",
    "PIPES_AS_CONCAT",
    "REAL_AS_FLOAT",
    "STRICT_ALL_TABLES",
    "STRICT_TRANS_TABLES",
    "TRADITIONAL",
];

/// Decides about `object`.
pub(crate) fn map(
    config: &Config,
    object: &DatabaseObject,
    source: &Endpoint,
    target: &Endpoint,
) -> ObjectAction {
    let full_name = format!("{}.{}", object.namespace, object.name);
    if !config.objects.copy || migration_sdk::selection::is_one_of(&config.objects.exclude, &full_name) {
        return ObjectAction::LeaveOut("as configured".to_owned());
    }
    let (from, to) = (Flavor::of(source), Flavor::of(target));
    let mut environment = Vec::with_capacity(object.environment.len());
    for (name, value) in &object.environment {
        let value = match name.as_str() {
            "sql_mode" => match sql_mode(value, from, to) {
                Ok(mode) => mode,
                Err(mode) => {
                    return ObjectAction::LeaveOut(format!(
                        "its sql_mode has {mode}, which {} has not",
                        to.name()
                    ));
                }
            },
            "character_set_client" | "collation_connection" | "database_collation" => {
                charset::map(value, to).name
            }
            _ => value.clone(),
        };
        environment.push((name.clone(), value));
    }
    ObjectAction::Copy(ObjectMapping {
        namespace: naming::database(config, &object.namespace, target),
        definition: object.definition.clone(),
        definer: match config.objects.definer {
            Definer::Keep => ObjectDefiner::Keep,
            Definer::Account => ObjectDefiner::Account,
            Definer::Invoker => ObjectDefiner::Invoker,
        },
        environment,
    })
}

/// The mode by the target's names, or one that it doesn't have.
fn sql_mode(mode: &str, from: Flavor, to: Flavor) -> Result<String, &str> {
    let is_same = from.is_mariadb == to.is_mariadb;
    if is_same && to.is_mariadb {
        // Which has never given a mode up.
        return Ok(mode.to_owned());
    }
    let mut kept = Vec::new();
    for name in mode.split(',').filter(|name| !name.is_empty() && !WITHOUT_EFFECT.contains(name)) {
        if !is_same && !COMMON.contains(&name) {
            return Err(name);
        }
        kept.push(name);
    }
    Ok(kept.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MYSQL: Flavor = Flavor { is_mariadb: false, version: (9, 7, 0) };
    const MARIADB: Flavor = Flavor { is_mariadb: true, version: (10, 11, 0) };

    #[test]
    fn modes_that_matter_are_kept_or_said_to_be_missing() {
        let mode = "ANSI_QUOTES,NO_AUTO_CREATE_USER,STRICT_TRANS_TABLES";
        assert_eq!(sql_mode(mode, MARIADB, MYSQL), Ok("ANSI_QUOTES,STRICT_TRANS_TABLES".to_owned()));
        assert_eq!(sql_mode("ORACLE", MARIADB, MYSQL), Err("ORACLE"));
        assert_eq!(sql_mode("ORACLE", MARIADB, MARIADB), Ok("ORACLE".to_owned()));
        assert_eq!(sql_mode("", MYSQL, MARIADB), Ok(String::new()));
    }
}
