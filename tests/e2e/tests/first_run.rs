//! A first run that could not make anything binds nobody to its plan; one that has made a table does.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use e2e::{MysqlScene, Run, Scene, guest};
use mysql_async::prelude::Queryable as _;
use serde_json::{Value, json};
use test_kit::{mariadb, mysql};

use crate::refused::{refused, require_untouched};

const ANOTHER_PLAN: &str = "the plan is not the one that the task was begun with";

/// The configuration of `plugin` that gives a column a type.
fn typed(plugin: &str, table: &str, column: &str, of_type: &str) -> Value {
    json!({ plugin: {"tables": {table: {"columns": {column: {"type": of_type}}}}} })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_made_nothing_lets_the_plan_be_corrected() -> Result<()> {
    let scene = Scene::mysql("first_run").await?;
    scene
        .execute([
            "CREATE TABLE a (id INT PRIMARY KEY)",
            "CREATE TABLE t (id INT PRIMARY KEY, v INT, other INT)",
            "INSERT INTO t VALUES (1, 1, 1)",
        ])
        .await?;
    let config = |of_type| typed("mysql2og", &format!("{}.t", scene.name()), "v", of_type);
    let words = ["a table can't be created in the target", ".t"];
    refused(scene.run().config(config("no_such_type")), 1, &words).await?;
    // What happened on the source since is no part of a stream that never began.
    scene
        .execute(["ALTER TABLE t DROP COLUMN other, ADD COLUMN more INT", "INSERT INTO t VALUES (2, 2, 2)"])
        .await?;
    refused(scene.run().config(config("nor_this_one")), 1, &words).await?;
    // It was offline before, and about other tables.
    let narrow = || scene.run().config(config("bigint")).arguments(["--exclude", "a"]);
    let offline = scene.follow().config(config("no_such_type")).arguments(["--mode", "offline"]);
    refused(offline, 1, &words).await?;
    narrow().succeed().await?;
    scene.execute(["INSERT INTO t VALUES (3, 3, 3)"]).await?;
    narrow().succeed().await?;
    let rows = format!(
        "SELECT string_agg(id || '/' || v || '/' || COALESCE(more::text, '-'), ' ' ORDER BY id) FROM {}.t",
        scene.name()
    );
    assert_eq!(scene.value(&rows).await?, "1/1/- 2/2/2 3/3/3");

    // Now there are rows.
    let other = scene.run().config(config("integer")).arguments(["--exclude", "a"]);
    refused(other, 1, &[ANOTHER_PLAN, "the configuration of plugin mysql2og changed", "go back"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_made_nothing_in_mysql_lets_the_plan_be_corrected() -> Result<()> {
    corrected_in_mysql(MysqlScene::new(mysql()?, mysql()?, "first_run_mysql").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_made_nothing_in_mariadb_lets_the_plan_be_corrected() -> Result<()> {
    corrected_in_mysql(MysqlScene::new(mysql()?, mariadb()?, "first_run_mariadb").await?).await
}

async fn corrected_in_mysql(scene: MysqlScene<'_>) -> Result<()> {
    scene
        .execute([
            "CREATE TABLE a (id INT PRIMARY KEY, v INT)",
            "CREATE TABLE t (id INT PRIMARY KEY, v INT)",
            "INSERT INTO t VALUES (1, 1)",
        ])
        .await?;
    let config =
        |table: &str, of_type| typed("mysql2mysql", &format!("{}.{table}", scene.name()), "v", of_type);
    let failed = |run: Run, table: &'static str| async move {
        let error = run.finish().await?.failed(1)?;
        ensure!(error.contains("a table can't be created in the target") && error.contains(table), "{error}");
        anyhow::Ok(())
    };
    failed(scene.run().config(config("a", "int nonsense")), ".a").await?;
    // Other tables than those that were to be made go elsewhere, too.
    failed(scene.run().config(config("a", "int of another kind")), ".a").await?;
    scene.execute(["ALTER TABLE a ADD COLUMN w INT", "INSERT INTO a VALUES (1, 2, 3)"]).await?;
    scene.run().succeed().await?;
    scene.execute(["INSERT INTO t VALUES (2, 2)"]).await?;
    scene.run().succeed().await?;
    scene.require_equal().await
}

/// Each table of MySQL is there for itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_made_a_table_in_mysql_is_bound_to_its_plan() -> Result<()> {
    let scene = MysqlScene::new(mysql()?, mysql()?, "first_run_bound").await?;
    scene
        .execute(["CREATE TABLE a (id INT PRIMARY KEY)", "CREATE TABLE t (id INT PRIMARY KEY, v INT)"])
        .await?;
    let bad =
        || scene.run().config(typed("mysql2mysql", &format!("{}.t", scene.name()), "v", "int nonsense"));
    let error = bad().finish().await?.failed(1)?;
    ensure!(error.contains("a table can't be created in the target"), "{error}");
    let error = scene.run().finish().await?.failed(1)?;
    for words in [
        ANOTHER_PLAN,
        "the configuration of plugin mysql2mysql changed",
        "dropping this task's target tables",
    ] {
        ensure!(error.contains(words), "{error}");
    }
    let mut target = scene.target().await?;
    let tables: Vec<String> = target.query("SHOW TABLES").await?;
    target.disconnect().await?;
    ensure!(tables == ["a"], "{tables:?}");
    Ok(())
}

/// Another build of a plugin may do other things to the rows to come than it did to those that are there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_plugin_binds_the_file() -> Result<()> {
    let scene = Scene::mysql("rebuilt").await?;
    scene.execute(["CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)"]).await?;
    let file = scene.directory().join("types.wasm");
    let path = file.display().to_string();
    let mysql2og = guest("mysql2og")?.display().to_string();
    let begun = fs::read(&mysql2og)?;
    fs::write(&file, &begun)?;
    let task = || scene.run().without_plugins().plugin(path.clone());
    task().succeed().await?;
    // A section that means nothing.
    fs::write(&file, [begun.as_slice(), b"\0\x05\x04note"].concat())?;
    let (now, before) = (digest(&scene, &path).await?, digest(&scene, &mysql2og).await?);
    ensure!(now != before);
    let words = [
        ANOTHER_PLAN,
        "the file of plugin mysql2og changed",
        &now,
        &before,
        "go back to the file of mysql2og",
        "--name",
    ];
    refused(task(), 1, &words).await?;
    let error = crate::verify::check(&scene).without_plugins().plugin(path.clone()).fail().await?;
    for words in words {
        ensure!(error.contains(words), "the error doesn't say '{words}': {error}");
    }
    fs::write(&file, &begun)?;
    scene.execute(["INSERT INTO t VALUES (2)"]).await?;
    task().succeed().await?;
    scene.require_equal().await
}

/// The beginning of a file's SHA-256.
async fn digest(scene: &Scene<'_>, file: &str) -> Result<String> {
    let inspected =
        Run::plain(scene.directory()).arguments(["plugin", "inspect", file, "--json"]).succeed().await?;
    let inspected: Value = serde_json::from_str(&inspected.stdout)?;
    Ok(inspected["sha256"].as_str().and_then(|digest| digest.get(..12)).context("no digest")?.to_owned())
}

/// A setting is named in the file in which it stands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_wrong_setting_names_file_and_key() -> Result<()> {
    let scene = Scene::mysql("wrong_setting").await?;
    scene.execute(["CREATE TABLE t (id INT PRIMARY KEY)"]).await?;
    let file = scene.directory().join("shop.toml");
    fs::write(&file, "[plugin.mysql2og]\nzero_dates = \"maybe\"\n")?;
    let path = file.display().to_string();
    let error = scene.run().arguments(["--task", &path]).finish().await?.failed(2)?;
    for words in
        [path.as_str(), "\"plugin.mysql2og.zero_dates\"", "correct [plugin.mysql2og]", "zero_dates", "maybe"]
    {
        ensure!(error.contains(words), "the error doesn't say '{words}': {error}");
    }
    ensure!(!error.contains("--plugin-config"), "{error}");
    let error = scene.run().config(json!({"mysql2og": {"zero_dates": "maybe"}})).finish().await?.failed(2)?;
    ensure!(
        error.contains("\"setting\":\"mysql2og.zero_dates\"") && error.contains("correct [mysql2og]"),
        "{error}"
    );
    require_untouched(&scene).await
}
