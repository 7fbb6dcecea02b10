//! The way back: applications write to openGauss, and the old `MySQL` follows.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use test_kit::opengauss::{Compatibility, url};
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

/// A task there whose way back is decoded in some way.
struct Back {
    scene: GaussScene,
    decoding: &'static str,
}

impl Back {
    fn of_task(&self, command: &str) -> Run {
        let source = self.scene.source();
        let state = source.state_directory().display().to_string();
        let target = url::with_options(&self.scene.target_url(), &format!("decoding={}", self.decoding));
        Run::plain(source.directory())
            .arguments([command, "--name", self.scene.name(), "--source", &source.source_url()])
            .arguments(["--target", &target, "--state-dir", &state])
            .plugin("mysql2og")
    }

    fn caught_up(&self) -> Run {
        self.of_task("reverse").arguments(["--json", "--until", "caught-up"])
    }

    async fn write<S: AsRef<str>>(&self, statements: impl IntoIterator<Item = S>) -> Result<()> {
        let sql = self.scene.sql().await?;
        sql.batch_execute(&format!("SET search_path = {}", self.scene.name())).await?;
        for statement in statements {
            let statement = statement.as_ref();
            sql.batch_execute(statement).await.with_context(|| statement.to_owned())?;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brings_back_what_applications_wrote_with_compatibility_a() -> Result<()> {
    brings_back(GaussScene::new(Compatibility::A, "og_back_a").await?, "pgoutput").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brings_back_what_applications_wrote_with_compatibility_pg() -> Result<()> {
    brings_back(GaussScene::new(Compatibility::Pg, "og_back_pg").await?, "pgoutput").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brings_back_what_the_serial_decoding_says() -> Result<()> {
    brings_back(GaussScene::new(Compatibility::A, "og_back_serial").await?, "mppdb-serial").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brings_back_what_a_parallel_decoding_says() -> Result<()> {
    brings_back(GaussScene::new(Compatibility::B, "og_back_parallel").await?, "mppdb-parallel").await
}

/// What a decoding can't say keeps a task from being cut over with a way back, not from being cut over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_way_back_that_could_not_be_decoded_is_refused_by_the_cut_over() -> Result<()> {
    let back = Back {
        scene: GaussScene::with_dolphin("og_back_refused").await?,
        decoding: "mppdb-parallel&decode-style=json",
    };
    if !back.scene.is_double() {
        // Whether the server has dolphin is its own matter.
        return back.scene.close().await;
    }
    back.scene.source().execute(["CREATE TABLE t (id INT PRIMARY KEY, active TINYINT(1))"]).await?;
    let config = || json!({ "mysql2og": { "tinyint1": "boolean" } });
    back.scene.run().replace("--name", back.scene.name()).config(config()).succeed().await?;
    let cutover = || back.of_task("cutover").arguments(["--json", "--yes"]).config(config());
    let error = cutover().argument("--way-back").fail().await?;
    for word in ["false for every boolean", "t.active", "decode-style=binary"] {
        ensure!(error.contains(word), "{error}");
    }
    cutover().succeed().await?;
    back.scene.close().await
}

async fn brings_back(scene: GaussScene, decoding: &'static str) -> Result<()> {
    let back = Back { scene, decoding };
    let scene = &back.scene;
    // A parallel decoding does not say it.
    let emptied = if decoding == "mppdb-parallel" { "DELETE FROM log" } else { "TRUNCATE log" };
    scene.source().execute(TABLES).await?;
    scene.run().replace("--name", scene.name()).succeed().await?;
    let moved = back.of_task("cutover").arguments(["--json", "--yes", "--way-back"]).succeed().await?;
    ensure!(moved.last("cut-over")?["way_back"].is_string(), "{}", moved.said());
    // Nobody follows yet: it is kept.
    back.write(
        [
            "INSERT INTO customers (id, name, email, active, made, doc, picture, score, big, share) \
             VALUES (3, 'ß😀', 'n@x', 0, '1969-12-31 00:00:00.000001', '{\"z\": 1.50}', '\\xdeadbeef', -1e300, 0, -0.25)",
            "UPDATE customers SET email = NULL, active = 5 WHERE id = 1",
            "UPDATE orders SET customer = 3, note = repeat('x', 60000) WHERE number = 1",
            "DELETE FROM log WHERE ctid = (SELECT ctid FROM log WHERE at = 1 LIMIT 1)",
            "INSERT INTO log VALUES (2, 'b'), (2, 'b')",
        ],
    )
    .await?;
    back.caught_up().succeed().await?;
    scene.require_equal().await?;
    let mut running = back.of_task("reverse").argument("--json").start()?;
    running.phase("streaming").await?;
    back.write(["UPDATE orders SET total = total + 0.5", emptied]).await?;
    running.kill().await?;
    back.write(["INSERT INTO log SELECT g, 'after' FROM generate_series(1, 3000) g"]).await?;
    back.caught_up().succeed().await?;
    scene.require_equal().await?;
    back.of_task("verify").arguments(["--way-back", "--json"]).succeed().await?;
    scene.source().execute(["UPDATE orders SET note = 'tampered' WHERE number = 1"]).await?;
    back.of_task("verify").arguments(["--way-back", "--json"]).finish().await?.failed(4)?;
    back.of_task("verify").arguments(["--way-back", "--json", "--repair"]).succeed().await?;
    scene.require_equal().await?;
    back.of_task("drop").argument("--way-back").finish().await?.succeeded()?;
    let kept = "SELECT (SELECT count(*) FROM pg_replication_slots WHERE database = current_database())::text || ' ' || \
                ((SELECT count(*) FROM pg_publication) + (SELECT count(*) FROM pg_class WHERE relname = 'heartbeat'))::text";
    ensure!(scene.value(kept).await? == "0 0", "the target still keeps something");
    back.scene.close().await
}
