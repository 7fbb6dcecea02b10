//! What a server sends after `START_REPLICATION`, and what it is told in return.

use bytes::{Buf, BufMut, Bytes};
use engine_core::{Error, ErrorKind, Result};
use postgres_protocol::message::frontend;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::channel::{self, Channel};
use super::fields::{Fields, Malformed, since_1970, since_2000};
use super::lsn::Lsn;
use super::refusal;
use crate::family::Family;
use crate::opengauss::status;

/// Longest time that a stream's end is waited for.
const FAREWELL: Duration = Duration::from_secs(5);
/// What goes before the payload of a message of data: its type, start, end, time.
const DATA_HEADER: usize = 1 + 8 + 8 + 8;

/// A message of the stream. Times are microseconds since 1970 by the server's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A message of the output plugin.
    Data {
        /// Its place in the log; of `pgoutput`'s descriptions of relations 0/0.
        start: Lsn,
        /// With logical replication the same as `start`, not the end of the log.
        end: Lsn,
        /// When it was sent.
        sent_at: i64,
        /// The message. It keeps the block that it was received in (256 KiB) from being freed.
        payload: Bytes,
    },
    /// A sign of life.
    Keepalive {
        /// Everything before this place was sent, as far as there was anything to send.
        end: Lsn,
        /// When it was sent.
        sent_at: i64,
        /// The server ends the connection unless it gets a report soon.
        reply_wanted: bool,
    },
}

/// A stream of changes, in the order of the server's commits.
pub(crate) struct LogStream {
    channel: Channel,
    family: Family,
}

impl LogStream {
    pub(super) fn new(channel: Channel, family: Family) -> Self {
        Self { channel, family }
    }

    /// Waits for the next message. Cancel-safe.
    ///
    /// An end of the stream is a [`Transient`](ErrorKind::Transient) error, whether the server shuts
    /// down or the connection broke.
    pub(crate) async fn next(&mut self) -> Result<Frame> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(frame);
            }
            // A report whose sending was given up half-way.
            self.channel.flush().await?;
            self.channel.fill().await?;
        }
    }

    /// The next message if it has arrived already.
    pub(crate) fn try_next(&mut self) -> Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(Some(frame));
            }
            if !self.channel.fill_now()? {
                return Ok(None);
            }
        }
    }

    /// Tells the server how far the changes were received, flushed and applied. What is before
    /// `flushed` it may forget, for good. With `reply_wanted` it answers by a keepalive.
    ///
    /// The server ends a stream that it gets no report of for `wal_sender_timeout` (a minute,
    /// usually). A report whose sending was given up is sent with the next call of this or
    /// [`next`](Self::next).
    pub(crate) async fn report(
        &mut self,
        received: Lsn,
        flushed: Lsn,
        applied: Lsn,
        reply_wanted: bool,
    ) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = since_2000(i64::try_from(now.as_micros()).unwrap_or(i64::MAX));
        let report = match self.family {
            Family::PostgreSql => {
                let mut report = Vec::with_capacity(34);
                report.put_u8(b'r');
                report.put_u64(received.0);
                report.put_u64(flushed.0);
                report.put_u64(applied.0);
                report.put_i64(now);
                report.put_u8(u8::from(reply_wanted));
                report
            }
            Family::OpenGauss => status::report([received, flushed, applied], now, reply_wanted),
        };
        self.channel.queue(|output| {
            frontend::CopyData::new(Bytes::from(report))?.write(output);
            Ok(())
        })?;
        self.channel.flush().await
    }

    /// Ends the stream in good order, so that the slot is free at once. What is still on its way is
    /// dropped; a server that is in the middle of a large transaction isn't waited for.
    pub(crate) async fn close(mut self) -> Result<()> {
        self.channel.queue(|output| {
            frontend::copy_done(output);
            frontend::terminate(output);
            Ok(())
        })?;
        let farewell = async {
            self.channel.flush().await?;
            // The server ends the connection when it has read so far.
            while let Ok(frame) = self.channel.receive().await {
                if frame.tag == b'E' {
                    return Err(refusal::error(&frame.body, "the source's change stream broke"));
                }
            }
            Ok(())
        };
        tokio::time::timeout(FAREWELL, farewell).await.unwrap_or(Ok(()))
    }

    fn buffered(&mut self) -> Result<Option<Frame>> {
        while let Some(frame) = self.channel.buffered()? {
            match frame.tag {
                b'd' => return read(frame, self.family).map(Some),
                b'E' => return Err(refusal::error(&frame.body, "the source's change stream broke")),
                // It is shutting down, and has sent everything before.
                b'c' | b'C' => return Err(ended()),
                b'N' => tracing::debug!(notice = refusal::notice(&frame.body), "the source says"),
                // Its configuration was loaded again.
                b'S' => {}
                _ => return Err(Malformed("it has no place in a stream").into()),
            }
        }
        Ok(None)
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Transient, "the source ended the change stream")
}

fn read(frame: channel::Frame, family: Family) -> Result<Frame> {
    let mut body = frame.body;
    let mut fields = Fields::new(&body);
    Ok(match fields.u8()? {
        b'w' => {
            let (start, end, sent_at) = (fields.lsn()?, fields.lsn()?, fields.time()?);
            body.advance(DATA_HEADER);
            Frame::Data { start, end, sent_at, payload: body }
        }
        b'k' if family == Family::OpenGauss => {
            let status::Keepalive { end, sent_at, reply_wanted } = status::keepalive(fields)?;
            Frame::Keepalive { end, sent_at: since_1970(sent_at), reply_wanted }
        }
        b'k' => {
            let (end, sent_at) = (fields.lsn()?, fields.time()?);
            let reply_wanted = fields.u8()? != 0;
            fields.end()?;
            Frame::Keepalive { end, sent_at, reply_wanted }
        }
        unknown => {
            return Err(Error::new(
                ErrorKind::Unrepresentable,
                "the source's change stream has a message that this engine does not know",
            )
            .because(format!("it is of type {unknown}")));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::test_server::{TestServer, message};
    use super::*;
    use proptest::prelude::*;

    fn stream() -> (TestServer, LogStream) {
        let (server, channel) = TestServer::new();
        (server, LogStream::new(channel, Family::PostgreSql))
    }

    fn data(place: u64, payload: &[u8]) -> Vec<u8> {
        let mut body = vec![b'w'];
        body.extend(place.to_be_bytes());
        body.extend(place.to_be_bytes());
        body.extend(0i64.to_be_bytes());
        body.extend(payload);
        message(b'd', &body)
    }

    fn expected(place: u64, payload: &[u8]) -> Frame {
        Frame::Data {
            start: Lsn(place),
            end: Lsn(place),
            sent_at: 946_684_800_000_000,
            payload: Bytes::copy_from_slice(payload),
        }
    }

    #[tokio::test]
    async fn what_has_arrived_is_taken_without_waiting() {
        let (mut server, mut stream) = stream();
        assert_eq!(stream.try_next().expect("an open stream"), None);
        let (first, second) = (data(1, b"one"), data(2, b"two"));
        server.bytes(&first).await;
        server.bytes(&second[..9]).await;
        assert_eq!(stream.next().await.expect("a message"), expected(1, b"one"));
        assert_eq!(stream.try_next().expect("an open stream"), None);
        server.bytes(&second[9..]).await;
        assert_eq!(stream.try_next().expect("an open stream"), Some(expected(2, b"two")));
    }

    #[tokio::test]
    async fn a_dropped_call_loses_nothing() {
        let (mut server, mut stream) = stream();
        let bytes = data(7, &[b'x'; 1000]);
        for part in bytes.chunks(100) {
            assert!(futures_util::FutureExt::now_or_never(stream.next()).is_none());
            server.bytes(part).await;
        }
        assert_eq!(stream.next().await.expect("a message"), expected(7, &[b'x'; 1000]));
    }

    #[tokio::test]
    async fn keepalives_and_reports() {
        let (mut server, mut stream) = stream();
        let mut body = vec![b'k'];
        body.extend(9u64.to_be_bytes());
        body.extend(5i64.to_be_bytes());
        body.push(1);
        server.send(b'S', b"work_mem\x001MB\0").await;
        server.send(b'd', &body).await;
        assert_eq!(
            stream.next().await.expect("a keepalive"),
            Frame::Keepalive { end: Lsn(9), sent_at: 946_684_800_000_005, reply_wanted: true }
        );
        stream.report(Lsn(3), Lsn(2), Lsn(1), true).await.expect("a report");
        let (tag, report) = server.receive().await;
        assert_eq!((tag, report[0], report.len(), report[33]), (b'd', b'r', 34, 1));
        assert_eq!(report[1..25].iter().filter(|&&byte| byte != 0).collect::<Vec<_>>(), [&3, &2, &1]);
    }

    #[tokio::test]
    async fn every_end_is_an_error() {
        for farewell in [&message(b'C', b"COPY 0\0")[..], b"", &message(b'E', b"C57P01\0Mgoing down\0\0")] {
            let (mut server, mut stream) = stream();
            server.bytes(&data(1, b"last")).await;
            server.bytes(farewell).await;
            server.close();
            assert_eq!(stream.next().await.expect("a message"), expected(1, b"last"));
            assert_eq!(stream.next().await.expect_err("the end").kind(), ErrorKind::Transient);
        }
    }

    #[tokio::test]
    async fn an_unknown_message_is_an_error() {
        for unknown in [message(b'd', b"?"), message(b'd', b""), message(b'?', b""), vec![b'd', 0, 0, 0, 3]] {
            let (mut server, mut stream) = stream();
            server.bytes(&unknown).await;
            let kind = stream.next().await.expect_err("an error").kind();
            assert!(matches!(kind, ErrorKind::Divergence | ErrorKind::Unrepresentable), "{kind:?}");
        }
    }

    #[tokio::test]
    async fn closing_says_goodbye() {
        let (mut server, stream) = stream();
        let goodbye = async {
            assert_eq!(server.receive().await.0, b'c');
            server.bytes(&data(1, b"too late")).await;
            server.send(b'c', b"").await;
            assert_eq!(server.receive().await.0, b'X');
            server.close();
        };
        let (closed, ()) = tokio::join!(stream.close(), goodbye);
        closed.expect("a good end");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {
                let (mut server, mut stream) = stream();
                server.bytes(&bytes).await;
                server.close();
                while stream.next().await.is_ok() {}
            });
        }
    }
}
