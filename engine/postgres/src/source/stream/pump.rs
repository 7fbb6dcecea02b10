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
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::in_progress::{InProgress, Taken};
use crate::replication::lsn::Lsn;
use crate::replication::stream::{Frame, LogStream};
use crate::source::mppdb::ends::Ends;
use crate::source::mppdb::retelling::Retelling;
use crate::source::position::LogPosition;

/// Batches of messages that may wait.
const BATCHES_AHEAD: usize = 8;
/// Bytes of messages at which a batch is handed over.
const BATCH_BYTES: usize = 256 << 10;
/// Messages of whole transactions at which it is.
const BATCH_MESSAGES: usize = 4096;
/// How often an idle server is asked how far it has read its log.
const ASKING: Duration = Duration::from_millis(100);
/// How often it is told how far the target is.
const REPORTING: Duration = Duration::from_secs(1);
/// How long the server may say nothing, asked again and again, until its connection counts as dead. One that
/// reads a large transaction of others answers late.
const SILENCE: Duration = Duration::from_secs(90);

/// What becomes of messages before they are handed over.
pub(in crate::source) enum Intake {
    /// They are as they come.
    Plain,
    /// The stream has transactions in progress.
    InProgress(InProgress),
    /// It is one of `mppdb_decoding`.
    Retelling(Box<Retelling>),
}

/// The near end of a stream that is being read.
pub(in crate::source) struct Pump {
    batches: mpsc::Receiver<Result<Vec<Frame>>>,
    applied: Arc<AtomicU64>,
    ends: Option<Arc<Ends>>,
    running: AbortHandle,
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Pump {
    /// Starts to read. The server keeps everything from `from` on until it is told otherwise.
    pub(in crate::source) fn start(stream: LogStream, intake: Intake, from: Lsn) -> Self {
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        let ends = match &intake {
            Intake::Retelling(retelling) => Some(retelling.ends()),
            Intake::Plain | Intake::InProgress(_) => None,
        };
        // Zero is a sign of life alone.
        let applied = Arc::new(AtomicU64::new(if ends.is_some() { 0 } else { from.0 }));
        let told = Arc::clone(&applied);
        let running = tokio::spawn(async move {
            if let Err(error) = run(stream, intake, &sender, &told).await {
                // Nobody is there to be told when the receiver is gone.
                let _ = sender.send(Err(error)).await;
            }
        });
        Self { batches, applied, ends, running: running.abort_handle() }
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
        Arc::new(Hold { applied: Arc::clone(&self.applied), ends: self.ends.clone() })
    }
}

/// How far the target is, as the next report will say.
struct Hold {
    applied: Arc<AtomicU64>,
    /// Where not every place may be told.
    ends: Option<Arc<Ends>>,
}

impl LogHold for Hold {
    fn release(&self, position: &Position) -> Result<()> {
        let applied = LogPosition::parse(position)?.lsn;
        let told = self.ends.as_ref().map_or(Some(applied), |ends| ends.up_to(applied));
        if let Some(told) = told {
            self.applied.fetch_max(told.0, Ordering::Relaxed);
        }
        Ok(())
    }
}

async fn run(
    stream: LogStream,
    mut intake: Intake,
    sender: &mpsc::Sender<Result<Vec<Frame>>>,
    applied: &AtomicU64,
) -> Result<()> {
    let mut reporting = interval(REPORTING);
    reporting.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asking = interval(ASKING);
    asking.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut line = Line { stream, reporting, received: Lsn(0), sender, applied };
    if let Intake::Retelling(retelling) = &intake
        && !line.send(retelling.prelude()).await?
    {
        return Ok(());
    }
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
            let is_taken = match &mut intake {
                Intake::Plain => line.pass(Taken::Passed(frame), &mut batch).await?,
                Intake::InProgress(in_progress) => {
                    line.pass(in_progress.take(frame).await?, &mut batch).await?
                }
                Intake::Retelling(retelling) => {
                    let mut is_taken = true;
                    for taken in retelling.take(frame).await? {
                        is_taken = is_taken && line.pass(taken, &mut batch).await?;
                    }
                    is_taken
                }
            };
            if !is_taken {
                return Ok(());
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
    /// Adds what was taken to the batch, or hands it over behind it. False when nobody takes it any more.
    async fn pass(&mut self, taken: Taken, batch: &mut Vec<Frame>) -> Result<bool> {
        match taken {
            Taken::Passed(frame) => batch.push(frame),
            Taken::Kept => {}
            Taken::Whole(mut whole) => {
                // Small ones go together.
                while let Some(messages) = whole.next().await? {
                    batch.extend(messages);
                    let is_due = !whole.has_ended() || batch.len() >= BATCH_MESSAGES;
                    if is_due && !self.send(std::mem::take(batch)).await? {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

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
