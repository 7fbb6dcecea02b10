//! PostgreSQL 13–18 as a source, and openGauss, which differs by its [`dialect`].
//!
//! # Following
//! A task has a replication slot and a publication on the server ([`slot`]), from which `pgoutput`'s
//! messages come ([`stream`]). A transaction is named after the place of its commit record in the log: unique,
//! and the same each time the log is read. The server keeps its log until it hears that the target has what
//! is in it, for good. Large transactions are sent before they are committed, and kept until they are
//! (`stream::in_progress`).
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

mod ahead;
mod alteration;
mod beside;
mod catalog;
mod check;
mod chunk;
mod commits;
mod copy_text;
mod dialect;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod identity;
mod keyed;
mod logical;
mod mppdb;
mod partition;
mod position;
mod publication;
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
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio_postgres::Client;

use self::ahead::Ahead;
use self::beside::Beside;
use self::commits::Commits;
use self::mppdb::decoding::Decoding;
use self::mppdb::heartbeat::{self, Heartbeat};
use self::mppdb::require;
use self::mppdb::retelling::Retelling;
use self::mppdb::tables::Tables;
use self::position::LogPosition;
use self::reader::ChunkReader;
use self::stream::in_progress::InProgress;
use self::stream::{Expected, Guard, Intake, Pump, Relations, SlotChanges};
use self::timeline::Timelines;
use self::watermark::Visibility;
use crate::connect::{APPLICATION, Connector, Role, Server};
use crate::failure::translate;
use crate::family::Family;
use crate::opengauss::compatibility::has_dolphin;
use crate::opengauss::decoding::Style;
use crate::opengauss::feed::FeedRequest;
use crate::replication::connection::ReplicationConnection;
use crate::replication::lsn::Lsn;

/// Longest time to have a change stream begin.
const OPENING: Duration = Duration::from_secs(40);

/// A PostgreSQL server to read from.
pub struct PostgresSource {
    url: EndpointUrl,
    connector: Connector,
    server: Server,
    family: Family,
    system: Arc<str>,
    /// By what the changes come.
    decoding: Decoding,
    /// Of the slot and the publication.
    slot: String,
    visibility: Arc<Visibility>,
    /// Of the server that was followed last.
    timelines: std::sync::Mutex<Option<Timelines>>,
    /// Of transactions that are read more than once.
    ahead: Arc<Ahead>,
    /// Of the transactions of a check's stream.
    commits: Arc<Commits>,
    /// The publication decides what was sent.
    is_followed: AtomicBool,
    /// Where large transactions may be kept until they are committed.
    files: OnceLock<PathBuf>,
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
        let decoding = Decoding::from_url(&url)?;
        let connector = Connector::new(&url, Role::Source)?;
        let server = connector.describe().await?;
        let family = Family::of(&server);
        if family.is_opengauss() != (url.scheme == "opengauss") {
            return Err(Error::new(ErrorKind::Usage, "the URL is for another kind of server than this")
                .at("source", &url)
                .because(format!("it is {} {}", server.endpoint.engine, server.endpoint.version))
                .help("a URL begins with opengauss:// for openGauss, and with postgres:// for PostgreSQL"));
        }
        let client = connector.connect().await?;
        let system = identity::of(&client, family, &url).await?;
        Ok(Self {
            connector,
            server,
            family,
            system,
            decoding,
            slot: slot::name(task, target),
            url,
            visibility: Arc::new(Visibility::of(family)),
            timelines: std::sync::Mutex::new(None),
            ahead: Arc::new(Ahead::default()),
            commits: Arc::default(),
            is_followed: AtomicBool::new(false),
            files: OnceLock::new(),
            control: Mutex::new(Some(client)),
        })
    }

    fn position(&self, timeline: u32, lsn: Lsn) -> Position {
        let (system, timeline) = (Arc::clone(&self.system), Some(timeline));
        Position::from(&LogPosition { system, timeline, slot: None, lsn, snapshot: None, is_begun: false })
    }

    /// What the stream's session calls itself. Where dolphin is, the server writes booleans so that its own plugin reads
    /// each as false, but for some names.
    fn stream_name(&self) -> &'static str {
        let is_serial = !self.decoding.is_published() && !self.decoding.is_parallel();
        if is_serial && has_dolphin(&self.server.endpoint) { "gsql" } else { APPLICATION }
    }

    /// The tables of a request, if what happens to them can be said in the style.
    async fn sayable(&self, client: &Client, request: &StreamRequest, style: Style) -> Result<Tables> {
        for table in &request.tables {
            require::sayable(style, has_dolphin(&self.server.endpoint), &table.schema)?;
        }
        if self.decoding.is_parallel() {
            let settings = require::Settings::read(client).await?;
            settings.require()?;
            for table in &request.tables {
                settings.require_zone(&table.schema)?;
            }
        }
        Tables::new(request, require::Facts::read(client, &request.tables).await?)
    }

    /// Follows the task's slot, or a copy of it that goes with the connection.
    async fn follow(&self, request: StreamRequest, is_beside: bool) -> Result<Box<dyn ChangeStream>> {
        let mut from = LogPosition::parse(&request.from)?;
        from.same_system(&self.system)?;
        let slot = from.slot.clone().ok_or_else(|| {
            Error::new(ErrorKind::State, "the task's position names no replication slot")
                .at("position", &request.from)
        })?;
        let expected = Expected {
            publication: slot.to_string(),
            family: self.family,
            decoding: self.decoding,
            tables: request.tables.iter().map(|table| table.schema.name.clone()).collect(),
            skipped: request.skipped.iter().cloned().collect(),
            selection: request.selection.clone(),
        };
        // Before the catalog is read, in which they are or are not.
        let looked_up = self.ahead.asked();
        let published = on_control!(self, client => async {
            slot::state(client, self.family, &slot, self.decoding.plugin()).await?;
            expected.require(client).await
        })?;
        let mut connection = ReplicationConnection::open_as(&self.url, self.stream_name()).await?;
        let timelines = Timelines::read(&mut connection).await?;
        timelines.require(&from, &request.applied)?;
        from.timeline = Some(timelines.current());
        self.visibility.keep_to(timelines.current());
        *self.timelines.lock().unwrap_or_else(PoisonError::into_inner) = Some(timelines);
        let followed: Arc<str> = match (is_beside, self.family) {
            (false, _) => Arc::clone(&slot),
            (true, Family::PostgreSql) => {
                let copy = format!("engine_check_{}", connection.process());
                slot::copy(&mut connection, &slot, &copy).await?;
                copy.into()
            }
            (true, Family::OpenGauss) => {
                let copy = beside::copy_of(&slot);
                on_control!(self, client => beside::copy(client, &slot, &copy, self.decoding.plugin()))?;
                copy.into()
            }
        };
        on_control!(self, client => async {
            let confirmed = slot::state(client, self.family, &followed, self.decoding.plugin()).await?.confirmed;
            if confirmed > from.lsn {
                return Err(given_up(&slot, confirmed, from.lsn));
            }
            if is_beside {
                return Ok(());
            }
            if self.family.is_opengauss() {
                beside::sweep(client, &slot).await;
            }
            slot::take_over(client, self.family, &slot).await
        })?;
        let (command, intake) = match self.decoding {
            Decoding::Pgoutput => {
                let sends_in_progress = self.family.sends_in_progress(connection.major_version());
                let files = self.files.get().filter(|_| sends_in_progress).cloned();
                let command = self.family.start_stream(&followed, &slot, from.lsn, files.is_some());
                (command, files.map_or(Intake::Plain, |files| Intake::InProgress(InProgress::new(files))))
            }
            Decoding::Mppdb { style, decoders } => {
                let tables = on_control!(self, client => self.sayable(client, &request, style))?;
                let named = Tables::list(&request);
                let request = FeedRequest::of(&*followed, style, decoders, named);
                let heartbeat = if self.decoding.is_parallel() {
                    Some(Heartbeat::start(self.connector.clone(), &slot).await?)
                } else {
                    None
                };
                let files = self.files.get().cloned();
                let retelling = Box::new(Retelling::new(style, tables, from.lsn, files, heartbeat));
                (request.command()?, Intake::Retelling(retelling))
            }
        };
        let stream = connection.start(&command).await.map_err(|error| error.at("slot", &followed))?;
        self.is_followed.store(true, Ordering::Relaxed);
        let guard = Guard::start(self.connector.clone(), expected);
        let relations = Relations::new(request, published, looked_up);
        let ahead = Arc::clone(&self.ahead);
        let pump = Pump::start(stream, intake, from.lsn);
        let mut stream = SlotChanges::new(pump, self.family, guard, relations, ahead, &from, slot);
        if is_beside {
            stream.note_commits(Arc::clone(&self.commits));
        }
        Ok(if is_beside && self.family.is_opengauss() {
            Box::new(Beside::new(stream, self.connector.clone(), followed.to_string()))
        } else {
            Box::new(stream)
        })
    }

    async fn opened(&self, request: StreamRequest, is_beside: bool) -> Result<Box<dyn ChangeStream>> {
        match tokio::time::timeout(OPENING, self.follow(request, is_beside)).await {
            Ok(stream) => stream.map_err(lasting),
            Err(_) => {
                Err(Error::new(ErrorKind::Transient, "the source takes too long to open its change stream")
                    .at("server", &self.url)
                    .because(format!("there was none within {} s", OPENING.as_secs())))
            }
        }
    }
}

#[async_trait]
impl Source for PostgresSource {
    fn endpoint(&self) -> &Endpoint {
        &self.server.endpoint
    }

    fn keep_files_in(&self, directory: &Path) {
        self.files.get_or_init(|| directory.to_owned());
    }

    async fn check(&self, selection: &Selection, online: bool) -> Result<Vec<Finding>> {
        on_control!(self, client => check::check(client, &self.server, &self.url, selection, online, self.decoding, &self.slot))
    }

    async fn survey(&self, selection: &Selection, needs: &Needs) -> Result<Vec<Finding>> {
        on_control!(self, client => check::survey::survey(client, self.family, selection, needs))
    }

    async fn catalog(&self, selection: &Selection) -> Result<Vec<TableSchema>> {
        on_control!(self, client => catalog::read(client, self.family, selection))
    }

    async fn begin_following(&self, selection: &Selection) -> Result<Position> {
        on_control!(self, client => async {
            let tables = catalog::names(client, self.family, selection).await?;
            if self.decoding.is_published() {
                slot::publish(client, self.family, &self.slot, &tables).await?;
            }
            let mut connection = ReplicationConnection::open(&self.url).await?;
            let plugin = self.decoding.plugin();
            slot::create(&mut connection, client, &self.visibility, &self.slot, plugin, &self.system).await
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
            // Each partition has a replica identity of its own.
            let partitions = match self.family {
                Family::PostgreSql => partition::read(client).await?,
                Family::OpenGauss => Vec::new(),
            };
            let partitions = partitions
                .iter()
                .filter(|partition| partition.kind == partition::Kind::Leaf && tables.contains(&partition.table))
                .map(|partition| &partition.name);
            for table in tables.iter().chain(partitions) {
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
            if self.family.is_opengauss() {
                slot::drop_when_idle(client, &beside::copy_of(&self.slot)).await?;
                heartbeat::remove(client, &self.slot).await?;
            }
            slot::drop_when_idle(client, &self.slot).await?;
            slot::unpublish(client, &self.slot).await
        })
    }

    async fn low_watermark(&self) -> Result<Position> {
        on_control!(self, client => async {
            self.visibility.note(client).await?;
            let lsn = self.visibility.low(&watermark::snapshot(client, self.family).await?);
            Ok(self.position(watermark::timeline(client, self.family).await?, lsn))
        })
    }

    async fn high_watermark(&self) -> Result<Position> {
        on_control!(self, client => async {
            let lsn = watermark::end_of_log(client, self.family).await?;
            watermark::flushed(client, self.family, lsn).await?;
            // Whoever has followed up to here must have been sent everything.
            if self.is_followed.load(Ordering::Relaxed) {
                publication::require_intact(client, self.family, &self.slot).await?;
            }
            Ok(self.position(watermark::timeline(client, self.family).await?, lsn))
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
        let mut beyond = TransactionSet::default();
        for transaction in transactions.iter() {
            let holds = match &position.snapshot {
                Some(snapshot) => self.commits.has(position.lsn, snapshot, Lsn(transaction.number))?,
                None => position.holds(&transaction),
            };
            if !holds {
                beyond.insert(&transaction);
            }
        }
        Ok(beyond)
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
        let altered = on_control!(self, client => alteration::evolve(client, self.family, change, known))?;
        altered.map_or_else(|| truncate::evolve(change, known), Ok)
    }

    async fn structure_after(
        &self,
        change: &SchemaChange,
        known: &[TableSchema],
    ) -> Result<Option<TableSchema>> {
        on_control!(self, client => alteration::structure(client, self.family, change, known))
    }

    async fn load(&self) -> Result<Option<u64>> {
        on_control!(self, client => async {
            let row = client
                .query_one(self.family.load(), &[])
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
        let (visibility, commits) = (Arc::clone(&self.visibility), Arc::clone(&self.commits));
        Ok(Box::new(ChunkReader::open(connector, self.family, system, visibility, commits).await?))
    }

    async fn open_stream(&self, request: StreamRequest) -> Result<Box<dyn ChangeStream>> {
        self.opened(request, false).await
    }

    async fn open_stream_beside(&self, request: StreamRequest) -> Result<Box<dyn ChangeStream>> {
        self.opened(request, true).await
    }
}

/// A login that the server of a running task refuses does not pass by itself, other than a server that can't be
/// reached.
fn lasting(error: Error) -> Error {
    let refused = ["28000", "28P01", "3D000"].map(|code| format!("(SQLSTATE {code})"));
    let is_refused = error.why().is_some_and(|why| refused.iter().any(|code| why.contains(code)));
    if error.kind() != ErrorKind::Connection || !is_refused {
        return error;
    }
    let mut lasting = Error::new(ErrorKind::Precondition, error.what());
    for (name, place) in error.place() {
        lasting = lasting.at(name, place);
    }
    if let Some(why) = error.why() {
        lasting = lasting.because(why);
    }
    match error.remedy() {
        Some(help) => lasting.help(help),
        None => lasting,
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
