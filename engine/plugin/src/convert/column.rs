//! Columns: lowered by reference, lifted with every claim about them checked.

use engine_core::bitmap::Bitmap;
use engine_core::column::{Column, Varlen, Vector};
use engine_core::logical::{Layout, LogicalType};

use crate::bindings::contract::types;
use crate::bindings::rows;

/// A view of `column` that a call can pass.
pub(crate) fn lower(column: &Column) -> rows::Column<'_> {
    let values = match &column.values {
        Vector::Bits(bits) => rows::Vector::Bits(bits.as_bytes()),
        Vector::I64(values) => rows::Vector::S64s(values),
        Vector::U64(values) => rows::Vector::U64s(values),
        Vector::F64(values) => rows::Vector::F64s(values),
        Vector::Varlen(varlen) => {
            rows::Vector::Varlen(rows::Varlen { offsets: &varlen.offsets, data: &varlen.data })
        }
    };
    rows::Column { values, validity: column.validity.as_ref().map_or(&[], Bitmap::as_bytes) }
}

/// A column that a plugin answered: `rows` values of type `expected`, or what is wrong with it.
pub(crate) fn lift(column: types::Column, expected: &LogicalType, rows: usize) -> Result<Column, String> {
    let layout = expected.layout();
    let validity = match column.validity {
        bytes if bytes.is_empty() => None,
        bytes if bytes.len() == rows.div_ceil(8) => Bitmap::from_bytes(bytes, rows),
        bytes => {
            return Err(format!("its validity has {} bytes for {rows} rows", bytes.len()));
        }
    };
    let (values, validity) = match column.values {
        types::Vector::Nulls | types::Vector::Constant(types::Scalar::Null) => {
            (repeated(&types::Scalar::Null, layout, rows)?, Some(Bitmap::filled(rows, false)))
        }
        types::Vector::Constant(scalar) => (repeated(&scalar, layout, rows)?, validity),
        types::Vector::Bits(bytes) => {
            let length = bytes.len();
            let bits = (length == rows.div_ceil(8))
                .then(|| Bitmap::from_bytes(bytes, rows))
                .flatten()
                .ok_or_else(|| format!("it has {length} bytes of bits for {rows} rows"))?;
            (Vector::Bits(bits), validity)
        }
        types::Vector::S64s(values) => (Vector::I64(values), validity),
        types::Vector::U64s(values) => (Vector::U64(values), validity),
        types::Vector::F64s(values) => (Vector::F64(values), validity),
        types::Vector::Varlen(types::Varlen { offsets, data }) => {
            (Vector::Varlen(Varlen { offsets, data }), validity)
        }
    };
    // All rows present is said by leaving validity out, so that what follows can take the short way.
    let column = Column { values, validity: validity.filter(|validity| !validity.all()) };
    if !layout.fits(&column.values) {
        return Err(format!("it is {} where {layout:?} was planned", kind(&column.values)));
    }
    if !column.is_well_formed(rows) {
        return Err(match &column.values {
            Vector::Varlen(varlen) if varlen.offsets.len() == rows + 1 => {
                "its offsets decrease or don't span its data".to_owned()
            }
            values => format!("it has {} values for {rows} rows", values.len()),
        });
    }
    content(&column, expected, rows)?;
    Ok(column)
}

fn kind(values: &Vector) -> &'static str {
    match values {
        Vector::Bits(_) => "Bits",
        Vector::I64(_) => "I64",
        Vector::U64(_) => "U64",
        Vector::F64(_) => "F64",
        Vector::Varlen(_) => "Varlen",
    }
}

/// The same value in every row.
fn repeated(scalar: &types::Scalar, layout: Layout, rows: usize) -> Result<Vector, String> {
    use types::Scalar;
    let bytes = |value: &[u8]| -> Result<Vector, String> {
        if (value.len() as u64).saturating_mul(rows as u64) > u64::from(u32::MAX) {
            return Err("a constant is too long for the batch".to_owned());
        }
        let mut varlen =
            Varlen { offsets: Vec::with_capacity(rows + 1), data: Vec::with_capacity(rows * value.len()) };
        varlen.offsets.push(0);
        (0..rows).for_each(|_| varlen.push(value));
        Ok(Vector::Varlen(varlen))
    };
    Ok(match (layout, scalar) {
        (Layout::Bits, Scalar::Null) => Vector::Bits(Bitmap::filled(rows, false)),
        (Layout::I64, Scalar::Null) => Vector::I64(vec![0; rows]),
        (Layout::U64, Scalar::Null) => Vector::U64(vec![0; rows]),
        (Layout::F64, Scalar::Null) => Vector::F64(vec![0.0; rows]),
        (Layout::Varlen, Scalar::Null) => bytes(&[])?,
        (Layout::Bits, Scalar::Boolean(value)) => Vector::Bits(Bitmap::filled(rows, *value)),
        (Layout::I64, Scalar::Int(value) | Scalar::Timestamp(value)) => Vector::I64(vec![*value; rows]),
        (Layout::U64, Scalar::Uint(value)) => Vector::U64(vec![*value; rows]),
        (Layout::F64, Scalar::Real(value)) => Vector::F64(vec![*value; rows]),
        (Layout::Varlen, Scalar::Text(value) | Scalar::Decimal(value)) => bytes(value.as_bytes())?,
        (Layout::Varlen, Scalar::Bytes(value)) => bytes(value)?,
        _ => return Err(format!("its constant does not fit the layout {layout:?}")),
    })
}

/// Text is UTF-8 in every row, and decimals are ASCII.
fn content(column: &Column, expected: &LogicalType, rows: usize) -> Result<(), String> {
    let Vector::Varlen(varlen) = &column.values else { return Ok(()) };
    if varlen.data.is_ascii() {
        return Ok(());
    }
    if matches!(expected, LogicalType::Decimal { .. }) {
        return Err("a decimal holds a byte that is not ASCII".to_owned());
    }
    if !expected.is_text() {
        return Ok(());
    }
    let text = std::str::from_utf8(&varlen.data)
        .map_err(|error| format!("its text is not UTF-8 at byte {}", error.valid_up_to()))?;
    match varlen.offsets.iter().find(|&&offset| !text.is_char_boundary(offset as usize)) {
        Some(offset) => Err(format!("a value of {rows} begins inside a character, at byte {offset}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> LogicalType {
        LogicalType::Text { max_chars: None, fixed: false, charset: None, collation: None }
    }

    fn varlen(offsets: &[u32], data: &[u8]) -> types::Column {
        let values = types::Vector::Varlen(types::Varlen { offsets: offsets.to_vec(), data: data.to_vec() });
        types::Column { values, validity: Vec::new() }
    }

    #[test]
    fn constants_and_nulls_become_columns() {
        let constant = types::Column {
            values: types::Vector::Constant(types::Scalar::Text("ab".to_owned())),
            validity: vec![0b101],
        };
        let column = lift(constant, &text(), 3).expect("a good column");
        assert_eq!((column.len(), column.is_null(1)), (3, true));
        let Vector::Varlen(values) = &column.values else { panic!("{column:?}") };
        assert_eq!(values.get(2), b"ab");
        let nulls = types::Column { values: types::Vector::Nulls, validity: Vec::new() };
        let column = lift(nulls, &LogicalType::Date, 2).expect("a good column");
        assert_eq!((column.len(), column.is_null(0), column.is_null(1)), (2, true, true));
    }

    #[test]
    fn every_false_claim_is_refused() {
        let refusals = [
            (varlen(&[0, 2], b"ab"), text(), "1 values for 2 rows"),
            (varlen(&[0, 2, 1], b"ab"), text(), "offsets decrease"),
            (varlen(&[0, 1, 3], b"ab"), text(), "offsets decrease or don't span"),
            (varlen(&[0, 1, 2], b"\xc3\xa9"), text(), "inside a character"),
            (varlen(&[0, 1, 2], b"\xff\xfe"), text(), "not UTF-8"),
            (varlen(&[0, 1, 2], b"ab"), LogicalType::Date, "Varlen where I64"),
            (
                types::Column { values: types::Vector::S64s(vec![1, 2]), validity: vec![1, 2] },
                LogicalType::Date,
                "validity has 2 bytes",
            ),
            (
                types::Column {
                    values: types::Vector::Constant(types::Scalar::Boolean(true)),
                    validity: Vec::new(),
                },
                text(),
                "constant does not fit",
            ),
        ];
        for (column, expected, wanted) in refusals {
            let why = lift(column, &expected, 2).expect_err(wanted);
            assert!(why.contains(wanted), "{why} instead of {wanted}");
        }
    }

    #[test]
    fn bytes_may_be_anything() {
        let bytes = LogicalType::Bytes { max_bytes: None, fixed: false };
        assert!(lift(varlen(&[0, 1, 2], b"\xff\xfe"), &bytes, 2).is_ok());
    }
}
