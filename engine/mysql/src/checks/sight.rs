//! Tables that the account may not see.
//!
//! Both servers list tables and databases only to accounts with a right on them, so that one without would be left out
//! with no word of it. Whether there could be any is tried by reading a table that isn't there: an account with the
//! right on all of a database is told that there is none, another one that it may not.

use engine_core::Result;
use engine_core::finding::{Finding, Severity};
use engine_core::schema::TableName;
use engine_core::selection::Selection;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error as DriverFailure};

use super::finding;
use crate::error::server_error;
use crate::sql;

/// No database or table of anybody has this name.
const NOTHING: &str = "_migration_nothing";

/// A warning when the selection may have tables that `account` doesn't see.
pub(super) async fn check(conn: &mut Conn, selection: &Selection, account: &str) -> Result<Option<Finding>> {
    let mut hidden = Vec::new();
    let places = places(selection);
    for place in &places {
        let database = place.as_deref().unwrap_or(NOTHING);
        let query = format!("SELECT 1 FROM {} LIMIT 0", sql::table(&TableName::new(database, NOTHING)));
        match conn.query_drop(query).await {
            Err(DriverFailure::Server(error)) if matches!(error.code, 1142 | 1044) => hidden.push(place),
            Ok(()) | Err(DriverFailure::Server(_)) => {}
            Err(other) => return Err(server_error("what the account may see can't be tried", other)),
        }
    }
    if hidden.is_empty() {
        return Ok(None);
    }
    let names: Vec<&str> =
        hidden.iter().map(|place| place.as_deref().unwrap_or("the server as a whole")).collect();
    let grants: Vec<String> = hidden
        .iter()
        .map(|place| match place {
            Some(database) => format!("GRANT SELECT ON {}.* TO {account}", sql::identifier(database)),
            None => format!("GRANT SELECT ON *.* TO {account}"),
        })
        .collect();
    let message = format!(
        "{account} may not read all of {}: tables that it does not see are not part of the task",
        names.join(", ")
    );
    let fix =
        format!("{}; or name the tables that are meant with --include database.table", grants.join("; "));
    Ok(Some(finding(Severity::Warning, "privileges", message, Some(&fix))))
}

/// The databases that must be seen whole; `None` is the server. Tables that are named one by one needn't be.
fn places(selection: &Selection) -> Vec<Option<String>> {
    let is_pattern = |text: &str| text.contains(['*', '?']);
    let mut places: Vec<Option<String>> = match (&selection.database, selection.include.as_slice()) {
        (database, []) => vec![database.clone()],
        (database, patterns) => patterns
            .iter()
            .filter_map(|pattern| match (pattern.split_once('.'), database) {
                (Some((_, table)), Some(database)) if is_pattern(table) => Some(Some(database.clone())),
                (None, Some(database)) if is_pattern(pattern) => Some(Some(database.clone())),
                (_, Some(_)) => None,
                (Some((database, table)), None) if !is_pattern(database) => {
                    is_pattern(table).then(|| Some(database.to_owned()))
                }
                // Any database may have it.
                (_, None) => Some(None),
            })
            .collect(),
    };
    places.sort();
    places.dedup();
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_be_seen_whole() {
        let of = |database: Option<&str>, include: &[&str]| {
            let selection = Selection {
                database: database.map(str::to_owned),
                include: include.iter().map(|&pattern| pattern.to_owned()).collect(),
                exclude: Vec::new(),
            };
            places(&selection).into_iter().map(|place| place.unwrap_or("*".to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(of(None, &[]), ["*"]);
        assert_eq!(of(Some("shop"), &[]), ["shop"]);
        assert_eq!(of(Some("shop"), &["orders", "shop.items"]), [""; 0]);
        assert_eq!(of(Some("shop"), &["orders_*", "shop.i*"]), ["shop"]);
        assert_eq!(of(None, &["shop.orders", "crm.*", "crm.a?"]), ["crm"]);
        assert_eq!(of(None, &["orders"]), ["*"]);
        assert_eq!(of(None, &["shop_*.orders"]), ["*"]);
    }
}
