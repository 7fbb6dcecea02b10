//! The change stream: messages into transactions, transactions into sets.

mod guard;
pub(super) mod in_progress;
mod pump;
mod relation;
pub(super) mod spool;
mod transaction;
pub(super) mod whole;

use async_trait::async_trait;
use engine_core::change::{ChangeSet, Op, SchemaChange};
use engine_core::gathering::Gathering;
use engine_core::position::Position;
use engine_core::schema::TableName;
use engine_core::source::{ChangeStream, LogHold};
use engine_core::transaction::TransactionId;
use engine_core::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::time::Duration;

pub(super) use self::guard::{Expected, Guard, unforeseen};
pub(super) use self::pump::{Intake, Pump};
pub(super) use self::relation::Relations;
use self::relation::{Altered, Known, Wanted};
use self::transaction::Transaction;
use super::ahead::{self, Ahead};
use super::commits::Commits;
use super::partition::{self, Emptied};
use super::position::{LogPosition, Numbers};
use super::truncate;
use crate::family::Family;
use crate::replication::lsn::Lsn;
use crate::replication::pgoutput::Decoder;
use crate::replication::pgoutput::message::{Begin, Commit, Content, Message, OldRow};
use crate::replication::stream::Frame;

/// How long a set that is not full waits for the next message.
const LINGER: Duration = Duration::from_millis(1);

/// The changes of a PostgreSQL server, from a replication slot.
pub(super) struct SlotChanges {
    pump: Pump,
    guard: Guard,
    frames: std::vec::IntoIter<Frame>,
    decoder: Decoder,
    relations: Relations,
    system: Arc<str>,
    timeline: Option<u32>,
    slot: Arc<str>,
    /// Everything before it was handed over or is in the set at hand.
    reached: Lsn,
    /// Of the transaction that is committed there, what goes before its rows is done.
    begun: Option<Lsn>,
    /// What was found by streams before this one, and by this one for the next.
    ahead: Arc<Ahead>,
    transaction: Option<Transaction>,
    set: Gathering,
    /// What comes after the set at hand.
    next: Option<ChangeSet>,
    failure: Failure,
    /// Where the numbers of transactions are noted.
    commits: Option<Arc<Commits>>,
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
    pub(super) fn new(
        pump: Pump,
        family: Family,
        guard: Guard,
        relations: Relations,
        ahead: Arc<Ahead>,
        from: &LogPosition,
        slot: Arc<str>,
    ) -> Self {
        Self {
            pump,
            guard,
            frames: Vec::new().into_iter(),
            decoder: Decoder::of(family),
            relations,
            system: Arc::clone(&from.system),
            timeline: from.timeline,
            slot,
            reached: from.lsn,
            begun: from.is_begun.then_some(from.lsn),
            ahead,
            transaction: None,
            set: Gathering::default(),
            next: None,
            failure: Failure::None,
            commits: None,
        }
    }

    /// Has the numbers of its transactions noted.
    pub(super) fn note_commits(&mut self, commits: Arc<Commits>) {
        self.commits = Some(commits);
    }

    async fn gather(&mut self) -> Result<ChangeSet> {
        // An idle source says something a few times a second.
        if let Some(error) = self.guard.found() {
            return Err(error);
        }
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
        if let Some(transaction) = &self.transaction {
            let is_due = self.set.is_too_big(request) && transaction.looking.is_none();
            return is_due.then(|| self.hand_over(None));
        }
        let full = self.next.is_some() || self.set.is_full(request);
        (full && !self.set.is_empty()).then(|| self.hand_over(Some(self.reached)))
    }

    fn hand_over(&mut self, place: Option<Lsn>) -> ChangeSet {
        if let Some(transaction) = &mut self.transaction {
            transaction.place = None;
            transaction.is_in_pieces |= transaction.has_rows;
        }
        std::mem::take(&mut self.set).into_set(place.map(|lsn| self.position(lsn)))
    }

    fn position(&self, lsn: Lsn) -> Position {
        let (system, slot) = (Arc::clone(&self.system), Some(Arc::clone(&self.slot)));
        let is_begun = self.begun == Some(lsn);
        Position::from(&LogPosition { system, timeline: self.timeline, slot, lsn, snapshot: None, is_begun })
    }

    /// The transactions gathered before the one that failed, unless a part of that was handed over.
    fn before_failure(&mut self) -> Option<ChangeSet> {
        let transaction = self.transaction.as_ref()?;
        if !self.set.has_transactions() || transaction.is_in_pieces {
            return None;
        }
        if let Some(place) = transaction.place {
            self.set.take_back(place);
        }
        let commit = transaction.commit();
        self.transaction = None;
        Some(self.hand_over(Some(commit)))
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
            // Where a transaction came from makes no difference, nor who follows it.
            Message::Origin(_) | Message::Standbys => Ok(()),
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
        match &self.transaction {
            None => {}
            // openGauss says it again behind a change of structure.
            Some(open) if open.id.number == begin.final_lsn.0 => return Ok(()),
            Some(_) => return Err(disorder("a transaction begins inside another one")),
        }
        let id = TransactionId { origin: Arc::clone(&self.system), number: begin.final_lsn.0 };
        let is_applied = self.relations.request().applied.contains(&id);
        let is_begun = self.begun == Some(begin.final_lsn);
        let found = self.ahead.get(begin.final_lsn);
        let altered = found.altered.iter().find(|change| !self.relations.has_on_record(change));
        if !is_applied && let Some(change) = altered {
            self.before(begin.final_lsn, change.clone(), is_begun);
            return Ok(());
        }
        if !is_applied && !is_begun && !found.emptied.is_empty() {
            let names: Vec<TableName> = found.emptied.keys().cloned().collect();
            let change = SchemaChange { with_rows: true, ..truncate::change(&names, begin.committed_at) };
            self.before(begin.final_lsn, change, true);
            return Ok(());
        }
        let numbers = Numbers { xid: begin.xid, csn: begin.csn };
        if let Some(commits) = &self.commits {
            commits.note(begin.final_lsn, numbers);
        }
        self.transaction = Some(Transaction { is_applied, is_begun, found, ..Transaction::new(id, numbers) });
        Ok(())
    }

    /// Tells a change of structure that goes before everything of the transaction committed at `commit`, after
    /// all that was gathered. Whoever carries it out reads on in a stream of its own, for which `is_begun` says
    /// that the tables are empty that the transaction empties.
    fn before(&mut self, commit: Lsn, change: SchemaChange, is_begun: bool) {
        self.transaction = None;
        if self.set.is_empty() {
            self.set.moved();
        }
        self.reached = self.reached.max(commit);
        let (system, slot) = (Arc::clone(&self.system), Some(Arc::clone(&self.slot)));
        let timeline = self.timeline;
        let position = LogPosition { system, timeline, slot, lsn: commit, snapshot: None, is_begun };
        self.next = Some(ChangeSet {
            position: Some(Position::from(&position)),
            schema_change: Some(change),
            ..ChangeSet::default()
        });
    }

    fn commit(&mut self, commit: Commit) -> Result<()> {
        let transaction =
            self.transaction.take().ok_or_else(|| disorder("a transaction ends that has not begun"))?;
        if commit.lsn.0 != transaction.id.number {
            return Err(disorder("a transaction ends where it was not said to"));
        }
        if let Some(found) = transaction.looking {
            self.ahead.put(commit.lsn, found);
            return Err(Error::new(ErrorKind::Transient, "a transaction has to be read again").because(
                "it empties tables, or changes them, in the midst of its rows: that goes before them",
            ));
        }
        if transaction.truncated.is_empty() {
            self.reached = commit.end;
            self.set.ended(Some(commit.committed_at));
            return Ok(());
        }
        // A set of its own, after what was gathered.
        if self.set.is_empty() {
            self.set.moved();
        }
        self.reached = commit.lsn;
        let names: Vec<TableName> = transaction.truncated.into_iter().map(|(name, _)| name).collect();
        let change = truncate::change(&names, commit.committed_at);
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
        if let Some(transaction) = &mut self.transaction {
            transaction.messages += 1;
        }
        match content {
            Content::Relation(relation) => {
                if self.relations.is_unheard_of(&relation) {
                    self.ahead.ask(relation.id);
                    return Err(partition::unheard_of(relation.namespace, relation.name));
                }
                self.relations.learn(&relation)?;
            }
            Content::Insert { relation, new } => {
                if let Some((wanted, place)) = self.row(relation)? {
                    let changes = wanted.change(&mut self.set, Op::Insert, place, bytes);
                    wanted.push(&new, None, &mut changes.after)?;
                }
            }
            Content::Update(update) => {
                if let Some((wanted, place)) = self.row(update.relation)? {
                    let Some(OldRow::Full(old)) = update.old else { return Err(wanted.not_full()) };
                    let changes = wanted.change(&mut self.set, Op::Update, place, bytes);
                    wanted.push(&old, None, &mut changes.before)?;
                    wanted.push(&update.new, Some(&old), &mut changes.after)?;
                }
            }
            Content::Delete(delete) => {
                if let Some((wanted, place)) = self.row(delete.relation)? {
                    let OldRow::Full(old) = delete.old else { return Err(wanted.not_full()) };
                    let changes = wanted.change(&mut self.set, Op::Delete, place, bytes);
                    wanted.push(&old, None, &mut changes.before)?;
                }
            }
            Content::Truncate(truncated) => {
                for emptied in self.relations.emptied(truncated.relations()) {
                    self.truncate(&emptied)?;
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
        let (name, since) = match &known {
            Known::Wanted(wanted) => (&wanted.schema.name, &wanted.since),
            Known::Altered(altered) => (&altered.schema.name, &altered.since),
            Known::PassedOver => return Ok(None),
            Known::Unforeseen(name) => return Err(unforeseen(name)),
        };
        if transaction.is_applied {
            self.set.pass_over(transaction.id.clone());
            return Ok(None);
        }
        if since.as_ref().is_some_and(|since| since.has(transaction.numbers)) {
            return Ok(None);
        }
        // The table is emptied further on, which is done.
        if transaction.found.emptied.get(name).is_some_and(|&last| transaction.messages < last) {
            return Ok(None);
        }
        if !transaction.truncated.is_empty() {
            transaction.look_through();
        }
        match known {
            Known::Wanted(wanted) if transaction.looking.is_none() => {
                transaction.touch(wanted.table);
                let place =
                    *transaction.place.get_or_insert_with(|| self.set.place_of(transaction.id.clone()));
                Ok(Some((wanted, place)))
            }
            Known::Altered(altered) => {
                self.altered(&altered)?;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// Takes in that a row has another structure than its table has on record.
    fn altered(&mut self, altered: &Altered) -> Result<()> {
        let Some(transaction) = self.transaction.as_mut() else { return Ok(()) };
        let commit = transaction.commit();
        let at = |error: Error| error.at("table", &altered.schema.name);
        if transaction.touched.contains(&altered.table) {
            return Err(at(ahead::amid_rows()));
        }
        self.ahead.tell(commit, altered.relation, &altered.known_columns()).map_err(at)?;
        let (change, is_begun) = (altered.change(), transaction.is_begun);
        if transaction.has_rows || transaction.looking.is_some() {
            transaction.look_through().alter(change);
        } else {
            self.before(commit, change, is_begun);
        }
        Ok(())
    }

    fn truncate(&mut self, emptied: &Emptied) -> Result<()> {
        let known = self.relations.get(emptied.relation)?;
        let transaction = self
            .transaction
            .as_mut()
            .ok_or_else(|| disorder("a table is emptied outside of a transaction"))?;
        let (table, name, since) = match &known {
            Known::Wanted(wanted) => (wanted.table, &wanted.schema.name, &wanted.since),
            Known::Altered(altered) => (altered.table, &altered.schema.name, &altered.since),
            Known::PassedOver => return Ok(()),
            Known::Unforeseen(name) => return Err(unforeseen(name)),
        };
        let message = transaction.messages;
        let is_seen = since.as_ref().is_some_and(|since| since.has(transaction.numbers));
        let is_done = transaction.is_begun
            && transaction.looking.is_none()
            && (!transaction.touched.contains(&table)
                || transaction.found.emptied.get(name).is_some_and(|&last| message <= last));
        if transaction.is_applied || is_seen || is_done {
            return Ok(());
        }
        if !emptied.partly.is_empty() {
            return Err(partition::emptied_partly(name, &emptied.partly));
        }
        if transaction.has_rows || transaction.looking.is_some() {
            transaction.look_through().emptied.insert(name.clone(), message);
        } else {
            transaction.truncated.push((name.clone(), message));
        }
        Ok(())
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

pub(super) fn disorder(why: &'static str) -> Error {
    Error::new(ErrorKind::Divergence, "the source's change stream makes no sense").because(why)
}
