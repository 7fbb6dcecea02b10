//! The account that a connection is logged in with, as `GRANT` takes its name.

use engine_core::Result;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::error::server_error;
use crate::sql;

/// Asks the server, which may have logged somebody in as another than the URL names.
pub(crate) async fn current(conn: &mut Conn) -> Result<String> {
    let name: Option<String> = conn
        .query_first("SELECT CURRENT_USER()")
        .await
        .map_err(|error| server_error("the account's name can't be read", error))?;
    Ok(quoted(&name.unwrap_or_default()))
}

/// `mig@%` as `'mig'@'%'`.
pub(crate) fn quoted(name: &str) -> String {
    // A host has no @, a user may have.
    let (user, host) = name.rsplit_once('@').unwrap_or((name, "%"));
    format!("{}@{}", sql::literal(user), sql::literal(host))
}

/// The account that an "Access denied for user 'mig'@'%' to database …" is about.
pub(crate) fn denied(message: &str) -> &str {
    let after = message.split_once(" for user ").map_or("", |(_, rest)| rest);
    match after.split_once("' to database ") {
        Some((name, _)) => after.get(..name.len() + 1).unwrap_or("the account"),
        None => "the account",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(quoted("mig@%"), "'mig'@'%'");
        assert_eq!(quoted("a@b@10.0.0.%"), "'a@b'@'10.0.0.%'");
        assert_eq!(denied("Access denied for user 'mig'@'%' to database 'shop'"), "'mig'@'%'");
        assert_eq!(denied("Zugriff verweigert"), "the account");
    }
}
