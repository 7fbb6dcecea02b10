//! Transactions that the server sends before they are committed: kept until they are, and then passed on as any other.
//!
//! A server whose memory (`logical_decoding_work_mem`) is used up by transactions in progress sends the largest of
//! them so far as blocks of changes, instead of writing it to its own disk. Behind this module nothing of that is
//! to be seen: blocks go in, of many transactions by turns, and when one of them is committed, its beginning, its
//! changes and its end come out in a piece. Changes of subtransactions that were rolled back don't. What is kept
//! and not committed when the stream ends is forgotten; the server sends it anew.

#[cfg(feature = "fuzzing")]
pub(in crate::source) mod fuzzing;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use engine_core::{Error, ErrorKind, Result};
use std::collections::HashMap;
use std::path::PathBuf;

use super::disorder;
use super::spool::{IN_MEMORY, Spool};
use super::whole::Whole;
use crate::replication::lsn::Lsn;
use crate::replication::pgoutput::Decoder;
use crate::replication::pgoutput::message::{Begin, Message};
use crate::replication::stream::Frame;

/// Type, and number of the subtransaction, in a message of a block.
const IN_BLOCK: usize = 1 + 4;

/// The transactions that are in progress.
pub(in crate::source) struct InProgress {
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
pub(in crate::source) enum Taken {
    /// It has nothing to do with transactions in progress.
    Passed(Frame),
    /// It is kept, or has been understood.
    Kept,
    /// With it a transaction is whole.
    Whole(Whole),
}

impl InProgress {
    /// At the beginning of a stream; `directory` is for files.
    pub(in crate::source) fn new(directory: PathBuf) -> Self {
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
                let begin =
                    Begin { final_lsn: commit.lsn, committed_at: commit.committed_at, xid, csn: None };
                return Ok(Taken::Whole(Whole::new(spool, begin, commit, sent_at).await.map_err(at)?));
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
                spool.drop_part(subxid);
            }
        } else if let Some(spool) = self.spools.remove(&xid) {
            self.in_memory -= spool.in_memory();
        }
    }

    async fn keep(&mut self, subxid: u32, start: Lsn, payload: &Bytes) -> Result<()> {
        let open = self.open.and_then(|xid| self.spools.get_mut(&xid));
        let spool = open.ok_or_else(|| disorder("a change is in the block of no transaction"))?;
        let message = payload.first().zip(payload.get(IN_BLOCK..));
        let (kind, rest) = message
            .ok_or_else(|| Error::new(ErrorKind::Internal, "a change in a block has no transaction"))?;
        self.in_memory += spool.keep(subxid, start, *kind, rest)?;
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
