//! `engine run --check-changes`: rows that change are compared after they were applied.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::{MysqlScene, Outcome, Running, Scene, Writers, eventually};
use mysql_async::prelude::Queryable as _;
use serde_json::Value;
use test_support::connect;
use test_support::numbers::Numbers;

use crate::verify::{Place, changes_of_keys};

const TABLES: &[&str] = &[
    "CREATE TABLE numbers (id INT AUTO_INCREMENT PRIMARY KEY, one VARCHAR(20), other VARCHAR(20) NULL, UNIQUE KEY one (one))",
    "CREATE TABLE texts (code VARCHAR(30) PRIMARY KEY, n INT, KEY n (n))",
    "CREATE TABLE pairs (a SMALLINT UNSIGNED, b BINARY(3), v DECIMAL(10,2), PRIMARY KEY (a, b))",
    "CREATE TABLE times (t TIME(3), d DATETIME(6), y YEAR, v JSON, PRIMARY KEY (t, d, y))",
    "CREATE TABLE loose (n INT NULL, v VARCHAR(20) NULL)",
    "INSERT INTO numbers WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 1000) \
     SELECT i * 10, CONCAT('one ', i), CONCAT('other ', i) FROM c",
    "INSERT INTO texts SELECT CONCAT(IF(id % 20 = 0, 'é', 'E'), id), id FROM numbers",
    "INSERT INTO pairs SELECT id DIV 100, UNHEX(LPAD(HEX(id % 100), 6, '0')), id FROM numbers",
    "INSERT INTO times SELECT SEC_TO_TIME(id - 3000.5), '2024-02-29' + INTERVAL id SECOND, 1970 + id % 100, '{\"a\": 1.50}' FROM numbers",
];

/// What the writers of a check beside a run do, and a row that everybody wants.
fn transaction(numbers: &mut Numbers) -> Vec<String> {
    let (one, other) = (10 + 10 * numbers.below(300), 10 + 10 * numbers.below(300));
    match numbers.below(9) {
        0 => vec![
            format!("UPDATE times SET v = JSON_SET(v, '$.b', {one}) WHERE y = {}", 1970 + one % 100),
            format!("UPDATE times SET t = ADDTIME(t, '0:0:0.001') WHERE y = {}", 1970 + other % 100),
            format!("INSERT INTO loose VALUES ({one}, 'x')"),
        ],
        1 => vec!["UPDATE numbers SET other = CONCAT('o ', ROUND(RAND(), 6)) WHERE id = 9000".to_owned()],
        _ => changes_of_keys(numbers),
    }
}

fn number(event: &Value, name: &str) -> u64 {
    event["check"][name].as_u64().unwrap_or(u64::MAX)
}

/// Waits until everything that changed until now is compared.
async fn all_checked(scene: &impl Place) -> Result<Value> {
    scene.execute(["INSERT INTO texts (code, n) VALUES (UUID_SHORT(), -1)"]).await?;
    let mut source = connect::mysql(&scene.urls().0).await?;
    let expected: Option<u64> = source.query_first("SELECT COUNT(*) FROM texts WHERE n = -1").await?;
    source.disconnect().await?;
    eventually("the last change", async || {
        Ok((Some(scene.count("texts WHERE n = -1").await?) == expected).then_some(()))
    })
    .await?;
    let before = status(scene).await?["at_ms"].as_u64();
    eventually("the check to catch up", async || {
        let status = status(scene).await?;
        let is_done =
            status["check"]["waiting"] == 0 && status["at_ms"].as_u64() > before.map(|at| at + 2000);
        Ok(is_done.then_some(status))
    })
    .await
}

async fn status(scene: &impl Place) -> Result<Value> {
    let state = scene.state().display().to_string();
    let outcome = e2e::Run::plain(scene.directory())
        .arguments(["status", scene.task(), "--json", "--state-dir", &state])
        .finish()
        .await?
        .succeeded()?;
    Ok(serde_json::from_str(&outcome.stdout)?)
}

async fn following(scene: &impl Place) -> Result<Running> {
    let mut running = scene.follow().argument("--check-changes").start()?;
    running.phase("streaming").await?;
    Ok(running)
}

async fn stopped(running: Running, code: i32) -> Result<Outcome> {
    running.interrupt().await?;
    let outcome = running.finish().await?;
    ensure!(
        outcome.status.code() == Some(code),
        "{:?}, not {code}\n{}",
        outcome.status.code(),
        outcome.said()
    );
    Ok(outcome)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_wrong_under_constant_writes() -> Result<()> {
    quiet(&Scene::mysql("check_changes").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_wrong_under_constant_writes_on_mariadb() -> Result<()> {
    quiet(&Scene::mariadb("check_changes_mariadb").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_wrong_under_constant_writes_to_mysql() -> Result<()> {
    quiet(&MysqlScene::new(test_kit::mysql()?, test_kit::mysql()?, "check_to_mysql").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_somebody_else_changes_in_mariadb_are_told() -> Result<()> {
    let scene = MysqlScene::new(test_kit::mysql()?, test_kit::mariadb()?, "check_to_mariadb").await?;
    scene.execute(TABLES).await?;
    let mut running = following(&scene).await?;
    scene
        .execute_on_target(["CREATE TRIGGER spoil BEFORE UPDATE ON numbers FOR EACH ROW \
             SET NEW.other = IF(NEW.other = 'poison', 'poison ', NEW.other)"])
        .await?;
    scene
        .execute([
            "UPDATE numbers SET other = 'poison' WHERE id = 50",
            "UPDATE numbers SET other = 'fine' WHERE id = 60",
            "UPDATE texts SET code = 'É20', n = 7 WHERE code = 'é20'",
        ])
        .await?;
    let event = running.event(|event| event["event"] == "difference").await?;
    assert_eq!((&event["key"]["id"], &event["kind"]), (&"50".into(), &"different".into()), "{event}");
    let seen = all_checked(&scene).await?;
    assert_eq!(number(&seen, "wrong"), 1, "{seen}");
    stopped(running, 4).await?;
    Ok(())
}

async fn quiet(scene: &impl Place) -> Result<()> {
    scene.execute(TABLES).await?;
    let writers = Writers::start(&scene.urls().0, 4, Duration::from_millis(4), transaction);
    let running = following(scene).await?;
    writers.commit_more(400).await?;
    // The structure changes, and what is compared with it.
    scene.execute(["ALTER TABLE texts ADD COLUMN more VARCHAR(5) DEFAULT 'new'"]).await?;
    writers.commit_more(400).await?;
    // One transaction in many pieces.
    scene.execute(["INSERT INTO loose WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 900) SELECT i, 'y' FROM c",
        "CREATE TABLE big (id INT PRIMARY KEY, v VARCHAR(40))",
        "INSERT INTO big SELECT a.n * 1000 + b.n, 'big' FROM loose a JOIN loose b WHERE a.v = 'y' AND b.v = 'y' AND a.n <= 30",
        "UPDATE big SET v = CONCAT(v, id)"]).await?;
    let written = writers.stop().await?;
    ensure!(written.transactions > 800, "only {}", written.transactions);
    let seen = all_checked(scene).await?;
    ensure!(number(&seen, "wrong") == 0, "{seen}");
    ensure!(number(&seen, "not_checked") == 0, "{seen}");
    // Each of the 27,000 rows of `big`, at its insert, its update, or both.
    ensure!(number(&seen, "checked") > 28_000, "{seen}");
    assert_eq!(
        seen["check"]["tables_without_key"],
        serde_json::json!([format!("{}.loose", scene.source_name())])
    );
    let outcome = stopped(running, 130).await?;
    let last = outcome.last("progress")?;
    assert_eq!((number(last, "wrong"), number(last, "objects_amiss")), (0, 0), "{last}");
    scene.run().argument("--check-changes").succeed().await?;
    scene.require_equal().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_somebody_else_changes_are_told_at_once() -> Result<()> {
    let scene = Scene::mysql("check_foreign").await?;
    scene.execute(TABLES).await?;
    let mut running = following(&scene).await?;
    let target = scene.target().await?;
    target
        .batch_execute(&format!(
            "SET search_path = {name};
             CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN NEW.other = NEW.other || ' '; RETURN NEW; END $$;
             CREATE TRIGGER spoil BEFORE INSERT OR UPDATE ON numbers FOR EACH ROW WHEN (NEW.other = 'poison') EXECUTE FUNCTION spoil();
             ALTER TABLE numbers ENABLE ALWAYS TRIGGER spoil;
             CREATE FUNCTION vanish() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN DELETE FROM {name}.numbers WHERE id = NEW.id; RETURN NULL; END $$;
             CREATE TRIGGER vanish AFTER INSERT ON numbers FOR EACH ROW WHEN (NEW.other = 'vanish') EXECUTE FUNCTION vanish();
             ALTER TABLE numbers ENABLE ALWAYS TRIGGER vanish;
             CREATE FUNCTION stay() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN INSERT INTO {name}.texts VALUES (OLD.code, OLD.n); RETURN NULL; END $$;
             CREATE TRIGGER stay AFTER DELETE ON texts FOR EACH ROW WHEN (OLD.n = 70) EXECUTE FUNCTION stay();
             ALTER TABLE texts ENABLE ALWAYS TRIGGER stay",
            name = scene.name()
        ))
        .await?;
    scene
        .execute([
            "UPDATE numbers SET other = 'poison' WHERE id = 50",
            "UPDATE numbers SET other = 'fine' WHERE id = 60",
            "INSERT INTO numbers VALUES (20000, NULL, 'vanish')",
            "DELETE FROM texts WHERE n IN (70, 80)",
        ])
        .await?;
    let table = |name: &str| Value::from(format!("{}.{name}", scene.name()));
    for (name, kind, key, columns) in [
        ("numbers", "different", serde_json::json!({"id": "50"}), serde_json::json!(["other"])),
        ("numbers", "missing", serde_json::json!({"id": "20000"}), serde_json::json!([])),
        ("texts", "extra", serde_json::json!({"code": "E70"}), serde_json::json!([])),
    ] {
        let event = running.event(|event| event["event"] == "difference" && event["kind"] == kind).await?;
        assert_eq!((&event["table"], &event["key"], &event["columns"]), (&table(name), &key, &columns));
    }
    running
        .event(|event| event["event"] == "finding" && event["message"].to_string().contains("id='50'"))
        .await?;
    let seen = all_checked(&scene).await?;
    assert_eq!(number(&seen, "wrong"), 3, "{seen}");

    // A row that its next change puts right is no longer wrong.
    scene.execute(["UPDATE numbers SET other = 'good' WHERE id = 50"]).await?;
    let seen = all_checked(&scene).await?;
    assert_eq!(number(&seen, "wrong"), 2, "{seen}");
    let outcome = stopped(running, 4).await?;
    ensure!(number(outcome.last("progress")?, "wrong") == 2, "{}", outcome.said());

    // Repaired while it runs, they are looked at again at the end.
    let running = following(&scene).await?;
    scene
        .execute(["DELETE FROM texts WHERE n = 90", "UPDATE numbers SET other = 'poison' WHERE id = 90"])
        .await?;
    let seen = all_checked(&scene).await?;
    assert_eq!(number(&seen, "wrong"), 1, "{seen}");
    target
        .batch_execute(&format!("SET search_path = {}; DROP TRIGGER spoil ON numbers; DROP TRIGGER vanish ON numbers; DROP TRIGGER stay ON texts", scene.name()))
        .await?;
    let state = scene.state_directory().display().to_string();
    e2e::Run::plain(scene.directory())
        .arguments(["verify", "task", "--repair", "--json", "--state-dir", &state])
        .arguments(["--source", &scene.source_url(), "--target", &scene.target_url()])
        .plugin("mysql2og")
        .succeed()
        .await?;
    stopped(running, 130).await?;
    scene.require_equal().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_is_gone_is_told_at_the_end() -> Result<()> {
    let scene = Scene::mysql("check_objects").await?;
    scene.execute(TABLES).await?;
    scene.run().argument("--check-changes").succeed().await?;
    let index = scene
        .value(&format!(
            "SELECT indexname::text FROM pg_indexes WHERE schemaname = '{}' AND tablename = 'texts' AND indexname NOT LIKE '%pkey'",
            scene.name()
        ))
        .await?;
    scene.target().await?.batch_execute(&format!("DROP INDEX {}.\"{index}\"", scene.name())).await?;
    let outcome = scene.run().argument("--check-changes").finish().await?;
    assert_eq!(outcome.status.code(), Some(4), "{}", outcome.said());
    let done = outcome.last("done")?;
    assert_eq!((number(done, "wrong"), number(done, "objects_amiss")), (0, 1), "{done}");
    assert_eq!(done["exit_code"], 4);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_engine_goes_on_and_calls_nothing_wrong() -> Result<()> {
    let scene = Scene::mysql("check_killed").await?;
    scene.execute(TABLES).await?;
    let writers = Writers::start(&scene.source_url(), 4, Duration::from_millis(4), transaction);
    for _ in 0..5 {
        let mut running = following(&scene).await?;
        writers.commit_more(60).await?;
        running
            .event(|event| {
                event["event"] == "progress" && number(event, "checked") != 0 && event["check"].is_object()
            })
            .await?;
        running.kill().await?;
    }
    writers.stop().await?;
    let outcome = scene.run().argument("--check-changes").succeed().await?;
    ensure!(number(outcome.last("done")?, "wrong") == 0, "{}", outcome.said());
    scene.require_equal().await
}

/// A run that dies between a commit and the look at it leaves the look to the next run.
async fn killed_before_the_look(scene: &impl Place, spoil: &[&str]) -> Result<()> {
    scene.execute(TABLES).await?;
    stopped(following(scene).await?, 130).await?;
    let dying =
        scene.follow().argument("--check-changes").environment("ENGINE_FAILPOINT", "changes-committed");
    let mut running = dying.start()?;
    running.phase("streaming").await?;
    for statement in spoil {
        scene.on_target(statement).await?;
    }
    scene
        .execute([
            "START TRANSACTION",
            "UPDATE numbers SET other = 'poison' WHERE id IN (50, 70)",
            "DELETE FROM texts WHERE n = 60",
            "COMMIT",
        ])
        .await?;
    ensure!(!running.finish().await?.status.success(), "it did not die");
    let trigger = if scene.plugin() == "mysql2og" { "spoil ON numbers" } else { "spoil" };
    scene.on_target(&format!("DROP TRIGGER {trigger}")).await?;
    let outcome = scene.run().argument("--check-changes").finish().await?;
    assert_eq!(outcome.status.code(), Some(4), "{}", outcome.said());
    let event = outcome.last("difference")?;
    assert_eq!((&event["key"]["id"], &event["kind"]), (&"50".into(), &"different".into()), "{event}");
    let done = outcome.last("done")?;
    assert_eq!((number(done, "wrong"), number(done, "not_checked")), (1, 0), "{done}");
    // What has been looked at is not looked at again.
    let outcome = scene.run().argument("--check-changes").succeed().await?;
    assert_eq!(number(outcome.last("done")?, "checked"), 0, "{}", outcome.said());
    scene.on_target("UPDATE numbers SET other = 'poison' WHERE id = 50").await?;
    scene.require_equal().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_engine_had_not_compared_is_compared_by_the_next() -> Result<()> {
    let function = "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN NEW.other = NEW.other || ' '; RETURN NEW; END $$";
    let trigger = "CREATE TRIGGER spoil BEFORE INSERT OR UPDATE ON numbers FOR EACH ROW WHEN (NEW.id = 50) \
         EXECUTE FUNCTION spoil()";
    let spoil = [function, trigger, "ALTER TABLE numbers ENABLE ALWAYS TRIGGER spoil"];
    killed_before_the_look(&Scene::mysql("check_recalled").await?, &spoil).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_engine_had_not_compared_in_mysql_is_compared_by_the_next() -> Result<()> {
    let scene = MysqlScene::new(test_kit::mysql()?, test_kit::mysql()?, "check_recalled_mysql").await?;
    let spoil = ["CREATE TRIGGER spoil BEFORE UPDATE ON numbers FOR EACH ROW \
         SET NEW.other = IF(NEW.other = 'poison' AND NEW.id = 50, 'poison ', NEW.other)"];
    killed_before_the_look(&scene, &spoil).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_checked_is_refused_before_anything_is_written() -> Result<()> {
    let scene = Scene::mysql("check_refused").await?;
    scene.execute(TABLES).await?;
    let outcome = scene.run().argument("--check-changes").replace("--mode", "offline").finish().await?;
    assert_eq!(outcome.status.code(), Some(2), "{}", outcome.said());
    Ok(())
}
