//! What changes in `PostgreSQL` beside rows: columns that are added, and tables that are emptied.

use anyhow::{Context as _, Result, ensure};
use e2e::Scene;

use super::{caught_up, give_up, moved_over, reverse, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_that_are_added_stay_behind() -> Result<()> {
    let scene = Scene::mysql("reverse_added").await?;
    moved_over(&scene).await?;
    // The log begins before the column, and the first run after it.
    write(
        &scene,
        [
            "INSERT INTO log VALUES (1, 'before'), (2, 'before')",
            "TRUNCATE orders",
            "ALTER TABLE log ADD more text DEFAULT 'x'",
            "INSERT INTO log VALUES (2, 'after', 'y')",
            "UPDATE log SET more = 'z' WHERE at = 1",
            "DELETE FROM log WHERE at = 2 AND what = 'before'",
        ],
    )
    .await?;
    caught_up(&scene).succeed().await?;
    scene.require_equal().await?;
    let mut running = reverse(&scene).start()?;
    running.phase("streaming").await?;
    write(
        &scene,
        [
            // Behind rows of another table.
            "BEGIN; INSERT INTO customers (id, name) VALUES (50, 'between'); ALTER TABLE orders ADD further integer; \
             INSERT INTO orders (shop, number, further) VALUES (5, 5, 5); COMMIT",
            "ALTER TABLE customers ADD since timestamptz DEFAULT clock_timestamp()",
            "INSERT INTO orders (shop, number, further) VALUES (6, 6, 6)",
            "UPDATE customers SET since = NULL, name = 'later' WHERE id = 50",
            "ALTER TABLE log DROP more",
            "INSERT INTO log VALUES (3, 'last')",
        ],
    )
    .await?;
    running.interrupt().await?;
    running.finish().await?.failed(130)?;
    caught_up(&scene).succeed().await?;
    scene.require_equal().await?;
    // Of another type values may have become others, which somebody has to look at.
    write(&scene, ["ALTER TABLE log ALTER at TYPE bigint", "INSERT INTO log VALUES (4, 'wider')"]).await?;
    let error = caught_up(&scene).fail().await?;
    ensure!(error.contains("its type was changed"), "{error}");
    let (_, rest) = error.split_once("--structure-by-hand ").with_context(|| error.clone())?;
    let token: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
    caught_up(&scene).arguments(["--structure-by-hand", &token]).succeed().await?;
    scene.require_equal().await?;
    give_up(&scene).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_are_emptied_amid_rows() -> Result<()> {
    let scene = Scene::mysql("reverse_emptied").await?;
    moved_over(&scene).await?;
    caught_up(&scene).succeed().await?;
    write(
        &scene,
        [
            "INSERT INTO log SELECT g, 'old' FROM generate_series(1, 500) g",
            // Rows before it and after it, of the same table and of others.
            "BEGIN; INSERT INTO log VALUES (1, 'goes'); UPDATE orders SET total = 7; TRUNCATE log; \
             INSERT INTO log VALUES (2, 'stays'), (2, 'stays'); DELETE FROM orders WHERE number = 2; COMMIT",
            "INSERT INTO log VALUES (3, 'after')",
            // Empty first.
            "BEGIN; TRUNCATE log, orders; INSERT INTO log SELECT g, 'new' FROM generate_series(1, 200) g; \
             INSERT INTO orders (shop, number) VALUES (1, 1), (1, 2); COMMIT",
            // Twice, and last.
            "BEGIN; TRUNCATE log; INSERT INTO log VALUES (4, 'goes'); TRUNCATE log; INSERT INTO log VALUES (5, 'five'); \
             UPDATE orders SET note = 'x'; TRUNCATE orders; COMMIT",
            "BEGIN; INSERT INTO log VALUES (6, 'goes'); SAVEPOINT a; TRUNCATE log; ROLLBACK TO a; INSERT INTO log VALUES (7, 'seven'); \
             COMMIT",
            // Too large for one piece.
            "BEGIN; INSERT INTO orders SELECT 7, g, NULL, 1, repeat(md5(g::text), 300), NULL FROM generate_series(1, 900) g; \
             INSERT INTO log VALUES (8, 'eight'); TRUNCATE orders; INSERT INTO orders (shop, number) VALUES (8, 8); COMMIT",
        ],
    )
    .await?;
    caught_up(&scene).succeed().await?;
    scene.require_equal().await?;
    // Killed again and again, it does not empty what has come since.
    let running = reverse(&scene).start()?;
    for number in 0..6 {
        write(
            &scene,
            [
                format!("BEGIN; INSERT INTO log VALUES ({number}, 'a'); TRUNCATE log; INSERT INTO log VALUES ({number}, 'b'); COMMIT"),
                format!("INSERT INTO log SELECT g, 'c{number}' FROM generate_series(1, 50) g"),
            ],
        )
        .await?;
    }
    running.kill().await?;
    caught_up(&scene).succeed().await?;
    scene.require_equal().await?;
    give_up(&scene).await
}
