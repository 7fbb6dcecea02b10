//! What single sessions of the source do to its log: those forms that tell everything are followed, the others stop the
//! task at the statement, with the table and what to set, and what came before is applied.

use anyhow::{Context as _, Result, ensure};
use e2e::{Scene, Writers, eventually};
use mysql_async::prelude::Queryable as _;
use serde_json::Value;

use super::{TABLES, arrives};
use crate::refused::refused;

/// Session settings under which rows can't be followed, a change that shows it, and the words of the refusal.
const REFUSED: [(&str, &str, &[&str]); 4] = [
    (
        "SET SESSION binlog_row_image = 'MINIMAL'",
        "UPDATE t SET v = 'new' WHERE id = 1",
        &[
            "without all of its columns",
            "\"session\"",
            "SET GLOBAL binlog_row_image = FULL",
            "start a new task",
        ],
    ),
    (
        "SET SESSION binlog_row_image = 'NOBLOB'",
        "UPDATE t SET v = 'new' WHERE id = 1",
        &[
            "without all of its columns",
            "\"session\"",
            "SET GLOBAL binlog_row_image = FULL",
            "start a new task",
        ],
    ),
    (
        "SET SESSION binlog_format = 'STATEMENT'",
        "UPDATE t SET v = 'new' WHERE id = 1",
        &["by a statement", "binlog_format = ROW"],
    ),
    (
        "SET SESSION binlog_row_value_options = 'PARTIAL_JSON', SESSION binlog_row_image = 'NOBLOB'",
        "UPDATE t SET document = JSON_SET(document, '$.a', 2) WHERE id = 1",
        &[
            "without all of its columns",
            "\"session\"",
            "SET GLOBAL binlog_row_image = FULL",
            "start a new task",
        ],
    ),
];

#[tokio::test]
async fn sessions_that_log_less_than_whole_rows_stop_the_task() -> Result<()> {
    let scene = Scene::mysql("sessions").await?;
    for (number, (setting, change, words)) in REFUSED.into_iter().enumerate() {
        let name = format!("{}_{number}", scene.name());
        let database = scene.further_database(&number.to_string()).await?;
        let mut source = scene.source().await?;
        for statement in [
            format!("USE {database}"),
            "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20), picture LONGBLOB, document JSON)".to_owned(),
            "INSERT INTO t VALUES (1, 'old', REPEAT('x', 300), JSON_OBJECT('a', 1, 'b', REPEAT('y', 300)))"
                .to_owned(),
        ] {
            source.query_drop(statement).await?;
        }
        let run = || {
            scene
                .run()
                .replace("--name", name.clone())
                .replace("--source", scene.source_server().url_of(&database))
        };
        run().succeed().await?;
        source.query_drop("INSERT INTO t VALUES (2, 'before', NULL, NULL)").await?;
        source.query_drop(setting).await?;
        for statement in change.split("; ") {
            source.query_drop(statement).await?;
        }
        source.query_drop("INSERT INTO t VALUES (3, 'after', NULL, NULL)").await?;
        source.disconnect().await?;
        // Again and again, and nothing is passed over.
        for _ in 0..2 {
            refused(run(), 1, words).await?;
            let rows = scene.rows(&format!("SELECT id::text, v FROM {database}.t ORDER BY id")).await?;
            let expected = [["1", "old"], ["2", "before"]];
            ensure!(rows == expected, "{setting}: {rows:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn other_forms_of_the_log_are_followed() -> Result<()> {
    let scene = Scene::mysql("other_forms").await?;
    scene.execute(TABLES).await?;
    scene.execute(["CREATE TABLE beside (id INT PRIMARY KEY)"]).await?;
    let mut running = scene.follow().arguments(["--exclude", "beside"]).start()?;
    running.phase("streaming").await?;

    let mut source = scene.source().await?;
    let file = format!("/tmp/{}.txt", scene.name());
    for statement in [
        // Compressed as a whole, for this session alone.
        "SET SESSION binlog_transaction_compression = ON",
        "INSERT INTO t (v) SELECT CONCAT(code, REPEAT(' compressed', 9)) FROM codes",
        "BEGIN",
        "UPDATE codes SET code = CONCAT(code, ' compressed')",
        "INSERT INTO keyless VALUES (1, 'compressed')",
        "COMMIT",
        "SET SESSION binlog_transaction_compression = OFF",
        // Distributed, but not over a table of the task.
        "XA START 'beside'",
        "INSERT INTO beside VALUES (1)",
        "XA END 'beside'",
        "XA PREPARE 'beside'",
        "INSERT INTO t (v) VALUES ('while something is prepared')",
    ] {
        // A connection with a prepared transaction may do nothing else.
        if statement.contains("while something") {
            scene.execute([statement]).await?;
        } else {
            source.query_drop(statement).await?;
        }
    }
    source.query_drop("XA COMMIT 'beside'").await?;
    for statement in [
        // Several tables in one statement; rows that replace others, and that become updates.
        "UPDATE codes, t SET codes.code = CONCAT(codes.code, ' both'), t.v = 'both' WHERE codes.id = t.id",
        "DELETE codes, t FROM codes JOIN t ON codes.id = t.id WHERE codes.id = 3",
        "REPLACE INTO codes SELECT 3, MAX(code) FROM codes WHERE id = 2",
        "INSERT INTO codes VALUES (2, 'two'), (3, 'three') ON DUPLICATE KEY UPDATE code = CONCAT(VALUES(code), id)",
    ] {
        source.query_drop(statement).await?;
    }
    // Rows from a file; and what is in the log of a transaction that was taken back in part.
    for statement in [
        format!("SELECT 100 + id, CONCAT('file\\\\t', code) FROM codes INTO OUTFILE '{file}'"),
        format!("LOAD DATA INFILE '{file}' INTO TABLE codes"),
        "BEGIN".to_owned(),
        "UPDATE t SET v = CONCAT(v, ' kept')".to_owned(),
        "SAVEPOINT one".to_owned(),
        "DELETE FROM t".to_owned(),
        "SAVEPOINT two".to_owned(),
        "INSERT INTO keyless VALUES (2, 'never')".to_owned(),
        "ROLLBACK TO one".to_owned(),
        "INSERT INTO keyless VALUES (3, 'savepoint')".to_owned(),
        "RELEASE SAVEPOINT one".to_owned(),
        "COMMIT".to_owned(),
    ] {
        source.query_drop(statement).await?;
    }
    source.disconnect().await?;
    arrives(&scene, "afterwards").await?;
    running.interrupt().await?;
    running.finish().await?.failed(130)?;
    let rows =
        scene.value(&format!("SELECT count(*)::text FROM {}.codes WHERE id > 100", scene.name())).await?;
    ensure!(rows == "3", "{rows} rows from the file");
    scene.execute(["DROP TABLE beside"]).await?;
    scene.run().arguments(["--exclude", "beside"]).succeed().await?;
    scene.require_equal().await
}

/// The connections of the source that send its log to a replica of this number.
async fn senders(scene: &Scene<'_>) -> Result<Vec<u64>> {
    let mut source = scene.source().await?;
    let senders = source
        .query("SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'")
        .await?;
    source.disconnect().await?;
    Ok(senders)
}

/// The one connection that sends the log, and for how many seconds it has.
async fn sender(scene: &Scene<'_>) -> Result<Option<(u64, u64)>> {
    let mut source = scene.source().await?;
    let sender = source
        .query_first("SELECT id, time FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'")
        .await?;
    source.disconnect().await?;
    Ok(sender)
}

#[tokio::test]
async fn a_stream_that_the_source_kills_is_opened_again() -> Result<()> {
    let server = test_kit::Builder::new(test_kit::Product::MySql).start()?;
    let scene = Scene::new(&server, test_kit::postgres()?, "killed_dump").await?;
    scene.execute(TABLES).await?;
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    let writers = Writers::start(&scene.source_url(), 2, std::time::Duration::from_millis(5), |numbers| {
        super::transaction(numbers.below(1000))
    });
    for round in 0..4 {
        writers.commit_more(20).await?;
        for sender in senders(&scene).await? {
            scene.execute([format!("KILL {sender}")]).await?;
        }
        arrives(&scene, &format!("after kill {round}")).await?;
    }
    writers.stop().await?;

    // Nothing happens for longer than the source waits between two signs of life, over one and the same connection.
    let (sender, begin) = sender(&scene).await?.context("nobody sends the log")?;
    eventually("a stream that goes on while nothing happens", async || {
        let Some((same, seconds)) = self::sender(&scene).await? else { return Ok(None) };
        ensure!(same == sender, "the stream of an idle source was opened again");
        Ok((seconds >= begin + 5).then_some(()))
    })
    .await?;
    arrives(&scene, "after silence").await?;
    running.interrupt().await?;
    running.finish().await?.failed(130)?;
    scene.run().succeed().await?;
    scene.require_equal().await
}

/// On `MySQL` replicas are told apart by more than their number; `MariaDB` throws the older one out, which says why.
#[tokio::test]
async fn two_streams_of_one_number_do_not_lose_rows() -> Result<()> {
    for scene in [Scene::mysql("same_number").await?, Scene::mariadb("same_number_mariadb").await?] {
        scene.execute(TABLES).await?;
        let numbered = format!("{}?server-id=4711", scene.source_url());
        let elsewhere = serde_json::json!({"mysql2og": {"schemas": {scene.name(): "other"}}});
        let run = |name: &str| {
            let state = scene.directory().join(name).display().to_string();
            let run = scene.follow().replace("--source", numbered.clone());
            let run = run.replace("--name", name).replace("--state-dir", state);
            if name == "other" { run.config(elsewhere.clone()) } else { run }
        };
        let mut first = run("first").start()?;
        first.phase("streaming").await?;
        let mut second = run("other").start()?;
        second.phase("streaming").await?;
        for round in 0..3 {
            scene.execute([format!("INSERT INTO keyless VALUES ({round}, 'both')")]).await?;
            let rows = format!("SELECT count(*)::text FROM other.keyless WHERE n = {round} AND v = 'both'");
            eventually("a row in the second task", async || {
                Ok((scene.value(&rows).await? == "1").then_some(()))
            })
            .await?;
        }
        second.interrupt().await?;
        second.finish().await?.failed(130)?;
        let ended_by_itself = first.has_ended()?;
        if !ended_by_itself {
            first.interrupt().await?;
        }
        let outcome = first.finish().await?;
        if ended_by_itself {
            let error: Value = serde_json::from_str(&outcome.failed(1)?)?;
            ensure!(error.to_string().contains("same server"), "{error}");
        }
        run("first").arguments(["--until", "caught-up"]).succeed().await?;
        scene.require_equal().await?;
    }
    Ok(())
}
