//! One test's databases on two servers of the `MySQL` family, which may be the same.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use tempfile::TempDir;
use test_kit::Server;
use test_support::connect;
use test_support::engine::{Run, state_directory};
use test_support::same_engine::require_same;

/// A database on a source, the name of one on a target, and a directory for the engine's state.
///
/// A server keeps the records of all tasks together, so the task has the test's own name.
#[derive(Debug)]
pub struct MysqlScene<'a> {
    source: &'a Server,
    target: &'a Server,
    name: String,
    directory: TempDir,
}

impl<'a> MysqlScene<'a> {
    /// A scene on these servers; `test` is a name that no other test has.
    pub async fn new(source: &'a Server, target: &'a Server, test: &str) -> Result<Self> {
        let name = format!("e2e_{test}_{}", std::process::id());
        let scene = Self { source, target, name, directory: tempfile::tempdir()? };
        state_directory(&scene.state_directory())?;
        let mut conn = connect::mysql(source.url()).await?;
        conn.query_drop(format!("DROP DATABASE IF EXISTS {}", scene.name)).await?;
        conn.query_drop(format!("CREATE DATABASE {} CHARACTER SET utf8mb4", scene.name)).await?;
        conn.disconnect().await?;
        let mut conn = connect::mysql(target.url()).await?;
        conn.query_drop(format!("DROP DATABASE IF EXISTS {}", scene.target_name())).await?;
        conn.disconnect().await?;
        Ok(scene)
    }

    /// Name of the source's database, and of the task.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Name of the target's database.
    pub fn target_name(&self) -> String {
        format!("{}_to", self.name)
    }

    /// The source with this scene's database selected.
    pub fn source_url(&self) -> String {
        self.source.url_of(&self.name)
    }

    /// The target with this scene's database selected, which need not exist.
    pub fn target_url(&self) -> String {
        self.target.url_of(&self.target_name())
    }

    /// Where the engine keeps the task's state.
    pub fn state_directory(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// A directory for files of the test, removed with the scene.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A connection to the source with this scene's database selected.
    pub async fn source(&self) -> Result<Conn> {
        connect::mysql(&self.source_url()).await
    }

    /// A connection to the target with this scene's database selected.
    pub async fn target(&self) -> Result<Conn> {
        connect::mysql(&self.target_url()).await
    }

    /// Runs statements on the source, one after the other, each committed.
    pub async fn execute<S: AsRef<str>>(&self, statements: impl IntoIterator<Item = S>) -> Result<()> {
        run_all(self.source().await?, statements).await
    }

    /// Runs statements on the target, one after the other, each committed.
    pub async fn execute_on_target<S: AsRef<str>>(
        &self,
        statements: impl IntoIterator<Item = S>,
    ) -> Result<()> {
        run_all(self.target().await?, statements).await
    }

    /// `engine run` between both databases, by `mysql2mysql`, until it is caught up. What is added to it wins.
    pub fn run(&self) -> Run {
        self.follow().arguments(["--until", "caught-up"])
    }

    /// As [`run`](Self::run), but it goes on until it is stopped.
    pub fn follow(&self) -> Run {
        let state = self.state_directory().display().to_string();
        Run::plain(self.directory.path())
            // The tests' servers wait for no disk, which the checks warn of.
            .arguments(["run", "--json", "--accept-warnings", "--name", &self.name])
            .arguments(["--source", &self.source_url(), "--target", &self.target_url()])
            .arguments(["--state-dir", &state])
            .plugin("mysql2mysql")
    }

    /// Fails with the differences unless every table of the source's database is in the target, bit for bit.
    pub async fn require_equal(&self) -> Result<()> {
        let (mut source, mut target) = (self.source().await?, self.target().await?);
        require_same(&mut source, &self.name, &mut target, &self.target_name()).await
    }
}

async fn run_all<S: AsRef<str>>(mut conn: Conn, statements: impl IntoIterator<Item = S>) -> Result<()> {
    for statement in statements {
        let statement = statement.as_ref();
        conn.query_drop(statement).await.with_context(|| statement.to_owned())?;
    }
    conn.disconnect().await?;
    Ok(())
}

impl Drop for MysqlScene<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let names = [(self.source, self.name.clone()), (self.target, self.target_name())];
        for (server, name) in names {
            let Ok(mut client) = server.client() else { continue };
            client.arg("--execute");
            client.arg(format!("SET SESSION lock_wait_timeout = 2; DROP DATABASE IF EXISTS {name}"));
            let _ = client.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}
