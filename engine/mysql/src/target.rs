//! MySQL and MariaDB as a target.
//!
//! # Where things are
//!
//! | module | knows |
//! |---|---|
//! | `session`, `connection` | what a connection that writes sets, and that a warning is a failure |
//! | `control`, `lanes` | what the target remembers of tasks, and who may go on with one |
//! | `column_type`, `cell`, `literal`, `json` | what a column holds, and values as literals that it takes exactly |
//! | `layout`, `statement` | rows of a table as statements |
//! | `loader`, `bulk`, `rows` | chunks by lines or by `INSERT` of many rows; the row that the server refuses |
//! | `applier`, `change` | sets of changes, in transactions with the position |
//! | `adopt` | tables that are there with their rows, on the way back |
//! | `ddl`, `create`, `existing`, `index` | tables, and the indexes and foreign keys built after the load |
//! | `shared` | tables that several tasks write to |
//! | `structure` | the record of the source's tables |
//! | `dead_letter` | the record of rows that were set aside |
//! | `evolve`, `alter` | changes of structure, which commit statement by statement |
//! | `objects` | views, triggers, routines and events |
//! | `check`, `privileges` | whether server and account can take the plan |
//! | `row_form`, `examiner`, `digest`, `repairer`, `inspect` | reading back what is there, and mending it |
//!
//! # Exactness
//! A strict session refuses most of what does not fit, warns of some, and changes the rest in silence.
//! What it refuses is an error, what it warns of too, and what it would say nothing of is refused before
//! it is sent, see `cell`.

mod adopt;
mod alter;
mod applier;
mod bulk;
mod cell;
mod change;
mod check;
mod column_type;
mod columns;
mod connection;
mod control;
mod create;
mod cut_over;
mod ddl;
mod dead_letter;
mod digest;
mod evolve;
mod examiner;
mod existing;
mod failure;
mod foreign_key;
mod index;
mod inspect;
mod json;
mod lanes;
mod layout;
mod literal;
mod loader;
mod objects;
mod privileges;
mod repairer;
mod row_form;
mod rows;
mod session;
mod shadow;
mod shared;
mod statement;
mod structure;
mod survey;

use async_trait::async_trait;
use engine_core::cut_over::CutOver;
use engine_core::endpoint::{Endpoint, EndpointUrl, FULLTEXT_AND_SPATIAL, INDEX_KINDS, SHARED_TABLES};
use engine_core::examine::{Examiner, Repairer, RowForm};
use engine_core::failpoint::Failpoint;
use engine_core::finding::Finding;
use engine_core::object::TargetObject;
use engine_core::plan::TargetTable;
use engine_core::position::Position;
use engine_core::schema::TableName;
use engine_core::shadow::Shadow;
use engine_core::source::Source;
use engine_core::structure::{Evolution, RecordedTable};
use engine_core::survey::Needs;
use engine_core::target::{
    Applier, BuildJob, BuildStep, DeadLetterRecord, Lanes, Loader, Mender, RowCheck, Target, TaskRecord,
};
use engine_core::{Error, ErrorKind, Result};
use futures_util::future::try_join_all;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::OnceCell;

use self::applier::MysqlApplier;
use self::connection::Connections;
use self::control::Claim;
use self::examiner::MysqlExaminer;
use self::failure::translate;
use self::layout::TableLayout;
use self::loader::MysqlLoader;
use self::repairer::MysqlRepairer;
use self::row_form::CanonicalForm;
use self::shadow::MysqlShadow;
use crate::charset::Charsets;
use crate::connect::Connector;
use crate::server::Server;
use crate::source::MysqlSource;
use crate::sql;

/// A MySQL or MariaDB server to write to.
pub struct MysqlTarget {
    connections: Connections,
    endpoint: Endpoint,
    claim: RwLock<Option<Claim>>,
    /// What text that is read back is decoded by.
    charsets: OnceCell<Charsets>,
}

impl MysqlTarget {
    /// The server's character sets, which are read once.
    async fn charsets(&self) -> Result<Charsets> {
        let read = || async { Charsets::read(self.connections.open_reading().await?.connection()).await };
        self.charsets.get_or_try_init(read).await.cloned()
    }

    /// Connects once to see what the server is.
    pub async fn connect(url: EndpointUrl) -> Result<Self> {
        let database = url.database.clone();
        let connector = Connector::new(url)?;
        let mut conn = connector.open_writer(&[]).await?;
        let server = Server::probe(&mut conn).await?;
        let mut endpoint = server.endpoint();
        endpoint.attributes.push((INDEX_KINDS.to_owned(), FULLTEXT_AND_SPATIAL.to_owned()));
        endpoint.attributes.push((SHARED_TABLES.to_owned(), "true".to_owned()));
        // Where tables go unless a plugin says otherwise.
        endpoint.attributes.extend(database.map(|database| ("database".to_owned(), database)));
        Ok(Self {
            connections: Connections::new(connector, server),
            endpoint,
            claim: RwLock::new(None),
            charsets: OnceCell::new(),
        })
    }

    fn claimed(&self) -> Result<Claim> {
        self.claim.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(|| {
            Error::new(ErrorKind::Internal, "the task must be claimed before its target is written")
        })
    }
}

#[async_trait]
impl Target for MysqlTarget {
    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    async fn check(&self, task: &str, tables: &[Arc<TargetTable>], online: bool) -> Result<Vec<Finding>> {
        let mut session = self.connections.open().await?;
        check::check(&mut session, self.connections.server(), task, tables, online).await
    }

    async fn survey(&self, task: &str, tables: &[Arc<TargetTable>], needs: &Needs) -> Result<Vec<Finding>> {
        let mut session = self.connections.open().await?;
        survey::run(&mut session, self.connections.server(), task, tables, needs).await
    }

    fn render_table(&self, table: &TargetTable) -> Result<Vec<String>> {
        ddl::table(table)
    }

    fn render_step(&self, step: BuildStep, tables: &[Arc<TargetTable>]) -> Result<Vec<BuildJob>> {
        index::jobs(step, tables)
    }

    async fn task(&self, name: &str) -> Result<Option<TaskRecord>> {
        control::task(&mut self.connections.open().await?, name).await
    }

    async fn claim(&self, name: &str, plan_digest: &str, start: Option<&Position>) -> Result<()> {
        let claim = control::claim(&mut self.connections.open().await?, name, plan_digest, start).await?;
        *self.claim.write().unwrap_or_else(PoisonError::into_inner) = Some(claim);
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        control::flush(&mut self.connections.open().await?, &self.claimed()?).await
    }

    async fn dead_letters(&self, task: &str) -> Result<Option<Vec<DeadLetterRecord>>> {
        dead_letter::recorded(&mut self.connections.open().await?, task).await.map(Some)
    }

    async fn record_dead_letters(&self, gone: &[[u8; 16]], new: &[DeadLetterRecord]) -> Result<()> {
        dead_letter::record(&mut self.connections.open().await?, &self.claimed()?, gone, new).await
    }

    async fn structure(&self, name: &str) -> Result<Vec<RecordedTable>> {
        structure::recorded(&mut self.connections.open().await?, name).await
    }

    async fn record_structure(&self, tables: &[RecordedTable]) -> Result<()> {
        structure::record(&mut self.connections.open().await?, &self.claimed()?, tables).await
    }

    async fn evolve(&self, evolution: &Evolution) -> Result<()> {
        evolve::evolve(&self.connections, &self.claimed()?, evolution).await
    }

    async fn forget(&self, task: &str) -> Result<()> {
        adopt::forget(&mut self.connections.open().await?, task).await
    }

    async fn adopt_tables(&self, tables: &[Arc<TargetTable>]) -> Result<()> {
        adopt::tables(&self.connections, &self.claimed()?, tables).await
    }

    async fn create_tables(&self, tables: &[Arc<TargetTable>]) -> Result<()> {
        create::tables(&self.connections, &self.claimed()?, tables).await
    }

    async fn build(&self, job: &BuildJob) -> Result<()> {
        index::build(&mut self.connections.open().await?, self.connections.server(), job).await?;
        Failpoint::ObjectBuilt.reach();
        Ok(())
    }

    async fn record_built(&self) -> Result<()> {
        control::record_built(&mut self.connections.open().await?, &self.claimed()?).await
    }

    async fn set_identity(&self, table: &TargetTable, next: Option<u64>) -> Result<()> {
        // InnoDB raises a number that is too low to the next after the greatest of the table.
        if !table.columns.iter().any(|column| column.identity) {
            return Ok(());
        }
        let statement =
            format!("ALTER TABLE {} AUTO_INCREMENT = {}", sql::table(&table.name), next.unwrap_or(1));
        let mut session = self.connections.open().await?;
        if table.is_shared() && create::next_number(&mut session, &table.name).await? >= next {
            return Ok(());
        }
        session.run(statement).await.map_err(|error| {
            translate(error, "the next number of a column can't be set").at("table", &table.name)
        })
    }

    async fn analyze(&self, table: &TargetTable) -> Result<()> {
        let mut session = self.connections.open().await?;
        session
            .query(format!("ANALYZE TABLE {}", sql::table(&table.name)))
            .await
            .map(drop)
            .map_err(|error| translate(error, "statistics can't be gathered").at("table", &table.name))
    }

    async fn row_check(&self, table: &Arc<TargetTable>) -> Result<Arc<dyn RowCheck>> {
        Ok(Arc::new(TableLayout::new(table, self.connections.flavor())?))
    }

    async fn open_loader(&self) -> Result<Box<dyn Loader>> {
        Ok(Box::new(MysqlLoader::open(self.connections.clone(), self.claimed()?).await?))
    }

    async fn open_lanes(&self, count: usize) -> Result<Lanes> {
        let claim = self.claimed()?;
        let mut session = self.connections.open().await?;
        let (position, applied, lanes) = lanes::open(&mut session, &claim, count).await?;
        // In order: what earlier sessions applied is in the row of the first lane, for it to keep.
        let opening = lanes.into_iter().map(|lane| MysqlApplier::new(self.connections.clone(), lane));
        let appliers = try_join_all(opening).await?;
        let appliers = appliers.into_iter().map(|applier| Box::new(applier) as Box<dyn Applier>).collect();
        Ok(Lanes { position, applied, appliers })
    }

    async fn count_rows(&self, table: &TargetTable) -> Result<u64> {
        cut_over::count_rows(&mut self.connections.open().await?, table).await
    }

    async fn has_rows_of_others(&self, task: &str, table: &TargetTable) -> Result<bool> {
        Ok(table.is_shared() && shared::has_others(&mut self.connections.open().await?, task, table).await?)
    }

    async fn clear_copy(&self, table: &TargetTable, from: &[TableName]) -> Result<bool> {
        shared::clear_copy(&mut self.connections.open().await?, &self.claimed()?, table, from).await
    }

    async fn ready_for_use(&self, tables: &[Arc<TargetTable>]) -> Result<Vec<Finding>> {
        cut_over::ready_for_use(&mut self.connections.open().await?, tables).await
    }

    async fn as_source(&self, _task: &str, _to: &str) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(MysqlSource::connect(self.connections.url().clone()).await?))
    }

    async fn mark_cut_over(&self, mark: &CutOver) -> Result<()> {
        cut_over::mark(&mut self.connections.open().await?, &self.claimed()?, mark).await
    }

    async fn cut_over(&self, task: &str) -> Result<Option<CutOver>> {
        cut_over::read(&mut self.connections.open().await?, task).await
    }

    fn takes_objects(&self) -> bool {
        true
    }

    async fn check_objects(&self, task: &str, objects: &[TargetObject]) -> Result<Vec<Finding>> {
        objects::check(&self.connections, task, objects).await
    }

    async fn create_objects(&self, objects: &[TargetObject]) -> Result<Vec<Finding>> {
        objects::create(&self.connections, &self.claimed()?, objects).await
    }

    async fn withdraw_triggers(&self) -> Result<()> {
        objects::withdraw_triggers(&self.connections, &self.claimed()?).await
    }

    async fn enable_events(&self, task: &str) -> Result<u64> {
        objects::enable_events(&self.connections, task).await
    }

    async fn open_mender(&self) -> Result<Box<dyn Mender>> {
        Ok(Box::new(MysqlApplier::of_no_lane(self.connections.clone(), self.claimed()?).await?))
    }
    async fn row_form(&self, table: &Arc<TargetTable>) -> Result<Arc<dyn RowForm>> {
        Ok(Arc::new(CanonicalForm::new(TableLayout::new(table, self.connections.flavor())?)))
    }

    async fn open_examiner(&self) -> Result<Box<dyn Examiner>> {
        let charsets = self.charsets().await?;
        Ok(Box::new(MysqlExaminer::open(self.connections.clone(), charsets).await?))
    }

    async fn open_shadow(&self) -> Result<Box<dyn Shadow>> {
        let charsets = self.charsets().await?;
        Ok(Box::new(MysqlShadow::open(self.connections.clone(), charsets).await?))
    }

    async fn open_repairer(&self) -> Result<Box<dyn Repairer>> {
        let session = self.connections.open().await?;
        Ok(Box::new(MysqlRepairer::new(session, self.connections.flavor())))
    }

    async fn inspect(&self, tables: &[Arc<TargetTable>]) -> Result<Vec<Finding>> {
        inspect::inspect(&mut self.connections.open().await?, tables).await
    }
}
