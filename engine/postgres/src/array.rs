//! Columns as array parameters, and cells as single ones, in the cells' own binary form.

use bytes::BytesMut;
use engine_core::Result;
use engine_core::batch::Batch;
use engine_core::column::{Column, Vector};
use std::fmt::Write;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::cell::CellFault;
use crate::layout::TableLayout;
use crate::pg_type::PgType;

/// A parameter that is already in binary form; `None` is NULL.
#[derive(Debug)]
pub(crate) struct Encoded(pub(crate) Option<Vec<u8>>);

impl ToSql for Encoded {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match &self.0 {
            None => Ok(IsNull::Yes),
            Some(bytes) => {
                out.extend_from_slice(bytes);
                Ok(IsNull::No)
            }
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// The columns of a batch that consists of the columns at `positions`, rows `rows`, as arrays.
pub(crate) fn columns(
    layout: &TableLayout,
    batch: &Batch,
    positions: &[usize],
    rows: std::ops::Range<usize>,
) -> Result<Vec<Encoded>> {
    let mut arrays = Vec::with_capacity(positions.len());
    for (index, (column, &position)) in batch.columns.iter().zip(positions).enumerate() {
        let Some(written) = layout.columns.get(position) else { continue };
        let mut out = Vec::with_capacity(20 + column.size());
        let has_nulls = i32::from(rows.clone().any(|row| column.is_null(row)));
        // Dimensions, whether there are NULLs, type, then the length and lower bound of the one dimension.
        for word in [1, has_nulls, element_oid(&written.pg_type), rows.len() as i32, 1] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        for row in rows.clone() {
            cell(layout, column, position, row, &mut out)
                .map_err(|fault| layout.fault(batch, positions, row, index, fault))?;
        }
        arrays.push(Encoded(Some(out)));
    }
    Ok(arrays)
}

/// The cells of one row as single parameters.
pub(crate) fn row(
    layout: &TableLayout,
    batch: &Batch,
    positions: &[usize],
    row: usize,
) -> Result<Vec<Encoded>> {
    let mut cells = Vec::with_capacity(positions.len());
    for (index, (column, &position)) in batch.columns.iter().zip(positions).enumerate() {
        if column.is_null(row) {
            cells.push(Encoded(None));
            continue;
        }
        let mut out = Vec::new();
        cell(layout, column, position, row, &mut out)
            .map_err(|fault| layout.fault(batch, positions, row, index, fault))?;
        cells.push(Encoded(Some(out.split_off(4))));
    }
    Ok(cells)
}

fn cell(
    layout: &TableLayout,
    column: &Column,
    position: usize,
    row: usize,
    out: &mut Vec<u8>,
) -> Result<(), CellFault> {
    let written = layout.columns.get(position).ok_or(CellFault::Malformed)?;
    if written.pg_type.array_element().is_some() || column.is_null(row) {
        return written.encoder.encode(column, row, out);
    }
    let Vector::Varlen(values) = &column.values else { return Err(CellFault::Malformed) };
    let text = text_form(values.get(row), &written.pg_type).ok_or(CellFault::Malformed)?;
    out.extend_from_slice(&(text.len() as i32).to_be_bytes());
    out.extend_from_slice(&text);
    Ok(())
}

/// A value as its type's input function reads it, for types that can't be elements of an array
/// that `unnest` takes apart. The statement casts it.
fn text_form(value: &[u8], pg_type: &PgType) -> Option<Vec<u8>> {
    match pg_type {
        PgType::Enum(_) => Some(value.to_vec()),
        PgType::Geometry => Some(value.iter().fold(Vec::with_capacity(value.len() * 2), |mut text, byte| {
            for nibble in [byte >> 4, byte & 15] {
                text.push(b"0123456789ABCDEF"[usize::from(nibble)]);
            }
            text
        })),
        PgType::Float4Array | PgType::Float8Array | PgType::Vector => {
            let (open, close) = if *pg_type == PgType::Vector { ('[', ']') } else { ('{', '}') };
            let chunks = value.chunks_exact(4);
            if !chunks.remainder().is_empty() {
                return None;
            }
            let mut text = String::from(open);
            for (index, bytes) in chunks.enumerate() {
                let comma = if index == 0 { "" } else { "," };
                let float = f32::from_le_bytes(bytes.try_into().ok()?);
                // Widened, so that `double precision[]` gets the same value as from COPY.
                match pg_type {
                    PgType::Float8Array => write!(text, "{comma}{}", f64::from(float)).ok()?,
                    _ => write!(text, "{comma}{float}").ok()?,
                }
            }
            text.push(close);
            Some(text.into_bytes())
        }
        _ => None,
    }
}

/// The type's OID where it is an element of arrays, `text` where values go as text.
fn element_oid(pg_type: &PgType) -> i32 {
    let element = match pg_type {
        PgType::Bool => Type::BOOL,
        PgType::Int2 => Type::INT2,
        PgType::Int4 => Type::INT4,
        PgType::Int8 => Type::INT8,
        PgType::Numeric(_) => Type::NUMERIC,
        PgType::Float4 => Type::FLOAT4,
        PgType::Float8 => Type::FLOAT8,
        PgType::Varchar(_) => Type::VARCHAR,
        PgType::Bpchar(_) => Type::BPCHAR,
        PgType::Json => Type::JSON,
        PgType::Jsonb => Type::JSONB,
        PgType::Xml => Type::XML,
        PgType::Bytea => Type::BYTEA,
        PgType::Uuid => Type::UUID,
        PgType::Date => Type::DATE,
        PgType::Time(_) => Type::TIME,
        PgType::Timestamp(_) => Type::TIMESTAMP,
        PgType::TimestampTz(_) => Type::TIMESTAMPTZ,
        PgType::Interval(_) => Type::INTERVAL,
        PgType::Bit(_) => Type::BIT,
        PgType::Varbit(_) => Type::VARBIT,
        PgType::Text
        | PgType::Enum(_)
        | PgType::Named(_)
        | PgType::Float4Array
        | PgType::Float8Array
        | PgType::Geometry
        | PgType::Vector => Type::TEXT,
    };
    element.oid() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_without_arrays_go_as_text() {
        let floats: Vec<u8> =
            [1f32, 0.1, f32::INFINITY].iter().flat_map(|float| float.to_le_bytes()).collect();
        let text = |to: &PgType| String::from_utf8(text_form(&floats, to).expect("text")).expect("UTF-8");
        assert_eq!(text(&PgType::Float4Array), "{1,0.1,inf}");
        assert_eq!(text(&PgType::Float8Array), "{1,0.10000000149011612,inf}");
        assert_eq!(text(&PgType::Vector), "[1,0.1,inf]");
        assert_eq!(text_form(&[0x01, 0xAF], &PgType::Geometry), Some(b"01AF".to_vec()));
        assert_eq!(text_form(&[1, 2, 3], &PgType::Float4Array), None);
    }
}
