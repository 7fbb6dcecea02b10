//! What the target's account may do is tried before a task begins, and the statement that mends it is named.

use anyhow::{Context as _, Result, ensure};
use e2e::{MysqlScene, Run};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use serde_json::{Value, json};
use test_kit::Server;
use test_support::connect;

/// A table with a foreign key, and an object of each kind.
async fn fill(scene: &MysqlScene<'_>) -> Result<()> {
    scene
        .execute([
            "CREATE TABLE parents (id INT PRIMARY KEY)",
            "CREATE TABLE children (id INT PRIMARY KEY, parent INT, FOREIGN KEY (parent) REFERENCES parents (id))",
            "CREATE VIEW seen AS SELECT id FROM children",
            "CREATE PROCEDURE nothing() SELECT 1",
            "CREATE EVENT later ON SCHEDULE EVERY 1 YEAR STARTS '2037-01-01 00:00:00' DO DELETE FROM children",
            "CREATE TRIGGER before_child BEFORE INSERT ON children FOR EACH ROW SET @children = 1",
        ])
        .await
}

fn precheck(scene: &MysqlScene<'_>, target: &str, definer: &str) -> Run {
    let state = scene.state_directory().display().to_string();
    Run::plain(scene.directory())
        .arguments(["precheck", "--json", "--name", scene.name()])
        .arguments(["--source", &scene.source_url(), "--target", target])
        .arguments(["--state-dir", &state])
        .plugin("mysql2mysql")
        .config(json!({ "mysql2mysql": { "objects": { "definer": definer } } }))
}

/// Message and fix of each failure.
async fn failures(run: Run) -> Result<Vec<(String, String)>> {
    let outcome = run.finish().await?;
    let list: Value = serde_json::from_str(&outcome.stdout).with_context(|| outcome.said())?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = list["items"].as_array().context("no items")?;
    let failed = items.iter().filter(|item| item["severity"] == "failed");
    Ok(failed.map(|item| (text(&item["message"]), text(&item["fix"]))).collect())
}

/// Everything that there is in the target's database and the engine's own.
async fn everything(admin: &mut Conn, database: &str) -> Result<Vec<String>> {
    let names = format!("('{database}', '_migration')");
    let query = format!(
        "SELECT CONVERT(CONCAT('database ', schema_name) USING utf8mb4) AS name FROM information_schema.schemata \
         WHERE schema_name IN {names} \
         UNION ALL SELECT CONVERT(CONCAT('table ', table_schema, table_name) USING utf8mb4) \
         FROM information_schema.tables WHERE table_schema IN {names} \
         AND (table_schema <> '_migration' OR table_name LIKE '\\_%') \
         UNION ALL SELECT CONVERT(CONCAT('routine ', routine_name) USING utf8mb4) \
         FROM information_schema.routines WHERE routine_schema IN {names} \
         UNION ALL SELECT CONVERT(CONCAT('event ', event_name) USING utf8mb4) FROM information_schema.events \
         WHERE event_schema IN {names} \
         UNION ALL SELECT CONVERT(CONCAT('trigger ', trigger_name) USING utf8mb4) \
         FROM information_schema.triggers WHERE trigger_schema IN {names} ORDER BY 1"
    );
    Ok(admin.query(query).await?)
}

const NEEDED: [&str; 13] = [
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "CREATE",
    "DROP",
    "ALTER",
    "INDEX",
    "REFERENCES",
    "CREATE VIEW",
    "TRIGGER",
    "CREATE ROUTINE",
    "EVENT",
];

async fn each_is_asked_for(server: &Server, test: &str) -> Result<()> {
    let scene = MysqlScene::new(server, server, test).await?;
    fill(&scene).await?;
    let (user, database) = (format!("u{}", scene.name()), scene.target_name());
    let user = user.get(..user.len().min(30)).unwrap_or_default().to_owned();
    let url = format!("mysql://{user}:few@{}:{}/{database}", server.host(), server.port());
    let mut admin = connect::mysql(server.url()).await?;
    let trusts: Option<bool> = admin.query_first("SELECT @@GLOBAL.log_bin_trust_function_creators").await?;
    let version: Option<String> = admin.query_first("SELECT VERSION()").await?;
    let is_mariadb = version.is_some_and(|version| version.contains("MariaDB"));
    // First the database is not there yet, then it is.
    for is_there in [false, true] {
        if is_there {
            admin.query_drop(format!("CREATE DATABASE {database}")).await?;
        }
        for lacking in NEEDED.into_iter().skip(if is_there { 8 } else { 0 }) {
            // MariaDB asks for nothing special, and triggers are for SUPER where functions aren't trusted.
            if is_mariadb && lacking == "REFERENCES" || trusts == Some(false) && lacking == "TRIGGER" {
                continue;
            }
            let granted: Vec<&str> = NEEDED.into_iter().filter(|name| *name != lacking).collect();
            for statement in [
                format!("DROP USER IF EXISTS {user}"),
                format!("CREATE USER {user} IDENTIFIED BY 'few'"),
                format!("GRANT {} ON {database}.* TO {user}", granted.join(", ")),
                format!("GRANT ALL PRIVILEGES ON _migration.* TO {user}"),
            ] {
                admin.query_drop(&statement).await.with_context(|| statement.clone())?;
            }
            let before = everything(&mut admin, &database).await?;
            let found = failures(precheck(&scene, &url, "account")).await?;
            let fix = format!("GRANT {lacking} ON `{database}`.* TO '{user}'@'%'");
            ensure!(found.iter().any(|(_, told)| *told == fix), "no '{fix}' among {found:#?}");
            let others: Vec<_> =
                found.iter().filter(|(_, told)| told.starts_with("GRANT") && *told != fix).collect();
            ensure!(others.is_empty(), "without {lacking} more is asked for: {others:?}");
            assert_eq!(everything(&mut admin, &database).await?, before);
            // What is told is what it takes.
            admin.query_drop(&fix).await?;
            let found = failures(precheck(&scene, &url, "account")).await?;
            ensure!(found.iter().all(|(_, fix)| !fix.starts_with("GRANT")), "{found:#?}");
        }
        // In the name of another account.
        let found = failures(precheck(&scene, &url, "keep")).await?;
        let fix = if is_mariadb { "GRANT SET USER ON *.*" } else { "GRANT SET_ANY_DEFINER ON *.*" };
        ensure!(found.iter().any(|(_, told)| told.starts_with(fix)), "no '{fix}' among {found:#?}");
    }
    admin.query_drop(format!("DROP USER {user}")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_privilege_that_lacks_on_mysql_is_asked_for_by_name() -> Result<()> {
    each_is_asked_for(test_kit::mysql()?, "rights").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_privilege_that_lacks_on_mariadb_is_asked_for_by_name() -> Result<()> {
    each_is_asked_for(test_kit::mariadb()?, "rights_mariadb").await
}
