//! Which SQL a target speaks: PostgreSQL's of today, or openGauss's, which branched off at 9.2.4.
//!
//! Most statements are in words that both know. What is left is in here, and in [`apply_sql`](crate::apply_sql):
//! openGauss has no `ON CONFLICT` (changes are merged), no identity columns (sequences number rows), no
//! `lock_timeout` and no `unnest` of several arrays; its database of compatibility A takes an empty string for NULL
//! and has a time of day in every date; with the extension dolphin a `timestamp` has a time zone unless it says
//! that it has none.

use engine_core::endpoint::Endpoint;
use tokio_postgres::error::SqlState;

use crate::opengauss::compatibility::{self, EMPTY_STRINGS, SQL_COMPATIBILITY};
use crate::pg_type::PgType;

/// The SQL of a server, and of openGauss the rules of one database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// PostgreSQL.
    Postgres,
    /// openGauss.
    OpenGauss(Rules),
}

/// What is different from one openGauss database to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    /// An empty string is NULL to its SQL.
    empty_is_null: bool,
    /// `date` is `timestamp(0)`.
    date_has_time: bool,
    /// The extension dolphin is there.
    dolphin: bool,
}

impl Dialect {
    /// The dialect of a server that says this of itself.
    pub(crate) fn of(endpoint: &Endpoint) -> Self {
        if endpoint.engine != "opengauss" {
            return Self::Postgres;
        }
        let is_oracle = endpoint.attribute(SQL_COMPATIBILITY) == Some("A");
        let is_null = endpoint.attribute(EMPTY_STRINGS) != Some(compatibility::KEPT);
        Self::OpenGauss(Rules {
            empty_is_null: is_oracle && is_null,
            date_has_time: is_oracle,
            dolphin: compatibility::has_dolphin(endpoint),
        })
    }

    /// Whether it is openGauss's.
    pub(crate) fn is_opengauss(self) -> bool {
        matches!(self, Self::OpenGauss(_))
    }

    /// Whether the server's SQL takes an empty string for NULL. A text of no characters, which some ways of loading
    /// rows store all the same, would be one that no condition finds and that a dump makes NULL; so none writes it.
    pub(crate) fn empty_is_null(self) -> bool {
        matches!(self, Self::OpenGauss(Rules { empty_is_null: true, .. }))
    }

    /// The type that a column gets which is declared with this one.
    pub(crate) fn stored(self, declared: PgType) -> PgType {
        match (self, declared) {
            (Self::OpenGauss(Rules { date_has_time: true, .. }), PgType::Date) => PgType::Timestamp(0),
            (_, declared) => declared,
        }
    }

    /// How a type is declared, so that its columns get it. `declared` is the plan's own text.
    pub(crate) fn declaration(self, declared: &str) -> String {
        match (self, PgType::parse(declared)) {
            // Dolphin reads `timestamp` as MySQL's, which is an instant.
            (Self::OpenGauss(Rules { dolphin: true, .. }), PgType::Timestamp(digits)) => {
                format!("timestamp({digits}) without time zone")
            }
            _ => declared.to_owned(),
        }
    }

    /// Whether columns of integers can number rows by themselves; else a sequence of their own does it.
    pub(crate) fn has_identity_columns(self) -> bool {
        self == Self::Postgres
    }

    /// What lets an `INSERT` give values to columns that number rows by themselves.
    pub(crate) fn overriding(self) -> &'static str {
        match self {
            Self::Postgres => " OVERRIDING SYSTEM VALUE",
            Self::OpenGauss(_) => "",
        }
    }

    /// Ends every wait of the open transaction for a lock after so long. openGauss lets only administrators
    /// do that, so its statement as a whole is ended.
    pub(crate) fn limit_waits(self, wait: &str) -> String {
        match self {
            Self::Postgres => format!("SET LOCAL lock_timeout = '{wait}'"),
            Self::OpenGauss(_) => format!("SET LOCAL statement_timeout = '{wait}'"),
        }
    }

    /// Whether a statement failed because somebody else has a lock: not to be had, given up for a deadlock, the row
    /// changed; or waited for too long, under [`limit_waits`](Self::limit_waits).
    pub(crate) fn is_busy(self, state: &SqlState) -> bool {
        match state.code() {
            "55P03" | "40P01" | "40001" => true,
            // Statement ended in time; openGauss's own limit on waits.
            "57014" | "YY003" => self.is_opengauss(),
            _ => false,
        }
    }
}

/// A statement that gives values to those of these settings that the server has.
pub(crate) fn settings(wanted: &[(&str, &str)]) -> String {
    let wanted: Vec<String> = wanted.iter().map(|(name, value)| format!("('{name}', '{value}')")).collect();
    format!(
        "SELECT pg_catalog.set_config(name, value, false) FROM pg_catalog.pg_settings \
         JOIN (VALUES {}) AS wanted (name, value) USING (name)",
        wanted.join(", ")
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn opengauss(mode: &str, extensions: &str) -> Dialect {
        let attributes = vec![
            (SQL_COMPATIBILITY.to_owned(), mode.to_owned()),
            ("extensions".to_owned(), extensions.to_owned()),
        ];
        Dialect::of(&Endpoint { engine: "opengauss".to_owned(), version: "7.0.0".to_owned(), attributes })
    }

    #[test]
    fn a_database_has_rules_of_its_own() {
        assert!(opengauss("A", "plpgsql").empty_is_null());
        for mode in ["B", "C", "PG"] {
            assert!(!opengauss(mode, "").empty_is_null(), "{mode}");
            assert_eq!(opengauss(mode, "").stored(PgType::Date), PgType::Date, "{mode}");
        }
        assert_eq!(opengauss("A", "").stored(PgType::Date), PgType::Timestamp(0));
        assert_eq!(opengauss("B", "dolphin").declaration("timestamp(3)"), "timestamp(3) without time zone");
        assert_eq!(opengauss("B", "").declaration("timestamp(3)"), "timestamp(3)");
        assert_eq!(opengauss("B", "dolphin").declaration("timestamptz(3)"), "timestamptz(3)");
    }

    #[test]
    fn a_database_may_be_told_to_keep_empty_strings() {
        let attributes = vec![
            (SQL_COMPATIBILITY.to_owned(), "A".to_owned()),
            (EMPTY_STRINGS.to_owned(), compatibility::KEPT.to_owned()),
        ];
        let endpoint = Endpoint { engine: "opengauss".to_owned(), version: String::new(), attributes };
        assert!(!Dialect::of(&endpoint).empty_is_null());
    }

    #[test]
    fn a_limit_that_was_reached_is_a_lock_that_somebody_has() {
        let cancelled = SqlState::from_code("57014");
        assert!(opengauss("A", "").is_busy(&cancelled));
        assert!(!Dialect::Postgres.is_busy(&cancelled));
        assert!(Dialect::Postgres.is_busy(&SqlState::LOCK_NOT_AVAILABLE));
    }
}
