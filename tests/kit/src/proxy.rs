//! A TCP proxy between a program and a server, which does to their connections what bad networks do.
//!
//! It runs on a thread of its own, so that a test may block while it works. All of its conditions are in force for
//! the connections that are open and for those to come, until they are lifted.

mod commit;
mod conditions;
mod relay;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::server::Server;
pub use conditions::CommitFault;
use conditions::Shared;

/// A running proxy; it ends, and with it its connections, when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A proxy in front of `server`.
    pub fn to(server: &Server) -> Result<Self> {
        Self::start(server.host(), server.port())
    }

    /// A proxy in front of whoever listens at this address.
    pub fn start(host: &str, port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a port for the proxy")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let (server, conditions) = (format!("{host}:{port}"), Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("proxy".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, &server, &conditions) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { address, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// The URL of the server with the proxy's address in place of the server's own.
    pub fn url(&self, url: &str) -> Result<String> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| anyhow!("a URL without a scheme"))?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let account = authority.rsplit_once('@').map_or(String::new(), |(account, _)| format!("{account}@"));
        Ok(format!("{scheme}://{account}{}/{path}", self.address))
    }

    /// Breaks every open connection.
    pub fn cut(&self) {
        self.shared.cut.send_modify(|generation| *generation += 1);
    }

    /// Refuses new connections (they are closed before a byte is sent), or takes them again.
    pub fn refuse(&self, refused: bool) {
        self.shared.change(|conditions| conditions.refused = refused);
    }

    /// Takes bytes and delivers none, in both directions, or delivers again, beginning with what was held back. A
    /// network that drops every packet looks like this to both ends.
    pub fn hold(&self, held: bool) {
        self.shared.change(|conditions| conditions.held = held);
    }

    /// Delivers nothing any more over the connections that are open now, which stay open, as after a device on the way
    /// has forgotten them; new ones are not concerned.
    pub fn hold_open_connections(&self) {
        let opened = self.shared.connections_opened();
        self.shared.change(|conditions| conditions.forgotten = opened);
    }

    /// Delivers every byte so much later, in each direction: half of the time of a round trip.
    pub fn delay(&self, delay: Duration) {
        self.shared.change(|conditions| conditions.delay = delay);
    }

    /// Delivers at most so many bytes a second over each connection and direction; `None` lifts the limit.
    pub fn limit(&self, bytes_per_second: Option<u64>) {
        self.shared.change(|conditions| conditions.bytes_per_second = bytes_per_second);
    }

    /// Loses one of so many pieces, counted over all connections and directions; `None` loses none. To both ends this is
    /// what TCP makes of it: the piece, and all that comes after it, arrives when it has been sent again.
    pub fn lose(&self, one_of: Option<u64>) {
        self.shared.change(|conditions| conditions.lost = one_of);
    }

    /// Breaks one connection after so many more bytes from the server, counted over all connections.
    pub fn truncate_after(&self, bytes: u64) {
        self.shared.truncation.begin(bytes);
    }

    /// Delivers the byte after so many more bytes from the server, counted over all connections, with a wrong bit.
    pub fn corrupt_after(&self, bytes: u64) {
        self.shared.corruption.begin(bytes);
    }

    /// How many connections were broken so.
    pub fn truncated(&self) -> u32 {
        self.shared.truncations()
    }

    /// Does this to the next `number` `COMMIT`s of `PostgreSQL` clients that speak without TLS, and refuses new
    /// connections for so long after each.
    pub fn break_commits(&self, fault: CommitFault, number: u32, refused: Duration) {
        self.shared.break_commits(fault, number, refused);
    }

    /// How many `COMMIT`s were broken so far.
    pub fn commits_broken(&self) -> u32 {
        self.shared.commits_broken()
    }

    /// Lifts every condition. Connections that were broken stay so.
    pub fn heal(&self) {
        self.shared.heal();
    }

    /// How many directions of connections have something to deliver and are held.
    pub fn held_back(&self) -> usize {
        self.shared.held_back()
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.shared.connections()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, server: &str, shared: &Arc<Shared>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    loop {
        // Running out of file descriptors passes.
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        if shared.now().refused {
            continue;
        }
        let (server, shared) = (server.to_owned(), Arc::clone(shared));
        tokio::spawn(async move {
            // A server that is down refuses, and so its client is refused.
            if let Ok(server) = TcpStream::connect(server).await {
                relay::relay(client, server, shared).await;
            }
        });
    }
}
