//! What reads the stream off the connection and keeps the connection alive, whether or not somebody has
//! time for what was read.

use engine_core::position::Position;
use engine_core::source::LogHold;
use engine_core::{Error, ErrorKind, Result};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::in_progress::{InProgress, Taken};
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
pub(in crate::source) struct Pump {
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
    /// Starts to read. The server keeps everything from `from` on until it is told otherwise. With a directory for
    /// files, the stream has transactions in progress.
    pub(in crate::source) fn start(stream: LogStream, files: Option<PathBuf>, from: Lsn) -> Self {
        let in_progress = files.map(InProgress::new);
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        let applied = Arc::new(AtomicU64::new(from.0));
        let told = Arc::clone(&applied);
        let running = tokio::spawn(async move {
            if let Err(error) = run(stream, in_progress, &sender, &told).await {
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
    stream: LogStream,
    mut in_progress: Option<InProgress>,
    sender: &mpsc::Sender<Result<Vec<Frame>>>,
    applied: &AtomicU64,
) -> Result<()> {
    let mut reporting = interval(REPORTING);
    reporting.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asking = interval(ASKING);
    asking.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut line = Line { stream, reporting, received: Lsn(0), sender, applied };
    let mut heard = Instant::now();
    let mut is_asked = false;
    loop {
        let first = tokio::select! {
            biased;
            _ = line.reporting.tick() => {
                line.report(false).await?;
                continue;
            }
            frame = line.stream.next() => frame?,
            _ = asking.tick() => {
                if heard.elapsed() > SILENCE {
                    return Err(silent());
                }
                if !is_asked || heard.elapsed() > REPORTING {
                    line.report(true).await?;
                    is_asked = true;
                }
                continue;
            }
        };
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(frame) = next {
            match &frame {
                Frame::Data { end, payload, .. } => {
                    line.received = line.received.max(*end);
                    bytes += payload.len();
                }
                Frame::Keepalive { end, .. } => line.received = line.received.max(*end),
            }
            let taken = match &mut in_progress {
                Some(in_progress) => in_progress.take(frame).await?,
                None => Taken::Passed(frame),
            };
            match taken {
                Taken::Passed(frame) => batch.push(frame),
                Taken::Kept => {}
                Taken::Whole(mut whole) => {
                    if !line.send(std::mem::take(&mut batch)).await? {
                        return Ok(());
                    }
                    while let Some(batch) = whole.next().await? {
                        if !line.send(batch).await? {
                            return Ok(());
                        }
                    }
                }
            }
            next = if bytes < BATCH_BYTES { line.stream.try_next()? } else { None };
        }
        if !line.send(batch).await? {
            return Ok(());
        }
        // The time that went by until there was room is not the server's.
        (heard, is_asked) = (Instant::now(), false);
        asking.reset();
    }
}

/// The stream at one end, who takes its messages at the other.
struct Line<'a> {
    stream: LogStream,
    reporting: Interval,
    received: Lsn,
    sender: &'a mpsc::Sender<Result<Vec<Frame>>>,
    applied: &'a AtomicU64,
}

impl Line<'_> {
    /// Hands a batch over. However long it takes until there is room, the server gets its reports. False when
    /// nobody takes it any more.
    async fn send(&mut self, batch: Vec<Frame>) -> Result<bool> {
        if batch.is_empty() {
            return Ok(true);
        }
        let room = loop {
            tokio::select! {
                room = self.sender.reserve() => break room,
                _ = self.reporting.tick() => self.report(false).await?,
            }
        };
        let Ok(room) = room else { return Ok(false) };
        room.send(Ok(batch));
        Ok(true)
    }

    async fn report(&mut self, reply_wanted: bool) -> Result<()> {
        let applied = Lsn(self.applied.load(Ordering::Relaxed));
        self.stream.report(self.received.max(applied), applied, applied, reply_wanted).await
    }
}

fn silent() -> Error {
    Error::new(ErrorKind::Transient, "the source does not answer any more")
        .because(format!("its change stream was silent for {} s", SILENCE.as_secs()))
}
