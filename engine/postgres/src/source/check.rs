//! Whether account, settings and tables of a source allow what a task needs. Settings and privileges are
//! read; whether the account may replicate is tried.

mod decodable;
mod facts;
mod left_behind;
mod opengauss;
mod partitions;
mod replication;
mod retention;
mod slots;
mod structure;
pub(super) mod survey;
mod tables;

use engine_core::Result;
use engine_core::endpoint::EndpointUrl;
use engine_core::finding::{Finding, Severity};
use engine_core::selection::Selection;
use tokio_postgres::Client;

use self::facts::Facts;
use crate::connect::Server;
use crate::family::Family;
use crate::identifier::quote;
use crate::source::mppdb::decoding::Decoding;

/// Tables or sessions that a finding names.
const NAMED: usize = 10;

/// Checks the server behind `client`, and tries a replication connection to `url`, which leads to the
/// same; `online` asks for what following changes needs, with `slot` as the task's.
pub(super) async fn check(
    client: &mut Client,
    server: &Server,
    url: &EndpointUrl,
    selection: &Selection,
    online: bool,
    decoding: Decoding,
    slot: &str,
) -> Result<Vec<Finding>> {
    let family = Family::of(server);
    let facts = Facts::read(client, family, slot).await?;
    let tables = tables::read(client, family, selection).await?;
    let mut findings = match family {
        Family::PostgreSql => vec![version(&facts)],
        Family::OpenGauss => opengauss::server(server).into(),
    };
    findings.push(encoding(&facts));
    findings.extend(tables::readable(&facts, &tables));
    let partitions = partitions::read(client, family, selection).await?;
    findings.extend(tables::kinds(family, &tables, online));
    findings.extend(partitions::foreign(&partitions));
    if online {
        findings.push(wal_level(&facts));
        findings.extend(standby(&facts));
        findings.extend(slots::room(&facts));
        match family {
            Family::PostgreSql => findings.extend(slots::ours(client, slot).await?),
            Family::OpenGauss => {
                findings.extend(opengauss::online(client, selection).await?);
                findings.extend(decodable::slot(client, slot, decoding).await?);
            }
        }
        findings.push(replication::check(url, &facts).await?);
        if decoding.is_published() {
            findings.extend(publication(&facts));
        } else {
            findings.extend(opengauss::decoding(&facts, decoding));
            findings.extend(decodable::check(client, server, selection, decoding).await?);
        }
        findings.extend(tables::logged(&tables));
        findings.extend(tables::identities(&tables));
        findings.extend(partitions::logged(&partitions));
        findings.extend(tables::owners(&facts, &tables));
    }
    Ok(findings)
}

fn finding(severity: Severity, subject: &str, message: impl Into<String>, fix: Option<&str>) -> Finding {
    Finding {
        severity,
        subject: format!("source {subject}"),
        message: message.into(),
        fix: fix.map(str::to_owned),
    }
}

/// The first few of many names.
fn list<T: ToString>(names: &[T]) -> String {
    let named: Vec<String> = names.iter().take(NAMED).map(T::to_string).collect();
    let named = named.join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

fn version(facts: &Facts) -> Finding {
    let says = format!("PostgreSQL {}", facts.version_text);
    match facts.version / 10_000 {
        13..=18 => finding(Severity::Pass, "version", says, None),
        0..13 => finding(
            Severity::Failed,
            "version",
            format!("{says} is too old"),
            Some("upgrade the source; supported are PostgreSQL 13 to 18"),
        ),
        _ => finding(
            Severity::Warning,
            "version",
            format!(
                "{says} is newer than what was tested (18): its log may hold what this engine does not know"
            ),
            None,
        ),
    }
}

fn encoding(facts: &Facts) -> Finding {
    let name = "server_encoding";
    match facts.encoding.as_str() {
        "UTF8" => finding(Severity::Pass, name, "UTF8", None),
        "SQL_ASCII" => finding(
            Severity::Warning,
            name,
            "is SQL_ASCII, which is no encoding: the server never looked at the bytes of its texts, and one that is \
             not UTF-8 stops the task at its row",
            Some("look for such texts first, with convert_from(textsend(…), 'UTF8')"),
        ),
        other => finding(
            Severity::Note,
            name,
            format!(
                "is {other}: the server converts texts to UTF-8, and a character that it can't convert stops the task"
            ),
            None,
        ),
    }
}

fn wal_level(facts: &Facts) -> Finding {
    match facts.wal_level.as_str() {
        "logical" => finding(Severity::Pass, "wal_level", "logical", None),
        other => finding(
            Severity::Failed,
            "wal_level",
            format!("is {other}, must be logical: else the log does not say which rows changed"),
            Some(&format!(
                "{}, then restart the server; or migrate with --mode offline",
                facts.setting("wal_level", "logical")
            )),
        ),
    }
}

fn standby(facts: &Facts) -> Option<Finding> {
    facts.in_recovery.then(|| {
        finding(
            Severity::Failed,
            "pg_is_in_recovery",
            "the server is a standby: no publication can be made on it",
            Some("name the primary in the source URL, or migrate with --mode offline"),
        )
    })
}

/// Whether the account may make a publication; that it owns the tables is a matter of the tables.
fn publication(facts: &Facts) -> Option<Finding> {
    if facts.may_create {
        return None;
    }
    let fix = format!("GRANT CREATE ON DATABASE {} TO {}", quote(&facts.database), quote(&facts.account));
    Some(finding(
        Severity::Failed,
        "privileges",
        format!("the account may not make a publication in the database {}", facts.database),
        Some(&fix),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_stand_in_the_way_are_named_with_their_cure() {
        let facts = Facts {
            version: 120_009,
            version_text: "12.9".to_owned(),
            wal_level: "replica".to_owned(),
            in_recovery: true,
            may_create: false,
            database: "shop".to_owned(),
            account: "mig".to_owned(),
            ..Facts::good()
        };
        let findings = [version(&facts), wal_level(&facts)].into_iter();
        let findings: Vec<_> = findings.chain(standby(&facts)).chain(publication(&facts)).collect();
        assert_eq!(findings.len(), 4);
        for finding in &findings {
            assert_eq!(finding.severity, Severity::Failed, "{finding}");
            assert!(finding.fix.is_some() && finding.subject.starts_with("source "), "{finding}");
        }
        assert!(findings[3].to_string().ends_with("GRANT CREATE ON DATABASE \"shop\" TO \"mig\""));
    }

    #[test]
    fn a_good_server_passes() {
        let facts = Facts::good();
        for finding in [version(&facts), wal_level(&facts), encoding(&facts)] {
            assert_eq!(finding.severity, Severity::Pass, "{finding}");
        }
        assert_eq!((standby(&facts), publication(&facts)), (None, None));
    }

    #[test]
    fn encodings() {
        let severity = |encoding: &str| {
            super::encoding(&Facts { encoding: encoding.to_owned(), ..Facts::good() }).severity
        };
        assert_eq!(severity("LATIN1"), Severity::Note);
        assert_eq!(severity("SQL_ASCII"), Severity::Warning);
    }

    #[test]
    fn a_list_has_an_end() {
        assert_eq!(list(&["a", "b"]), "a, b");
        assert!(list(&[0; 12]).ends_with(" and 2 more"));
    }
}
