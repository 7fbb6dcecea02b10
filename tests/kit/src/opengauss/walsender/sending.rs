//! The stream: what comes from the server behind goes out as openGauss would send it.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::Inner;
use super::super::message::{copy_data, error, message, read, reported};
use super::super::stream::{self, Bound, Event, Record, Style};
use super::options::Options;
use super::translate::Translator;
use super::{Refusal, refuse};

/// Size at which a batch goes out.
const BATCH: usize = 1 << 20;
/// Age at which it does, and how often a parallel stream says that it lives.
const SECOND: Duration = Duration::from_secs(1);
/// How often it is looked whether something is due.
const TICK: Duration = Duration::from_millis(50);
/// How often the server behind is told that its client lives.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// Bytes of a status of openGauss, its type among them.
const STATUS: usize = 65;
/// 2000-01-01 in seconds since 1970.
const EPOCH: u64 = 946_684_800;

/// Begins the stream, and sends until either side ends it.
pub(super) async fn run(
    mut client: TcpStream,
    mut behind: TcpStream,
    database: &str,
    is_gsql: bool,
    inner: &Inner,
    options: Result<Options, Refusal>,
    command: &str,
) -> io::Result<()> {
    let begun = message(b'W', &[0, 0, 0]);
    let options = match options {
        Ok(options) => options,
        Err(refusal) => {
            client.write_all(&begun).await?;
            return refuse(&mut client, refusal).await;
        }
    };
    behind.write_all(&message(b'Q', [command.as_bytes(), b"\0"].concat().as_slice())).await?;
    loop {
        match read(&mut behind).await? {
            (b'W', _) => break,
            (b'E', body) => {
                return client.write_all(&[reported(b'E', &body, true), message(b'Z', b"I")].concat()).await;
            }
            _ => {}
        }
    }
    client.write_all(&begun).await?;
    let other = |error: tokio_postgres::Error| io::Error::other(error);
    let (sql, connection) =
        inner.backend.config(database).connect(tokio_postgres::NoTls).await.map_err(other)?;
    tokio::spawn(connection);
    let timeout = options.sender_timeout.unwrap_or(inner.settings.sender_timeout);
    let ((from_client, client), (from_behind, behind)) = (client.into_split(), behind.into_split());
    let now = Instant::now();
    let mut sending = Sending {
        inner,
        translator: Translator::new(sql, inner.settings.dolphin, is_gsql && options.style == Style::Serial),
        options,
        timeout,
        client,
        behind,
        confirmed: 0,
        reader: 0,
        transaction: Vec::new(),
        is_lost: false,
        batch: Vec::new(),
        batch_bytes: 0,
        batch_since: now,
        heard: now,
        asked: false,
        alive: now,
        told: now,
        is_dry: true,
    };
    sending.begin().await?;
    sending.run(frames(from_client), frames(from_behind)).await
}

/// A message: its type and what follows the length.
type Frame = (u8, Vec<u8>);

/// Reads messages until there are none.
fn frames(half: OwnedReadHalf) -> mpsc::Receiver<Frame> {
    let (sender, frames) = mpsc::channel(256);
    let mut half = tokio::io::BufReader::new(half);
    tokio::spawn(async move {
        while let Ok(frame) = read(&mut half).await {
            if sender.send(frame).await.is_err() {
                return;
            }
        }
    });
    frames
}

struct Sending<'a> {
    inner: &'a Inner,
    translator: Translator,
    options: Options,
    /// Zero is none.
    timeout: Duration,
    client: OwnedWriteHalf,
    behind: OwnedWriteHalf,
    /// What the client has confirmed.
    confirmed: u64,
    /// How far the server behind has read.
    reader: u64,
    /// Of a parallel stream the transaction that is read; of a serial one a beginning that may prove empty.
    transaction: Vec<Record>,
    /// The rest of the transaction is lost.
    is_lost: bool,
    batch: Vec<Record>,
    batch_bytes: usize,
    batch_since: Instant,
    /// When the client was last heard of.
    heard: Instant,
    /// It was asked for an answer since.
    asked: bool,
    /// When the client was last told that the server lives.
    alive: Instant,
    /// When the server behind was last told that the client does.
    told: Instant,
    /// Nothing was sent since.
    is_dry: bool,
}

impl Sending<'_> {
    fn is_serial(&self) -> bool {
        self.options.style == Style::Serial
    }

    async fn run(
        &mut self,
        mut from_client: mpsc::Receiver<Frame>,
        mut from_behind: mpsc::Receiver<Frame>,
    ) -> io::Result<()> {
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                frame = from_client.recv() => match frame {
                    Some((b'd', body)) => if !self.hear(&body).await? { return Ok(()) },
                    // CopyDone and Terminate end the connection at once, as does its end.
                    _ => return Ok(()),
                },
                frame = from_behind.recv() => match frame {
                    Some((b'd', body)) => self.take(&body).await?,
                    Some((b'E', body)) => return self.client.write_all(&reported(b'E', &body, true)).await,
                    Some((b'N' | b'S', _)) => {}
                    _ => return Ok(()),
                },
                _ = tick.tick() => {}
            }
            // Also while there is always something to send.
            if !self.see_to_time().await? {
                return Ok(());
            }
        }
    }

    /// The first thing to say: twice that it lives, in a parallel stream first from nowhere.
    async fn begin(&mut self) -> io::Result<()> {
        if !self.is_serial() {
            self.keepalive(0, false).await?;
            return self.keepalive(self.reader, false).await;
        }
        self.keepalive(self.reader, false).await?;
        self.keepalive(self.reader, false).await
    }

    /// Takes a message of the client; `false` ends the connection.
    async fn hear(&mut self, body: &[u8]) -> io::Result<bool> {
        self.heard = Instant::now();
        self.asked = false;
        match body.first() {
            Some(b'h') => return Ok(true),
            Some(b'r') => {}
            _ => return Ok(false),
        }
        if body.len() != STATUS {
            let answer = error("FATAL", "08P01", "insufficient data left in message");
            self.client.write_all(&answer).await?;
            return Ok(false);
        }
        let flushed = body.get(17..25).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
        if flushed > self.confirmed {
            self.confirmed = flushed;
            self.tell().await?;
        }
        if body.get(57) == Some(&1) {
            self.keepalive(self.reader, false).await?;
            self.keepalive(self.reader, false).await?;
        }
        Ok(true)
    }

    /// Takes a message of the server behind.
    async fn take(&mut self, body: &[u8]) -> io::Result<()> {
        let number = |at: usize| {
            let bytes = body.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u64::from_be_bytes).ok_or(io::ErrorKind::InvalidData)
        };
        if body.first() == Some(&b'k') {
            self.reader = self.reader.max(number(1)?);
            if body.get(17) == Some(&1) {
                self.tell().await?;
            }
            return if self.is_serial() { self.keepalive(self.reader, false).await } else { Ok(()) };
        }
        let (lsn, payload) = (number(1)?, body.get(25..).ok_or(io::ErrorKind::InvalidData)?);
        self.reader = self.reader.max(number(9)?);
        if self.options.is_pgoutput {
            return self.pgoutput(lsn, payload).await;
        }
        let line = String::from_utf8_lossy(payload).into_owned();
        let mut event = self.translator.event(&line, lsn).await.map_err(io::Error::other)?;
        if let Event::Commit(Bound { xid: Some(xid), csn, .. }) = &mut event {
            self.translator.until_visible(*xid).await.map_err(io::Error::other)?;
            *csn = self.inner.snapshots.number_of(*xid).await;
        }
        let record = Record { lsn, event };
        if self.is_serial() { self.serial(record).await } else { self.parallel(record).await }
    }

    /// Passes a message of `pgoutput` on as openGauss has it.
    async fn pgoutput(&mut self, lsn: u64, payload: &[u8]) -> io::Result<()> {
        let passed = match payload.first() {
            Some(b'B') => {
                self.is_lost = false;
                let (before, xid) = payload.split_last_chunk::<4>().ok_or(io::ErrorKind::InvalidData)?;
                let xid = u64::from(u32::from_be_bytes(*xid));
                let mut begin = [before, &xid.to_be_bytes()].concat();
                if self.options.is_numbered {
                    self.translator.until_visible(xid).await.map_err(io::Error::other)?;
                    let number = self.inner.snapshots.number_of(xid).await;
                    begin.extend_from_slice(&number.to_be_bytes());
                }
                begin
            }
            // Nothing is sent of what came from elsewhere but that there was something.
            Some(b'O') => {
                self.is_lost = true;
                return Ok(());
            }
            Some(b'I' | b'U' | b'D' | b'T') if self.is_lost => return Ok(()),
            Some(b'R') => without_modifiers(payload),
            _ => payload.to_vec(),
        };
        self.send(lsn, &passed).await
    }

    async fn serial(&mut self, mut record: Record) -> io::Result<()> {
        match &mut record.event {
            Event::Begin(bound) => {
                self.bound(bound);
                if self.options.skip_empty {
                    self.transaction = vec![record];
                    return Ok(());
                }
            }
            Event::Commit(bound) => {
                self.bound(bound);
                if !std::mem::take(&mut self.transaction).is_empty() {
                    return Ok(());
                }
            }
            Event::Change(change) if !self.options.wants(&change.schema, &change.table) => return Ok(()),
            Event::Truncate(tables, ..) => {
                tables.retain(|(schema, table)| self.options.wants(schema, table));
                if tables.is_empty() {
                    return Ok(());
                }
            }
            Event::Change(_) => {}
            Event::Catalog => return Ok(()),
        }
        for record in std::mem::take(&mut self.transaction).into_iter().chain([record]) {
            self.send(record.lsn, &stream::single(Style::Serial, &record)).await?;
        }
        Ok(())
    }

    async fn parallel(&mut self, record: Record) -> io::Result<()> {
        match &record.event {
            Event::Begin(_) => {
                self.transaction = vec![record];
                self.is_lost = false;
            }
            // It changes the catalog: neither it nor any row after it is seen.
            Event::Truncate(..) | Event::Catalog => self.is_lost = true,
            Event::Change(change) => {
                if !self.is_lost && self.options.wants(&change.schema, &change.table) {
                    self.transaction.push(record);
                }
            }
            Event::Commit(_) => {
                let mut transaction = std::mem::take(&mut self.transaction);
                if transaction.len() == 1 && self.options.skip_empty {
                    return Ok(());
                }
                transaction.push(record);
                return self.whole(transaction).await;
            }
        }
        Ok(())
    }

    /// Sends a transaction that was read to its end.
    async fn whole(&mut self, mut transaction: Vec<Record>) -> io::Result<()> {
        let told = match transaction.last_mut().map(|record| &mut record.event) {
            Some(Event::Commit(bound)) => {
                self.bound(bound);
                bound.clone()
            }
            _ => Bound::default(),
        };
        if let Some(Event::Begin(bound)) = transaction.first_mut().map(|record| &mut record.event) {
            *bound = told;
        }
        // Before the commit's end, and behind everything that is in the transaction.
        let changed = transaction.iter().rev().nth(1).map_or(0, |record| record.lsn);
        for record in transaction {
            if self.options.batched {
                self.batch_bytes += stream::single(self.options.style, &record).len();
                self.batch.push(record);
                if self.batch_bytes > BATCH {
                    let lsn = self.batch.last().map_or(0, |record| record.lsn);
                    self.send_batch(lsn, false).await?;
                }
            } else {
                let lsn = if matches!(record.event, Event::Change(_)) { record.lsn } else { changed };
                self.send(lsn, &stream::single(self.options.style, &record)).await?;
            }
        }
        Ok(())
    }

    /// What a beginning or an end says, by the options.
    fn bound(&self, bound: &mut Bound) {
        bound.xid = bound.xid.filter(|_| self.options.include_xids);
        bound.time = bound.time.take().filter(|_| self.options.include_timestamp);
    }

    async fn send_batch(&mut self, lsn: u64, timed: bool) -> io::Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        self.batch_since = Instant::now();
        self.send(lsn, &stream::batch(self.options.style, &batch, timed)).await
    }

    async fn send(&mut self, lsn: u64, payload: &[u8]) -> io::Result<()> {
        self.is_dry = false;
        let (lsn, time) = (lsn.to_be_bytes(), now().to_be_bytes());
        self.client.write_all(&copy_data(&[b"w", &lsn, &lsn, &time, payload])).await
    }

    /// As it lies in the server's memory: little-endian, and with what happens to be between the fields.
    async fn keepalive(&mut self, lsn: u64, reply: bool) -> io::Result<()> {
        self.is_dry = true;
        self.alive = Instant::now();
        let (lsn, time, one) = (lsn.to_le_bytes(), now().to_le_bytes(), 1_u32.to_le_bytes());
        let flags = [u8::from(reply), 0, 0xa5, 0, 0xde, 0xad, 0xbe, 0xef];
        self.client.write_all(&copy_data(&[b"k", &lsn, &one, &one, &time, &flags])).await
    }

    /// Tells the server behind what is confirmed.
    async fn tell(&mut self) -> io::Result<()> {
        self.told = Instant::now();
        let lsn = self.confirmed.to_be_bytes();
        self.behind.write_all(&copy_data(&[b"r", &lsn, &lsn, &lsn, &now().to_be_bytes(), &[0]])).await
    }

    /// Does what is due; `false` when the client was silent for too long.
    async fn see_to_time(&mut self) -> io::Result<bool> {
        let silent = self.heard.elapsed();
        if !self.timeout.is_zero() {
            if silent >= self.timeout {
                return Ok(false);
            }
            if silent >= self.timeout / 2 && !self.asked {
                self.asked = true;
                self.keepalive(self.reader, true).await?;
            }
        }
        if self.told.elapsed() >= SIGN_OF_LIFE {
            self.tell().await?;
        }
        if self.batch.is_empty() {
            self.batch_since = Instant::now();
        } else if self.batch_since.elapsed() >= SECOND {
            let lsn = self.batch.first().map_or(0, |record| record.lsn);
            self.send_batch(lsn, true).await?;
        }
        let due = if self.is_serial() { !self.is_dry } else { self.alive.elapsed() >= SECOND };
        if due && (!self.is_serial() || self.alive.elapsed() >= TICK) {
            self.keepalive(self.reader, false).await?;
        }
        Ok(true)
    }
}

/// A description of a relation whose types have no modifiers.
fn without_modifiers(payload: &[u8]) -> Vec<u8> {
    let mut described = payload.to_vec();
    let text_end = |bytes: &[u8], from: usize| {
        let length = bytes.iter().skip(from).position(|byte| *byte == 0);
        length.map_or(bytes.len(), |length| from + length + 1)
    };
    // Its type and number, two names, the kind of its identity, the number of columns.
    let names = text_end(payload, text_end(payload, 5));
    let mut at = names + 1 + 2;
    while at < payload.len() {
        // Of each column flags, a name, the type's number, the modifier.
        at = text_end(payload, at + 1) + 4;
        if let Some(modifier) = described.get_mut(at..at + 4) {
            modifier.fill(0xff);
        }
        at += 4;
    }
    described
}

/// Microseconds since 2000.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.saturating_sub(Duration::from_secs(EPOCH)).as_micros() as i64
}
