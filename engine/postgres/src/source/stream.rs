//! The change stream: messages into transactions, transactions into sets.

mod gathering;
mod pump;
mod relation;

use async_trait::async_trait;
use engine_core::change::{ChangeSet, Op};
use engine_core::position::Position;
use engine_core::schema::TableName;
use engine_core::source::{ChangeStream, LogHold, StreamRequest};
use engine_core::transaction::TransactionId;
use engine_core::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

use self::gathering::Gathering;
use self::pump::Pump;
use self::relation::{Known, Relations, Wanted};
use super::position::LogPosition;
use super::truncate;
use crate::replication::lsn::Lsn;
use crate::replication::pgoutput::Decoder;
use crate::replication::pgoutput::message::{Begin, Commit, Content, Message, OldRow};
use crate::replication::stream::{Frame, LogStream};

/// Longest time for which transactions are gathered into one set.
const GATHER: Duration = Duration::from_millis(5);
/// How long a set that is not full waits for the next message.
const LINGER: Duration = Duration::from_millis(1);

/// The changes of a PostgreSQL server, from a replication slot.
pub(super) struct SlotChanges {
    pump: Pump,
    frames: std::vec::IntoIter<Frame>,
    decoder: Decoder,
    relations: Relations,
    system: Arc<str>,
    timeline: Option<u32>,
    slot: Arc<str>,
    /// Everything before it was handed over or is in the set at hand.
    reached: Lsn,
    transaction: Option<Transaction>,
    set: Gathering,
    /// What comes after the set at hand.
    next: Option<ChangeSet>,
    failure: Failure,
}

/// A transaction that has begun and not ended.
struct Transaction {
    /// Named after the place of its commit record, which is unique and the same each time.
    id: TransactionId,
    /// Its number, without the epoch.
    number: u32,
    /// Its place in the set that is being gathered, once that has rows of it.
    place: Option<u32>,
    /// The target has it already.
    is_applied: bool,
    /// It has changed rows of a wanted table.
    has_rows: bool,
    /// It has emptied these wanted tables.
    truncated: Vec<TableName>,
}

/// Whether the stream has failed.
enum Failure {
    None,
    /// To be reported by the next call; this one handed over what came before.
    Pending(Error),
    Reported,
}

impl SlotChanges {
    /// Begins with the first transaction that isn't before `from`, on a server of its timeline.
    pub(super) fn new(stream: LogStream, from: &LogPosition, slot: Arc<str>, request: StreamRequest) -> Self {
        Self {
            pump: Pump::start(stream, from.lsn),
            frames: Vec::new().into_iter(),
            decoder: Decoder::new(),
            relations: Relations::new(request),
            system: Arc::clone(&from.system),
            timeline: from.timeline,
            slot,
            reached: from.lsn,
            transaction: None,
            set: Gathering::default(),
            next: None,
            failure: Failure::None,
        }
    }

    async fn gather(&mut self) -> Result<ChangeSet> {
        loop {
            if let Some(set) = self.full_set() {
                return Ok(set);
            }
            if let Some(frame) = self.frames.next() {
                self.handle(frame)?;
                continue;
            }
            let batch = match self.pump.try_next() {
                Some(batch) => batch?,
                None if self.transaction.is_none() && !self.set.is_empty() => {
                    match tokio::time::timeout(LINGER, self.pump.next()).await {
                        Ok(batch) => batch?,
                        Err(_) => return Ok(self.hand_over(Some(self.reached))),
                    }
                }
                None => self.pump.next().await?,
            };
            self.frames = batch.into_iter();
        }
    }

    /// The set, when it is time to hand it over.
    fn full_set(&mut self) -> Option<ChangeSet> {
        if self.set.is_empty()
            && let Some(next) = self.next.take()
        {
            return Some(next);
        }
        let request = self.relations.request();
        let too_big = self.set.bytes >= request.set_bytes;
        if self.transaction.is_some() {
            return too_big.then(|| self.hand_over(None));
        }
        let full = too_big
            || self.set.rows >= request.set_rows
            || self.next.is_some()
            || self.set.until.is_some_and(|until| Instant::now() >= until);
        (full && !self.set.is_empty()).then(|| self.hand_over(Some(self.reached)))
    }

    fn hand_over(&mut self, place: Option<Lsn>) -> ChangeSet {
        if let Some(transaction) = &mut self.transaction {
            transaction.place = None;
        }
        std::mem::take(&mut self.set).into_set(place.map(|lsn| self.position(lsn)))
    }

    fn position(&self, lsn: Lsn) -> Position {
        let (system, slot) = (Arc::clone(&self.system), Some(Arc::clone(&self.slot)));
        Position::from(&LogPosition { system, timeline: self.timeline, slot, lsn, snapshot: None })
    }

    /// The transactions gathered before the one that failed, if none of its rows are among theirs.
    fn before_failure(&mut self) -> Option<ChangeSet> {
        let transaction = self.transaction.as_ref()?;
        if self.set.transactions == 0 || transaction.has_rows {
            return None;
        }
        let place = Lsn(transaction.id.number);
        Some(self.hand_over(Some(place)))
    }

    fn handle(&mut self, frame: Frame) -> Result<()> {
        match frame {
            Frame::Keepalive { end, .. } => {
                // Between transactions all that was committed before it has been sent.
                if self.transaction.is_none() && end > self.reached {
                    self.reached = end;
                    self.set.moved();
                }
                Ok(())
            }
            Frame::Data { start, payload, .. } => {
                let bytes = payload.len();
                let at = |error: Error| error.at("position", start);
                let message = self.decoder.decode(&payload).map_err(|error| at(error.into()))?;
                self.message(message, bytes).map_err(at)
            }
        }
    }

    fn message(&mut self, message: Message<'_>, bytes: usize) -> Result<()> {
        match message {
            Message::Begin(begin) => self.begin(begin),
            Message::Commit(commit) => self.commit(commit),
            // Where a transaction came from makes no difference.
            Message::Origin(_) => Ok(()),
            Message::Change { xid: None, content } => self.change(content, bytes),
            Message::Change { xid: Some(_), .. }
            | Message::StreamStart { .. }
            | Message::StreamStop
            | Message::StreamCommit { .. }
            | Message::StreamAbort { .. }
            | Message::StreamPrepare(_) => {
                Err(disorder("it has a transaction in pieces, which was not asked for"))
            }
            Message::BeginPrepare(_)
            | Message::Prepare(_)
            | Message::CommitPrepared(_)
            | Message::RollbackPrepared(_) => {
                Err(disorder("it has a transaction in two phases, which was not asked for"))
            }
        }
    }

    fn begin(&mut self, begin: Begin) -> Result<()> {
        if self.transaction.is_some() {
            return Err(disorder("a transaction begins inside another one"));
        }
        let id = TransactionId { origin: Arc::clone(&self.system), number: begin.final_lsn.0 };
        let is_applied = self.relations.request().applied.contains(&id);
        self.transaction = Some(Transaction {
            id,
            number: begin.xid,
            place: None,
            is_applied,
            has_rows: false,
            truncated: Vec::new(),
        });
        Ok(())
    }

    fn commit(&mut self, commit: Commit) -> Result<()> {
        let transaction =
            self.transaction.take().ok_or_else(|| disorder("a transaction ends that has not begun"))?;
        if commit.lsn.0 != transaction.id.number {
            return Err(disorder("a transaction ends where it was not said to"));
        }
        if transaction.truncated.is_empty() {
            self.reached = commit.end;
            self.set.ended(commit.committed_at);
            return Ok(());
        }
        // A set of its own, after what was gathered.
        if self.set.is_empty() {
            self.set.moved();
        }
        self.reached = commit.lsn;
        let change = truncate::change(&transaction.truncated, commit.committed_at);
        self.next = Some(ChangeSet {
            position: Some(self.position(commit.end)),
            transactions: 1,
            committed_at: Some(commit.committed_at),
            schema_change: Some(change),
            ..ChangeSet::default()
        });
        Ok(())
    }

    fn change(&mut self, content: Content<'_>, bytes: usize) -> Result<()> {
        match content {
            Content::Relation(relation) => self.relations.learn(&relation)?,
            Content::Insert { relation, new } => {
                if let Some((wanted, place)) = self.row(relation)? {
                    let changes = self.set.change(&wanted, Op::Insert, place, bytes);
                    wanted.push(&new, None, &mut changes.after)?;
                }
            }
            Content::Update(update) => {
                if let Some((wanted, place)) = self.row(update.relation)? {
                    let Some(OldRow::Full(old)) = update.old else { return Err(wanted.not_full()) };
                    let changes = self.set.change(&wanted, Op::Update, place, bytes);
                    wanted.push(&old, None, &mut changes.before)?;
                    wanted.push(&update.new, Some(&old), &mut changes.after)?;
                }
            }
            Content::Delete(delete) => {
                if let Some((wanted, place)) = self.row(delete.relation)? {
                    let OldRow::Full(old) = delete.old else { return Err(wanted.not_full()) };
                    let changes = self.set.change(&wanted, Op::Delete, place, bytes);
                    wanted.push(&old, None, &mut changes.before)?;
                }
            }
            Content::Truncate(truncated) => {
                for relation in truncated.relations() {
                    self.truncate(relation)?;
                }
            }
            // Types are known by their numbers.
            Content::Type(_) | Content::Message(_) => {}
        }
        Ok(())
    }

    /// The table and the transaction of a change of rows, if it is wanted.
    fn row(&mut self, relation: u32) -> Result<Option<(Arc<Wanted>, u32)>> {
        let known = self.relations.get(relation)?;
        let transaction =
            self.transaction.as_mut().ok_or_else(|| disorder("a row changes outside of a transaction"))?;
        let wanted = match known {
            Known::Wanted(wanted) => wanted,
            Known::PassedOver => return Ok(None),
            Known::Unforeseen(name) => return Err(unforeseen(&name)),
        };
        if transaction.is_applied {
            self.set.passed_over(&transaction.id);
            return Ok(None);
        }
        if wanted.since.as_ref().is_some_and(|since| since.sees_wrapped(transaction.number)) {
            return Ok(None);
        }
        if !transaction.truncated.is_empty() {
            return Err(truncate::with_rows(&wanted.schema.name));
        }
        transaction.has_rows = true;
        let place = *transaction.place.get_or_insert_with(|| self.set.place_of(&transaction.id));
        Ok(Some((wanted, place)))
    }

    fn truncate(&mut self, relation: u32) -> Result<()> {
        let known = self.relations.get(relation)?;
        let transaction = self
            .transaction
            .as_mut()
            .ok_or_else(|| disorder("a table is emptied outside of a transaction"))?;
        match known {
            Known::PassedOver => Ok(()),
            Known::Unforeseen(name) => Err(unforeseen(&name)),
            Known::Wanted(wanted) => {
                let name = &wanted.schema.name;
                if wanted.since.as_ref().is_some_and(|since| since.sees_wrapped(transaction.number)) {
                    return Ok(());
                }
                if transaction.has_rows {
                    return Err(truncate::with_rows(name));
                }
                transaction.truncated.push(name.clone());
                Ok(())
            }
        }
    }
}

#[async_trait]
impl ChangeStream for SlotChanges {
    async fn next(&mut self) -> Result<ChangeSet> {
        match std::mem::replace(&mut self.failure, Failure::Reported) {
            Failure::None => self.failure = Failure::None,
            Failure::Pending(error) => return Err(error),
            Failure::Reported => return Err(Error::new(ErrorKind::Internal, "the change stream has failed")),
        }
        match self.gather().await {
            Ok(set) => Ok(set),
            Err(error) => match self.before_failure() {
                Some(set) => {
                    self.failure = Failure::Pending(error);
                    Ok(set)
                }
                None => {
                    self.failure = Failure::Reported;
                    Err(error)
                }
            },
        }
    }

    fn hold(&self) -> Option<Arc<dyn LogHold>> {
        Some(self.pump.hold())
    }
}

fn unforeseen(table: &TableName) -> Error {
    Error::new(ErrorKind::Divergence, "a table of the selection came into being after the task began")
        .at("table", table)
        .help("leave it out with --exclude, or begin a new task with another --name")
}

fn disorder(why: &'static str) -> Error {
    Error::new(ErrorKind::Divergence, "the source's change stream makes no sense").because(why)
}
