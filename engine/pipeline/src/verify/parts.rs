//! Which part of which table comes next.

use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::Mutex;

use engine_core::error::Result;
use engine_core::schema::TableSchema;
use engine_core::source::{ChunkRange, KeyBound};

use super::order::Interval;
use super::subject::Subject;

/// What a part should weigh on the source.
const PART_BYTES: u64 = 24 << 20;
const FEWEST_ROWS: u64 = 1_000;
const MOST_ROWS: u64 = 150_000;

/// A part of a table.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Number of the table in the task.
    pub(super) table: usize,
    /// Number within the table.
    pub(super) number: u64,
    /// The part of the source.
    pub(super) range: ChunkRange,
    /// The same part of the target; `None` for the whole table.
    pub(super) interval: Option<Interval>,
}

/// Hands out parts.
pub(super) struct Parts {
    subject: Arc<Subject>,
    /// The biggest first, so that the last to finish is not the longest.
    tables: Vec<(usize, Mutex<Cursor>)>,
}

struct Cursor {
    /// Holes that an interrupted check left.
    gaps: VecDeque<(u64, ChunkRange)>,
    /// Where the uncut rest begins; `None` once everything is cut.
    rest: Option<(u64, Option<KeyBound>)>,
}

impl Parts {
    /// The parts of all tables, less those in `done`, by table.
    pub(super) fn new(subject: &Arc<Subject>, done: &[Vec<(u64, ChunkRange)>]) -> Self {
        let mut tables: Vec<_> = subject
            .tables
            .iter()
            .filter(|table| table.is_compared())
            .map(|table| {
                let done = done.get(table.place).map_or(&[][..], Vec::as_slice);
                (table.place, Mutex::new(remaining(done)))
            })
            .collect();
        let bytes = |place: usize| {
            subject
                .tables
                .get(place)
                .and_then(|table| table.route.composed().schema.byte_estimate)
                .unwrap_or(0)
        };
        tables.sort_by_key(|&(place, _)| std::cmp::Reverse(bytes(place)));
        Self { subject: Arc::clone(subject), tables }
    }

    /// The next part; `None` when there is none left to hand out.
    pub(super) async fn next(&self) -> Result<Option<Part>> {
        for (place, cursor) in &self.tables {
            let mut cursor = cursor.lock().await;
            if let Some((number, range)) = cursor.gaps.pop_front() {
                return self.part(*place, number, range).map(Some);
            }
            let Some((number, after)) = cursor.rest.clone() else { continue };
            let to = self.end(*place, after.as_ref()).await?;
            cursor.rest = to.clone().map(|to| (number + 1, Some(to)));
            return self.part(*place, number, ChunkRange { after, to }).map(Some);
        }
        Ok(None)
    }

    /// The first parts of a table, at most so many.
    pub(super) async fn lead(&self, place: usize, count: u64) -> Result<Vec<Part>> {
        let (mut parts, mut after) = (Vec::new(), None);
        for number in 0..count {
            let to = self.end(place, after.as_ref()).await?;
            parts.push(self.part(place, number, ChunkRange { after, to: to.clone() })?);
            if to.is_none() {
                break;
            }
            after = to;
        }
        Ok(parts)
    }

    /// The end of a part after `after`: a bound that the target has a value for.
    async fn end(&self, place: usize, after: Option<&KeyBound>) -> Result<Option<KeyBound>> {
        let table = self.subject.table(place)?;
        let Some((cut, first)) = &table.cut else { return Ok(None) };
        let (source, composed) = (self.subject.spec.source.as_ref(), table.route.composed());
        let rows = rows_per_part(&composed.schema, self.subject.part_rows);
        let mut next = match after {
            None => Some(first.clone()),
            Some(after) => source.chunk_end(&composed.schema, Some(after), rows).await?,
        };
        while let Some(bound) = &next
            && cut.bound(source, composed, bound)?.is_none()
        {
            next = source.chunk_end(&composed.schema, Some(bound), rows).await?;
        }
        Ok(next)
    }

    fn part(&self, place: usize, number: u64, range: ChunkRange) -> Result<Part> {
        let table = self.subject.table(place)?;
        let (source, composed) = (self.subject.spec.source.as_ref(), table.route.composed());
        let interval = match &table.cut {
            Some((cut, _)) => cut.range(source, composed, &range)?,
            None => None,
        };
        Ok(Part { table: place, number, range, interval })
    }
}

/// Rows of a part: as many as were asked for, else by their weight, as far as the source's statistics tell.
pub(super) fn rows_per_part(schema: &TableSchema, asked: Option<u64>) -> u64 {
    if let Some(rows) = asked {
        return rows.clamp(1, MOST_ROWS);
    }
    match (schema.row_estimate, schema.byte_estimate) {
        (Some(rows), Some(bytes)) if rows > 0 && bytes > 0 => {
            let wanted = u128::from(PART_BYTES) * u128::from(rows) / u128::from(bytes);
            u64::try_from(wanted).unwrap_or(MOST_ROWS).clamp(FEWEST_ROWS, MOST_ROWS)
        }
        _ => 20_000,
    }
}

/// What finished parts leave to do. They are compared by equality alone: only the source orders its
/// keys.
fn remaining(done: &[(u64, ChunkRange)]) -> Cursor {
    let mut done: Vec<&(u64, ChunkRange)> = done.iter().collect();
    done.sort_by_key(|(number, _)| *number);
    let (mut gaps, mut number, mut end, mut is_complete) = (VecDeque::new(), 0, None, false);
    for (finished, range) in done {
        if range.after != end {
            gaps.push_back((number, ChunkRange { after: end.clone(), to: range.after.clone() }));
        }
        number = finished + 1;
        end.clone_from(&range.to);
        is_complete = end.is_none();
    }
    Cursor { gaps, rest: if is_complete { None } else { Some((number, end)) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_are_the_holes_and_the_rest() {
        let bound = |key: u8| Some(KeyBound(vec![key]));
        let range = |after, to| ChunkRange { after, to };
        let left = remaining(&[(3, range(bound(30), bound(40))), (1, range(bound(10), bound(20)))]);
        let gaps: Vec<_> = left.gaps.into_iter().collect();
        assert_eq!(gaps, [(0, range(None, bound(10))), (2, range(bound(20), bound(30)))]);
        assert_eq!(left.rest, Some((4, bound(40))));
        let left = remaining(&[(0, range(None, None))]);
        assert!(left.gaps.is_empty() && left.rest.is_none());
    }
}
