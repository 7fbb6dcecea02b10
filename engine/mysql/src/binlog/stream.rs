//! The change stream: events into transactions, transactions into sets.
//!
//! This is its frame: what comes when. What the kinds of events mean is in the modules below.

mod prepared;
mod rows;
mod statement;
mod transaction;

use async_trait::async_trait;
use engine_core::change::ChangeSet;
use engine_core::gathering::Gathering;
use engine_core::position::Position;
use engine_core::source::ChangeStream;
use engine_core::{Error, ErrorKind, Result};
use std::time::Duration;

use super::event::{self, EventKind, Header, MariaDbGtid, MySqlGtid};
use super::payload::Payload;
use super::position::{FilePosition, LogPosition};
use super::tables::Tables;
use super::transaction::Transaction;
use super::wire::{RawEvent, Wire, malformed};
use prepared::Undecided;

pub(super) use prepared::KeptRows;

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
    /// Where in the log the stream went on from. Nothing before it is missing.
    begun: Option<FilePosition>,
    /// Where the log has been read to, and which transactions ended before.
    reached: LogPosition,
    transaction: Option<Transaction>,
    undecided: Undecided,
    /// Where the stream goes on, having begun earlier for the sake of prepared transactions; nothing else
    /// before it counts.
    again_until: Option<LogPosition>,
    set: Gathering,
    /// Where the stream has to begin again after the change of structure in `set`, if not where it is.
    begins_again: Option<LogPosition>,
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
            begun: begins.file.clone(),
            reached: begins,
            transaction: None,
            undecided: Undecided::default(),
            again_until,
            set: Gathering::default(),
            begins_again: None,
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
        if self.begins_again.is_some() {
            return Some(self.hand_over(true));
        }
        if !self.is_new() {
            return None;
        }
        let request = self.tables.request();
        if self.transaction.is_some() || self.payload.is_some() {
            return self.set.is_too_big(request).then(|| self.hand_over(false));
        }
        (!self.set.is_empty() && self.set.is_full(request)).then(|| self.hand_over(true))
    }

    /// The transactions gathered before the one that failed, if none of its rows are among theirs.
    fn before_failure(&mut self) -> Option<ChangeSet> {
        let is_new = self.is_new();
        let transaction = self.transaction.as_ref()?;
        if !is_new || !self.set.has_transactions() || self.set.has_schema_change() || transaction.has_rows {
            return None;
        }
        let mut ended = self.position();
        ended.file.as_mut()?.offset = transaction.start;
        let position = Some(Position::from(&ended));
        Some(ChangeSet { position, ..self.hand_over(true) })
    }

    fn hand_over(&mut self, complete: bool) -> ChangeSet {
        if let Some(transaction) = &mut self.transaction {
            transaction.place = None;
        }
        let begins_again = self.begins_again.take();
        let position = complete.then(|| Position::from(&begins_again.unwrap_or_else(|| self.standing())));
        std::mem::take(&mut self.set).into_set(position)
    }

    /// The position where a set ends.
    fn standing(&self) -> LogPosition {
        match &self.begun {
            Some(begun) => self.position().not_before(begun),
            None => self.position(),
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
            EventKind::LoadQuery => self.load(header, body)?,
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
        self.set.moved();
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
        self.set.moved();
    }
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
