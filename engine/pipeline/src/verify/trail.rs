//! The stream by which a check follows the source.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use engine_core::batch::Batch;
use engine_core::change::{ChangeSet, Op, TableChanges};
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::examine::{CanonicalRows, Examiner, Stand, fields};
use engine_core::plan::RowErrorPolicy;
use engine_core::position::Position;
use engine_core::source::{Source, StreamRequest, StreamTable};
use engine_core::transaction::{TransactionId, TransactionSet};
use engine_plugin::Origin;

use crate::dead_letter::Values;
use crate::retry::{Backoff, may_pass};

use super::changes::{Changes, Noted};
use super::hash::{Hash, Hashing};
use super::subject::{Subject, Table};

const SET_BYTES: usize = 4 << 20;
const SET_ROWS: usize = 8192;
/// Pause between looks at what the source shows.
const VISIBILITY: Duration = Duration::from_millis(50);

/// The changes of the source from a position on, gathered by a task of its own until dropped.
pub(super) struct Trail {
    subject: Arc<Subject>,
    changes: Arc<Mutex<Changes>>,
    /// How far the stream is; `None` once it has failed.
    reached: watch::Receiver<Option<Position>>,
    failure: Arc<Mutex<Option<Error>>>,
    running: AbortHandle,
}

impl Drop for Trail {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Trail {
    /// Begins to follow from where the target stands, `from`. Whole rows are kept of the keys that `changes`
    /// watches.
    pub(super) async fn begin(
        subject: &Arc<Subject>,
        from: Position,
        changes: Changes,
        stop: &CancellationToken,
    ) -> Result<Self> {
        let source = &subject.spec.source;
        // The target can have what the source's own readers don't see yet: it was in the log before. From here
        // on they see all of it.
        loop {
            let low = source.low_watermark().await?;
            if source.covers(&low, &from)? {
                break;
            }
            tokio::select! {
                () = stop.cancelled() => return Err(Error::new(ErrorKind::Interrupted, "stopped")),
                () = tokio::time::sleep(VISIBILITY) => {}
            }
        }
        let (sender, reached) = watch::channel(Some(from.clone()));
        let (changes, failure) = (Arc::new(Mutex::new(changes)), Arc::new(Mutex::new(None)));
        let feed = Feed {
            subject: Arc::clone(subject),
            changes: Arc::clone(&changes),
            reached: sender,
            stop: stop.clone(),
        };
        // The first opening tells whether the log is there at all.
        let stream = source.open_stream_beside(feed.request(from.clone())).await?;
        let told = Arc::clone(&failure);
        let running = tokio::spawn(async move {
            let Err(error) = feed.run(stream, from).await else { return };
            *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            feed.reached.send_replace(None);
        });
        Ok(Self { subject: Arc::clone(subject), changes, reached, failure, running: running.abort_handle() })
    }

    /// Waits until everything is known that the target holds or that a read which ended at `high` can have
    /// seen.
    pub(super) async fn reach(&self, stand: &Stand, high: Option<&Position>) -> Result<()> {
        let source = self.subject.spec.source.as_ref();
        let mut reached = self.reached.clone();
        loop {
            let Some(position) = reached.borrow_and_update().clone() else { return Err(self.failed()) };
            let is_there = |wanted: Option<&Position>| {
                wanted.map_or(Ok(true), |wanted| source.covers(&position, wanted))
            };
            if is_there(high)?
                && is_there(stand.position.as_ref())?
                && source.beyond(&position, &stand.applied)?.is_empty()
            {
                return Ok(());
            }
            if reached.changed().await.is_err() {
                return Err(self.failed());
            }
        }
    }

    /// The changes so far.
    pub(super) fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self) -> Error {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_else(|| {
            // Whoever asked first was told why.
            Error::new(ErrorKind::Interrupted, "the check can't follow the source any more")
        })
    }
}

struct Feed {
    subject: Arc<Subject>,
    changes: Arc<Mutex<Changes>>,
    reached: watch::Sender<Option<Position>>,
    stop: CancellationToken,
}

/// What has come of a transaction that comes in pieces.
#[derive(Default)]
struct Pending {
    transactions: Vec<TransactionId>,
    changes: Vec<Noted>,
}

impl Feed {
    fn request(&self, from: Position) -> StreamRequest {
        let (mut tables, mut skipped) = (Vec::new(), self.subject.skipped.clone());
        for table in &self.subject.tables {
            let composed = table.route.composed();
            if table.is_compared() {
                tables.push(StreamTable {
                    schema: Arc::new(composed.schema.clone()),
                    columns: composed.reads.clone().into(),
                    since: None,
                });
            } else {
                skipped.push(composed.schema.name.clone());
            }
        }
        StreamRequest {
            from,
            applied: TransactionSet::default(),
            tables,
            selection: self.subject.spec.selection.clone(),
            skipped,
            set_bytes: SET_BYTES,
            set_rows: SET_ROWS,
        }
    }

    async fn run(&self, stream: Box<dyn engine_core::source::ChangeStream>, from: Position) -> Result<()> {
        let (mut stream, mut at, mut pending) = (Some(stream), from, Pending::default());
        let places: Vec<usize> = (0..self.subject.tables.len())
            .filter(|&place| self.subject.tables[place].is_compared())
            .collect();
        let mut backoff = Backoff::new();
        loop {
            let next = async {
                if stream.is_none() {
                    pending = Pending::default();
                    stream =
                        Some(self.subject.spec.source.open_stream_beside(self.request(at.clone())).await?);
                }
                match &mut stream {
                    Some(stream) => stream.next().await,
                    None => Err(Error::new(ErrorKind::Internal, "there is no stream")),
                }
            };
            let set = match next.await {
                Ok(set) => set,
                Err(error) if may_pass(&error) => {
                    stream = None;
                    backoff.wait(error, &self.stop).await?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            backoff = Backoff::new();
            if let Some(position) = self.take(set, &places, &mut pending).await? {
                at.clone_from(&position);
                self.reached.send_replace(Some(position));
            }
        }
    }

    /// Takes a set in; its end, where it ends a transaction.
    async fn take(
        &self,
        set: ChangeSet,
        places: &[usize],
        pending: &mut Pending,
    ) -> Result<Option<Position>> {
        if let Some(change) = set.schema_change {
            self.subject.altered.note(&self.subject.plan_digest, set.position);
            return Err(Error::new(
                ErrorKind::Precondition,
                "the structure of the source changed during the check",
            )
            .at("statement", change.statement)
            .because("the plan of the rows that were compared is not the plan of those that come")
            .help("have the engine carry it over (engine run), then check again"));
        }
        let offset = pending.transactions.len() as u32;
        pending.transactions.extend(set.changing);
        for changes in set.tables {
            let table = places.get(changes.table).copied();
            let place = table.ok_or_else(|| {
                Error::new(ErrorKind::Internal, "the stream names a table that was not asked for")
            })?;
            self.note(place, changes, offset, &mut pending.changes).await?;
        }
        let Some(position) = set.position else { return Ok(None) };
        let Pending { transactions, changes } = std::mem::take(pending);
        let mut known = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        known.note(position.clone(), transactions, changes)?;
        Ok(Some(position))
    }

    async fn note(
        &self,
        place: usize,
        changes: TableChanges,
        offset: u32,
        noted: &mut Vec<Noted>,
    ) -> Result<()> {
        let table = self.subject.table(place)?;
        let after = Images::of(table, &self.subject.hashing, changes.after).await?;
        let before = Images::of(table, &self.subject.hashing, changes.before).await?;
        let (mut new, mut old) = (after.rows.iter(), before.rows.iter());
        for (op, transaction) in changes.ops.iter().zip(&changes.transactions) {
            let old = if *op == Op::Insert { None } else { old.next().and_then(Option::as_ref) };
            let new = if *op == Op::Delete { None } else { new.next().and_then(Option::as_ref) };
            let mut note = |old: Option<&Image>, new: Option<&Image>| {
                let key = new.or(old).filter(|_| table.key.is_some());
                let key = key.map(|image| (image.key, image.fields.clone()));
                let image = new.or(old);
                let is_watched = key.as_ref().is_some_and(|(key, _)| {
                    self.changes.lock().unwrap_or_else(PoisonError::into_inner).is_watched(place, *key)
                });
                let order = |image: &Image, batch: &Batch| table.cut.as_ref()?.0.key(batch, image.row);
                noted.push(Noted {
                    table: place,
                    key,
                    order: new
                        .and_then(|image| order(image, &after.batch))
                        .or_else(|| old.and_then(|image| order(image, &before.batch))),
                    letter: image.and_then(|image| image.letter.clone()),
                    transaction: offset + transaction,
                    before: old.map(|image| image.hash),
                    after: new.map(|image| image.hash),
                    images: is_watched.then(|| {
                        Box::new((
                            old.map(|image| before.batch.take(&[image.row])),
                            new.map(|image| after.batch.take(&[image.row])),
                        ))
                    }),
                });
            };
            match (old, new) {
                (None, None) => {}
                (Some(one), Some(other)) if table.key.is_some() && one.key != other.key => {
                    note(old, None);
                    note(None, new);
                }
                _ => note(old, new),
            }
        }
        Ok(())
    }
}

/// Rows of one state, after the route.
struct Images {
    batch: Batch,
    /// One per row of the stream; `None` where a filter left the row out or it is refused.
    rows: Vec<Option<Image>>,
}

struct Image {
    row: usize,
    key: Hash,
    /// The key's fields, canonical, end to end.
    fields: Box<[u8]>,
    hash: Hash,
    letter: Option<Values>,
}

impl Images {
    async fn of(table: &Table, hashing: &Hashing, input: Batch) -> Result<Self> {
        let count = input.rows;
        let sets_aside = table.target.on_row_error == RowErrorPolicy::DeadLetter;
        let raw = sets_aside.then(|| input.clone());
        let mut rows: Vec<Option<Image>> = (0..count).map(|_| None).collect();
        if count == 0 {
            return Ok(Self { batch: input, rows });
        }
        let routed = table.route.run(input, Origin::ChangeStream).await?;
        let mut canonical = CanonicalRows::default();
        table.form.canonical(&routed.batch, &mut canonical)?;
        for (row, (bytes, place)) in canonical.iter().zip(routed.places()).enumerate() {
            let hash = hashing.bytes(bytes);
            let key = table.key.as_ref().map_or(hash, |key| hashing.fields(bytes, key));
            let letter = raw.as_ref().and_then(|raw| table.route.key_of(raw, place));
            if let Some(slot) = rows.get_mut(place) {
                *slot = Some(Image { row, key, fields: key_fields(table, bytes), hash, letter });
            }
        }
        Ok(Self { batch: routed.batch, rows })
    }
}

fn key_fields(table: &Table, row: &[u8]) -> Box<[u8]> {
    let places = table.key.iter().flatten();
    let fields = places.filter_map(|&place| fields(row).nth(place)).flat_map(|(_, whole)| whole);
    fields.copied().collect()
}

/// A trail from where the target stands; `None` for a target that follows nothing.
///
/// A running engine has the source drop what the target has for good, which can be what was asked for here before the
/// stream was open. By then the target stands elsewhere.
pub(super) async fn from_stand(
    subject: &Arc<Subject>,
    examiner: &mut dyn Examiner,
    copied: Option<&Position>,
    changes: impl Fn() -> Changes,
    stop: &CancellationToken,
) -> Result<Option<Trail>> {
    let mut before = None;
    loop {
        let stand = examiner.begin(&subject.spec.name).await?;
        examiner.end().await?;
        let Some(from) = start(subject.spec.source.as_ref(), &stand, copied)? else { return Ok(None) };
        match Trail::begin(subject, from.clone(), changes(), stop).await {
            Err(error) if error.kind() == ErrorKind::Divergence && before.as_ref() != Some(&from) => {
                before = Some(from);
            }
            begun => return begun.map(Some),
        }
    }
}

/// Where the source is followed from at the least; see [`Trail::begin`].
pub(super) fn start(
    source: &dyn Source,
    stand: &Stand,
    copied: Option<&Position>,
) -> Result<Option<Position>> {
    let Some(position) = &stand.position else { return Ok(None) };
    if let Some(copied) = copied
        && !source.covers(position, copied)?
    {
        return Err(Error::new(
            ErrorKind::Precondition,
            "the target has not caught up with its own copy yet",
        )
        .at("position", position)
        .because("chunks were read at different moments, so until then it is at no position of the source")
        .help("let the engine catch up (engine run, engine status), then check again"));
    }
    Ok(Some(position.clone()))
}
