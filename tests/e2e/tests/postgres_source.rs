//! `PostgreSQL` as the source of a task, with applications that never stop writing.

mod application;
mod in_progress;
mod partitioned;
mod structure;

use anyhow::{Context as _, Result, ensure};
use e2e::Scene;
use test_support::engine::Run;

use crate::applications::Applications;
use crate::refused::refused;

/// Rows of the table that is copied in several chunks.
const ROWS: u64 = 120_000;
/// Transactions between two kills.
const BETWEEN: u64 = 60;

/// The tables that [`Applications`] write to, one without a key among them, in the scene's schema.
async fn fill(scene: &Scene<'_>) -> Result<()> {
    let target = scene.target().await?;
    let name = scene.name();
    target
        .batch_execute(&format!(
            "CREATE SCHEMA {name}; SET search_path = {name}; \
             CREATE TABLE customers (id bigint PRIMARY KEY, name varchar(50) NOT NULL, email varchar(50) UNIQUE, \
                 active smallint, made timestamp(6), doc jsonb, picture bytea, score float8); \
             CREATE TABLE orders (shop integer, number bigint, customer bigint, total numeric(12,2), note text, \
                 seen timestamp(3), PRIMARY KEY (shop, number)); \
             CREATE TABLE log (at integer, what varchar(30)); \
             INSERT INTO customers SELECT g, 'c' || g, 'mail' || g || '@x', g % 2, now(), '{{}}', '\\x00', g / 3.0 \
                 FROM generate_series(1, 50) g; \
             INSERT INTO orders SELECT 9, g, g % 7, g / 100.0, repeat(md5(g::text), 8), now() \
                 FROM generate_series(1, {ROWS}) g; \
             INSERT INTO log SELECT g % 50, 'l' || g % 9 FROM generate_series(1, 5000) g; \
             ALTER TABLE customers REPLICA IDENTITY FULL; ALTER TABLE orders REPLICA IDENTITY FULL; \
             ALTER TABLE log REPLICA IDENTITY FULL"
        ))
        .await?;
    Ok(())
}

/// `engine run` from the scene's `PostgreSQL` to its `MySQL`.
fn follow(scene: &Scene<'_>) -> Run {
    of_task(scene, "run").argument("--json")
}

fn of_task(scene: &Scene<'_>, command: &str) -> Run {
    let state = scene.state_directory().display().to_string();
    Run::plain(scene.directory())
        .arguments([command, "--name", scene.name(), "--source", &scene.target_url()])
        .arguments(["--target", &scene.source_server().url_of("")])
        .arguments(["--include", &format!("{}.*", scene.name()), "--state-dir", &state])
        .plugin("og2mysql")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn is_copied_and_followed_under_fire_to_mysql() -> Result<()> {
    under_fire(Scene::mysql("from_postgres").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn is_copied_and_followed_under_fire_to_mariadb() -> Result<()> {
    under_fire(Scene::mariadb("from_postgres_too").await?).await
}

async fn under_fire(scene: Scene<'_>) -> Result<()> {
    fill(&scene).await?;
    let applications = Applications::start(&scene, 3);
    applications.commit_more(BETWEEN).await?;
    let slow = |run: Run| run.arguments(["--accept-warnings", "--max-rows-per-second", "40000"]);
    for phase in ["snapshot", "snapshot", "catch-up", "streaming"] {
        let mut running = slow(follow(&scene)).start()?;
        running.phase(phase).await?;
        applications.commit_more(BETWEEN).await?;
        running.kill().await?;
    }
    let mut running = slow(follow(&scene)).argument("--check-changes").start()?;
    running.phase("streaming").await?;
    applications.commit_more(BETWEEN).await?;
    of_task(&scene, "verify").argument("--json").succeed().await?;
    let committed = applications.stop().await?;
    running.interrupt().await?;
    running.finish().await?.failed(130)?;
    follow(&scene).arguments(["--until", "caught-up"]).succeed().await?;
    scene.require_equal().await?;
    ensure!(committed > 5 * BETWEEN, "only {committed} transactions");
    of_task(&scene, "drop").finish().await?.succeeded()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_can_not_be_followed_is_refused_before_anything_is_written() -> Result<()> {
    let scene = Scene::mysql("from_postgres_refused").await?;
    fill(&scene).await?;
    let source = scene.target().await?;
    source.batch_execute(&format!("ALTER TABLE {}.orders REPLICA IDENTITY DEFAULT", scene.name())).await?;
    refused(follow(&scene), 1, &["orders", "REPLICA IDENTITY FULL"]).await?;
    let slots = "SELECT count(*)::text FROM pg_replication_slots WHERE database = current_database()";
    ensure!(scene.value(slots).await? == "0", "a slot was made");
    // What only the plan shows is refused after the log has begun to be kept, which it is not any longer then.
    source.batch_execute(&format!("ALTER TABLE {}.orders REPLICA IDENTITY FULL", scene.name())).await?;
    let other = follow(&scene).argument("--accept-warnings").without_plugins().plugin("mysql2mysql");
    refused(other, 1, &["customers", "no exact conversion"]).await?;
    ensure!(scene.value(slots).await? == "0", "a slot is left");
    source
        .batch_execute("DROP ROLE IF EXISTS e2e_reader; CREATE ROLE e2e_reader LOGIN PASSWORD 'reader'")
        .await?;
    let server = scene.target_server();
    let url = format!("postgres://e2e_reader:reader@{}:{}/{}", server.host(), server.port(), scene.name());
    refused(follow(&scene).replace("--source", url), 1, &["REPLICATION"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hard_cases_of_its_log() -> Result<()> {
    let scene = Scene::mysql("from_postgres_hard").await?;
    fill(&scene).await?;
    let caught_up = || follow(&scene).arguments(["--accept-warnings", "--until", "caught-up"]);
    caught_up().succeed().await?;
    let source = scene.target().await?;
    source
        .batch_execute(&format!("SET search_path = {}; SET logical_decoding_work_mem = '64kB'", scene.name()))
        .await?;
    for statement in [
        // Out of line: too long, and not to be compressed.
        "UPDATE orders SET note = (SELECT string_agg(md5(g::text || number), '') FROM generate_series(1, 400) g) \
         WHERE shop = 9 AND number <= 40",
        "UPDATE orders SET total = -1 WHERE shop = 9 AND number <= 20",
        "UPDATE orders SET number = -number WHERE shop = 9 AND number BETWEEN 10 AND 30",
        "BEGIN; INSERT INTO orders SELECT 8, 1, NULL, 1, string_agg(md5(g::text), ''), NULL FROM generate_series(1, 900) g; \
         UPDATE orders SET total = 2 WHERE shop = 8; UPDATE orders SET number = 2, seen = now() WHERE shop = 8; COMMIT",
        // More than fits the memory of its decoding, with parts that are rolled back.
        "BEGIN; UPDATE orders SET total = total + 1 WHERE shop = 9; SAVEPOINT a; DELETE FROM orders WHERE number < 60000; \
         ROLLBACK TO a; SAVEPOINT b; DELETE FROM orders WHERE number > 119000; SAVEPOINT c; \
         UPDATE customers SET email = NULL; RELEASE b; COMMIT",
        "BEGIN; INSERT INTO customers (id, name) VALUES (900, 'prepared'); UPDATE log SET what = 'two' WHERE at = 1; \
         PREPARE TRANSACTION 'e2e_two_phases'",
        "INSERT INTO customers (id, name) VALUES (901, 'meanwhile')",
        "COMMIT PREPARED 'e2e_two_phases'",
        "BEGIN; INSERT INTO log VALUES (77, 'gone'); PREPARE TRANSACTION 'e2e_given_up'",
        "ROLLBACK PREPARED 'e2e_given_up'",
        "TRUNCATE log, customers CASCADE",
        "INSERT INTO log VALUES (1, 'after')",
        "SELECT pg_logical_emit_message(true, 'somebody', 'says'), pg_logical_emit_message(false, 'somebody', 'says')",
    ] {
        source.batch_execute(statement).await.with_context(|| statement.to_owned())?;
    }
    caught_up().succeed().await?;
    scene.require_equal().await?;
    refused(
        of_task(&scene, "cutover").arguments(["--json", "--yes", "--way-back"]),
        1,
        &["no way back into this source"],
    )
    .await?;
    // Once it is cut over, the source keeps nothing for it.
    of_task(&scene, "cutover").arguments(["--json", "--yes"]).succeed().await?;
    let slots = "SELECT count(*)::text FROM pg_replication_slots WHERE database = current_database()";
    ensure!(scene.value(slots).await? == "0", "the slot is there still");
    scene.require_equal().await
}
