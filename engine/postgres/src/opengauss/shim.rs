//! Logging in to an openGauss server in the driver's place.
//!
//! The driver takes openGauss's request for a password for one of PostgreSQL's. So the startup message
//! and the answers are sent by hand, and the driver is given a stream on which its own startup message
//! goes nowhere and the first thing to be read is the server's consent (or refusal). From there on both
//! speak the same protocol.

use engine_core::endpoint::EndpointUrl;
use engine_core::{Error, ErrorKind, Result};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::login;
use crate::replication::channel::Wire;
use crate::replication::socket;

/// Longest message in a login. The ones that are expected have less than a kilobyte.
const LONGEST: usize = 64 * 1024;

/// Opens a connection and logs in. What the server answered last is left to be read, whether it is
/// consent or refusal.
pub(crate) async fn connect(
    url: &EndpointUrl,
    application: &str,
    role: &'static str,
) -> Result<LoggedIn<Box<dyn Wire>>> {
    let mut stream = socket::open(url, role).await?;
    let parameters = [
        ("user", url.user.as_str()),
        ("database", url.database.as_deref().unwrap_or("postgres")),
        ("client_encoding", "UTF8"),
        ("application_name", application),
    ];
    let verdict = log_in(&mut stream, &parameters, &url.user, url.password(), role).await?;
    Ok(LoggedIn::new(stream, verdict))
}

/// Sends the startup message and answers until the server consents or refuses; answers that message.
async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    parameters: &[(&str, &str)],
    user: &str,
    password: Option<&str>,
    role: &str,
) -> Result<Vec<u8>> {
    let send = |error: io::Error| unreachable(&error, role);
    stream.write_all(&login::startup(parameters.iter().copied())?).await.map_err(send)?;
    loop {
        let (kind, message) = read(stream, role).await?;
        match kind {
            b'E' => return Ok(message),
            // Such as that the password is about to expire.
            b'N' => {}
            b'R' => {
                let body = message.get(5..).unwrap_or_default();
                let (code, body) = body.split_first_chunk().ok_or_else(|| unexpected(kind))?;
                let code = i32::from_be_bytes(*code);
                if code == login::CONSENT {
                    return Ok(message);
                }
                let password = password.ok_or_else(|| {
                    Error::new(ErrorKind::Connection, format!("the {role} asks for a password"))
                        .help(format!("put one into the {role} URL, or into ${{ENV}} of a task file"))
                })?;
                let answer = login::answer(code, body, user, password).await?;
                stream.write_all(&password_message(&answer)).await.map_err(send)?;
            }
            b'v' => {
                return Err(Error::new(ErrorKind::Connection, "the server is no openGauss server")
                    .because("it negotiates the protocol's version as PostgreSQL does")
                    .help("a PostgreSQL server has a URL that begins with postgres://"));
            }
            other => return Err(unexpected(other)),
        }
    }
}

fn password_message(answer: &str) -> Vec<u8> {
    let length = (answer.len() + 5) as u32;
    [b"p", &length.to_be_bytes()[..], answer.as_bytes(), b"\0"].concat()
}

/// Reads one whole message and nothing behind it.
async fn read<S: AsyncRead + Unpin>(stream: &mut S, role: &str) -> Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).await.map_err(|error| unreachable(&error, role))?;
    let [kind, a, b, c, d] = head;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if !(4..=LONGEST).contains(&length) {
        return Err(unexpected(kind));
    }
    let mut message = head.to_vec();
    message.resize(length + 1, 0);
    let rest = message.get_mut(5..).unwrap_or_default();
    stream.read_exact(rest).await.map_err(|error| unreachable(&error, role))?;
    Ok((kind, message))
}

fn unreachable(error: &io::Error, role: &str) -> Error {
    Error::new(ErrorKind::Connection, format!("the {role} can't be reached"))
        .because(error)
        .help("check host and port, and whether the server runs and listens there")
}

fn unexpected(kind: u8) -> Error {
    Error::new(ErrorKind::Connection, "the server's answer to a login can't be read")
        .because(format!("a message of type 0x{kind:02x} is none that openGauss sends there"))
}

/// The stream of a session that is logged in, for a driver that wants to log in itself.
pub(crate) struct LoggedIn<S> {
    stream: S,
    /// The server's last message, from `read` on not delivered yet.
    verdict: Vec<u8>,
    read: usize,
    startup: Startup,
}

/// How much of the driver's startup message has been swallowed.
enum Startup {
    /// So many bytes of its length.
    Length { read: usize, value: u32 },
    /// All but so many bytes.
    Body { left: usize },
}

impl<S> LoggedIn<S> {
    fn new(stream: S, verdict: Vec<u8>) -> Self {
        Self { stream, verdict, read: 0, startup: Startup::Length { read: 0, value: 0 } }
    }

    /// How many of these bytes belong to the driver's startup message.
    fn swallow(&mut self, bytes: &[u8]) -> usize {
        let mut swallowed = 0;
        while let Startup::Length { read, value } = self.startup {
            let Some(&byte) = bytes.get(swallowed) else { return swallowed };
            swallowed += 1;
            let value = value << 8 | u32::from(byte);
            self.startup = if read == 3 {
                Startup::Body { left: (value as usize).saturating_sub(4) }
            } else {
                Startup::Length { read: read + 1, value }
            };
        }
        if let Startup::Body { left } = &mut self.startup {
            let more = (bytes.len() - swallowed).min(*left);
            *left -= more;
            swallowed += more;
        }
        swallowed
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LoggedIn<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let left = this.verdict.get(this.read..).unwrap_or_default();
        if left.is_empty() {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        let taken = left.get(..left.len().min(buffer.remaining())).unwrap_or_default();
        buffer.put_slice(taken);
        this.read += taken.len();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LoggedIn<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let swallowed = self.swallow(bytes);
        if swallowed > 0 {
            return Poll::Ready(Ok(swallowed));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The driver may write its startup message in any pieces, and what follows at once.
    #[tokio::test]
    async fn swallows_the_drivers_startup_message_and_nothing_else() {
        let startup = login::startup([("user", "somebody")].into_iter()).expect("a message");
        let sent = [startup.as_slice(), b"Q\0\0\0\x04"].concat();
        for piece in 1..=sent.len() {
            let (near, mut far) = tokio::io::duplex(1024);
            let mut stream = LoggedIn::new(near, b"R\0\0\0\x08\0\0\0\0".to_vec());
            for bytes in sent.chunks(piece) {
                stream.write_all(bytes).await.expect("a write");
            }
            far.write_all(b"Z").await.expect("a write");
            let mut delivered = [0; 10];
            stream.read_exact(&mut delivered).await.expect("consent, then what the server sent");
            assert_eq!(&delivered, b"R\0\0\0\x08\0\0\0\0Z");
            drop(stream);
            let mut arrived = Vec::new();
            far.read_to_end(&mut arrived).await.expect("what was sent");
            assert_eq!(arrived, b"Q\0\0\0\x04", "in pieces of {piece}");
        }
    }

    async fn answered(server: &[u8], password: Option<&str>) -> Result<Vec<u8>> {
        let (mut near, mut far) = tokio::io::duplex(4096);
        far.write_all(server).await.expect("a write");
        far.shutdown().await.expect("an end");
        log_in(&mut near, &[("user", "u")], "u", password, "target").await
    }

    #[tokio::test]
    async fn leaves_the_verdict_to_the_driver() {
        let consent = b"R\0\0\0\x08\0\0\0\0";
        assert_eq!(answered(consent, None).await.expect("consent"), consent);
        let refusal = b"E\0\0\0\x13SFATAL\0C28P01\0\0";
        let noticed = [b"N\0\0\0\x05\0".as_slice(), refusal].concat();
        assert_eq!(answered(&noticed, None).await.expect("a refusal"), refusal);
    }

    #[tokio::test]
    async fn says_what_it_can_not_answer() {
        for (server, password, words) in [
            (&b"R\0\0\0\x08\0\0\0\x0a"[..], Some("p"), "can't be read"),
            (b"R\0\0\0\x08\0\0\0\x0a", None, "asks for a password"),
            (b"R\0\0\0\x08\0\0\0\x07", Some("p"), "way of logging in"),
            (b"v\0\0\0\x0c\0\x03\0\0\0\0\0\0", Some("p"), "postgres://"),
            (b"R\x7f\0\0\0", Some("p"), "none that openGauss sends"),
            (b"R\0\0", Some("p"), "can't be reached"),
        ] {
            let error = answered(server, password).await.expect_err("no login");
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
