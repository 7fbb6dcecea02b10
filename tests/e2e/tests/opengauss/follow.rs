//! Copied and followed, under writers, by an engine that dies: afterwards both sides are equal, row for row.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{Run, Writers, eventually};
use test_kit::opengauss::Compatibility;
use test_support::numbers::Numbers;

use super::scene::GaussScene;

const ABORTED: i32 = 6;

async fn fill(scene: &GaussScene) -> Result<()> {
    let numbers = "(WITH RECURSIVE n (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n WHERE seq < 300) \
                   SELECT seq FROM n) s";
    scene
        .source()
        .execute([
            "CREATE TABLE accounts (id INT UNSIGNED PRIMARY KEY AUTO_INCREMENT, code VARCHAR(20) UNIQUE, \
             balance DECIMAL(9,3) NOT NULL, born DATE, at DATETIME(3), seen TIMESTAMP(6) NULL, ok TINYINT(1), kind CHAR(5), \
             ratio DOUBLE, bits BIT(5), hash VARBINARY(9), doc JSON, big BIGINT UNSIGNED)"
                .to_owned(),
            "CREATE TABLE entries (id BIGINT UNSIGNED PRIMARY KEY AUTO_INCREMENT, account INT UNSIGNED NOT NULL, note TEXT, \
             FOREIGN KEY (account) REFERENCES accounts (id) ON DELETE CASCADE)"
                .to_owned(),
            "CREATE TABLE visits (account INT NOT NULL, at INT NOT NULL, what VARCHAR(9))".to_owned(),
            "CREATE TABLE tags (account INT, tag VARCHAR(20), PRIMARY KEY (account, tag))".to_owned(),
            format!(
                "INSERT INTO accounts SELECT NULL, CONCAT('c', seq), seq / 8 - 20, '2024-02-29', '2024-02-29 23:59:59.5', \
                 '2024-02-29 12:00:00.000001', seq % 2, 'k', seq / 3 - 1, seq % 32, UNHEX(HEX(seq % 256)), \
                 JSON_OBJECT('n', seq), 18446744073709551615 - seq FROM {numbers}"
            ),
            "INSERT INTO entries (account, note) SELECT id, REPEAT('né', id) FROM accounts".to_owned(),
            "INSERT INTO visits SELECT id, id, 'v' FROM accounts".to_owned(),
            "INSERT INTO tags SELECT id, CONCAT('tag', id % 7) FROM accounts".to_owned(),
        ])
        .await
}

/// Swaps of unique values, keys that move, rows that are only a key, rows without one.
fn transaction(numbers: &mut Numbers) -> Vec<String> {
    let (one, other) = (1 + numbers.below(100), 1 + numbers.below(100));
    match numbers.below(6) {
        0 => vec![
            format!("UPDATE accounts SET code = CONCAT('x', id) WHERE id IN ({one}, {other})"),
            format!("UPDATE accounts SET code = 'swap{one}' WHERE id = {other}"),
            format!("UPDATE accounts SET code = CONCAT('c', id) WHERE id = {one}"),
        ],
        1 => vec![
            format!("INSERT INTO entries (account, note) VALUES ({one}, 'new')"),
            format!(
                "UPDATE accounts SET balance = balance + 0.5, born = '1999-12-31', at = NOW(3), ok = NULL WHERE id = {one}"
            ),
            format!("INSERT INTO visits VALUES ({one}, {other}, NULL)"),
        ],
        2 => vec![format!(
            "UPDATE entries SET id = id + 100000 WHERE account = {one} ORDER BY id DESC LIMIT 1"
        )],
        3 => vec![
            format!("DELETE FROM tags WHERE account = {one} LIMIT 1"),
            format!("INSERT IGNORE INTO tags VALUES ({one}, 'again'), ({other}, 'tag1')"),
        ],
        4 => vec![
            format!("UPDATE visits SET what = CONCAT('w', {other}) WHERE account = {one} LIMIT 1"),
            format!("UPDATE visits SET at = -at WHERE account = {other} LIMIT 1"),
        ],
        _ => vec![
            format!("DELETE FROM visits WHERE account = {one} LIMIT 1"),
            format!("DELETE FROM entries WHERE account = {other} LIMIT 1"),
        ],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_every_phase_with_compatibility_a() -> Result<()> {
    killed_in_every_phase(GaussScene::new(Compatibility::A, "og_killed_a").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_every_phase_with_compatibility_b() -> Result<()> {
    killed_in_every_phase(GaussScene::new(Compatibility::B, "og_killed_b").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_every_phase_with_compatibility_pg() -> Result<()> {
    killed_in_every_phase(GaussScene::new(Compatibility::Pg, "og_killed_pg").await?).await
}

async fn killed_in_every_phase(scene: GaussScene) -> Result<()> {
    fill(&scene).await?;
    let writers = Writers::start(&scene.source().source_url(), 2, Duration::from_millis(3), transaction);
    let dies = |run: Run, place: &'static str| async move {
        let outcome = run.environment("ENGINE_FAILPOINT", place).finish().await?;
        let signal = outcome.status.signal();
        ensure!(signal == Some(ABORTED), "no death at {place}: {}\n{}", outcome.status, outcome.said());
        Ok(())
    };
    // In the snapshot, in catch-up, while keys are built, and while changes are committed.
    for place in [
        "task-claimed",
        "tables-created",
        "chunk-written",
        "chunk-committed:2",
        "lanes-replaced",
        "changes-applied",
        "standing-written",
        "changes-committed",
        "object-built:2",
        "identities-set",
    ] {
        writers.commit_more(20).await?;
        dies(scene.run(), place).await?;
    }
    // While it follows.
    for _ in 0..2 {
        let mut running = scene.follow().start()?;
        running.phase("streaming").await?;
        writers.commit_more(50).await?;
        running.kill().await?;
    }
    writers.commit_more(50).await?;
    let written = writers.stop().await?;
    ensure!(written.transactions > 100, "{written:?}");
    scene.run().succeed().await?;
    scene.require_equal().await?;

    // The sequence goes on behind what the source numbered.
    let next = format!("SELECT nextval(pg_get_serial_sequence('{0}.entries', 'id'))::text", scene.name());
    let next: i64 = scene.value(&next).await?.parse()?;
    let greatest = format!("SELECT max(id)::text FROM {}.entries", scene.name());
    ensure!(next > scene.value(&greatest).await?.parse()?, "{next} is taken");
    scene.close().await
}

/// An engine that another replaced commits nothing any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_engine_is_fenced() -> Result<()> {
    let scene = GaussScene::new(Compatibility::Pg, "og_fenced").await?;
    fill(&scene).await?;
    let mut first = scene.follow().start()?;
    first.phase("streaming").await?;
    let elsewhere = scene.source().directory().join("elsewhere").display().to_string();
    let mut second = scene.follow().replace("--state-dir", elsewhere).start()?;
    second.phase("streaming").await?;
    scene.source().execute(["INSERT INTO visits VALUES (1, 7777, 'once')"]).await?;
    let error = first.finish().await?.failed(1)?;
    ensure!(error.contains("another engine has taken over this task"), "{error}");
    let arrived = format!("SELECT count(*)::text FROM {}.visits WHERE at = 7777", scene.name());
    eventually("the row", async || Ok((scene.value(&arrived).await? == "1").then_some(()))).await?;
    second.interrupt().await?;
    second.finish().await?;
    scene.require_equal().await?;
    scene.close().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_structure_are_carried_through() -> Result<()> {
    for (compatibility, test) in
        [(Compatibility::A, "og_ddl_a"), (Compatibility::B, "og_ddl_b"), (Compatibility::Pg, "og_ddl_pg")]
    {
        let scene = GaussScene::new(compatibility, test).await?;
        fill(&scene).await?;
        scene.run().succeed().await?;
        let statements = [
            "ALTER TABLE entries ADD COLUMN rating INT NOT NULL DEFAULT 3, ADD COLUMN made DATE DEFAULT '2024-01-01'",
            "INSERT INTO entries (account, note, rating) VALUES (1, 'rated', 5)",
            "ALTER TABLE entries CHANGE note remark TEXT, ADD KEY by_rating (rating)",
            "UPDATE entries SET remark = 'renamed' WHERE account = 2",
            "ALTER TABLE visits MODIFY at BIGINT NOT NULL",
            "INSERT INTO visits VALUES (1, 5000000000, 'wide')",
            "ALTER TABLE accounts DROP COLUMN doc, DROP KEY code, ADD UNIQUE KEY by_code (code)",
            "CREATE TABLE made (id INT PRIMARY KEY AUTO_INCREMENT, at DATETIME(3), v VARCHAR(10))",
            "INSERT INTO made (at, v) VALUES ('2024-02-29 23:59:59.123', 'x')",
            "RENAME TABLE made TO created",
            "UPDATE created SET v = 'y'",
            "TRUNCATE TABLE tags",
            "INSERT INTO tags VALUES (1, 'left')",
        ];
        scene.source().execute(statements).await?;
        scene.run().succeed().await.with_context(|| format!("{compatibility:?}"))?;
        scene.require_equal().await?;
        scene.close().await?;
    }
    Ok(())
}
