//! Damage to the engine's own records, a full disk, and a source whose structure changes under the engine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Scene, eventually};
use mysql_async::prelude::Queryable as _;

use crate::refused::refused;

const LIMIT: Duration = Duration::from_mins(1);
const TABLE: &str = "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(200))";
const ROWS: &str = "INSERT INTO t (v) VALUES ('a'), ('b'), ('c')";

#[tokio::test]
async fn a_damaged_state_directory_costs_no_data() -> Result<()> {
    let scene = Scene::mysql("damaged").await?;
    scene.execute([TABLE, ROWS]).await?;
    scene.run().succeed().await?;
    let store = scene.state_directory().join("task/store");
    for damage in [truncate as fn(&Path) -> Result<()>, empty, overwrite] {
        damage(&store.join("db"))?;
        scene.execute([ROWS]).await?;
        let outcome = scene.run().finish().await?;
        if !outcome.status.success() {
            let error = outcome.failed(1)?;
            ensure!(error.contains("store is damaged") && error.contains("delete that directory"), "{error}");
            // The way out that the message names.
            fs::remove_dir_all(&store)?;
            scene.run().succeed().await?;
        }
        scene.require_equal().await?;
    }
    fs::write(scene.state_directory().join("task/status.json"), "{")?;
    scene.run().succeed().await?;
    Ok(())
}

fn truncate(file: &Path) -> Result<()> {
    let length = fs::metadata(file)?.len();
    Ok(fs::OpenOptions::new().write(true).open(file)?.set_len(length / 2)?)
}

fn empty(file: &Path) -> Result<()> {
    Ok(fs::write(file, "")?)
}

fn overwrite(file: &Path) -> Result<()> {
    let length = usize::try_from(fs::metadata(file)?.len())?;
    Ok(fs::write(file, vec![b'x'; length])?)
}

/// A small file system in memory; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(place: PathBuf, size: &str) -> Result<Self> {
        fs::create_dir_all(&place)?;
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(&place)
            .status()?;
        ensure!(status.success(), "mounting a small disk, which takes root: {status}");
        Ok(Self(place))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_stops_the_task_and_loses_nothing() -> Result<()> {
    let scene = Scene::mysql("full_disk").await?;
    scene.execute([TABLE, ROWS]).await?;
    let disk = SmallDisk::mount(scene.directory().join("disk"), "64m")?;
    let state = disk.0.join("state");
    let state_text = state.display().to_string();
    let run = || scene.run().replace("--state-dir", state_text.clone());
    let filler = disk.0.join("filler");
    let fill = Command::new("sh")
        .arg("-c")
        .arg(format!("cat /dev/zero > {} 2>/dev/null", filler.display()))
        .status()?;
    ensure!(!fill.success(), "the disk is not full");
    refused(run(), 1, &["No space left on device", "disk/state"]).await?;
    fs::remove_file(&filler)?;
    run().succeed().await?;
    scene.execute([ROWS]).await?;
    Command::new("sh").arg("-c").arg(format!("cat /dev/zero > {} 2>/dev/null", filler.display())).status()?;
    refused(run(), 1, &["No space left on device", "disk/state"]).await?;
    fs::remove_file(&filler)?;
    run().succeed().await?;
    scene.require_equal().await
}

#[tokio::test]
async fn structure_changes_stop_the_task_with_the_statement() -> Result<()> {
    let scene = Scene::mysql("ddl").await?;
    scene.execute([TABLE, ROWS]).await?;
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    let table = format!("{}.t", scene.name());
    let rows = format!("SELECT count(*)::text FROM {table}");
    scene.execute([ROWS]).await?;
    eventually("the rows written before", LIMIT, async || {
        Ok((scene.value(&rows).await? == "6").then_some(()))
    })
    .await?;
    scene.execute(["ALTER TABLE t ADD COLUMN w INT", "INSERT INTO t (v, w) VALUES ('d', 1)"]).await?;
    let error = running.finish().await?.failed(1)?;
    for word in ["ALTER TABLE t ADD COLUMN w INT", &table, "--exclude", "another --name"] {
        ensure!(error.contains(word), "the error doesn't say '{word}': {error}");
    }
    assert_eq!(scene.value(&rows).await?, "6", "what came after was applied");
    refused(scene.run(), 1, &["the structure of", &table, "changed on the source", "--name"]).await
}

#[tokio::test]
async fn a_new_table_is_not_passed_over_in_silence() -> Result<()> {
    let scene = Scene::mysql("new_table").await?;
    scene.execute([TABLE, ROWS]).await?;
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    let mut source = scene.source().await?;
    source.query_drop("CREATE TABLE fresh (id INT PRIMARY KEY)").await?;
    source.query_drop("INSERT INTO fresh VALUES (1)").await?;
    source.disconnect().await?;
    let error = running.finish().await?.failed(1)?;
    ensure!(error.contains("fresh"), "the error doesn't name the table: {error}");
    let help = serde_json::from_str::<serde_json::Value>(&error)?["help"].as_str().map(str::to_owned);
    help.context("the error doesn't say what to do")?;
    Ok(())
}
