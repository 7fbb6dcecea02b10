//! The harness itself works: a row is copied, another one follows.

use anyhow::Result;
use e2e::Scene;

#[tokio::test]
async fn one_row_is_copied_and_another_follows() -> Result<()> {
    let scene = Scene::mysql("smoke").await?;
    scene
        .execute(["CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))", "INSERT INTO t VALUES (1, 'copied')"])
        .await?;
    let outcome = scene.run().succeed().await?;
    assert_eq!(outcome.last("done")?["exit_code"], 0);
    scene.require_equal().await?;
    scene.execute(["INSERT INTO t VALUES (2, 'followed')"]).await?;
    scene.run().succeed().await?;
    scene.require_equal().await
}
