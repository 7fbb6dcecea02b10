//! A test's database on a MySQL server and one on openGauss, of one compatibility.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use e2e::{Run, Scene};
use engine_core::endpoint::EndpointUrl;
use test_kit::Server;
use test_kit::opengauss::{Compatibility, Double, Settings, url};
use test_support::compare::{Pair, compare, require_equal, tables_of};
use tokio_postgres::{Client, Row};

use crate::verify::Place;

/// A source, a target and a task between them.
pub(super) struct GaussScene {
    /// The source, and a PostgreSQL database of its name that only the double uses.
    source: Scene<'static>,
    target: EndpointUrl,
    server: EndpointUrl,
    compatibility: Compatibility,
    double: Option<Double>,
}

impl GaussScene {
    /// One on the shared MySQL server and the openGauss server of `OPENGAUSS_URL`, else a double.
    pub(super) async fn new(compatibility: Compatibility, test: &str) -> Result<Self> {
        Self::from(test_kit::mysql()?, compatibility, test).await
    }

    /// One of compatibility B on a double with dolphin, else on the openGauss server of `OPENGAUSS_URL`, which has it
    /// or not.
    pub(super) async fn with_dolphin(test: &str) -> Result<Self> {
        let settings = Settings { compatibility: Compatibility::B, dolphin: true, ..Settings::default() };
        Self::of(test_kit::mysql()?, settings, test).await
    }

    /// One on a MySQL server of its own.
    pub(super) async fn from(
        source: &'static Server,
        compatibility: Compatibility,
        test: &str,
    ) -> Result<Self> {
        Self::of(source, Settings { compatibility, ..Settings::default() }, test).await
    }

    async fn of(source: &'static Server, settings: Settings, test: &str) -> Result<Self> {
        let compatibility = settings.compatibility;
        let source = Scene::new(source, test_kit::postgres()?, test).await?;
        let (url, double) = match url::given() {
            Some(url) => (url, None),
            None => {
                let double = Double::start(test_kit::postgres()?, settings)?;
                (double.url_of("postgres"), Some(double))
            }
        };
        let server = EndpointUrl::parse(&url)?;
        let mut target = server.clone();
        target.database = Some(source.name().to_owned());
        let scene = Self { source, target, server, compatibility, double };
        if scene.double.is_none() {
            let name = scene.source.name();
            let sql = engine_postgres::opengauss::connect(&scene.server).await?;
            sql.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).await?;
            sql.batch_execute(&format!(
                "CREATE DATABASE {name} DBCOMPATIBILITY '{}' ENCODING 'UTF8'",
                compatibility.name()
            ))
            .await?;
        }
        Ok(scene)
    }

    pub(super) fn source(&self) -> &Scene<'static> {
        &self.source
    }

    pub(super) fn compatibility(&self) -> Compatibility {
        self.compatibility
    }

    pub(super) fn name(&self) -> &str {
        self.source.name()
    }

    /// Whether no `OPENGAUSS_URL` names a server.
    pub(super) fn is_double(&self) -> bool {
        self.double.is_some()
    }

    /// The URL, with its password.
    pub(super) fn target_url(&self) -> String {
        match &self.double {
            Some(double) => double.url_of(self.source.name()),
            None => url::with_database(&url::given().unwrap_or_default(), self.source.name()),
        }
    }

    /// A connection to the target.
    pub(super) async fn sql(&self) -> Result<Client> {
        let sql = engine_postgres::opengauss::connect(&self.target).await?;
        // Numbers as others write them; and nothing is quoted.
        sql.batch_execute("SET behavior_compat_options = 'display_leading_zero'; SET search_path = public")
            .await?;
        Ok(sql)
    }

    /// The rows of a query on the target, whose columns are all texts; NULL reads as `NULL`.
    pub(super) async fn rows(&self, query: &str) -> Result<Vec<Vec<String>>> {
        let rows = self.sql().await?.query(query, &[]).await.with_context(|| query.to_owned())?;
        let text = |text: Option<String>| text.unwrap_or_else(|| "NULL".to_owned());
        let texts = |row: &Row| (0..row.len()).map(|place| Ok(text(row.try_get(place)?))).collect();
        rows.iter().map(texts).collect()
    }

    /// The one text that a query on the target answers.
    pub(super) async fn value(&self, query: &str) -> Result<String> {
        let rows = self.rows(query).await?;
        rows.into_iter().flatten().next().with_context(|| format!("{query} answers nothing"))
    }

    /// `engine run` until it is caught up.
    pub(super) fn run(&self) -> Run {
        self.follow().arguments(["--until", "caught-up"])
    }

    /// `engine run`, until it is stopped.
    pub(super) fn follow(&self) -> Run {
        let run = self.source.follow().replace("--target", self.target_url());
        // That empty strings are NULL is told as a warning.
        if self.compatibility == Compatibility::A { run.argument("--accept-warnings") } else { run }
    }

    /// Fails unless every table of the source is in the target, row for row.
    pub(super) async fn require_equal(&self) -> Result<()> {
        let mut source = self.source.source().await?;
        let pairs: Vec<Pair> = tables_of(&mut source, self.name()).await?;
        ensure!(!pairs.is_empty(), "the source has no table to compare");
        let comparisons = compare(&mut source, &self.sql().await?, &pairs).await?;
        source.disconnect().await?;
        require_equal(&comparisons)
    }

    /// Empty strings that the compatibility has no place for are made NULL.
    pub(super) fn configured(&self, run: Run) -> Run {
        if self.compatibility == Compatibility::A {
            run.config(serde_json::json!({"mysql2og": {"empty_strings": "null"}}))
        } else {
            run
        }
    }

    /// Drops the target's database; that of a double goes with the source's.
    pub(super) async fn close(self) -> Result<()> {
        if self.double.is_none() {
            let sql = engine_postgres::opengauss::connect(&self.server).await?;
            sql.batch_execute(&format!("DROP DATABASE IF EXISTS {}", self.name())).await?;
        }
        Ok(())
    }
}

impl Place for GaussScene {
    fn task(&self) -> &'static str {
        "task"
    }

    fn plugin(&self) -> &'static str {
        "mysql2og"
    }

    fn urls(&self) -> (String, String) {
        (self.source.source_url(), self.target_url())
    }

    fn state(&self) -> PathBuf {
        self.source.state_directory()
    }

    fn directory(&self) -> &Path {
        self.source.directory()
    }

    fn run(&self) -> Run {
        Self::run(self)
    }

    fn follow(&self) -> Run {
        Self::follow(self)
    }

    async fn execute<S: AsRef<str>>(&self, statements: impl IntoIterator<Item = S>) -> Result<()> {
        self.source.execute(statements).await
    }

    async fn on_target(&self, statement: &str) -> Result<()> {
        let sql = self.sql().await?;
        sql.batch_execute(&format!("SET search_path = {}", self.name())).await?;
        sql.batch_execute(statement).await.with_context(|| statement.to_owned())
    }

    fn source_name(&self) -> &str {
        self.name()
    }

    async fn count(&self, what: &str) -> Result<u64> {
        let count = self.value(&format!("SELECT count(*)::text FROM {}.{what}", self.name())).await?;
        Ok(count.parse()?)
    }

    async fn relations(&self) -> Result<Vec<String>> {
        let query = "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                     ORDER BY 1";
        let rows = self.sql().await?.query(query, &[]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    async fn require_equal(&self) -> Result<()> {
        Self::require_equal(self).await
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
