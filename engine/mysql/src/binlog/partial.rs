//! Updates that log of JSON columns only what is different.

use engine_core::batch::Batch;
use engine_core::column::Vector;

use super::bytes::{Bytes, Malformed, bit};
use super::cell::CellDecoder;
use super::json_diff;
use super::rows::{ColumnPlan, RowError, decode_row};

/// The one option that a row can have: some of its JSON columns hold differences.
const PARTIAL_JSON: u64 = 1;

/// Takes the images before and after an update off the front of `input` and appends each to its batch.
///
/// The image after it has options (a length-encoded integer) before it. With [`PARTIAL_JSON`], a
/// bitmap of the table's JSON columns comes next and says which of them hold differences, in place of
/// the document and with the same length of four bytes. One without any is a document that did not change.
pub(crate) fn decode_partial_update(
    columns: &[ColumnPlan],
    input: &mut Bytes<'_>,
    before: &mut Batch,
    after: &mut Batch,
) -> Result<(), RowError> {
    let mut old = *input;
    decode_row(columns, input, before)?;
    match input.length_encoded()? {
        0 => return decode_row(columns, input, after),
        PARTIAL_JSON => {}
        _ => return Err(Malformed("an update has options that this engine does not know").into()),
    }
    let documents = columns.iter().filter(|plan| plan.is_json).count();
    let partial = input.take(documents.div_ceil(8))?;
    let nulls = input.take(columns.len().div_ceil(8))?;
    let old_nulls = old.take(columns.len().div_ceil(8))?;
    let mut document = 0;
    for (ordinal, plan) in columns.iter().enumerate() {
        let old_value = if bit(old_nulls, ordinal) { None } else { Some(plan.extent.take(&mut old)?) };
        let is_partial = plan.is_json && bit(partial, document);
        document += usize::from(plan.is_json);
        let null = bit(nulls, ordinal);
        let raw = if null { &[][..] } else { plan.extent.take(input)? };
        let Some((slot, decoder)) = &plan.wanted else { continue };
        let column = after.columns.get_mut(*slot);
        let column = column.ok_or(Malformed("a column was planned that has no place"))?;
        if is_partial {
            let Some(old_value) = old_value.filter(|_| !null) else {
                return Err(Malformed("a difference is of a document that is NULL").into());
            };
            let (CellDecoder::Json, Vector::Varlen(values)) = (decoder, &mut column.values) else {
                return Err(Malformed("a difference is of a column that holds no documents").into());
            };
            json_diff::apply_into(old_value, raw, &mut values.data)
                .map_err(|error| RowError::Cell(ordinal, error.into()))?;
            values.end_value();
            column.note_present();
        } else if null {
            column.push_null();
        } else {
            decoder.decode(raw, column).map_err(|error| RowError::Cell(ordinal, error))?;
        }
    }
    after.rows += 1;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::extent::Extent;
    use super::*;
    use engine_core::column::Column;
    use engine_core::logical::Layout;
    use proptest::prelude::*;

    /// A number and two documents, of which the first is not asked for.
    fn plans(first: bool) -> Vec<ColumnPlan> {
        let document = |slot| ColumnPlan {
            extent: Extent::Prefixed(4),
            is_json: true,
            wanted: Option::map(slot, |slot| (slot, CellDecoder::Json)),
        };
        let number = ColumnPlan {
            extent: Extent::Fixed(1),
            is_json: false,
            wanted: Some((0, CellDecoder::Signed(1))),
        };
        vec![document(first.then_some(2)), number, document(Some(1))]
    }

    fn batch(first: bool) -> Batch {
        let mut columns = vec![Layout::I64.empty_column(), Layout::Varlen.empty_column()];
        columns.extend(first.then(|| Layout::Varlen.empty_column()));
        Batch { rows: 0, columns }
    }

    fn value(column: &Column, row: usize) -> Option<String> {
        let Vector::Varlen(values) = &column.values else { panic!("a document") };
        (!column.is_null(row)).then(|| String::from_utf8_lossy(values.get(row)).into_owned())
    }

    /// The documents after updates of one event, the first only if asked for.
    fn documents(first: bool, packed: &[u8]) -> Result<Vec<[Option<String>; 2]>, RowError> {
        let (mut before, mut after) = (batch(first), batch(first));
        let mut input = Bytes::new(packed);
        while !input.is_empty() {
            decode_partial_update(&plans(first), &mut input, &mut before, &mut after)?;
        }
        assert_eq!(before.rows, after.rows);
        let first = |row| after.columns.get(2).and_then(|column| value(column, row));
        Ok((0..after.rows).map(|row| [first(row), value(&after.columns[1], row)]).collect())
    }

    /// The documents `1` and `[2]`.
    const BEFORE: &[u8] = b"\x00\x03\0\0\0\x05\x01\0\x07\x08\0\0\0\x02\x01\0\x07\0\x05\x02\0";

    fn update(after: &[u8]) -> Vec<u8> {
        [BEFORE, after].concat()
    }

    fn owned(documents: [Option<&str>; 2]) -> [Option<String>; 2] {
        documents.map(|document| document.map(str::to_owned))
    }

    #[test]
    fn every_form_of_the_image_after_an_update() {
        let replaced = b"\x01\x02\x00\x03\0\0\0\x05\x04\0\x09\x0a\0\0\0\x00\x04$[0]\x03\x05\x03\0";
        let unchanged = b"\x01\x03\x00\0\0\0\0\x07\0\0\0\0";
        let whole = b"\x00\x04\x03\0\0\0\x05\x04\0\x07";
        let packed = [update(replaced), update(unchanged), update(whole)].concat();
        assert_eq!(
            documents(true, &packed).expect("well-formed"),
            [owned([Some("4"), Some("[3]")]), owned([Some("1"), Some("[2]")]), owned([Some("4"), None])]
        );
        let last = documents(false, &packed).expect("well-formed").into_iter().map(|[_, last]| last);
        assert!(last.eq([Some("[3]".to_owned()), Some("[2]".to_owned()), None]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let unknown_option = b"\x02\x02\x00\x03\0\0\0\x05\x04\0\x07\0\0\0\0";
        let of_null = b"\x01\x02\x04\x03\0\0\0\x05\x04\0\x07\0\0\0\0";
        let elsewhere = b"\x01\x02\x00\x03\0\0\0\x05\x04\0\x07\x0a\0\0\0\x00\x04$[1]\x03\x05\x03\0";
        for after in [&unknown_option[..], of_null, elsewhere] {
            assert!(documents(true, &update(after)).is_err());
        }
        let null_before = b"\x04\x03\0\0\0\x05\x01\0\x07\x01\x02\x00\x03\0\0\0\x05\x04\0\x07\0\0\0\0";
        assert!(documents(true, null_before).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(packed: Vec<u8>, first: bool) {
            let _ = documents(first, &packed);
            let _ = documents(first, &update(&packed));
        }
    }
}
