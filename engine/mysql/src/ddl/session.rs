//! What the log says about the session that ran a statement, where its meaning depends on it.

use crate::binlog::SessionFacts;

use super::lexer::Dialect;

const REAL_AS_FLOAT: u64 = 0x1;
const ANSI_QUOTES: u64 = 0x4;
const ORACLE: u64 = 0x200;
const NO_BACKSLASH_ESCAPES: u64 = 0x0010_0000;
const STRICT: u64 = 0x0020_0000 | 0x0040_0000;

/// The session of a statement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Session {
    mode: u64,
    /// Number of the collation of the statement's own text.
    pub(super) client: Option<u16>,
    /// The time zone, where the statement used it.
    pub(super) time_zone: Option<String>,
    /// `TIMESTAMP` is nullable and without a default of its own.
    pub(super) explicit_timestamps: Option<bool>,
    /// Number of the collation that `utf8mb4` stands for.
    pub(super) utf8mb4: Option<u16>,
    /// The database's collation, where the session had set another.
    pub(super) database: Option<u16>,
    /// Collations that character sets stand for, of MariaDB: pairs of numbers.
    pub(super) collations: Option<String>,
    /// When it ran, microseconds since 1970.
    pub(super) executed_at: Option<i64>,
    /// Whether the microseconds are known too.
    pub(super) exact_time: bool,
}

impl Session {
    /// Reads what the stream wrote down.
    pub(super) fn read(facts: &[(String, String)], executed_at: Option<i64>) -> Self {
        let get = |name: &str| facts.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let number = |name: &str| get(name).and_then(|text| text.parse().ok());
        Self {
            mode: get(SessionFacts::SQL_MODE).and_then(|text| text.parse().ok()).unwrap_or_default(),
            client: number(SessionFacts::CLIENT),
            time_zone: get(SessionFacts::TIME_ZONE),
            explicit_timestamps: get(SessionFacts::EXPLICIT_TIMESTAMPS).map(|text| text == "1"),
            utf8mb4: number(SessionFacts::UTF8MB4),
            database: number(SessionFacts::DATABASE),
            collations: get(SessionFacts::COLLATIONS),
            executed_at,
            exact_time: get(SessionFacts::EXACT_TIME).is_some(),
        }
    }

    pub(super) fn dialect(&self) -> Dialect {
        Dialect {
            ansi_quotes: self.mode & ANSI_QUOTES != 0,
            plain_backslashes: self.mode & NO_BACKSLASH_ESCAPES != 0,
        }
    }

    /// `REAL` means `FLOAT`.
    pub(super) fn real_is_float(&self) -> bool {
        self.mode & REAL_AS_FLOAT != 0
    }

    /// Types have other meanings.
    pub(super) fn is_oracle(&self) -> bool {
        self.mode & ORACLE != 0
    }

    /// A value that doesn't fit fails instead of being changed.
    pub(super) fn is_strict(&self) -> bool {
        self.mode & STRICT != 0
    }
}
