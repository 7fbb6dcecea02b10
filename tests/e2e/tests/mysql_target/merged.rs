//! Several tables of one task that become one: the parts that an application has split a table into.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{MysqlScene, Run, Writers};
use mysql_async::prelude::Queryable as _;
use serde_json::{Value, json};
use test_kit::Server;
use test_support::connect;
use test_support::numbers::Numbers;
use test_support::same_engine;

use crate::verify::{check, report};

const ABORTED: i32 = 6;
const PARTS: u64 = 4;
/// Keys of a part: its number times this, and up.
const APART: u64 = 100_000;

/// The task whose tables `orders_0` and on become `orders`.
fn merging(scene: &MysqlScene<'_>, run: Run) -> Run {
    let parts = format!("{}.orders_*", scene.name());
    run.config(json!({ "mysql2mysql": { "tables": { parts: { "name": "orders", "merge": true } } } }))
}

async fn filled<'a>(server: &'a Server, test: &str) -> Result<MysqlScene<'a>> {
    let scene = MysqlScene::new(server, server, test).await?;
    for part in 0..PARTS {
        let first = part * APART;
        scene
            .execute([
                format!(
                    "CREATE TABLE orders_{part} (id INT PRIMARY KEY AUTO_INCREMENT, code VARCHAR(30) UNIQUE, \
                     total INT NOT NULL, KEY (total))"
                ),
                format!(
                    "INSERT INTO orders_{part} SELECT {first} + seq, CONCAT('c', {first} + seq), seq FROM \
                     (WITH RECURSIVE n (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n WHERE seq < 500) \
                     SELECT seq FROM n) s"
                ),
            ])
            .await?;
    }
    Ok(scene)
}

/// Every row of every part is in the target's one table, and nothing else.
async fn require_equal(server: &Server, scene: &MysqlScene<'_>) -> Result<()> {
    let all = format!("{}_all", scene.name());
    let mut conn = connect::mysql(server.url()).await?;
    let mut statements = vec![
        format!("DROP DATABASE IF EXISTS {all}"),
        format!("CREATE DATABASE {all} CHARACTER SET utf8mb4"),
        format!("CREATE TABLE {all}.orders LIKE {}.orders_0", scene.name()),
    ];
    statements.extend(
        (0..PARTS)
            .map(|part| format!("INSERT INTO {all}.orders SELECT * FROM {}.orders_{part}", scene.name())),
    );
    for statement in statements {
        conn.query_drop(&statement).await.with_context(|| statement.clone())?;
    }
    let mut target = scene.target().await?;
    let same = same_engine::require_same(&mut conn, &all, &mut target, &scene.target_name()).await;
    conn.query_drop(format!("DROP DATABASE {all}")).await?;
    same
}

/// Changes in any of the parts: values under the unique key that are swapped, rows that come and go, and rows that
/// move from one part to another, in either order of the two statements.
fn transaction(numbers: &mut Numbers) -> Vec<String> {
    let part = numbers.below(PARTS);
    let other = (part + 1 + numbers.below(PARTS - 1)) % PARTS;
    let id = part * APART + 1 + numbers.below(500);
    let new = part * APART + 1000 + numbers.below(5000);
    match numbers.below(6) {
        0 => vec![format!("INSERT IGNORE INTO orders_{part} VALUES ({new}, 'n{new}', {new})")],
        1 => vec![format!("UPDATE orders_{part} SET total = total + 1 WHERE id IN ({id}, {new})")],
        2 => vec![
            format!("UPDATE orders_{part} SET code = CONCAT('x', id) WHERE id = {id}"),
            format!("UPDATE orders_{part} SET code = CONCAT('c', id) WHERE id = {id}"),
        ],
        3 => vec![format!("DELETE FROM orders_{part} WHERE id = {new}")],
        4 => vec![
            format!("INSERT IGNORE INTO orders_{other} SELECT * FROM orders_{part} WHERE id = {id}"),
            format!("DELETE FROM orders_{part} WHERE id = {id}"),
        ],
        _ => vec![
            format!("UPDATE orders_{part} SET total = -1 WHERE id = {id}"),
            format!(
                "INSERT IGNORE INTO orders_{other} SELECT id, code, -2 FROM orders_{part} WHERE id = {id}"
            ),
            format!("DELETE FROM orders_{part} WHERE id = {id}"),
        ],
    }
}

async fn become_one(server: &Server, test: &str) -> Result<()> {
    let scene = filled(server, test).await?;
    // Rows move only once the copy is complete.
    merging(&scene, scene.run()).succeed().await?;
    let writers = Writers::start(&scene.source_url(), 4, Duration::from_millis(3), transaction);
    for _ in 0..2 {
        let mut run = merging(&scene, scene.follow()).arguments(["--parallelism", "4"]).start()?;
        run.phase("streaming").await?;
        writers.commit_more(300).await?;
        run.kill().await?;
        writers.commit_more(50).await?;
    }
    let mut run = merging(&scene, scene.follow()).arguments(["--parallelism", "3"]).start()?;
    run.phase("streaming").await?;
    for _ in 0..2 {
        writers.commit_more(100).await?;
        let found = report(merging(&scene, check(&scene)).arguments(["--part-rows", "100"]), 0).await?;
        let tables = found["tables"].as_array().context("no tables")?;
        ensure!(tables.len() == PARTS as usize, "{found}");
    }
    writers.stop().await?;
    run.interrupt().await?;
    run.finish().await?;
    merging(&scene, scene.run()).succeed().await?;
    require_equal(server, &scene).await?;
    let mut target = scene.target().await?;
    target.query_drop("INSERT INTO orders (total) VALUES (1)").await?;
    let numbers: Option<(u64, u64)> =
        target.query_first("SELECT LAST_INSERT_ID(), MAX(id) FROM orders").await?;
    let (number, greatest) = numbers.context("no number")?;
    ensure!(number == greatest && number > 3 * APART + 500, "{number} of {greatest}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_mysql_become_one_while_they_are_written_to() -> Result<()> {
    become_one(test_kit::mysql()?, "merged").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_mariadb_become_one_while_they_are_written_to() -> Result<()> {
    become_one(test_kit::mariadb()?, "merged_mariadb").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_at_any_place_loses_and_doubles_nothing() -> Result<()> {
    let server = test_kit::mysql()?;
    let scene = filled(server, "merged_death").await?;
    for place in
        ["task-claimed", "tables-created", "chunk-written", "chunk-committed", "copy-done", "changes-applied"]
    {
        scene
            .execute(
                (0..PARTS).map(|part| format!("UPDATE orders_{part} SET total = total + 1 WHERE id % 7 = 0")),
            )
            .await?;
        let run = merging(&scene, scene.run()).environment("ENGINE_FAILPOINT", place);
        let outcome = run.finish().await?;
        ensure!(outcome.status.signal() == Some(ABORTED), "{place}: {}\n{}", outcome.status, outcome.said());
    }
    merging(&scene, scene.run()).succeed().await?;
    require_equal(server, &scene).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_in_two_tables_stops_the_task_with_both() -> Result<()> {
    let server = test_kit::mysql()?;
    let scene = filled(server, "merged_key").await?;
    let at = |table: &str| format!("{}.{table}", scene.name());
    // In the copy.
    scene.execute(["INSERT INTO orders_1 VALUES (7, 'seven', 7)"]).await?;
    let error = merging(&scene, scene.run()).arguments(["--parallelism", "1"]).fail().await?;
    for word in ["id=7", &at("orders_0"), &at("orders_1"), "no row is ever overwritten"] {
        ensure!(error.contains(word), "no '{word}' in {error}");
    }
    // The one that gives way is the one that the target has: all are copied again.
    scene.execute(["DELETE FROM orders_0 WHERE id = 7"]).await?;
    merging(&scene, scene.run()).succeed().await?;
    require_equal(server, &scene).await?;
    // In the stream.
    scene.execute(["INSERT INTO orders_2 VALUES (8, 'eight', 8)"]).await?;
    let error = merging(&scene, scene.run()).fail().await?;
    for word in ["id=8", &at("orders_0"), &at("orders_2"), "position", "begin a new task"] {
        ensure!(error.contains(word), "no '{word}' in {error}");
    }
    let mut target = scene.target().await?;
    let kept: Option<String> = target.query_first("SELECT code FROM orders WHERE id = 8").await?;
    assert_eq!(kept.as_deref(), Some("c8"));
    Ok(())
}

#[tokio::test]
async fn tables_that_are_not_alike_or_have_no_key_are_refused() -> Result<()> {
    let server = test_kit::mysql()?;
    let scene = filled(server, "merged_alike").await?;
    // Without the setting they collide.
    let parts = format!("{}.orders_*", scene.name());
    let unmerged = json!({ "mysql2mysql": { "tables": { parts: { "name": "orders" } } } });
    let error = scene.run().config(unmerged).fail().await?;
    ensure!(
        error.contains("the same name in the target") && error.contains("merge of mysql2mysql"),
        "{error}"
    );
    scene.execute(["ALTER TABLE orders_2 MODIFY total BIGINT NOT NULL"]).await?;
    let error = merging(&scene, scene.run()).fail().await?;
    for word in ["not alike", "orders_2", "total", "bigint"] {
        ensure!(error.contains(word), "no '{word}' in {error}");
    }
    scene
        .execute([
            "ALTER TABLE orders_2 MODIFY total INT NOT NULL",
            "ALTER TABLE orders_3 ADD COLUMN note INT",
        ])
        .await?;
    let error = merging(&scene, scene.run()).fail().await?;
    for word in ["not alike", "orders_3", "note"] {
        ensure!(error.contains(word), "no '{word}' in {error}");
    }
    scene
        .execute(["DROP TABLE orders_3", "CREATE TABLE orders_3 (id INT, code VARCHAR(30), total INT)"])
        .await?;
    let error = merging(&scene, scene.run()).fail().await?;
    ensure!(error.contains("no key tells its rows apart"), "{error}");
    Ok(())
}

/// The wrong rows that a check found: `table kind id`.
fn wrong(report: &Value) -> Vec<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut wrong: Vec<String> = list(&report["tables"])
        .iter()
        .flat_map(|table| {
            let name = text(&table["table"]);
            let name = name.rsplit('.').next().unwrap_or_default().to_owned();
            list(&table["differences"])
                .iter()
                .map(|row| format!("{name} {} {}", text(&row["kind"]), text(&row["key"]["id"])))
                .collect::<Vec<_>>()
        })
        .collect();
    wrong.sort_unstable();
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_found_by_table_and_mended() -> Result<()> {
    let server = test_kit::mysql()?;
    let scene = filled(server, "merged_check").await?;
    let mut run = merging(&scene, scene.follow()).start()?;
    run.phase("streaming").await?;
    scene
        .execute_on_target([
            "DELETE FROM orders WHERE id IN (5, 300007)",
            "UPDATE orders SET total = -1 WHERE id IN (9, 200009)",
        ])
        .await?;
    let found = report(merging(&scene, check(&scene)).arguments(["--part-rows", "100"]), 4).await?;
    assert_eq!(
        wrong(&found),
        [
            "orders_0 different 9",
            "orders_0 missing 5",
            "orders_2 different 200009",
            "orders_3 missing 300007"
        ]
    );
    let repaired = report(merging(&scene, check(&scene)).argument("--repair"), 0).await?;
    assert_eq!((&repaired["repaired"]["written"], &repaired["repaired"]["deleted"]), (&4.into(), &0.into()));
    scene.execute(["UPDATE orders_0 SET total = total + 1", "DELETE FROM orders_3 WHERE id % 7 = 0"]).await?;
    run.interrupt().await?;
    run.finish().await?;
    merging(&scene, scene.run()).succeed().await?;
    require_equal(server, &scene).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_structure_that_comes_once_for_each_is_made_once() -> Result<()> {
    let server = test_kit::mysql()?;
    let scene = filled(server, "merged_ddl").await?;
    merging(&scene, scene.run()).succeed().await?;
    let write = async |note: &str| -> Result<()> {
        for part in 0..PARTS {
            let first = part * APART;
            let new = first + 10_000 + u64::try_from(note.len())?;
            scene
                .execute([
                    format!("UPDATE orders_{part} SET total = total + 1 WHERE id % 5 = 0"),
                    format!("DELETE FROM orders_{part} WHERE id % 11 = 0"),
                    format!("INSERT INTO orders_{part} (id, code, total) VALUES ({new}, 'n{new}', 1)"),
                ])
                .await?;
        }
        Ok(())
    };
    // Each table in its turn, and rows of all of them in between; the engine goes on anew in the middle.
    for part in 0..PARTS {
        scene
            .execute([
                format!(
                    "ALTER TABLE orders_{part} ADD COLUMN note VARCHAR(20) NOT NULL DEFAULT 'none' AFTER code"
                ),
                format!("ALTER TABLE orders_{part} ADD KEY by_note (note)"),
                format!("UPDATE orders_{part} SET note = 'own' WHERE id % 3 = 0"),
            ])
            .await?;
        write(&"x".repeat(usize::try_from(part)? + 1)).await?;
        if part == 1 {
            merging(&scene, scene.run()).succeed().await?;
            report(merging(&scene, check(&scene)), 0).await?;
        }
    }
    merging(&scene, scene.run()).succeed().await?;
    require_equal(server, &scene).await?;
    report(merging(&scene, check(&scene)), 0).await?;
    // A column that goes stays until the last has lost it.
    for part in 0..PARTS {
        scene.execute([format!("ALTER TABLE orders_{part} DROP COLUMN note")]).await?;
        write(&"x".repeat(usize::try_from(part)? + 100)).await?;
        if part == 2 {
            merging(&scene, scene.run()).succeed().await?;
            let mut target = scene.target().await?;
            let there: Option<mysql_async::Row> =
                target.query_first("SHOW COLUMNS FROM orders LIKE 'note'").await?;
            ensure!(there.is_some(), "the column went with the third of four");
        }
    }
    merging(&scene, scene.run()).succeed().await?;
    require_equal(server, &scene).await?;
    // One more table that becomes the same one.
    scene
        .execute([
            "CREATE TABLE orders_9 LIKE orders_0",
            "INSERT INTO orders_9 VALUES (900001, 'nine', 9)",
            "UPDATE orders_9 SET total = 10",
        ])
        .await?;
    merging(&scene, scene.run()).succeed().await?;
    let mut target = scene.target().await?;
    let total: Option<i32> = target.query_first("SELECT total FROM orders WHERE id = 900001").await?;
    assert_eq!(total, Some(10));
    Ok(())
}

/// What `--structure-by-hand` is to be given, after a stop whose reason has these words.
async fn token(run: Run, words: &str) -> Result<String> {
    let error = run.fail().await?;
    ensure!(error.contains(words), "no '{words}' in {error}");
    let error: Value = serde_json::from_str(&error)?;
    let help = error["help"].as_str().context("the error has no help")?;
    let token = help.split("--structure-by-hand ").nth(1).and_then(|rest| rest.split([';', ' ']).next());
    Ok(token.context("the help has no token")?.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_made_once_stops_the_task_and_goes_on_by_hand() -> Result<()> {
    let server = test_kit::mysql()?;
    let scene = filled(server, "merged_by_hand").await?;
    merging(&scene, scene.run()).succeed().await?;
    for part in 0..PARTS {
        scene
            .execute([
                format!("ALTER TABLE orders_{part} MODIFY total BIGINT NOT NULL"),
                format!("UPDATE orders_{part} SET total = 5000000000 + id WHERE id % 50 = 0"),
            ])
            .await?;
    }
    let token = token(merging(&scene, scene.run()), "which the others still have as it was").await?;
    scene.execute_on_target(["ALTER TABLE orders MODIFY total BIGINT NOT NULL"]).await?;
    // Once for all of them: the others find it done.
    merging(&scene, scene.run()).arguments(["--structure-by-hand", &token]).succeed().await?;
    require_equal(server, &scene).await?;
    for (statement, words) in [("TRUNCATE TABLE orders_1", "which of the merged table's rows are its own")] {
        scene.execute([statement]).await?;
        let error = merging(&scene, scene.run()).fail().await?;
        ensure!(error.contains(words), "no '{words}' in {error}");
    }
    Ok(())
}

/// `engine cutover` of a task that an engine is running.
pub(super) fn cutover(scene: &MysqlScene<'_>) -> Run {
    let state = scene.state_directory().display().to_string();
    Run::plain(scene.directory()).arguments([
        "cutover",
        scene.name(),
        "--json",
        "--yes",
        "--state-dir",
        &state,
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cut_over_checks_all_of_them_together() -> Result<()> {
    let server = test_kit::mysql()?;
    let scene = filled(server, "merged_end").await?;
    let mut run = merging(&scene, scene.follow()).start()?;
    run.phase("streaming").await?;
    scene.execute(["UPDATE orders_2 SET total = total + 1"]).await?;
    // A row that is wrong, by the check; a row that nobody has, by the count.
    for (wrong, right, words) in [
        (
            "UPDATE orders SET total = -1 WHERE id = 7",
            "UPDATE orders SET total = 7 WHERE id = 7",
            "1 different",
        ),
        (
            "INSERT INTO orders VALUES (50000, 'of nobody', 1)",
            "DELETE FROM orders WHERE id = 50000",
            "the same numbers of rows",
        ),
    ] {
        scene.execute_on_target([wrong]).await?;
        let error = cutover(&scene).fail().await?;
        ensure!(error.contains(words), "no '{words}' in {error}");
        scene.execute_on_target([right]).await?;
    }
    // Undone, it goes on.
    scene.execute(["UPDATE orders_1 SET total = total + 1"]).await?;
    let said = cutover(&scene).succeed().await?.said();
    ensure!(said.contains("4 tables have the same number of rows, 2000 in all"), "{said}");
    run.finish().await?.succeeded()?;
    require_equal(server, &scene).await
}
