//! The change stream: events into transactions, transactions into sets.

mod prepared;

use async_trait::async_trait;
use engine_core::change::{ChangeSet, Op, SchemaChange, TableChanges};
use engine_core::position::Position;
use engine_core::schema::TableName;
use engine_core::source::ChangeStream;
use engine_core::transaction::TransactionId as Name;
use engine_core::{Error, ErrorKind, Result};
use std::borrow::Cow;
use std::time::Duration;
use tokio::time::Instant;

use super::bytes::Bytes;
use super::event::{self, Change, EventKind, Header, MariaDbGtid, MySqlGtid, Query, RowsKind};
use super::partial::decode_partial_update;
use super::payload::{Payload, unpack_mariadb};
use super::position::{FilePosition, LogPosition};
use super::rows::{RowError, RowsEvent, decode_row};
use super::session::SessionFacts;
use super::statement::{Statement, classify};
use super::tables::{Mapped, Role, Tables};
use super::transaction::{Transaction, TransactionId};
use super::wire::{RawEvent, Wire, malformed};
use prepared::Undecided;

pub(super) use prepared::KeptRows;

/// Longest time for which transactions are gathered into one set.
const GATHER: Duration = Duration::from_millis(5);
/// How long a set that is not full waits for the next event.
const LINGER: Duration = Duration::from_millis(1);
/// How long the server may say nothing, not even that it is idle, until its connection counts as dead.
const SILENCE: Duration = Duration::from_secs(20);

/// The changes of a MySQL or MariaDB server, from its binlog.
#[derive(Debug)]
pub(crate) struct BinlogChanges {
    wire: Wire,
    payload: Option<Payload>,
    tables: Tables,
    /// Positions up to which changes of a table are left out, by table.
    since: Vec<Option<LogPosition>>,
    /// Where the log has been read to, and which transactions ended before.
    reached: LogPosition,
    transaction: Option<Transaction>,
    undecided: Undecided,
    /// Where the stream goes on, having begun earlier for the sake of prepared transactions; nothing else
    /// before it counts.
    again_until: Option<LogPosition>,
    set: Gathering,
    /// What was gathered before a change of structure.
    ready: Option<ChangeSet>,
    failure: Failure,
}

/// Whether the stream has failed.
#[derive(Debug)]
enum Failure {
    None,
    /// To be reported by the next call; this one handed over what came before.
    Pending(Error),
    Reported,
}

/// A statement and what it says besides.
struct Said<'e> {
    session: u32,
    database: Cow<'e, str>,
    statement: Cow<'e, str>,
    variables: &'e [u8],
    error: u16,
}

impl<'e> Said<'e> {
    fn new(query: &Query<'e>, statement: &'e [u8]) -> Self {
        Self {
            session: query.session,
            database: text(query.database),
            statement: text(statement),
            variables: query.variables,
            error: query.error,
        }
    }
}

/// The set that is being gathered.
#[derive(Debug, Default)]
struct Gathering {
    /// By table of the request.
    tables: Vec<Option<TableChanges>>,
    rows: usize,
    /// Bytes of row images, as they were in the log.
    bytes: usize,
    transactions: u64,
    changing: Vec<Name>,
    passed_over: Vec<Name>,
    committed_at: Option<i64>,
    schema_change: Option<SchemaChange>,
    /// Where the stream has to begin again after the change of structure, if not where it is.
    begins_at: Option<LogPosition>,
    /// The position has moved without a transaction.
    moved: bool,
    /// When the set has to be handed over.
    until: Option<Instant>,
}

impl Gathering {
    fn is_empty(&self) -> bool {
        self.transactions == 0 && self.rows == 0 && !self.moved && self.schema_change.is_none()
    }
}

impl BinlogChanges {
    /// A stream on an open connection that sends events after `begins`, what an earlier stream had up to
    /// `again_until` among them.
    pub(crate) fn new(
        wire: Wire,
        tables: Tables,
        since: Vec<Option<LogPosition>>,
        begins: LogPosition,
        again_until: Option<LogPosition>,
    ) -> Self {
        Self {
            wire,
            payload: None,
            tables,
            since,
            reached: begins,
            transaction: None,
            undecided: Undecided::default(),
            again_until,
            set: Gathering::default(),
            ready: None,
            failure: Failure::None,
        }
    }

    async fn gather(&mut self) -> Result<ChangeSet> {
        loop {
            if let Some(set) = self.full_set() {
                return Ok(set);
            }
            if let Some(event) = self.next_inside()? {
                self.handle(&event)?;
                continue;
            }
            let event = if self.transaction.is_none() && !self.set.is_empty() && self.is_new() {
                match self.next_soon().await? {
                    Some(event) => event,
                    None => return Ok(self.hand_over(true)),
                }
            } else {
                tokio::time::timeout(SILENCE, self.wire.next())
                    .await
                    .map_err(|_| silent())??
                    .ok_or_else(ended)?
            };
            self.handle(&event)?;
        }
    }

    /// The next event of the compressed transaction that the stream is in.
    fn next_inside(&mut self) -> Result<Option<RawEvent>> {
        let Some(payload) = &mut self.payload else { return Ok(None) };
        if let Some((header, body)) = payload.next()? {
            self.wire.expect_repeated(header);
            return Ok(Some(RawEvent::inner(header, body)));
        }
        self.payload = None;
        Ok(None)
    }

    /// The next event, unless nothing comes for a moment or the set has been gathered long enough.
    async fn next_soon(&mut self) -> Result<Option<RawEvent>> {
        if let Some(arrived) = self.wire.arrived() {
            return arrived?.ok_or_else(ended).map(Some);
        }
        match tokio::time::timeout(LINGER, self.wire.next()).await {
            Ok(event) => event?.ok_or_else(ended).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// The set, when it is time to hand it over.
    fn full_set(&mut self) -> Option<ChangeSet> {
        if let Some(ready) = self.ready.take() {
            return Some(ready);
        }
        if self.set.begins_at.is_some() {
            return Some(self.hand_over(true));
        }
        if !self.is_new() {
            return None;
        }
        let request = self.tables.request();
        let too_big = self.set.bytes >= request.set_bytes;
        if self.transaction.is_some() || self.payload.is_some() {
            return too_big.then(|| self.hand_over(false));
        }
        if self.set.is_empty() {
            return None;
        }
        let full = too_big
            || self.set.rows >= request.set_rows
            || self.set.schema_change.is_some()
            || self.set.until.is_some_and(|until| Instant::now() >= until);
        full.then(|| self.hand_over(true))
    }

    /// The transactions gathered before the one that failed, if none of its rows are among theirs.
    fn before_failure(&mut self) -> Option<ChangeSet> {
        let is_new = self.is_new();
        let transaction = self.transaction.as_ref()?;
        if !is_new || self.set.transactions == 0 || self.set.schema_change.is_some() || transaction.has_rows {
            return None;
        }
        let mut ended = self.position();
        ended.file.as_mut()?.offset = transaction.start;
        let position = Some(Position::from(&ended));
        Some(ChangeSet { position, ..self.hand_over(true) })
    }

    fn hand_over(&mut self, complete: bool) -> ChangeSet {
        let set = std::mem::take(&mut self.set);
        if let Some(transaction) = &mut self.transaction {
            transaction.place = None;
        }
        ChangeSet {
            tables: set.tables.into_iter().flatten().collect(),
            position: complete.then(|| Position::from(&set.begins_at.unwrap_or_else(|| self.position()))),
            transactions: set.transactions,
            changing: set.changing,
            passed_over: set.passed_over,
            committed_at: set.committed_at,
            schema_change: set.schema_change,
        }
    }

    fn handle(&mut self, event: &RawEvent) -> Result<()> {
        let header = event.header;
        let kind = EventKind::of(header.kind).ok_or_else(|| {
            Error::new(ErrorKind::Unrepresentable, "the binlog has an event that this engine does not know")
                .because(format!("its type is {}", header.kind))
        })?;
        let body = event.body();
        match kind {
            EventKind::Ignored => {}
            EventKind::Rotate => return self.rotate(body),
            EventKind::FormatDescription => self.first_of_file()?,
            EventKind::Heartbeat => {
                self.heartbeat(header, body);
                return Ok(());
            }
            EventKind::Gtid | EventKind::AnonymousGtid => self.begin_mysql(MySqlGtid::read(body)?, kind)?,
            EventKind::TaggedGtid => self.begin_mysql(MySqlGtid::read_tagged(body)?, kind)?,
            EventKind::MariaDbGtid => self.begin_mariadb(MariaDbGtid::read(body)?, header)?,
            EventKind::TransactionPayload => {
                // Only the outer event has a place in the file.
                self.advance(header);
                self.payload = Some(Payload::open(body)?);
            }
            // What is of no use any more may not fit today's structure either.
            EventKind::TableMap | EventKind::Rows(_) if self.is_left_out() => {}
            EventKind::TableMap => self.tables.map(body)?,
            EventKind::Rows(kind) => self.rows(body, kind)?,
            EventKind::Query { compressed } => self.query(header, body, compressed)?,
            EventKind::LoadQuery => {
                let query = Query::read(body, true)?;
                self.statement(header, &Said::new(&query, query.statement))?;
            }
            EventKind::Xid => self.end_after(header)?,
            EventKind::XaPrepare => self.prepare(header, body)?,
            EventKind::Incident => {
                return Err(Error::new(
                    ErrorKind::Divergence,
                    "the source reports that its binlog has a gap",
                )
                .because("the log has an incident event: changes were made that it does not hold")
                .help("start a new task"));
            }
        }
        self.advance(header);
        Ok(())
    }

    /// Moves the place to the end of an event.
    fn advance(&mut self, header: Header) {
        if header.next == 0 || header.flags & Header::ARTIFICIAL != 0 || self.payload.is_some() {
            return;
        }
        if let Some(place) = &mut self.reached.file {
            place.advance(header.next);
        }
    }

    fn rotate(&mut self, body: &[u8]) -> Result<()> {
        if self.transaction.as_ref().is_some_and(|transaction| transaction.open) {
            return Err(malformed("a log file ends in the middle of a transaction"));
        }
        self.transaction = None;
        let (file, offset) = event::rotate(body)?;
        self.reached.file = Some(FilePosition { file, offset });
        self.moved();
        Ok(())
    }

    fn first_of_file(&mut self) -> Result<()> {
        if self.transaction.as_ref().is_some_and(|transaction| transaction.open) {
            return Err(malformed("a log file begins in the middle of a transaction"));
        }
        self.tables.forget();
        Ok(())
    }

    fn heartbeat(&mut self, header: Header, body: &[u8]) {
        if self.transaction.is_some() {
            return;
        }
        // The second version has tagged fields; the first one is what we ask for.
        if header.kind == 27
            && let Some(place) = &mut self.reached.file
            && place.file.as_bytes() == body
        {
            place.advance(header.next);
        }
        self.moved();
    }

    fn moved(&mut self) {
        self.set.moved = true;
        self.set.until.get_or_insert_with(|| Instant::now() + GATHER);
    }

    fn begin_mysql(&mut self, gtid: MySqlGtid, kind: EventKind) -> Result<()> {
        self.end_by_next()?;
        let id = match kind {
            EventKind::AnonymousGtid => TransactionId::Anonymous,
            _ => TransactionId::MySql(gtid.origin, gtid.number),
        };
        self.transaction = Some(Transaction { committed_at: gtid.committed_at, ..self.new_transaction(id) });
        Ok(())
    }

    fn new_transaction(&self, id: TransactionId) -> Transaction {
        Transaction::new(id, self.reached.file.as_ref().map_or(0, |place| place.offset))
    }

    fn begin_mariadb(&mut self, gtid: MariaDbGtid, header: Header) -> Result<()> {
        self.end_by_next()?;
        let id =
            TransactionId::MariaDb { domain: gtid.domain, server: header.server_id, sequence: gtid.sequence };
        // MariaDB has no BEGIN: the identifier says whether one statement or a transaction follows.
        let open = !gtid.standalone && !gtid.completes;
        self.transaction = Some(Transaction { open, distributed: gtid.prepares, ..self.new_transaction(id) });
        Ok(())
    }

    /// A transaction that began ends, at the latest, where the next one begins.
    fn end_by_next(&mut self) -> Result<()> {
        if self.transaction.is_some() { self.end(None) } else { Ok(()) }
    }

    fn end_after(&mut self, header: Header) -> Result<()> {
        self.advance(header);
        self.end(Some(header))
    }

    fn end(&mut self, header: Option<Header>) -> Result<()> {
        let is_again = self.is_again();
        let transaction = self.transaction.take();
        if transaction.as_ref().is_some_and(|transaction| !transaction.kept.is_empty()) {
            return Err(malformed("a distributed transaction with rows ends without being prepared"));
        }
        if let Some(transaction) = &transaction
            && let Some(transactions) = &mut self.reached.transactions
        {
            transaction.id.add_to(transactions);
        }
        self.set.transactions += u64::from(!is_again);
        let by_header = header.map(|header| i64::from(header.timestamp) * 1_000_000);
        if let Some(committed_at) = transaction.and_then(|transaction| transaction.committed_at).or(by_header)
        {
            self.set.committed_at = Some(committed_at);
        }
        self.set.until.get_or_insert_with(|| Instant::now() + GATHER);
        Ok(())
    }

    fn query(&mut self, header: Header, body: &[u8], compressed: bool) -> Result<()> {
        let query = Query::read(body, false)?;
        if query.statement == b"BEGIN" {
            self.open_transaction(query.session);
            return Ok(());
        }
        let unpacked;
        let statement = if compressed {
            unpacked = unpack_mariadb(query.statement)?;
            &unpacked
        } else {
            query.statement
        };
        self.statement(header, &Said::new(&query, statement))
    }

    fn open_transaction(&mut self, session: u32) {
        // Without identifiers, before MySQL 5.7, BEGIN is the first event of a transaction.
        let begun = self.transaction.take().unwrap_or_else(|| self.new_transaction(TransactionId::Anonymous));
        self.transaction = Some(Transaction { open: true, session: Some(session), ..begun });
    }

    fn statement(&mut self, header: Header, said: &Said<'_>) -> Result<()> {
        match classify(&said.statement, &said.database) {
            Statement::Begin => {
                self.open_transaction(said.session);
                return Ok(());
            }
            Statement::XaBegin => {
                self.open_transaction(said.session);
                if let Some(transaction) = &mut self.transaction {
                    transaction.distributed = true;
                }
                return Ok(());
            }
            Statement::Commit => {
                return self.end_after(header);
            }
            Statement::Rollback => {
                if self.transaction.as_ref().is_some_and(|transaction| transaction.has_rows) {
                    return Err(Error::new(
                        ErrorKind::Unrepresentable,
                        "a transaction that was rolled back is in the log",
                    )
                    .because("it changed tables that can't be rolled back together with tables that can")
                    .help("use InnoDB for all tables of the task, and start a new task"));
                }
                return self.end_after(header);
            }
            Statement::Structure(_)
            | Statement::DropDatabase(_)
            | Statement::Rows(_)
            | Statement::Unknown
                if self.is_again() => {}
            Statement::CreateWithRows(_) if self.is_again() => {
                self.open_transaction(said.session);
                return Ok(());
            }
            Statement::CreateWithRows(tables) => {
                self.create_with_rows(header, said, &tables)?;
                self.open_transaction(said.session);
                return Ok(());
            }
            Statement::Structure(tables) => {
                if self.transaction.as_ref().is_some_and(|transaction| transaction.open) {
                    // MariaDB logs CREATE TABLE … SELECT so.
                    return self.create_with_rows(header, said, &tables);
                }
                if tables.iter().any(|table| self.tables.concerns(table)) {
                    self.structure_changed(header, said, &said.database, &tables, false)?;
                }
            }
            Statement::DropDatabase(dropped) => {
                if self.tables.has_tables_in(&dropped) {
                    self.structure_changed(header, said, &dropped, &[], false)?;
                }
            }
            Statement::Rows(tables) => {
                if let Some(table) = tables.iter().find(|table| self.tables.concerns(table)) {
                    return Err(Error::new(
                        ErrorKind::Precondition,
                        "rows were changed by a statement, without the rows in the log",
                    )
                    .at("table", table)
                    .because("the session or the server logs in STATEMENT or MIXED format")
                    .help("set binlog_format = ROW for the server and every session, and start a new task"));
                }
            }
            Statement::Unknown => {
                if self.tables.concerns_database(&said.database) {
                    self.structure_changed(header, said, &said.database, &[], false)?;
                }
            }
            Statement::XaDecision { commit } => return self.decide(header, &said.statement, commit),
            Statement::Other => {}
        }
        // A statement outside of BEGIN … COMMIT is a transaction by itself. Inside, it is one more
        // event: SAVEPOINT, XA END, the text of a CREATE TABLE … SELECT.
        if !self.transaction.as_ref().is_some_and(|transaction| transaction.open) {
            self.end_after(header)?;
        }
        Ok(())
    }

    /// A table comes into being together with rows, in a transaction that goes on. Once it is known,
    /// the statement means nothing more and the rows are like any others.
    fn create_with_rows(&mut self, header: Header, said: &Said<'_>, tables: &[TableName]) -> Result<()> {
        let unknown = tables.iter().any(|table| matches!(self.tables.role(table), Role::Unforeseen));
        // One that replaces a table is more than its creation.
        let plain = said.statement.get(..12).is_some_and(|start| start.eq_ignore_ascii_case("CREATE TABLE"));
        let more = !plain && tables.iter().any(|table| self.tables.concerns(table));
        if unknown || more {
            self.structure_changed(header, said, &said.database, tables, true)
        } else {
            Ok(())
        }
    }

    /// Notes a change of structure, to be handed over in a set of its own.
    fn structure_changed(
        &mut self,
        header: Header,
        said: &Said<'_>,
        database: &str,
        tables: &[TableName],
        with_rows: bool,
    ) -> Result<()> {
        let before = self.before_transaction();
        if !self.set.is_empty() {
            let set = self.hand_over(true);
            self.ready = Some(ChangeSet { position: Some(Position::from(&before)), ..set });
        }
        let facts = SessionFacts::read(said.variables)?;
        let mut session = facts.pairs;
        if matches!(said.statement, Cow::Owned(_)) {
            session.push((SessionFacts::REPLACED.to_owned(), "1".to_owned()));
        }
        if said.error != 0 {
            session.push((SessionFacts::ERROR.to_owned(), said.error.to_string()));
        }
        let micros = i64::from(facts.micros.unwrap_or(0));
        self.set.schema_change = Some(SchemaChange {
            namespace: database.to_owned(),
            tables: tables.to_vec(),
            statement: said.statement.clone().into_owned(),
            executed_at: Some(i64::from(header.timestamp) * 1_000_000 + micros),
            session,
            with_rows,
        });
        self.set.begins_at = with_rows.then_some(before);
        Ok(())
    }

    /// The position before the transaction that the stream is in.
    fn before_transaction(&self) -> LogPosition {
        let mut before = self.position();
        if let (Some(transaction), Some(place)) = (&self.transaction, &mut before.file) {
            place.offset = transaction.start;
        }
        before
    }

    fn rows(&mut self, body: &[u8], kind: RowsKind) -> Result<()> {
        let event = RowsEvent::read(body, kind)?;
        let Some(mapped) = self.tables.mapped(event.table_number) else {
            // The number that only ends a statement.
            if event.packed.is_empty() || event.table_number == 0x00ff_ffff {
                return Ok(());
            }
            return Err(malformed("a row event is of a table that no event described"));
        };
        match &*mapped {
            Mapped::PassedOver => return Ok(()),
            Mapped::Unforeseen(name) => {
                return Err(Error::new(ErrorKind::Divergence, "a table was created after the task began")
                    .at("table", name)
                    .because("the selection of the task takes it in, but its rows were never copied")
                    .help("exclude it with --exclude, or start a new task"));
            }
            Mapped::Wanted { .. } => {}
        }
        let transaction = self.transaction.as_ref().filter(|transaction| transaction.open);
        let transaction = transaction.ok_or_else(|| malformed("rows change outside of a transaction"))?;
        if transaction.distributed {
            return self.keep(mapped, kind, body);
        }
        self.take_rows(&mapped, &event, kind)
    }

    /// Takes the rows of an event into the set, as those of the transaction that the stream is in.
    fn take_rows(&mut self, mapped: &Mapped, event: &RowsEvent<'_>, kind: RowsKind) -> Result<()> {
        let Mapped::Wanted { table: index, columns } = mapped else { return Ok(()) };
        let index = *index;
        let Some(transaction) = &mut self.transaction else {
            return Err(malformed("rows change outside of a transaction"));
        };
        let schema = &self.tables.table(index)?.schema;
        let named = |error: Error| error.at("table", &schema.name);
        if let Some(since) = self.since.get(index).and_then(Option::as_ref)
            && holds(since, &self.reached, transaction)
        {
            return Ok(());
        }
        if event.columns != columns.len() {
            return Err(named(malformed("a row event has another number of columns than its table")));
        }
        if !event.full_images {
            return Err(named(without_columns(transaction.session)));
        }
        let place = self.reached.file.as_ref();
        let applied = match transaction.applied {
            Some(applied) => applied,
            None => {
                let name = transaction.id.name(place, transaction.start);
                let applied = self.tables.request().applied.contains(&name);
                if applied {
                    self.set.passed_over.push(name);
                }
                *transaction.applied.insert(applied)
            }
        };
        if applied {
            return Ok(());
        }
        transaction.has_rows = true;
        let in_set = match transaction.place {
            Some(in_set) => in_set,
            None => {
                self.set.changing.push(transaction.id.name(place, transaction.start));
                *transaction.place.insert(self.set.changing.len() as u32 - 1)
            }
        };

        let unpacked;
        let packed = if kind.compressed {
            unpacked = unpack_mariadb(event.packed)?;
            &unpacked
        } else {
            event.packed
        };
        if self.set.tables.len() <= index {
            self.set.tables.resize_with(index + 1, || None);
        }
        let slot = self.set.tables.get_mut(index).ok_or_else(|| malformed("a table has no place"))?;
        let changes = match slot {
            Some(changes) => changes,
            None => slot.insert(self.tables.empty_changes(index)?),
        };
        let mut input = Bytes::new(packed);
        let before = changes.ops.len();
        while !input.is_empty() {
            let decoded = match kind.change {
                Change::Insert => decode_row(columns, &mut input, &mut changes.after),
                Change::Delete => decode_row(columns, &mut input, &mut changes.before),
                Change::Update if kind.partial => {
                    decode_partial_update(columns, &mut input, &mut changes.before, &mut changes.after)
                }
                Change::Update => decode_row(columns, &mut input, &mut changes.before)
                    .and_then(|()| decode_row(columns, &mut input, &mut changes.after)),
            };
            decoded.map_err(|error| {
                named(match error {
                    RowError::Malformed(error) => error.into(),
                    RowError::Cell(ordinal, error) => {
                        let column = schema.columns.get(ordinal).map_or("?", |column| column.name.as_str());
                        Error::new(ErrorKind::Unrepresentable, "a changed value can't be read")
                            .at("column", column)
                            .because(error)
                    }
                })
            })?;
            changes.ops.push(match kind.change {
                Change::Insert => Op::Insert,
                Change::Update => Op::Update,
                Change::Delete => Op::Delete,
            });
        }
        changes.transactions.resize(changes.ops.len(), in_set);
        self.set.rows += changes.ops.len() - before;
        self.set.bytes += packed.len();
        Ok(())
    }
}

/// Whether an exact read up to `since` held the transaction that the stream is in.
fn holds(since: &LogPosition, reached: &LogPosition, transaction: &Transaction) -> bool {
    if let Some(transactions) = &since.transactions
        && transaction.id != TransactionId::Anonymous
    {
        return transaction.id.is_in(transactions);
    }
    // A position lies between transactions: one that begins before it ends before it.
    since.server == reached.server
        && since.file.as_ref().zip(reached.file.as_ref()).is_some_and(|(since, place)| {
            let start = FilePosition { file: place.file.clone(), offset: transaction.start };
            start.compare(since) == Some(std::cmp::Ordering::Less)
        })
}

/// The error for a row of which the log has a part, and no more will ever be known.
fn without_columns(session: Option<u32>) -> Error {
    let error = Error::new(ErrorKind::Precondition, "a row was logged without all of its columns")
        .because("the session that changed it, or the server, has a binlog_row_image other than FULL")
        .help(
            "SET GLOBAL binlog_row_image = FULL, also in the server's configuration, and let sessions that are open \
             connect again. Then start a new task: what is missing in the log can't be had, and no table can be copied \
             again by itself",
        );
    match session {
        Some(session) => error.at("session", session),
        None => error,
    }
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

fn ended() -> Error {
    Error::new(ErrorKind::Transient, "the source ended the change stream")
}

fn silent() -> Error {
    Error::new(ErrorKind::Transient, "the source has fallen silent")
        .because(format!("nothing came over the change stream for {} s", SILENCE.as_secs()))
}

#[async_trait]
impl ChangeStream for BinlogChanges {
    async fn next(&mut self) -> Result<ChangeSet> {
        if matches!(self.failure, Failure::Pending(_) | Failure::Reported) {
            return Err(match std::mem::replace(&mut self.failure, Failure::Reported) {
                Failure::Pending(error) => error,
                _ => Error::new(ErrorKind::Internal, "the change stream was read on after it had failed"),
            });
        }
        let error = match self.gather().await {
            Ok(set) => return Ok(set),
            Err(error) => error.at("position", &self.reached),
        };
        self.failure = Failure::Reported;
        let Some(set) = self.before_failure() else { return Err(error) };
        self.failure = Failure::Pending(error);
        Ok(set)
    }
}
