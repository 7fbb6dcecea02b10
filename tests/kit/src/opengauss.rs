//! A **double** of an openGauss server. It is not openGauss, nor was it made from its code: it speaks the protocol as it was
//! observed on a 7.0.0-RC2 server, and has a real `PostgreSQL` server behind it that holds the data.
//!
//! What it does as openGauss does:
//! - the login: which request for a password an account gets, by the protocol's version, `pg_hba.conf`'s method and the
//!   form in which the password is stored; the proofs of codes 5, 10, 11 and 13; no `NegotiateProtocolVersion`;
//! - the port for ordinary connections and the HA port next to it; the parameters it tells of, `version()` and what names a version, the layout of errors;
//! - refusing `ON CONFLICT`, identity columns, `DISCARD`, `LISTEN`, `SELECT` without columns, `unnest` of several arrays, `WITH
//!   ORDINALITY`, `OVERRIDING`, `lock_timeout`, and functions, settings and columns of the catalog that it hasn't;
//! - in compatibility A, `''` as NULL in literals, and in parameters of the types for which it is; `date` with a time of day;
//!   with dolphin, `timestamp` with a time zone unless it says that it has none;
//! - replication connections: no key, tags, every error fatal; `mppdb_decoding` in all styles, with and without batches,
//!   with the place in the log that each style gives, the little-endian layouts of keepalive and status, the
//!   closing of a connection that is not heard of, and the options with their errors;
//! - the catalogs and functions of 9.2 ([`catalog`]) instead of those of today; snapshots and commits by number
//!   ([`snapshots`]); `pgoutput` with openGauss's beginning of a transaction, types without modifiers, and nothing of what was
//!   written under a replication origin;
//! - in the parallel styles: no TRUNCATE, nor any row after it or after another change of the catalog in its transaction (of
//!   which a trigger of the server behind tells, made together with the first slot); with dolphin, `false` for every boolean in
//!   the styles of text, but for who calls himself `gsql` and takes the serial one.
//!
//! What it does not do: openGauss's own SQL (`ON DUPLICATE KEY UPDATE`, partitions, dolphin's types) and its types; `''` as
//! NULL in what a `COPY` brings as text and in what functions answer; lengths in bytes in compatibility A; numbers without
//! their leading zero and booleans as `1`; the `U` message; TLS; `USE_SNAPSHOT`; what the parallel styles
//! lose of large values, the inserts that they take back, and values by the server's settings instead of the session's. Where the log's places are openGauss's
//! own (the beginning of a commit's record), it sends one that has the same effect. An unchanged big value is marked
//! as unchanged, as by older versions. `pgoutput` sends a key only if it was changed.

mod account;
mod backend;
mod catalog;
mod dialect;
mod message;
mod parameters;
mod refusals;
mod session;
mod snapshots;
pub mod stream;
pub mod url;
mod walsender;

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::oneshot;

use crate::server::Server;
pub use account::{Account, Method, Stored};
use backend::Backend;
use dialect::Dialect;
use refusals::Refusals;
use snapshots::Snapshots;

/// A database's `sql_compatibility`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compatibility {
    /// Oracle, the default.
    A,
    /// `MySQL`
    B,
    /// `PostgreSQL`
    Pg,
}

impl Compatibility {
    /// As `SHOW sql_compatibility` says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
            Self::Pg => "PG",
        }
    }
}

/// What kind of server the double is.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its account.
    pub account: Account,
    /// What `pg_hba.conf` asks for.
    pub method: Method,
    /// What its databases are compatible with.
    pub compatibility: Compatibility,
    /// Whether they have the dolphin extension.
    pub dolphin: bool,
    /// `enable_thread_pool`: replication connections are taken at the HA port alone.
    pub thread_pool: bool,
    /// How long a receiver of the log may be silent: `logical_sender_timeout`.
    pub sender_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            account: Account {
                user: "mig".to_owned(),
                password: "Gauss@123".to_owned(),
                stored: Stored::Sha256,
                iterations: 10_000,
            },
            method: Method::Sha256,
            compatibility: Compatibility::A,
            dolphin: false,
            thread_pool: false,
            sender_timeout: Duration::from_secs(30),
        }
    }
}

/// What every connection knows.
#[derive(Debug)]
struct Inner {
    settings: Settings,
    backend: Backend,
    dialect: Dialect,
    refusals: Refusals,
    snapshots: Snapshots,
}

/// A running double; it ends, and with it its connections, when dropped.
#[derive(Debug)]
pub struct Double {
    address: SocketAddr,
    account: Account,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Double {
    /// A double before this `PostgreSQL` server.
    pub fn start(behind: &Server, settings: Settings) -> Result<Self> {
        let (main, ha) = ports().context("two ports for the double")?;
        let address = main.local_addr()?;
        let account = settings.account.clone();
        let backend = Backend {
            host: behind.host().to_owned(),
            port: behind.port(),
            user: crate::USER.to_owned(),
            password: crate::PASSWORD.to_owned(),
        };
        let dialect = Dialect::new(settings.compatibility)?;
        let refusals = Refusals::new(settings.compatibility, settings.dolphin)?;
        let snapshots = Snapshots::default();
        let inner = Arc::new(Inner { settings, backend, dialect, refusals, snapshots });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("openGauss".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(main, &inner, Port::Main) => {}
                    () = accept(ha, &inner, Port::Ha) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { address, account, stop: Some(stop), thread: Some(thread) })
    }

    /// A URL of this database, with the account and its password.
    pub fn url_of(&self, database: &str) -> String {
        let password = self.account.password.bytes().fold(String::new(), |mut url, byte| {
            let _ = write!(url, "%{byte:02X}");
            url
        });
        format!("opengauss://{}:{password}@{}/{database}", self.account.user, self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Which of a server's ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Port {
    Main,
    /// The next one, for replication alone.
    Ha,
}

/// Two ports of which the second is the next after the first.
fn ports() -> Result<(TcpListener, TcpListener)> {
    let mut last = None;
    for _ in 0..50 {
        let main = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let Some(next) = main.local_addr()?.port().checked_add(1) else { continue };
        match TcpListener::bind((Ipv4Addr::LOCALHOST, next)) {
            Ok(ha) => {
                main.set_nonblocking(true)?;
                ha.set_nonblocking(true)?;
                return Ok((main, ha));
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| anyhow::anyhow!("there are none"), Into::into))
}

async fn accept(listener: TcpListener, inner: &Arc<Inner>, port: Port) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    loop {
        // Running out of file descriptors passes.
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let inner = Arc::clone(inner);
        // An end of a connection in the middle of something is an end.
        tokio::spawn(async move { drop(session::serve(client, inner, port).await) });
    }
}
