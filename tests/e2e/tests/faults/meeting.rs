//! Lanes that meet: under a unique key on a prefix of a column, and in locks that each holds and the other wants.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{MysqlScene, Writers, eventually};
use mysql_async::prelude::Queryable as _;
use test_kit::Server;
use test_support::numbers::Numbers;

/// Words that are equal in their first three characters, whatever their case and accents, in rows of four.
const WORDS: [[&str; 4]; 4] = [
    ["abcd", "ABCe", "ábcf", "aBć g"],
    ["étéx", "ETEy", "etéz", "Été"],
    ["str", "STRasse", "stŕaße", "Str "],
    ["x y", "X Yz", "x ÿ", "X y q"],
];

/// Rows that take each other's place under the prefix: by delete and insert, by an update of the key, by a swap.
fn transaction(numbers: &mut Numbers) -> Vec<String> {
    let kind = numbers.below(4);
    let word = |numbers: &mut Numbers, row: u64| {
        let words = WORDS.get(usize::try_from(row).unwrap_or_default()).unwrap_or(&WORDS[0]);
        let place = usize::try_from(numbers.below(4)).unwrap_or_default();
        words.get(place).copied().unwrap_or_default().to_owned()
    };
    let (one, other) = (numbers.below(4), numbers.below(4));
    let (new, id) = (word(numbers, one), 1 + numbers.below(1000));
    match kind {
        0 => vec![
            format!("DELETE FROM p WHERE LEFT(w, 3) = LEFT('{new}', 3)"),
            format!("INSERT IGNORE INTO p VALUES ({id}, '{new}', 0)"),
        ],
        1 => vec![format!("UPDATE IGNORE p SET w = '{new}' WHERE LEFT(w, 3) = LEFT('{new}', 3)")],
        2 => vec![
            format!("UPDATE p SET w = CONCAT('~', id) WHERE LEFT(w, 3) = LEFT('{new}', 3)"),
            format!("UPDATE IGNORE p SET w = '{new}' WHERE w LIKE '~%' ORDER BY id DESC LIMIT 1"),
        ],
        _ => vec![
            format!("DELETE FROM p WHERE id = {id}"),
            format!(
                "UPDATE IGNORE p SET id = {id}, n = n + 1 WHERE LEFT(w, 3) = LEFT('{}', 3)",
                word(numbers, other)
            ),
        ],
    }
}

async fn prefixes_meet(server: &Server, test: &str) -> Result<()> {
    let scene = MysqlScene::new(server, server, test).await?;
    scene
        .execute(["CREATE TABLE p (id INT PRIMARY KEY, w VARCHAR(40) COLLATE utf8mb4_unicode_ci NOT NULL, n INT NOT NULL, \
                   UNIQUE KEY (w(3)))"])
        .await?;
    let writers = Writers::start(&scene.source_url(), 3, Duration::from_millis(2), transaction);
    for _ in 0..3 {
        let mut run = scene.follow().arguments(["--parallelism", "6"]).start()?;
        run.phase("streaming").await?;
        writers.commit_more(300).await?;
        run.kill().await?;
    }
    writers.stop().await?;
    scene.run().arguments(["--parallelism", "6"]).succeed().await?;
    scene.require_equal().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_are_equal_in_a_prefix_on_mysql_keep_their_order() -> Result<()> {
    prefixes_meet(test_kit::mysql()?, "prefix").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_are_equal_in_a_prefix_on_mariadb_keep_their_order() -> Result<()> {
    prefixes_meet(test_kit::mariadb()?, "prefix_mariadb").await
}

/// Each of two lanes holds a row that the other wants, rows that only the target's own triggers touch. One is the
/// victim, and does again what it had done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_lanes_in_a_deadlock_both_arrive_once() -> Result<()> {
    let server = test_kit::mysql()?;
    let scene = MysqlScene::new(server, server, "lanes_deadlock").await?;
    scene
        .execute([
            "CREATE TABLE a (id INT PRIMARY KEY, n INT NOT NULL)",
            "CREATE TABLE b (id INT PRIMARY KEY, n INT NOT NULL)",
            "INSERT INTO a VALUES (1, 0), (2, 0)",
            "INSERT INTO b VALUES (1, 0), (2, 0)",
        ])
        .await?;
    let mut running = scene.follow().arguments(["--parallelism", "2"]).start()?;
    running.phase("streaming").await?;
    scene
        .execute_on_target([
            "CREATE TABLE held (id INT PRIMARY KEY, n INT NOT NULL)",
            "INSERT INTO held VALUES (1, 0), (2, 0)",
            // The first table's rows lock one and wait, so that both lanes hold theirs before either goes on.
            "CREATE TRIGGER first AFTER UPDATE ON a FOR EACH ROW \
             BEGIN UPDATE held SET n = n + 1 WHERE id = NEW.id; DO SLEEP(2); END",
            "CREATE TRIGGER second AFTER UPDATE ON b FOR EACH ROW UPDATE held SET n = n + 1 WHERE id = 3 - NEW.id",
        ])
        .await?;
    let mut target = scene.target().await?;
    let deadlocks = "SELECT count FROM information_schema.innodb_metrics WHERE name = 'lock_deadlocks'";
    let before: Option<u64> = target.query_first(deadlocks).await?;
    scene
        .execute(["BEGIN", "UPDATE a SET n = 1 WHERE id = 1", "UPDATE b SET n = 1 WHERE id = 1", "COMMIT"])
        .await?;
    // Once the first lane holds its row, the other transaction is one of a set of its own.
    eventually("the first lane to hold a row", async || {
        let locked: Option<u64> = scene
            .target()
            .await?
            .query_first("SELECT COUNT(*) FROM information_schema.processlist WHERE state = 'User sleep'")
            .await?;
        Ok(locked.filter(|&locked| locked > 0).map(drop))
    })
    .await?;
    scene
        .execute(["BEGIN", "UPDATE a SET n = 1 WHERE id = 2", "UPDATE b SET n = 1 WHERE id = 2", "COMMIT"])
        .await?;
    eventually("both transactions", async || {
        let rows: Option<u64> = scene
            .target()
            .await?
            .query_first("SELECT (SELECT SUM(n) FROM a) + (SELECT SUM(n) FROM b)")
            .await?;
        Ok((rows == Some(4)).then_some(()))
    })
    .await?;
    let after: Option<u64> = target.query_first(deadlocks).await?;
    ensure!(after > before, "there was no deadlock: {before:?}, {after:?}");
    let held: Vec<u32> = target.query("SELECT n FROM held ORDER BY id").await?;
    assert_eq!(held, [2, 2]);
    running.interrupt().await?;
    running.finish().await?;
    scene.execute_on_target(["DROP TABLE held", "DROP TRIGGER first", "DROP TRIGGER second"]).await?;
    scene.run().succeed().await.context("after the deadlock")?;
    scene.require_equal().await
}
