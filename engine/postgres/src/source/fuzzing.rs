//! Entry points for the fuzz targets in `fuzz/`: each takes any bytes, and must return.

use engine_core::logical::LogicalType;
use engine_core::schema::ColumnSchema;

use super::copy_text::CopyRow;
use super::value::CellDecoder;

/// Messages of transactions in progress, each after its length in two bytes.
pub fn in_progress(input: &[u8]) {
    super::stream::in_progress::fuzzing::in_progress(input);
}

/// A byte that chooses a type, then a row of `COPY` whose cells are all of that type.
pub fn copy_row(input: &[u8]) {
    let Some((&choice, message)) = input.split_first() else { return };
    let schema = column(choice);
    let (Ok(row), Ok(decoder)) = (CopyRow::new(message), CellDecoder::new(&schema)) else { return };
    let mut scratch = Vec::new();
    for cell in row {
        let mut column = schema.logical.layout().empty_column();
        if let Ok(Some(text)) = cell.text(&mut scratch)
            && decoder.push(text, &mut column).is_ok()
        {
            drop(engine_core::message::value(&column, 0, &schema.logical));
        }
    }
}

fn column(choice: u8) -> ColumnSchema {
    let bytes = || LogicalType::Bytes { max_bytes: None, fixed: false };
    let (logical, native) = match choice % 16 {
        0 => (LogicalType::Boolean, ""),
        1 => (LogicalType::Integer { bits: 16, signed: true }, ""),
        2 => (LogicalType::Integer { bits: 64, signed: true }, ""),
        3 => (LogicalType::Integer { bits: 64, signed: false }, ""),
        4 => (LogicalType::Float32, ""),
        5 => (LogicalType::Float64, ""),
        6 => (LogicalType::Decimal { precision: 10, scale: 2 }, ""),
        7 => (LogicalType::Decimal { precision: 19, scale: 2 }, "money"),
        8 => (LogicalType::in_text_form("numeric"), ""),
        9 => (bytes(), "bytea"),
        10 => (bytes(), "blob"),
        11 => (LogicalType::Date, ""),
        12 => (LogicalType::Time { precision: 6 }, ""),
        13 => (LogicalType::Timestamp { precision: 6, zoned: choice > 127 }, ""),
        14 => (LogicalType::Uuid, ""),
        _ => (LogicalType::Bit { width: u32::from(choice) }, ""),
    };
    ColumnSchema {
        name: String::new(),
        native: native.to_owned(),
        logical,
        nullable: true,
        default: None,
        on_update_now: false,
        generated: None,
        identity: false,
        invisible: false,
        comment: String::new(),
        target_type: None,
        attributes: Vec::new(),
    }
}
