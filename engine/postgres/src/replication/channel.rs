//! Messages over a connection's bytes.

use bytes::{Buf, Bytes, BytesMut};
use engine_core::{Error, ErrorKind, Result};
use futures_util::FutureExt;
use postgres_protocol::message::backend::Header;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::fields::Malformed;

/// What a connection is made of, whatever its kind.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Bytes that are asked of the socket at a time.
const BLOCK: usize = 256 * 1024;
/// Room below which a new block is made.
const LEAST_ROOM: usize = 32 * 1024;
/// Longest message: no value of the server's is larger than 1 GiB, nor is a message.
const LONGEST: usize = 1 << 30;
/// Type and length.
const HEADER: usize = 5;

/// A message of the server.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Its type.
    pub(crate) tag: u8,
    /// What follows type and length.
    pub(crate) body: Bytes,
}

/// A connection that messages are sent and received on.
///
/// Receiving and flushing are cancel-safe: what was read or not yet written stays in the buffers.
pub(crate) struct Channel {
    wire: Box<dyn Wire>,
    input: BytesMut,
    output: BytesMut,
}

impl Channel {
    pub(crate) fn new(wire: Box<dyn Wire>) -> Self {
        Self { wire, input: BytesMut::new(), output: BytesMut::new() }
    }

    /// Appends to what is to be sent.
    pub(crate) fn queue(&mut self, encode: impl FnOnce(&mut BytesMut) -> io::Result<()>) -> Result<()> {
        encode(&mut self.output).map_err(|error| {
            Error::new(ErrorKind::Usage, "a command can't be put into a message").caused_by(error)
        })
    }

    /// Sends what was queued.
    pub(crate) async fn flush(&mut self) -> Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        while self.output.has_remaining() {
            let written = self.wire.write_buf(&mut self.output).await.map_err(broken)?;
            if written == 0 {
                return Err(ended());
            }
        }
        self.wire.flush().await.map_err(broken)
    }

    /// The next message that was received whole already.
    pub(crate) fn buffered(&mut self) -> Result<Option<Frame>> {
        let malformed = |why| Err(Error::from(Malformed(why)));
        let header = match Header::parse(&self.input) {
            Ok(Some(header)) => header,
            Ok(None) => return Ok(None),
            Err(_) => return malformed("a message has an impossible length"),
        };
        // The length counts itself and not the type.
        let total = header.len() as usize + 1;
        if total > LONGEST {
            return malformed("a message is longer than the server makes any");
        }
        if self.input.len() < total {
            return Ok(None);
        }
        let mut body = self.input.split_to(total).freeze();
        body.advance(HEADER);
        Ok(Some(Frame { tag: header.tag(), body }))
    }

    /// Waits for more bytes. Their end is an error: the server says goodbye before it goes.
    pub(crate) async fn fill(&mut self) -> Result<()> {
        if self.input.capacity() - self.input.len() < LEAST_ROOM {
            self.input.reserve(BLOCK);
        }
        match self.wire.read_buf(&mut self.input).await {
            Ok(0) => Err(ended()),
            Ok(_) => Ok(()),
            Err(error) => Err(broken(error)),
        }
    }

    /// Takes bytes that have arrived, without waiting; false when there are none.
    pub(crate) fn fill_now(&mut self) -> Result<bool> {
        self.fill().now_or_never().transpose().map(|filled| filled.is_some())
    }

    /// Waits for a message.
    pub(crate) async fn receive(&mut self) -> Result<Frame> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(frame);
            }
            self.fill().await?;
        }
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Transient, "the source ended the connection")
        .because("the connection was closed without a word")
}

fn broken(error: io::Error) -> Error {
    Error::new(ErrorKind::Transient, "the connection to the source broke").caused_by(error)
}

impl From<Malformed> for Error {
    fn from(error: Malformed) -> Self {
        Self::new(ErrorKind::Divergence, "a message of the source can't be read")
            .because(error.0)
            .help("check that the URL leads to a PostgreSQL server; if it does, report it as a mistake of the engine")
    }
}
