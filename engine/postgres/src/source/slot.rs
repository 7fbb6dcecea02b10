//! The publication and the replication slot of a task.
//!
//! Both have one name, made of the task's and of its target's, so that a task of the same name that goes
//! elsewhere has its own. A slot that is left over from a task that its target never got to know can be
//! dropped therefore, and begun anew. From then on the task's positions name the slot.

use engine_core::position::Position;
use engine_core::schema::TableName;
use engine_core::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::Client;

use super::position::LogPosition;
use super::publication;
use super::timeline::Timelines;
use super::watermark::{self, Visibility};
use crate::failure::translate;
use crate::family::Family;
use crate::identifier::{literal, quote};
use crate::replication::connection::{ReplicationConnection, TextRow};
use crate::replication::lsn::Lsn;

/// How often is looked whether what the log has is visible.
const VISIBILITY: Duration = Duration::from_millis(5);
/// How long a slot may be in use by a stream that has ended.
const LEAVING: Duration = Duration::from_secs(5);
/// After how long a wait is talked about.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a slot is tried to be made that the server refuses for the moment.
const ATTEMPTS: u32 = 100;
/// `ERRCODE_T_R_SERIALIZATION_FAILURE`, which "initial slot snapshot too large" comes with (`snapbuild.c`).
const TOO_LARGE: &str = "SQLSTATE 40001";

/// Name of the publication and the slot of `task`, which goes to `target`.
pub(super) fn name(task: &str, target: &str) -> String {
    /// What is left of the 63 bytes of a name after prefix and hash.
    const ROOM: usize = 63 - "engine__".len() - 8;
    let readable = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let task_part: String = task.chars().map(readable).take(ROOM).collect();
    let digest = Sha256::digest(format!("{task}\n{target}").as_bytes());
    format!("engine_{task_part}_{}", hex::encode(digest.get(..4).unwrap_or_default()))
}

/// The first version with columns that are computed when they are read.
const VIRTUAL_COLUMNS: u32 = 180_000;

/// Columns that are computed when they are read are in no log: whoever published the table would have every update
/// of it refused. PostgreSQL has them from version 18 on.
async fn refuse_virtual_columns(client: &Client, tables: &[TableName]) -> Result<()> {
    let rows = client
        .query(
            "SELECT n.nspname::text, c.relname::text, a.attname::text FROM pg_catalog.pg_attribute a \
             JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE a.attgenerated = 'v' AND NOT a.attisdropped AND c.relkind IN ('r', 'p')",
            &[],
        )
        .await
        .map_err(|error| translate(error, "the source's generated columns can't be listed"))?;
    for row in &rows {
        let name = TableName::new(row.get::<_, &str>(0), row.get::<_, &str>(1));
        if tables.contains(&name) {
            return Err(Error::new(
                ErrorKind::Precondition,
                "a table with a virtual generated column can't be followed",
            )
            .at("table", &name)
            .at("column", row.get::<_, &str>(2))
            .because(
                "PostgreSQL refuses every update of such a table once its whole rows are to be published",
            )
            .help("make the column STORED, or leave the table out with --exclude"));
        }
    }
    Ok(())
}

/// Has the publication publish these tables, and no others.
pub(super) async fn publish(client: &Client, family: Family, name: &str, tables: &[TableName]) -> Result<()> {
    let failed = |error| {
        translate(error, "the publication can't be made")
            .at("publication", name)
            .help("the account has to own the tables and may CREATE in the database: ALTER TABLE … OWNER TO, GRANT CREATE ON DATABASE")
    };
    let version = client
        .query_one("SELECT pg_catalog.current_setting('server_version_num')::int", &[])
        .await
        .map_err(failed)?
        .get::<_, i32>(0)
        .unsigned_abs();
    if version >= VIRTUAL_COLUMNS {
        refuse_virtual_columns(client, tables).await?;
    }
    let listed: Vec<String> = tables.iter().map(super::chunk::relation).collect();
    let is_there = client
        .query_opt("SELECT 1 FROM pg_catalog.pg_publication WHERE pubname = $1", &[&name])
        .await
        .map_err(failed)?
        .is_some();
    let (publication, listed) = (quote(name), listed.join(", "));
    let statement = match (is_there, listed.is_empty()) {
        (true, _) => format!("DROP PUBLICATION {publication}; CREATE PUBLICATION {publication}"),
        (false, _) => format!("CREATE PUBLICATION {publication}"),
    } + &if listed.is_empty() { String::new() } else { format!(" FOR TABLE {listed}") }
        + &format!(" WITH ({})", family.published(version));
    client.batch_execute(&format!("BEGIN; {statement}; COMMIT")).await.map_err(failed)?;
    if family == Family::PostgreSql { publication::seal(client, name).await } else { Ok(()) }
}

/// Makes the slot, in place of one that is left over, and gives the position from which it has
/// everything; all before is visible to whoever reads then.
pub(super) async fn create(
    connection: &mut ReplicationConnection,
    client: &mut Client,
    visibility: &Visibility,
    name: &str,
    plugin: &str,
    system: &Arc<str>,
) -> Result<Position> {
    drop_slot(client, name).await?;
    let timeline = Timelines::read(connection).await?.current();
    visibility.keep_to(timeline);
    let family = connection.family();
    let command = family.create_slot(name, plugin, connection.major_version());
    let answer = made(connection, &command).await.map_err(|error| error.at("slot", name))?;
    let field = |place: usize| answer.first()?.get(place)?.as_deref();
    let malformed = || Error::new(ErrorKind::Internal, "the source's answer to a new slot can't be read");
    let (place, exported) = (field(1).ok_or_else(malformed)?, field(2).ok_or_else(malformed)?);
    let place = watermark::lsn(place)?;
    match family {
        Family::PostgreSql => wait_until_visible(client, exported).await?,
        // Its snapshot does not say whom it sees.
        Family::OpenGauss => watermark::until_visible(client, family).await?,
    }
    visibility.put_visible(place);
    let slot = Some(name.into());
    let system = Arc::clone(system);
    Ok(Position::from(&LogPosition {
        system,
        timeline: Some(timeline),
        slot,
        lsn: place,
        snapshot: None,
        is_begun: false,
    }))
}

/// Runs the command that makes a slot. The server refuses it, for the moment, when too many transactions were rolled back
/// while it looked for a place to begin at: it counts them among those in progress.
async fn made(connection: &mut ReplicationConnection, command: &str) -> Result<Vec<TextRow>> {
    let mut attempt = 1;
    loop {
        let mut creating = std::pin::pin!(connection.query(command));
        let answer = loop {
            match tokio::time::timeout(PATIENCE, &mut creating).await {
                Ok(answer) => break answer,
                Err(_) => {
                    tracing::info!("waiting for the transactions to end that are writing to the source");
                }
            }
        };
        match answer {
            Err(error) if attempt < ATTEMPTS && error.to_string().contains(TOO_LARGE) => {
                tracing::debug!(%error, "the slot is made once more");
                attempt += 1;
                tokio::time::sleep(VISIBILITY).await;
            }
            answer => return answer,
        }
    }
}

/// Waits until everything that an exported snapshot has is visible. It is made from the log, which runs
/// ahead.
async fn wait_until_visible(client: &mut Client, exported: &str) -> Result<()> {
    let failed = |error| translate(error, "the snapshot of the new slot can't be taken");
    let transaction = client
        .build_transaction()
        .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await
        .map_err(failed)?;
    transaction
        .batch_execute(&format!("SET TRANSACTION SNAPSHOT {}", literal(exported)))
        .await
        .map_err(failed)?;
    let logged = watermark::snapshot(transaction.client(), Family::PostgreSql).await?;
    transaction.commit().await.map_err(failed)?;
    while !watermark::snapshot(client, Family::PostgreSql).await?.sees_all_of(&logged) {
        tokio::time::sleep(VISIBILITY).await;
    }
    Ok(())
}

/// Drops a slot once nobody follows it any more; the server may need a moment to notice that nobody does.
pub(super) async fn drop_when_idle(client: &Client, name: &str) -> Result<()> {
    let deadline = Instant::now() + LEAVING;
    loop {
        match drop_slot(client, name).await {
            Err(error) if error.kind() == ErrorKind::State && Instant::now() < deadline => {
                tokio::time::sleep(VISIBILITY).await;
            }
            outcome => return outcome,
        }
    }
}

/// Drops a slot that nobody follows.
pub(super) async fn drop_slot(client: &Client, name: &str) -> Result<()> {
    let failed = |error| translate(error, "a replication slot can't be dropped").at("slot", name);
    let row = client
        .query_opt("SELECT active FROM pg_catalog.pg_replication_slots WHERE slot_name = $1", &[&name])
        .await
        .map_err(failed)?;
    match row.map(|row| row.get::<_, bool>(0)) {
        None => Ok(()),
        Some(true) => Err(Error::new(ErrorKind::State, "the task's replication slot is in use")
            .at("slot", name)
            .because("a session of the source follows it")
            .help("see whether another engine runs the task; it has to be stopped first")),
        Some(false) => {
            client
                .execute("SELECT pg_catalog.pg_drop_replication_slot($1)", &[&name])
                .await
                .map_err(failed)?;
            Ok(())
        }
    }
}

/// Makes a copy of a slot that goes with the connection.
pub(super) async fn copy(connection: &mut ReplicationConnection, name: &str, copy: &str) -> Result<()> {
    let command = format!(
        "SELECT pg_catalog.pg_copy_logical_replication_slot({}, {}, true)",
        literal(name),
        literal(copy)
    );
    connection.query(&command).await.map_err(|error| error.at("slot", name))?;
    Ok(())
}

/// Ends a session that still follows the slot: an engine that had the task before, whose end the server has not
/// noticed yet.
///
/// openGauss does not say which session it is; it notices by itself within `logical_sender_timeout`.
pub(super) async fn take_over(client: &Client, family: Family, name: &str) -> Result<()> {
    let failed = |error| translate(error, "the task's replication slot can't be taken over").at("slot", name);
    if family == Family::PostgreSql {
        client
            .execute(
                "SELECT pg_catalog.pg_terminate_backend(active_pid) FROM pg_catalog.pg_replication_slots \
                 WHERE slot_name = $1 AND active",
                &[&name],
            )
            .await
            .map_err(failed)?;
    }
    loop {
        let row = client
            .query_opt("SELECT active FROM pg_catalog.pg_replication_slots WHERE slot_name = $1", &[&name])
            .await
            .map_err(failed)?;
        if row.is_none_or(|row| !row.get::<_, bool>(0)) {
            return Ok(());
        }
        tokio::time::sleep(VISIBILITY).await;
    }
}

/// Drops the publication.
pub(super) async fn unpublish(client: &Client, name: &str) -> Result<()> {
    client
        .batch_execute(&format!("DROP PUBLICATION IF EXISTS {}", quote(name)))
        .await
        .map_err(|error| translate(error, "the publication can't be dropped").at("publication", name))
}

/// What a slot is, as far as following depends on it.
pub(super) struct SlotState {
    /// Everything before it was given back.
    pub(super) confirmed: Lsn,
}

/// Looks whether the slot can be followed, by a plugin.
pub(super) async fn state(client: &Client, family: Family, name: &str, plugin: &str) -> Result<SlotState> {
    let failed = |error| translate(error, "the task's replication slot can't be looked at").at("slot", name);
    let row = client.query_opt(family.slot_state(), &[&name]).await.map_err(failed)?;
    let gone = |why: String| {
        Error::new(ErrorKind::Divergence, "the changes since the last run can't be followed any more")
            .at("slot", name)
            .because(why)
            .help("the source may have dropped changes that the target lacks: begin a new task with another --name after dropping this task's target tables")
    };
    let row = row.ok_or_else(|| gone("the task's replication slot is not there any more".to_owned()))?;
    let (lost, status): (bool, Option<String>) = (row.get(1), row.get(2));
    if lost || status.as_deref() == Some("lost") {
        let status = status.unwrap_or_default();
        return Err(gone(format!("the source has invalidated the task's replication slot ({status})")));
    }
    let found = row.get::<_, Option<&str>>(4).unwrap_or_default();
    if family.is_opengauss() && found != plugin && ["pgoutput", "mppdb_decoding"].contains(&found) {
        return Err(Error::new(ErrorKind::Usage, "the task follows the source by another plugin")
            .at("slot", name)
            .because(format!("its slot is of {found}, and the source's URL asks for {plugin}"))
            .help(
                "give the URL the decoding that the task began with; for another one, begin a new task with another \
                 --name",
            ));
    }
    if row.get::<_, Option<bool>>(3) != Some(true) || found != plugin {
        return Err(gone("a slot of another database or another plugin has its name".to_owned()));
    }
    let confirmed: Option<String> = row.get(0);
    Ok(SlotState { confirmed: watermark::lsn(&confirmed.unwrap_or_else(|| "0/0".to_owned()))? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_a_slots() {
        let one = name("Shop-2026", "mysql://a@b/");
        assert!(one.starts_with("engine_shop_2026_"), "{one}");
        assert_ne!(one, name("Shop-2026", "mysql://a@c/"));
        let long = name(&"ü".repeat(300), "t");
        assert_eq!(long.len(), 63);
        assert!(long.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'));
    }
}
