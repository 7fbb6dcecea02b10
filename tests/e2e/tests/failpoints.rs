//! The engine dies between any two durable effects, and dies there again while it goes on: nothing is lost or doubled.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Scene, Writers};
use engine_core::failpoint::Failpoint;
use test_support::numbers::Numbers;

const ABORTED: i32 = 6;

async fn fill(scene: &Scene<'_>) -> Result<()> {
    scene
        .execute([
            "CREATE TABLE accounts (id INT PRIMARY KEY AUTO_INCREMENT, code VARCHAR(20) UNIQUE, balance INT NOT NULL)",
            "CREATE TABLE entries (id INT PRIMARY KEY AUTO_INCREMENT, account INT NOT NULL, note TEXT, \
             FOREIGN KEY (account) REFERENCES accounts (id))",
            "CREATE TABLE visits (account INT NOT NULL, at INT NOT NULL)",
            "INSERT INTO accounts (code, balance) SELECT CONCAT('c', seq), seq FROM \
             (WITH RECURSIVE n (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n WHERE seq < 100) SELECT seq FROM n) s",
            "INSERT INTO entries (account, note) SELECT id, REPEAT('n', id) FROM accounts",
            "INSERT INTO visits SELECT id, id FROM accounts",
        ])
        .await
}

/// A swap of unique values, a key that moves, rows of several tables, rows without a key.
fn transaction(numbers: &mut Numbers) -> Vec<String> {
    let (one, other) = (1 + numbers.below(100), 1 + numbers.below(100));
    match numbers.below(4) {
        0 => vec![
            format!("UPDATE accounts SET code = CONCAT('x', id) WHERE id IN ({one}, {other})"),
            format!("UPDATE accounts SET code = 'swap{one}' WHERE id = {other}"),
            format!("UPDATE accounts SET code = CONCAT('c', id) WHERE id = {one}"),
        ],
        1 => vec![
            format!("INSERT INTO entries (account, note) VALUES ({one}, 'new')"),
            format!("UPDATE accounts SET balance = balance + 1 WHERE id = {one}"),
            format!("INSERT INTO visits VALUES ({one}, {other})"),
        ],
        2 => vec![format!(
            "UPDATE entries SET id = id + 100000 WHERE account = {one} ORDER BY id DESC LIMIT 1"
        )],
        _ => vec![
            format!("DELETE FROM visits WHERE account = {one} LIMIT 1"),
            format!("DELETE FROM entries WHERE account = {other} LIMIT 1"),
        ],
    }
}

/// Dies twice at each place under a writer, then goes on to the end.
async fn dies_twice_at(places: &[Failpoint], test: &str) -> Result<()> {
    for place in places {
        let name = place.name();
        let scene = Scene::mysql(&format!("{test}_{}", name.replace('-', "_"))).await?;
        fill(&scene).await?;
        let at_structure = matches!(place, Failpoint::StructureChanged | Failpoint::StructureCommitted);
        if at_structure {
            scene.run().succeed().await?;
        }
        let writers = Writers::start(&scene.source_url(), 2, Duration::from_millis(2), transaction);
        // What is on record is not recorded again.
        let deaths = if *place == Failpoint::StructureRecorded { 1 } else { 2 };
        for death in 1..=deaths {
            writers.commit_more(20).await?;
            if at_structure {
                scene
                    .execute([format!("ALTER TABLE entries ADD COLUMN c{death} INT DEFAULT {death}")])
                    .await?;
            }
            let outcome = scene.run().environment("ENGINE_FAILPOINT", name).finish().await?;
            let signal = outcome.status.signal();
            ensure!(
                signal == Some(ABORTED),
                "death {death} at {name} was none: {}\n{}\n{}",
                outcome.status,
                outcome.stdout,
                outcome.stderr
            );
        }
        writers.stop().await?;
        scene.run().succeed().await.with_context(|| format!("after two deaths at {name}"))?;
        scene.require_equal().await.with_context(|| format!("after two deaths at {name}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_deaths_at_each_place_of_the_copy_change_nothing() -> Result<()> {
    let (copy, _) = Failpoint::ALL.split_at(Failpoint::ALL.len() / 2);
    dies_twice_at(copy, "failpoint").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_deaths_at_each_place_after_it_change_nothing() -> Result<()> {
    let (_, beyond) = Failpoint::ALL.split_at(Failpoint::ALL.len() / 2);
    dies_twice_at(beyond, "failpoint").await
}
