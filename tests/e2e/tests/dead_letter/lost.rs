//! The list is lost, or older than the target: the target remembers which rows are missing.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};
use e2e::{Run, Scene};
use engine_core::failpoint::Failpoint;
use serde_json::json;

use super::{brief, command, config, letters, retry, rows_dead, run};

/// Rows set aside in the copy and in the stream, with and without a key.
async fn set_aside(test: &str) -> Result<Scene<'static>> {
    let scene = Scene::mysql(test).await?;
    scene
        .execute([
            "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20), doc JSON)",
            "CREATE TABLE keyless (v VARCHAR(20))",
            r#"INSERT INTO t VALUES (1, 'a', NULL), (2, '\0', NULL), (3, 'c', '["\\u0000"]')"#,
            r"INSERT INTO keyless VALUES ('\0'), ('\0'), ('k')",
        ])
        .await?;
    run(&scene).succeed().await?;
    scene
        .execute([
            r"INSERT INTO t VALUES (4, '\0', NULL)",
            r#"UPDATE t SET doc = '["\\u0000"]' WHERE id = 1"#,
            r"INSERT INTO keyless VALUES ('\0')",
        ])
        .await?;
    run(&scene).succeed().await?;
    Ok(scene)
}

const ALL: [&str; 7] = [
    "copy  nul",
    "copy  nul",
    "copy id=2 nul",
    "copy id=3 22P05",
    "insert  nul",
    "insert id=4 nul",
    "update id=1 22P05",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_state_directory_it_is_known_all_the_same() -> Result<()> {
    let scene = set_aside("letters_lost").await?;
    assert_eq!(brief(&scene).await?, ALL);
    // Without the file alone a check knows them at once.
    fs::remove_file(scene.state_directory().join("task/dead-letter.jsonl"))?;
    let state = scene.state_directory().display().to_string();
    let check = Run::plain(scene.directory())
        .arguments(["verify", "task", "--json", "--table", "t", "--state-dir", &state])
        .arguments(["--source", &scene.source_url(), "--target", &scene.target_url()])
        .plugin("mysql2og")
        .config(config());
    let outcome = check.succeed().await?;
    ensure!(
        outcome.stdout.contains("\"set_aside\":") && !outcome.stdout.contains("\"set_aside\":0"),
        "{}",
        outcome.stdout
    );

    fs::remove_dir_all(scene.state_directory())?;
    let again = run(&scene).succeed().await?;
    assert_eq!((brief(&scene).await?, rows_dead(&again)?), (ALL.map(str::to_owned).to_vec(), 7));
    ensure!(
        letters(&scene).await?.iter().all(|letter| letter["row"] == json!({})),
        "rows that were lost are known"
    );

    // The limit counts on.
    scene.execute([r"INSERT INTO t VALUES (5, '\0', NULL)"]).await?;
    let error = run(&scene).arguments(["--dead-letter-limit", "7"]).fail().await?;
    ensure!(error.contains("more rows are refused than may be set aside"), "{error}");
    run(&scene).arguments(["--dead-letter-limit", "8"]).succeed().await?;

    scene.execute(["UPDATE t SET v = 'mended', doc = NULL", "DELETE FROM t WHERE id = 2"]).await?;
    retry(&scene).finish().await?.failed(1)?;
    assert_eq!(brief(&scene).await?, ["copy  nul", "copy  nul", "insert  nul"]);
    run(&scene).succeed().await?;
    let rows =
        scene.value(&format!("SELECT string_agg(id || v, ' ' ORDER BY id) FROM {}.t", scene.name())).await?;
    assert_eq!(rows, "1mended 3mended 4mended 5mended");
    Ok(())
}

/// It dies with the rows in the file and not in the target, or in both and not committed without: none is listed twice,
/// and none is missing from the list, also if the file goes with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn between_file_and_target_nothing_is_forgotten() -> Result<()> {
    for place in Failpoint::OF_DEAD_LETTERS {
        let place = place.name();
        let scene = Scene::mysql(&format!("letters_{}", place.replace('-', "_"))).await?;
        scene
            .execute([
                "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))",
                "CREATE TABLE keyless (v VARCHAR(20))",
                r"INSERT INTO t VALUES (1, 'a'), (2, '\0')",
                r"INSERT INTO keyless VALUES ('\0'), ('k')",
            ])
            .await?;
        let dies = async || -> Result<()> {
            // One after the other, so that each time one is left to die at.
            let alone = run(&scene).arguments(["--parallelism", "1"]);
            let outcome = alone.environment("ENGINE_FAILPOINT", place).finish().await?;
            ensure!(!outcome.status.success(), "it did not die at {place}");
            Ok(())
        };
        dies().await?;
        dies().await?;
        run(&scene).succeed().await?;
        assert_eq!(brief(&scene).await?, ["copy  nul", "copy id=2 nul"], "{place}");
        scene.execute([r"INSERT INTO t VALUES (3, '\0')", r"INSERT INTO keyless VALUES ('\0')"]).await?;
        dies().await?;
        fs::remove_dir_all(scene.state_directory())?;
        dies().await?;
        run(&scene).succeed().await?;
        let all = ["copy  nul", "copy id=2 nul", "insert  nul", "insert id=3 nul"];
        assert_eq!(brief(&scene).await?, all, "{place}");

        scene.execute(["UPDATE t SET v = 'mended'"]).await?;
        let died = retry(&scene).environment("ENGINE_FAILPOINT", place).finish().await?;
        ensure!(!died.status.success(), "the retry did not die at {place}");
        retry(&scene).finish().await?.failed(1)?;
        assert_eq!(brief(&scene).await?, ["copy  nul", "insert  nul"], "{place}");
        run(&scene).succeed().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn for_an_older_one_it_is_as_the_target_has_it() -> Result<()> {
    let scene = set_aside("letters_older").await?;
    let copy = scene.directory().join("copy");
    ensure!(
        Command::new("cp").arg("-a").arg(scene.state_directory()).arg(&copy).status()?.success(),
        "no copy"
    );
    scene
        .execute(["UPDATE t SET v = 'mended' WHERE id IN (2, 4)", r"INSERT INTO t VALUES (6, '\0', NULL)"])
        .await?;
    run(&scene).succeed().await?;
    retry(&scene).finish().await?.failed(1)?;
    let now = brief(&scene).await?;
    assert_eq!(
        now,
        ["copy  nul", "copy  nul", "copy id=3 22P05", "insert  nul", "insert id=6 nul", "update id=1 22P05"]
    );
    fs::remove_dir_all(scene.state_directory())?;
    fs::rename(&copy, scene.state_directory())?;
    assert_eq!(brief(&scene).await?, ALL);
    run(&scene).succeed().await?;
    // What was settled does not come back, and what came since is not forgotten. Rows are kept where they are known.
    assert_eq!(brief(&scene).await?, now);
    let whole = letters(&scene).await?.iter().filter(|letter| letter["row"] != json!({})).count();
    assert_eq!(whole, 5);
    let listed = command(&scene, "list").succeed().await?;
    ensure!(listed.stdout.contains("id=6"), "{}", listed.stdout);
    Ok(())
}
