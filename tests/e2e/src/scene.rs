//! One test's databases on a source and a target server.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use tempfile::TempDir;
use test_kit::Server;
use test_support::compare::{Pair, compare, require_equal, tables_of};
use test_support::connect;
use test_support::engine::{Run, state_directory};
use tokio_postgres::Client;

/// A database on a source, a database on a target, and a directory for the engine's state.
///
/// The names are the test's and the process's own, so that tests can share servers and run at the same time. Both
/// databases are dropped with the value, except after a failure, when somebody may want to look at them.
#[derive(Debug)]
pub struct Scene<'a> {
    source: &'a Server,
    target: &'a Server,
    name: String,
    directory: TempDir,
    further: RefCell<Vec<String>>,
}

impl Scene<'static> {
    /// A scene on the shared `MySQL` and `PostgreSQL` servers.
    pub async fn mysql(test: &str) -> Result<Self> {
        Self::new(test_kit::mysql()?, test_kit::postgres()?, test).await
    }

    /// A scene on the shared `MariaDB` and `PostgreSQL` servers.
    pub async fn mariadb(test: &str) -> Result<Self> {
        Self::new(test_kit::mariadb()?, test_kit::postgres()?, test).await
    }
}

impl<'a> Scene<'a> {
    /// A scene on these servers; `test` is a name that no other test has.
    pub async fn new(source: &'a Server, target: &'a Server, test: &str) -> Result<Self> {
        let name = format!("e2e_{test}_{}", std::process::id());
        let directory = tempfile::tempdir()?;
        let scene = Self { source, target, name, directory, further: RefCell::default() };
        state_directory(&scene.state_directory())?;
        scene.create_database(&scene.name).await?;
        let postgres = connect::postgres(target.url()).await?;
        postgres.batch_execute(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", scene.name)).await?;
        postgres.batch_execute(&format!("CREATE DATABASE {}", scene.name)).await?;
        Ok(scene)
    }

    /// Name of the database on either side; with the bundled plugin's defaults also that of the schema in the target.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The server of the source.
    pub fn source_server(&self) -> &'a Server {
        self.source
    }

    /// The server of the target.
    pub fn target_server(&self) -> &'a Server {
        self.target
    }

    /// The source with this scene's database selected.
    pub fn source_url(&self) -> String {
        self.source.url_of(&self.name)
    }

    /// The target with this scene's database selected.
    pub fn target_url(&self) -> String {
        self.target.url_of(&self.name)
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
    pub async fn target(&self) -> Result<Client> {
        connect::postgres(&self.target_url()).await
    }

    /// Creates one more database on the source, named after the scene's with `suffix`; answers its name.
    pub async fn further_database(&self, suffix: &str) -> Result<String> {
        let name = format!("{}_{suffix}", self.name);
        self.create_database(&name).await?;
        self.further.borrow_mut().push(name.clone());
        Ok(name)
    }

    /// Runs statements on the source, one after the other, each committed.
    pub async fn execute<S: AsRef<str>>(&self, statements: impl IntoIterator<Item = S>) -> Result<()> {
        let mut source = self.source().await?;
        for statement in statements {
            let statement = statement.as_ref();
            source.query_drop(statement).await.with_context(|| format!("on the source: {statement}"))?;
        }
        source.disconnect().await?;
        Ok(())
    }

    /// The rows of a query on the target, whose columns are all cast to text by the caller; NULL reads as `NULL`.
    pub async fn rows(&self, query: &str) -> Result<Vec<Vec<String>>> {
        let target = self.target().await?;
        let rows = target.query(query, &[]).await.with_context(|| format!("on the target: {query}"))?;
        rows.iter()
            .map(|row| {
                (0..row.len())
                    .map(|index| {
                        let text: Option<String> = row.try_get(index)?;
                        Ok(text.unwrap_or_else(|| "NULL".to_owned()))
                    })
                    .collect()
            })
            .collect()
    }

    /// The one text that a query on the target answers.
    pub async fn value(&self, query: &str) -> Result<String> {
        let rows = self.rows(query).await?;
        ensure!(rows.len() == 1, "{query} answers {} rows", rows.len());
        rows.into_iter().flatten().next().with_context(|| format!("{query} answers no column"))
    }

    /// `engine run` between both databases, by `mysql2og`, until it is caught up. What is added to it wins.
    pub fn run(&self) -> Run {
        self.follow().arguments(["--until", "caught-up"])
    }

    /// As [`run`](Self::run), but it goes on until it is stopped.
    pub fn follow(&self) -> Run {
        Run::new(self.directory.path(), &self.source_url(), &self.target_url(), &self.state_directory())
    }

    /// Fails with the differences unless every table of the scene's source database is in the target, row for row.
    pub async fn require_equal(&self) -> Result<()> {
        let mut source = self.source().await?;
        let pairs: Vec<Pair> = tables_of(&mut source, &self.name).await?;
        ensure!(!pairs.is_empty(), "the source has no table to compare");
        let comparisons = compare(&mut source, &self.target().await?, &pairs).await?;
        source.disconnect().await?;
        require_equal(&comparisons)
    }

    async fn create_database(&self, name: &str) -> Result<()> {
        let mut source = connect::mysql(self.source.url()).await?;
        source.query_drop(format!("DROP DATABASE IF EXISTS {name}")).await?;
        source.query_drop(format!("CREATE DATABASE {name} CHARACTER SET utf8mb4")).await?;
        source.disconnect().await?;
        Ok(())
    }

    /// Runs one statement with the server's own client, without caring about what comes of it.
    fn drop_quietly(server: &Server, statement: &str) {
        let Ok(mut client) = server.client() else { return };
        client.arg(if server.product().is_postgres() { "--command" } else { "--execute" }).arg(statement);
        let _ = client.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

impl Drop for Scene<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for name in self.further.borrow().iter().chain([&self.name]) {
            // A connection that a failed test left open may hold a lock until this thread is free to close it.
            let statement = format!("SET SESSION lock_wait_timeout = 2; DROP DATABASE IF EXISTS {name}");
            Self::drop_quietly(self.source, &statement);
        }
        Self::drop_quietly(self.target, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}
