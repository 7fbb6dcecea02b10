//! Where the lanes of a task stand, one row of `_migration.lane` each.
//!
//! A row's `position` is one before which the target has everything, as known when the row was
//! written; the row with the greatest `sequence` has the latest. `applied` names the transactions
//! after the position that this lane has committed. So the latest position together with the
//! transactions of all rows is what the target has, whichever lanes went on last.
//!
//! Opening lanes replaces the rows under a new `session`: it waits for commits in progress, which
//! it then counts in, and all others of earlier sessions no longer find their row.

use engine_core::examine::Stand;
use engine_core::failpoint::Failpoint;
use engine_core::position::Position;
use engine_core::target::Standing;
use engine_core::transaction::TransactionSet;
use engine_core::{Error, ErrorKind, Result};
use tokio_postgres::{Client, Row, Transaction};

use crate::control::Claim;
use crate::failure::translate;

/// The right to write for one lane.
#[derive(Debug, Clone)]
pub(crate) struct Lane {
    pub(crate) claim: Claim,
    session: i64,
    number: i32,
    /// Commits so far, of this session.
    commits: i64,
}

/// Gives the lanes to the task's new epoch, making the first one if there is none.
pub(crate) async fn take_over(transaction: &Transaction<'_>, task: &str) -> Result<()> {
    let failed = |error| translate(error, "the task can't be registered in the target").at("task", task);
    transaction
        .execute(
            "INSERT INTO _migration.lane (task, number, epoch, session, position, applied) \
             SELECT name, 0, epoch, session, start_position, $2::bytea FROM _migration.task WHERE name = $1 \
             AND NOT EXISTS (SELECT 1 FROM _migration.lane WHERE task = $1 AND number = 0)",
            &[&task, &TransactionSet::default().encode()],
        )
        .await
        .map_err(failed)?;
    transaction
        .execute(
            "UPDATE _migration.lane SET epoch = t.epoch, \
             position = CASE WHEN number = 0 THEN COALESCE(position, t.start_position) ELSE position END \
             FROM _migration.task t WHERE t.name = task AND task = $1",
            &[&task],
        )
        .await
        .map_err(failed)?;
    Ok(())
}

/// Begins a session of `count` lanes that all stand where the target stands.
pub(crate) async fn open(
    client: &mut Client,
    claim: &Claim,
    count: usize,
) -> Result<(Position, TransactionSet, Vec<Lane>)> {
    let failed =
        |error| translate(error, "the target's record of its lanes can't be written").at("task", &claim.task);
    let transaction = client.transaction().await.map_err(failed)?;
    let session: i64 = transaction
        .query_opt(
            "UPDATE _migration.task SET session = session + 1 WHERE name = $1 AND epoch = $2 RETURNING session",
            &[&claim.task, &claim.epoch],
        )
        .await
        .map_err(failed)?
        .ok_or_else(|| claim.lost())?
        .get(0);
    let rows = transaction
        .query(
            "DELETE FROM _migration.lane WHERE task = $1 RETURNING sequence, position, applied",
            &[&claim.task],
        )
        .await
        .map_err(failed)?;
    let (position, applied) = join(&rows).map_err(|error| error.at("task", &claim.task))?;
    let lanes: Vec<Lane> = (0..count.max(1) as i32)
        .map(|number| Lane { claim: claim.clone(), session, number, commits: 0 })
        .collect();
    for lane in &lanes {
        // One row is enough to remember what earlier sessions did.
        let applied = if lane.number == 0 { applied.encode() } else { Vec::new() };
        transaction
            .execute(
                "INSERT INTO _migration.lane (task, number, epoch, session, position, applied) \
                 VALUES ($1, $2, $3, $4, $5, $6)",
                &[&claim.task, &lane.number, &claim.epoch, &session, &position.0, &applied],
            )
            .await
            .map_err(failed)?;
    }
    Failpoint::LanesReplaced.reach();
    transaction.commit().await.map_err(failed)?;
    Ok((position, applied, lanes))
}

/// Puts every lane of the task to `position`, in the open transaction, which has the task's row locked.
/// Nothing after the position may have been applied.
pub(crate) async fn move_to(client: &Client, claim: &Claim, position: &Position) -> Result<()> {
    let moved = client
        .execute(
            "UPDATE _migration.lane SET position = $1, moved_at = now() WHERE task = $2 AND epoch = $3",
            &[&position.0, &claim.task, &claim.epoch],
        )
        .await
        .map_err(|error| translate(error, "the position can't be written").at("task", &claim.task))?;
    if moved > 0 { Ok(()) } else { Err(claim.lost()) }
}

/// Whether every lane of the task stands at `position`.
pub(crate) async fn is_at(client: &Client, claim: &Claim, position: &Position) -> Result<bool> {
    let row = client
        .query_one(
            "SELECT COALESCE(bool_and(position = $1), false) FROM _migration.lane WHERE task = $2 AND epoch = $3",
            &[&position.0, &claim.task, &claim.epoch],
        )
        .await
        .map_err(|error| translate(error, "the target can't be asked for its position"))?;
    Ok(row.get(0))
}

/// Where the task stands in the snapshot, or in the transaction, that is open on `client`.
pub(crate) async fn stand(client: &Client, task: &str) -> Result<Stand> {
    let failed = |error| translate(error, "the target's record of the task can't be read").at("task", task);
    let record = client
        .query_opt("SELECT plan_digest, start_position FROM _migration.task WHERE name = $1", &[&task])
        .await
        .map_err(failed)?
        .ok_or_else(|| {
            Error::new(ErrorKind::State, "the target does not know the task")
                .at("task", task)
                .help("give the target that the task was run with")
        })?;
    let plan_digest = record.get(0);
    if record.get::<_, Option<String>>(1).is_none() {
        return Ok(Stand { plan_digest, position: None, applied: TransactionSet::default() });
    }
    let rows = client
        .query("SELECT sequence, position, applied FROM _migration.lane WHERE task = $1", &[&task])
        .await
        .map_err(failed)?;
    let (position, applied) = join(&rows).map_err(|error| error.at("task", task))?;
    Ok(Stand { plan_digest, position: Some(position), applied })
}

/// What rows (sequence, position, applied) say together.
fn join(rows: &[Row]) -> Result<(Position, TransactionSet)> {
    let missing = || Error::new(ErrorKind::State, "the target does not know where the task stands");
    let latest = rows.iter().max_by_key(|row| row.get::<_, i64>(0)).ok_or_else(missing)?;
    let position = latest.get::<_, Option<String>>(1).ok_or_else(missing)?;
    let mut applied = TransactionSet::default();
    for row in rows {
        let set =
            TransactionSet::decode(row.get::<_, Option<&[u8]>>(2).unwrap_or_default()).ok_or_else(|| {
                Error::new(ErrorKind::State, "the target's record of applied transactions can't be read")
                    .help("restore schema _migration of the target, or begin a new task with another --name")
            })?;
        applied.extend(&set);
    }
    Ok((Position(position), applied))
}

impl Lane {
    /// Writes where the lane stands, in the open transaction, while it is still the task's.
    pub(crate) async fn stand(&mut self, client: &Client, standing: &Standing) -> Result<()> {
        self.commits += 1;
        let moved = client
            .execute(
                "UPDATE _migration.lane SET commits = $1, sequence = $2, position = $3, applied = $4, \
                 moved_at = now() WHERE task = $5 AND number = $6 AND epoch = $7 AND session = $8",
                &[
                    &self.commits,
                    &(standing.sequence as i64),
                    &standing.position.0,
                    &standing.applied.encode(),
                    &self.claim.task,
                    &self.number,
                    &self.claim.epoch,
                    &self.session,
                ],
            )
            .await
            .map_err(|error| {
                translate(error, "the position can't be written").at("task", &self.claim.task)
            })?;
        if moved == 1 { Ok(()) } else { Err(self.claim.lost()) }
    }

    /// Whether the last [`stand`](Self::stand) was committed, asked over a new connection after a
    /// `COMMIT` whose answer was lost. The row's lock is had only once the transaction in doubt has
    /// ended.
    pub(crate) async fn stands(&self, client: &Client) -> Result<bool> {
        let row = client
            .query_opt(
                "SELECT commits FROM _migration.lane \
                 WHERE task = $1 AND number = $2 AND epoch = $3 AND session = $4 FOR UPDATE",
                &[&self.claim.task, &self.number, &self.claim.epoch, &self.session],
            )
            .await
            .map_err(|error| translate(error, "the target can't be asked for its position"))?;
        row.map(|row| row.get::<_, i64>(0) == self.commits).ok_or_else(|| self.claim.lost())
    }

    /// The error of a lane that is another session's or engine's, if it is.
    pub(crate) async fn taken_over(&self, client: &Client) -> Option<Error> {
        let row = client
            .query_opt(
                "SELECT 1 FROM _migration.lane WHERE task = $1 AND number = $2 AND epoch = $3 AND session = $4",
                &[&self.claim.task, &self.number, &self.claim.epoch, &self.session],
            )
            .await
            .ok()?;
        row.is_none().then(|| self.claim.lost())
    }
}
