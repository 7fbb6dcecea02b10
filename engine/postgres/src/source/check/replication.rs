//! Whether the account may replicate: it is tried.

use engine_core::endpoint::EndpointUrl;
use engine_core::finding::{Finding, Severity};
use engine_core::{Error, ErrorKind, Result};

use super::facts::Facts;
use super::finding;
use crate::family::Family;
use crate::identifier::quote;
use crate::replication::connection::ReplicationConnection;

/// Opens a replication connection and has the server say who it is.
pub(super) async fn check(url: &EndpointUrl, facts: &Facts) -> Result<Finding> {
    let tried = async {
        let mut connection = ReplicationConnection::open(url).await?;
        connection.query("IDENTIFY_SYSTEM").await
    };
    match tried.await {
        Ok(_) => {
            Ok(finding(Severity::Pass, "replication", "the account can open a replication connection", None))
        }
        Err(error) => refused(error, facts),
    }
}

/// What a refusal means; an error that is none is given back.
fn refused(error: Error, facts: &Facts) -> Result<Finding> {
    let why = error.why().unwrap_or_default();
    let says = |sqlstate: &str| why.contains(&format!("(SQLSTATE {sqlstate})"));
    let fix = if says("42501") {
        format!(
            "ALTER ROLE {} REPLICATION (as a superuser), or grant it the role by which the provider gives that, such \
             as rds_replication",
            quote(&facts.account)
        )
    } else if says("28000") {
        format!("put into pg_hba.conf, before lines that say otherwise, and reload it: {}", hba_line(facts))
    } else if says("53300") {
        format!("{}, then restart the server", facts.setting("max_wal_senders", "a larger number"))
    } else if matches!(error.kind(), ErrorKind::Connection | ErrorKind::Precondition) {
        error.remedy().unwrap_or("see the server's log").to_owned()
    } else {
        return Err(error);
    };
    Ok(finding(Severity::Failed, "replication", format!("{}: {why}", error.what()), Some(&fix)))
}

/// Logical replication goes by the database's name; `replication` as a database is for standbys only, but with openGauss
/// for whoever replicates.
fn hba_line(facts: &Facts) -> String {
    let (kind, address) = match &facts.client {
        Some(address) if address.contains(':') => ("host", format!(" {address}/128")),
        Some(address) => ("host", format!(" {address}/32")),
        None => ("local", String::new()),
    };
    let account = quote(&facts.account);
    match facts.family {
        Family::PostgreSql => format!("{kind} {} {account}{address} scram-sha-256", quote(&facts.database)),
        Family::OpenGauss => format!("{kind} replication {account}{address} sha256"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fix(kind: ErrorKind, why: &str) -> String {
        let error = Error::new(kind, "the source refused the login").because(why);
        let finding = refused(error, &Facts::good()).expect("a refusal");
        assert_eq!(finding.severity, Severity::Failed);
        assert!(finding.message.contains(why), "{finding}");
        finding.fix.expect("a fix")
    }

    #[test]
    fn each_refusal_has_its_cure() {
        assert!(
            fix(ErrorKind::Precondition, "no (SQLSTATE 42501)").starts_with("ALTER ROLE \"mig\" REPLICATION")
        );
        let line = fix(ErrorKind::Connection, "no pg_hba.conf entry (SQLSTATE 28000)");
        assert!(line.ends_with("host \"shop\" \"mig\" 10.0.0.7/32 scram-sha-256"), "{line}");
        assert!(fix(ErrorKind::Transient, "too many (SQLSTATE 53300)").contains("max_wal_senders"));
    }

    #[test]
    fn the_line_is_for_where_the_engine_comes_from() {
        let mut facts = Facts { client: Some("::1".to_owned()), ..Facts::good() };
        assert!(hba_line(&facts).contains(" ::1/128 "));
        facts.client = None;
        assert_eq!(hba_line(&facts), "local \"shop\" \"mig\" scram-sha-256");
    }

    #[test]
    fn a_broken_connection_is_no_refusal() {
        let broken = Error::new(ErrorKind::Transient, "the connection broke");
        assert!(refused(broken, &Facts::good()).is_err());
    }
}
