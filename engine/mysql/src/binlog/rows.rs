//! Row events: where the rows lie, and how they go into columns.

use engine_core::batch::Batch;
use engine_core::column::Column;

use super::bytes::{Bytes, Malformed, bit};
use super::cell::{CellDecoder, CellError};
use super::event::{Change, RowsKind};
use super::extent::Extent;

/// A row event with its rows still packed.
#[derive(Debug)]
pub(crate) struct RowsEvent<'a> {
    pub(crate) table_number: u64,
    pub(crate) columns: usize,
    /// Whether every image has every column.
    pub(crate) full_images: bool,
    /// The rows, compressed still when the event is.
    pub(crate) packed: &'a [u8],
}

impl<'a> RowsEvent<'a> {
    pub(crate) fn read(body: &'a [u8], kind: RowsKind) -> Result<Self, Malformed> {
        let mut input = Bytes::new(body);
        let table_number = input.little_endian(6)?;
        let _flags = input.u16()?;
        if kind.extra_data {
            // The length counts itself.
            let length = usize::from(input.u16()?);
            input.take(length.checked_sub(2).ok_or(Malformed("a row event has an impossible header"))?)?;
        }
        let columns = input.length_encoded()? as usize;
        let images = if kind.change == Change::Update { 2 } else { 1 };
        let mut full_images = true;
        for _ in 0..images {
            let present = input.take(columns.div_ceil(8))?;
            full_images &= (0..columns).all(|column| bit(present, column));
        }
        Ok(Self { table_number, columns, full_images, packed: input.rest() })
    }
}

/// One column of a table, in the table's order.
#[derive(Debug, Clone)]
pub(crate) struct ColumnPlan {
    pub(crate) extent: Extent,
    /// Whether it is of MySQL's JSON type, of which an update may log a difference.
    pub(crate) is_json: bool,
    /// Where the value goes, when it was asked for.
    pub(crate) wanted: Option<(usize, CellDecoder)>,
}

/// Why a row could not be decoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RowError {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A value of the column at this ordinal.
    #[error("{1}")]
    Cell(usize, CellError),
}

/// Takes one row image off the front of `input` and appends it to `batch`.
#[inline]
pub(crate) fn decode_row(
    columns: &[ColumnPlan],
    input: &mut Bytes<'_>,
    batch: &mut Batch,
) -> Result<(), RowError> {
    let nulls = input.take(columns.len().div_ceil(8))?;
    for (ordinal, plan) in columns.iter().enumerate() {
        let null = bit(nulls, ordinal);
        let raw = if null { &[][..] } else { plan.extent.take(input)? };
        if let Some((slot, decoder)) = &plan.wanted {
            let column: &mut Column =
                batch.columns.get_mut(*slot).ok_or(Malformed("a column was planned that has no place"))?;
            if null {
                column.push_null();
            } else {
                decoder.decode(raw, column).map_err(|error| RowError::Cell(ordinal, error))?;
            }
        }
    }
    batch.rows += 1;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::column::Vector;
    use engine_core::logical::Layout;
    use proptest::prelude::*;

    fn plans() -> Vec<ColumnPlan> {
        vec![
            ColumnPlan {
                extent: Extent::Fixed(4),
                is_json: false,
                wanted: Some((1, CellDecoder::Signed(4))),
            },
            ColumnPlan { extent: Extent::Prefixed(1), is_json: false, wanted: None },
            ColumnPlan {
                extent: Extent::Prefixed(2),
                is_json: false,
                wanted: Some((0, CellDecoder::Padded(3))),
            },
        ]
    }

    fn batch() -> Batch {
        Batch { rows: 0, columns: vec![Layout::Varlen.empty_column(), Layout::I64.empty_column()] }
    }

    #[test]
    fn only_wanted_columns_are_decoded_in_the_order_wanted() {
        let mut batch = batch();
        let packed = [0b000, 0xff, 0xff, 0xff, 0xff, 2, b'n', b'o', 1, 0, b'a', 0b101, 0];
        let mut input = Bytes::new(&packed);
        while !input.is_empty() {
            decode_row(&plans(), &mut input, &mut batch).expect("well-formed");
        }
        assert_eq!(batch.rows, 2);
        assert_eq!(batch.columns[1].values, Vector::I64(vec![-1, 0]));
        assert!(batch.columns[1].is_null(1) && batch.columns[0].is_null(1));
        let Vector::Varlen(bytes) = &batch.columns[0].values else { panic!("bytes") };
        assert_eq!(bytes.get(0), b"a\0\0");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(body: Vec<u8>, change in 0..3, extra_data: bool) {
            let change = [Change::Insert, Change::Update, Change::Delete][change as usize];
            if let Ok(event) = RowsEvent::read(&body, RowsKind { change, extra_data, compressed: false, partial: false }) {
                let _ = decode_row(&plans(), &mut Bytes::new(event.packed), &mut batch());
            }
            let _ = decode_row(&plans(), &mut Bytes::new(&body), &mut batch());
        }
    }
}
