//! PostgreSQL 13–18 as a source.
//!
//! # Following
//! A task has a replication slot and a publication on the server ([`slot`]), from which `pgoutput`'s
//! messages come ([`stream`]). A transaction is named after the place of its commit record in the log: unique,
//! and the same each time the log is read. The server keeps its log until it hears that the target has what
//! is in it, for good.
//!
//! # What a read has seen
//! Each chunk is read in a transaction whose snapshot is known ([`position`]), and the stream says of each
//! transaction its number: which of them an exact read has seen needs no guess. For all others,
//! [`watermark`] finds places in the log before which everything is visible.
//!
//! # Failover
//! Positions name the timeline of the log ([`timeline`]): a server that was promoted in the source's place is
//! followed if it has all that the target has. From version 17 on, standbys can keep a copy of the slot.
//!
//! # Before a task begins
//! [`check`] tells what stands in its way, by settings, privileges and tables, and what may hold it up.
//!
//! # Values
//! are text, as the server writes them, in chunks (`COPY`) and in the stream alike ([`value`]).

mod catalog;
mod check;
mod chunk;
mod copy_text;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod keyed;
mod logical;
mod position;
mod reader;
mod slot;
mod stream;
mod timeline;
mod truncate;
mod type_catalog;
mod unfinished;
mod value;
mod watermark;

use async_trait::async_trait;
use engine_core::batch::Batch;
use engine_core::change::SchemaChange;
use engine_core::endpoint::{Endpoint, EndpointUrl};
use engine_core::finding::Finding;
use engine_core::position::Position;
use engine_core::schema::{TableName, TableSchema};
use engine_core::selection::Selection;
use engine_core::source::{ChangeStream, KeyBound, Reader, Source, StreamRequest};
use engine_core::structure::TableEvolution;
use engine_core::survey::Needs;
use engine_core::transaction::TransactionSet;
use engine_core::{Error, ErrorKind, Result};
use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio_postgres::Client;

use self::position::LogPosition;
use self::reader::ChunkReader;
use self::stream::SlotChanges;
use self::timeline::Timelines;
use self::watermark::Visibility;
use crate::connect::{Connector, Role, Server};
use crate::failure::translate;
use crate::identifier::{literal, quote};
use crate::replication::connection::ReplicationConnection;
use crate::replication::lsn::Lsn;

/// Longest time to have a change stream begin.
const OPENING: Duration = Duration::from_secs(40);

/// A PostgreSQL server to read from.
pub struct PostgresSource {
    url: EndpointUrl,
    connector: Connector,
    server: Server,
    system: Arc<str>,
    /// Of the slot and the publication.
    slot: String,
    visibility: Arc<Visibility>,
    /// Of the server that was followed last.
    timelines: std::sync::Mutex<Option<Timelines>>,
    /// For everything but chunks and the stream. Taken while in use; not put back after a failure.
    control: Mutex<Option<Client>>,
}

/// Runs `$work` on the control connection, which is kept only when that succeeds.
macro_rules! on_control {
    ($source:expr, $client:ident => $work:expr) => {{
        let mut control = $source.control.lock().await;
        let mut connection = match control.take().filter(|client| !client.is_closed()) {
            Some(connection) => connection,
            None => $source.connector.connect().await?,
        };
        let $client = &mut connection;
        let result = $work.await;
        if result.is_ok() {
            *control = Some(connection);
        }
        result
    }};
}

impl PostgresSource {
    /// Connects and asks the server what it is. `target` tells the task from others of its name that go
    /// elsewhere.
    pub async fn connect(url: EndpointUrl, task: &str, target: &str) -> Result<Self> {
        let connector = Connector::new(&url, Role::Source)?;
        let server = connector.describe().await?;
        if server.is_opengauss() {
            return Err(Error::new(ErrorKind::Usage, "openGauss can't be a source yet").at("source", &url));
        }
        let client = connector.connect().await?;
        let row = client
            .query_one("SELECT system_identifier::text FROM pg_catalog.pg_control_system()", &[])
            .await
            .map_err(|error| translate(error, "the source can't be asked for its identity"))?;
        Ok(Self {
            connector,
            server,
            system: row.get::<_, String>(0).into(),
            slot: slot::name(task, target),
            url,
            visibility: Arc::new(Visibility::default()),
            timelines: std::sync::Mutex::new(None),
            control: Mutex::new(Some(client)),
        })
    }

    fn position(&self, timeline: u32, lsn: Lsn) -> Position {
        let (system, timeline) = (Arc::clone(&self.system), Some(timeline));
        Position::from(&LogPosition { system, timeline, slot: None, lsn, snapshot: None })
    }

    /// Follows the task's slot, or a copy of it that goes with the connection.
    async fn follow(&self, request: StreamRequest, is_beside: bool) -> Result<SlotChanges> {
        let mut from = LogPosition::parse(&request.from)?;
        from.same_system(&self.system)?;
        let slot = from.slot.clone().ok_or_else(|| {
            Error::new(ErrorKind::State, "the task's position names no replication slot")
                .at("position", &request.from)
        })?;
        on_control!(self, client => async {
            slot::state(client, &slot).await?;
            compare(client, &slot, &request).await
        })?;
        let mut connection = ReplicationConnection::open(&self.url).await?;
        let timelines = Timelines::read(&mut connection).await?;
        timelines.require(&from, &request.applied)?;
        from.timeline = Some(timelines.current());
        self.visibility.keep_to(timelines.current());
        *self.timelines.lock().unwrap_or_else(PoisonError::into_inner) = Some(timelines);
        let followed: Arc<str> = if is_beside {
            let copy = format!("engine_check_{}", connection.process());
            slot::copy(&mut connection, &slot, &copy).await?;
            copy.into()
        } else {
            Arc::clone(&slot)
        };
        on_control!(self, client => async {
            let confirmed = slot::state(client, &followed).await?.confirmed;
            if confirmed > from.lsn {
                return Err(given_up(&slot, confirmed, from.lsn));
            }
            if is_beside { Ok(()) } else { slot::take_over(client, &slot).await }
        })?;
        let options = format!("proto_version '1', publication_names {}", literal(&quote(&slot)));
        let command = format!("START_REPLICATION SLOT {} LOGICAL {} ({options})", quote(&followed), from.lsn);
        let stream = connection.start(&command).await.map_err(|error| error.at("slot", &followed))?;
        Ok(SlotChanges::new(stream, &from, slot, request))
    }

    async fn opened(&self, request: StreamRequest, is_beside: bool) -> Result<Box<dyn ChangeStream>> {
        match tokio::time::timeout(OPENING, self.follow(request, is_beside)).await {
            Ok(stream) => Ok(Box::new(stream?)),
            Err(_) => {
                Err(Error::new(ErrorKind::Transient, "the source takes too long to open its change stream")
                    .at("server", &self.url)
                    .because(format!("there was none within {} s", OPENING.as_secs())))
            }
        }
    }
}

/// Fails for tables that the publication lacks, and for those that came into being since the task began.
async fn compare(client: &Client, publication: &str, request: &StreamRequest) -> Result<()> {
    let failed = |error| translate(error, "the publication can't be looked at");
    let rows = client
        .query(
            "SELECT schemaname::text, tablename::text FROM pg_catalog.pg_publication_tables WHERE pubname = $1",
            &[&publication],
        )
        .await
        .map_err(failed)?;
    let published: HashSet<TableName> =
        rows.iter().map(|row| TableName::new(row.get::<_, &str>(0), row.get::<_, &str>(1))).collect();
    if let Some(missing) = request.tables.iter().find(|table| !published.contains(&table.schema.name)) {
        return Err(Error::new(ErrorKind::Divergence, "a table of the task is not published any more")
            .at("table", &missing.schema.name)
            .at("publication", publication)
            .because("it was dropped or renamed, or the publication was altered: its changes are not in the stream")
            .help("begin a new task with another --name"));
    }
    let known: HashSet<&TableName> =
        request.tables.iter().map(|table| &table.schema.name).chain(&request.skipped).collect();
    let names = catalog::names(client, &request.selection).await?;
    if let Some(new) = names.iter().find(|name| !known.contains(name)) {
        return Err(Error::new(
            ErrorKind::Divergence,
            "a table of the selection came into being after the task began",
        )
        .at("table", new)
        .help("leave it out with --exclude, or begin a new task with another --name"));
    }
    Ok(())
}

#[async_trait]
impl Source for PostgresSource {
    fn endpoint(&self) -> &Endpoint {
        &self.server.endpoint
    }

    async fn check(&self, selection: &Selection, online: bool) -> Result<Vec<Finding>> {
        on_control!(self, client => check::check(client, &self.url, selection, online, &self.slot))
    }

    async fn survey(&self, selection: &Selection, needs: &Needs) -> Result<Vec<Finding>> {
        on_control!(self, client => check::survey::survey(client, selection, needs))
    }

    async fn catalog(&self, selection: &Selection) -> Result<Vec<TableSchema>> {
        on_control!(self, client => catalog::read(client, selection))
    }

    async fn begin_following(&self, selection: &Selection) -> Result<Position> {
        on_control!(self, client => async {
            let tables = catalog::names(client, selection).await?;
            slot::publish(client, &self.slot, &tables).await?;
            let mut connection = ReplicationConnection::open(&self.url).await?;
            slot::create(&mut connection, client, &self.visibility, &self.slot, &self.system).await
        })
    }

    fn is_begun_anew(&self, first: &Position, later: &Position) -> bool {
        let (Ok(first), Ok(later)) = (LogPosition::parse(first), LogPosition::parse(later)) else {
            return false;
        };
        first.system == later.system && first.slot.is_some() && first.slot == later.slot
    }

    async fn log_whole_rows(&self, tables: &[TableName]) -> Result<()> {
        on_control!(self, client => async {
            for table in tables {
                client
                    .batch_execute(&catalog::full_identity(table))
                    .await
                    .map_err(|error| translate(error, "a table can't be made to log whole rows").at("table", table))?;
            }
            Ok(())
        })
    }

    async fn let_go(&self) -> Result<()> {
        on_control!(self, client => async {
            slot::drop_when_idle(client, &self.slot).await?;
            slot::unpublish(client, &self.slot).await
        })
    }

    async fn low_watermark(&self) -> Result<Position> {
        on_control!(self, client => async {
            self.visibility.note(client).await?;
            let lsn = self.visibility.low(&watermark::snapshot(client).await?);
            Ok(self.position(watermark::timeline(client).await?, lsn))
        })
    }

    async fn high_watermark(&self) -> Result<Position> {
        on_control!(self, client => async {
            let lsn = watermark::end_of_log(client).await?;
            watermark::flushed(client, lsn).await?;
            Ok(self.position(watermark::timeline(client).await?, lsn))
        })
    }

    fn covers(&self, reached: &Position, wanted: &Position) -> Result<bool> {
        let (reached, wanted) = (LogPosition::parse(reached)?, LogPosition::parse(wanted)?);
        let of = wanted.timeline.or(reached.timeline);
        if of == reached.timeline {
            return reached.covers(&wanted);
        }
        // Of another server, of which this one has taken the place: if it had all that was read there.
        let timelines = self.timelines.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*timelines, of) {
            (Some(timelines), Some(of)) if !timelines.has(of, wanted.lsn) => {
                Err(timelines.lacks(of, wanted.lsn))
            }
            (Some(_), _) => reached.covers(&wanted),
            (None, _) => Ok(false),
        }
    }

    fn beyond(&self, position: &Position, transactions: &TransactionSet) -> Result<TransactionSet> {
        let position = LogPosition::parse(position)?;
        let beyond: Vec<_> = transactions.iter().filter(|transaction| !position.holds(transaction)).collect();
        Ok(beyond.iter().collect())
    }

    fn can_chunk(&self, table: &TableSchema) -> bool {
        table.row_key().is_some()
    }

    async fn chunk_end(
        &self,
        table: &TableSchema,
        after: Option<&KeyBound>,
        rows: u64,
    ) -> Result<Option<KeyBound>> {
        on_control!(self, client => chunk::end(client, table, after, rows))
    }

    fn bound_values(&self, table: &TableSchema, bound: &KeyBound) -> Result<Option<(Vec<usize>, Batch)>> {
        chunk::values(table, bound)
    }

    async fn evolve(
        &self,
        change: &SchemaChange,
        known: &[TableSchema],
        _selection: &Selection,
    ) -> Result<Vec<TableEvolution>> {
        truncate::evolve(change, known)
    }

    async fn load(&self) -> Result<Option<u64>> {
        on_control!(self, client => async {
            let row = client
                .query_one(
                    "SELECT count(*) FROM pg_catalog.pg_stat_activity \
                     WHERE state = 'active' AND backend_type = 'client backend'",
                    &[],
                )
                .await
                .map_err(|error| translate(error, "the source can't be asked for its load"))?;
            Ok(Some(row.get::<_, i64>(0).unsigned_abs()))
        })
    }

    async fn unfinished(&self, ago: Duration) -> Result<Vec<Finding>> {
        on_control!(self, client => unfinished::transactions(client, ago))
    }

    async fn count_rows(&self, table: &TableSchema) -> Result<u64> {
        let client = self.connector.connect().await?;
        let row = client
            .query_one(&format!("SELECT count(*) FROM {}", chunk::relation(&table.name)), &[])
            .await
            .map_err(|error| translate(error, "rows can't be counted").at("table", &table.name))?;
        Ok(row.get::<_, i64>(0).unsigned_abs())
    }

    async fn open_reader(&self) -> Result<Box<dyn Reader>> {
        let (connector, system) = (self.connector.clone(), Arc::clone(&self.system));
        Ok(Box::new(ChunkReader::open(connector, system, Arc::clone(&self.visibility)).await?))
    }

    async fn open_stream(&self, request: StreamRequest) -> Result<Box<dyn ChangeStream>> {
        self.opened(request, false).await
    }

    async fn open_stream_beside(&self, request: StreamRequest) -> Result<Box<dyn ChangeStream>> {
        self.opened(request, true).await
    }
}

fn given_up(slot: &str, confirmed: Lsn, wanted: Lsn) -> Error {
    Error::new(ErrorKind::Divergence, "the source has given up changes that the target lacks")
        .at("slot", slot)
        .because(format!(
            "it was told that the target has everything before {confirmed}, and the target now stands at {wanted}"
        ))
        .help("was the target restored from a backup? begin a new task with another --name")
}
