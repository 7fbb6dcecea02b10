//! The way back: applications write to what was the target, and the old source follows.

mod failpoints;
mod field;
mod refused;
mod structure;
mod under_fire;

use anyhow::{Context, Result, ensure};
use e2e::Scene;
use mysql_async::prelude::Queryable as _;
use test_support::engine::{Outcome, Run};

/// Tables with keys of every kind, and types that look otherwise on either side.
const TABLES: [&str; 3] = [
    "CREATE TABLE customers (id INT UNSIGNED PRIMARY KEY AUTO_INCREMENT, name VARCHAR(50) NOT NULL, \
     email VARCHAR(50) UNIQUE, born DATE, active TINYINT(1) NOT NULL DEFAULT 1, \
     made DATETIME(6) DEFAULT CURRENT_TIMESTAMP(6), doc JSON, picture BLOB, mood ENUM('good', 'bad'), \
     score DOUBLE, big BIGINT UNSIGNED, clock TIME(3), year YEAR, bits BIT(12), hash BINARY(4))",
    "CREATE TABLE orders (shop INT NOT NULL, number BIGINT NOT NULL, customer INT UNSIGNED, total DECIMAL(12,2), \
     note TEXT, seen TIMESTAMP(3) NULL, PRIMARY KEY (shop, number), FOREIGN KEY (customer) REFERENCES customers (id))",
    "CREATE TABLE log (at INT, what VARCHAR(30))",
];

const ROWS: [&str; 3] = [
    "INSERT INTO customers (id, name, email, born, doc, picture, mood, score, big, clock, year, bits, hash) VALUES \
     (1, 'Ä', 'a@x', '2000-02-29', '{\"a\": [1, null]}', x'00ff', 'good', 0.1, 18446744073709551615, '-12:34:56.789', \
      1999, b'101', x'01020304'), \
     (2, 'b', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
    "INSERT INTO orders VALUES (1, 1, 1, 9.99, 'first', '2024-01-01 00:00:00.5'), (1, 2, 2, -0.01, NULL, NULL)",
    "INSERT INTO log VALUES (1, 'a'), (1, 'a'), (NULL, NULL)",
];

/// What is added to every command: the two databases, the task, and where its state is.
fn of_task(scene: &Scene<'_>, command: &str) -> Run {
    let state = scene.state_directory().display().to_string();
    Run::plain(scene.directory())
        .arguments([
            command,
            "--name",
            scene.name(),
            "--source",
            &scene.source_url(),
            "--target",
            &scene.target_url(),
        ])
        .arguments(["--state-dir", &state])
        .plugin("mysql2og")
}

/// `engine run`. The way back is recorded on a server that the tests share, so that the task needs a name of its own.
fn forward(scene: &Scene<'_>) -> Run {
    scene.run().replace("--name", scene.name())
}

fn reverse(scene: &Scene<'_>) -> Run {
    of_task(scene, "reverse").argument("--json")
}

fn caught_up(scene: &Scene<'_>) -> Run {
    reverse(scene).arguments(["--until", "caught-up"])
}

/// Moves the scene's tables over, with a way back.
async fn moved_over(scene: &Scene<'_>) -> Result<Outcome> {
    scene.execute(TABLES).await?;
    scene.execute(ROWS).await?;
    forward(scene).succeed().await?;
    of_task(scene, "cutover").arguments(["--json", "--yes", "--way-back"]).succeed().await
}

/// Gives the way back up. The target's database could not be dropped otherwise.
async fn give_up(scene: &Scene<'_>) -> Result<()> {
    of_task(scene, "drop").argument("--way-back").finish().await?.succeeded()?;
    let kept = format!(
        "SELECT (SELECT count(*) FROM pg_replication_slots WHERE database = '{}')::text || ' ' || \
         (SELECT count(*) FROM pg_publication)::text",
        scene.name()
    );
    ensure!(scene.value(&kept).await? == "0 0", "the target still keeps something");
    Ok(())
}

async fn write<S: AsRef<str>>(scene: &Scene<'_>, statements: impl IntoIterator<Item = S>) -> Result<()> {
    let target = scene.target().await?;
    target.batch_execute(&format!("SET search_path = {}", scene.name())).await?;
    for statement in statements {
        let statement = statement.as_ref();
        target.batch_execute(statement).await.with_context(|| format!("on the target: {statement}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brings_back_what_applications_wrote_mysql() -> Result<()> {
    brings_back(Scene::mysql("reverse_mysql").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brings_back_what_applications_wrote_mariadb() -> Result<()> {
    brings_back(Scene::mariadb("reverse_mariadb").await?).await
}

async fn brings_back(scene: Scene<'_>) -> Result<()> {
    let moved = moved_over(&scene).await?;
    ensure!(moved.last("cut-over")?["way_back"].is_string(), "{}", moved.said());
    // Nobody follows yet: it is kept.
    write(
        &scene,
        [
            "INSERT INTO customers (id, name, email, born, active, made, doc, picture, mood, score, big, clock, year, bits, hash) \
             SELECT 3, 'ß😀', 'n@x', '1969-12-31', 0, '2024-02-29 23:59:59.999999', '{\"z\": 1.50}', '\\xdeadbeef', 'bad', \
             -1e300, 0, clock, 2155, bits, '\\xffffffff' FROM customers WHERE id = 1",
            "UPDATE customers SET name = 'A', email = 'b@x', active = 5, picture = '' WHERE id = 1",
            "UPDATE orders SET customer = 3, note = repeat('x', 60000) WHERE number = 1",
            "DELETE FROM customers WHERE id = 2 AND NOT EXISTS (SELECT 1 FROM orders WHERE customer = 2)",
            "DELETE FROM log WHERE ctid = (SELECT min(ctid) FROM log WHERE at = 1)",
            "INSERT INTO log VALUES (2, 'b'), (2, 'b')",
        ],
    )
    .await?;
    caught_up(&scene).succeed().await?;
    scene.require_equal().await?;

    // Keys that swap, a value that is not touched and is out of line, and a table that is emptied.
    write(
        &scene,
        [
            "BEGIN; UPDATE customers SET email = NULL WHERE id = 1; UPDATE customers SET email = 'b@x' WHERE id = 3; \
             UPDATE customers SET email = 'n@x' WHERE id = 1; COMMIT",
            "UPDATE orders SET total = total + 1",
            "BEGIN; UPDATE orders SET number = -1 WHERE number = 1; UPDATE orders SET number = 1 WHERE number = 2; COMMIT",
            "TRUNCATE log",
            "INSERT INTO log SELECT g, 'after' FROM generate_series(1, 3000) g",
        ],
    )
    .await?;
    let mut running = reverse(&scene).start()?;
    running.phase("streaming").await?;
    write(&scene, ["DELETE FROM log WHERE at % 2 = 0", "UPDATE log SET what = 'late' WHERE at < 10"]).await?;
    running.interrupt().await?;
    running.finish().await?.failed(130)?;
    caught_up(&scene).succeed().await?;
    scene.require_equal().await?;

    of_task(&scene, "verify")
        .arguments(["--way-back", "--json"])
        .succeed()
        .await
        .context("both sides are equal")?;
    // What is wrong is found.
    scene.execute(["UPDATE orders SET note = 'tampered' WHERE number = 1"]).await?;
    of_task(&scene, "verify").arguments(["--way-back", "--json"]).finish().await?.failed(4)?;
    of_task(&scene, "verify").arguments(["--way-back", "--json", "--repair"]).succeed().await?;
    scene.require_equal().await?;
    give_up(&scene).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_round_trip_has_a_way_back_of_its_own() -> Result<()> {
    let scene = Scene::mysql("reverse_twice").await?;
    moved_over(&scene).await?;
    write(&scene, ["INSERT INTO log VALUES (7, 'first')"]).await?;
    caught_up(&scene).succeed().await?;
    scene.require_equal().await?;
    give_up(&scene).await?;

    // Over to a fresh target again, under the same name.
    let target = scene.target().await?;
    target
        .batch_execute(&format!("DROP SCHEMA {} CASCADE; DROP SCHEMA _migration CASCADE", scene.name()))
        .await?;
    std::fs::remove_dir_all(scene.state_directory())?;
    forward(&scene).succeed().await?;
    of_task(&scene, "cutover").arguments(["--json", "--yes", "--way-back"]).succeed().await?;
    write(&scene, ["INSERT INTO log VALUES (8, 'second')"]).await?;
    caught_up(&scene).succeed().await?;
    scene.require_equal().await?;
    let mut source = scene.source().await?;
    let logged: Option<u64> = source.query_first("SELECT COUNT(*) FROM log WHERE at IN (7, 8)").await?;
    ensure!(logged == Some(2), "{logged:?}");
    source.disconnect().await?;
    give_up(&scene).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_were_partitioned_in_the_new_database() -> Result<()> {
    let scene = Scene::mysql("reverse_partitioned").await?;
    scene.execute(TABLES).await?;
    scene.execute(ROWS).await?;
    forward(&scene).succeed().await?;
    write(
        &scene,
        ["BEGIN; ALTER TABLE orders RENAME TO orders_early; \
             CREATE TABLE orders (LIKE orders_early INCLUDING ALL) PARTITION BY RANGE (shop); \
             ALTER TABLE orders ATTACH PARTITION orders_early FOR VALUES FROM (MINVALUE) TO (5); \
             CREATE TABLE orders_late PARTITION OF orders DEFAULT; \
             ALTER TABLE orders ADD FOREIGN KEY (customer) REFERENCES customers (id); COMMIT"],
    )
    .await?;
    of_task(&scene, "cutover").arguments(["--json", "--yes", "--way-back"]).succeed().await?;
    write(
        &scene,
        [
            "INSERT INTO orders (shop, number, note) SELECT g % 9, 10 + g, repeat('x', 60000) FROM generate_series(1, 30) g",
            "UPDATE orders SET shop = 9 - shop WHERE number > 30",
            "DELETE FROM orders WHERE number = 20",
        ],
    )
    .await?;
    caught_up(&scene).succeed().await?;
    scene.require_equal().await?;
    of_task(&scene, "verify").arguments(["--way-back", "--json"]).succeed().await?;
    write(&scene, ["ALTER TABLE orders DETACH PARTITION orders_early"]).await?;
    crate::refused::refused(caught_up(&scene), 1, &["detached or dropped", "orders_early", "another --name"])
        .await?;
    give_up(&scene).await
}
