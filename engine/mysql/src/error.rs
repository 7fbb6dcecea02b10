//! What an error of the driver or the server means to a task.

use engine_core::{Error, ErrorKind};
use mysql_async::{DriverError, Error as DriverFailure, ServerError};

/// Turns a failure on an open connection into the engine's error; `what` says what was tried.
pub fn server_error(what: impl Into<String>, error: DriverFailure) -> Error {
    let described = Error::new(kind_of(&error), what);
    match error {
        DriverFailure::Server(error) => with_server_error(described, &error),
        // The packet could hold anything, row values and a password's hash among it.
        DriverFailure::Driver(DriverError::UnexpectedPacket { payload }) => described
            .because(format!("the server sent a packet of {} bytes that has no place here", payload.len())),
        DriverFailure::Driver(DriverError::FromRow { .. } | DriverError::FromValue { .. }) => {
            described.because("the server answered with a value of an unexpected type")
        }
        other => described.caused_by(other),
    }
}

fn with_server_error(described: Error, error: &ServerError) -> Error {
    let why = format!("the server says: {} (error {})", error.message, error.code);
    match kind_of_code(error.code) {
        ErrorKind::Precondition => {
            described.because(why).help("grant the account the privilege that the server asks for")
        }
        _ => described.because(why),
    }
}

fn kind_of(error: &DriverFailure) -> ErrorKind {
    match error {
        DriverFailure::Io(_) | DriverFailure::Driver(DriverError::ConnectionClosed) => ErrorKind::Transient,
        DriverFailure::Server(error) => kind_of_code(error.code),
        _ => ErrorKind::Internal,
    }
}

/// The class of an error number of the server.
pub(crate) fn kind_of_code(code: u16) -> ErrorKind {
    match code {
        // Access denied: to a database, an account, a table, a column, a routine; a missing
        // global privilege; an account that is locked or must change its password.
        1044 | 1045 | 1142 | 1143 | 1227 | 1370 | 1698 | 1820 | 3118 | 4031 => ErrorKind::Precondition,
        // Too many connections, shutdown, aborted or killed connection, lock wait, deadlock,
        // interrupted, network errors as the server sees them, execution time exceeded.
        1040 | 1053 | 1152 | 1158..=1161 | 1184 | 1203 | 1205 | 1213 | 1226 | 1317 | 1927 | 3024 => {
            ErrorKind::Transient
        }
        // A table or column that was there is not there, or its definition changed.
        1049 | 1051 | 1054 | 1146 | 1412 => ErrorKind::Divergence,
        _ => ErrorKind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16, message: &str) -> Error {
        let error = ServerError { code, message: message.to_owned(), state: "42000".to_owned() };
        server_error("the rows can't be read", DriverFailure::Server(error))
    }

    #[test]
    fn the_servers_own_words_are_kept_and_classified() {
        let denied = refused(1142, "SELECT command denied to user 'mig'@'%' for table 'orders'");
        assert_eq!(denied.kind(), ErrorKind::Precondition);
        assert!(
            denied.to_string().starts_with("the rows can't be read: the server says: SELECT command denied")
        );
        assert!(denied.remedy().is_some());
        assert_eq!(refused(1213, "Deadlock found").kind(), ErrorKind::Transient);
        assert_eq!(refused(1146, "Table 'a.b' doesn't exist").kind(), ErrorKind::Divergence);
    }

    #[test]
    fn a_packet_is_never_repeated() {
        let failure = DriverFailure::Driver(DriverError::UnexpectedPacket { payload: b"hidden".to_vec() });
        let error = server_error("login failed", failure);
        assert!(!format!("{error}{error:?}").contains("hidden"));
        assert!(error.to_string().contains("6 bytes"));
    }
}
