//! Connections that take replication commands beside SQL.

use engine_core::endpoint::EndpointUrl;
use engine_core::{Error, ErrorKind, Result};
use postgres_protocol::message::frontend;
use std::time::Duration;

use super::channel::{Channel, Frame};
use super::fields::{Fields, Malformed};
use super::startup::{Login, Session, parameter, startup};
use super::stream::LogStream;
use super::{refusal, socket};
use crate::connect::APPLICATION;
use crate::family::Family;
use crate::opengauss::login as opengauss;

/// A row of an answer, as text.
pub(crate) type TextRow = Vec<Option<String>>;

/// Longest time from the first packet to a session that is set up.
const LOGIN: Duration = Duration::from_secs(20);

/// What a session begins with, so that every value of the stream has one text. The same as of the
/// connections that rows are read on, of which a changed row must not differ.
const SETTINGS: [(&str, &str); 8] = [
    ("replication", "database"),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, YMD"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
];

/// What not every version has, or what can't be set at the login. Values that name objects (`regclass`)
/// are written with their schema when none is searched. One statement: before PostgreSQL 15, a server
/// takes no more at a time on such a connection.
const LIMITS: &str = "SELECT pg_catalog.set_config(name, value, false) FROM pg_catalog.pg_settings JOIN (VALUES \
    ('search_path', 'pg_catalog'), ('statement_timeout', '0'), ('lock_timeout', '0'), \
    ('idle_in_transaction_session_timeout', '0'), ('idle_session_timeout', '0'), ('transaction_timeout', '0'), \
    ('tcp_keepalives_idle', '30'), ('tcp_keepalives_interval', '10'), ('tcp_keepalives_count', '3'), \
    ('tcp_user_timeout', '60s')) AS wanted (name, value) USING (name)";

/// A connection in `replication=database` mode: takes SQL and replication commands, one at a time,
/// and nothing of the extended protocol. No schema is searched but `pg_catalog`.
pub(crate) struct ReplicationConnection {
    session: Session,
    family: Family,
    /// A command's answer was not read to its end.
    is_busy: bool,
}

impl ReplicationConnection {
    /// Logs in where the URL leads.
    ///
    /// Errors are [`Connection`](ErrorKind::Connection) when the server can't be reached or refuses the
    /// login, [`Precondition`](ErrorKind::Precondition) when the account may not replicate.
    pub(crate) async fn open(url: &EndpointUrl) -> Result<Self> {
        Self::open_as(url, APPLICATION).await
    }

    /// The same under another name of the application.
    pub(crate) async fn open_as(url: &EndpointUrl, application: &str) -> Result<Self> {
        let opened = async {
            match Self::log_in(url, application).await {
                Err(error) if url.scheme == "opengauss" && opengauss::wants_ha_port(&error) => {
                    let port = url.port.checked_add(1).ok_or(error)?;
                    Self::log_in(&EndpointUrl { port, ..url.clone() }, application).await
                }
                outcome => outcome,
            }
        };
        let outcome = tokio::time::timeout(LOGIN, opened).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Transient, "the source accepts connections but doesn't answer")
                .because(format!("there was no login within {} s", LOGIN.as_secs())))
        });
        outcome.map_err(|error| error.at("source", url))
    }

    async fn log_in(url: &EndpointUrl, application: &str) -> Result<Self> {
        let family = if url.scheme == "opengauss" { Family::OpenGauss } else { Family::PostgreSql };
        let channel = Channel::new(socket::open(url, "source").await?);
        let mut parameters = vec![("database", url.database.as_deref().unwrap_or("postgres"))];
        parameters.push(("application_name", application));
        parameters.extend(SETTINGS);
        let login = Login { user: &url.user, password: url.password(), parameters: &parameters, family };
        let session = startup(channel, &login).await?;
        let mut connection = Self { session, family, is_busy: false };
        connection.query(LIMITS).await?;
        Ok(connection)
    }

    /// The server's major version, e.g. 18; 0 when it tells none.
    pub(crate) fn major_version(&self) -> u32 {
        let version = self.session.parameters.get("server_version").map_or("", String::as_str);
        let digits = version.bytes().take_while(u8::is_ascii_digit).count();
        version.get(..digits).and_then(|major| major.parse().ok()).unwrap_or(0)
    }

    /// Whose server it is.
    pub(crate) fn family(&self) -> Family {
        self.family
    }

    /// The server's process for this connection, as `pg_stat_replication` and `active_pid` name it.
    pub(crate) fn process(&self) -> u32 {
        self.session.backend.process
    }

    /// Runs a command and returns its rows. Of several statements in one text, those of all.
    ///
    /// A call that was dropped leaves the connection of no more use.
    pub(crate) async fn query(&mut self, command: &str) -> Result<Vec<TextRow>> {
        self.send(command).await?;
        let mut rows = Vec::new();
        let mut refused = None;
        loop {
            let frame = match self.session.channel.receive().await {
                Ok(frame) => frame,
                // The server closes after a fatal error, which says more than the end does.
                Err(ended) => return Err(refused.unwrap_or(ended)),
            };
            match frame.tag {
                b'D' => rows.push(row(&frame)?),
                b'E' => refused = Some(refusal::error(&frame.body, "the source refused a command")),
                b'Z' => {
                    self.is_busy = false;
                    return refused.map_or(Ok(rows), Err);
                }
                // Descriptions of rows, ends of statements, an empty statement.
                b'T' | b'C' | b'I' => {}
                _ => self.aside(&frame)?,
            }
        }
    }

    /// Runs `START_REPLICATION …` and hands over what it starts.
    pub(crate) async fn start(mut self, command: &str) -> Result<LogStream> {
        self.send(command).await?;
        loop {
            let frame = self.session.channel.receive().await?;
            match frame.tag {
                b'W' => return Ok(LogStream::new(self.session.channel, self.family)),
                b'E' => return Err(refusal::error(&frame.body, "the source doesn't send its changes")),
                _ => self.aside(&frame)?,
            }
        }
    }

    async fn send(&mut self, command: &str) -> Result<()> {
        if self.is_busy {
            return Err(Error::new(
                ErrorKind::Internal,
                "a replication connection was used before its last answer was read",
            ));
        }
        let channel: &mut Channel = &mut self.session.channel;
        channel.queue(|output| frontend::query(command, output))?;
        self.is_busy = true;
        channel.flush().await
    }

    /// Takes what a server may say at any time.
    fn aside(&mut self, frame: &Frame) -> Result<()> {
        match frame.tag {
            b'N' => tracing::debug!(notice = refusal::notice(&frame.body), "the source says"),
            b'S' => {
                let (name, value) = parameter(frame)?;
                self.session.parameters.insert(name, value);
            }
            // A notification that nobody listens for.
            b'A' => {}
            _ => return Err(Malformed("it has no place in the answer to a command").into()),
        }
        Ok(())
    }
}

fn row(frame: &Frame) -> Result<TextRow, Malformed> {
    let mut fields = Fields::new(&frame.body);
    let columns = fields.u16()?;
    let mut row = TextRow::new();
    for _ in 0..columns {
        row.push(match fields.i32()? {
            -1 => None,
            length => {
                let length =
                    usize::try_from(length).map_err(|_| Malformed("a value has a negative length"))?;
                let text = std::str::from_utf8(fields.take(length)?);
                Some(text.map_err(|_| Malformed("a text in it is not UTF-8"))?.to_owned())
            }
        });
    }
    fields.end()?;
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::super::startup::BackendKey;
    use super::super::test_server::TestServer;
    use super::*;
    use std::collections::HashMap;

    fn connection() -> (TestServer, ReplicationConnection) {
        let (server, channel) = TestServer::new();
        let session = Session { channel, parameters: HashMap::new(), backend: BackendKey::default() };
        (server, ReplicationConnection { session, family: Family::PostgreSql, is_busy: false })
    }

    #[tokio::test]
    async fn an_answer_is_its_rows() {
        let (mut server, mut connection) = connection();
        server.send(b'T', b"").await;
        server.send(b'S', b"server_version\x0018.6 (Debian 18.6-3)\0").await;
        server.send(b'D', b"\0\x02\0\0\0\x03abc\xff\xff\xff\xff").await;
        server.send(b'N', b"Mnote\0\0").await;
        server.send(b'C', b"IDENTIFY_SYSTEM\0").await;
        server.send(b'Z', b"I").await;
        let rows = connection.query("IDENTIFY_SYSTEM").await.expect("rows");
        assert_eq!(rows, [[Some("abc".to_owned()), None]]);
        assert_eq!(connection.major_version(), 18);
        assert_eq!(server.receive().await, (b'Q', b"IDENTIFY_SYSTEM\0".to_vec()));
    }

    #[tokio::test]
    async fn a_refused_command_leaves_the_connection_usable() {
        let (mut server, mut connection) = connection();
        server.send(b'E', b"C42601\0Msyntax error\0\0").await;
        server.send(b'Z', b"I").await;
        let error = connection.query("NO").await.expect_err("a refusal");
        assert!(error.to_string().contains("syntax error"), "{error}");
        server.send(b'Z', b"I").await;
        assert!(connection.query("").await.expect("an empty answer").is_empty());
    }

    #[tokio::test]
    async fn a_fatal_error_says_more_than_the_end() {
        let (mut server, mut connection) = connection();
        let (answer, ()) = tokio::join!(connection.query("SELECT 1"), async {
            server.receive().await;
            server.send(b'E', b"C57P01\0Mterminating\0\0").await;
            server.close();
        });
        let error = answer.expect_err("an end");
        assert_eq!(error.kind(), ErrorKind::Transient);
        assert!(error.to_string().contains("terminating"), "{error}");
        let error = connection.query("SELECT 1").await.expect_err("no more use");
        assert_eq!(error.kind(), ErrorKind::Internal);
    }

    #[tokio::test]
    async fn a_stream_begins_or_is_refused() {
        let (mut server, refused) = connection();
        server.send(b'E', b"C42704\0Mreplication slot \"a\" does not exist\0\0").await;
        let error = refused.start("START_REPLICATION").await.err().expect("a refusal");
        assert_eq!(error.kind(), ErrorKind::Precondition);
        let (mut server, accepted) = connection();
        server.send(b'W', &[0, 0, 0]).await;
        accepted.start("START_REPLICATION").await.expect("a stream");
    }
}
