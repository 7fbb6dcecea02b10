//! Collations of one server by the names of the other.

use migration_sdk::mysql::Flavor;

/// Character set and collation in the target, and what differs, if anything does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Collation {
    pub(crate) charset: String,
    pub(crate) name: String,
    pub(crate) differs: Option<String>,
}

/// The target's collation for one of the source.
pub(crate) fn map(collation: &str, target: Flavor) -> Collation {
    let (charset, rest) = collation.split_once('_').unwrap_or((collation, ""));
    let charset = utf8(charset, target);
    if rest.is_empty() {
        return Collation { charset: charset.clone(), name: charset, differs: None };
    }
    let (rest, differs) = match (target.is_mariadb, rest) {
        (true, _) if collation.contains("_0900_") => mariadb(rest, target),
        (false, _) if rest.contains("uca1400_") || rest.contains("nopad_") => mysql(&charset, rest),
        _ => (rest.to_owned(), None),
    };
    let name = format!("{charset}_{rest}");
    let differs = differs.map(|why| format!("the collation {collation} becomes {name}: {why}"));
    Collation { charset, name, differs }
}

/// Whether values that are not the same byte for byte may be the same text: `sjis` has a backslash at 5C and
/// at 815F by MySQL's tables, the others have characters of several vendors twice.
pub(crate) fn has_double_codes(charset: &str) -> bool {
    matches!(charset, "sjis" | "cp932" | "big5" | "ujis" | "eucjpms")
}

/// `utf8` is what older servers call `utf8mb3`.
fn utf8(charset: &str, target: Flavor) -> String {
    let new_name = target.is_mariadb_since((10, 6, 0)) || target.is_mysql_since((8, 0, 30));
    match charset {
        "utf8" | "utf8mb3" if new_name => "utf8mb3".to_owned(),
        "utf8" | "utf8mb3" => "utf8".to_owned(),
        other => other.to_owned(),
    }
}

/// MySQL's collations of Unicode 9 by MariaDB's of Unicode 14, none of which pads either.
fn mariadb(rest: &str, target: Flavor) -> (String, Option<String>) {
    let sensitivity = rest.rsplit_once("0900_").map_or("ai_ci", |(_, sensitivity)| sensitivity);
    if sensitivity == "bin" {
        return ("nopad_bin".to_owned(), None);
    }
    let is_tailored = !rest.starts_with("0900_");
    let mut why = "characters that Unicode changed since version 9 may compare otherwise".to_owned();
    if is_tailored {
        why.push_str(", and so does what is special to the language");
    }
    if target.is_mariadb_since((10, 10, 0)) {
        return (format!("uca1400_nopad_{sensitivity}"), Some(why));
    }
    if sensitivity != "ai_ci" {
        why.push_str(", and accents and letter case don't count");
    }
    ("unicode_520_nopad_ci".to_owned(), Some(why))
}

/// MariaDB's collations by MySQL's.
fn mysql(charset: &str, rest: &str) -> (String, Option<String>) {
    let padded = "spaces at the end count otherwise";
    let unicode = "characters that Unicode changed between versions 9 and 14 may compare otherwise";
    let is_full = charset == "utf8mb4";
    if let Some((_, sensitivity)) = rest.rsplit_once("uca1400_") {
        let (no_pad, sensitivity) = match sensitivity.strip_prefix("nopad_") {
            Some(sensitivity) => (true, sensitivity),
            None => (false, sensitivity),
        };
        let sensitivity = match sensitivity {
            "ai_ci" | "as_ci" | "as_cs" => sensitivity,
            // MySQL has none that tells letters' case but not accents.
            _ => "as_cs",
        };
        return match is_full {
            true if no_pad => (format!("0900_{sensitivity}"), Some(unicode.to_owned())),
            true => (format!("0900_{sensitivity}"), Some(format!("{unicode}, and {padded}"))),
            false => ("unicode_ci".to_owned(), Some(format!("{unicode}, and {padded}"))),
        };
    }
    if is_full && rest == "nopad_bin" {
        return ("0900_bin".to_owned(), None);
    }
    (rest.replace("nopad_", ""), Some(padded.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MYSQL: Flavor = Flavor { is_mariadb: false, version: (9, 7, 0) };
    const MARIADB: Flavor = Flavor { is_mariadb: true, version: (10, 11, 0) };

    #[test]
    fn collations_have_a_name_on_the_other_side() {
        for (from, target, to, differs) in [
            ("utf8mb4_0900_ai_ci", MYSQL, "utf8mb4_0900_ai_ci", false),
            ("utf8mb4_0900_ai_ci", MARIADB, "utf8mb4_uca1400_nopad_ai_ci", true),
            ("utf8mb4_0900_bin", MARIADB, "utf8mb4_nopad_bin", false),
            ("utf8mb4_de_pb_0900_as_cs", MARIADB, "utf8mb4_uca1400_nopad_as_cs", true),
            ("utf8mb4_uca1400_ai_ci", MYSQL, "utf8mb4_0900_ai_ci", true),
            ("utf8mb4_nopad_bin", MYSQL, "utf8mb4_0900_bin", false),
            ("latin1_nopad_bin", MYSQL, "latin1_bin", true),
            ("utf8_general_ci", MYSQL, "utf8mb3_general_ci", false),
            ("latin1_swedish_ci", MARIADB, "latin1_swedish_ci", false),
            ("binary", MARIADB, "binary", false),
        ] {
            let mapped = map(from, target);
            assert_eq!((mapped.name.as_str(), mapped.differs.is_some()), (to, differs), "{from}");
        }
    }
}
