//! Shards that become one table: a task for each, all into the same table of the target.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use e2e::{MysqlScene, Run, Writers};
use mysql_async::prelude::Queryable as _;
use serde_json::{Value, json};
use test_kit::Server;
use test_support::connect;
use test_support::numbers::Numbers;
use test_support::same_engine;

use super::merged::cutover;
use crate::verify::{check, report};

const ABORTED: i32 = 6;
const ORDERS: &str = "CREATE TABLE orders (id INT PRIMARY KEY AUTO_INCREMENT, code VARCHAR(30) UNIQUE, total INT NOT NULL, \
                      KEY (total))";

/// Two shards and the database that both go to.
struct Shards<'a> {
    server: &'a Server,
    one: MysqlScene<'a>,
    other: MysqlScene<'a>,
}

impl<'a> Shards<'a> {
    /// With rows of keys from 1 and from 100 001 on.
    async fn new(server: &'a Server, test: &str) -> Result<Self> {
        let one = MysqlScene::new(server, server, &format!("{test}_one")).await?;
        let other = MysqlScene::new(server, server, &format!("{test}_other")).await?;
        for (scene, first) in [(&one, 0), (&other, 100_000)] {
            scene
                .execute([
                    ORDERS.to_owned(),
                    format!(
                        "INSERT INTO orders SELECT {first} + seq, CONCAT('c', {first} + seq), seq FROM \
                         (WITH RECURSIVE n (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n WHERE seq < 500) \
                         SELECT seq FROM n) s"
                    ),
                ])
                .await?;
        }
        Ok(Self { server, one, other })
    }

    fn to_one(&self, run: Run) -> Run {
        run.replace("--target", self.one.target_url()).config(merging())
    }

    /// Everything of both shards is in the target, and nothing else.
    async fn require_equal(&self) -> Result<()> {
        let all = format!("{}_all", self.one.name());
        let mut conn = connect::mysql(self.server.url()).await?;
        for statement in [
            format!("DROP DATABASE IF EXISTS {all}"),
            format!("CREATE DATABASE {all} CHARACTER SET utf8mb4"),
            format!("CREATE TABLE {all}.orders LIKE {}.orders", self.one.name()),
            format!("INSERT INTO {all}.orders SELECT * FROM {}.orders", self.one.name()),
            format!("INSERT INTO {all}.orders SELECT * FROM {}.orders", self.other.name()),
        ] {
            conn.query_drop(&statement).await.with_context(|| statement.clone())?;
        }
        let mut target = self.one.target().await?;
        let same = same_engine::require_same(&mut conn, &all, &mut target, &self.one.target_name()).await;
        conn.query_drop(format!("DROP DATABASE {all}")).await?;
        same
    }
}

fn merging() -> Value {
    json!({ "mysql2mysql": { "merge": true } })
}

/// Changes of rows from `first` on, with values under the unique key that are swapped and rows that come and go.
fn transaction(first: u64) -> impl Fn(&mut Numbers) -> Vec<String> + Send + Sync + 'static {
    move |numbers| {
        let (id, new) = (first + 1 + numbers.below(500), first + 1000 + numbers.below(5000));
        match numbers.below(4) {
            0 => vec![format!("INSERT IGNORE INTO orders VALUES ({new}, 'n{new}', {new})")],
            1 => vec![format!("UPDATE orders SET total = total + 1 WHERE id IN ({id}, {new})")],
            2 => vec![
                format!("UPDATE orders SET code = CONCAT('x', id) WHERE id = {id}"),
                format!("UPDATE orders SET code = CONCAT('c', id) WHERE id = {id}"),
            ],
            _ => vec![format!("DELETE FROM orders WHERE id = {new}")],
        }
    }
}

async fn become_one(server: &Server, test: &str) -> Result<()> {
    let shards = Shards::new(server, test).await?;
    let writers = [(&shards.one, 0), (&shards.other, 100_000)].map(|(scene, first)| {
        Writers::start(&scene.source_url(), 2, Duration::from_millis(5), transaction(first))
    });
    let mut one = shards.to_one(shards.one.follow()).start()?;
    let mut other = shards.to_one(shards.other.follow()).start()?;
    one.phase("streaming").await?;
    other.phase("streaming").await?;
    for writers in &writers {
        writers.commit_more(100).await?;
    }
    // One of them dies and goes on.
    one.kill().await?;
    for writers in writers {
        writers.stop().await?;
    }
    other.interrupt().await?;
    other.finish().await?;
    shards.to_one(shards.one.run()).succeed().await?;
    shards.to_one(shards.other.run()).succeed().await?;
    shards.require_equal().await?;
    // New rows are numbered after those of either shard.
    let mut target = shards.one.target().await?;
    target.query_drop("INSERT INTO orders (total) VALUES (1)").await?;
    let numbers: Option<(u64, u64)> =
        target.query_first("SELECT LAST_INSERT_ID(), MAX(id) FROM orders").await?;
    let (number, greatest) = numbers.context("no number")?;
    ensure!(number == greatest && number > 100_500, "{number} of {greatest}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_mysql_become_one_while_they_are_written_to() -> Result<()> {
    become_one(test_kit::mysql()?, "shards").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_mariadb_become_one_while_they_are_written_to() -> Result<()> {
    become_one(test_kit::mariadb()?, "shards_mariadb").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_two_have_stops_the_second_and_no_row_is_overwritten() -> Result<()> {
    let shards = Shards::new(test_kit::mysql()?, "shards_key").await?;
    // In the copy.
    shards.other.execute(["INSERT INTO orders VALUES (7, 'seven', 7)"]).await?;
    shards.to_one(shards.one.run()).succeed().await?;
    let error = shards.to_one(shards.other.run()).fail().await?;
    for word in ["id=7", shards.one.name(), shards.other.name(), "two shards"] {
        ensure!(error.contains(word), "no '{word}' in {error}");
    }
    let mut target = shards.one.target().await?;
    let kept: Option<String> = target.query_first("SELECT code FROM orders WHERE id = 7").await?;
    assert_eq!(kept.as_deref(), Some("c7"));
    shards.other.execute(["DELETE FROM orders WHERE id = 7"]).await?;
    shards.to_one(shards.other.run()).succeed().await?;
    shards.require_equal().await?;
    // In the stream: by insert, and by a key that moves.
    for (collides, undone) in [
        ("INSERT INTO orders VALUES (8, 'eight', 8)", "DELETE FROM orders WHERE id = 8"),
        ("UPDATE orders SET id = 9 WHERE id = 100009", "UPDATE orders SET id = 100009 WHERE id = 9"),
    ] {
        shards.other.execute([collides]).await?;
        let error = shards.to_one(shards.other.run()).fail().await?;
        for word in [shards.one.name(), shards.other.name(), "two shards", "position"] {
            ensure!(error.contains(word), "after {collides}: no '{word}' in {error}");
        }
        shards.one.execute(["UPDATE orders SET total = total + 1 WHERE id IN (8, 9)"]).await?;
        shards.to_one(shards.one.run()).succeed().await?;
        let undone_together = [undone];
        shards.other.execute(undone_together).await?;
        // What collided is in the log for good: the other's row gives way for a moment.
        let away = "UPDATE orders SET id = id + 50000 WHERE id IN (8, 9)";
        let back = "UPDATE orders SET id = id - 50000 WHERE id IN (50008, 50009)";
        shards.one.execute([away]).await?;
        shards.to_one(shards.one.run()).succeed().await?;
        shards.to_one(shards.other.run()).succeed().await?;
        shards.one.execute([back]).await?;
        shards.to_one(shards.one.run()).succeed().await?;
        shards.require_equal().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_in_the_copy_of_one_takes_nothing_of_the_other() -> Result<()> {
    let shards = Shards::new(test_kit::mysql()?, "shards_death").await?;
    shards.to_one(shards.one.run()).succeed().await?;
    for place in ["task-claimed", "tables-created", "chunk-written", "chunk-committed", "changes-applied"] {
        shards.other.execute(["UPDATE orders SET total = total + 1 WHERE id % 7 = 0"]).await?;
        let outcome =
            shards.to_one(shards.other.run()).environment("ENGINE_FAILPOINT", place).finish().await?;
        ensure!(outcome.status.signal() == Some(ABORTED), "{place}: {}\n{}", outcome.status, outcome.said());
    }
    shards.to_one(shards.other.run()).succeed().await?;
    shards.require_equal().await
}

#[tokio::test]
async fn tables_that_are_not_alike_or_not_merged_are_refused() -> Result<()> {
    let shards = Shards::new(test_kit::mysql()?, "shards_alike").await?;
    shards.to_one(shards.one.run()).succeed().await?;
    // Without the setting the table is somebody else's.
    let target = shards.one.target_url();
    let error = shards.other.run().replace("--target", &target).fail().await?;
    ensure!(error.contains("tables that this task did not create"), "{error}");
    shards.other.execute(["ALTER TABLE orders MODIFY total BIGINT NOT NULL"]).await?;
    let error = shards.to_one(shards.other.run()).fail().await?;
    for word in ["don't define it alike", "bigint", shards.one.name()] {
        ensure!(error.contains(word), "no '{word}' in {error}");
    }
    // Of a shard that is followed the structure stays as it is.
    shards.one.execute(["ALTER TABLE orders ADD COLUMN note INT"]).await?;
    let error = shards.to_one(shards.one.run()).fail().await?;
    ensure!(error.contains("merged with those of other tasks"), "{error}");
    Ok(())
}

/// What a check of one shard said of the table: `kind id columns` of each wrong row.
fn wrong(report: &Value) -> Result<Vec<String>> {
    let [table] = report["tables"].as_array().map_or(&[][..], Vec::as_slice) else { bail!("{report}") };
    assert_eq!((&table["merged"], &table["extra"]), (&true.into(), &0.into()), "{report}");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let differences = table["differences"].as_array().into_iter().flatten();
    let wrong = differences.map(|difference| {
        let columns: Vec<String> = difference["columns"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|column| text(&column["column"]))
            .collect();
        format!("{} {} {}", text(&difference["kind"]), text(&difference["key"]["id"]), columns.join(","))
    });
    Ok(wrong.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_shard_is_compared_with_its_own_rows_and_mended() -> Result<()> {
    let shards = Shards::new(test_kit::mysql()?, "shards_check").await?;
    let of = |scene: &MysqlScene<'_>| shards.to_one(check(scene)).arguments(["--part-rows", "100"]);
    let writers = [(&shards.one, 0), (&shards.other, 100_000)].map(|(scene, first)| {
        Writers::start(&scene.source_url(), 2, Duration::from_millis(10), transaction(first))
    });
    let mut one = shards.to_one(shards.one.follow()).start()?;
    let mut other = shards.to_one(shards.other.follow()).start()?;
    one.phase("streaming").await?;
    other.phase("streaming").await?;
    for _ in 0..3 {
        for scene in [&shards.one, &shards.other] {
            let found = report(of(scene), 0).await?;
            assert_eq!(wrong(&found)?, Vec::<String>::new());
            ensure!(found["tables"][0]["equal"].as_u64() >= Some(500), "{found}");
        }
    }
    for writers in writers {
        writers.stop().await?;
    }

    shards
        .one
        .execute_on_target([
            "DELETE FROM orders WHERE id IN (5, 500, 100006)",
            "UPDATE orders SET total = -1 WHERE id IN (7, 100007)",
            "INSERT INTO orders VALUES (50000, 'of nobody', 1)",
        ])
        .await?;
    let broken_of_one = ["different 7 total", "missing 5 ", "missing 500 "];
    let broken_of_other = ["different 100007 total", "missing 100006 "];
    let sorted = async |run: Run, code: i32| -> Result<Vec<String>> {
        let mut wrong = wrong(&report(run, code).await?)?;
        wrong.sort_unstable();
        Ok(wrong)
    };
    assert_eq!(sorted(of(&shards.one), 4).await?, broken_of_one);
    assert_eq!(sorted(of(&shards.other), 4).await?, broken_of_other);
    let repaired = report(of(&shards.one).argument("--repair"), 0).await?;
    assert_eq!((&repaired["repaired"]["written"], &repaired["repaired"]["deleted"]), (&3.into(), &0.into()));
    assert_eq!(sorted(of(&shards.other), 4).await?, broken_of_other);
    report(of(&shards.other).argument("--repair"), 0).await?;
    // Both go on over what was mended.
    for scene in [&shards.one, &shards.other] {
        scene
            .execute(["UPDATE orders SET total = total + 1", "DELETE FROM orders WHERE id % 100 = 0"])
            .await?;
    }
    one.interrupt().await?;
    one.finish().await?.failed(130)?;
    other.interrupt().await?;
    other.finish().await?.failed(130)?;
    shards.to_one(shards.one.run()).succeed().await?;
    shards.to_one(shards.other.run()).succeed().await?;
    shards.one.execute_on_target(["DELETE FROM orders WHERE id = 50000"]).await?;
    shards.require_equal().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_structure_made_by_hand_is_gone_on_from_by_each() -> Result<()> {
    let shards = Shards::new(test_kit::mysql()?, "shards_by_hand").await?;
    for scene in [&shards.one, &shards.other] {
        shards.to_one(scene.run()).succeed().await?;
    }
    let alter = "ALTER TABLE orders ADD COLUMN note VARCHAR(20) NULL";
    for (scene, first) in [(&shards.one, 0), (&shards.other, 100_000)] {
        let new = format!("INSERT INTO orders VALUES ({}, 'new {first}', 1, 'noted')", first + 900);
        scene.execute([alter, &new]).await?;
    }
    let token = async |scene: &MysqlScene<'_>| -> Result<String> {
        let error = shards.to_one(scene.run()).fail().await?;
        ensure!(error.contains("merged with those of other tasks"), "{error}");
        let error: Value = serde_json::from_str(&error)?;
        let help = error["help"].as_str().context("the error has no help")?;
        let token = help.split("--structure-by-hand ").nth(1).and_then(|rest| rest.split([';', ' ']).next());
        Ok(token.context("the help has no token")?.to_owned())
    };
    let (one, other) = (token(&shards.one).await?, token(&shards.other).await?);
    let by_hand = |scene: &MysqlScene<'_>, token: &str| {
        shards.to_one(scene.run()).arguments(["--structure-by-hand", token])
    };
    // Saying so is not enough.
    let error = by_hand(&shards.one, &one).fail().await?;
    ensure!(error.contains("not as planned") && error.contains("note"), "{error}");
    // Once, for all of them.
    shards.one.execute_on_target([alter]).await?;
    by_hand(&shards.one, &one).succeed().await?;
    by_hand(&shards.other, &other).succeed().await?;
    shards.require_equal().await?;
    for scene in [&shards.one, &shards.other] {
        report(shards.to_one(check(scene)), 0).await?;
        scene.execute(["UPDATE orders SET note = CONCAT('id ', id)"]).await?;
        shards.to_one(scene.run()).succeed().await?;
    }
    shards.require_equal().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_is_cut_over_by_itself_after_its_rows_were_checked() -> Result<()> {
    let shards = Shards::new(test_kit::mysql()?, "shards_end").await?;
    let mut one = shards.to_one(shards.one.follow()).start()?;
    let mut other = shards.to_one(shards.other.follow()).start()?;
    one.phase("streaming").await?;
    other.phase("streaming").await?;
    shards
        .one
        .execute_on_target([
            "DELETE FROM orders WHERE id = 100006",
            "INSERT INTO orders VALUES (50000, 'of nobody', 1)",
        ])
        .await?;
    let error = cutover(&shards.other).fail().await?;
    ensure!(error.contains("1 missing"), "{error}");
    // What is wrong of the other is nothing to this one, and neither is what it has more.
    let said = cutover(&shards.one).succeed().await?.said();
    ensure!(
        said.contains("1 with filtered rows, rows set aside or rows of other tasks are not counted"),
        "{said}"
    );
    one.finish().await?.succeeded()?;
    shards.other.execute(["UPDATE orders SET total = total + 1 WHERE id = 100007"]).await?;
    report(shards.to_one(check(&shards.other)).argument("--repair"), 0).await?;
    cutover(&shards.other).succeed().await?;
    other.finish().await?.succeeded()?;
    shards.one.execute_on_target(["DELETE FROM orders WHERE id = 50000"]).await?;
    shards.require_equal().await
}
