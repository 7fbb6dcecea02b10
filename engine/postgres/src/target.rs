//! [`PostgresTarget`]: the crate's face.

use async_trait::async_trait;
use engine_core::cut_over::CutOver;
use engine_core::endpoint::{Endpoint, EndpointUrl};
use engine_core::examine::{Examiner, Repairer, RowForm};
use engine_core::failpoint::Failpoint;
use engine_core::finding::Finding;
use engine_core::plan::TargetTable;
use engine_core::position::Position;
use engine_core::shadow::Shadow;
use engine_core::source::Source;
use engine_core::structure::{Evolution, RecordedTable};
use engine_core::survey::Needs;
use engine_core::target::{
    Applier, BuildJob, BuildStep, DeadLetterRecord, Lanes, Loader, Mender, RowCheck, Target, TaskRecord,
};
use engine_core::{Error, ErrorKind, Result};
use futures_util::future::try_join_all;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio_postgres::{Client, Transaction};

use crate::applier::PostgresApplier;
use crate::connect::{Connector, Role, Server};
use crate::control::{self, Claim};
use crate::dead_letter;
use crate::dialect::Dialect;
use crate::examiner::PostgresExaminer;
use crate::failure::translate;
use crate::identifier::{fit, literal, qualified};
use crate::index::{self, Made};
use crate::layout::TableLayout;
use crate::loader::PostgresLoader;
use crate::repairer::PostgresRepairer;
use crate::row_form::CanonicalForm;
use crate::shadow::PostgresShadow;
use crate::source::PostgresSource;
use crate::{check, cut_over, ddl, existing, inspect, lanes, structure, survey};

/// How often a job is begun again that lost against another in a deadlock.
const BUILD_ATTEMPTS: usize = 10;

/// A PostgreSQL server or an openGauss one.
pub struct PostgresTarget {
    connector: Connector,
    server: Server,
    claim: RwLock<Option<Claim>>,
    /// Connections for short pieces of work on one table after the other; none while following.
    idle: Mutex<Vec<Client>>,
}

impl PostgresTarget {
    /// Connects once to see what the server is.
    pub async fn connect(url: &EndpointUrl) -> Result<Self> {
        let connector = Connector::new(url, Role::Target)?;
        let server = connector.describe().await?;
        Ok(Self { connector, server, claim: RwLock::new(None), idle: Mutex::default() })
    }

    async fn client(&self) -> Result<Client> {
        self.connector.connect().await
    }

    /// A connection that a piece of work before left, or a new one.
    async fn borrow(&self) -> Result<Client> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle.filter(|client| !client.is_closed()) {
            Some(client) => Ok(client),
            None => self.client().await,
        }
    }

    /// Leaves a connection, with nothing open on it, for the next piece of work.
    fn give_back(&self, client: Client) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(client);
    }

    fn claimed(&self) -> Result<Claim> {
        self.claim.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(|| {
            Error::new(ErrorKind::Internal, "the task must be claimed before its target is written")
        })
    }

    async fn is_built(client: &Client, job: &BuildJob, statement: &str) -> Result<bool> {
        let failed = |error| translate(error, format!("{} can't be looked for", job.label));
        let (schema, table) = (fit(&job.table.namespace), fit(&job.table.name));
        match index::made(statement) {
            None => Ok(false),
            Some(Made::Constraint(name)) => client
                .query_opt(
                    "SELECT 1 FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
                     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                     WHERE n.nspname = $1 AND c.relname = $2 AND k.conname = $3",
                    &[&schema, &table, &name],
                )
                .await
                .map(|row| row.is_some())
                .map_err(failed),
            Some(Made::Index(name)) => {
                let row = client
                    .query_opt(
                        "SELECT COALESCE(t.relname = $2 AND x.indisvalid, false) FROM pg_catalog.pg_class c \
                         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                         LEFT JOIN pg_catalog.pg_index x ON x.indexrelid = c.oid \
                         LEFT JOIN pg_catalog.pg_class t ON t.oid = x.indrelid \
                         WHERE n.nspname = $1 AND c.relname = $3",
                        &[&schema, &table, &name],
                    )
                    .await
                    .map_err(failed)?;
                match row.map(|row| row.get::<_, bool>(0)) {
                    None => Ok(false),
                    Some(true) => Ok(true),
                    Some(false) => Err(Error::new(
                        ErrorKind::Precondition,
                        "the name of an index is taken in the target",
                    )
                    .at("table", &job.table)
                    .at("index", format_args!("{schema}.{name}"))
                    .because("an object of this name exists that is not this index")
                    .help("rename or drop that object, then run the same command again")),
                }
            }
        }
    }
}

#[async_trait]
impl Target for PostgresTarget {
    fn endpoint(&self) -> &Endpoint {
        &self.server.endpoint
    }

    async fn check(&self, task: &str, tables: &[Arc<TargetTable>], online: bool) -> Result<Vec<Finding>> {
        let client = self.client().await?;
        check::check(&client, &self.server, task, tables, online).await
    }

    async fn survey(&self, task: &str, tables: &[Arc<TargetTable>], needs: &Needs) -> Result<Vec<Finding>> {
        survey::run(&self.client().await?, self.server.dialect, task, tables, needs).await
    }

    fn render_table(&self, table: &TargetTable) -> Result<Vec<String>> {
        Ok(ddl::table(self.server.dialect, table))
    }

    fn render_step(&self, step: BuildStep, tables: &[Arc<TargetTable>]) -> Result<Vec<BuildJob>> {
        index::jobs(step, tables)
    }

    async fn task(&self, name: &str) -> Result<Option<TaskRecord>> {
        control::task(&mut self.client().await?, name).await
    }

    async fn claim(&self, name: &str, plan_digest: &str, start: Option<&Position>) -> Result<()> {
        let mut client = self.client().await?;
        let claim = control::claim(&mut client, self.server.dialect, name, plan_digest, start).await?;
        *self.claim.write().unwrap_or_else(PoisonError::into_inner) = Some(claim);
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        control::flush(&self.client().await?, &self.claimed()?).await
    }

    async fn dead_letters(&self, task: &str) -> Result<Option<Vec<DeadLetterRecord>>> {
        dead_letter::recorded(&mut self.client().await?, task).await.map(Some)
    }

    async fn record_dead_letters(&self, gone: &[[u8; 16]], new: &[DeadLetterRecord]) -> Result<()> {
        let mut client = self.borrow().await?;
        dead_letter::record(&mut client, &self.claimed()?, gone, new).await?;
        self.give_back(client);
        Ok(())
    }

    async fn structure(&self, name: &str) -> Result<Vec<RecordedTable>> {
        structure::recorded(&self.client().await?, name).await
    }

    async fn record_structure(&self, tables: &[RecordedTable]) -> Result<()> {
        structure::record(&self.client().await?, &self.claimed()?, tables).await
    }

    async fn evolve(&self, evolution: &Evolution) -> Result<()> {
        structure::evolve(&self.connector, self.server.dialect, &self.claimed()?, evolution).await
    }

    async fn create_tables(&self, tables: &[Arc<TargetTable>]) -> Result<()> {
        let claim = self.claimed()?;
        let mut client = self.client().await?;
        create_tables(&mut client, self.server.dialect, &claim, tables).await
    }

    async fn build(&self, job: &BuildJob) -> Result<()> {
        let client = self.borrow().await?;
        for statement in &job.statements {
            let mut attempt = 1;
            while !Self::is_built(&client, job, statement).await? {
                let Err(error) = client.batch_execute(statement).await else { break };
                // Foreign keys built side by side lock each other's tables in either order.
                let deadlock = error.code().is_some_and(|state| state.code() == "40P01");
                // A connection of an engine that was killed goes on with what it was building; having
                // waited for it, the server refuses the same thing a second time.
                let built_meanwhile = !deadlock && Self::is_built(&client, job, statement).await?;
                if !built_meanwhile && (!deadlock || attempt == BUILD_ATTEMPTS) {
                    return Err(
                        translate(error, format!("{} can't be built", job.label)).at("table", &job.table)
                    );
                }
                attempt += 1;
            }
            Failpoint::ObjectBuilt.reach();
        }
        self.give_back(client);
        Ok(())
    }

    async fn record_built(&self) -> Result<()> {
        control::record_built(&self.client().await?, &self.claimed()?).await
    }

    async fn set_identity(&self, table: &TargetTable, next: Option<u64>) -> Result<()> {
        let client = self.borrow().await?;
        let last = next.map_or(0, |next| i64::try_from(next.saturating_sub(1)).unwrap_or(i64::MAX));
        for column in table.columns.iter().filter(|column| column.identity) {
            let (name, text) = (fit(&column.name), crate::identifier::column(&column.name));
            let sql = format!(
                "WITH last AS (SELECT GREATEST(COALESCE(max({text}), 0), {last})::numeric AS value FROM {table}) \
                 SELECT pg_catalog.setval(pg_catalog.pg_get_serial_sequence({literal_table}, {literal_column})::regclass, \
                 LEAST(GREATEST(value, 1), {max})::bigint, value >= 1) FROM last",
                table = qualified(&table.name),
                literal_table = literal(&qualified(&table.name)),
                literal_column = literal(&name),
                max = i64::MAX,
            );
            client.batch_execute(&sql).await.map_err(|error| {
                translate(error, "an identity column can't be set")
                    .at("table", &table.name)
                    .at("column", &column.name)
            })?;
        }
        self.give_back(client);
        Ok(())
    }

    async fn analyze(&self, table: &TargetTable) -> Result<()> {
        let client = self.borrow().await?;
        client
            .batch_execute(&format!("ANALYZE {}", qualified(&table.name)))
            .await
            .map_err(|error| translate(error, "statistics can't be gathered").at("table", &table.name))?;
        self.give_back(client);
        Ok(())
    }

    async fn row_check(&self, table: &Arc<TargetTable>) -> Result<Arc<dyn RowCheck>> {
        Ok(Arc::new(TableLayout::resolve(&self.client().await?, self.server.dialect, table).await?))
    }

    async fn open_loader(&self) -> Result<Box<dyn Loader>> {
        let claim = self.claimed()?;
        Ok(Box::new(PostgresLoader::new(
            self.connector.clone(),
            self.server.dialect,
            self.client().await?,
            claim,
        )))
    }

    async fn open_lanes(&self, count: usize) -> Result<Lanes> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let claim = self.claimed()?;
        let (position, applied, lanes) = lanes::open(&mut self.client().await?, &claim, count).await?;
        // In order: what earlier sessions applied is in the row of the first lane, for it to keep.
        let opening = lanes
            .into_iter()
            .map(|lane| PostgresApplier::new(self.connector.clone(), self.server.dialect, lane));
        let appliers = try_join_all(opening).await?;
        let appliers = appliers.into_iter().map(|applier| Box::new(applier) as Box<dyn Applier>).collect();
        Ok(Lanes { position, applied, appliers })
    }

    async fn count_rows(&self, table: &TargetTable) -> Result<u64> {
        cut_over::count_rows(&self.client().await?, table).await
    }

    async fn ready_for_use(&self, tables: &[Arc<TargetTable>]) -> Result<Vec<Finding>> {
        cut_over::ready_for_use(&self.client().await?, tables).await
    }

    async fn as_source(&self, task: &str, to: &str) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(PostgresSource::connect(self.connector.url().clone(), task, to).await?))
    }

    async fn mark_cut_over(&self, mark: &CutOver) -> Result<()> {
        cut_over::mark(&mut self.client().await?, &self.claimed()?, mark).await
    }

    async fn cut_over(&self, task: &str) -> Result<Option<CutOver>> {
        cut_over::read(&self.client().await?, task).await
    }

    async fn open_mender(&self) -> Result<Box<dyn Mender>> {
        let claim = self.claimed()?;
        Ok(Box::new(PostgresApplier::of_no_lane(self.connector.clone(), self.server.dialect, claim).await?))
    }

    async fn row_form(&self, table: &Arc<TargetTable>) -> Result<Arc<dyn RowForm>> {
        Ok(Arc::new(CanonicalForm::new(
            TableLayout::resolve(&self.client().await?, self.server.dialect, table).await?,
        )))
    }

    async fn open_examiner(&self) -> Result<Box<dyn Examiner>> {
        Ok(Box::new(PostgresExaminer::new(self.client().await?, self.server.dialect).await?))
    }

    async fn open_shadow(&self) -> Result<Box<dyn Shadow>> {
        Ok(Box::new(PostgresShadow::new(self.client().await?, self.server.dialect)))
    }

    async fn open_repairer(&self) -> Result<Box<dyn Repairer>> {
        Ok(Box::new(PostgresRepairer::new(self.client().await?, self.server.dialect).await?))
    }

    async fn inspect(&self, tables: &[Arc<TargetTable>]) -> Result<Vec<Finding>> {
        let client = self.client().await?;
        let mut findings = inspect::identities(&client, tables).await?;
        for step in [BuildStep::RowKeys, BuildStep::Indexes, BuildStep::ForeignKeys] {
            for job in index::jobs(step, tables)? {
                for statement in &job.statements {
                    if index::made(statement).is_none() {
                        continue;
                    }
                    match Self::is_built(&client, &job, statement).await {
                        Ok(true) => {}
                        Ok(false) => findings.push(inspect::missing(&job, statement)),
                        // Something else has its name.
                        Err(error) if error.kind() == ErrorKind::Precondition => {
                            findings.push(inspect::missing(&job, statement));
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(findings)
    }
}

/// Tables created in one transaction. Each holds locks of the server until it ends, of which there
/// are a few thousand by default.
const CREATED_AT_ONCE: usize = 200;

/// Creates what isn't there, unless something is that isn't the task's own: then nothing at all. A
/// table and the record that it is the task's are committed together.
async fn create_tables(
    client: &mut Client,
    dialect: Dialect,
    claim: &Claim,
    tables: &[Arc<TargetTable>],
) -> Result<()> {
    let transaction = begin_claimed(client, claim).await?;
    let (there, mut foreign): (Vec<_>, Vec<_>) = existing::tables(&transaction, &claim.task, tables)
        .await?
        .into_iter()
        .partition(|table| table.is_own);
    drop(transaction);
    if !foreign.is_empty() {
        foreign.sort();
        return Err(Error::new(ErrorKind::Precondition, existing::NOT_OURS)
            .at("task", &claim.task)
            .because(existing::list(&foreign))
            .help(existing::WAY_OUT));
    }
    let there: BTreeSet<(String, String)> =
        there.into_iter().map(|table| (table.namespace, table.name)).collect();
    let is_missing =
        |table: &&Arc<TargetTable>| !there.contains(&(fit(&table.name.namespace), fit(&table.name.name)));
    let missing: Vec<_> = tables.iter().filter(is_missing).collect();
    for some in missing.chunks(CREATED_AT_ONCE) {
        let transaction = begin_claimed(client, claim).await?;
        for table in some {
            create_table(&transaction, dialect, claim, table).await?;
        }
        transaction
            .commit()
            .await
            .map_err(|error| translate(error, "the target's tables can't be created"))?;
    }
    Ok(())
}

/// A transaction during which nobody can take the task over.
pub(crate) async fn begin_claimed<'a>(client: &'a mut Client, claim: &Claim) -> Result<Transaction<'a>> {
    let failed =
        |error| translate(error, "the target can't be asked whose the task is").at("task", &claim.task);
    let transaction = client.transaction().await.map_err(failed)?;
    let held = transaction
        .query_opt(
            "SELECT 1 FROM _migration.task WHERE name = $1 AND epoch = $2 FOR SHARE",
            &[&claim.task, &claim.epoch],
        )
        .await
        .map_err(failed)?;
    if held.is_none() {
        return Err(claim.lost());
    }
    Ok(transaction)
}

async fn create_table(
    transaction: &Transaction<'_>,
    dialect: Dialect,
    claim: &Claim,
    table: &TargetTable,
) -> Result<()> {
    refuse_lost_rows(transaction, claim, table).await?;
    for statement in ddl::table(dialect, table) {
        transaction.batch_execute(&statement).await.map_err(|error| {
            translate(error, "a table can't be created in the target").at("table", &table.name)
        })?;
    }
    if dialect.is_opengauss() {
        // A word for a type means one type in a database of one compatibility and another in the next.
        structure::verify(transaction, dialect, table).await?;
    }
    existing::record_own(transaction, claim, table)
        .await
        .map_err(|error| translate(error, "the target's tables can't be created"))
}

/// Refuses to create a table anew whose rows the target is on record as having: they would be
/// missing and nobody would know.
async fn refuse_lost_rows(transaction: &Transaction<'_>, claim: &Claim, table: &TargetTable) -> Result<()> {
    let chunk = transaction
        .query_opt(
            "SELECT 1 FROM _migration.chunk WHERE task = $1 AND namespace = $2 AND name = $3 LIMIT 1",
            &[&claim.task, &table.source.namespace, &table.source.name],
        )
        .await
        .map_err(|error| translate(error, "the target's record of tasks can't be read"))?;
    if chunk.is_none() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Divergence, "a table that the task has copied rows to is gone from the target")
        .at("task", &claim.task)
        .at("table", &table.name)
        .help("restore it, or drop the task's other tables too and begin a new task with another --name"))
}
