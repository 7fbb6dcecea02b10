//! Tables altered online, by a copy that is filled beside them and takes their name.

use std::time::Duration;

use anyhow::Result;
use e2e::{Scene, Writers, eventually};
use test_support::numbers::Numbers;

fn orders(numbers: &mut Numbers) -> Vec<String> {
    let id = numbers.below(400);
    match numbers.below(4) {
        0 => vec![format!("DELETE FROM orders WHERE id = {id}")],
        1 => vec![format!("UPDATE orders SET total = total + 1 WHERE id = {id}")],
        _ => vec![format!("REPLACE INTO orders (id, total, note) VALUES ({id}, {id}, 'written')")],
    }
}

/// As pt-online-schema-change does it: triggers carry every change over to the new table while rows are copied.
async fn altered_online(scene: Scene<'static>) -> Result<()> {
    scene
        .execute([
            "CREATE TABLE orders (id INT PRIMARY KEY, total INT NOT NULL, note VARCHAR(10), KEY (total))",
            "INSERT INTO orders SELECT n, n, 'start' FROM (SELECT a.d + 10 * b.d AS n FROM \
             (SELECT 0 d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 \
             UNION SELECT 7 UNION SELECT 8 UNION SELECT 9) a, (SELECT 0 d UNION SELECT 10 UNION SELECT 20) b) s",
        ])
        .await?;
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    let writers = Writers::start(&scene.source_url(), 2, Duration::from_millis(5), orders);
    writers.commit_more(10).await?;
    scene
        .execute([
            "CREATE TABLE _orders_new LIKE orders",
            "ALTER TABLE _orders_new ADD COLUMN state VARCHAR(8) NOT NULL DEFAULT 'open', MODIFY total BIGINT NOT NULL",
            "CREATE TRIGGER d AFTER DELETE ON orders FOR EACH ROW DELETE IGNORE FROM _orders_new WHERE id <=> OLD.id",
            "CREATE TRIGGER u AFTER UPDATE ON orders FOR EACH ROW REPLACE INTO _orders_new (id, total, note) \
             VALUES (NEW.id, NEW.total, NEW.note)",
            "CREATE TRIGGER i AFTER INSERT ON orders FOR EACH ROW REPLACE INTO _orders_new (id, total, note) \
             VALUES (NEW.id, NEW.total, NEW.note)",
            "INSERT IGNORE INTO _orders_new (id, total, note) SELECT id, total, note FROM orders WHERE id < 200 \
             LOCK IN SHARE MODE",
            "INSERT IGNORE INTO _orders_new (id, total, note) SELECT id, total, note FROM orders WHERE id >= 200 \
             LOCK IN SHARE MODE",
        ])
        .await?;
    writers.commit_more(20).await?;
    running.kill().await?;
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    scene.execute(["RENAME TABLE orders TO _orders_old, _orders_new TO orders"]).await?;
    writers.commit_more(20).await?;
    scene.execute(["DROP TABLE IF EXISTS _orders_old"]).await?;
    writers.commit_more(5).await?;
    let gone = format!(
        "SELECT count(*)::text FROM information_schema.tables WHERE table_schema = '{}' AND table_name LIKE '\\_orders%'",
        scene.name()
    );
    eventually("the old table's end", async || Ok((scene.value(&gone).await? == "0").then_some(()))).await?;
    running.kill().await?;
    writers.stop().await?;
    scene.run().succeed().await?;
    scene.require_equal().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn altered_online_on_mysql() -> Result<()> {
    altered_online(Scene::mysql("ddl_online_mysql").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn altered_online_on_mariadb() -> Result<()> {
    altered_online(Scene::mariadb("ddl_online_mariadb").await?).await
}
