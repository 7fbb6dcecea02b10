//! One connection through a proxy.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::commit::{Answers, Commits};
use super::conditions::{CommitFault, Conditions, Shared};

/// Bytes read at once.
const PIECE: usize = 16 * 1024;
/// Pieces under way in one direction; what is beyond them waits in its sender's socket.
const UNDER_WAY: usize = 64;
/// How long a sender waits until it sends a lost packet again: the least that Linux waits.
const RETRANSMISSION: Duration = Duration::from_millis(200);
/// Longest wait for the server's answer to a `COMMIT` whose client is gone.
const DRAIN: Duration = Duration::from_secs(2);

/// A piece of the stream and when it arrives.
type Piece = (Instant, Vec<u8>);

/// Relays until one side ends or the connection is broken.
pub(super) async fn relay(client: TcpStream, server: TcpStream, shared: Arc<Shared>) {
    let mut cut = shared.cut.subscribe();
    let open = Open::new(&shared);
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    // Reading goes on while nothing is delivered.
    let (from_client, client_reader) = reading(client_read, &shared);
    let (from_server, server_reader) = reading(server_read, &shared);
    let mut upward = Upward { pieces: from_client, write: server_write, commits: Commits::default() };
    let mut downward = Downward { pieces: from_server, write: client_write, answers: Answers::default() };
    let broken = tokio::select! {
        broken = upward.deliver(&open) => broken,
        () = downward.deliver(&open) => None,
        _ = cut.changed() => None,
    };
    let Downward { pieces, write, answers } = downward;
    drop((client_reader, write));
    if let Some((fault, piece)) = broken {
        upward.finish(fault, &piece, pieces, answers).await;
    }
    drop(server_reader);
}

/// Starts to read; pieces arrive after the delay that is in force.
fn reading(mut half: OwnedReadHalf, shared: &Arc<Shared>) -> (mpsc::Receiver<Piece>, Aborted) {
    let (sender, pieces) = mpsc::channel(UNDER_WAY);
    let shared = Arc::clone(shared);
    let task = tokio::spawn(async move {
        let mut buffer = vec![0; PIECE];
        while let Ok(length @ 1..) = half.read(&mut buffer).await {
            let piece = buffer.get(..length).unwrap_or_default().to_vec();
            if sender.send((Instant::now() + shared.now().delay, piece)).await.is_err() {
                return;
            }
        }
    });
    (pieces, Aborted(task))
}

/// From the client to the server.
struct Upward {
    pieces: mpsc::Receiver<Piece>,
    write: OwnedWriteHalf,
    commits: Commits,
}

impl Upward {
    /// Delivers until an end, or until a `COMMIT` has to be broken, which is the piece that is answered.
    async fn deliver(&mut self, open: &Open<'_>) -> Option<(CommitFault, Vec<u8>)> {
        let mut conditions = open.shared.watch();
        while let Some(piece) = next(&mut self.pieces, &mut conditions, open).await {
            if self.commits.read(&piece)
                && let Some(fault) = open.shared.commit_sent()
            {
                return Some((fault, piece));
            }
            self.write.write_all(&piece).await.ok()?;
        }
        None
    }

    /// Does what is left to do of a broken `COMMIT` once the client is cut off.
    async fn finish(
        mut self,
        fault: CommitFault,
        piece: &[u8],
        mut from_server: mpsc::Receiver<Piece>,
        mut answers: Answers,
    ) {
        match fault {
            CommitFault::LoseRequest => return,
            CommitFault::LoseAnswer => {}
            CommitFault::Late(delay) => sleep(delay).await,
        }
        if self.write.write_all(piece).await.is_err() {
            return;
        }
        let questions = self.commits.questions();
        let answered = async {
            while answers.ready() < questions
                && let Some((_, piece)) = from_server.recv().await
            {
                answers.read(&piece);
            }
        };
        let _ = timeout(DRAIN, answered).await;
    }
}

/// From the server to the client.
struct Downward {
    pieces: mpsc::Receiver<Piece>,
    write: OwnedWriteHalf,
    answers: Answers,
}

impl Downward {
    /// Delivers until an end.
    async fn deliver(&mut self, open: &Open<'_>) {
        let mut conditions = open.shared.watch();
        while let Some(mut piece) = next(&mut self.pieces, &mut conditions, open).await {
            self.answers.read(&piece);
            if let Some(byte) = open.shared.corruption.count(piece.len()).and_then(|at| piece.get_mut(at)) {
                *byte ^= 1;
            }
            let truncated = open.shared.truncated(piece.len());
            let delivered = piece.get(..truncated.unwrap_or(piece.len())).unwrap_or_default();
            if self.write.write_all(delivered).await.is_err() || truncated.is_some() {
                return;
            }
        }
    }
}

/// The next piece, when it may be delivered.
async fn next(
    pieces: &mut mpsc::Receiver<Piece>,
    conditions: &mut watch::Receiver<Conditions>,
    open: &Open<'_>,
) -> Option<Vec<u8>> {
    let (arrival, piece) = pieces.recv().await?;
    sleep_until(arrival).await;
    if open.shared.is_lost() {
        sleep(RETRANSMISSION).await;
    }
    let delivers = |conditions: &Conditions| !conditions.holds(open.number);
    if !delivers(&open.shared.now()) {
        let _held_back = open.shared.hold_back();
        conditions.wait_for(delivers).await.ok()?;
    }
    let limit = open.shared.now().bytes_per_second;
    if let Some(limit) = limit {
        sleep(Duration::from_secs_f64(piece.len() as f64 / limit.max(1) as f64)).await;
    }
    Some(piece)
}

/// A task that ends with the value.
struct Aborted(JoinHandle<()>);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An open connection, counted.
struct Open<'a> {
    shared: &'a Arc<Shared>,
    number: u64,
}

impl<'a> Open<'a> {
    fn new(shared: &'a Arc<Shared>) -> Self {
        Self { shared, number: shared.opened() }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.shared.closed();
    }
}
