//! What the target remembers of rows that were set aside: table `_migration.dead_letter`.

use engine_core::target::DeadLetterRecord;
use engine_core::{Error, Result};
use std::collections::HashSet;
use tokio_postgres::{Client, Error as DriverFailure};

use crate::control::{self, Claim};
use crate::failure::translate;
use crate::target::begin_claimed;

/// All of a task, in the order in which they were recorded.
pub(crate) async fn recorded(client: &mut Client, task: &str) -> Result<Vec<DeadLetterRecord>> {
    let failed = |error| translate(error, "the rows that were set aside can't be read").at("task", task);
    if !control::knows_tasks(client).await? {
        return Ok(Vec::new());
    }
    let rows = client
        .query(
            "SELECT identity, content FROM _migration.dead_letter WHERE task = $1 ORDER BY number",
            &[&task],
        )
        .await
        .map_err(failed)?;
    rows.iter()
        .map(|row| {
            let identity = row.get::<_, &[u8]>(0).try_into().map_err(|_| nonsense().at("task", task))?;
            Ok(DeadLetterRecord { identity, content: row.get(1) })
        })
        .collect()
}

fn nonsense() -> Error {
    Error::new(
        engine_core::ErrorKind::State,
        "the target's record of rows that were set aside makes no sense",
    )
}

/// Forgets some and remembers others, while the claim holds.
pub(crate) async fn record(
    client: &mut Client,
    claim: &Claim,
    gone: &[[u8; 16]],
    new: &[DeadLetterRecord],
) -> Result<()> {
    let failed = |error: DriverFailure| {
        translate(error, "rows that are set aside can't be recorded").at("task", &claim.task)
    };
    let transaction = begin_claimed(client, claim).await?;
    if !gone.is_empty() {
        let gone: Vec<&[u8]> = gone.iter().map(<[u8; 16]>::as_slice).collect();
        transaction
            .execute(
                "DELETE FROM _migration.dead_letter WHERE task = $1 AND identity = ANY ($2)",
                &[&claim.task, &gone],
            )
            .await
            .map_err(failed)?;
    }
    if !new.is_empty() {
        // Others that record wait, so that none can come between looking and inserting.
        transaction
            .batch_execute("LOCK TABLE _migration.dead_letter IN SHARE ROW EXCLUSIVE MODE")
            .await
            .map_err(failed)?;
        let mut seen = HashSet::new();
        let first: Vec<&DeadLetterRecord> =
            new.iter().filter(|record| seen.insert(record.identity)).collect();
        let identities: Vec<&[u8]> = first.iter().map(|record| record.identity.as_slice()).collect();
        let contents: Vec<&str> = first.iter().map(|record| record.content.as_str()).collect();
        transaction
            .execute(
                "INSERT INTO _migration.dead_letter (task, identity, content) \
                 SELECT $1::text, n.identity, n.content FROM (SELECT unnest($2::bytea[]) AS identity, \
                     unnest($3::text[]) AS content, generate_subscripts($3::text[], 1) AS place) AS n \
                 WHERE NOT EXISTS (SELECT 1 FROM _migration.dead_letter d \
                     WHERE d.task = $1::text AND d.identity = n.identity) ORDER BY n.place",
                &[&claim.task, &identities, &contents],
            )
            .await
            .map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)
}
