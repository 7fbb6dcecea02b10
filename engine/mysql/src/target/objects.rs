//! Creating a source's views, triggers, routines and events.
//!
//! Each statement runs in a session that is as the one was which made the object in the source. Since it
//! commits by itself, it is on record before that the task makes the object, and afterwards that it has. An
//! object that is there without a record is taken for the task's when it is the very same, else it is an
//! error: nothing is ever replaced.

mod check;

use engine_core::failpoint::Failpoint;
use engine_core::finding::{Finding, Severity};
use engine_core::object::{DatabaseObject, Definer, ObjectKind, TargetObject};
use engine_core::schema::TableName;
use engine_core::selection::Selection;
use engine_core::{Error, ErrorKind, Result};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;

use super::connection::Connections;
use super::control::{Claim, Guard, exists, field};
use super::failure::translate;
use super::session::Session;
use crate::charset::Charsets;
use crate::error::kind_of_code;
use crate::objects;
use crate::sql;

pub(super) use self::check::check;

/// Made by the first task that has objects, so that engines that know nothing of it read the rest.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS _migration.object (\
    task VARCHAR(190) NOT NULL, kind VARCHAR(16) NOT NULL, namespace VARCHAR(128) NOT NULL, \
    name VARCHAR(128) NOT NULL, digest CHAR(64) NOT NULL, runs BOOLEAN NOT NULL, made BOOLEAN NOT NULL, \
    PRIMARY KEY (task, kind, namespace, name)\
    ) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

/// What is on record of an object.
struct Known {
    digest: String,
    made: bool,
}

type Key = (ObjectKind, TableName);

/// What the task has on record, by kind and name.
async fn known(session: &mut Session, task: &str) -> Result<HashMap<(String, TableName), Known>> {
    let failed = |error| translate(error, "the target's record of objects can't be read");
    if !has_table(session).await? {
        return Ok(HashMap::new());
    }
    let rows = session
        .select("SELECT kind, namespace, name, digest, made FROM _migration.object WHERE task = ?", (task,))
        .await
        .map_err(failed)?;
    rows.into_iter()
        .map(|mut row| {
            let name = TableName::new(field::<String>(&mut row, 1)?, field::<String>(&mut row, 2)?);
            let known = Known { digest: field(&mut row, 3)?, made: field(&mut row, 4)? };
            Ok(((field::<String>(&mut row, 0)?, name), known))
        })
        .collect()
}

async fn has_table(session: &mut Session) -> Result<bool> {
    if !exists(session).await? {
        return Ok(false);
    }
    let there = session
        .query(
            "SELECT 1 FROM information_schema.tables WHERE table_schema = '_migration' AND table_name = 'object'",
        )
        .await
        .map_err(|error| translate(error, "the target's record of objects can't be read"))?;
    Ok(!there.is_empty())
}

/// The triggers that the task has created or was about to.
pub(super) async fn own_triggers(session: &mut Session, task: &str) -> Result<Vec<TableName>> {
    let known = known(session, task).await?;
    let is_trigger = |kind: &str| kind == ObjectKind::Trigger.name();
    Ok(known.into_keys().filter(|(kind, _)| is_trigger(kind)).map(|(_, name)| name).collect())
}

/// What tells one form of an object from another.
fn digest(object: &TargetObject) -> String {
    let mut hasher = Sha256::new();
    let definer = format!("{:?} {}", object.mapping.definer, object.definer);
    let environment =
        object.mapping.environment.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
    for part in [object.mapping.definition.as_str(), definer.as_str()].into_iter().chain(environment) {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hex::encode(hasher.finalize())
}

/// Objects of the databases that `objects` go to, as the target prints them.
async fn there(
    connections: &Connections,
    objects: &[TargetObject],
) -> Result<HashMap<Key, Option<DatabaseObject>>> {
    let mut session = connections.open().await?;
    let conn = session.reading().await?;
    let charsets = Charsets::read(conn).await?;
    let mut databases: Vec<&str> = objects.iter().map(|object| object.name.namespace.as_str()).collect();
    databases.sort_unstable();
    databases.dedup();
    let mut there = HashMap::new();
    for database in databases {
        let selection = Selection { database: Some(database.to_owned()), ..Selection::default() };
        let (found, unreadable) = objects::read(conn, connections.server(), &charsets, &selection).await?;
        for object in found {
            there.insert((object.kind, object.name.clone()), Some(object));
        }
        // Of those it is known that they are there, and nothing else.
        for object in objects.iter().filter(|object| object.name.namespace == database) {
            let subject = format!("{} {}", object.kind, object.name);
            if unreadable.iter().any(|finding| finding.subject == subject) {
                there.entry((object.kind, object.name.clone())).or_insert(None);
            }
        }
    }
    Ok(there)
}

/// Whether an object is what would be created.
fn is_same(object: &TargetObject, there: Option<&DatabaseObject>) -> bool {
    let Some(there) = there else { return false };
    let environment = |name: &str| {
        let found = there.environment.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value.as_str())
    };
    // An event sleeps until it is let, a view has no mode.
    let compared = ["sql_mode", "time_zone", "character_set_client", "collation_connection"];
    let same_definer = object.mapping.definer != Definer::Keep || object.definer == there.definer;
    same_definer
        && object.mapping.definition == there.definition
        && compared.into_iter().all(|name| environment(name) == object.environment(name))
}

fn other(object: &TargetObject) -> String {
    format!("the target has a {} {} already, which is not the same", object.kind, object.name)
}

/// Name and host of an account, as `information_schema` prints one.
fn account(definer: &str) -> (&str, &str) {
    definer.rsplit_once('@').unwrap_or((definer, ""))
}

/// The session that an object is made in.
fn environment(object: &TargetObject) -> String {
    let text = |name: &str| object.environment(name).replace('\'', "''");
    let mut parts = vec![format!("sql_mode = '{}'", text("sql_mode"))];
    for name in ["time_zone", "character_set_client", "collation_connection"] {
        if !object.environment(name).is_empty() {
            parts.push(format!("{name} = '{}'", text(name)));
        }
    }
    format!("SET SESSION {}", parts.join(", "))
}

/// Creates what isn't there; a warning for each that the server refuses.
pub(super) async fn create(
    connections: &Connections,
    claim: &Claim,
    objects: &[TargetObject],
) -> Result<Vec<Finding>> {
    if objects.is_empty() {
        return Ok(Vec::new());
    }
    let mut session = connections.open().await?;
    session
        .run(TABLE)
        .await
        .map_err(|error| translate(error, "the target's record of objects can't be made"))?;
    let guard = Guard::new(connections.open().await?, claim).await?;
    let known = known(&mut session, &claim.task).await?;
    let there = there(connections, objects).await?;
    let mut left: Vec<&TargetObject> = Vec::new();
    let mut findings = Vec::new();
    for object in objects {
        let found = there.get(&(object.kind, object.name.clone()));
        let record = known.get(&(object.kind.name().to_owned(), object.name.clone()));
        match (record, found) {
            (Some(record), Some(_)) => {
                if record.made && record.digest != digest(object) {
                    findings.push(warning(object, "it was changed on the source since it was copied"));
                } else {
                    finish(&mut session, claim, object).await?;
                }
            }
            (None, Some(found)) if is_same(object, found.as_ref()) => {
                finish(&mut session, claim, object).await?;
            }
            (None, Some(_)) => {
                return Err(Error::new(ErrorKind::Precondition, other(object))
                    .at("object", object)
                    .help("drop or rename the target's, then run the same command again"));
            }
            (_, None) => left.push(object),
        }
    }
    // A view may need one that comes later by its name: for as long as any could be made, the others are
    // tried again.
    loop {
        let mut refused: Vec<(&TargetObject, String)> = Vec::new();
        let before = left.len();
        for object in left {
            match self::object(connections, &mut session, claim, object).await? {
                Ok(()) => {}
                Err(why) => refused.push((object, why)),
            }
        }
        if refused.is_empty() || refused.len() == before {
            findings.extend(refused.iter().map(|(object, why)| warning(object, why)));
            break;
        }
        left = refused.into_iter().map(|(object, _)| object).collect();
    }
    guard.release().await?;
    Ok(findings)
}

fn warning(object: &TargetObject, why: &str) -> Finding {
    Finding {
        severity: Severity::Warning,
        subject: object.to_string(),
        message: format!("it is not in the target as it is in the source: {why}"),
        fix: Some("create it on the target by hand".to_owned()),
    }
}

/// Creates one object; inside, why the server refuses it.
async fn object(
    connections: &Connections,
    session: &mut Session,
    claim: &Claim,
    object: &TargetObject,
) -> Result<Result<(), String>> {
    record(session, claim, object, false).await?;
    // A session of its own, since it is set up for this object alone.
    let mut own = connections.open().await?;
    let made = make(&mut own, object).await?;
    if made.is_ok() {
        Failpoint::ObjectCreated.reach();
        finish(session, claim, object).await?;
    } else {
        forget(session, claim, object).await?;
    }
    Ok(made)
}

async fn make(session: &mut Session, object: &TargetObject) -> Result<Result<(), String>> {
    let bytes = match encoded(session, object, &statement(object)).await? {
        Ok(bytes) => bytes,
        Err(why) => return Ok(Err(why)),
    };
    let database = default_collation(session, object).await?;
    if let Err(why) = database {
        return Ok(Err(why));
    }
    let context = format!("USE {}", sql::identifier(&object.name.namespace));
    let steps = [context.into_bytes(), environment(object).into_bytes(), bytes];
    for step in steps {
        if let Err(error) = session.run(step).await {
            let is_refusal = matches!(&error, mysql_async::Error::Server(error)
                if kind_of_code(error.code) != ErrorKind::Transient);
            let error = translate(error, "an object can't be created in the target").at("object", object);
            if is_refusal {
                return Ok(Err(error.why().unwrap_or(error.what()).to_owned()));
            }
            return Err(error);
        }
    }
    Ok(Ok(()))
}

/// Variables of a stored program without a character set take the database's. A database that has nothing but
/// the engine's own tables gets the source's; another must have it already.
async fn default_collation(session: &mut Session, object: &TargetObject) -> Result<Result<(), String>> {
    let wanted = object.environment("database_collation");
    if wanted.is_empty() {
        return Ok(Ok(()));
    }
    let failed = |error| translate(error, "the target's databases can't be read");
    let rows = session
        .select(
            "SELECT CONVERT(s.default_collation_name USING utf8mb4), (SELECT COUNT(*) FROM information_schema.tables t \
             WHERE t.table_schema = s.schema_name AND t.table_type = 'BASE TABLE' AND NOT EXISTS \
             (SELECT 1 FROM _migration.owned_table o WHERE o.namespace = t.table_schema AND o.name = t.table_name)) \
             FROM information_schema.schemata s WHERE LOWER(s.schema_name) = LOWER(?)",
            (&object.name.namespace,),
        )
        .await
        .map_err(failed)?;
    let Some(mut row) = rows.into_iter().next() else {
        let create = format!(
            "CREATE DATABASE IF NOT EXISTS {} COLLATE {wanted}",
            sql::identifier(&object.name.namespace)
        );
        return Ok(session.run(create).await.map_err(|error| error.to_string()));
    };
    let (collation, foreign): (String, u64) = (field(&mut row, 0)?, field(&mut row, 1)?);
    if collation.eq_ignore_ascii_case(wanted) {
        return Ok(Ok(()));
    }
    if foreign > 0 {
        return Ok(Err(format!(
            "the database {} has the collation {collation}, and in {wanted} its variables would have another",
            object.name.namespace
        )));
    }
    let alter = format!("ALTER DATABASE {} COLLATE {wanted}", sql::identifier(&object.name.namespace));
    Ok(session.run(alter).await.map_err(|error| error.to_string()))
}

/// The statement with what it says of rights.
fn statement(object: &TargetObject) -> String {
    let definer = match object.mapping.definer {
        Definer::Keep if !object.definer.is_empty() => {
            let (user, host) = account(&object.definer);
            format!("DEFINER = {}@{} ", sql::identifier(user), sql::identifier(host))
        }
        _ => String::new(),
    };
    let rest = object.mapping.definition.strip_prefix("CREATE ").unwrap_or(&object.mapping.definition);
    if object.kind != ObjectKind::View {
        return format!("CREATE {definer}{rest}");
    }
    let security = match object.mapping.definer {
        Definer::Invoker => "INVOKER",
        _ => match object.environment("security") {
            "INVOKER" => "INVOKER",
            _ => "DEFINER",
        },
    };
    let algorithm = match object.environment("algorithm") {
        "" => "UNDEFINED",
        algorithm => algorithm,
    };
    format!("CREATE ALGORITHM = {algorithm} {definer}SQL SECURITY {security} {rest}")
}

/// A statement in the character set that its session writes in; inside, why it can't be.
async fn encoded(
    session: &mut Session,
    object: &TargetObject,
    statement: &str,
) -> Result<Result<Vec<u8>, String>> {
    let client = object.environment("character_set_client");
    let is_plain = statement.is_ascii() || client.is_empty() || client.starts_with("utf8mb4");
    // Of utf8mb3 only what is beyond it is another thing.
    if is_plain
        || (client.starts_with("utf8") && statement.chars().all(|letter| u32::from(letter) < 0x1_0000))
    {
        return Ok(Ok(statement.as_bytes().to_vec()));
    }
    if !client.chars().all(|letter| letter.is_ascii_alphanumeric()) {
        return Ok(Err(format!("no character set has the name {client}")));
    }
    let converted = session
        .select(
            &format!(
                "SELECT CAST(CONVERT(? USING {client}) AS BINARY), \
                 CAST(CONVERT(CONVERT(? USING {client}) USING utf8mb4) AS BINARY)"
            ),
            (statement, statement),
        )
        .await;
    let converted = match converted {
        Ok(rows) => rows.into_iter().next(),
        Err(error) => return Ok(Err(translate(error, "its text can't be written").to_string())),
    };
    let Some(mut row) = converted else { return Ok(Err("its text can't be written".to_owned())) };
    let (bytes, back): (Vec<u8>, Vec<u8>) = (field(&mut row, 0)?, field(&mut row, 1)?);
    Ok(if back == statement.as_bytes() {
        Ok(bytes)
    } else {
        Err(format!("its text can't be written in {client}"))
    })
}

/// What is left to do with an object that is there, and the record that it is.
async fn finish(session: &mut Session, claim: &Claim, object: &TargetObject) -> Result<()> {
    let is_routine = matches!(object.kind, ObjectKind::Function | ObjectKind::Procedure);
    if is_routine && object.mapping.definer == Definer::Invoker {
        let kind = object.kind.name().to_uppercase();
        session
            .run(format!("ALTER {kind} {} SQL SECURITY INVOKER", sql::table(&object.name)))
            .await
            .map_err(|error| translate(error, "a routine can't be altered").at("object", object))?;
    }
    record(session, claim, object, true).await
}

async fn record(session: &mut Session, claim: &Claim, object: &TargetObject, made: bool) -> Result<()> {
    let (digest, runs) = (digest(object), object.environment("status") == "ENABLED");
    session
        .change(
            "INSERT INTO _migration.object (task, kind, namespace, name, digest, runs, made) \
             VALUES (?, ?, ?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE digest = ?, runs = ?, made = ?",
            (
                &claim.task,
                object.kind.name(),
                &object.name.namespace,
                &object.name.name,
                &digest,
                runs,
                made,
                &digest,
                runs,
                made,
            ),
        )
        .await
        .map(drop)
        .map_err(|error| translate(error, "the target's record of objects can't be written"))
}

async fn forget(session: &mut Session, claim: &Claim, object: &TargetObject) -> Result<()> {
    forget_one(session, &claim.task, object.kind.name(), &object.name).await
}

async fn forget_one(session: &mut Session, task: &str, kind: &str, name: &TableName) -> Result<()> {
    session
        .change(
            "DELETE FROM _migration.object WHERE task = ? AND kind = ? AND namespace = ? AND name = ?",
            (task, kind, &name.namespace, &name.name),
        )
        .await
        .map(drop)
        .map_err(|error| translate(error, "the target's record of objects can't be written"))
}

/// Removes the triggers that the task has on record.
pub(super) async fn withdraw_triggers(connections: &Connections, claim: &Claim) -> Result<()> {
    let mut session = connections.open().await?;
    let triggers = own_triggers(&mut session, &claim.task).await?;
    if triggers.is_empty() {
        return Ok(());
    }
    let guard = Guard::new(connections.open().await?, claim).await?;
    for name in triggers {
        session
            .run(format!("DROP TRIGGER IF EXISTS {}", sql::table(&name)))
            .await
            .map_err(|error| translate(error, "a trigger can't be dropped").at("object", &name))?;
        forget_one(&mut session, &claim.task, ObjectKind::Trigger.name(), &name).await?;
    }
    guard.release().await
}

/// Has the events on record run that do in the source; how many these are.
pub(super) async fn enable_events(connections: &Connections, task: &str) -> Result<u64> {
    let mut session = connections.open().await?;
    if !has_table(&mut session).await? {
        return Ok(0);
    }
    let failed = |error| translate(error, "the target's record of objects can't be read");
    let rows = session
        .select(
            "SELECT o.namespace, o.name, CONVERT(e.definer USING utf8mb4) FROM _migration.object o \
             JOIN information_schema.events e ON e.event_schema = o.namespace AND e.event_name = o.name \
             WHERE o.task = ? AND o.kind = ? AND o.runs AND o.made",
            (task, ObjectKind::Event.name()),
        )
        .await
        .map_err(failed)?;
    let mut enabled = 0;
    for mut row in rows {
        let name = TableName::new(field::<String>(&mut row, 0)?, field::<String>(&mut row, 1)?);
        // Else the event would belong to whoever enables it.
        let definer: String = field(&mut row, 2)?;
        let (user, host) = account(&definer);
        let (user, host) = (sql::identifier(user), sql::identifier(host));
        session
            .run(format!("ALTER DEFINER = {user}@{host} EVENT {} ENABLE", sql::table(&name)))
            .await
            .map_err(|error| translate(error, "an event can't be enabled").at("object", &name))?;
        enabled += 1;
    }
    Ok(enabled)
}
