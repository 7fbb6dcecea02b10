//! What the target remembers of rows that were set aside: table `_migration.dead_letter`.

use engine_core::target::DeadLetterRecord;
use engine_core::{Error, ErrorKind, Result};
use mysql_async::{Error as DriverFailure, Value};

use super::control::{self, Claim, field};
use super::failure::translate;
use super::session::Session;

/// Records inserted by one statement.
const AT_ONCE: usize = 500;

/// All of a task, in the order in which they were recorded.
pub(super) async fn recorded(session: &mut Session, task: &str) -> Result<Vec<DeadLetterRecord>> {
    if !control::exists(session).await? {
        return Ok(Vec::new());
    }
    control::check_format(session).await?;
    let rows = session
        .select(
            "SELECT identity, content FROM _migration.dead_letter WHERE task = ? ORDER BY number",
            (task,),
        )
        .await
        .map_err(|error| translate(error, "the rows that were set aside can't be read").at("task", task))?;
    rows.into_iter()
        .map(|mut row| {
            let identity: Vec<u8> = field(&mut row, 0)?;
            let identity = identity.try_into().map_err(|_| {
                Error::new(ErrorKind::State, "the target's record of rows that were set aside makes no sense")
                    .at("task", task)
            })?;
            Ok(DeadLetterRecord { identity, content: field(&mut row, 1)? })
        })
        .collect()
}

/// Forgets some and remembers others, while the claim holds.
pub(super) async fn record(
    session: &mut Session,
    claim: &Claim,
    gone: &[[u8; 16]],
    new: &[DeadLetterRecord],
) -> Result<()> {
    let failed = |error: DriverFailure| {
        translate(error, "rows that are set aside can't be recorded").at("task", &claim.task)
    };
    control::begin(session).await?;
    claim.hold(session).await?;
    for identity in gone {
        let parameters = (&claim.task, identity.as_slice());
        let statement = "DELETE FROM _migration.dead_letter WHERE task = ? AND identity = ?";
        session.change(statement, parameters).await.map_err(failed)?;
    }
    for new in new.chunks(AT_ONCE) {
        let values = vec!["(?, ?, ?)"; new.len()].join(", ");
        let parameters: Vec<Value> = new
            .iter()
            .flat_map(|record| {
                [
                    claim.task.as_str().into(),
                    record.identity.as_slice().into(),
                    record.content.as_str().into(),
                ]
            })
            .collect();
        let statement = format!(
            "INSERT INTO _migration.dead_letter (task, identity, content) VALUES {values} \
             ON DUPLICATE KEY UPDATE task = task"
        );
        session.change(&statement, parameters).await.map_err(failed)?;
    }
    session.run("COMMIT").await.map_err(failed)
}
