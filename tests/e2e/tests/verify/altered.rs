//! A check that is carried on from before a change of structure: what it had found then counts for nothing.

use anyhow::{Result, ensure};
use e2e::{MysqlScene, Scene, eventually};
use serde_json::Value;
use test_kit::{mariadb, mysql};

use super::place::{Place, check};
use super::{TABLES, report, rows, set, wrong};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_from_before_a_change_of_structure_begins_anew() -> Result<()> {
    begins_anew(&Scene::mysql("verify_altered").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_of_mysql_from_before_a_change_of_structure_begins_anew() -> Result<()> {
    begins_anew(&MysqlScene::new(mariadb()?, mysql()?, "verify_mysql_altered").await?).await
}

fn says_so(report: &Value) -> bool {
    let findings = report["findings"].as_array().into_iter().flatten();
    findings.filter_map(|finding| finding["message"].as_str()).any(|message| message.contains("begun anew"))
}

async fn begins_anew(scene: &impl Place) -> Result<()> {
    scene.execute(TABLES).await?;
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    let parts = || check(scene).arguments(["--part-rows", "100", "--parallelism", "1"]);
    let killed = async || {
        let killed = parts().environment("ENGINE_FAILPOINT", "part-compared:4").finish().await?;
        ensure!(!killed.status.success(), "it was not killed: {}", killed.said());
        anyhow::Ok(())
    };
    killed().await?;
    scene
        .execute([
            "ALTER TABLE numbers ADD COLUMN more INT NOT NULL DEFAULT 7",
            "UPDATE numbers SET more = id WHERE id <= 500",
            "INSERT INTO numbers (id, one, more) VALUES (20000, 'late', 1)",
        ])
        .await?;
    eventually("the row of the altered table", async || {
        Ok(scene
            .count("numbers WHERE id = 20000 AND more = 1")
            .await
            .ok()
            .filter(|&rows| rows == 1)
            .map(drop))
    })
    .await?;
    // In the new column; and among the first parts, which were found equal before.
    for statement in
        ["UPDATE numbers SET more = 8 WHERE id = 600", "DELETE FROM numbers WHERE id IN (10, 1000)"]
    {
        scene.on_target(statement).await?;
    }
    let broken = set(&["numbers different 600 more", "numbers missing 10", "numbers missing 1000"]);
    let found = report(parts(), 4).await?;
    ensure!(says_so(&found), "it doesn't say that it was begun anew: {found}");
    assert_eq!((&found["parts_before"], rows(&found, "numbers")), (&0.into(), 1001));
    assert_eq!(wrong(&found), broken);

    // Nothing has changed since the next one was interrupted.
    killed().await?;
    let found = report(parts().argument("--repair"), 0).await?;
    ensure!(!says_so(&found) && found["parts_before"].as_u64() >= Some(3), "{found}");
    ensure!(!running.has_ended()?, "the engine stopped");
    running.interrupt().await?;
    running.finish().await?.failed(130)?;
    scene.require_equal().await
}
