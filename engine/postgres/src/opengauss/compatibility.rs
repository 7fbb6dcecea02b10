//! What follows from what a database was made compatible with.

use engine_core::endpoint::Endpoint;
use engine_core::finding::{Finding, Severity};

/// Attribute of an openGauss endpoint: `A`, `B`, `C`, `PG` or `D`, fixed when the database was created.
pub(crate) const SQL_COMPATIBILITY: &str = "sql_compatibility";

/// Attribute of an openGauss endpoint: whether its SQL tells an empty string from NULL, [`KEPT`] or `null`.
pub(crate) const EMPTY_STRINGS: &str = "empty_strings";

/// That it does.
pub(crate) const KEPT: &str = "kept";

/// What [`EMPTY_STRINGS`] is in a database of this mode and with these `behavior_compat_options`.
pub(crate) fn empty_strings(mode: &str, options: &str) -> &'static str {
    let accepted = options.split(',').any(|option| option.trim() == "accept_empty_str");
    if mode == "A" && !accepted { "null" } else { KEPT }
}

/// Whether the database has the extension that makes B compatible with MySQL in more than name.
pub(crate) fn has_dolphin(endpoint: &Endpoint) -> bool {
    endpoint
        .attribute("extensions")
        .is_some_and(|extensions| extensions.split(',').any(|extension| extension == "dolphin"))
}

/// Says what the database is compatible with and what rows will meet there.
pub(crate) fn findings(endpoint: &Endpoint) -> Vec<Finding> {
    let mode = endpoint.attribute(SQL_COMPATIBILITY).unwrap_or_default();
    let is_kept = endpoint.attribute(EMPTY_STRINGS) == Some(KEPT);
    let (severity, message, fix) = match (mode, has_dolphin(endpoint)) {
        ("A", _) if is_kept => (
            Severity::Warning,
            "A (Oracle), told by accept_empty_str to keep empty strings, which applications need too; char(n) and \
             varchar(n) count bytes, a date has a time of day",
            None,
        ),
        ("A", _) => (
            Severity::Warning,
            "A (Oracle): an empty string is NULL and stops the task unless the plan makes it NULL; char(n) and \
             varchar(n) count bytes, a date has a time of day",
            Some(
                "CREATE DATABASE … DBCOMPATIBILITY 'PG' or 'B' keeps empty strings apart from NULL; else set \
                 empty_strings = \"null\" for mysql2og",
            ),
        ),
        ("C", _) => (Severity::Warning, "C (Teradata): char(n) and varchar(n) count bytes", None),
        ("B", true) => (
            Severity::Pass,
            "B (MySQL) with dolphin: empty strings are kept, char(n) and varchar(n) count characters",
            None,
        ),
        ("B", false) => (
            Severity::Note,
            "B (MySQL) without dolphin: empty strings are kept; unsigned types, ENUM and YEAR are not there",
            Some(
                "where dolphin is installed, it is created when the initial user first connects to the database",
            ),
        ),
        ("PG", _) => (
            Severity::Pass,
            "PG (PostgreSQL): empty strings are kept, char(n) and varchar(n) count characters",
            None,
        ),
        _ => (Severity::Warning, "it is none of those whose consequences are known", None),
    };
    vec![Finding {
        severity,
        subject: format!("target {SQL_COMPATIBILITY}"),
        message: if message.starts_with(mode) && !mode.is_empty() {
            message.to_owned()
        } else {
            format!("'{mode}': {message}")
        },
        fix: fix.map(str::to_owned),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(mode: &str, extensions: &str) -> String {
        let attributes = vec![
            (SQL_COMPATIBILITY.to_owned(), mode.to_owned()),
            (EMPTY_STRINGS.to_owned(), empty_strings(mode, "").to_owned()),
            ("extensions".to_owned(), extensions.to_owned()),
        ];
        let endpoint = Endpoint { engine: "opengauss".to_owned(), version: "7.0.0".to_owned(), attributes };
        findings(&endpoint).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_the_mode_and_what_follows() {
        assert!(
            said("A", "plpgsql")
                .starts_with("warning: target sql_compatibility: A (Oracle): an empty string is NULL")
        );
        assert!(said("B", "dolphin,plpgsql").starts_with("pass"));
        assert!(said("B", "plpgsql").contains("without dolphin"));
        assert!(said("PG", "").starts_with("pass"));
        assert!(said("D", "").contains("'D': it is none of those"));
    }

    #[test]
    fn an_option_keeps_empty_strings() {
        assert_eq!(empty_strings("A", "display_leading_zero,accept_empty_str"), KEPT);
        assert_eq!(empty_strings("A", "display_leading_zero"), "null");
        assert_eq!(empty_strings("PG", ""), KEPT);
    }
}
