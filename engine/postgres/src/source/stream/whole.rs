//! A transaction that was kept until its end was known, told as one that is sent when it is committed.

use bytes::{BufMut, Bytes, BytesMut};
use engine_core::{Error, Result};

use super::spool::{Reading, Spool};
use crate::replication::fields::since_2000;
use crate::replication::lsn::Lsn;
use crate::replication::pgoutput::message::{Begin, Commit};
use crate::replication::stream::Frame;

/// Bytes of messages at which a batch is handed over.
const BATCH_BYTES: usize = 256 << 10;

/// A transaction that is committed, to be passed on.
pub(in crate::source) struct Whole {
    spool: Reading,
    begin: Begin,
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
    /// One whose changes are in `spool`.
    pub(in crate::source) async fn new(
        spool: Spool,
        begin: Begin,
        commit: Commit,
        sent_at: i64,
    ) -> Result<Self> {
        Ok(Self { spool: spool.read().await?, begin, commit, sent_at, state: State::Begin })
    }

    /// The next messages, as of a transaction that was sent when it was committed; `None` after its end.
    pub(in crate::source) async fn next(&mut self) -> Result<Option<Vec<Frame>>> {
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

    /// Whether there is no more of it.
    pub(super) fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    fn frame(&self, start: Lsn, payload: Bytes) -> Frame {
        Frame::Data { start, end: start, sent_at: self.sent_at, payload }
    }

    /// With the number of the commit, as openGauss says it, which has longer numbers of transactions besides.
    fn begin(&self) -> Bytes {
        let Begin { final_lsn, committed_at, xid, csn } = self.begin;
        let mut message = BytesMut::with_capacity(33);
        message.put_u8(b'B');
        message.put_u64(final_lsn.0);
        message.put_i64(since_2000(committed_at));
        match csn {
            None => message.put_u32(xid),
            Some(csn) => {
                message.put_u64(u64::from(xid));
                message.put_u64(csn);
            }
        }
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
