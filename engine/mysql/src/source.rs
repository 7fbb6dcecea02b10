//! MySQL and MariaDB as a source.

use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

use engine_core::batch::Batch;
use engine_core::change::SchemaChange;
use engine_core::cut_over::WriteState;
use engine_core::digest::ValueForm;
use engine_core::endpoint::{Endpoint, EndpointUrl};
use engine_core::finding::Finding;
use engine_core::object::DatabaseObject;
use engine_core::position::Position;
use engine_core::schema::TableSchema;
use engine_core::selection::Selection;
use engine_core::source::{ChangeStream, KeyBound, Reader, Source, StreamRequest};
use engine_core::structure::TableEvolution;
use engine_core::survey::Needs;
use engine_core::target::Target;
use engine_core::transaction::TransactionSet;
use engine_core::{Error, ErrorKind, Result};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use tokio::sync::Mutex;

use crate::binlog::{self, LogPosition};
use crate::charset::Charsets;
use crate::chunk::{self, ChunkKey};
use crate::connect::Connector;
use crate::reader::ChunkReader;
use crate::replica::{self, ReplicaState};
use crate::server::Server;
use crate::target::MysqlTarget;
use crate::{accounts, catalog, checks, ddl, digest, freeze, load, objects, survey, watermark};

/// A MySQL or MariaDB server to read from.
pub struct MysqlSource {
    connector: Connector,
    server: Server,
    endpoint: Endpoint,
    charsets: Charsets,
    /// For everything but chunks and the stream. Taken while in use; not put back after a failure.
    control: Mutex<Option<Conn>>,
}

/// Longest time to log in for a change stream, to see that the log is there, and to have it begin.
const OPENING: Duration = Duration::from_secs(40);
/// Longest wait for the answer to a ping.
const ANSWER: Duration = Duration::from_secs(10);

/// The connection, if it still works; the server or the network may have forgotten it while it was idle.
async fn answering(idle: Option<Conn>) -> Option<Conn> {
    let mut connection = idle?;
    matches!(tokio::time::timeout(ANSWER, connection.ping()).await, Ok(Ok(()))).then_some(connection)
}

/// Runs `$work` on the control connection, which is kept only when that succeeds.
macro_rules! on_control {
    ($source:expr, $conn:ident => $work:expr) => {{
        let mut control = $source.control.lock().await;
        let mut connection = match answering(control.take()).await {
            Some(connection) => connection,
            None => $source.connector.open().await?,
        };
        let $conn = &mut connection;
        let result = $work.await;
        if result.is_ok() {
            *control = Some(connection);
        }
        result
    }};
}

impl MysqlSource {
    /// Connects and asks the server what it is.
    pub async fn connect(url: EndpointUrl) -> Result<Self> {
        let connector = Connector::new(url)?;
        let mut conn = connector.open().await?;
        let server = Server::probe(&mut conn).await?;
        checks::refuse_too_old(&server).map_err(|error| error.at("server", connector.url()))?;
        let charsets = Charsets::read(&mut conn).await?;
        let endpoint = server.endpoint();
        Ok(Self { connector, server, endpoint, charsets, control: Mutex::new(Some(conn)) })
    }

    /// What the server said about itself.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// What the server says of itself as a replica.
    pub(crate) async fn replica_state(&self) -> Result<ReplicaState> {
        on_control!(self, conn => replica::state(conn, &self.server))
    }
}

#[async_trait]
impl Source for MysqlSource {
    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    async fn check(&self, selection: &Selection, online: bool) -> Result<Vec<Finding>> {
        on_control!(self, conn => checks::run(conn, &self.server, &self.connector, selection, online))
    }

    async fn survey(&self, selection: &Selection, needs: &Needs) -> Result<Vec<Finding>> {
        on_control!(self, conn => survey::run(conn, &self.server, &self.charsets, selection, needs))
    }

    async fn catalog(&self, selection: &Selection) -> Result<Vec<TableSchema>> {
        on_control!(self, conn => catalog::read(conn, &self.server, selection))
    }

    async fn objects(&self, selection: &Selection) -> Result<(Vec<DatabaseObject>, Vec<Finding>)> {
        // Not the shared connection: another database is selected on it then.
        let mut conn = self.connector.open().await?;
        objects::read(&mut conn, &self.server, &self.charsets, selection).await
    }

    async fn accounts(&self, selection: &Selection) -> Result<Vec<Finding>> {
        on_control!(self, conn => accounts::list(conn, &self.server, selection))
    }

    async fn as_target(&self) -> Result<Arc<dyn Target>> {
        Ok(Arc::new(MysqlTarget::connect(self.connector.url().clone()).await?))
    }

    fn is_begun_anew(&self, first: &Position, later: &Position) -> bool {
        self.covers(later, first).unwrap_or(false)
    }

    async fn log_kept_for(&self) -> Result<Option<Duration>> {
        on_control!(self, conn => checks::log_kept_for(conn))
    }

    async fn low_watermark(&self) -> Result<Position> {
        on_control!(self, conn => watermark::low(conn, &self.server))
    }

    async fn high_watermark(&self) -> Result<Position> {
        on_control!(self, conn => watermark::high(conn, &self.server))
    }

    fn covers(&self, reached: &Position, wanted: &Position) -> Result<bool> {
        LogPosition::parse(reached)?.covers(&LogPosition::parse(wanted)?)
    }

    fn beyond(&self, position: &Position, transactions: &TransactionSet) -> Result<TransactionSet> {
        let position = LogPosition::parse(position)?;
        let beyond: Vec<_> = transactions.iter().filter(|transaction| !position.holds(transaction)).collect();
        Ok(beyond.iter().collect())
    }

    fn can_chunk(&self, table: &TableSchema) -> bool {
        ChunkKey::choose(table).is_some()
    }

    async fn chunk_end(
        &self,
        table: &TableSchema,
        after: Option<&KeyBound>,
        rows: u64,
    ) -> Result<Option<KeyBound>> {
        on_control!(self, conn => chunk::end(conn, table, after, rows))
    }

    fn bound_values(&self, table: &TableSchema, bound: &KeyBound) -> Result<Option<(Vec<usize>, Batch)>> {
        chunk::values(table, bound)
    }

    async fn evolve(
        &self,
        change: &SchemaChange,
        known: &[TableSchema],
        selection: &Selection,
    ) -> Result<Vec<TableEvolution>> {
        on_control!(self, conn => ddl::evolve(conn, &self.server, change, known, selection))
    }

    async fn load(&self) -> Result<Option<u64>> {
        on_control!(self, conn => load::running(conn))
    }

    async fn write_state(&self) -> Result<WriteState> {
        on_control!(self, conn => freeze::state(conn))
    }

    async fn may_freeze(&self) -> Result<()> {
        on_control!(self, conn => freeze::try_privilege(conn, &self.server))
    }

    async fn freeze(&self, patience: Duration) -> Result<()> {
        on_control!(self, conn => freeze::freeze(conn, &self.server, patience))
    }

    async fn restore_writes(&self, before: &WriteState) -> Result<()> {
        on_control!(self, conn => freeze::restore(conn, before))
    }

    async fn unfinished(&self, ago: Duration) -> Result<Vec<Finding>> {
        on_control!(self, conn => freeze::unfinished(conn, ago))
    }

    async fn count_rows(&self, table: &TableSchema) -> Result<u64> {
        let mut conn = self.connector.open().await?;
        freeze::count(&mut conn, table).await
    }

    fn value_forms(&self, table: &TableSchema) -> Vec<Option<ValueForm>> {
        table.columns.iter().map(|column| digest::form_of_source(column, self.server.flavor)).collect()
    }

    async fn open_reader(&self) -> Result<Box<dyn Reader>> {
        let reader =
            ChunkReader::open(self.connector.clone(), self.server.clone(), self.charsets.clone()).await?;
        Ok(Box::new(reader))
    }

    async fn open_stream(&self, request: StreamRequest) -> Result<Box<dyn ChangeStream>> {
        let opening = binlog::open(&self.connector, &self.server, &self.charsets, request);
        match tokio::time::timeout(OPENING, opening).await {
            Ok(stream) => Ok(Box::new(stream?)),
            Err(_) => {
                Err(Error::new(ErrorKind::Transient, "the source takes too long to open its change stream")
                    .at("server", self.connector.url())
                    .because(format!("there was none within {} s", OPENING.as_secs())))
            }
        }
    }
}
