//! The full check: what is equal is found equal, also while everything moves, what is not is found row by row, and the
//! repair makes it so.

mod altered;
mod family;
mod live;
mod place;
mod types;

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use e2e::{MysqlScene, Outcome, Run, Scene};
use serde_json::{Value, json};
use test_kit::{mariadb, mysql};

pub(crate) use live::changes_of_keys;
pub(crate) use place::{Place, check};

/// What a check said; `code` is its exit code.
pub(crate) async fn report(run: Run, code: i32) -> Result<Value> {
    let outcome: Outcome = run.finish().await?;
    ensure!(
        outcome.status.code() == Some(code),
        "it ended with {:?}, not {code}\n{}",
        outcome.status.code(),
        outcome.said()
    );
    serde_json::from_str(&outcome.stdout).with_context(|| outcome.said())
}

/// `table kind key column,column` of each wrong row.
pub(crate) fn wrong(report: &Value) -> BTreeSet<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or("NULL").to_owned();
    let mut wrong = BTreeSet::new();
    for table in list(&report["tables"]) {
        let name = text(&table["table"]);
        let name = name.split('.').next_back().unwrap_or_default();
        for difference in list(&table["differences"]) {
            let key = difference["key"].as_object().into_iter().flatten();
            let key: Vec<String> = key.map(|(_, value)| text(value)).collect();
            let columns: Vec<String> =
                list(&difference["columns"]).iter().map(|column| text(&column["column"])).collect();
            wrong.insert(
                format!("{name} {} {} {}", text(&difference["kind"]), key.join("/"), columns.join(","))
                    .trim_end()
                    .to_owned(),
            );
        }
    }
    wrong
}

fn set(rows: &[&str]) -> BTreeSet<String> {
    rows.iter().map(|&row| row.to_owned()).collect()
}

/// Rows compared of a table.
fn rows(report: &Value, table: &str) -> u64 {
    let tables = report["tables"].as_array().into_iter().flatten();
    let of_table =
        |found: &&Value| found["table"].as_str().is_some_and(|name| name.ends_with(&format!(".{table}")));
    tables.filter(of_table).filter_map(|table| table["rows"].as_u64()).sum()
}

const TABLES: &[&str] = &[
    "CREATE TABLE numbers (id INT PRIMARY KEY, one VARCHAR(20), other VARCHAR(20) NULL, UNIQUE KEY one (one))",
    "CREATE TABLE texts (code VARCHAR(30) PRIMARY KEY, n INT)",
    "CREATE TABLE loose (n INT NULL, v VARCHAR(20) NULL)",
    "CREATE TABLE pairs (a SMALLINT UNSIGNED, b BINARY(3), v INT, PRIMARY KEY (a, b))",
    "CREATE TABLE nothing (id INT PRIMARY KEY)",
    "INSERT INTO numbers WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 1000) \
     SELECT i * 10, CONCAT('one ', i), CONCAT('other ', i) FROM c",
    "INSERT INTO texts SELECT CONCAT(IF(id % 20 = 0, 'é', 'E'), id), id FROM numbers",
    "INSERT INTO loose SELECT id % 50, 'x' FROM numbers",
    "INSERT INTO loose VALUES (NULL, NULL), (NULL, ''), (NULL, NULL)",
    "INSERT INTO pairs SELECT id DIV 100, UNHEX(LPAD(HEX(id % 100), 6, '0')), id FROM numbers",
];

/// Breaks rows of the target in as many ways as there are; what is wrong then.
async fn break_rows(scene: &impl Place) -> Result<BTreeSet<String>> {
    for statement in [
        // The first and the last row, one at the end of a part and the one after it.
        "DELETE FROM numbers WHERE id IN (10, 10000, 1000, 1010)",
        "INSERT INTO numbers VALUES (5, 'before', NULL), (10001, 'after', NULL), (1005, 'between', NULL)",
        "UPDATE numbers SET other = CONCAT(other, ' ') WHERE id = 500",
        "UPDATE numbers SET other = NULL WHERE id = 510",
        "UPDATE numbers SET other = '' WHERE id = 520",
        // Swapped between two rows, also under a unique key.
        "UPDATE numbers SET other = CASE id WHEN 600 THEN 'other 61' ELSE 'other 60' END WHERE id IN (600, 610)",
        "UPDATE numbers SET one = 'free' WHERE id = 700",
        "UPDATE numbers SET one = 'one 70' WHERE id = 710",
        "UPDATE numbers SET one = 'one 71' WHERE id = 700",
        "UPDATE texts SET n = n + 1 WHERE code = 'E10'",
        "UPDATE texts SET code = 'e30' WHERE code = 'E30'",
        &scene.delete_one("loose", "n = 10"),
        &scene.delete_one("loose", "n = 10"),
        &scene.delete_one("loose", "n IS NULL AND v IS NULL"),
        &scene.delete_one("loose", "v = ''"),
        "INSERT INTO loose VALUES (20, 'x'), (20, 'x')",
        &format!("UPDATE pairs SET v = -v WHERE a = 5 AND b = {}", scene.bytes("000014")),
        "DELETE FROM pairs WHERE a = 100",
        "INSERT INTO nothing VALUES (0)",
    ] {
        scene.on_target(statement).await?;
    }
    let bytes = |hex: &str| scene.shown_bytes(hex);
    Ok(set(&[
        "numbers missing 10",
        "numbers missing 1000",
        "numbers missing 1010",
        "numbers missing 10000",
        "numbers extra 5",
        "numbers extra 1005",
        "numbers extra 10001",
        "numbers different 500 other",
        "numbers different 510 other",
        "numbers different 520 other",
        "numbers different 600 other",
        "numbers different 610 other",
        "numbers different 700 one",
        "numbers different 710 one",
        "texts different E10 n",
        "texts missing E30",
        "texts extra e30",
        "loose missing 10/x",
        "loose missing NULL/",
        "loose missing NULL/NULL",
        "loose extra 20/x",
        &format!("pairs different 5/{} v", bytes("000014")),
        &format!("pairs missing 100/{}", bytes("000000")),
        "nothing extra 0",
    ]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_broken_is_found_and_mended_and_nothing_else() -> Result<()> {
    broken(&Scene::mysql("verify").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_broken_is_found_and_mended_and_nothing_else_on_mariadb() -> Result<()> {
    broken(&Scene::mariadb("verify_mariadb").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_broken_in_mysql_is_found_and_mended_and_nothing_else() -> Result<()> {
    broken(&MysqlScene::new(mysql()?, mysql()?, "verify_mysql").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_broken_from_mariadb_in_mysql_is_found_and_mended_and_nothing_else() -> Result<()> {
    broken(&MysqlScene::new(mariadb()?, mysql()?, "verify_mariadb_mysql").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_broken_in_mariadb_is_found_and_mended_and_nothing_else() -> Result<()> {
    broken(&MysqlScene::new(mysql()?, mariadb()?, "verify_to_mariadb").await?).await
}

pub(crate) async fn broken(scene: &impl Place) -> Result<()> {
    scene.execute(TABLES).await?;
    scene.run().succeed().await?;
    let clean = report(check(scene), 0).await?;
    assert_eq!(clean["equal"], true);
    assert_eq!((rows(&clean, "numbers"), rows(&clean, "loose"), rows(&clean, "nothing")), (1000, 1003, 0));

    let expected = break_rows(scene).await?;
    // Parts of a hundred rows, and all at once.
    for method in scene.methods() {
        let found = report(check(scene).arguments(["--part-rows", "100", "--method", method]), 4).await?;
        assert_eq!(wrong(&found), expected, "{method}");
        let found = report(check(scene).arguments(["--method", method]), 4).await?;
        assert_eq!(wrong(&found), expected, "{method}");
        assert_eq!(found["tables"].as_array().map(Vec::len), Some(5));
    }
    let one = report(check(scene).arguments(["--table", "texts"]), 4).await?;
    assert_eq!((wrong(&one).len(), one["tables"].as_array().map(Vec::len)), (3, Some(1)));

    // A dry run says what it would do, and does nothing.
    let planned = report(check(scene).arguments(["--repair", "--dry-run"]), 4).await?;
    let statements = planned["repaired"]["statements"].as_array().context("no statements")?;
    ensure!(
        statements.iter().any(|statement| statement.as_str().is_some_and(|text| text.starts_with("DELETE")))
    );
    assert_eq!(wrong(&report(check(scene), 4).await?), expected);

    let repaired = report(check(scene).arguments(["--repair", "--part-rows", "100"]), 0).await?;
    assert_eq!((wrong(&repaired), &repaired["repaired"]["refused"]), (BTreeSet::new(), &json!([])));
    scene.require_equal().await?;

    // A table without a key, from nothing and back to nothing.
    scene.on_target("DELETE FROM loose").await?;
    let repaired = report(check(scene).arguments(["--table", "loose", "--repair"]), 0).await?;
    assert_eq!(repaired["repaired"]["written"], 1003, "{repaired}");
    scene.require_equal().await?;
    scene.on_target("INSERT INTO loose SELECT * FROM loose").await?;
    let repaired = report(check(scene).arguments(["--table", "loose", "--repair"]), 0).await?;
    assert_eq!(repaired["repaired"]["deleted"], 1003, "{repaired}");
    scene.require_equal().await?;
    report(check(scene), 0).await?;
    Ok(())
}

/// The source has moved on, and nobody follows: the target is compared where it stands, and mended so that the engine
/// finds what it expects when it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_behind_is_compared_where_it_stands() -> Result<()> {
    behind(&Scene::mysql("verify_behind").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mysql_target_that_is_behind_is_compared_where_it_stands() -> Result<()> {
    behind(&MysqlScene::new(mysql()?, mysql()?, "verify_mysql_behind").await?).await
}

pub(crate) async fn behind(scene: &impl Place) -> Result<()> {
    scene.execute(TABLES).await?;
    scene.run().succeed().await?;
    scene
        .execute([
            "UPDATE numbers SET other = CONCAT(other, '!') WHERE id <= 2000",
            "DELETE FROM numbers WHERE id BETWEEN 3000 AND 3500",
            "INSERT INTO numbers VALUES (3001, 'new', NULL), (20000, 'last', NULL)",
            "UPDATE numbers SET id = id + 1 WHERE id BETWEEN 4000 AND 4100",
            "UPDATE texts SET n = -n WHERE n < 500",
            "DELETE FROM texts WHERE n BETWEEN 600 AND 700",
            "UPDATE loose SET v = 'y' WHERE n = 30",
            "DELETE FROM loose WHERE n = 40 LIMIT 3",
            "INSERT INTO loose VALUES (40, 'x'), (6, 'x')",
        ])
        .await?;
    let behind = report(check(scene).arguments(["--part-rows", "100"]), 0).await?;
    assert_eq!((rows(&behind, "numbers"), rows(&behind, "loose")), (1000, 1003));
    ensure!(
        behind["tables"].as_array().into_iter().flatten().any(|table| table["followed"].as_u64() > Some(100))
    );

    // Rows that the source has changed, moved, deleted and left alone since.
    for statement in [
        "UPDATE numbers SET other = 'wrong' WHERE id IN (1500, 4050, 9000)",
        "DELETE FROM numbers WHERE id IN (3010, 3020, 9010)",
        "INSERT INTO numbers VALUES (3001, 'x', 'x')",
        &scene.delete_one("loose", "n = 30"),
        &scene.delete_one("loose", "n = 40"),
        "INSERT INTO loose VALUES (6, 'x'), (30, 'y')",
    ] {
        scene.on_target(statement).await?;
    }
    let found = report(check(scene).arguments(["--part-rows", "100"]), 4).await?;
    let keys = [
        "different 1500",
        "different 4050",
        "different 9000 other",
        "missing 3010",
        "missing 3020",
        "missing 9010",
        "extra 3001",
    ];
    let mut keys: BTreeSet<String> = keys.map(|key| format!("numbers {key}")).into();
    keys.extend(set(&["loose missing 30/x", "loose missing 40/x", "loose extra 6/x", "loose extra 30/y"]));
    assert_eq!(wrong(&found), keys);
    report(check(scene).arguments(["--repair", "--part-rows", "100"]), 0).await?;
    scene.run().succeed().await?;
    scene.require_equal().await?;
    report(check(scene), 0).await?;
    Ok(())
}

/// Killed in the middle, it goes on with what is left; killed while it mends, it has mended nothing by halves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_check_goes_on_where_it_was() -> Result<()> {
    killed(&Scene::mysql("verify_killed").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_check_of_mysql_goes_on_where_it_was() -> Result<()> {
    killed(&MysqlScene::new(mysql()?, mysql()?, "verify_mysql_killed").await?).await
}

pub(crate) async fn killed(scene: &impl Place) -> Result<()> {
    scene.execute(TABLES).await?;
    scene.run().succeed().await?;
    let expected = break_rows(scene).await?;
    let parts = || check(scene).arguments(["--part-rows", "100", "--parallelism", "1"]);
    for _ in 0..2 {
        let killed = parts().environment("ENGINE_FAILPOINT", "part-compared:4").finish().await?;
        ensure!(!killed.status.success(), "it was not killed: {}", killed.said());
    }
    let found = report(parts(), 4).await?;
    ensure!(found["parts_before"].as_u64() >= Some(7), "{}", found["parts_before"]);
    assert_eq!(wrong(&found), expected);
    assert_eq!(rows(&found, "numbers"), 1003);
    // One that has ended leaves nothing behind.
    let found = report(parts(), 4).await?;
    assert_eq!(found["parts_before"], 0);

    let killed =
        parts().argument("--repair").environment("ENGINE_FAILPOINT", "rows-mended:2").finish().await?;
    ensure!(!killed.status.success(), "it was not killed: {}", killed.said());
    let left = wrong(&report(parts(), 4).await?);
    ensure!(left.is_subset(&expected) && left.len() > expected.len() / 2, "{left:?}");
    report(parts().argument("--repair"), 0).await?;
    scene.require_equal().await
}

/// A task that does not follow has no position: a source that stands still is compared as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offline_task_is_compared_too() -> Result<()> {
    offline(&Scene::mysql("verify_offline").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offline_task_to_mysql_is_compared_too() -> Result<()> {
    offline(&MysqlScene::new(mariadb()?, mysql()?, "verify_mysql_offline").await?).await
}

pub(crate) async fn offline(scene: &impl Place) -> Result<()> {
    scene.execute(TABLES).await?;
    scene.follow().arguments(["--mode", "offline"]).succeed().await?;
    let offline = || check(scene).arguments(["--mode", "offline"]);
    let equal = report(offline(), 0).await?;
    assert_eq!(equal["is_exact"], false);
    let expected = break_rows(scene).await?;
    assert_eq!(wrong(&report(offline(), 4).await?), expected);
    report(offline().argument("--repair"), 0).await?;
    scene.require_equal().await
}

/// What was set aside is not missing, and what is missing besides is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_set_aside_are_not_missing() -> Result<()> {
    let scene = Scene::mysql("verify_letters").await?;
    scene
        .execute([
            "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20), doc JSON)",
            r#"INSERT INTO t VALUES (1, 'a', '{}'), (2, 'b\0', NULL), (3, 'c', '["\\u0000"]'), (4, 'd', NULL)"#,
        ])
        .await?;
    let config = serde_json::json!({"mysql2og": {"on_row_error": "dead-letter"}});
    scene.run().config(config.clone()).succeed().await?;
    let equal = report(check(&scene).config(config.clone()), 0).await?;
    assert_eq!(
        (equal["tables"][0]["equal"].as_u64(), equal["tables"][0]["set_aside"].as_u64()),
        (Some(2), Some(1))
    );
    scene.target().await?.batch_execute(&format!("DELETE FROM {}.t WHERE id = 4", scene.name())).await?;
    assert_eq!(wrong(&report(check(&scene).config(config), 4).await?), set(&["t missing 4"]));
    Ok(())
}

/// Keys and indexes that are gone are told, with the statement that makes them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_index_is_told() -> Result<()> {
    let scene = Scene::mysql("verify_index").await?;
    scene
        .execute(["CREATE TABLE t (id INT PRIMARY KEY, v INT, KEY by_v (v))", "INSERT INTO t VALUES (1, 2)"])
        .await?;
    scene.run().succeed().await?;
    report(check(&scene), 0).await?;
    let index = scene
        .value(&format!(
            "SELECT indexname::text FROM pg_indexes WHERE schemaname = '{}' AND indexdef LIKE '%(v)%'",
            scene.name()
        ))
        .await?;
    scene.target().await?.batch_execute(&format!("DROP INDEX {}.\"{index}\"", scene.name())).await?;
    let found = report(check(&scene), 4).await?;
    assert_eq!((found["equal"].as_bool(), found["clean"].as_bool()), (Some(true), Some(false)));
    let fix = found["findings"][0]["fix"].as_str().unwrap_or_default();
    ensure!(fix.contains("CREATE") && fix.contains(&index), "{found}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_of_the_caller_are_told() -> Result<()> {
    let scene = Scene::mysql("verify_usage").await?;
    scene.execute(["CREATE TABLE t (id INT PRIMARY KEY)"]).await?;
    let unknown = check(&scene).fail().await?;
    ensure!(unknown.contains("there is no task"), "{unknown}");
    scene.run().succeed().await?;
    let nothing = check(&scene).arguments(["--table", "unknown"]).finish().await?.failed(2)?;
    ensure!(nothing.contains("no table of the task is to be checked"), "{nothing}");
    let other =
        check(&scene).config(serde_json::json!({"mysql2og": {"on_row_error": "dead-letter"}})).fail().await?;
    ensure!(other.contains("the plan is not the one that the task was begun with"), "{other}");
    Ok(())
}
