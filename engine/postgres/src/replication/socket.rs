//! Opening the socket: TCP with TLS as `sslmode` says, or a Unix socket.

use bytes::BytesMut;
use engine_core::endpoint::EndpointUrl;
use engine_core::{Error, ErrorKind, Result};
use postgres_protocol::message::frontend;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::channel::Wire;

/// Longest time for one address to answer.
const CONNECT: Duration = Duration::from_secs(10);

/// Opens a connection to where the URL leads; nothing of the protocol was said on it but the request for TLS.
/// `side` is `source` or `target`, for errors.
pub(crate) async fn open(url: &EndpointUrl, side: &'static str) -> Result<Box<dyn Wire>> {
    let (mode, tls) = crate::tls::from_url(url)?;
    let unreachable = |error| unreachable(error, mode, side);
    // The server speaks no TLS over a Unix socket, and nobody is in between.
    if url.host.starts_with('/') {
        let path = format!("{}/.s.PGSQL.{}", url.host.trim_end_matches('/'), url.port);
        let socket = in_time(UnixStream::connect(path)).await.map_err(unreachable)?;
        return Ok(Box::new(socket));
    }
    let socket = connect(&url.host, url.port).await.map_err(unreachable)?;
    secure(socket, &url.host, mode, tls).await.map_err(unreachable)
}

/// Tries the addresses of a host in their order.
async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in tokio::net::lookup_host((host, port)).await? {
        match in_time(TcpStream::connect(address)).await {
            Ok(socket) => {
                keep_alive(&socket)?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn in_time<T>(connecting: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(CONNECT, connecting)
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "there was no answer in time")))
}

/// The same limits as those of the driver's connections: a peer that is unheard of for a minute is gone.
fn keep_alive(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let options = SockRef::from(socket);
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10))
        .with_retries(3);
    options.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    options.set_tcp_user_timeout(Some(Duration::from_mins(1)))?;
    Ok(())
}

/// Asks for TLS. The answer is one byte, before any certificate: only a server without TLS is
/// spoken to in the clear, and only if `mode` allows; TLS that fails is an error.
async fn secure(
    mut socket: TcpStream,
    host: &str,
    mode: SslMode,
    mut tls: MakeRustlsConnect,
) -> io::Result<Box<dyn Wire>> {
    if mode == SslMode::Disable {
        return Ok(Box::new(socket));
    }
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    socket.write_all(&request).await?;
    match socket.read_u8().await? {
        b'S' => {
            let Ok(connector) = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut tls, host);
            Ok(Box::new(connector.connect(socket).await?))
        }
        b'N' if mode == SslMode::Prefer => Ok(Box::new(socket)),
        b'N' => Err(io::Error::other("the server does not speak TLS")),
        _ => Err(io::Error::other("this is no PostgreSQL server")),
    }
}

fn unreachable(error: io::Error, mode: SslMode, side: &str) -> Error {
    let error = Error::new(ErrorKind::Connection, format!("the {side} can't be reached")).caused_by(error);
    error.help(if mode == SslMode::Require {
        "check host and port, whether the server speaks TLS, and sslmode and sslrootcert"
    } else {
        "check host and port, and whether the server runs and listens there"
    })
}
