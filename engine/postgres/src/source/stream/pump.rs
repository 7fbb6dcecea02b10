//! What reads the stream off the connection and keeps the connection alive, whether or not somebody has
//! time for what was read.

use engine_core::position::Position;
use engine_core::source::LogHold;
use engine_core::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::replication::lsn::Lsn;
use crate::replication::stream::{Frame, LogStream};
use crate::source::position::LogPosition;

/// Batches of messages that may wait.
const BATCHES_AHEAD: usize = 8;
/// Bytes of messages at which a batch is handed over.
const BATCH_BYTES: usize = 256 << 10;
/// How often an idle server is asked how far it has read its log.
const ASKING: Duration = Duration::from_millis(100);
/// How often it is told how far the target is.
const REPORTING: Duration = Duration::from_secs(1);
/// How long the server may say nothing, asked again and again, until its connection counts as dead. One that
/// reads a large transaction of others answers late.
const SILENCE: Duration = Duration::from_secs(90);

/// The near end of a stream that is being read.
pub(super) struct Pump {
    batches: mpsc::Receiver<Result<Vec<Frame>>>,
    applied: Arc<AtomicU64>,
    running: AbortHandle,
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Pump {
    /// Starts to read. The server keeps everything from `from` on until it is told otherwise.
    pub(super) fn start(stream: LogStream, from: Lsn) -> Self {
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        let applied = Arc::new(AtomicU64::new(from.0));
        let told = Arc::clone(&applied);
        let running = tokio::spawn(async move {
            if let Err(error) = run(stream, &sender, &told).await {
                // Nobody is there to be told when the receiver is gone.
                let _ = sender.send(Err(error)).await;
            }
        });
        Self { batches, applied, running: running.abort_handle() }
    }

    /// Waits for the next messages. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Vec<Frame>> {
        let ended = || Err(Error::new(ErrorKind::Transient, "the source's change stream ended"));
        self.batches.recv().await.unwrap_or_else(ended)
    }

    /// The next messages, if there are any.
    pub(super) fn try_next(&mut self) -> Option<Result<Vec<Frame>>> {
        self.batches.try_recv().ok()
    }

    /// By which the server is told what it may drop.
    pub(super) fn hold(&self) -> Arc<dyn LogHold> {
        Arc::new(Hold(Arc::clone(&self.applied)))
    }
}

/// How far the target is, as the next report will say.
struct Hold(Arc<AtomicU64>);

impl LogHold for Hold {
    fn release(&self, position: &Position) -> Result<()> {
        self.0.fetch_max(LogPosition::parse(position)?.lsn.0, Ordering::Relaxed);
        Ok(())
    }
}

async fn run(
    mut stream: LogStream,
    sender: &mpsc::Sender<Result<Vec<Frame>>>,
    applied: &AtomicU64,
) -> Result<()> {
    let mut reporting = interval(REPORTING);
    reporting.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asking = interval(ASKING);
    asking.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut received = Lsn(0);
    let mut heard = Instant::now();
    let mut is_asked = false;
    loop {
        let first = tokio::select! {
            biased;
            _ = reporting.tick() => {
                report(&mut stream, received, applied, false).await?;
                continue;
            }
            frame = stream.next() => frame?,
            _ = asking.tick() => {
                if heard.elapsed() > SILENCE {
                    return Err(silent());
                }
                if !is_asked || heard.elapsed() > REPORTING {
                    report(&mut stream, received, applied, true).await?;
                    is_asked = true;
                }
                continue;
            }
        };
        (heard, is_asked) = (Instant::now(), false);
        asking.reset();
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(frame) = next {
            match &frame {
                Frame::Data { end, payload, .. } => {
                    received = received.max(*end);
                    bytes += payload.len();
                }
                Frame::Keepalive { end, .. } => received = received.max(*end),
            }
            batch.push(frame);
            next = if bytes < BATCH_BYTES { stream.try_next()? } else { None };
        }
        // However long it takes until there is room, the server gets its reports.
        let room = loop {
            tokio::select! {
                room = sender.reserve() => break room,
                _ = reporting.tick() => report(&mut stream, received, applied, false).await?,
            }
        };
        let Ok(room) = room else { return Ok(()) };
        room.send(Ok(batch));
    }
}

async fn report(
    stream: &mut LogStream,
    received: Lsn,
    applied: &AtomicU64,
    reply_wanted: bool,
) -> Result<()> {
    let applied = Lsn(applied.load(Ordering::Relaxed));
    stream.report(received.max(applied), applied, applied, reply_wanted).await
}

fn silent() -> Error {
    Error::new(ErrorKind::Transient, "the source does not answer any more")
        .because(format!("its change stream was silent for {} s", SILENCE.as_secs()))
}
