//! Values in SQL, for rows that are asked for by their key.

use engine_core::column::{Column, Vector};
use engine_core::logical::LogicalType;
use engine_core::temporal::{date_text, timestamp_text};

use crate::identifier::literal;

/// The first value of a column, as a literal that the column's type reads; `None` for NULL and for what
/// can't be written down exactly.
pub(super) fn value(column: &Column, logical: &LogicalType) -> Option<String> {
    if column.is_null(0) {
        return None;
    }
    let text = match (&column.values, logical) {
        (Vector::Bits(values), _) => values.get(0).to_string(),
        (Vector::I64(values), LogicalType::Integer { .. }) => values.first()?.to_string(),
        (Vector::U64(values), LogicalType::Integer { .. }) => values.first()?.to_string(),
        (Vector::I64(values), LogicalType::Date) => date_text(*values.first()?),
        // The session's time zone is UTC.
        (Vector::I64(values), LogicalType::Timestamp { .. }) => timestamp_text(*values.first()?),
        (Vector::Varlen(values), LogicalType::Bytes { .. }) => format!("\\x{}", hex::encode(values.get(0))),
        (Vector::Varlen(values), LogicalType::Uuid) => hex::encode(values.get(0)),
        (
            Vector::Varlen(values),
            LogicalType::Decimal { .. }
            | LogicalType::Text { .. }
            | LogicalType::Enumeration { .. }
            | LogicalType::Other(_),
        ) => std::str::from_utf8(values.get(0)).ok()?.to_owned(),
        _ => return None,
    };
    Some(literal(&text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::column::Varlen;

    fn text(value: &[u8]) -> Column {
        let mut values = Varlen::default();
        values.push(value);
        Column::new(Vector::Varlen(values))
    }

    #[test]
    fn values_are_literals() {
        let plain = LogicalType::Text { max_chars: None, fixed: false, charset: None, collation: None };
        let stamp = LogicalType::Timestamp { precision: 6, zoned: true };
        for (column, logical, expected) in [
            (text(b"it's"), &plain, Some("'it''s'")),
            (text(&[0, 255]), &LogicalType::Bytes { max_bytes: None, fixed: false }, Some(r"E'\\x00ff'")),
            (
                Column::new(Vector::I64(vec![-1])),
                &LogicalType::Integer { bits: 64, signed: true },
                Some("'-1'"),
            ),
            (Column::new(Vector::I64(vec![1])), &LogicalType::Date, Some("'1970-01-02'")),
            (Column::new(Vector::I64(vec![1])), &stamp, Some("'1970-01-01 00:00:00.000001'")),
            (Column::new(Vector::F64(vec![0.1])), &LogicalType::Float64, None),
        ] {
            assert_eq!(value(&column, logical).as_deref(), expected);
        }
    }
}
