//! Which parts of a table both sides can be asked for alike.
//!
//! The source cuts a table by a key of its own. The target can be asked for the same part where each
//! column of that key arrives in a column of the target's row key as it is, and both databases order
//! its type in the same way: numbers, dates and times, raw bytes. Text is ordered by collations, which
//! are not the same anywhere.

use engine_core::batch::Batch;
use engine_core::column::{Column, Vector};
use engine_core::error::Result;
use engine_core::examine::{KeyRange, RowForm};
use engine_core::logical::LogicalType;
use engine_core::source::{ChunkRange, KeyBound, Source};
use engine_core::temporal::is_irregular;

use crate::compose::{Composed, StageSource};

/// One value of a key, ordered as both sides order it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum KeyPart {
    Signed(i64),
    Unsigned(u64),
    Bytes(Vec<u8>),
}

/// The values of a key.
pub(super) type OrderKey = Vec<KeyPart>;

/// The columns by which a table is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cut {
    /// Ordinals in the source, in the order of the key.
    source: Vec<usize>,
    /// Ordinals in the target.
    target: Vec<usize>,
    /// Places among the written columns.
    places: Vec<usize>,
}

impl Cut {
    /// How the table is cut; `None` when it has to be looked at as a whole. `first` is any bound.
    pub(super) fn of(
        source: &dyn Source,
        composed: &Composed,
        form: &dyn RowForm,
        first: &KeyBound,
    ) -> Result<Option<Self>> {
        let Some(row_key) = &composed.target.row_key else { return Ok(None) };
        let Some((ordinals, values)) = source.bound_values(&composed.schema, first)? else {
            return Ok(None);
        };
        let written: Vec<usize> = composed.target.written_columns().collect();
        let mut cut = Self { source: ordinals.clone(), target: Vec::new(), places: Vec::new() };
        for (ordinal, column) in ordinals.iter().zip(&values.columns) {
            let place = (0..written.len()).find(|&place| origin(composed, place) == Some(*ordinal));
            let Some((place, &target)) = place.and_then(|place| Some((place, written.get(place)?))) else {
                return Ok(None);
            };
            let logical = composed.schema.columns.get(*ordinal).map(|column| &column.logical);
            let is_ordered = matches!(
                logical,
                Some(
                    LogicalType::Integer { .. }
                        | LogicalType::Date
                        | LogicalType::Timestamp { .. }
                        | LogicalType::Bytes { .. }
                )
            );
            if !is_ordered
                || !form.keeps_order(place)
                || !row_key.contains(&target)
                || part(column, 0).is_none()
            {
                return Ok(None);
            }
            cut.target.push(target);
            cut.places.push(place);
        }
        Ok(Some(cut))
    }

    /// The values of a bound, where the target has such values: a date that is none bounds nothing there.
    pub(super) fn bound(
        &self,
        source: &dyn Source,
        composed: &Composed,
        bound: &KeyBound,
    ) -> Result<Option<Batch>> {
        let Some((ordinals, values)) = source.bound_values(&composed.schema, bound)? else {
            return Ok(None);
        };
        let is_date = |ordinal: usize| {
            let logical = composed.schema.columns.get(ordinal).map(|column| &column.logical);
            matches!(logical, Some(LogicalType::Date | LogicalType::Timestamp { .. }))
        };
        let regular = ordinals.iter().zip(&values.columns).all(|(&ordinal, column)| match &column.values {
            Vector::I64(dates) if is_date(ordinal) => dates.iter().all(|&date| !is_irregular(date)),
            _ => true,
        });
        Ok((ordinals == self.source && regular).then_some(values))
    }

    /// The same part of the target.
    pub(super) fn range(
        &self,
        source: &dyn Source,
        composed: &Composed,
        range: &ChunkRange,
    ) -> Result<Option<Interval>> {
        let bound = |bound: &Option<KeyBound>| -> Result<Option<Option<Batch>>> {
            match bound {
                None => Ok(Some(None)),
                Some(bound) => Ok(self.bound(source, composed, bound)?.map(Some)),
            }
        };
        let (Some(after), Some(to)) = (bound(&range.after)?, bound(&range.to)?) else { return Ok(None) };
        let key = |bound: &Option<Batch>| {
            bound.as_ref().map(|bound| bound.columns.iter().filter_map(|column| part(column, 0)).collect())
        };
        Ok(Some(Interval {
            after: key(&after),
            to: key(&to),
            range: KeyRange::Between { columns: self.target.clone(), after, to },
        }))
    }

    /// The key of a row of written columns; `None` when a part of it is NULL.
    pub(super) fn key(&self, batch: &Batch, row: usize) -> Option<OrderKey> {
        self.places.iter().map(|&place| part(batch.columns.get(place)?, row)).collect()
    }
}

/// A part of a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Interval {
    after: Option<OrderKey>,
    to: Option<OrderKey>,
    /// How the target is asked for it.
    pub(super) range: KeyRange,
}

impl Interval {
    /// Whether a key lies in it.
    pub(super) fn holds(&self, key: &OrderKey) -> bool {
        self.after.as_ref().is_none_or(|after| key > after) && self.to.as_ref().is_none_or(|to| key <= to)
    }
}

fn part(column: &Column, row: usize) -> Option<KeyPart> {
    if column.is_null(row) {
        return None;
    }
    match &column.values {
        Vector::I64(values) => values.get(row).copied().map(KeyPart::Signed),
        Vector::U64(values) => values.get(row).copied().map(KeyPart::Unsigned),
        Vector::Varlen(values) => Some(KeyPart::Bytes(values.get(row).to_vec())),
        Vector::Bits(_) | Vector::F64(_) => None,
    }
}

/// The source column that arrives at a place of the written columns just as it was read.
pub(super) fn origin(composed: &Composed, place: usize) -> Option<usize> {
    let mut place = place;
    for stage in composed.stages.iter().rev() {
        let column = stage.columns.get(place)?;
        match column.source {
            StageSource::Input(input) if column.ops.is_empty() => place = input,
            _ => return None,
        }
    }
    composed.reads.get(place).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_leaves_out_its_lower_bound() {
        let key = |number| Some(vec![KeyPart::Signed(number), KeyPart::Bytes(b"a".to_vec())]);
        let interval = Interval { after: key(1), to: key(5), range: KeyRange::All };
        let holds = |number, text: &[u8]| {
            interval.holds(&vec![KeyPart::Signed(number), KeyPart::Bytes(text.to_vec())])
        };
        assert!(!holds(1, b"a") && holds(1, b"aa") && holds(5, b"a") && !holds(5, b"b") && holds(5, b""));
    }
}
