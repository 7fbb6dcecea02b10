//! The `PostgreSQL` server behind the double.

use std::io;

use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::message::{message, read};

/// Where it is, and who the double is there.
#[derive(Debug, Clone)]
pub(super) struct Backend {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) password: String,
}

/// A login that succeeded, or the error that the server answered.
pub(super) enum Session {
    /// The stream, and the body of `BackendKeyData`.
    Open(TcpStream, Vec<u8>),
    /// The body of `ErrorResponse`.
    Refused(Vec<u8>),
}

impl Backend {
    /// Logs in with these settings.
    pub(super) async fn log_in(&self, settings: &[(String, String)]) -> io::Result<Session> {
        let mut stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let mut startup = 196_608_u32.to_be_bytes().to_vec();
        let user = ("user".to_owned(), self.user.clone());
        for (name, value) in settings.iter().chain([&user]) {
            startup.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
        }
        startup.push(0);
        // Only this message has no type.
        stream.write_all(message(b'?', &startup).get(1..).unwrap_or_default()).await?;
        let mut key = Vec::new();
        let mut scram = None;
        loop {
            let (kind, body) = read(&mut stream).await?;
            match kind {
                b'E' => return Ok(Session::Refused(body)),
                b'R' => self.answer(&mut stream, &body, &mut scram).await?,
                b'K' => key = body,
                b'Z' => return Ok(Session::Open(stream, key)),
                _ => {}
            }
        }
    }

    async fn answer(
        &self,
        stream: &mut TcpStream,
        body: &[u8],
        scram: &mut Option<ScramSha256>,
    ) -> io::Result<()> {
        let (code, rest) = body.split_first_chunk().ok_or(io::ErrorKind::InvalidData)?;
        let answer = match (u32::from_be_bytes(*code), scram.as_mut()) {
            (0, _) => return Ok(()),
            (3, _) => [self.password.as_bytes(), b"\0"].concat(),
            (5, _) => {
                let salt = rest.try_into().map_err(|_| io::ErrorKind::InvalidData)?;
                let (user, password) = (self.user.as_bytes(), self.password.as_bytes());
                let text = postgres_protocol::authentication::md5_hash(user, password, salt);
                [text.as_bytes(), b"\0"].concat()
            }
            (10, _) => {
                let begun = ScramSha256::new(self.password.as_bytes(), ChannelBinding::unsupported());
                let first = begun.message();
                let length = (first.len() as u32).to_be_bytes();
                let answer = [SCRAM_SHA_256.as_bytes(), b"\0", &length, first].concat();
                *scram = Some(begun);
                answer
            }
            (11, Some(scram)) => {
                scram.update(rest)?;
                scram.message().to_vec()
            }
            (12, Some(scram)) => return scram.finish(rest),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        stream.write_all(&message(b'p', &answer)).await
    }

    /// What `tokio_postgres` needs to connect to it.
    pub(super) fn config(&self, database: &str) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config.host(&self.host).port(self.port).user(&self.user).password(&self.password).dbname(database);
        config
    }
}
