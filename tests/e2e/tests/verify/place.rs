//! What the tests of the check need of a test's databases, whichever kind the target is of.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use e2e::{MysqlScene, Run, Scene};
use mysql_async::prelude::Queryable as _;

/// A source, a target and a task between them.
pub(crate) trait Place {
    /// Name of the task.
    fn task(&self) -> &str;
    fn plugin(&self) -> &'static str;
    fn urls(&self) -> (String, String);
    fn state(&self) -> PathBuf;
    fn directory(&self) -> &Path;
    /// Copies, and follows until it is caught up.
    fn run(&self) -> Run;
    fn follow(&self) -> Run;
    async fn execute<S: AsRef<str>>(&self, statements: impl IntoIterator<Item = S>) -> Result<()>;
    /// Runs a statement in the target's database.
    async fn on_target(&self, statement: &str) -> Result<()>;
    /// Name of the source's database.
    fn source_name(&self) -> &str;
    /// Counts rows of the target, of a table and a condition.
    async fn count(&self, what: &str) -> Result<u64>;
    /// Names of all tables of the target's server, and of what belongs to them.
    async fn relations(&self) -> Result<Vec<String>>;
    /// Compares both sides by another way than the engine's.
    async fn require_equal(&self) -> Result<()>;
    /// A statement that deletes one of several equal rows.
    fn delete_one(&self, table: &str, condition: &str) -> String;
    /// The ways in which rows can be compared.
    fn methods(&self) -> &'static [&'static str];
    /// Bytes as a literal of the target.
    fn bytes(&self, hex: &str) -> String;
    /// Bytes as a report shows them.
    fn shown_bytes(&self, hex: &str) -> String;
}

/// `engine verify` of the task, as JSON.
pub(crate) fn check(place: &impl Place) -> Run {
    let (source, target) = place.urls();
    Run::plain(place.directory())
        .arguments(["verify", place.task(), "--json", "--state-dir", &place.state().display().to_string()])
        .arguments(["--source", &source, "--target", &target])
        .plugin(place.plugin())
}

impl Place for Scene<'_> {
    fn task(&self) -> &'static str {
        "task"
    }

    fn plugin(&self) -> &'static str {
        "mysql2og"
    }

    fn urls(&self) -> (String, String) {
        (self.source_url(), self.target_url())
    }

    fn state(&self) -> PathBuf {
        self.state_directory()
    }

    fn directory(&self) -> &Path {
        Scene::directory(self)
    }

    fn run(&self) -> Run {
        Scene::run(self)
    }

    fn follow(&self) -> Run {
        Scene::follow(self)
    }

    async fn execute<S: AsRef<str>>(&self, statements: impl IntoIterator<Item = S>) -> Result<()> {
        Scene::execute(self, statements).await
    }

    async fn on_target(&self, statement: &str) -> Result<()> {
        let in_schema = format!("SET search_path = {}; {statement}", self.name());
        self.target().await?.batch_execute(&in_schema).await.context(in_schema)
    }

    fn source_name(&self) -> &str {
        self.name()
    }

    async fn count(&self, what: &str) -> Result<u64> {
        Ok(self.value(&format!("SELECT count(*)::text FROM {}.{what}", self.name())).await?.parse()?)
    }

    async fn relations(&self) -> Result<Vec<String>> {
        let rows = self.rows(
            "SELECT n.nspname || '.' || c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace \
             WHERE n.nspname NOT LIKE 'pg\\_toast%' AND n.nspname <> 'pg_catalog' ORDER BY 1",
        );
        Ok(rows.await?.into_iter().flatten().collect())
    }

    async fn require_equal(&self) -> Result<()> {
        Scene::require_equal(self).await
    }

    fn delete_one(&self, table: &str, condition: &str) -> String {
        format!("DELETE FROM {table} WHERE ctid = (SELECT ctid FROM {table} WHERE {condition} LIMIT 1)")
    }

    fn methods(&self) -> &'static [&'static str] {
        &["auto", "stream"]
    }

    fn bytes(&self, hex: &str) -> String {
        format!("'\\x{hex}'")
    }

    fn shown_bytes(&self, hex: &str) -> String {
        format!("\\x{hex}")
    }
}

impl Place for MysqlScene<'_> {
    fn task(&self) -> &str {
        self.name()
    }

    fn plugin(&self) -> &'static str {
        "mysql2mysql"
    }

    fn urls(&self) -> (String, String) {
        (self.source_url(), self.target_url())
    }

    fn state(&self) -> PathBuf {
        self.state_directory()
    }

    fn directory(&self) -> &Path {
        MysqlScene::directory(self)
    }

    fn run(&self) -> Run {
        MysqlScene::run(self)
    }

    fn follow(&self) -> Run {
        MysqlScene::follow(self)
    }

    async fn execute<S: AsRef<str>>(&self, statements: impl IntoIterator<Item = S>) -> Result<()> {
        MysqlScene::execute(self, statements).await
    }

    async fn on_target(&self, statement: &str) -> Result<()> {
        self.execute_on_target([statement]).await
    }

    fn source_name(&self) -> &str {
        self.name()
    }

    async fn count(&self, what: &str) -> Result<u64> {
        let mut target = self.target().await?;
        let count = target.query_first(format!("SELECT COUNT(*) FROM {what}")).await?;
        target.disconnect().await?;
        count.context("no answer")
    }

    async fn relations(&self) -> Result<Vec<String>> {
        let mut target = self.target().await?;
        let names = target.query(
            "SELECT CONCAT(table_schema, '.', table_name) FROM information_schema.tables \
             WHERE table_schema IN (DATABASE(), '_migration') ORDER BY 1",
        );
        let names = names.await?;
        target.disconnect().await?;
        Ok(names)
    }

    async fn require_equal(&self) -> Result<()> {
        MysqlScene::require_equal(self).await
    }

    fn delete_one(&self, table: &str, condition: &str) -> String {
        format!("DELETE FROM {table} WHERE {condition} LIMIT 1")
    }

    fn methods(&self) -> &'static [&'static str] {
        &["push-down", "auto", "stream"]
    }

    fn bytes(&self, hex: &str) -> String {
        format!("x'{hex}'")
    }

    fn shown_bytes(&self, hex: &str) -> String {
        format!("x'{hex}'")
    }
}
