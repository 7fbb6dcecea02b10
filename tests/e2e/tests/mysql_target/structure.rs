//! The source's tables change their structure while they are followed.

use anyhow::{Context as _, Result};
use e2e::MysqlScene;
use mysql_async::prelude::Queryable as _;
use test_kit::Server;

/// Statements, each with rows before and after it that have another structure.
const CHANGES: &[&[&str]] = &[
    &["ALTER TABLE t ADD COLUMN note VARCHAR(20) NOT NULL DEFAULT 'new'", "INSERT INTO t (id) VALUES (10)"],
    &["ALTER TABLE t ADD COLUMN first INT NULL FIRST, ADD KEY by_first (first)", "UPDATE t SET first = id"],
    &["ALTER TABLE t CHANGE COLUMN note text TEXT", "UPDATE t SET text = REPEAT('x', 100) WHERE id = 2"],
    &[
        "ALTER TABLE t ADD COLUMN kind ENUM('a','b') NOT NULL DEFAULT 'b' AFTER id",
        "INSERT INTO t (id) VALUES (11)",
    ],
    &[
        "ALTER TABLE t DROP COLUMN v, MODIFY COLUMN id BIGINT NOT NULL",
        "INSERT INTO t (id) VALUES (5000000000)",
    ],
    &[
        "CREATE TABLE u (id INT PRIMARY KEY AUTO_INCREMENT, t BIGINT, KEY (t))",
        "INSERT INTO u (t) VALUES (1), (2)",
    ],
    &["CREATE UNIQUE INDEX once ON u (t)", "INSERT INTO u (t) VALUES (3)"],
    &["RENAME TABLE t TO old, u TO t", "INSERT INTO t (t) VALUES (9)", "DELETE FROM old WHERE id = 1"],
    &["DROP INDEX once ON t", "INSERT INTO t (t) VALUES (9)"],
    &["TRUNCATE TABLE t", "INSERT INTO t (t) VALUES (4)"],
    &["DROP TABLE old"],
];

async fn is_carried_over(source: &Server, target: &Server, test: &str) -> Result<()> {
    let scene = MysqlScene::new(source, target, test).await?;
    scene
        .execute(["CREATE TABLE t (id INT PRIMARY KEY, v INT)", "INSERT INTO t VALUES (1, 1), (2, 2)"])
        .await?;
    scene.run().succeed().await?;
    for statements in CHANGES {
        scene.execute(*statements).await?;
        scene.run().succeed().await.with_context(|| statements.join("; "))?;
        scene.require_equal().await.with_context(|| statements.join("; "))?;
    }
    let query = "SELECT CONVERT(GROUP_CONCAT(DISTINCT index_name ORDER BY 1) USING utf8mb4) \
                 FROM information_schema.statistics WHERE table_schema = ? AND table_name = 't'";
    let indexes: Option<String> = scene.target().await?.exec_first(query, (scene.target_name(),)).await?;
    assert_eq!(indexes.as_deref(), Some("PRIMARY,t"));
    Ok(())
}

#[tokio::test]
async fn of_a_mysql_is_carried_over_to_a_mysql() -> Result<()> {
    is_carried_over(test_kit::mysql()?, test_kit::mysql()?, "to_mysql_structure_changes").await
}

#[tokio::test]
async fn of_a_mysql_is_carried_over_to_a_mariadb() -> Result<()> {
    is_carried_over(test_kit::mysql()?, test_kit::mariadb()?, "to_mariadb_structure_changes").await
}
