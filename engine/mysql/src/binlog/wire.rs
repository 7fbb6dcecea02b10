//! Raw events from the server, their checksums verified.
//!
//! The driver opens the connection and cuts the stream into events; everything in them is read
//! here. Three of its habits are fenced in: it panics on an event that is longer than its packet,
//! it does not verify checksums, and it unpacks compressed transactions a second time, without a
//! word when that fails.

use engine_core::{Error, ErrorKind, Result};
use futures_util::{FutureExt, Stream};
use mysql_async::BinlogStream;
use mysql_async::binlog::BinlogChecksumAlg;
use mysql_async::binlog::events::Event;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::bytes::Malformed;
use super::event::{EventKind, HEADER_LENGTH, Header};
use crate::error::server_error;

/// Error number of a source that can't or won't send the log.
const SOURCE_FATAL: u16 = 1236;

/// An event as the server sent it, without its checksum.
#[derive(Debug)]
pub(crate) struct RawEvent {
    pub(crate) header: Header,
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// From the connection.
    Outer(Event),
    /// From the connection, cut shorter.
    Trimmed(Event, usize),
    /// From inside a compressed transaction.
    Inner(Vec<u8>),
}

impl RawEvent {
    /// An event from inside a compressed transaction.
    pub(crate) fn inner(header: Header, body: Vec<u8>) -> Self {
        Self { header, body: Body::Inner(body) }
    }

    /// Whether the event lies in a file, at the place its header says.
    pub(crate) fn is_placed(&self) -> bool {
        let made_up = self.header.next == 0 || self.header.flags & Header::ARTIFICIAL != 0;
        !made_up && !matches!(self.body, Body::Inner(_))
    }

    /// Everything after the header.
    pub(crate) fn body(&self) -> &[u8] {
        match &self.body {
            Body::Outer(event) => event.data(),
            Body::Trimmed(event, length) => event.data().get(..*length).unwrap_or_default(),
            Body::Inner(body) => body,
        }
    }
}

/// The connection.
pub(crate) struct Wire {
    stream: BinlogStream,
    /// Events of a compressed transaction that we unpacked and that the driver will repeat.
    repeated: VecDeque<Header>,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}

impl Wire {
    pub(crate) fn new(stream: BinlogStream) -> Self {
        Self { stream, repeated: VecDeque::new() }
    }

    /// Waits for the next event; `None` when the server ends the stream. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Option<RawEvent>> {
        poll_fn(|context| self.poll(context)).await
    }

    /// The next event if it has arrived.
    pub(crate) fn arrived(&mut self) -> Option<Result<Option<RawEvent>>> {
        self.next().now_or_never()
    }

    /// Says that the driver will send this event of a compressed transaction again.
    pub(crate) fn expect_repeated(&mut self, header: Header) {
        self.repeated.push_back(header);
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<RawEvent>>> {
        loop {
            let stream = &mut self.stream;
            let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(stream).poll_next(context)));
            let Ok(polled) = polled else {
                return Poll::Ready(Err(malformed("the driver could not cut the packet into an event")));
            };
            let event = match ready!(polled) {
                None => return Poll::Ready(Ok(None)),
                Some(Err(error)) => return Poll::Ready(Err(stream_error(error))),
                Some(Ok(event)) => event,
            };
            let header = header_of(&event);
            if let Some(expected) = self.repeated.pop_front() {
                if header != expected {
                    return Poll::Ready(Err(malformed("a compressed transaction was unpacked in two ways")));
                }
                continue;
            }
            return Poll::Ready(verified(header, event).map(Some));
        }
    }
}

fn header_of(event: &Event) -> Header {
    let header = event.header();
    Header {
        timestamp: header.timestamp(),
        kind: header.event_type_raw(),
        server_id: header.server_id(),
        size: header.event_size(),
        next: header.log_pos(),
        flags: header.flags_raw(),
    }
}

/// Checks the event against its checksum, when it has one.
fn verified(header: Header, event: Event) -> Result<RawEvent> {
    let kind = EventKind::of(header.kind);
    let algorithm = event.footer().get_checksum_alg();
    let outer = |event| Ok(RawEvent { header, body: Body::Outer(event) });
    match algorithm {
        // The first event of all says where to begin and comes before the one that says whether
        // there are checksums: it has one if its last four bytes are it.
        Ok(None | Some(BinlogChecksumAlg::BINLOG_CHECKSUM_ALG_OFF)) if kind == Some(EventKind::Rotate) => {
            let data = event.data();
            let length = data.split_last_chunk::<4>().and_then(|(body, sum)| {
                (checksum(header, body) == u32::from_le_bytes(*sum)).then_some(body.len())
            });
            let body = match length {
                Some(length) => Body::Trimmed(event, length),
                None => Body::Outer(event),
            };
            Ok(RawEvent { header, body })
        }
        // The driver takes this event's checksum apart to learn the algorithm, and so it has been
        // read in any case.
        _ if kind == Some(EventKind::FormatDescription) => outer(event),
        Ok(None | Some(BinlogChecksumAlg::BINLOG_CHECKSUM_ALG_OFF)) => outer(event),
        Ok(Some(BinlogChecksumAlg::BINLOG_CHECKSUM_ALG_CRC32)) => {
            let sum = event.checksum().map(u32::from_le_bytes);
            if sum != Some(checksum(header, event.data())) {
                return Err(malformed("its checksum does not match"));
            }
            outer(event)
        }
        Err(_) => Err(malformed("the log has checksums of an unknown kind")),
    }
}

fn checksum(header: Header, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    let bytes: [u8; HEADER_LENGTH] = header.to_bytes();
    hasher.update(&bytes);
    hasher.update(body);
    hasher.finalize()
}

/// An event that makes no sense.
pub(crate) fn malformed(why: &str) -> Error {
    Error::new(ErrorKind::Divergence, "an event of the source's binlog can't be read")
        .because(why)
        .help("read the log at this position with mysqlbinlog; if it is sound, report it as a mistake of the engine")
}

impl From<Malformed> for Error {
    fn from(error: Malformed) -> Self {
        malformed(error.0)
    }
}

/// What a failure of the stream means.
pub(crate) fn stream_error(error: mysql_async::Error) -> Error {
    match &error {
        mysql_async::Error::Server(server) if server.code == SOURCE_FATAL => {
            Error::new(ErrorKind::Precondition, "the source does not send its binlog from here on")
                .because(&server.message)
                .help(
                    "if the log has been purged or the server replaced, the task has to start anew; keep the \
                     log longer next time (binlog_expire_logs_seconds)",
                )
        }
        _ => server_error("the source's change stream broke", error),
    }
}
