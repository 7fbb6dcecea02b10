//! What a target does to single transactions: deadlocks, timeouts, failures to serialise, and being read-only.

use anyhow::{Result, ensure};
use e2e::{Scene, eventually};
use test_kit::{Builder, Product};
use test_support::connect;
use tokio_postgres::Client;

use super::{TABLES, arrives, transaction};
use crate::locks::waiting_statements;
use crate::refused::refused;

/// Lets the next changes of a table fail with an error of the target's, so many times: a sequence does not roll back.
async fn fail_changes(target: &Client, scene: &str, state: &str, times: u32) -> Result<()> {
    target
        .batch_execute(&format!(
            "CREATE SEQUENCE IF NOT EXISTS failures;
             CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF nextval('failures') <= {times} THEN
                     RAISE EXCEPTION 'made to fail' USING ERRCODE = '{state}';
                 END IF;
                 RETURN NULL;
             END $$;
             CREATE OR REPLACE TRIGGER fails AFTER INSERT OR UPDATE OR DELETE ON {scene}.t
                 FOR EACH STATEMENT EXECUTE FUNCTION fail();
             ALTER TABLE {scene}.t ENABLE ALWAYS TRIGGER fails;
             ALTER SEQUENCE failures RESTART"
        ))
        .await?;
    Ok(())
}

/// A failure to serialise, a deadlock, a statement that was cancelled or timed out, a lock that was not to be had, and
/// the server's own shutdown: all of them pass.
#[tokio::test]
async fn what_the_target_gives_up_is_tried_again() -> Result<()> {
    let scene = Scene::mysql("given_up").await?;
    scene.execute(TABLES).await?;
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    let target = scene.target().await?;
    for state in ["40001", "40P01", "57014", "55P03", "57P01"] {
        fail_changes(&target, scene.name(), state, 2).await?;
        scene.execute(transaction(3)).await?;
        arrives(&scene, &format!("after {state}")).await?;
        let failed: i64 = target.query_one("SELECT last_value FROM failures", &[]).await?.get(0);
        ensure!(failed > 2, "{state}: only {failed} attempts");
    }
    target.batch_execute(&format!("DROP TRIGGER fails ON {}.t", scene.name())).await?;
    running.interrupt().await?;
    running.finish().await?.failed(130)?;
    scene.run().succeed().await?;
    scene.require_equal().await
}

/// What does not pass by itself stops the task with the way out, and the same command goes on afterwards.
#[tokio::test]
async fn what_somebody_has_to_mend_stops_the_task() -> Result<()> {
    let scene = Scene::mysql("to_be_mended").await?;
    scene.execute(TABLES).await?;
    scene.run().succeed().await?;
    let target = scene.target().await?;
    for (state, words) in [
        ("53100", ["(SQLSTATE 53100)", "free disk space on the target"]),
        ("42501", ["(SQLSTATE 42501)", "grant the account the privilege"]),
        ("25006", ["(SQLSTATE 25006)", "the target is read-only"]),
    ] {
        fail_changes(&target, scene.name(), state, 1000).await?;
        scene.execute(transaction(4)).await?;
        refused(scene.run(), 1, &words).await?;
        target.batch_execute(&format!("DROP TRIGGER fails ON {}.t", scene.name())).await?;
        scene.run().succeed().await?;
        scene.require_equal().await?;
    }
    Ok(())
}

/// The limits that somebody set for the role or the database are not those of a migration.
#[tokio::test]
async fn limits_on_time_do_not_apply() -> Result<()> {
    let scene = Scene::mysql("limits").await?;
    scene.execute(TABLES).await?;
    let target = scene.target().await?;
    for limit in ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"] {
        target.batch_execute(&format!("ALTER DATABASE {} SET {limit} = '50ms'", scene.name())).await?;
    }
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    let holder = connect::postgres(&scene.target_url()).await?;
    holder
        .batch_execute(&format!(
            "SET idle_in_transaction_session_timeout = 0; SET lock_timeout = 0; SET statement_timeout = 0; \
             BEGIN; LOCK TABLE {}.codes IN SHARE MODE",
            scene.name()
        ))
        .await?;
    scene.execute(["UPDATE codes SET code = CONCAT(code, '!')"]).await?;
    let watcher = connect::postgres(&scene.target_url()).await?;
    watcher.batch_execute("SET statement_timeout = 0").await?;
    // One and the same statement waits for much longer than the limits.
    eventually("a statement that waits for long", async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                       AND wait_event_type = 'Lock' AND clock_timestamp() - query_start > interval '400 ms'";
        Ok((watcher.query_one(waiting, &[]).await?.get::<_, i64>(0) > 0).then_some(()))
    })
    .await?;
    holder.batch_execute("ROLLBACK").await?;
    arrives(&scene, "after the lock").await?;
    running.interrupt().await?;
    running.finish().await?.failed(130)?;
    scene.require_equal().await
}

/// The engine holds a row that somebody wants who holds a row that the engine wants, and the engine is the victim.
#[tokio::test]
async fn the_victim_of_a_deadlock_tries_again() -> Result<()> {
    let scene = Scene::mysql("deadlock").await?;
    scene
        .execute([
            "CREATE TABLE a (id INT PRIMARY KEY, n INT NOT NULL)",
            "CREATE TABLE b (id INT PRIMARY KEY, n INT NOT NULL)",
            "CREATE TABLE keyless (n INT NOT NULL, v VARCHAR(20) NULL)",
            "INSERT INTO a VALUES (1, 0)",
            "INSERT INTO b VALUES (1, 0)",
        ])
        .await?;
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    let other = scene.target().await?;
    let target = scene.target().await?;
    let lock = |table: &str| format!("SELECT 1 FROM {}.{table} WHERE id = 1 FOR UPDATE", scene.name());
    // Whoever waits for long finds the deadlock and gives up; this session does not.
    other.batch_execute(&format!("SET deadlock_timeout = '1min'; BEGIN; {}", lock("b"))).await?;
    scene.execute(["BEGIN", "UPDATE a SET n = 1", "UPDATE b SET n = 1", "COMMIT"]).await?;
    waiting_statements(&target, 1).await?;
    // If the engine applies b first it holds nothing yet, and this lock is had at once: no deadlock, nothing to see.
    other.batch_execute(&lock("a")).await?;
    other.batch_execute("COMMIT").await?;
    arrives(&scene, "after the deadlock").await?;
    running.interrupt().await?;
    running.finish().await?.failed(130)?;
    scene.require_equal().await
}

/// Somebody makes the target read-only, which does not pass by itself; once it is writable the same command goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_becomes_read_only_stops_the_task_until_it_is_not() -> Result<()> {
    let server = Builder::new(Product::Postgres15).start()?;
    let scene = Scene::new(test_kit::mysql()?, &server, "read_only").await?;
    scene.execute(TABLES).await?;
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    arrives(&scene, "before").await?;
    let administrator = connect::postgres(server.url()).await?;
    let set = async |value: &str| -> Result<()> {
        administrator.batch_execute("SET default_transaction_read_only = off").await?;
        administrator
            .batch_execute(&format!("ALTER SYSTEM SET default_transaction_read_only = {value}"))
            .await?;
        administrator.batch_execute("SELECT pg_reload_conf()").await?;
        let watcher = connect::postgres(server.url()).await?;
        eventually("the setting", async || {
            let now: String = watcher.query_one("SHOW default_transaction_read_only", &[]).await?.get(0);
            Ok((now == value).then_some(()))
        })
        .await
    };
    set("on").await?;
    scene.execute(transaction(5)).await?;
    let error = running.finish().await?.failed(1)?;
    ensure!(error.contains("read-only"), "{error}");
    refused(scene.run(), 1, &["read-only"]).await?;
    set("off").await?;
    scene.run().succeed().await?;
    scene.require_equal().await
}
