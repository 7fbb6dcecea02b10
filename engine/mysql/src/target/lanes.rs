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
use mysql_async::Row;

use super::control::{self, Claim, field};
use super::failure::translate;
use super::session::Session;

/// The right to write for one lane.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    pub(super) claim: Claim,
    session: i64,
    number: i32,
    /// Commits so far, of this session.
    commits: i64,
}

/// Gives the lanes to the task's new epoch, making the first one if there is none, in the open
/// transaction, which has the task's row locked.
pub(super) async fn take_over(session: &mut Session, task: &str) -> Result<()> {
    let failed = |error| translate(error, "the task can't be registered in the target").at("task", task);
    session
        .change(
            "INSERT INTO _migration.lane (task, number, epoch, session, position, applied) \
             SELECT t.name, 0, t.epoch, t.session, t.start_position, '' FROM _migration.task t WHERE t.name = ? \
             ON DUPLICATE KEY UPDATE position = COALESCE(lane.position, t.start_position)",
            (task,),
        )
        .await
        .map_err(failed)?;
    session
        .change(
            "UPDATE _migration.lane l JOIN _migration.task t ON t.name = l.task SET l.epoch = t.epoch \
             WHERE t.name = ?",
            (task,),
        )
        .await
        .map_err(failed)?;
    Ok(())
}

/// Begins a session of `count` lanes that all stand where the target stands.
pub(super) async fn open(
    session: &mut Session,
    claim: &Claim,
    count: usize,
) -> Result<(Position, TransactionSet, Vec<Lane>)> {
    let failed =
        |error| translate(error, "the target's record of its lanes can't be written").at("task", &claim.task);
    control::begin(session).await?;
    let raised = session
        .change(
            "UPDATE _migration.task SET session = session + 1 WHERE name = ? AND epoch = ?",
            (&claim.task, claim.epoch),
        )
        .await
        .map_err(failed)?;
    if raised == 0 {
        return Err(claim.lost());
    }
    let rows = session
        .select("SELECT session FROM _migration.task WHERE name = ?", (&claim.task,))
        .await
        .map_err(failed)?;
    let mut row = rows.into_iter().next().ok_or_else(|| claim.lost())?;
    let number: i64 = field(&mut row, 0)?;
    // Waits for the commits of lanes that are still at it.
    let rows = session
        .select(
            "SELECT sequence, position, applied FROM _migration.lane WHERE task = ? FOR UPDATE",
            (&claim.task,),
        )
        .await
        .map_err(failed)?;
    let (position, applied) = join(rows).map_err(|error| error.at("task", &claim.task))?;
    session.change("DELETE FROM _migration.lane WHERE task = ?", (&claim.task,)).await.map_err(failed)?;
    let lanes: Vec<Lane> = (0..count.max(1) as i32)
        .map(|lane| Lane { claim: claim.clone(), session: number, number: lane, commits: 0 })
        .collect();
    for lane in &lanes {
        // One row is enough to remember what earlier sessions did.
        let applied = if lane.number == 0 { applied.encode() } else { Vec::new() };
        session
            .change(
                "INSERT INTO _migration.lane (task, number, epoch, session, position, applied) \
                 VALUES (?, ?, ?, ?, ?, ?)",
                (&claim.task, lane.number, claim.epoch, number, &position.0, applied),
            )
            .await
            .map_err(failed)?;
    }
    Failpoint::LanesReplaced.reach();
    session.run("COMMIT").await.map_err(failed)?;
    Ok((position, applied, lanes))
}

/// Puts every lane of the task to `position`, in the open transaction, which has the task's row locked.
/// Nothing after the position may have been applied.
pub(super) async fn move_to(session: &mut Session, claim: &Claim, position: &Position) -> Result<()> {
    let moved = session
        .change(
            "UPDATE _migration.lane SET position = ?, moved_at = CURRENT_TIMESTAMP(6) WHERE task = ? AND epoch = ?",
            (&position.0, &claim.task, claim.epoch),
        )
        .await
        .map_err(|error| translate(error, "the position can't be written").at("task", &claim.task))?;
    if moved > 0 { Ok(()) } else { Err(claim.lost()) }
}

/// Where the task stands as the session's transaction sees it.
pub(super) async fn stand(session: &mut Session, task: &str) -> Result<Stand> {
    let failed = |error| translate(error, "the target's record of the task can't be read").at("task", task);
    let rows = session
        .select("SELECT plan_digest, start_position FROM _migration.task WHERE name = ?", (task,))
        .await
        .map_err(failed)?;
    let mut row = rows.into_iter().next().ok_or_else(|| {
        Error::new(ErrorKind::State, "the target does not know the task")
            .at("task", task)
            .help("give the target that the task was run with")
    })?;
    let plan_digest = field(&mut row, 0)?;
    if field::<Option<String>>(&mut row, 1)?.is_none() {
        return Ok(Stand { plan_digest, position: None, applied: TransactionSet::default() });
    }
    let rows = session
        .select("SELECT sequence, position, applied FROM _migration.lane WHERE task = ?", (task,))
        .await
        .map_err(failed)?;
    let (position, applied) = join(rows).map_err(|error| error.at("task", task))?;
    Ok(Stand { plan_digest, position: Some(position), applied })
}

/// Where the task stands, of a text with `sequence HEX(position) HEX(applied)` for each lane, by commas.
pub(super) fn stood(lanes: &str) -> Result<(Position, TransactionSet)> {
    let lane = |text: &str| {
        let mut fields = text.splitn(3, ' ');
        let sequence = fields.next()?.parse().ok()?;
        let position = String::from_utf8(bytes(fields.next()?)?).ok()?;
        Some((sequence, Some(position), bytes(fields.next()?)?))
    };
    let lanes: Option<Vec<_>> = lanes.split(',').map(lane).collect();
    unite(lanes.unwrap_or_default())
}

/// The bytes that hexadecimal digits stand for.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// What rows (sequence, position, applied) say together.
fn join(rows: Vec<Row>) -> Result<(Position, TransactionSet)> {
    let lanes =
        rows.into_iter().map(|mut row| Ok((field(&mut row, 0)?, field(&mut row, 1)?, field(&mut row, 2)?)));
    unite(lanes.collect::<Result<_>>()?)
}

fn unite(lanes: Vec<(i64, Option<String>, Vec<u8>)>) -> Result<(Position, TransactionSet)> {
    let mut latest: Option<(i64, Option<String>)> = None;
    let mut applied = TransactionSet::default();
    for (sequence, position, set) in lanes {
        let set = TransactionSet::decode(&set).ok_or_else(|| {
            Error::new(ErrorKind::State, "the target's record of applied transactions can't be read")
                .help("restore database _migration of the target, or begin a new task with another --name")
        })?;
        applied.extend(&set);
        if latest.as_ref().is_none_or(|(last, _)| *last <= sequence) {
            latest = Some((sequence, position));
        }
    }
    match latest {
        Some((_, Some(position))) => Ok((Position(position), applied)),
        _ => Err(Error::new(ErrorKind::State, "the target does not know where the task stands")),
    }
}

impl Lane {
    /// Writes where the lane stands, in the open transaction, while it is still the task's.
    pub(super) async fn stand(&mut self, session: &mut Session, standing: &Standing) -> Result<()> {
        self.commits += 1;
        let moved = session
            .change(
                "UPDATE _migration.lane SET commits = ?, sequence = ?, position = ?, applied = ?, \
                 moved_at = CURRENT_TIMESTAMP(6) WHERE task = ? AND number = ? AND epoch = ? AND session = ?",
                (
                    self.commits,
                    standing.sequence,
                    &standing.position.0,
                    standing.applied.encode(),
                    &self.claim.task,
                    self.number,
                    self.claim.epoch,
                    self.session,
                ),
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
    pub(super) async fn stands(&self, session: &mut Session) -> Result<bool> {
        let rows = session
            .select(
                "SELECT commits FROM _migration.lane \
                 WHERE task = ? AND number = ? AND epoch = ? AND session = ? FOR UPDATE",
                (&self.claim.task, self.number, self.claim.epoch, self.session),
            )
            .await
            .map_err(|error| translate(error, "the target can't be asked for its position"))?;
        match rows.into_iter().next() {
            Some(mut row) => Ok(field::<i64>(&mut row, 0)? == self.commits),
            None => Err(self.claim.lost()),
        }
    }

    /// The error of a lane that is another session's or engine's, if it is.
    pub(super) async fn taken_over(&self, session: &mut Session) -> Option<Error> {
        let rows = session
            .select(
                "SELECT commits FROM _migration.lane WHERE task = ? AND number = ? AND epoch = ? AND session = ?",
                (&self.claim.task, self.number, self.claim.epoch, self.session),
            )
            .await
            .ok()?;
        rows.is_empty().then(|| self.claim.lost())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_lanes_stand_is_read_from_text() {
        let none = TransactionSet::default()
            .encode()
            .iter()
            .fold(String::new(), |text, byte| text + &format!("{byte:02X}"));
        let text = format!("3 703D31 {none},7 703D32 {none},5 703D30 {none}");
        let (position, applied) = stood(&text).expect("lanes");
        assert_eq!((position.0.as_str(), applied), ("p=2", TransactionSet::default()));
        for bad in ["", "x 70 00", "3 7 00", "3", "3 70"] {
            assert!(stood(bad).is_err(), "{bad}");
        }
    }
}
