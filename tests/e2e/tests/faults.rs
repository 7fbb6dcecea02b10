//! Faults of networks and servers under a running engine: those that pass are ridden out, the others end it with the
//! reason, and in no case is a row lost, doubled or changed.

mod commits;
mod distributed;
mod documents;
mod gaps;
mod log;
mod meeting;
mod network;
mod retention;
mod servers;
mod sessions;
mod shape;
mod target;

use anyhow::{Result, bail};
use e2e::{Run, Running, Scene, eventually};
use test_kit::{CommitFault, Proxy};

/// A table with a key, one with a second unique key, and one without any, where a change that is applied twice shows.
const TABLES: [&str; 4] = [
    "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(200) NOT NULL)",
    "CREATE TABLE codes (id INT PRIMARY KEY, code VARCHAR(40) NOT NULL, UNIQUE KEY by_code (code))",
    "CREATE TABLE keyless (n INT NOT NULL, v VARCHAR(60) NULL)",
    "INSERT INTO codes VALUES (1, 'a'), (2, 'b'), (3, 'c')",
];

/// A scene with a proxy on each side.
struct Lines<'a> {
    scene: Scene<'a>,
    to_source: Proxy,
    to_target: Proxy,
}

impl<'a> Lines<'a> {
    fn to(scene: Scene<'a>) -> Result<Self> {
        let to_source = Proxy::to(scene.source_server())?;
        let to_target = Proxy::to(scene.target_server())?;
        Ok(Self { scene, to_source, to_target })
    }

    /// The engine's run by way of the proxies, until stopped.
    fn follow(&self) -> Result<Run> {
        let source = self.to_source.url(&self.scene.source_url())?;
        let target = self.to_target.url(&self.scene.target_url())?;
        Ok(self.scene.follow().replace("--source", source).replace("--target", target))
    }

    /// As [`follow`](Self::follow), once the engine streams.
    async fn streaming(&self) -> Result<Running> {
        let mut running = self.follow()?.start()?;
        running.phase("streaming").await?;
        Ok(running)
    }

    /// Waits until a row written now has arrived, once; fails at once if the engine ends.
    async fn arrives(&self, running: &mut Running, mark: &str) -> Result<()> {
        tokio::select! {
            arrived = arrives(&self.scene, mark) => arrived,
            error = running.event(|event| event["event"] == "error") => bail!("the engine ended: {}", error?),
        }
    }

    /// Stops the engine, catches up without the proxies, and compares everything.
    async fn end(&self, running: Running) -> Result<()> {
        running.interrupt().await?;
        running.finish().await?.failed(130)?;
        self.scene.run().succeed().await?;
        self.scene.require_equal().await
    }
}

/// Waits until a row written now has arrived, once.
async fn arrives(scene: &Scene<'_>, mark: &str) -> Result<()> {
    scene.execute([format!("INSERT INTO keyless VALUES (-1, '{mark}')")]).await?;
    let query = format!("SELECT count(*)::text FROM {}.keyless WHERE v = '{mark}'", scene.name());
    eventually(mark, async || match scene.value(&query).await?.as_str() {
        "0" => Ok(None),
        "1" => Ok(Some(())),
        times => bail!("the row '{mark}' is there {times} times"),
    })
    .await
}

/// One transaction over all tables, by a number.
fn transaction(number: u64) -> Vec<String> {
    vec![
        format!("INSERT INTO t (v) VALUES ('{number}')"),
        format!("UPDATE t SET v = 'changed {number}' WHERE id = {}", 1 + number % 50),
        format!("INSERT INTO keyless VALUES ({}, 'one'), ({}, 'one')", number % 10, number % 10),
        format!("UPDATE keyless SET v = 'two' WHERE n = {} LIMIT 1", number % 10),
        "UPDATE codes SET code = CONCAT('aside ', id)".to_owned(),
        format!("UPDATE codes SET code = CONCAT('code ', (id + {number}) % 3)"),
    ]
}
