//! Damage to the engine's own records, and a full disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use e2e::{Scene, eventually};

use crate::refused::refused;

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
        go_on(&scene).await?;
        scene.require_equal().await?;
    }
    fs::write(scene.state_directory().join("task/status.json"), "{")?;
    scene.run().succeed().await?;
    Ok(())
}

/// As a power failure leaves it: what was written last is not all there.
#[tokio::test]
async fn a_store_with_a_torn_end_costs_no_data() -> Result<()> {
    let scene = Scene::mysql("torn").await?;
    scene.execute([TABLE, ROWS]).await?;
    let db = scene.state_directory().join("task/store/db");
    let rows = format!("SELECT count(*)::text FROM {}.t", scene.name());
    for (round, torn) in [1, 7, 100, 4_096, 100_000].into_iter().enumerate() {
        let mut running = scene.follow().start()?;
        running.phase("streaming").await?;
        scene.execute([ROWS]).await?;
        let wanted = (3 * (round + 2)).to_string();
        eventually("the rows", async || Ok((scene.value(&rows).await? == wanted).then_some(()))).await?;
        running.kill().await?;
        let length = fs::metadata(&db)?.len();
        fs::OpenOptions::new().write(true).open(&db)?.set_len(length.saturating_sub(torn))?;
        go_on(&scene).await.with_context(|| format!("{torn} of {length} bytes are torn off"))?;
        scene.require_equal().await?;
    }
    Ok(())
}

/// Runs the task to its present, with a new store where the old one is found to be damaged.
async fn go_on(scene: &Scene<'_>) -> Result<()> {
    let outcome = scene.run().finish().await?;
    if outcome.status.success() {
        return Ok(());
    }
    let error = outcome.failed(1)?;
    ensure!(error.contains("store is damaged") && error.contains("delete that directory"), "{error}");
    // The way out that the message names.
    fs::remove_dir_all(scene.state_directory().join("task/store"))?;
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
pub(crate) struct SmallDisk(pub(crate) PathBuf);

impl SmallDisk {
    pub(crate) fn mount(place: PathBuf, size: &str) -> Result<Self> {
        fs::create_dir_all(&place)?;
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(&place)
            .status()?;
        ensure!(status.success(), "mounting a small disk, which takes root: {status}");
        Ok(Self(place))
    }

    /// Leaves no room on it.
    pub(crate) fn fill(&self) -> Result<()> {
        let fill = format!("cat /dev/zero > {} 2>/dev/null", self.filler().display());
        ensure!(!Command::new("sh").args(["-c", &fill]).status()?.success(), "the disk is not full");
        Ok(())
    }

    /// Has the room again that was taken.
    pub(crate) fn make_room(&self) -> Result<()> {
        Ok(fs::remove_file(self.filler())?)
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
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
    disk.fill()?;
    refused(run(), 1, &["No space left on device", "disk/state"]).await?;
    disk.make_room()?;
    run().succeed().await?;
    scene.execute([ROWS]).await?;
    disk.fill()?;
    refused(run(), 1, &["No space left on device", "disk/state"]).await?;
    disk.make_room()?;
    run().succeed().await?;
    scene.require_equal().await
}
