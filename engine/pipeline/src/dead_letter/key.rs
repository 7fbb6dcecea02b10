//! The key of a row that was set aside: from the letter's text to values, and from the source's
//! columns to the target's.

use engine_core::batch::Batch;
use engine_core::column::{Column, Varlen, Vector};
use engine_core::logical::LogicalType;
use engine_core::temporal::Fields;

use crate::compose::{Composed, StageSource};
use crate::ops;

use super::letter::Values;

/// The values of the source table's row key, one row, with the ordinals of its columns; `None` when
/// the letter has no key, or one that the table or its types no longer fit.
pub(super) fn of_source(composed: &Composed, key: &Values) -> Option<(Vec<usize>, Batch)> {
    let ordinals = composed.schema.row_key()?;
    let columns = ordinals.iter().map(|&ordinal| {
        let schema = composed.schema.columns.get(ordinal)?;
        let (_, text) = key.0.iter().find(|(name, _)| *name == schema.name)?;
        value(text.as_deref()?, &schema.logical)
    });
    let columns = columns.collect::<Option<Vec<Column>>>()?;
    Some((ordinals, Batch { rows: 1, columns }))
}

/// The same row's key in the target, where nothing but native operations makes it from the
/// source's; `None` where row code has a part in it.
pub(super) fn of_target(composed: &Composed, ordinals: &[usize], key: &Batch) -> Option<Batch> {
    let places = composed.target.row_key.as_ref()?.iter().map(|&column| {
        let place = composed.target.written_columns().position(|written| written == column)?;
        trace(composed, composed.stages.len(), place, &|ordinal| {
            let index = ordinals.iter().position(|&known| known == ordinal)?;
            key.columns.get(index).cloned()
        })
    });
    Some(Batch { rows: 1, columns: places.collect::<Option<_>>()? })
}

/// The column at `place` behind the first `stages` stages.
fn trace(
    composed: &Composed,
    stages: usize,
    place: usize,
    read: &dyn Fn(usize) -> Option<Column>,
) -> Option<Column> {
    let Some(before) = stages.checked_sub(1) else { return read(*composed.reads.get(place)?) };
    let output = composed.stages.get(before)?.columns.get(place)?;
    let mut column = match &output.source {
        StageSource::Input(place) => trace(composed, before, *place, read)?,
        StageSource::Constant(value) => ops::constant(value, &output.logical, 1)?,
        StageSource::Transformed(_) => return None,
    };
    let mut failures = Vec::new();
    for (op, logical) in &output.ops {
        column = ops::apply(op, column, logical, &mut failures);
    }
    (failures.is_empty() && !column.is_null(0)).then_some(column)
}

/// The value that [`ops::text_of`] writes so, of the types that keys have.
fn value(text: &str, logical: &LogicalType) -> Option<Column> {
    let bytes = |value: &[u8]| {
        let mut values = Varlen::default();
        values.push(value);
        Vector::Varlen(values)
    };
    Some(Column::new(match logical {
        LogicalType::Integer { signed: true, .. } => Vector::I64(vec![text.parse().ok()?]),
        LogicalType::Integer { signed: false, .. } => Vector::U64(vec![text.parse().ok()?]),
        LogicalType::Date => Vector::I64(vec![fields(text)?.to_date()]),
        LogicalType::Timestamp { .. } => Vector::I64(vec![fields(text)?.to_timestamp()]),
        LogicalType::Decimal { .. } => bytes(text.as_bytes()),
        logical if logical.is_text() => bytes(text.as_bytes()),
        LogicalType::Bytes { .. } | LogicalType::Uuid => bytes(&hex::decode(text.strip_prefix("0x")?).ok()?),
        _ => return None,
    }))
}

/// Reads `2024-02-31` and `2024-02-31 01:02:03.000004`.
fn fields(text: &str) -> Option<Fields> {
    let (date, time) = text.split_once(' ').unwrap_or((text, "00:00:00"));
    let mut date = date.splitn(3, '-');
    let (year, month, day) =
        (date.next()?.parse().ok()?, date.next()?.parse().ok()?, date.next()?.parse().ok()?);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut clock = clock.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let seconds = (clock.next()?? * 60 + clock.next()??) * 60 + clock.next()??;
    let micros: u64 = format!("{fraction:0<6}").parse().ok()?;
    Some(Fields { year, month, day, micros: seconds * 1_000_000 + micros })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trips(column: &Column, logical: &LogicalType) {
        assert_eq!(value(&ops::text_of(column, 0, logical), logical).as_ref(), Some(column), "{logical:?}");
    }

    fn bytes(value: &[u8]) -> Column {
        let mut values = Varlen::default();
        values.push(value);
        Column::new(Vector::Varlen(values))
    }

    proptest! {
        #[test]
        fn a_value_is_read_as_it_was_written(
            number in any::<i64>(),
            text in any::<String>(),
            raw in proptest::collection::vec(any::<u8>(), 0..20),
            date in (0_u16..10_000, 0_u8..13, 0_u8..32, 0_u64..86_400_000_000),
        ) {
            round_trips(&Column::new(Vector::I64(vec![number])), &LogicalType::Integer { bits: 64, signed: true });
            let unsigned = LogicalType::Integer { bits: 64, signed: false };
            round_trips(&Column::new(Vector::U64(vec![number as u64])), &unsigned);
            let logical = LogicalType::Text { max_chars: None, fixed: false, charset: None, collation: None };
            round_trips(&bytes(text.as_bytes()), &logical);
            round_trips(&bytes(&raw), &LogicalType::Bytes { max_bytes: None, fixed: false });
            let fields = Fields { year: date.0, month: date.1, day: date.2, micros: date.3 };
            round_trips(&Column::new(Vector::I64(vec![fields.to_date()])), &LogicalType::Date);
            let logical = LogicalType::Timestamp { precision: 6, zoned: false };
            round_trips(&Column::new(Vector::I64(vec![fields.to_timestamp()])), &logical);
        }

        #[test]
        fn any_text_is_a_value_or_none(text in any::<String>()) {
            for logical in [
                LogicalType::Date,
                LogicalType::Timestamp { precision: 0, zoned: true },
                LogicalType::Uuid,
                LogicalType::Float64,
                LogicalType::Integer { bits: 8, signed: true },
            ] {
                let _ = value(&text, &logical);
            }
        }
    }
}
