//! Checks and repairs while writers write and an engine follows.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use e2e::{MysqlScene, Scene, Writers, eventually};
use test_kit::{mariadb, mysql};
use test_support::numbers::Numbers;

use super::place::{Place, check};
use super::{TABLES, report, rows, set, wrong};

/// Everything that a key can do, on few rows, so that many are hot; every row with an id of 5000 and more stays as it is.
pub(crate) fn changes_of_keys(numbers: &mut Numbers) -> Vec<String> {
    let (one, other) = (10 + 10 * numbers.below(300), 10 + 10 * numbers.below(300));
    match numbers.below(8) {
        0 => vec![format!("DELETE FROM numbers WHERE id = {one}")],
        1 => vec![format!("INSERT INTO numbers VALUES ({one}, NULL, 'new')")],
        2 => vec![
            format!("UPDATE numbers SET id = -{one} WHERE id = {one}"),
            format!("UPDATE numbers SET id = {one} WHERE id = {other}"),
            format!("UPDATE numbers SET id = {other} WHERE id = -{one}"),
        ],
        3 => vec![
            format!("UPDATE numbers SET one = NULL WHERE id IN ({one}, {other})"),
            format!("UPDATE numbers SET one = 'one {one}' WHERE id = {other}"),
        ],
        4 => vec![
            format!("UPDATE texts SET code = CONCAT('m', code) WHERE n = {one} AND CHAR_LENGTH(code) < 20"),
            format!("UPDATE texts SET n = n + 10 WHERE n BETWEEN {one} AND {one} + 40 AND n < 3000"),
        ],
        5 => vec![format!("UPDATE pairs SET v = v + 1 WHERE a = {}", one / 100)],
        6 => vec![
            format!("UPDATE pairs SET a = a + 200 WHERE a < 20 AND MOD(FLOOR(v), 50) = {}", one % 50),
            "UPDATE pairs SET a = a - 200 WHERE a >= 200".to_owned(),
        ],
        _ => vec![format!(
            "UPDATE numbers SET other = CONCAT('o ', {other}) WHERE id BETWEEN {one} AND {one} + 90"
        )],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_wrong_while_everything_moves() -> Result<()> {
    moving(&Scene::mysql("verify_live").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_wrong_while_everything_moves_on_mariadb() -> Result<()> {
    moving(&Scene::mariadb("verify_live_mariadb").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_wrong_in_mysql_while_everything_moves() -> Result<()> {
    moving(&MysqlScene::new(mysql()?, mysql()?, "verify_mysql_live").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_wrong_from_mariadb_in_mysql_while_everything_moves() -> Result<()> {
    moving(&MysqlScene::new(mariadb()?, mysql()?, "verify_mariadb_mysql_live").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_wrong_in_mariadb_while_everything_moves() -> Result<()> {
    moving(&MysqlScene::new(mysql()?, mariadb()?, "verify_to_mariadb_live").await?).await
}

/// Writes to the target, which may lose against the engine in a deadlock.
async fn break_row(scene: &impl Place, statement: &str) -> Result<()> {
    eventually("rows to break", async || Ok(scene.on_target(statement).await.ok())).await
}

async fn moving(scene: &impl Place) -> Result<()> {
    scene.execute(TABLES).await?;
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    let writers = Writers::start(&scene.urls().0, 4, Duration::from_millis(12), changes_of_keys);
    let keyless = Writers::start(&scene.urls().0, 1, Duration::from_millis(150), |numbers| {
        let n = numbers.below(50);
        vec![
            format!("UPDATE loose SET v = CONCAT('v', {n}) WHERE n = {n} LIMIT 2"),
            format!("INSERT INTO loose VALUES ({n}, 'x')"),
            format!("DELETE FROM loose WHERE n = {n} LIMIT 1"),
        ]
    });
    writers.commit_more(50).await?;
    let mut followed = 0;
    for round in 0..12 {
        let part_rows = ["50", "400", "100000"][round % 3];
        let method = scene.methods()[round % 4 % scene.methods().len()];
        let found = report(check(scene).arguments(["--part-rows", part_rows, "--method", method]), 0).await?;
        assert_eq!(found["is_exact"], true);
        ensure!(rows(&found, "numbers") > 500, "{found}");
        followed += found["tables"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|table| table["followed"].as_u64())
            .sum::<u64>();
    }
    ensure!(followed > 0, "no row changed around a look");

    // Rows that no writer touches are broken and mended, under the engine's hands.
    for statement in [
        "UPDATE numbers SET other = NULL WHERE id = 6000",
        "DELETE FROM numbers WHERE id = 7000",
        "INSERT INTO numbers VALUES (6005, 'extra', NULL)",
        "UPDATE texts SET n = 0 WHERE n = 8000",
        &scene.delete_one("loose", "n IS NULL AND v IS NULL"),
        "INSERT INTO loose VALUES (777, 'foreign'), (777, 'foreign')",
    ] {
        break_row(scene, statement).await?;
    }
    let broken = set(&[
        "numbers different 6000 other",
        "numbers missing 7000",
        "numbers extra 6005",
        "texts different E8000 n",
        "loose missing NULL/NULL",
        "loose extra 777/foreign",
    ]);
    let found = report(check(scene).arguments(["--part-rows", "100"]), 4).await?;
    let found = wrong(&found).into_iter().map(|row| row.replace('é', "E")).collect();
    assert_eq!(broken, found);
    let repaired = report(check(scene).arguments(["--repair"]), 0).await?;
    assert_eq!((&repaired["repaired"]["written"], &repaired["repaired"]["deleted"]), (&4.into(), &3.into()));

    // Rows that writers do touch: an upsert heals them, a strict change would stop the engine, so they are only made
    // different, and mended or overwritten.
    for round in 0..5 {
        let statement = format!(
            "UPDATE numbers SET other = 'broken {round}' WHERE id BETWEEN {} AND {}",
            100 + 500 * round,
            400 + 500 * round
        );
        break_row(scene, &statement).await?;
        report(check(scene).arguments(["--repair", "--part-rows", "100"]), 0).await?;
    }
    if running.has_ended()? {
        bail!("the engine stopped: {}", running.finish().await?.said());
    }
    let written = writers.stop().await?;
    keyless.stop().await?;
    ensure!(written.changes > 1000, "only {} changes", written.changes);
    running.interrupt().await?;
    running.finish().await?.failed(130)?;
    scene.run().succeed().await?;
    scene.require_equal().await?;
    report(check(scene), 0).await?;
    Ok(())
}
