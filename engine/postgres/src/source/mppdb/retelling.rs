//! What `mppdb_decoding` sends, in `pgoutput`'s words.

use bytes::Bytes;
use engine_core::{Error, ErrorKind, Result};
use std::path::PathBuf;
use std::sync::Arc;

use super::ends::Ends;
use super::heartbeat::Heartbeat;
use super::tables::Tables;
use crate::opengauss::decoding::{self, Event, Op, Record, Style, records};
use crate::replication::lsn::Lsn;
use crate::replication::pgoutput::message::{Begin, Commit};
use crate::replication::stream::Frame;
use crate::source::stream::disorder;
use crate::source::stream::in_progress::Taken;
use crate::source::stream::spool::{IN_MEMORY, Spool};
use crate::source::stream::whole::Whole;

/// Takes the messages of a stream.
pub(in crate::source) struct Retelling {
    style: Style,
    tables: Tables,
    /// The target has what is committed before it.
    from: Lsn,
    /// For transactions that do not fit into memory.
    directory: Option<PathBuf>,
    ends: Arc<Ends>,
    open: Option<Open>,
    /// What has a parallel stream go on where nothing is written.
    _heartbeat: Option<Heartbeat>,
}

/// A transaction that has begun and not ended.
#[derive(Default)]
struct Open {
    begin: decoding::Begin,
    spool: Spool,
    changes: u32,
    /// The insert that was the last change: its table, and its number.
    insert: Option<(u32, u32)>,
}

impl Retelling {
    /// At the beginning of a stream of which the target has what is before `from`.
    pub(in crate::source) fn new(
        style: Style,
        tables: Tables,
        from: Lsn,
        directory: Option<PathBuf>,
        heartbeat: Option<Heartbeat>,
    ) -> Self {
        Self { style, tables, from, directory, ends: Arc::default(), open: None, _heartbeat: heartbeat }
    }

    /// What may be confirmed.
    pub(in crate::source) fn ends(&self) -> Arc<Ends> {
        Arc::clone(&self.ends)
    }

    /// What is to be told before everything else: the tables, as they are on record.
    pub(in crate::source) fn prelude(&self) -> Vec<Frame> {
        let frame = |payload: Vec<u8>| Frame::Data {
            start: Lsn(0),
            end: Lsn(0),
            sent_at: 0,
            payload: Bytes::from(payload),
        };
        self.tables.descriptions().map(frame).collect()
    }

    /// Takes the next message; answers what has become whole with it.
    pub(in crate::source) async fn take(&mut self, frame: Frame) -> Result<Vec<Taken>> {
        let (start, sent_at, payload) = match frame {
            Frame::Data { start, sent_at, payload, .. } => (start, sent_at, payload),
            // In a parallel stream it is ahead of what was sent.
            Frame::Keepalive { end, .. } if self.style == Style::Serial && self.open.is_none() => {
                self.ends.note(end);
                return Ok(vec![Taken::Passed(frame)]);
            }
            Frame::Keepalive { .. } => return Ok(Vec::new()),
        };
        let mut taken = Vec::new();
        for record in records(self.style, start, &payload) {
            let Record { lsn, event } = record?;
            let whole = self.event(lsn, sent_at, event).await.map_err(|error| error.at("position", lsn))?;
            taken.extend(whole.map(Taken::Whole));
        }
        Ok(taken)
    }

    async fn event(&mut self, at: Lsn, sent_at: i64, event: Event<'_>) -> Result<Option<Whole>> {
        match event {
            Event::Begin(_) if self.open.is_some() => {
                return Err(disorder("a transaction begins inside another one"));
            }
            Event::Begin(begin) => self.open = Some(Open { begin, ..Open::default() }),
            Event::Change(change) => self.change(at, &change).await?,
            Event::Truncate(truncate) => {
                if let Some(message) = self.tables.truncate(&truncate)? {
                    self.keep(at, b'T', &message).await?;
                }
            }
            // What it changes is seen in the next row.
            Event::SchemaChange(_) => {}
            Event::Commit(commit) => return self.commit(sent_at, commit).await,
            Event::Abort(_) => self.open = None,
        }
        Ok(None)
    }

    async fn change(&mut self, at: Lsn, change: &decoding::Change<'_>) -> Result<()> {
        let Some(table) = self.tables.get(&change.schema, &change.table)? else { return Ok(()) };
        if change.is_retraction() && self.style != Style::Serial {
            let open = self.open.as_mut().ok_or_else(outside)?;
            return match open.insert.take() {
                Some((inserted, number)) if inserted == table.number => {
                    open.spool.drop_part(number);
                    Ok(())
                }
                _ => {
                    Err(disorder("it takes an insert back that is not there").at("table", &table.schema.name))
                }
            };
        }
        let (kind, message) = table.message(change)?;
        let table = table.number;
        let number = self.keep(at, kind, &message).await?;
        if let Some(open) = &mut self.open {
            open.insert = (change.op == Op::Insert).then_some((table, number));
        }
        Ok(())
    }

    /// Keeps a message of the transaction; answers its number in it.
    async fn keep(&mut self, at: Lsn, kind: u8, message: &[u8]) -> Result<u32> {
        let open = self.open.as_mut().ok_or_else(outside)?;
        open.changes = open.changes.checked_add(1).ok_or_else(|| {
            Error::new(ErrorKind::Unrepresentable, "a transaction has more changes than can be counted")
        })?;
        open.spool.keep(open.changes, at, kind, message)?;
        if open.spool.in_memory() > IN_MEMORY
            && let Some(directory) = &self.directory
        {
            open.spool.write_out(directory).await?;
        }
        Ok(open.changes)
    }

    async fn commit(&mut self, sent_at: i64, commit: decoding::Commit) -> Result<Option<Whole>> {
        let Open { begin, spool, .. } =
            self.open.take().ok_or_else(|| disorder("a transaction ends that has not begun"))?;
        let lacking =
            || disorder("the end of a transaction does not say which one it is, where it ends and when");
        let end = commit.end.ok_or_else(lacking)?;
        let last = Lsn(end.0.checked_sub(1).ok_or_else(lacking)?);
        self.ends.note(end);
        if last < self.from {
            return Ok(None);
        }
        let committed_at = commit.committed_at.or(begin.committed_at).ok_or_else(lacking)?;
        let xid = commit.xid.or(begin.xid).ok_or_else(lacking)? as u32;
        let csn = Some(commit.csn.or(begin.csn).ok_or_else(lacking)?);
        let begin = Begin { final_lsn: last, committed_at, xid, csn };
        let commit = Commit { lsn: last, end, committed_at };
        Whole::new(spool, begin, commit, sent_at).await.map(Some)
    }
}

fn outside() -> Error {
    disorder("a row changes outside of a transaction")
}
