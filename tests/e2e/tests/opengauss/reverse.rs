//! The way back: applications write to openGauss, and the old `MySQL` follows.

use anyhow::{Context as _, Result, ensure};
use test_kit::opengauss::Compatibility;
use test_support::engine::Run;

use super::scene::GaussScene;

const TABLES: [&str; 6] = [
    "CREATE TABLE customers (id INT UNSIGNED PRIMARY KEY AUTO_INCREMENT, name VARCHAR(50) NOT NULL, \
     email VARCHAR(50) UNIQUE, active TINYINT(1) NOT NULL DEFAULT 1, made DATETIME(6), doc JSON, picture BLOB, \
     score DOUBLE, big BIGINT UNSIGNED, share DECIMAL(9,4))",
    "CREATE TABLE orders (shop INT NOT NULL, number BIGINT NOT NULL, customer INT UNSIGNED, total DECIMAL(12,2), \
     note TEXT, seen TIMESTAMP(3) NULL, PRIMARY KEY (shop, number), FOREIGN KEY (customer) REFERENCES customers (id))",
    "CREATE TABLE log (at INT, what VARCHAR(30))",
    "INSERT INTO customers VALUES (1, 'Ä', 'a@x', 1, '2024-02-29 23:59:59.999999', '{\"a\": [1, null]}', x'00ff', 0.1, \
     18446744073709551615, 0.25), (2, 'b', NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL)",
    "INSERT INTO orders VALUES (1, 1, 1, 9.99, 'first', '2024-01-01 00:00:00.5'), (1, 2, 2, -0.01, NULL, NULL)",
    "INSERT INTO log VALUES (1, 'a'), (1, 'a'), (NULL, NULL)",
];

fn of_task(scene: &GaussScene, command: &str) -> Run {
    let source = scene.source();
    let state = source.state_directory().display().to_string();
    Run::plain(source.directory())
        .arguments([command, "--name", scene.name(), "--source", &source.source_url()])
        .arguments(["--target", &scene.target_url(), "--state-dir", &state])
        .plugin("mysql2og")
}

fn caught_up(scene: &GaussScene) -> Run {
    of_task(scene, "reverse").arguments(["--json", "--until", "caught-up"])
}

async fn write<S: AsRef<str>>(scene: &GaussScene, statements: impl IntoIterator<Item = S>) -> Result<()> {
    let sql = scene.sql().await?;
    sql.batch_execute(&format!("SET search_path = {}", scene.name())).await?;
    for statement in statements {
        let statement = statement.as_ref();
        sql.batch_execute(statement).await.with_context(|| statement.to_owned())?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brings_back_what_applications_wrote_with_compatibility_a() -> Result<()> {
    brings_back(GaussScene::new(Compatibility::A, "og_back_a").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brings_back_what_applications_wrote_with_compatibility_pg() -> Result<()> {
    brings_back(GaussScene::new(Compatibility::Pg, "og_back_pg").await?).await
}

async fn brings_back(scene: GaussScene) -> Result<()> {
    scene.source().execute(TABLES).await?;
    scene.run().replace("--name", scene.name()).succeed().await?;
    let moved = of_task(&scene, "cutover").arguments(["--json", "--yes", "--way-back"]).succeed().await?;
    ensure!(moved.last("cut-over")?["way_back"].is_string(), "{}", moved.said());
    // Nobody follows yet: it is kept.
    write(
        &scene,
        [
            "INSERT INTO customers (id, name, email, active, made, doc, picture, score, big, share) \
             VALUES (3, 'ß😀', 'n@x', 0, '1969-12-31 00:00:00.000001', '{\"z\": 1.50}', '\\xdeadbeef', -1e300, 0, -0.25)",
            "UPDATE customers SET email = NULL, active = 5 WHERE id = 1",
            "UPDATE orders SET customer = 3, note = repeat('x', 60000) WHERE number = 1",
            "DELETE FROM log WHERE ctid = (SELECT min(ctid) FROM log WHERE at = 1)",
            "INSERT INTO log VALUES (2, 'b'), (2, 'b')",
        ],
    )
    .await?;
    caught_up(&scene).succeed().await?;
    scene.require_equal().await?;
    let mut running = of_task(&scene, "reverse").argument("--json").start()?;
    running.phase("streaming").await?;
    write(&scene, ["UPDATE orders SET total = total + 0.5", "TRUNCATE log"]).await?;
    running.kill().await?;
    write(&scene, ["INSERT INTO log SELECT g, 'after' FROM generate_series(1, 3000) g"]).await?;
    caught_up(&scene).succeed().await?;
    scene.require_equal().await?;
    of_task(&scene, "verify").arguments(["--way-back", "--json"]).succeed().await?;
    scene.source().execute(["UPDATE orders SET note = 'tampered' WHERE number = 1"]).await?;
    of_task(&scene, "verify").arguments(["--way-back", "--json"]).finish().await?.failed(4)?;
    of_task(&scene, "verify").arguments(["--way-back", "--json", "--repair"]).succeed().await?;
    scene.require_equal().await?;
    of_task(&scene, "drop").argument("--way-back").finish().await?.succeeded()?;
    let kept = "SELECT (SELECT count(*) FROM pg_replication_slots WHERE database = current_database())::text || ' ' || \
                (SELECT count(*) FROM pg_publication)::text";
    ensure!(scene.value(kept).await? == "0 0", "the target still keeps something");
    scene.close().await
}
