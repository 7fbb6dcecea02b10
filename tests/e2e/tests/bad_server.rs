//! Servers, accounts and settings with which a task can't run: each is named with what to do, and nothing is touched.

use anyhow::Result;
use e2e::{Run, Scene};
use test_kit::{Builder, Product};
use test_support::connect;

use crate::refused::{refused, require_untouched};

const TABLE: &str = "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20), w VARCHAR(20))";
const ROW: &str = "INSERT INTO t VALUES (1, 'a', 'b')";

/// The URL with another user and password.
fn as_user(url: &str, user: &str, password: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (_, address) = rest.rsplit_once('@').unwrap_or(("", rest));
    format!("{scheme}://{user}:{password}@{address}")
}

fn from(scene: &Scene<'_>, source: &str) -> Run {
    scene.run().replace("--source", source)
}

fn to(scene: &Scene<'_>, target: &str) -> Run {
    scene.run().replace("--target", target)
}

#[tokio::test]
async fn servers_and_databases_that_are_not_there() -> Result<()> {
    let scene = Scene::mysql("absent").await?;
    scene.execute([TABLE, ROW]).await?;
    // Port 1 is reserved and nobody listens on it.
    refused(from(&scene, "mysql://u:p@127.0.0.1:1/d"), 1, &["127.0.0.1:1", "can't be reached", "check host"])
        .await?;
    refused(
        to(&scene, "postgres://u:p@127.0.0.1:1/d"),
        1,
        &["127.0.0.1:1", "can't be reached", "check host"],
    )
    .await?;
    let wrong = as_user(&scene.source_url(), "mig", "not-the-password");
    refused(from(&scene, &wrong), 1, &["refused the login", "Access denied", "check user and password"])
        .await?;
    let nobody = as_user(&scene.target_url(), "nobody_knows", "me");
    refused(to(&scene, &nobody), 1, &["nobody_knows", "check"]).await?;
    let unknown = scene.source_server().url_of("no_such_database");
    refused(from(&scene, &unknown), 1, &["no such database", "no_such_database", "SHOW DATABASES"]).await?;
    let unknown = scene.target_server().url_of("no_such_database");
    refused(to(&scene, &unknown), 1, &["no such database", "no_such_database", "create the database"])
        .await?;
    refused(scene.run().arguments(["--include", "nothing_*"]), 2, &["no table of the source", "--include"])
        .await?;
    require_untouched(&scene).await
}

#[tokio::test]
async fn accounts_without_the_privileges() -> Result<()> {
    let scene = Scene::mysql("privileges").await?;
    let database = scene.name();
    let (reader, follower) = (format!("r{}", std::process::id()), format!("f{}", std::process::id()));
    scene.execute([TABLE, ROW]).await?;
    scene
        .execute([
            format!("CREATE USER {reader} IDENTIFIED BY 'x'"),
            format!("GRANT SELECT ON {database}.* TO {reader}"),
            format!("CREATE USER {follower} IDENTIFIED BY 'x'"),
            format!("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO {follower}"),
            format!("GRANT SELECT (id, v) ON {database}.t TO {follower}"),
        ])
        .await?;
    let source = as_user(&scene.source_url(), &reader, "x");
    refused(from(&scene, &source), 1, &["REPLICATION CLIENT is missing", "GRANT REPLICATION SLAVE ON *.*"])
        .await?;
    // It would see a table of two columns, and the third would be lost without a word.
    let source = as_user(&scene.source_url(), &follower, "x");
    refused(from(&scene, &source), 1, &["may not read", &format!("GRANT SELECT ON `{database}`.`t`")])
        .await?;
    require_untouched(&scene).await?;

    let role = format!("{database}_role");
    let target = scene.target().await?;
    target.batch_execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'x'")).await?;
    let url = as_user(&scene.target_url(), &role, "x");
    refused(to(&scene, &url), 1, &["may not create the schema", "GRANT CREATE ON DATABASE"]).await?;
    require_untouched(&scene).await?;

    target.batch_execute(&format!("DROP ROLE {role}")).await?;
    scene.execute([format!("DROP USER {reader}"), format!("DROP USER {follower}")]).await
}

#[tokio::test]
async fn settings_that_leave_changes_out_of_the_binlog() -> Result<()> {
    let server = Builder::new(Product::MySql).line("innodb_native_foreign_keys=ON").start()?;
    let scene = Scene::new(&server, test_kit::postgres()?, "settings").await?;
    scene.execute([TABLE, ROW]).await?;
    for (name, bad, good, words) in [
        (
            "binlog_format",
            "'STATEMENT'",
            "'ROW'",
            ["is STATEMENT, must be ROW", "SET GLOBAL binlog_format = 'ROW'"],
        ),
        (
            "binlog_row_image",
            "'MINIMAL'",
            "'FULL'",
            ["is MINIMAL, must be FULL", "SET GLOBAL binlog_row_image = 'FULL'"],
        ),
        ("server_id", "0", "7", ["server_id", "SET GLOBAL server_id = 1"]),
    ] {
        scene.execute([format!("SET GLOBAL {name} = {bad}")]).await?;
        refused(scene.run(), 1, &words).await?;
        scene.execute([format!("SET GLOBAL {name} = {good}")]).await?;
    }
    // Actions of foreign keys below the binlog make a table that can be copied but not followed.
    scene
        .execute(["CREATE TABLE child (id INT PRIMARY KEY, t INT, CONSTRAINT to_t FOREIGN KEY (t) \
                    REFERENCES t (id) ON DELETE CASCADE)"])
        .await?;
    refused(scene.run(), 1, &["to_t", "ON DELETE CASCADE", "--exclude", "--mode offline"]).await?;
    require_untouched(&scene).await?;
    scene.run().arguments(["--exclude", "child"]).succeed().await?;
    Ok(())
}

#[tokio::test]
async fn a_source_without_a_binlog_can_be_copied_but_not_followed() -> Result<()> {
    let server = Builder::new(Product::MariaDb).line("skip-log-bin").start()?;
    let scene = Scene::new(&server, test_kit::postgres()?, "no_binlog").await?;
    scene.execute([TABLE, ROW]).await?;
    refused(scene.run(), 1, &["no binlog", "--log-bin", "--mode offline"]).await?;
    require_untouched(&scene).await?;
    scene.follow().arguments(["--mode", "offline"]).succeed().await?;
    scene.require_equal().await
}

const CASCADES: [&str; 4] = [
    "CREATE TABLE parent (id INT PRIMARY KEY, v INT)",
    "CREATE TABLE child (id INT PRIMARY KEY, p INT, q INT, \
     CONSTRAINT follows FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE ON UPDATE CASCADE, \
     CONSTRAINT forgets FOREIGN KEY (q) REFERENCES parent (id) ON DELETE SET NULL)",
    "INSERT INTO parent VALUES (1, 1), (2, 2), (3, 3)",
    "INSERT INTO child VALUES (1, 1, 2), (2, 2, 3), (3, 3, 1)",
];

#[tokio::test]
async fn cascades_below_the_binlog_are_refused_by_name() -> Result<()> {
    let scene = Scene::mariadb("unlogged").await?;
    scene.execute(CASCADES).await?;
    let words =
        ["follows", "ON DELETE CASCADE ON UPDATE CASCADE", "forgets", "ON DELETE SET NULL", "--exclude"];
    refused(scene.run(), 1, &words).await?;
    // The parent's absence makes the child's changes no more visible.
    refused(scene.run().arguments(["--exclude", "parent"]), 1, &words).await?;
    require_untouched(&scene).await?;
    scene.follow().arguments(["--mode", "offline"]).succeed().await?;
    scene.require_equal().await
}

#[tokio::test]
async fn cascades_in_the_binlog_are_followed() -> Result<()> {
    let scene = Scene::mysql("logged").await?;
    scene.execute(CASCADES).await?;
    scene.run().succeed().await?;
    scene.require_equal().await?;
    scene.execute(["DELETE FROM parent WHERE id = 1", "UPDATE parent SET id = 9 WHERE id = 2"]).await?;
    scene.run().succeed().await?;
    scene.require_equal().await
}

#[tokio::test]
async fn tables_of_somebody_else_stay_as_they_are() -> Result<()> {
    let scene = Scene::mysql("taken").await?;
    scene.execute([TABLE, ROW]).await?;
    let name = scene.name();
    let target = connect::postgres(&scene.target_url()).await?;
    target
        .batch_execute(&format!("CREATE SCHEMA {name}; CREATE TABLE {name}.t AS SELECT 'theirs' AS v"))
        .await?;
    refused(scene.run(), 1, &["did not create", &format!("{name}.t"), "another schema"]).await?;
    assert_eq!(scene.value(&format!("SELECT v FROM {name}.t")).await?, "theirs");
    let registered = scene.value("SELECT to_regclass('_migration.task')::text").await?;
    assert_eq!(registered, "NULL", "a refused task was registered");
    // The way out that the message names.
    let elsewhere = serde_json::json!({"mysql2og": {"schemas": {name: "elsewhere"}}});
    scene.run().config(elsewhere.clone()).succeed().await?;
    assert_eq!(scene.value("SELECT v FROM elsewhere.t").await?, "a");
    refused(scene.run().config(elsewhere).replace("--name", "second"), 1, &["did not create", "elsewhere.t"])
        .await
}
