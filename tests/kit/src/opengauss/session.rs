//! One connection to the double: the login, then SQL or replication.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::account::Method;
use super::backend::Session;
use super::catalog::SNAPSHOT;
use super::message::{error, message, read, read_body, reported, row, values};
use super::parameters::Parameters;
use super::snapshots::Snapshots;
use super::walsender;
use super::{Inner, Port};

const SSL_REQUEST: u32 = 80_877_103;
const CANCEL_REQUEST: u32 = 80_877_102;

/// Serves one client until either side ends.
pub(super) async fn serve(mut client: TcpStream, inner: Arc<Inner>, port: Port) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (protocol, mut startup) = loop {
        let body = read_body(&mut client).await?;
        let (code, rest) = body.split_first_chunk().ok_or(io::ErrorKind::InvalidData)?;
        match u32::from_be_bytes(*code) {
            SSL_REQUEST => client.write_all(b"N").await?,
            CANCEL_REQUEST => return cancel(&inner, &body).await,
            protocol => break (protocol, settings(rest)),
        }
    };
    let (major, minor) = (protocol >> 16, protocol as u16);
    if !matches!((major, minor), (2 | 3, 0) | (3, 50 | 51)) {
        let text = format!("unsupported frontend protocol {major}.{minor}.");
        return client.write_all(&error("FATAL", "0A000", &text)).await;
    }
    let mut take = |wanted: &str| {
        let at = startup.iter().position(|(name, _)| name == wanted)?;
        Some(startup.remove(at).1)
    };
    let user = take("user").unwrap_or_default();
    let replication = take("replication");
    match (port, replication.is_some()) {
        (Port::Ha, false) => {
            let text = "the local listen ip and port is not for the gsql client";
            return client.write_all(&error("FATAL", "57P03", text)).await;
        }
        (Port::Main, true) if inner.settings.thread_pool => {
            let text = "replication should connect HA port in thread_pool";
            return client.write_all(&error("ERROR", "22023", text)).await;
        }
        _ => {}
    }
    if !authenticate(&mut client, &inner, &user, minor).await? {
        let refusal = error("FATAL", "28P01", "Invalid username/password,login denied.");
        return client.write_all(&refusal).await;
    }
    if replication.is_some() {
        startup.push(("replication".to_owned(), "database".to_owned()));
    }
    let (behind, key) = match inner.backend.log_in(&startup).await? {
        Session::Open(stream, key) => (stream, key),
        Session::Refused(body) => return client.write_all(&reported(b'E', &body, true)).await,
    };
    let mut welcome = message(b'R', &[0; 4]);
    for (name, value) in parameters(&startup, if replication.is_some() { "" } else { &user }) {
        welcome.extend_from_slice(&message(b'S', format!("{name}\0{value}\0").as_bytes()));
    }
    if replication.is_none() {
        welcome.extend_from_slice(&message(b'K', &key));
    }
    welcome.extend_from_slice(&message(b'Z', b"I"));
    client.write_all(&welcome).await?;
    if replication.is_some() {
        let database = startup.iter().find(|(name, _)| name == "database").map(|(_, value)| value.clone());
        let is_gsql = startup.iter().any(|(name, value)| name == "application_name" && value == "gsql");
        return walsender::serve(client, behind, &database.unwrap_or_default(), is_gsql, &inner).await;
    }
    relay(client, behind, &inner).await
}

/// Names and values of a startup message.
fn settings(body: &[u8]) -> Vec<(String, String)> {
    let mut texts = body.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned());
    let mut settings = Vec::new();
    while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
        if name.is_empty() {
            break;
        }
        settings.push((name, value));
    }
    settings
}

async fn authenticate(client: &mut TcpStream, inner: &Inner, user: &str, minor: u16) -> io::Result<bool> {
    let Some(request) = inner.settings.account.request(inner.settings.method, user, minor) else {
        return Ok(inner.settings.method == Method::Trust);
    };
    client.write_all(&message(b'R', &request.body)).await?;
    let (kind, answer) = read(client).await?;
    Ok(kind == b'p' && answer.split_last().is_some_and(|(end, answer)| *end == 0 && request.accepts(answer)))
}

/// What a server tells of itself after a login, in its order.
fn parameters<'a>(startup: &'a [(String, String)], user: &'a str) -> Vec<(&'a str, &'a str)> {
    let asked = |wanted: &str, default: &'a str| {
        let named = startup.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        named.map_or(default, |(_, value)| value.as_str())
    };
    vec![
        ("application_name", asked("application_name", "")),
        ("b_format_behavior_compat_options", ""),
        ("behavior_compat_options", ""),
        ("cgroup_name", ""),
        ("character_set_connection", "UTF8"),
        ("client_encoding", asked("client_encoding", "UTF8")),
        ("collation_connection", ""),
        ("connection_info", ""),
        ("d_format_behavior_compat_options", ""),
        ("DateStyle", asked("DateStyle", "ISO, MDY")),
        ("disable_keyword_options", ""),
        ("enable_record_nettime", "off"),
        ("integer_datetimes", "on"),
        ("IntervalStyle", asked("IntervalStyle", "postgres")),
        ("is_sysadmin", "off"),
        ("memory_detail_tracking", ""),
        ("plsql_compile_check_options", ""),
        ("query_band", ""),
        ("server_encoding", "UTF8"),
        ("server_version", "9.2.4"),
        ("session_authorization", user),
        ("session_respool", "invalid_pool"),
        ("standard_conforming_strings", "on"),
        ("TimeZone", asked("TimeZone", "PRC")),
        ("uppercase_attribute_name", "off"),
    ]
}

async fn cancel(inner: &Inner, body: &[u8]) -> io::Result<()> {
    let mut behind = TcpStream::connect((inner.backend.host.as_str(), inner.backend.port)).await?;
    behind.write_all(message(b'?', body).get(1..).unwrap_or_default()).await?;
    // The server closes when it has seen to it.
    behind.read_to_end(&mut Vec::new()).await.map(drop)
}

/// Passes messages on, both ways, until one side ends.
async fn relay(client: TcpStream, behind: TcpStream, inner: &Inner) -> io::Result<()> {
    let (from_client, mut to_client) = client.into_split();
    let (from_behind, mut to_behind) = behind.into_split();
    let mut from_client = tokio::io::BufReader::with_capacity(1 << 16, from_client);
    let mut from_behind = tokio::io::BufReader::with_capacity(1 << 16, from_behind);
    let parameters = Parameters::default();
    let watch = Watch {
        snapshots: &inner.snapshots,
        statements: Mutex::default(),
        is_pending: AtomicBool::new(false),
    };
    let upward = async {
        loop {
            let (kind, body) = read(&mut from_client).await?;
            parameters.asked(kind, &body);
            let passed = match kind {
                b'B' => message(b'B', &parameters.bound(body, &inner.refusals)),
                b'Q' => message(b'Q', &statement(&body, 0, inner)),
                b'P' => {
                    let name = body.iter().position(|byte| *byte == 0).map_or(0, |end| end + 1);
                    message(b'P', &statement(&body, name, inner))
                }
                _ => message(kind, &body),
            };
            watch.asked(&passed);
            to_behind.write_all(&passed).await?;
        }
    };
    let downward = async {
        loop {
            let (kind, body) = read(&mut from_behind).await?;
            parameters.answered(kind, &body);
            let passed = match kind {
                b'E' | b'N' => reported(kind, &body, false),
                _ => watch.answered(kind, &body).unwrap_or_else(|| message(kind, &body)),
            };
            to_client.write_all(&passed).await?;
        }
    };
    tokio::select! {
        ended = upward => ended,
        ended = downward => ended,
    }
}

/// Looks out for statements about snapshots, whose answers are openGauss's own.
struct Watch<'a> {
    snapshots: &'a Snapshots,
    /// Names of prepared statements that are such.
    statements: Mutex<HashSet<Vec<u8>>>,
    /// One is on its way.
    is_pending: AtomicBool,
}

impl Watch<'_> {
    /// Takes in what goes to the server behind.
    fn asked(&self, sent: &[u8]) {
        let (Some(kind), Some(body)) = (sent.first(), sent.get(5..)) else { return };
        let mut texts = body.split(|byte| *byte == 0);
        let (first, second) = (texts.next().unwrap_or_default(), texts.next().unwrap_or_default());
        let is_about = |sql: &[u8]| sql.windows(SNAPSHOT.len()).any(|part| part == SNAPSHOT.as_bytes());
        let mut statements = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        let takes = match kind {
            b'Q' => is_about(first),
            b'P' => {
                if is_about(second) {
                    statements.insert(first.to_vec());
                } else {
                    statements.remove(first);
                }
                false
            }
            // Of a portal, to a statement.
            b'B' => statements.contains(second),
            _ => false,
        };
        if takes && !self.is_pending.swap(true, Ordering::SeqCst) {
            self.snapshots.expect();
        }
    }

    /// Takes in what comes from the server behind; answers what comes in its place.
    fn answered(&self, kind: u8, body: &[u8]) -> Option<Vec<u8>> {
        if !self.is_pending.load(Ordering::SeqCst) {
            return None;
        }
        match kind {
            b'D' => {
                let mut values = values(body);
                for value in values.iter_mut().flatten() {
                    if let Some(told) = self.snapshots.told(value) {
                        *value = told;
                    }
                }
                Some(row(&values.iter().map(Option::as_deref).collect::<Vec<_>>()))
            }
            b'Z' => {
                self.settle();
                None
            }
            _ => None,
        }
    }

    fn settle(&self) {
        if self.is_pending.swap(false, Ordering::SeqCst) {
            self.snapshots.settle();
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.settle();
    }
}

/// A message with the statement that begins at `begin` put into the words of the server behind.
fn statement(body: &[u8], begin: usize, inner: &Inner) -> Vec<u8> {
    let (before, rest) = body.split_at_checked(begin).unwrap_or((body, &[]));
    let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
    let (sql, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
    match std::str::from_utf8(sql) {
        Ok(sql) => [before, inner.dialect.rewrite(&inner.refusals.apply(sql)).as_bytes(), after].concat(),
        Err(_) => body.to_vec(),
    }
}
