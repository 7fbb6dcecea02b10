//! One look at a part of a table, in both databases at one position.
//!
//! The target's snapshot comes first, and with it where it stands. Then the source is read, with what
//! the read is known to contain. The check's own stream tells of every change that may be in one of
//! them and not in the other, and what the target must have of those rows where it stands; all others
//! must be equal as they were read.

use async_trait::async_trait;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

use engine_core::batch::Batch;
use engine_core::digest::DigestRequest;
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::examine::{CanonicalRows, Examiner, KeyRange, RowSink, Stand};
use engine_core::position::{Position, Watermarks};
use engine_core::source::{BatchSink, ReadRequest, Reader};
use engine_plugin::Origin;

use crate::dead_letter::Values;

use super::hash::Hashing;
use super::parts::Part;
use super::push_down::SummedBy;
use super::report::Progress;
use super::sets::Held;
use super::side::{Scope, Side};
use super::subject::{Subject, Table};
use super::trail::Trail;
use super::weigh::Between;

const BATCH_BYTES: usize = 512 << 10;
const BATCH_ROWS: usize = 4096;

/// A row of the source, as a whole.
#[derive(Debug)]
pub(super) struct SourceRow {
    /// In canonical form.
    pub(super) canonical: Vec<u8>,
    /// As the target would get it, one row.
    pub(super) written: Batch,
    /// Its key on the source.
    pub(super) key: Option<Values>,
}

/// What a look saw.
pub(super) struct Seen {
    pub(super) source: Side<SourceRow>,
    pub(super) target: Side<Vec<u8>>,
    pub(super) between: Between,
    pub(super) stand: Stand,
    /// What the source's rows are known to contain; `None` for a task that does not follow.
    pub(super) low: Option<Position>,
}

/// What both sides' sums say.
pub(super) struct Summed {
    /// The number of rows of the part, all of them equal; `None` when they have to be read.
    pub(super) equal: Option<u64>,
    pub(super) stand: Stand,
    /// What the source's sum is known to contain; `None` for a task that does not follow.
    pub(super) low: Option<Position>,
}

/// A connection to each side.
pub(super) struct Connections {
    pub(super) reader: Box<dyn Reader>,
    pub(super) examiner: Box<dyn Examiner>,
}

impl Connections {
    pub(super) async fn open(subject: &Subject) -> Result<Self> {
        let (source, target) = (&subject.spec.source, &subject.spec.target);
        let (reader, examiner) = tokio::try_join!(source.open_reader(), target.open_examiner())?;
        Ok(Self { reader, examiner })
    }

    /// Takes a snapshot of the target.
    async fn begin(&mut self, subject: &Subject) -> Result<Stand> {
        let stand = self.examiner.begin(&subject.spec.name).await?;
        if stand.plan_digest == subject.plan_digest {
            return Ok(stand);
        }
        subject.altered.note(&subject.plan_digest, None);
        Err(Error::new(ErrorKind::Precondition, "the plan of the task changed during the check")
            .at("task", &subject.spec.name)
            .help("check again"))
    }

    /// Has both sides sum up a part. What no change lies around, in neither of them, is the same on both
    /// sides exactly if the sums are; about anything else this says nothing.
    pub(super) async fn sum_up(
        &mut self,
        subject: &Subject,
        part: &Part,
        by: &SummedBy,
        trail: Option<&Trail>,
        stop: &CancellationToken,
    ) -> Result<Summed> {
        let table = subject.table(part.table)?;
        let stand = self.begin(subject).await?;
        let request = DigestRequest {
            table: Arc::new(table.route.composed().schema.clone()),
            columns: by.columns.clone(),
            range: part.range.clone(),
            exact: trail.is_some() && table.key.is_none(),
            weights: Arc::clone(&by.weights),
        };
        let everything = KeyRange::All;
        let range = part.interval.as_ref().map_or(&everything, |interval| &interval.range);
        let ((source, watermarks), target) = tokio::try_join!(
            self.reader.digest(&request),
            self.examiner.digest(&table.target, range, &by.weights)
        )?;
        self.examiner.end().await?;
        let mut summed = Summed { equal: source.is_same(&target).then_some(source.rows), stand, low: None };
        if let (Some(trail), Some(position)) = (trail, &summed.stand.position) {
            reach(trail, &summed.stand, &watermarks, stop).await?;
            let source = subject.spec.source.as_ref();
            let changes = trail.changes();
            let held: Held = changes.held(source, position, &summed.stand.applied)?;
            let between =
                changes.between(source, part.table, part.interval.as_ref(), &held, &watermarks.low)?;
            if !between.is_empty() {
                summed.equal = None;
            }
            summed.low = Some(watermarks.low);
        }
        Ok(summed)
    }

    /// Looks at a part. `trail` is there for a task that follows its source.
    pub(super) async fn look(
        &mut self,
        subject: &Subject,
        part: &Part,
        scope: Scope,
        trail: Option<&Trail>,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> Result<Seen> {
        let table = subject.table(part.table)?;
        let stand = self.begin(subject).await?;
        let scope = Arc::new(scope);
        let (mut source, mut target) = (Side::new(Arc::clone(&scope)), Side::new(scope));
        let composed = table.route.composed();
        let request = ReadRequest {
            table: Arc::new(composed.schema.clone()),
            columns: composed.reads.clone().into(),
            range: part.range.clone(),
            batch_bytes: BATCH_BYTES,
            batch_rows: BATCH_ROWS,
            exact: trail.is_some() && table.key.is_none(),
        };
        let everything = KeyRange::All;
        let range = part.interval.as_ref().map_or(&everything, |interval| &interval.range);
        let mut rows = FromSource { table, hashing: subject.hashing, side: &mut source, progress, stop };
        let mut copies = FromTarget { table, hashing: subject.hashing, side: &mut target, stop };
        if !table.target.is_shared() {
            let (watermarks, ()) = tokio::try_join!(
                self.reader.read(&request, &mut rows),
                self.examiner.read(&table.target, range, &mut copies)
            )?;
            self.examiner.end().await?;
            let (between, low) = around(subject, part, &stand, watermarks, trail, stop).await?;
            return Ok(Seen { source, target, between, stand, low });
        }
        // Which of the target's rows are this task's, source and changes must say first.
        let watermarks = self.reader.read(&request, &mut rows).await?;
        let (mut between, low) = around(subject, part, &stand, watermarks, trail, stop).await?;
        between.has_others = true;
        let keys = rows.side.pairs.iter().map(|&(key, _)| key);
        copies.side.want(keys.chain(between.expected.keys().copied()).collect());
        self.examiner.read(&table.target, range, &mut copies).await?;
        self.examiner.end().await?;
        Ok(Seen { source, target, between, stand, low })
    }
}

/// What the changes mean for a look at a part, and what the source's rows are known to contain.
async fn around(
    subject: &Subject,
    part: &Part,
    stand: &Stand,
    watermarks: Watermarks,
    trail: Option<&Trail>,
    stop: &CancellationToken,
) -> Result<(Between, Option<Position>)> {
    let (Some(trail), Some(position)) = (trail, &stand.position) else {
        return Ok((Between::default(), None));
    };
    reach(trail, stand, &watermarks, stop).await?;
    let source = subject.spec.source.as_ref();
    let changes = trail.changes();
    let held: Held = changes.held(source, position, &stand.applied)?;
    let between = changes.between(source, part.table, part.interval.as_ref(), &held, &watermarks.low)?;
    Ok((between, Some(watermarks.low)))
}

/// Waits until the stream knows everything that either side can have.
async fn reach(
    trail: &Trail,
    stand: &Stand,
    watermarks: &Watermarks,
    stop: &CancellationToken,
) -> Result<()> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(interrupted()),
        reached = trail.reach(stand, Some(&watermarks.high)) => reached,
    }
}

pub(super) fn interrupted() -> Error {
    Error::new(ErrorKind::Interrupted, "stopped during the check")
}

struct FromSource<'a> {
    table: &'a Table,
    hashing: Hashing,
    side: &'a mut Side<SourceRow>,
    progress: &'a Progress,
    stop: &'a CancellationToken,
}

#[async_trait]
impl BatchSink for FromSource<'_> {
    async fn push(&mut self, batch: Batch) -> Result<()> {
        if self.stop.is_cancelled() {
            return Err(interrupted());
        }
        let count = batch.rows as u64;
        let raw = self.side.wants_whole().then(|| batch.clone());
        let routed = self.table.route.run(batch, Origin::Snapshot).await?;
        let mut canonical = CanonicalRows::default();
        self.table.form.canonical(&routed.batch, &mut canonical)?;
        let places = raw.as_ref().map(|_| routed.places());
        for (row, bytes) in canonical.iter().enumerate() {
            let hash = self.hashing.bytes(bytes);
            let key = self.table.key.as_ref().map_or(hash, |key| self.hashing.fields(bytes, key));
            self.side.add(key, hash, || {
                let (raw, place) = (raw.as_ref()?, *places.as_ref()?.get(row)?);
                let key = self.table.route.key_of(raw, place);
                let written = routed.batch.take(&[row]);
                Some((2 * bytes.len(), SourceRow { canonical: bytes.to_vec(), written, key }))
            });
        }
        self.progress.update(|state| state.rows += count);
        // The other side's turn.
        tokio::task::yield_now().await;
        Ok(())
    }
}

struct FromTarget<'a> {
    table: &'a Table,
    hashing: Hashing,
    side: &'a mut Side<Vec<u8>>,
    stop: &'a CancellationToken,
}

#[async_trait]
impl RowSink for FromTarget<'_> {
    async fn push(&mut self, rows: &CanonicalRows) -> Result<()> {
        if self.stop.is_cancelled() {
            return Err(interrupted());
        }
        for bytes in rows.iter() {
            let hash = self.hashing.bytes(bytes);
            let key = self.table.key.as_ref().map_or(hash, |key| self.hashing.fields(bytes, key));
            self.side.add(key, hash, || Some((bytes.len(), bytes.to_vec())));
        }
        tokio::task::yield_now().await;
        Ok(())
    }
}
