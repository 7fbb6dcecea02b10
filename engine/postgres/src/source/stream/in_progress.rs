//! Transactions that the server sends before they are committed: kept until they are, and then passed on as any other.
//!
//! A server whose memory (`logical_decoding_work_mem`) is used up by transactions in progress sends the largest of
//! them so far as blocks of changes, instead of writing it to its own disk. Behind this module nothing of that is
//! to be seen: blocks go in, of many transactions by turns, and when one of them is committed, its beginning, its
//! changes and its end come out in a piece. Changes of subtransactions that were rolled back don't. What is kept
//! and not committed when the stream ends is forgotten; the server sends it anew.

#[cfg(feature = "fuzzing")]
pub(in crate::source) mod fuzzing;
mod spool;
#[cfg(test)]
mod tests;

use bytes::{BufMut, Bytes, BytesMut};
use engine_core::{Error, ErrorKind, Result};
use std::collections::HashMap;
use std::path::PathBuf;

use self::spool::{Reading, Spool};
use super::disorder;
use crate::replication::fields::since_2000;
use crate::replication::lsn::Lsn;
use crate::replication::pgoutput::Decoder;
use crate::replication::pgoutput::message::{Commit, Message};
use crate::replication::stream::Frame;

/// Bytes of all transactions together that are kept in memory.
const IN_MEMORY: usize = 8 << 20;
/// Bytes of messages at which a batch is handed over.
const BATCH_BYTES: usize = 256 << 10;

/// The transactions that are in progress.
pub(super) struct InProgress {
    decoder: Decoder,
    /// For what does not fit into memory.
    directory: PathBuf,
    /// By the number of the transaction.
    spools: HashMap<u32, Spool>,
    /// Whose block it is that has begun.
    open: Option<u32>,
    in_memory: usize,
    limit: usize,
}

/// What has become of a message.
pub(super) enum Taken {
    /// It has nothing to do with transactions in progress.
    Passed(Frame),
    /// It is kept, or has been understood.
    Kept,
    /// With it a transaction is whole.
    Whole(Whole),
}

impl InProgress {
    /// At the beginning of a stream; `directory` is for files.
    pub(super) fn new(directory: PathBuf) -> Self {
        Self {
            decoder: Decoder::default(),
            directory,
            spools: HashMap::new(),
            open: None,
            in_memory: 0,
            limit: IN_MEMORY,
        }
    }

    /// Takes the next message of the stream.
    pub(super) async fn take(&mut self, frame: Frame) -> Result<Taken> {
        let Frame::Data { start, end, sent_at, payload } = frame else { return Ok(Taken::Passed(frame)) };
        let is_ours = matches!(payload.first(), Some(b'S' | b'E' | b'c' | b'A'));
        if self.open.is_none() && !is_ours {
            return Ok(Taken::Passed(Frame::Data { start, end, sent_at, payload }));
        }
        let at = |error: Error| error.at("position", start);
        match self.decoder.decode(&payload).map_err(|error| at(error.into()))? {
            Message::StreamStart { xid, is_first } => self.begin(xid, is_first).map_err(at)?,
            Message::StreamStop => self.open = None,
            Message::StreamAbort { xid, subxid, .. } if self.open.is_none() => self.abort(xid, subxid),
            Message::Change { xid: Some(subxid), .. } => {
                self.keep(subxid, start, &payload).await.map_err(at)?;
            }
            // Where a transaction came from makes no difference.
            Message::Origin(_) => {}
            Message::StreamCommit { xid, commit } if self.open.is_none() => {
                let spool = self.spools.remove(&xid).ok_or_else(|| at(unknown(xid)))?;
                self.in_memory -= spool.in_memory();
                return Ok(Taken::Whole(Whole {
                    spool: spool.read().await.map_err(at)?,
                    xid,
                    commit,
                    sent_at,
                    state: State::Begin,
                }));
            }
            _ => return Err(at(disorder("something else is inside of a block of changes"))),
        }
        Ok(Taken::Kept)
    }

    fn begin(&mut self, xid: u32, is_first: bool) -> Result<()> {
        if is_first {
            let before = self.spools.insert(xid, Spool::default());
            self.in_memory -= before.map_or(0, |spool| spool.in_memory());
        } else if !self.spools.contains_key(&xid) {
            return Err(unknown(xid));
        }
        self.open = Some(xid);
        Ok(())
    }

    fn abort(&mut self, xid: u32, subxid: u32) {
        if xid != subxid {
            // The server names each of the subtransactions inside of it too.
            if let Some(spool) = self.spools.get_mut(&xid) {
                spool.drop_subtransaction(subxid);
            }
        } else if let Some(spool) = self.spools.remove(&xid) {
            self.in_memory -= spool.in_memory();
        }
    }

    async fn keep(&mut self, subxid: u32, start: Lsn, payload: &Bytes) -> Result<()> {
        let open = self.open.and_then(|xid| self.spools.get_mut(&xid));
        let spool = open.ok_or_else(|| disorder("a change is in the block of no transaction"))?;
        self.in_memory += spool.keep(subxid, start, payload)?;
        while self.in_memory > self.limit {
            let Some(largest) = self.spools.values_mut().max_by_key(|spool| spool.in_memory()) else { break };
            self.in_memory -= largest.in_memory();
            largest.write_out(&self.directory).await?;
        }
        Ok(())
    }
}

fn unknown(xid: u32) -> Error {
    disorder("a transaction goes on whose beginning was not sent").at("transaction", xid)
}

/// A transaction that is committed, to be passed on.
pub(super) struct Whole {
    spool: Reading,
    xid: u32,
    commit: Commit,
    sent_at: i64,
    state: State,
}

/// What comes next of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Begin,
    Changes,
    Ended,
}

impl Whole {
    /// The next messages, as of a transaction that was sent when it was committed; `None` after its end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Frame>>> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        match self.state {
            State::Begin => batch.push(self.frame(self.commit.lsn, self.begin())),
            State::Changes => {}
            State::Ended => return Ok(None),
        }
        self.state = State::Changes;
        while bytes < BATCH_BYTES {
            let at = |error: Error| error.at("position", self.commit.lsn);
            let Some((start, payload)) = self.spool.next().await.map_err(at)? else {
                self.state = State::Ended;
                batch.push(self.frame(self.commit.lsn, self.end()));
                break;
            };
            bytes += payload.len();
            batch.push(self.frame(start, payload));
        }
        Ok(Some(batch))
    }

    fn frame(&self, start: Lsn, payload: Bytes) -> Frame {
        Frame::Data { start, end: start, sent_at: self.sent_at, payload }
    }

    fn begin(&self) -> Bytes {
        let mut message = BytesMut::with_capacity(21);
        message.put_u8(b'B');
        message.put_u64(self.commit.lsn.0);
        message.put_i64(since_2000(self.commit.committed_at));
        message.put_u32(self.xid);
        message.freeze()
    }

    fn end(&self) -> Bytes {
        let mut message = BytesMut::with_capacity(26);
        message.put_slice(b"C\0");
        message.put_u64(self.commit.lsn.0);
        message.put_u64(self.commit.end.0);
        message.put_i64(since_2000(self.commit.committed_at));
        message.freeze()
    }
}

/// The error of a file that can't be made, written or read.
fn failed(what: &'static str, error: std::io::Error) -> Error {
    Error::new(ErrorKind::State, what).caused_by(error)
}
