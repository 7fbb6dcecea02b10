//! What a failure of a statement that writes means for a task.

use engine_core::{Error, ErrorKind};
use mysql_async::{Error as DriverFailure, ServerError};
use std::fmt;

use crate::error::server_error;

/// Two rows have the same value under a unique key.
const DUPLICATE: [u16; 3] = [1022, 1062, 1586];
/// Another transaction was in the way, and this one was rolled back.
const DEADLOCK: u16 = 1213;
/// A lock was not had in the time there was for it.
const NO_LOCK: [u16; 2] = [1205, 3572];

/// What a server said of a statement that it carried out all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Warning {
    pub(super) code: u16,
    pub(super) message: String,
}

/// Why a statement that writes rows did not do what it was to do.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server refused it, or can't be talked to.
    Failed(DriverFailure),
    /// It was carried out with other values than were given.
    Warned(Vec<Warning>),
    /// What the transaction had done was rolled back for the sake of another and can't be done again: the
    /// server refuses it now, or other rows are found.
    NotAgain(Option<DriverFailure>),
}

impl From<DriverFailure> for Failure {
    fn from(error: DriverFailure) -> Self {
        Self::Failed(error)
    }
}

impl Failure {
    /// Code and message, where the server gave any.
    fn said(&self) -> Option<(u16, &str)> {
        match self {
            Self::Failed(DriverFailure::Server(error))
            | Self::NotAgain(Some(DriverFailure::Server(error))) => Some((error.code, &error.message)),
            Self::Failed(_) | Self::NotAgain(_) => None,
            Self::Warned(warnings) => {
                let first = warnings.first();
                Some(first.map_or((0, "a value was changed"), |warning| (warning.code, &warning.message)))
            }
        }
    }

    /// Whether it is about rows' values, so that it can be found which row's.
    pub(super) fn is_about_values(&self) -> bool {
        match self {
            Self::Failed(DriverFailure::Server(error)) => about_values(error),
            Self::Failed(_) | Self::NotAgain(_) => false,
            Self::Warned(_) => true,
        }
    }

    /// Whether a row of the target is in the way.
    pub(super) fn is_duplicate(&self) -> bool {
        matches!(self, Self::Failed(DriverFailure::Server(error)) if DUPLICATE.contains(&error.code))
    }

    /// Whether the whole transaction was rolled back for the sake of another, and may be tried again.
    pub(super) fn is_deadlock(&self) -> bool {
        matches!(self, Self::Failed(DriverFailure::Server(error)) if error.code == DEADLOCK)
    }

    /// Whether somebody else held what was wanted.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Failed(error) if is_busy(error))
    }

    /// Row of a statement that inserts many, counted from 0, that the server names.
    pub(super) fn row(&self) -> Option<usize> {
        let (_, message) = self.said()?;
        let (_, number) = message.rsplit_once(" at row ")?;
        number.trim().parse::<usize>().ok()?.checked_sub(1)
    }

    /// The column that the server names.
    pub(super) fn column(&self) -> Option<&str> {
        let (_, message) = self.said()?;
        let (_, rest) = message.split_once("olumn '").or_else(|| message.split_once("olumn `"))?;
        // MariaDB names database and table too.
        let name = rest.split_once("' ").map_or(rest, |(name, _)| name);
        let name = name.split_once("` at").map_or(name, |(name, _)| name);
        Some(name.trim_end_matches(['\'', '`']).rsplit(['.', '`']).next().unwrap_or(name))
    }

    /// Machine-readable reason.
    pub(super) fn code(&self) -> String {
        self.said().map_or_else(|| "refused".to_owned(), |(code, _)| code.to_string())
    }

    /// What the server said, without the values that it shows of keys.
    pub(super) fn reason(&self) -> String {
        match self.said() {
            Some((code, message)) => format!("{} (error {code})", without_key(code, message)),
            None => "the connection failed".to_owned(),
        }
    }

    /// The error for it; `what` says what was being done.
    pub(super) fn explain(self, what: impl Into<String>) -> Error {
        match self {
            Self::Failed(error) | Self::NotAgain(Some(error)) => translate(error, what),
            Self::NotAgain(None) => Error::new(ErrorKind::Divergence, what)
                .because("a transaction that was rolled back for the sake of another found other rows than before")
                .help("somebody else writes to the table: stop the other writer, compare the table with the source's, and copy it again"),
            Self::Warned(_) => Error::new(ErrorKind::Unrepresentable, what)
                .because(format_args!("the server would change a value: {}", self.reason()))
                .help(
                    "the value does not fit the column's type: choose another in the plugin's configuration",
                ),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason())
    }
}

/// Whether somebody else held what was wanted.
pub(super) fn is_busy(error: &DriverFailure) -> bool {
    matches!(error, DriverFailure::Server(error) if error.code == DEADLOCK || NO_LOCK.contains(&error.code))
}

/// Whether the server refuses values: classes 22 and 23 of SQLSTATE, and what MySQL has no class for.
fn about_values(error: &ServerError) -> bool {
    matches!(error.state.get(..2), Some("22" | "23"))
        || matches!(
            error.code,
            1265 | 1292 | 1364 | 1366 | 1406 | 1411 | 1416 | 1525 | 1526 | 3140 | 3156 | 3819 | 4025
        )
}

/// A message about a duplicate names the key's values, which are a row's.
fn without_key(code: u16, message: &str) -> String {
    if !DUPLICATE.contains(&code) {
        return message.to_owned();
    }
    match message.rsplit_once("for key ") {
        Some((_, key)) => format!("another row has its value of the key {key}"),
        None => "another row has its value of a unique key".to_owned(),
    }
}

/// Turns a failure of a statement into the engine's error; `what` says what was being done.
pub(super) fn translate(error: DriverFailure, what: impl Into<String>) -> Error {
    let DriverFailure::Server(server) = &error else { return server_error(what, error) };
    if about_values(server) {
        let why = format!("{} (error {})", without_key(server.code, &server.message), server.code);
        let help = if DUPLICATE.contains(&server.code) {
            "the rows are not unique under the target's rules: compare the collations of the key"
        } else {
            "the value does not fit the column's type: choose another in the plugin's configuration"
        };
        return Error::new(ErrorKind::Unrepresentable, what).because(why).help(help);
    }
    let help = match server.code {
        1021 | 1114 | 3098 => "free disk space on the target, then run the same command again",
        1153 => "raise max_allowed_packet on the target: a row is bigger than it",
        1290 | 1836 => "the target is read-only: name the primary in the target URL",
        1665 => "set binlog_format = ROW on the target",
        _ => return server_error(what, error),
    };
    let why = format!("the server says: {} (error {})", server.message, server.code);
    Error::new(ErrorKind::Precondition, what).because(why).help(help)
}

/// Whether a failed `COMMIT` may have happened all the same: there was no answer, or the server ended
/// the session on its way.
pub(super) fn is_ambiguous(error: &DriverFailure) -> bool {
    match error {
        DriverFailure::Server(error) => matches!(error.code, 1053 | 1152 | 1158..=1161 | 1317 | 1927 | 3024),
        // Without an answer from the server nobody knows.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: u16, state: &str, message: &str) -> Failure {
        let error = ServerError { code, state: state.to_owned(), message: message.to_owned() };
        Failure::Failed(DriverFailure::Server(error))
    }

    #[test]
    fn the_row_and_the_column_are_read_from_what_the_server_says() {
        let long = failure(1406, "22001", "Data too long for column 'note' at row 12");
        assert_eq!((long.row(), long.column()), (Some(11), Some("note")));
        assert!(long.is_about_values());
        let maria =
            failure(1366, "22007", "Incorrect string value: '\\xF0' for column `shop`.`t`.`note` at row 1");
        assert_eq!((maria.row(), maria.column()), (Some(0), Some("note")));
        let null = failure(1048, "23000", "Column 'a' cannot be null");
        assert_eq!((null.row(), null.column()), (None, Some("a")));
    }

    #[test]
    fn a_key_s_values_are_not_repeated() {
        let taken = failure(1062, "23000", "Duplicate entry 'secret@example' for key 't.email'");
        assert!(taken.is_duplicate());
        assert!(!taken.reason().contains("secret"), "{taken}");
        let error = taken.explain("rows can't be written");
        assert!(!error.to_string().contains("secret") && error.to_string().contains("t.email"), "{error}");
        assert_eq!(error.kind(), ErrorKind::Unrepresentable);
    }

    #[test]
    fn a_warning_is_a_value_that_would_change() {
        let warned = Failure::Warned(vec![Warning {
            code: 1265,
            message: "Data truncated for column 'd' at row 2".to_owned(),
        }]);
        assert!(warned.is_about_values() && !warned.is_deadlock());
        assert_eq!((warned.row(), warned.column()), (Some(1), Some("d")));
        assert_eq!(warned.explain("rows can't be written").kind(), ErrorKind::Unrepresentable);
    }
}
