//! Whether objects can be created, before anything is.

use engine_core::Result;
use engine_core::finding::{Finding, Severity};
use engine_core::object::{Definer, ObjectKind, TargetObject};
use std::collections::{BTreeMap, BTreeSet};

use super::{account, digest, environment, is_same, known, other, there};
use crate::sql;
use crate::target::connection::Connections;
use crate::target::control::field;
use crate::target::failure::translate;
use crate::target::privileges::{self, Privilege};
use crate::target::session::Session;

/// Checks whether the objects can be created.
pub(in crate::target) async fn check(
    connections: &Connections,
    task: &str,
    objects: &[TargetObject],
) -> Result<Vec<Finding>> {
    let mut session = connections.open().await?;
    let known = known(&mut session, task).await?;
    let there = there(connections, objects).await?;
    let mut findings = Vec::new();
    let mut failed = |subject: String, message: String, fix: &str| {
        let fix = Some(fix.to_owned());
        findings.push(Finding { severity: Severity::Failed, subject, message, fix });
    };
    for object in objects {
        let found = there.get(&(object.kind, object.name.clone()));
        let record = known.get(&(object.kind.name().to_owned(), object.name.clone()));
        match (record, found) {
            (Some(record), Some(_)) if record.made && record.digest != digest(object) => failed(
                object.to_string(),
                "it was changed on the source since it was copied".to_owned(),
                &format!(
                    "drop it on the target to have it copied anew: DROP {} {}",
                    object.kind.name().to_uppercase(),
                    sql::table(&object.name)
                ),
            ),
            (None, Some(found)) if !is_same(object, found.as_ref()) => failed(
                object.to_string(),
                other(object),
                "drop or rename it, or leave the source's out by objects.exclude in the plugin's configuration",
            ),
            _ => {}
        }
    }
    findings.extend(definers(&mut session, objects).await?);
    findings.extend(rights(&mut session, objects).await?);
    findings.extend(modes(connections, objects).await?);
    findings.extend(functions(&mut session, objects).await?);
    Ok(findings)
}

/// Accounts that objects are to keep must be there: without them, nobody could use the object.
async fn definers(session: &mut Session, objects: &[TargetObject]) -> Result<Vec<Finding>> {
    let mut kept: Vec<(&str, Vec<String>)> = Vec::new();
    for object in objects.iter().filter(|object| object.mapping.definer == Definer::Keep) {
        match kept.iter_mut().find(|(definer, _)| *definer == object.definer) {
            Some((_, names)) => names.push(object.to_string()),
            None => kept.push((&object.definer, vec![object.to_string()])),
        }
    }
    if kept.is_empty() {
        return Ok(Vec::new());
    }
    let fix = "create the account on the target; or set objects.definer in the plugin's configuration: \"account\" for \
               the account that the engine logs in with, \"invoker\" for whoever uses the object";
    let finding = |severity, message: String| Finding {
        severity,
        subject: "target definers".to_owned(),
        message,
        fix: Some(fix.to_owned()),
    };
    let mut findings = Vec::new();
    for (definer, names) in kept {
        let (user, host) = account(definer);
        let known =
            session.select("SELECT 1 FROM mysql.user WHERE user = ? AND host = ?", (user, host)).await;
        match known {
            Ok(rows) if !rows.is_empty() => {}
            Ok(_) => findings.push(finding(
                Severity::Failed,
                format!("the target has no account {definer}, which these belong to: {}", names.join(", ")),
            )),
            Err(error) => {
                let why = translate(error, "it can't be seen").why().unwrap_or_default().to_owned();
                findings.push(finding(
                    Severity::Failed,
                    format!(
                        "whether the target has the account {definer} of {} can't be seen: {why}",
                        names.join(", ")
                    ),
                ));
                break;
            }
        }
    }
    Ok(findings)
}

/// The account must be allowed to create them, in the name of whom they are to belong to.
async fn rights(session: &mut Session, objects: &[TargetObject]) -> Result<Vec<Finding>> {
    let mut needs: BTreeMap<&str, BTreeSet<Privilege>> = BTreeMap::new();
    for object in objects {
        needs.entry(&object.name.namespace).or_default().insert(match object.kind {
            ObjectKind::View => Privilege::CreateView,
            ObjectKind::Trigger => Privilege::Trigger,
            ObjectKind::Function | ObjectKind::Procedure => Privilege::CreateRoutine,
            ObjectKind::Event => Privilege::Event,
        });
    }
    let mut findings = privileges::lacking(session, &needs).await?;
    let mut tried = BTreeSet::new();
    for object in objects.iter().filter(|object| object.mapping.definer == Definer::Keep) {
        if tried.insert(&object.definer) {
            let (user, host) = account(&object.definer);
            let definer = format!("{}@{}", sql::literal(user), sql::literal(host));
            findings.extend(privileges::in_the_name_of(session, &object.name.namespace, &definer).await?);
        }
    }
    Ok(findings)
}

/// Sessions as the objects need them must be to be had.
async fn modes(connections: &Connections, objects: &[TargetObject]) -> Result<Vec<Finding>> {
    let mut tried: Vec<String> = Vec::new();
    let mut findings = Vec::new();
    let mut session = connections.open().await?;
    for object in objects {
        let statement = environment(object);
        if tried.contains(&statement) {
            continue;
        }
        if let Err(error) = session.run(&statement).await {
            let error = translate(error, "the session can't be set up");
            findings.push(Finding {
                severity: Severity::Failed,
                subject: object.to_string(),
                message: format!("{}: {}", error.what(), error.why().unwrap_or_default()),
                fix: Some("leave it out by objects.exclude in the plugin's configuration".to_owned()),
            });
        }
        tried.push(statement);
    }
    Ok(findings)
}

/// A server with a binlog wants to be told that it may trust functions.
async fn functions(session: &mut Session, objects: &[TargetObject]) -> Result<Option<Finding>> {
    let has = |kind| objects.iter().any(|object| object.kind == kind);
    if !has(ObjectKind::Function) && !has(ObjectKind::Trigger) {
        return Ok(None);
    }
    let rows = session
        .query("SELECT @@GLOBAL.log_bin = 1 AND @@GLOBAL.log_bin_trust_function_creators = 0")
        .await
        .map_err(|error| translate(error, "the target's settings can't be read"))?;
    let distrusts = match rows.into_iter().next() {
        Some(mut row) => field::<Option<bool>>(&mut row, 0)?.unwrap_or(false),
        None => false,
    };
    Ok(distrusts.then(|| Finding {
        severity: Severity::Note,
        subject: "target log_bin_trust_function_creators".to_owned(),
        message: "it is OFF: a function that is not declared DETERMINISTIC, NO SQL or READS SQL DATA is refused, and an \
                  account without SUPER can create no function or trigger"
            .to_owned(),
        fix: Some("SET GLOBAL log_bin_trust_function_creators = ON, for the time of the migration".to_owned()),
    }))
}
