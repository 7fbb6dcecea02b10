//! Commits whose outcome the engine does not learn: it has to ask the target, and each change is there once.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::{Scene, Writers, eventually};

use super::{CommitFault, Lines, TABLES, transaction};

/// Breaks commits while somebody writes, then looks for what was applied twice or not at all. `refused` is for how
/// long the target can't be asked afterwards.
async fn break_commits(
    test: &str,
    fault: CommitFault,
    times: u32,
    refused: Duration,
    transaction: fn(u64) -> Vec<String>,
) -> Result<()> {
    let lines = Lines::to(Scene::mysql(test).await?)?;
    lines.scene.execute(TABLES).await?;
    let mut running = lines.streaming().await?;
    let writers = Writers::start(&lines.scene.source_url(), 2, Duration::from_millis(5), move |numbers| {
        transaction(numbers.below(1000))
    });
    for time in 1..=times {
        // The engine applies again, so that the next commit is one of rows.
        lines.arrives(&mut running, &format!("before commit {time}")).await?;
        lines.to_target.break_commits(fault, 1, refused);
        eventually("a broken commit", async || Ok((lines.to_target.commits_broken() == time).then_some(())))
            .await?;
    }
    let written = writers.stop().await?;
    lines.arrives(&mut running, "after all commits").await?;
    // Counted before anything is compared: nothing deletes from the table without a key.
    let inserted = 2 * written.transactions + u64::from(times) + 1;
    let rows =
        lines.scene.value(&format!("SELECT count(*)::text FROM {}.keyless", lines.scene.name())).await?;
    ensure!(rows == inserted.to_string(), "{rows} rows in the table without a key, not {inserted}");
    lines.end(running).await
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_counts_once() -> Result<()> {
    break_commits("lost_answer", CommitFault::LoseAnswer, 5, Duration::ZERO, transaction).await
}

#[tokio::test]
async fn a_commit_that_gets_lost_is_made_up_for() -> Result<()> {
    break_commits("lost_request", CommitFault::LoseRequest, 5, Duration::ZERO, transaction).await
}

/// The engine connects again and asks while the commit is still on its way.
#[tokio::test]
async fn a_commit_that_comes_late_counts_once() -> Result<()> {
    break_commits(
        "late_commit",
        CommitFault::Late(Duration::from_millis(300)),
        6,
        Duration::ZERO,
        transaction,
    )
    .await
}

/// The engine can't ask at once, and has begun anew by the time the commit arrives.
#[tokio::test]
async fn a_commit_that_comes_after_a_new_beginning_counts_once() -> Result<()> {
    let late = CommitFault::Late(Duration::from_millis(2500));
    break_commits("latest_commit", late, 2, Duration::from_millis(300), transaction).await
}

/// As above, where nothing but the number of rows can tell.
#[tokio::test]
async fn a_commit_that_comes_after_a_new_beginning_leaves_no_row_twice() -> Result<()> {
    let late = CommitFault::Late(Duration::from_millis(2500));
    let rows = |number| vec![format!("INSERT INTO keyless VALUES ({number}, 'one'), ({number}, 'one')")];
    break_commits("latest_rows", late, 2, Duration::from_millis(300), rows).await
}

/// Those by which a task begins: its claim, the record of the source's tables, the new tables, the first chunks.
#[tokio::test]
async fn the_first_commits_of_a_task_may_be_broken() -> Result<()> {
    for (test, fault) in
        [("first_answers", CommitFault::LoseAnswer), ("first_requests", CommitFault::LoseRequest)]
    {
        let lines = Lines::to(Scene::mysql(test).await?)?;
        lines.scene.execute(TABLES).await?;
        lines.scene.execute(transaction(1)).await?;
        lines.to_target.break_commits(fault, 8, Duration::ZERO);
        let mut running = lines.streaming().await?;
        lines.arrives(&mut running, "after all").await?;
        ensure!(lines.to_target.commits_broken() == 8, "{} were", lines.to_target.commits_broken());
        lines.end(running).await?;
    }
    Ok(())
}
