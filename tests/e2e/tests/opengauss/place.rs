//! A database of a test's own on an openGauss server, and one of the same name on a `MySQL` server that it is moved to.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use engine_core::endpoint::EndpointUrl;
use tempfile::TempDir;
use test_kit::Server;
use test_kit::opengauss::url;
use test_support::compare::{compare, require_equal, tables_of};
use test_support::connect;
use test_support::engine::Run;
use tokio_postgres::Client;

use super::OpenGauss;

/// See the module.
pub(super) struct Place {
    server: OpenGauss,
    mysql: &'static Server,
    name: String,
    url: String,
    /// The same, with how it is to be decoded.
    source: String,
    directory: TempDir,
}

impl Place {
    /// A place on the server; `test` is a name that no other test has.
    pub(super) async fn new(server: OpenGauss, test: &str) -> Result<Self> {
        let name = format!("og_{test}_{}", std::process::id());
        let sql = connect_to(&server.url).await?;
        sql.batch_execute(&format!("CREATE DATABASE {name} ENCODING 'UTF8'")).await?;
        let url = url::with_database(&server.url, &name);
        let source = url.clone();
        Ok(Self { server, mysql: test_kit::mysql()?, name, url, source, directory: tempfile::tempdir()? })
    }

    /// The same with another `decoding`, and what follows it in the URL.
    pub(super) fn decoded(self, decoding: &str) -> Self {
        Self { source: url::with_options(&self.url, &format!("decoding={decoding}")), ..self }
    }

    /// Of the databases, of the schema, and of the task.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A session in the database, of which the schema is searched first.
    pub(super) async fn sql(&self) -> Result<Client> {
        let sql = connect_to(&self.url).await?;
        sql.batch_execute(&format!("SET search_path = {}", self.name)).await?;
        Ok(sql)
    }

    /// Runs statements, one after the other, each committed.
    pub(super) async fn execute<S: AsRef<str>>(&self, statements: impl IntoIterator<Item = S>) -> Result<()> {
        let sql = self.sql().await?;
        for statement in statements {
            let statement = statement.as_ref();
            sql.batch_execute(statement).await.with_context(|| statement.to_owned())?;
        }
        Ok(())
    }

    /// A command of the engine about the task from here to `MySQL`.
    pub(super) fn command(&self, command: &str) -> Run {
        let state = self.directory.path().join("state").display().to_string();
        Run::plain(self.directory.path())
            .arguments([command, "--name", &self.name, "--source", &self.source])
            .arguments(["--target", &self.mysql.url_of("")])
            .arguments(["--include", &format!("{}.*", self.name), "--state-dir", &state])
            .plugin("og2mysql")
    }

    /// `engine run`.
    pub(super) fn run(&self) -> Run {
        self.command("run").arguments(["--json", "--accept-warnings"])
    }

    /// `engine run` until the target has everything.
    pub(super) fn catch_up(&self) -> Run {
        self.run().arguments(["--until", "caught-up"])
    }

    /// Fails with the differences unless every table of the target is as it is here, row for row.
    pub(super) async fn require_equal(&self) -> Result<()> {
        let mut target = connect::mysql(&self.mysql.url_of(&self.name)).await?;
        let pairs = tables_of(&mut target, &self.name).await?;
        ensure!(!pairs.is_empty(), "the target has no table to compare");
        let comparisons = compare(&mut target, &self.sql().await?, &pairs).await?;
        target.disconnect().await?;
        require_equal(&comparisons)
    }

    /// Slots and publications that the task has here.
    pub(super) async fn kept(&self) -> Result<i64> {
        let query = "SELECT (SELECT count(*) FROM pg_catalog.pg_replication_slots WHERE database = current_database()) \
                     + (SELECT count(*) FROM pg_catalog.pg_publication)";
        Ok(self.sql().await?.query_one(query, &[]).await?.get(0))
    }

    /// Gives the task up, and the databases.
    pub(super) async fn drop(self) -> Result<()> {
        self.command("drop").finish().await?.succeeded()?;
        ensure!(self.kept().await? == 0, "the source still keeps something");
        let sql = connect_to(&self.server.url).await?;
        let dropped = async {
            while let Err(error) = sql.batch_execute(&format!("DROP DATABASE {}", self.name)).await {
                if error.code().is_none_or(|code| code.code() != "55006") {
                    return Err(error);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(())
        };
        tokio::time::timeout(e2e::PATIENCE, dropped).await.context("the database stays in use")??;
        let mut client = self.mysql.client()?;
        client.arg("--execute").arg(format!("DROP DATABASE IF EXISTS {}", self.name));
        let _ = client.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        Ok(())
    }
}

async fn connect_to(url: &str) -> Result<Client> {
    Ok(engine_postgres::opengauss::connect(&EndpointUrl::parse(url)?).await?)
}
