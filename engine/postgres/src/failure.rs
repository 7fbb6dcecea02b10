//! What a server's or driver's error means for a task.

use engine_core::{Error, ErrorKind};
use tokio_postgres::error::{DbError, SqlState};

/// Sorts an SQLSTATE into a class of error.
///
/// YY003 and YY004 are openGauss's own: a lock or a connection that was waited for too long. Class 08 and 57P0x, 40001, 40P01 and 53300 pass by themselves; classes 22 and 23 are about
/// values, and so is 21000 of an upsert; 42501, class 53, 54, 55 and 25 are about the account or the server.
pub(crate) fn kind_of(state: &SqlState) -> ErrorKind {
    let code = state.code();
    match code {
        "40001" | "40P01" | "57P01" | "57P02" | "57P03" | "57P05" | "57014" | "53300" | "55P03" | "25P03"
        | "YY001" | "YY002" | "YY003" | "YY004" => ErrorKind::Transient,
        "28P01" | "28000" | "3D000" => ErrorKind::Connection,
        _ => match code.get(..2) {
            Some("08") => ErrorKind::Transient,
            Some("21" | "22" | "23") => ErrorKind::Unrepresentable,
            Some("42" | "53" | "54" | "55" | "25" | "0A" | "3F" | "58") => ErrorKind::Precondition,
            _ => ErrorKind::Internal,
        },
    }
}

/// Whether an error is about rows' values, so that it can be found which row's.
pub(crate) fn is_about_values(state: &SqlState) -> bool {
    matches!(state.code().get(..2), Some("21" | "22" | "23"))
}

/// The error for a statement that failed; `what` says what was being done.
pub(crate) fn translate(error: tokio_postgres::Error, what: impl Into<String>) -> Error {
    let Some(server) = error.as_db_error() else {
        let broken = error.is_closed() || is_io(&error);
        let kind = if broken { ErrorKind::Transient } else { ErrorKind::Internal };
        let why = match std::error::Error::source(&error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        };
        return Error::new(kind, what).because(why).caused_by(error);
    };
    let translated = ServerReport::of(server).error(what);
    match remedy(server.code()) {
        Some(help) => translated.help(help),
        None => translated,
    }
}

/// What a server says of an error, whichever way it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerReport<'a> {
    /// SQLSTATE.
    pub(crate) code: &'a str,
    pub(crate) message: &'a str,
    pub(crate) detail: Option<&'a str>,
    pub(crate) schema: Option<&'a str>,
    pub(crate) table: Option<&'a str>,
    pub(crate) column: Option<&'a str>,
    pub(crate) constraint: Option<&'a str>,
}

impl<'a> ServerReport<'a> {
    fn of(server: &'a DbError) -> Self {
        Self {
            code: server.code().code(),
            message: server.message(),
            detail: server.detail(),
            schema: server.schema(),
            table: server.table(),
            column: column_of(server),
            constraint: server.constraint(),
        }
    }

    /// The error, with everything of the report that may be shown; `what` says what was being done.
    pub(crate) fn error(&self, what: impl Into<String>) -> Error {
        self.error_of(kind_of(&SqlState::from_code(self.code)), what)
    }

    /// The same, of a class that the caller knows better.
    pub(crate) fn error_of(&self, kind: ErrorKind, what: impl Into<String>) -> Error {
        let mut why = format!("{} (SQLSTATE {})", self.message, self.code);
        // DETAIL of classes 22 and 23 shows values of rows ("Key (email)=(…)"); the names in it are
        // given as constraint and column instead.
        if !matches!(self.code.get(..2), Some("22" | "23"))
            && let Some(detail) = self.detail
        {
            why.push_str(": ");
            why.push_str(detail);
        }
        let mut error = Error::new(kind, what).because(why);
        if let (Some(schema), Some(table)) = (self.schema, self.table) {
            error = error.at("table", format_args!("{schema}.{table}"));
        }
        if let Some(column) = self.column {
            error = error.at("column", column);
        }
        if let Some(constraint) = self.constraint {
            error = error.at("constraint", constraint);
        }
        error
    }
}

/// The column that an error names.
pub(crate) fn column_of(server: &DbError) -> Option<&str> {
    // openGauss, which sends no severity but the one for people, has a number of its own in that place.
    server.column().filter(|_| server.parsed_severity().is_some())
}

/// Whether a failed `COMMIT` may have happened all the same: the connection broke, or the server
/// ended the session (class 57), which it may do after it has committed locally.
pub(crate) fn is_ambiguous(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_none_or(|error| error.code().code().starts_with("57"))
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
}

fn remedy(state: &SqlState) -> Option<&'static str> {
    Some(match state.code() {
        "42501" => "grant the account the privilege named, or use one that has it",
        "53100" => "free disk space on the target, then run the same command again",
        "53200" => "the server ran out of memory; lower its work_mem or the number of parallel connections",
        "53300" => "raise max_connections on the target or lower --parallelism",
        "25006" => "the target is read-only: a standby, or default_transaction_read_only is on",
        "22P05" => {
            "the target's text types can't hold U+0000: map the column to json, bytea, or set strip_nul for it"
        }
        "23505" | "21000" => {
            "the rows are not unique under the target's rules: compare the collations of the key"
        }
        "22P02" | "22021" => {
            "the value does not fit the column's type: choose another in the plugin's configuration"
        }
        "23503" => {
            "a row refers to a parent that isn't there: see to the source's rows, or leave the key out"
        }
        "57P01" | "57P02" | "57P03" => "run the same command again when the server is up",
        _ => return None,
    })
}

/// The line and column of a failed `COPY`, from the context that the server gives.
pub(crate) fn copy_place(error: &tokio_postgres::Error) -> Option<CopyPlace> {
    parse_copy_context(error.as_db_error()?.where_()?)
}

/// Where in a `COPY` the server stopped.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CopyPlace {
    /// Row, counted from 1.
    pub(crate) line: u64,
    /// Column name, when one value was at fault.
    pub(crate) column: Option<String>,
}

/// Reads `COPY orders, line 12, column total`, which may be one of several lines of context.
fn parse_copy_context(context: &str) -> Option<CopyPlace> {
    context.lines().find_map(|entry| {
        let rest = entry.strip_prefix("COPY ")?;
        let (_, rest) = rest.rsplit_once(", line ")?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = rest.split_at(digits);
        let column = rest.strip_prefix(", column ").map(|name| {
            // Text formats append the value: `column a: "x"`.
            name.split_once(": ").map_or(name, |(name, _)| name).to_owned()
        });
        Some(CopyPlace { line: number.parse().ok()?, column })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_states() {
        for (code, kind) in [
            ("40P01", ErrorKind::Transient),
            ("08006", ErrorKind::Transient),
            ("57P01", ErrorKind::Transient),
            ("22003", ErrorKind::Unrepresentable),
            ("23502", ErrorKind::Unrepresentable),
            ("42501", ErrorKind::Precondition),
            ("53100", ErrorKind::Precondition),
            ("25006", ErrorKind::Precondition),
            ("28P01", ErrorKind::Connection),
            ("XX000", ErrorKind::Internal),
        ] {
            assert_eq!(kind_of(&SqlState::from_code(code)), kind, "{code}");
        }
    }

    #[test]
    fn finds_the_row_of_a_failed_copy() {
        let context = "JSON data, line 1: {\"a\": \"\\u0000...\nCOPY my, line 2 table, line 17, column doc";
        assert_eq!(parse_copy_context(context), Some(CopyPlace { line: 17, column: Some("doc".to_owned()) }));
        assert_eq!(parse_copy_context("COPY t, line 3"), Some(CopyPlace { line: 3, column: None }));
        assert_eq!(parse_copy_context("SQL statement \"COPY\""), None);
    }
}
