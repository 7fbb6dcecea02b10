//! Rows and values as error messages show them.

use crate::batch::Batch;
use crate::column::{Column, Vector};
use crate::logical::LogicalType;
use crate::temporal::{date_text, timestamp_text};
use std::fmt::Write;

/// Longest part of a value that is shown, in characters.
const SHOWN: usize = 60;

/// One value.
pub fn value(column: &Column, row: usize, logical: &LogicalType) -> String {
    if column.is_null(row) {
        return "NULL".to_owned();
    }
    match &column.values {
        Vector::Bits(bits) => bits.get(row).to_string(),
        Vector::I64(values) => {
            let value = values.get(row).copied().unwrap_or_default();
            match logical {
                LogicalType::Date => date_text(value),
                LogicalType::Timestamp { .. } => timestamp_text(value),
                LogicalType::Time { .. } => time(value),
                _ => value.to_string(),
            }
        }
        Vector::U64(values) => values.get(row).copied().unwrap_or_default().to_string(),
        Vector::F64(values) => values.get(row).copied().unwrap_or_default().to_string(),
        Vector::Varlen(values) => bytes(values.get(row), logical),
    }
}

fn bytes(value: &[u8], logical: &LogicalType) -> String {
    let is_number = matches!(logical, LogicalType::Decimal { .. });
    let is_text = logical.is_text() || is_number || logical.text_form().is_some();
    if is_text && let Ok(text) = std::str::from_utf8(value) {
        let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
        if text.chars().nth(SHOWN).is_some() {
            shown.push('…');
        }
        return if is_number { shown } else { format!("'{shown}'") };
    }
    let mut shown = String::from("0x");
    for byte in value.iter().take(SHOWN / 2) {
        let _ = write!(shown, "{byte:02x}");
    }
    if value.len() > SHOWN / 2 {
        shown.push('…');
    }
    shown
}

fn time(micros: i64) -> String {
    let (sign, magnitude) = (if micros < 0 { "-" } else { "" }, micros.unsigned_abs());
    let seconds = magnitude / 1_000_000;
    let whole = format!("{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    match magnitude % 1_000_000 {
        0 => whole,
        fraction => format!("{whole}.{fraction:06}"),
    }
}

/// A row's key: `id=5, name='x'`. `columns` are position in the batch, name and type.
pub fn key<'a>(
    batch: &Batch,
    row: usize,
    columns: impl Iterator<Item = (usize, &'a str, &'a LogicalType)>,
) -> String {
    let mut text = String::new();
    for (position, name, logical) in columns {
        let Some(column) = batch.columns.get(position) else { continue };
        if !text.is_empty() {
            text.push_str(", ");
        }
        let _ = write!(text, "{name}={}", value(column, row, logical));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::Varlen;
    use crate::temporal::Fields;

    #[test]
    fn shows_values_short_and_readable() {
        let text = LogicalType::Text { max_chars: None, fixed: false, charset: None, collation: None };
        let mut values = Varlen::default();
        values.push(b"a\0b");
        values.push("é".repeat(100).as_bytes());
        let column = Column::new(Vector::Varlen(values));
        assert_eq!(value(&column, 0, &text), r"'a\0b'");
        assert_eq!(value(&column, 1, &text).chars().count(), SHOWN + 3);

        let zero = Fields { year: 0, month: 0, day: 0, micros: 0 };
        let column = Column::new(Vector::I64(vec![zero.to_date(), -500_000]));
        assert_eq!(value(&column, 0, &LogicalType::Date), "0000-00-00");
        assert_eq!(value(&column, 1, &LogicalType::Time { precision: 6 }), "-00:00:00.500000");
        assert_eq!(
            value(
                &Column::new(Vector::I64(vec![i64::MAX])),
                0,
                &LogicalType::Timestamp { precision: 6, zoned: false }
            ),
            "infinity"
        );
    }
}
