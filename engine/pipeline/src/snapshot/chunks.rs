//! Which chunk comes next.
//!
//! A table is cut from its first key to its last: the end of a chunk is looked up when the chunk is
//! handed out, so that its size follows what the chunks before it turned out to weigh. Chunks that
//! an earlier run finished are known from the target; what lies between them is copied again.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as BlockingMutex, PoisonError};
use tokio::sync::Mutex;

use engine_core::error::Result;
use engine_core::schema::{TableName, TableSchema};
use engine_core::source::{ChunkRange, KeyBound, Source};
use engine_core::target::ChunkRecord;

use crate::route::Route;

const FEWEST_ROWS: u64 = 500;

/// How big chunks should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkSize {
    /// What one should weigh.
    pub(crate) bytes: u64,
    /// Rows that it has at the most.
    pub(crate) rows: u64,
}

impl Default for ChunkSize {
    fn default() -> Self {
        Self { bytes: 16 << 20, rows: 2_000_000 }
    }
}

impl ChunkSize {
    /// Rows of a chunk of a table in which `rows` weigh `bytes`.
    fn rows_of(self, rows: u64, bytes: u64) -> u64 {
        let wanted = u128::from(self.bytes) * u128::from(rows) / u128::from(bytes.max(1));
        u64::try_from(wanted).unwrap_or(u64::MAX).min(self.rows).max(FEWEST_ROWS)
    }
}

/// A chunk to copy.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    /// Number of the table in the task.
    pub(super) table: usize,
    /// Number within the table.
    pub(super) number: u64,
    /// Its keys.
    pub(super) range: ChunkRange,
}

/// Hands out chunks.
pub(super) struct ChunkQueue {
    source: Arc<dyn Source>,
    size: ChunkSize,
    tables: Vec<TableCursor>,
    /// Place in `tables` by number of the table in the task.
    places: HashMap<usize, usize>,
    /// Every table before this place has been cut to its end.
    begun: AtomicUsize,
    closed: AtomicBool,
    /// The target's name of merged tables between which rows moved while they were copied.
    moved: BlockingMutex<Option<TableName>>,
}

struct TableCursor {
    index: usize,
    schema: Arc<TableSchema>,
    chunkable: bool,
    state: Mutex<CursorState>,
    /// Rows that should make a chunk.
    rows_per_chunk: BlockingMutex<u64>,
    rows_done: u64,
}

struct CursorState {
    /// Holes that an interrupted run left.
    gaps: VecDeque<(u64, ChunkRange)>,
    /// Where the uncut rest begins; `None` once everything is cut.
    rest: Option<(u64, Option<KeyBound>)>,
    /// Chunks handed out and not finished.
    under_way: usize,
}

impl ChunkQueue {
    /// A queue over the tables that have rows to copy, less the chunks in `done`.
    pub(super) fn new(
        source: Arc<dyn Source>,
        routes: &[Arc<Route>],
        done: &[ChunkRecord],
        size: ChunkSize,
    ) -> Self {
        let done = by_table(done);
        let mut tables = Vec::new();
        for (index, route) in routes.iter().enumerate() {
            let composed = route.composed();
            if !composed.target.with_rows {
                continue;
            }
            let records = done.get(&composed.schema.name).map_or(&[][..], Vec::as_slice);
            let schema = Arc::new(composed.schema.clone());
            tables.push(TableCursor {
                index,
                // One exact read, so that no change is ever applied to a row that another task may have.
                chunkable: composed.target.row_key.is_some()
                    && !composed.target.is_shared()
                    && source.can_chunk(&schema),
                rows_per_chunk: BlockingMutex::new(first_guess(&schema, size)),
                rows_done: records.iter().map(|record| record.rows).sum(),
                state: Mutex::new(remaining(records)),
                schema,
            });
        }
        // The biggest first, so that the last to finish is not the longest.
        tables.sort_by_key(|table| std::cmp::Reverse(table.schema.byte_estimate.unwrap_or(0)));
        let places = tables.iter().enumerate().map(|(place, table)| (table.index, place)).collect();
        Self {
            source,
            size,
            tables,
            places,
            begun: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            moved: BlockingMutex::default(),
        }
    }

    /// Rows of finished chunks, by number of the table.
    pub(super) fn rows_done(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.tables.iter().map(|table| (table.index, table.rows_done))
    }

    /// Notes that a row of one merged table was found in the target as another's, which has it no more.
    pub(super) fn row_moved(&self, target: &TableName) {
        *self.moved.lock().unwrap_or_else(PoisonError::into_inner) = Some(target.clone());
    }

    /// The tables between which rows moved, by their name in the target.
    pub(super) fn moved(&self) -> Option<TableName> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Hands out no more chunks.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Whether [`ChunkQueue::close`] was called.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// The next chunk; `None` when there is none left to hand out.
    pub(super) async fn next(&self) -> Result<Option<Chunk>> {
        let begun = self.begun.load(Ordering::Relaxed);
        for (place, table) in self.tables.iter().enumerate().skip(begun) {
            if self.is_closed() {
                return Ok(None);
            }
            let mut state = table.state.lock().await;
            if let Some((number, range)) = state.gaps.pop_front() {
                state.under_way += 1;
                return Ok(Some(Chunk { table: table.index, number, range }));
            }
            let Some((number, after)) = state.rest.clone() else {
                // Whoever comes to the first table with something left has seen all before it empty.
                self.begun.fetch_max(place + 1, Ordering::Relaxed);
                continue;
            };
            let to = if table.chunkable {
                let rows = *table.rows_per_chunk.lock().unwrap_or_else(PoisonError::into_inner);
                self.source.chunk_end(&table.schema, after.as_ref(), rows).await?
            } else {
                None
            };
            state.rest = to.clone().map(|to| (number + 1, Some(to)));
            state.under_way += 1;
            return Ok(Some(Chunk { table: table.index, number, range: ChunkRange { after, to } }));
        }
        Ok(None)
    }

    /// Notes that a chunk is in the target; says whether its table now is as a whole.
    pub(super) async fn finish(&self, chunk: &Chunk) -> bool {
        let Some(cursor) = self.tables.iter().find(|cursor| cursor.index == chunk.table) else {
            return false;
        };
        let mut state = cursor.state.lock().await;
        state.under_way = state.under_way.saturating_sub(1);
        state.under_way == 0 && state.gaps.is_empty() && state.rest.is_none()
    }

    /// Learns from a finished chunk how many rows the next ones should have.
    pub(super) fn learn(&self, table: usize, rows: u64, bytes: u64) {
        let cursor = self.places.get(&table).and_then(|&place| self.tables.get(place));
        let Some(cursor) = cursor else { return };
        if rows == 0 || bytes == 0 {
            return;
        }
        let mut rows_per_chunk = cursor.rows_per_chunk.lock().unwrap_or_else(PoisonError::into_inner);
        // Growth is slow, so that one chunk of small rows does not make the next one huge.
        let most = (*rows_per_chunk).saturating_mul(3) / 2;
        *rows_per_chunk = self.size.rows_of(rows, bytes).min(most).max(FEWEST_ROWS);
    }
}

/// Whether the chunks in `done`, of one table and in order, are all of the table's.
pub(super) fn is_complete(done: &[&ChunkRecord]) -> bool {
    let left = remaining(done);
    left.gaps.is_empty() && left.rest.is_none()
}

/// Finished chunks by table, each table's by number.
pub(super) fn by_table(done: &[ChunkRecord]) -> HashMap<&TableName, Vec<&ChunkRecord>> {
    let mut tables: HashMap<&TableName, Vec<&ChunkRecord>> = HashMap::new();
    for record in done {
        tables.entry(&record.table).or_default().push(record);
    }
    tables.values_mut().for_each(|records| records.sort_by_key(|record| record.number));
    tables
}

fn first_guess(schema: &TableSchema, size: ChunkSize) -> u64 {
    match (schema.row_estimate, schema.byte_estimate) {
        (Some(rows), Some(bytes)) if rows > 0 && bytes > 0 => size.rows_of(rows, bytes),
        _ => size.rows.clamp(FEWEST_ROWS, 20_000),
    }
}

/// What the finished chunks leave to do. They are compared by equality alone: only the source
/// orders keys.
fn remaining(done: &[&ChunkRecord]) -> CursorState {
    let mut gaps = VecDeque::new();
    let mut number = 0;
    let mut end: Option<KeyBound> = None;
    let mut complete = false;
    for record in done {
        if record.range.after != end {
            gaps.push_back((number, ChunkRange { after: end.clone(), to: record.range.after.clone() }));
        }
        number = record.number + 1;
        end.clone_from(&record.range.to);
        complete = end.is_none();
    }
    CursorState { gaps, rest: if complete { None } else { Some((number, end)) }, under_way: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::position::{Position, Watermarks};

    fn record(number: u64, after: Option<u8>, to: Option<u8>) -> ChunkRecord {
        let bound = |key: Option<u8>| key.map(|key| KeyBound(vec![key]));
        let position = Position(String::new());
        ChunkRecord {
            table: TableName::new("a", "b"),
            number,
            range: ChunkRange { after: bound(after), to: bound(to) },
            rows: 1,
            watermarks: Watermarks { low: position.clone(), high: position },
        }
    }

    type Gap = (u64, Option<u8>, Option<u8>);

    fn left(records: &[ChunkRecord]) -> (Vec<Gap>, Option<(u64, Option<u8>)>) {
        let key = |bound: &Option<KeyBound>| bound.as_ref().and_then(|bound| bound.0.first().copied());
        let state = remaining(&records.iter().collect::<Vec<_>>());
        let gaps = state.gaps.iter().map(|(n, range)| (*n, key(&range.after), key(&range.to))).collect();
        (gaps, state.rest.map(|(number, after)| (number, key(&after))))
    }

    #[test]
    fn a_chunk_has_neither_too_many_rows_nor_too_few() {
        let size = ChunkSize::default();
        assert_eq!(size.rows_of(1_000_000, 160_000_000), 104_857);
        assert_eq!(size.rows_of(1_000_000, 1), 2_000_000);
        assert_eq!(size.rows_of(10, 1 << 40), FEWEST_ROWS);
        assert_eq!(ChunkSize { rows: 5000, ..size }.rows_of(1_000_000, 160_000_000), 5000);
    }

    #[test]
    fn nothing_done_leaves_everything() {
        assert_eq!(left(&[]), (vec![], Some((0, None))));
    }

    #[test]
    fn holes_are_filled_and_the_rest_is_cut_on() {
        let records = [record(1, Some(10), Some(20)), record(4, Some(40), Some(50))];
        assert_eq!(left(&records), (vec![(0, None, Some(10)), (2, Some(20), Some(40))], Some((5, Some(50)))));
    }

    #[test]
    fn the_last_chunk_ends_the_table() {
        assert_eq!(left(&[record(0, None, Some(9)), record(1, Some(9), None)]), (vec![], None));
        assert_eq!(left(&[record(0, None, None)]), (vec![], None));
        assert_eq!(left(&[record(1, Some(9), None)]), (vec![(0, None, Some(9))], None));
    }
}
