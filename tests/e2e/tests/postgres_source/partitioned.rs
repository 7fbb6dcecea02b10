//! Tables in partitions, each with a replica identity of its own, that come and go.

use anyhow::{Context as _, Result, ensure};
use e2e::{Scene, eventually};
use mysql_async::prelude::Queryable as _;
use test_kit::Product;
use tokio_postgres::error::SqlState;

use super::{follow, of_task};
use crate::applications::Applications;
use crate::refused::refused;

/// Transactions between two kills.
const BETWEEN: u64 = 60;

/// Has every partition log whole rows.
const FULL: &str = "DO $$ DECLARE leaf regclass; BEGIN FOR leaf IN SELECT c.oid FROM pg_class c \
    WHERE c.relkind = 'r' AND c.relreplident <> 'f' AND c.relnamespace = current_schema()::regnamespace \
    LOOP EXECUTE format('ALTER TABLE %s REPLICA IDENTITY FULL', leaf); END LOOP; END $$";

/// Runs statements, each with the scene's schema in its path.
async fn write<S: AsRef<str>>(scene: &Scene<'_>, statements: impl IntoIterator<Item = S>) -> Result<()> {
    let source = scene.target().await?;
    source.batch_execute(&format!("SET search_path = {}", scene.name())).await?;
    for statement in statements {
        let statement = statement.as_ref();
        // Applications may be writing to the same rows.
        while let Err(error) = source.batch_execute(statement).await {
            ensure!(error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED), "{statement}: {error:?}");
            source.batch_execute("ROLLBACK").await?;
        }
    }
    Ok(())
}

/// The tables that [`Applications`] write to: by key in levels of partitions, one of which has its columns in another
/// order; by hash without a key; and whole.
async fn fill(scene: &Scene<'_>, rows: u64) -> Result<()> {
    write(scene, [&format!("CREATE SCHEMA {}", scene.name())]).await?;
    write(
        scene,
        [
            "CREATE TABLE customers (id bigint PRIMARY KEY, name varchar(50) NOT NULL, email varchar(50) UNIQUE, \
             active smallint, made timestamp(6), doc jsonb, picture bytea, score float8)",
            "CREATE TABLE orders (shop integer, number bigint, customer bigint, total numeric(12,2), note text, \
             seen timestamp(3), PRIMARY KEY (shop, number)) PARTITION BY LIST (shop)",
            "CREATE TABLE orders_0 (seen timestamp(3), junk integer, note text, total numeric(12,2), shop integer NOT NULL, \
             number bigint NOT NULL, customer bigint)",
            "ALTER TABLE orders_0 DROP junk",
            "ALTER TABLE orders ATTACH PARTITION orders_0 FOR VALUES IN (0)",
            "CREATE TABLE orders_1 PARTITION OF orders FOR VALUES IN (1) PARTITION BY RANGE (number)",
            "CREATE TABLE orders_1_low PARTITION OF orders_1 FOR VALUES FROM (MINVALUE) TO (20)",
            "CREATE TABLE orders_1_high PARTITION OF orders_1 DEFAULT",
            "CREATE TABLE orders_else PARTITION OF orders DEFAULT",
            "CREATE TABLE log (at integer, what varchar(30)) PARTITION BY HASH (at)",
            "CREATE TABLE log_0 PARTITION OF log FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
            "CREATE TABLE log_1 PARTITION OF log FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
            FULL,
            &format!(
                "INSERT INTO orders SELECT g % 4, 1000 + g, g % 7, g / 100.0, repeat(md5(g::text), 8), now() \
                 FROM generate_series(1, {rows}) g"
            ),
            "INSERT INTO log SELECT g % 50, 'l' || g % 9 FROM generate_series(1, 2000) g",
        ],
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn are_copied_and_followed_under_fire_from_15() -> Result<()> {
    under_fire(Scene::mysql("from_partitions").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn are_copied_and_followed_under_fire_from_18() -> Result<()> {
    let postgres = test_kit::shared(Product::Postgres18)?;
    under_fire(Scene::new(test_kit::mysql()?, postgres, "from_partitions_too").await?).await
}

async fn under_fire(scene: Scene<'_>) -> Result<()> {
    fill(&scene, 40_000).await?;
    let applications = Applications::start(&scene, 3);
    applications.commit_more(BETWEEN).await?;
    let slow = |run| follow(&scene).arguments(["--accept-warnings", "--max-rows-per-second", run]);
    for phase in ["snapshot", "catch-up", "streaming"] {
        let mut running = slow("20000").start()?;
        running.phase(phase).await?;
        applications.commit_more(BETWEEN).await?;
        running.kill().await?;
    }
    let mut running = slow("20000").argument("--check-changes").start()?;
    running.phase("streaming").await?;
    // Partitions that are made meanwhile: with rows at once, and attached empty, in another order.
    write(
        &scene,
        [
            "BEGIN; CREATE TABLE orders_7 PARTITION OF orders FOR VALUES IN (7); ALTER TABLE orders_7 REPLICA IDENTITY FULL; \
             INSERT INTO orders SELECT 7, g, g FROM generate_series(1, 50) g; COMMIT",
            "UPDATE orders SET shop = 1, number = -number WHERE shop = 7 AND number < 25",
            "BEGIN; CREATE TABLE orders_8 (note text, number bigint NOT NULL, shop integer NOT NULL, seen timestamp(3), \
             total numeric(12,2), customer bigint); ALTER TABLE orders_8 REPLICA IDENTITY FULL; \
             ALTER TABLE orders ATTACH PARTITION orders_8 FOR VALUES IN (8); COMMIT",
        ],
    )
    .await?;
    applications.commit_more(BETWEEN).await?;
    let noted = "SELECT obj_description(oid, 'pg_publication') FROM pg_publication";
    let number = format!("SELECT ' p:' || '{}.orders_8'::regclass::oid || ':'", scene.name());
    let number = scene.value(&number).await?;
    eventually("the new partition to be noted", async || {
        Ok(scene.value(noted).await?.contains(&number).then_some(()))
    })
    .await?;
    write(&scene, ["INSERT INTO orders SELECT 8, g, g FROM generate_series(1, 50) g"]).await?;
    let verified = of_task(&scene, "verify").argument("--json").finish().await?;
    applications.stop().await?;
    running.kill().await?;
    follow(&scene).arguments(["--until", "caught-up"]).succeed().await?;
    scene.require_equal().await?;
    verified.succeeded().map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_hard_cases_of_the_log() -> Result<()> {
    let scene = Scene::mysql("from_partitions_hard").await?;
    fill(&scene, 400).await?;
    let caught_up = || follow(&scene).arguments(["--accept-warnings", "--until", "caught-up"]);
    caught_up().succeed().await?;
    for statements in [
        &[
            // Out of line, then moved from one partition to another without being touched.
            "UPDATE orders SET note = (SELECT string_agg(md5(g::text || number), '') FROM generate_series(1, 400) g) \
             WHERE number < 1040",
            "UPDATE orders SET shop = (shop + 1) % 4 WHERE number < 1100",
            "UPDATE orders SET number = -number WHERE shop = 1",
            // Emptied as a whole: by its name, by the names of all that it has, in the midst of its rows.
            "INSERT INTO log VALUES (1, 'goes')",
            "TRUNCATE log_0, log_1",
            "BEGIN; INSERT INTO log VALUES (2, 'goes'); TRUNCATE log; INSERT INTO log VALUES (3, 'stays'); COMMIT",
            "BEGIN; TRUNCATE orders; INSERT INTO orders (shop, number) SELECT g % 6, g FROM generate_series(1, 60) g; COMMIT",
        ][..],
        &[
            // Columns come and go by the table, in each partition at another place.
            "ALTER TABLE orders ADD colour varchar(10) DEFAULT 'red'",
            "UPDATE orders SET total = 1 WHERE number < 20",
        ],
        &[
            "ALTER TABLE orders RENAME seen TO looked",
            "INSERT INTO orders (shop, number, looked) SELECT g % 6, 100 + g, now() FROM generate_series(1, 12) g",
        ],
        &[
            "ALTER TABLE orders DROP customer",
            "UPDATE orders SET colour = 'blue' WHERE number > 50",
            "DELETE FROM orders WHERE number = 1",
        ],
    ] {
        write(&scene, statements).await?;
        caught_up().succeed().await.with_context(|| statements.join("; "))?;
    }
    scene.require_equal().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_rows_come_or_go_as_a_whole_stop_the_task() -> Result<()> {
    for (number, (changes, words)) in [
        // In the log, and before anything else of the transaction is written.
        (
            "BEGIN; INSERT INTO orders (shop, number) VALUES (5, -5); TRUNCATE orders_1; COMMIT",
            ["a partition was emptied by itself", "orders_1_high"],
        ),
        // Seen in the catalog.
        ("ALTER TABLE orders DETACH PARTITION orders_0", ["detached or dropped", "orders_0"]),
        ("DROP TABLE orders_1_low", ["detached or dropped", "orders_1"]),
        (
            "ALTER TABLE orders DETACH PARTITION orders_0; ALTER TABLE orders ATTACH PARTITION orders_0 FOR VALUES IN (0)",
            ["attached again", "orders_0"],
        ),
        (
            "BEGIN; CREATE TABLE orders_7 (LIKE orders INCLUDING ALL); INSERT INTO orders_7 VALUES (7, 7); \
             ALTER TABLE orders_7 REPLICA IDENTITY FULL; ALTER TABLE orders ATTACH PARTITION orders_7 FOR VALUES IN (7); COMMIT",
            ["a table with rows became a partition", "orders_7"],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let scene = Scene::mysql(&format!("from_partitions_{number}")).await?;
        fill(&scene, 40).await?;
        let caught_up = || follow(&scene).arguments(["--accept-warnings", "--until", "caught-up"]);
        caught_up().succeed().await?;
        let mut running = follow(&scene).start()?;
        running.phase("streaming").await?;
        write(&scene, [changes]).await?;
        let error = running.finish().await?.failed(1)?;
        for word in words {
            ensure!(error.contains(word), "{changes}: the error doesn't say '{word}': {error}");
        }
        refused(caught_up(), 1, &words).await.with_context(|| changes.to_owned())?;
        let mut target = scene.source().await?;
        let rows: Option<u64> = target.query_first("SELECT COUNT(*) FROM orders").await?;
        ensure!(rows == Some(40), "{changes}: {rows:?} rows");
        target.disconnect().await?;
        of_task(&scene, "drop").finish().await?.succeeded()?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_their_old_rows_are_refused_and_go_on_once_they_have_them() -> Result<()> {
    let scene = Scene::mysql("from_partitions_identity").await?;
    fill(&scene, 40).await?;
    let caught_up = || follow(&scene).arguments(["--accept-warnings", "--until", "caught-up"]);
    write(
        &scene,
        [
            "ALTER TABLE orders_1_high REPLICA IDENTITY DEFAULT",
            "CREATE EXTENSION postgres_fdw; CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw; \
             CREATE FOREIGN TABLE log_far (at integer, what varchar(30)) SERVER far",
        ],
    )
    .await?;
    let statement =
        "ALTER TABLE \\\"{}\\\".\\\"orders_1_high\\\" REPLICA IDENTITY FULL".replace("{}", scene.name());
    let outcome = of_task(&scene, "precheck").argument("--json").finish().await?;
    ensure!(outcome.said().contains(&statement), "{}", outcome.said());
    refused(caught_up(), 1, &["orders_1_high", "REPLICA IDENTITY FULL"]).await?;
    write(&scene, [FULL]).await?;
    caught_up().succeed().await?;
    // A partition that is made later has the replica identity that it is given.
    write(&scene, ["CREATE TABLE orders_7 PARTITION OF orders FOR VALUES IN (7); INSERT INTO orders (shop, number) VALUES (7, 7)"])
        .await?;
    refused(caught_up(), 1, &["orders_7", "REPLICA IDENTITY FULL"]).await?;
    write(&scene, [FULL, "UPDATE orders SET total = 1 WHERE shop = 7"]).await?;
    caught_up().succeed().await?;
    scene.require_equal().await?;
    // As their table's, what empties partitions would not be sent.
    let publication = scene.value("SELECT pubname::text FROM pg_publication").await?;
    let by_root = format!(
        "COMMENT ON PUBLICATION {publication} IS NULL; ALTER PUBLICATION {publication} SET (publish_via_partition_root = true)"
    );
    write(&scene, [by_root]).await?;
    refused(caught_up(), 1, &["publish_via_partition_root", "another --name"]).await?;
    of_task(&scene, "drop").finish().await?.succeeded()?;
    // Rows on another server are in no log.
    write(
        &scene,
        [
            "CREATE TABLE far_log (at integer, what varchar(30)) PARTITION BY LIST (at)",
            "ALTER TABLE far_log ATTACH PARTITION log_far FOR VALUES IN (1)",
        ],
    )
    .await?;
    let outcome = of_task(&scene, "precheck").argument("--json").finish().await?;
    ensure!(outcome.said().contains("log_far: foreign tables"), "{}", outcome.said());
    Ok(())
}
