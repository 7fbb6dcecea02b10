//! What openGauss does otherwise, as far as it concerns who follows it.

use engine_core::Result;
use engine_core::finding::{Finding, Severity};
use engine_core::schema::TableName;
use engine_core::selection::Selection;
use tokio_postgres::Client;

use super::facts::Facts;
use super::{finding, list};
use crate::connect::Server;
use crate::failure::translate;
use crate::family::Family;
use crate::identifier::quote;
use crate::opengauss::compatibility::SQL_COMPATIBILITY;
use crate::source::mppdb::decoding::Decoding;

/// What is to be said of the server.
pub(super) fn server(server: &Server) -> [Finding; 2] {
    let version = finding(
        Severity::Note,
        "version",
        format!(
            "openGauss {}; what the engine knows of it was seen on 7.0.0-RC2, and its own tests have a stand-in for it",
            server.endpoint.version
        ),
        Some(
            "try it with a copy of the database first, and have it check what changes, with --check-changes",
        ),
    );
    [version, compatibility(server.endpoint.attribute(SQL_COMPATIBILITY).unwrap_or_default())]
}

fn compatibility(mode: &str) -> Finding {
    let (severity, message) = match mode {
        "A" => (
            Severity::Note,
            "A (Oracle): its empty strings are NULL and arrive as NULL; its dates have a time of day",
        ),
        "B" => (Severity::Pass, "B (MySQL)"),
        "C" => (Severity::Pass, "C (Teradata)"),
        "PG" => (Severity::Pass, "PG (PostgreSQL)"),
        _ => (Severity::Warning, "none of those whose consequences are known"),
    };
    let message =
        if severity == Severity::Warning { format!("'{mode}': {message}") } else { message.to_owned() };
    finding(severity, SQL_COMPATIBILITY, message, None)
}

/// What can't be followed although it is a table, and what is written without being sent.
pub(super) async fn online(client: &Client, selection: &Selection) -> Result<Vec<Finding>> {
    let mut findings: Vec<Finding> = undecoded(client, selection).await?.into_iter().collect();
    findings.extend(origins(client).await?);
    Ok(findings)
}

/// What a decoding by openGauss's own plugin may lose, and what it needs.
pub(super) fn decoding(facts: &Facts, decoding: Decoding) -> Vec<Finding> {
    if !decoding.is_parallel() {
        return Vec::new();
    }
    let mut findings = vec![finding(
        Severity::Warning,
        "decoding",
        "mppdb-parallel loses changes in silence: every row that follows a change of the catalog in the same transaction \
         (CREATE, ALTER, DROP, also of indexes and temporary tables, GRANT, COMMENT, TRUNCATE), every TRUNCATE, and \
         inserts of large values (TOAST) into a table that is emptied soon after; it reads large values with the table's \
         present columns. Only `engine verify` finds what is lacking: --check-changes compares what was sent",
        Some(
            "use decoding=mppdb-serial or decoding=pgoutput, which are complete; or make sure that no transaction is of \
             that kind, and run engine verify before the cut-over",
        ),
    )];
    if !facts.may_create {
        findings.push(finding(
            Severity::Failed,
            "heartbeat",
            "the account may not CREATE in the database, where mppdb-parallel needs a row of the engine's own \
             (_migration.heartbeat), written once a second",
            Some(&format!("GRANT CREATE ON DATABASE {} TO {}", quote(&facts.database), quote(&facts.account))),
        ));
    }
    findings
}

/// Tables of whose changes the log does not say what they were.
async fn undecoded(client: &Client, selection: &Selection) -> Result<Option<Finding>> {
    let query = format!(
        "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE {} AND {} AND (n.nspblockchain \
         OR pg_catalog.array_to_string(c.reloptions, ',') ~ '(^|,)(orientation=[^r]|compresstype=[1-9])') \
         ORDER BY 1, 2",
        Family::OpenGauss.tables(),
        Family::OpenGauss.user_schemas()
    );
    let rows = client
        .query(&query, &[])
        .await
        .map_err(|error| translate(error, "the source's tables can't be listed"))?;
    let names = rows.iter().map(|row| TableName::new(row.get::<_, &str>(0), row.get::<_, &str>(1)));
    let names: Vec<TableName> = names.filter(|name| selection.matches(name)).collect();
    Ok((!names.is_empty()).then(|| {
        let message = format!(
            "{}: stored by column, compressed or in a ledger, so that openGauss sends no changes of theirs",
            list(&names)
        );
        finding(Severity::Failed, "tables", message, Some("exclude them, or migrate with --mode offline"))
    }))
}

/// What is written under an origin, as subscriptions write, is hidden from `pgoutput`.
async fn origins(client: &Client) -> Result<Option<Finding>> {
    let row = client
        .query_one("SELECT count(*) FROM pg_catalog.pg_replication_origin", &[])
        .await
        .map_err(|error| translate(error, "the source's replication origins can't be counted"))?;
    let count: i64 = row.get(0);
    Ok((count > 0).then(|| {
        finding(
            Severity::Warning,
            "replication origins",
            format!(
                "there are {count}: openGauss does not send what is written under one, such as by a subscription, so \
                 that it would be lacking in the target"
            ),
            Some(
                "follow the server that these rows come from; SELECT pg_replication_origin_drop(…) those of no more use",
            ),
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_the_database_is_compatible_with() {
        assert!(compatibility("A").message.contains("arrive as NULL"));
        assert_eq!(compatibility("PG").severity, Severity::Pass);
        let unknown = compatibility("D");
        assert_eq!((unknown.severity, unknown.message.starts_with("'D'")), (Severity::Warning, true));
    }
}
