//! `engine precheck`, and what its findings mean for a run.

use anyhow::{Result, ensure};
use e2e::{Outcome, Run, Scene};
use mysql_async::prelude::Queryable as _;
use serde_json::Value;
use test_support::connect;

use crate::refused::{refused, require_untouched};

fn precheck(scene: &Scene<'_>) -> Run {
    Run::plain(scene.directory())
        .arguments(["precheck", "--json", "--name", "task"])
        .arguments(["--source", &scene.source_url(), "--target", &scene.target_url()])
        .plugin("mysql2og")
}

fn list(outcome: &Outcome) -> Result<Value> {
    Ok(serde_json::from_str(&outcome.stdout)?)
}

/// The item about a subject.
fn item<'a>(list: &'a Value, subject: &str) -> Result<&'a Value> {
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = items.iter().find(|item| item["subject"] == subject);
    found.ok_or_else(|| anyhow::anyhow!("nothing is said about {subject}: {list:#}"))
}

#[tokio::test]
async fn a_good_pair_passes_and_nothing_is_written() -> Result<()> {
    for scene in [Scene::mysql("precheck_mysql").await?, Scene::mariadb("precheck_mariadb").await?] {
        scene.execute(["CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))"]).await?;
        let outcome = precheck(&scene).finish().await?;
        let list = list(&outcome)?;
        // Other tests share the servers, and may give rise to a warning.
        let code = if list["warnings"] == 0 { 0 } else { 3 };
        ensure!(outcome.status.code() == Some(code) && list["failed"] == 0, "{}", outcome.said());
        for subject in [
            "source connection",
            "source binlog_format",
            "source binlog filters",
            "source character sets",
            "source objects",
            "target version",
            "target contents",
            "target names",
            "plan",
        ] {
            let item = item(&list, subject)?;
            ensure!(item["severity"] == "pass", "{item}");
        }
        ensure!(item(&list, "plan")?["side"] == "tables", "{list}");
        require_untouched(&scene).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_stays_behind_is_listed_and_stops_nobody() -> Result<()> {
    let scene = Scene::mysql("precheck_objects").await?;
    scene
        .execute([
            "CREATE TABLE t (id INT PRIMARY KEY, `order` INT)",
            "CREATE VIEW everything AS SELECT * FROM t",
            "CREATE TRIGGER watch BEFORE INSERT ON t FOR EACH ROW SET NEW.`order` = 1",
            "CREATE FUNCTION one() RETURNS INT DETERMINISTIC RETURN 1",
            "CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY DISABLE DO DELETE FROM t",
        ])
        .await?;
    let outcome = precheck(&scene).finish().await?;
    ensure!(outcome.status.code() == Some(3), "{}", outcome.said());
    let list = list(&outcome)?;
    for (subject, name) in [
        ("source views", "everything"),
        ("source triggers", "watch"),
        ("source routines", "one"),
        ("source events", "nightly"),
    ] {
        let item = item(&list, subject)?;
        let says = item["message"].as_str().unwrap_or_default();
        ensure!(item["severity"] == "warning" && says.contains(name), "{item}");
    }
    ensure!(item(&list, "target names")?["message"].to_string().contains("t.order"), "{list:#}");

    // For people: by side, what matters most first.
    let people = Run::plain(scene.directory())
        .arguments(["precheck", "--source", &scene.source_url(), "--target", &scene.target_url()])
        .plugin("mysql2og");
    let outcome = people.finish().await?;
    let (source, tables) = outcome.stdout.split_once("\n\nTABLES\n").unwrap_or_default();
    let first = source.lines().nth(1).unwrap_or_default();
    ensure!(source.starts_with("SOURCE") && first.trim_start().starts_with("WARNING"), "{}", outcome.stdout);
    ensure!(tables.contains("\n\nTARGET"), "{}", outcome.said());

    scene.run().succeed().await?;
    scene.require_equal().await
}

#[tokio::test]
async fn a_missing_privilege_is_found_by_trying() -> Result<()> {
    let scene = Scene::mysql("precheck_privileges").await?;
    scene.execute(["CREATE TABLE t (id INT PRIMARY KEY)"]).await?;
    let (user, database) = (format!("few{}", std::process::id()), scene.name());
    let mut admin = connect::mysql(scene.source_server().url()).await?;
    admin.query_drop(format!("DROP USER IF EXISTS {user}")).await?;
    admin.query_drop(format!("CREATE USER {user} IDENTIFIED BY 'few'")).await?;
    admin.query_drop(format!("GRANT SELECT ON {database}.* TO {user}")).await?;
    let server = scene.source_server();
    let url = format!("mysql://{user}:few@{}:{}/{database}", server.host(), server.port());
    let outcome = precheck(&scene).replace("--source", url).finish().await?;
    admin.query_drop(format!("DROP USER {user}")).await?;
    ensure!(outcome.status.code() == Some(1), "{}", outcome.said());
    let list = list(&outcome)?;
    let failed: Vec<&Value> = list["items"]
        .as_array()
        .map(|items| items.iter().filter(|item| item["severity"] == "failed").collect())
        .unwrap_or_default();
    for grant in ["GRANT REPLICATION CLIENT", "GRANT REPLICATION SLAVE"] {
        let has = failed.iter().any(|item| item["fix"].as_str().is_some_and(|fix| fix.contains(grant)));
        ensure!(has, "{grant} is not asked for: {list:#}");
    }
    // The rest is checked all the same.
    item(&list, "target version")?;
    Ok(())
}

#[tokio::test]
async fn a_name_taken_in_the_target_and_an_unreachable_server_are_failures() -> Result<()> {
    let scene = Scene::mysql("precheck_taken").await?;
    scene.execute(["CREATE TABLE t (id INT PRIMARY KEY)"]).await?;
    let target = scene.target().await?;
    target.batch_execute(&format!("CREATE SCHEMA {0}; CREATE TABLE {0}.t (x int)", scene.name())).await?;
    let outcome = precheck(&scene).finish().await?;
    ensure!(outcome.status.code() == Some(1), "{}", outcome.said());
    ensure!(item(&list(&outcome)?, "target tables")?["severity"] == "failed", "{}", outcome.said());

    let nowhere = precheck(&scene).replace("--target", "postgres://mig@127.0.0.1:1/none").finish().await?;
    ensure!(nowhere.status.code() == Some(1), "{}", nowhere.said());
    ensure!(item(&list(&nowhere)?, "connection")?["severity"] == "failed", "{}", nowhere.said());
    Ok(())
}

/// Tables that are not transactional are a risk that somebody has to take.
#[tokio::test]
async fn a_risk_stops_the_first_start_until_it_is_accepted() -> Result<()> {
    let scene = Scene::mysql("precheck_risk").await?;
    scene
        .execute([
            "CREATE TABLE t (id INT PRIMARY KEY, v INT) ENGINE = MyISAM",
            "INSERT INTO t VALUES (1, 1), (2, 2)",
        ])
        .await?;
    let words = ["because of warnings", "not transactional", "--accept-warnings"];
    refused(scene.run(), 1, &words).await?;
    require_untouched(&scene).await?;
    scene.run().argument("--accept-warnings").succeed().await?;
    // It has been said once.
    scene.execute(["INSERT INTO t VALUES (3, 3)"]).await?;
    scene.run().succeed().await?;
    scene.require_equal().await
}
