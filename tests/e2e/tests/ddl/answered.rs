//! Changes of structure that a plugin answers itself.

use anyhow::{Context, Result, ensure};
use e2e::Scene;
use serde_json::{Value, json};

use crate::refused::refused;

/// The target's indexes of the table, by name.
async fn indexes(scene: &Scene<'_>) -> Result<String> {
    scene
        .value(&format!(
            "SELECT string_agg(indexname, ' ' ORDER BY indexname) FROM pg_indexes WHERE schemaname = '{}'",
            scene.name()
        ))
        .await
}

#[tokio::test]
async fn as_the_plugin_says() -> Result<()> {
    let scene = Scene::mysql("ddl_answered").await?;
    scene
        .execute([
            "CREATE TABLE t (id INT PRIMARY KEY, n INT NOT NULL)",
            "INSERT INTO t VALUES (1, 1), (2, 2)",
        ])
        .await?;
    let config = json!({"restructure": {"answers": [
        {"words": "by_n", "execute": [
            format!("CREATE INDEX downwards ON {}.t (n DESC)", scene.name()),
            format!("COMMENT ON TABLE {}.t IS 'indexed otherwise'", scene.name()),
        ]},
        {"words": "unwanted", "ignore": true},
        {"words": "later", "pause": "somebody has to look at this"},
    ]}});
    let run = || scene.run().plugin("restructure").config(config.clone());
    run().succeed().await?;

    // Other statements in place of the source's, none at all, and what no answer is about.
    scene
        .execute([
            "INSERT INTO t VALUES (3, 3)",
            "CREATE INDEX by_n ON t (n)",
            "CREATE INDEX unwanted ON t (n, id)",
            "ALTER TABLE t ADD COLUMN v VARCHAR(10)",
            "INSERT INTO t VALUES (4, 4, 'four')",
        ])
        .await?;
    run().succeed().await?;
    ensure!(indexes(&scene).await? == "downwards t_pkey", "{}", indexes(&scene).await?);
    let query = format!("SELECT obj_description('{}.t'::regclass)", scene.name());
    ensure!(scene.value(&query).await? == "indexed otherwise");
    scene.require_equal().await?;

    // What it stops at waits for somebody, however often it is tried.
    scene
        .execute([
            "INSERT INTO t VALUES (5, 5, 'five')",
            "ALTER TABLE t ADD COLUMN later INT",
            "DELETE FROM t WHERE id = 1",
        ])
        .await?;
    for _ in 0..2 {
        refused(run(), 1, &["somebody has to look at this", "ADD COLUMN later", "--structure-by-hand"])
            .await?;
    }
    let count = format!("SELECT count(*)::text FROM {}.t", scene.name());
    ensure!(scene.value(&count).await? == "5", "what comes before it is there, what comes after it is not");
    let error: Value = serde_json::from_str(&run().fail().await?)?;
    let help = error["help"].as_str().context("the error has no help")?;
    let token = help.split("--structure-by-hand ").nth(1).and_then(|rest| rest.split([';', ' ']).next());
    scene
        .target()
        .await?
        .batch_execute(&format!("ALTER TABLE {}.t ADD COLUMN later integer", scene.name()))
        .await?;
    run().arguments(["--structure-by-hand", token.context("the help has no token")?]).succeed().await?;
    scene.require_equal().await
}
