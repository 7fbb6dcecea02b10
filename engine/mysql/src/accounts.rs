//! Who may do what on a source, for somebody who grants it on the target: nothing of it is copied.

use engine_core::Result;
use engine_core::finding::{Finding, Severity};
use engine_core::selection::Selection;
use std::borrow::Cow;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::catalog;
use crate::server::Server;
use crate::sql;

/// A note for each account that may do anything with what is selected.
pub(crate) async fn list(conn: &mut Conn, server: &Server, selection: &Selection) -> Result<Vec<Finding>> {
    let (selection, _) = catalog::scope(server, selection);
    let note =
        |subject: String, message: String| Finding { severity: Severity::Note, subject, message, fix: None };
    let query = "SELECT CONVERT(user USING utf8mb4), CONVERT(host USING utf8mb4) FROM mysql.user \
                 WHERE user NOT LIKE 'mysql.%' AND user <> 'mariadb.sys' AND user <> '' ORDER BY 1, 2";
    let accounts: Vec<(String, String)> = match conn.query(query).await {
        Ok(accounts) => accounts,
        Err(_) => {
            let message = "none is copied, and the engine's account may not list them".to_owned();
            return Ok(vec![note("source accounts".to_owned(), message)]);
        }
    };
    let mut findings = Vec::new();
    for (user, host) in accounts {
        let account = format!("{}@{}", sql::identifier(&user), sql::identifier(&host));
        // A role, or an account that has just gone.
        let Ok(lines) = conn.query::<String, _>(format!("SHOW GRANTS FOR {account}")).await else { continue };
        let statements: Vec<String> = lines
            .iter()
            .map(|line| spaced(&without_secret(line)))
            .filter(|line| concerns(line, selection.database.as_deref()))
            .collect();
        if !statements.is_empty() {
            let told: Vec<_> = statements.iter().map(|line| brief(line)).collect();
            let message = format!("not copied, with its rights: {}", told.join("; "));
            let fix = (told != statements)
                .then(|| format!("SHOW GRANTS FOR {account} on the source has all of them"));
            findings.push(Finding { fix, ..note(format!("source account {account}"), message) });
        }
    }
    Ok(findings)
}

/// Whether a grant has anything to do with a database. Every account has a `USAGE`, which allows nothing.
fn concerns(line: &str, database: Option<&str>) -> bool {
    let Some((rights, place)) = line.split_once(" ON ") else { return line.starts_with("GRANT ") };
    let pattern = |name: &str| sql::identifier(&name.replace('_', "\\_"));
    let is_about = |database: &str| {
        place.starts_with("*.*")
            || place.contains(&sql::identifier(database))
            || place.contains(&pattern(database))
    };
    rights != "GRANT USAGE" && database.is_none_or(is_about)
}

/// Rights that a person would not read one by one.
const MANY: usize = 10;

/// A grant of very many rights, such as an administrator has, without their names.
fn brief(line: &str) -> Cow<'_, str> {
    let parts = line.strip_prefix("GRANT ").and_then(|line| line.split_once(" ON "));
    match parts.map(|(rights, place)| (rights.split(", ").count(), rights, place)) {
        Some((count, rights, place)) if count > MANY && !rights.contains('(') => {
            format!("GRANT {count} rights ON {place}").into()
        }
        _ => line.into(),
    }
}

/// A grant without the hash of the password that MariaDB prints with it.
fn without_secret(line: &str) -> String {
    let Some((grant, secret)) = line.split_once(" IDENTIFIED ") else { return line.to_owned() };
    let option = " WITH GRANT OPTION";
    format!("{grant}{}", if secret.ends_with(option) { option } else { "" })
}

/// `MySQL` prints dynamic privileges without spaces between them; a line has to be broken somewhere.
fn spaced(line: &str) -> String {
    match line.split_once(" ON ") {
        Some((rights, place)) => format!("{} ON {place}", rights.replace(", ", ",").replace(',', ", ")),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_hash_is_told_and_only_what_concerns_the_selection() {
        let line = "GRANT ALL PRIVILEGES ON *.* TO `a`@`%` IDENTIFIED BY PASSWORD '*8A' WITH GRANT OPTION";
        assert_eq!(without_secret(line), "GRANT ALL PRIVILEGES ON *.* TO `a`@`%` WITH GRANT OPTION");
        assert_eq!(
            spaced("GRANT BACKUP_ADMIN,CLONE_ADMIN ON *.* TO `a,b`@`%`"),
            "GRANT BACKUP_ADMIN, CLONE_ADMIN ON *.* TO `a,b`@`%`"
        );
        assert_eq!(brief(line), line);
        let many = ["A"; 11].join(", ");
        assert_eq!(brief(&format!("GRANT {many} ON *.* TO `a`@`%`")), "GRANT 11 rights ON *.* TO `a`@`%`");
        assert!(concerns(line, Some("shop")));
        assert!(!concerns("GRANT USAGE ON *.* TO `a`@`%`", None));
        assert!(concerns("GRANT SELECT ON `my\\_shop`.* TO `a`@`%`", Some("my_shop")));
        assert!(!concerns("GRANT SELECT ON `crm`.* TO `a`@`%`", Some("shop")));
    }
}
