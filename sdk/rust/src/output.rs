//! Writing rows: column builders filled one row at a time.

use crate::RowFailure;
use crate::bindings::exports::migration::plugin::transform as contract;
use crate::planning::{TablePlan, WriteColumn};
use crate::temporal::Fields;
use crate::types::{Column, LogicalType, RowError, TableSchema, Varlen, Vector};

/// The columns of a plan's [`TablePlan::transform_writes`], growing row by row.
#[derive(Debug)]
pub struct Output {
    columns: Vec<Builder>,
    errors: Vec<RowError>,
}

impl Output {
    /// Builders for what `plan` says its transform writes, with room for `rows`. `None` when the
    /// plan names a column that neither the schema nor the plan has.
    pub fn new(schema: &TableSchema, plan: &TablePlan, rows: usize) -> Option<Self> {
        let builder = |write: &WriteColumn| {
            let logical = match write {
                WriteColumn::Input(index) => &schema.columns.get(*index as usize)?.logical,
                WriteColumn::Extra(index) => &plan.extra_columns.get(*index as usize)?.logical,
            };
            Some(Builder::new(logical, rows))
        };
        let columns = plan.transform_writes.iter().map(builder).collect::<Option<_>>()?;
        Some(Self { columns, errors: Vec::new() })
    }

    /// Appends one row, written by `write`. When it fails, or leaves a column unwritten, the row
    /// becomes a row error and its slots are filled with NULLs that the host ignores.
    pub fn row(&mut self, index: usize, write: impl FnOnce(&mut RowOutput<'_>) -> Result<(), RowFailure>) {
        let before = self.columns.iter().map(Builder::len).max().unwrap_or(0);
        let outcome = write(&mut RowOutput { columns: &mut self.columns, row: before })
            .and_then(|()| self.unwritten(before));
        if let Err(failure) = outcome {
            for column in &mut self.columns {
                if column.len() == before {
                    column.push_null();
                }
            }
            self.errors.push(RowError {
                row: index as u32,
                column: failure.column,
                code: failure.code,
                message: failure.message,
            });
        }
    }

    fn unwritten(&self, before: usize) -> Result<(), RowFailure> {
        match self.columns.iter().position(|column| column.len() == before) {
            None => Ok(()),
            Some(position) => {
                Err(RowFailure::new("not-written", format!("the plugin did not write column {position}")))
            }
        }
    }

    /// Hands everything over to the host.
    pub fn finish(self) -> contract::BatchOutput {
        contract::BatchOutput {
            columns: self.columns.into_iter().map(Builder::finish).collect(),
            errors: self.errors,
        }
    }
}

/// Writes one row. Every function takes a position in the plan's writes; each has to be written
/// exactly once, and fails when it is written twice or takes another kind of value.
#[derive(Debug)]
pub struct RowOutput<'a> {
    columns: &'a mut [Builder],
    row: usize,
}

impl RowOutput<'_> {
    /// NULL.
    ///
    /// # Errors
    /// When the column is unknown or already written.
    pub fn null(&mut self, position: usize) -> Result<(), RowFailure> {
        self.builder(position)?.push_null();
        Ok(())
    }

    /// Text, or any other value held as text; `None` is NULL.
    ///
    /// # Errors
    /// When the column takes another kind of value.
    pub fn text<'t>(&mut self, position: usize, value: impl Into<Option<&'t str>>) -> Result<(), RowFailure> {
        self.bytes(position, value.into().map(str::as_bytes))
    }

    /// Raw bytes; `None` is NULL.
    ///
    /// # Errors
    /// When the column takes another kind of value.
    pub fn bytes<'b>(
        &mut self,
        position: usize,
        value: impl Into<Option<&'b [u8]>>,
    ) -> Result<(), RowFailure> {
        self.push(position, value.into(), "text or bytes", |values, value| match values {
            Values::Varlen(varlen) => {
                varlen.data.extend_from_slice(value);
                varlen.offsets.push(varlen.data.len() as u32);
                true
            }
            _ => false,
        })
    }

    /// A signed integer; `None` is NULL.
    ///
    /// # Errors
    /// When the column takes another kind of value.
    pub fn int(&mut self, position: usize, value: impl Into<Option<i64>>) -> Result<(), RowFailure> {
        self.push(position, value.into(), "a signed integer", |values, value| match values {
            Values::Signed(values) => {
                values.push(value);
                true
            }
            _ => false,
        })
    }

    /// An unsigned integer; `None` is NULL.
    ///
    /// # Errors
    /// When the column takes another kind of value.
    pub fn uint(&mut self, position: usize, value: impl Into<Option<u64>>) -> Result<(), RowFailure> {
        self.push(position, value.into(), "an unsigned integer", |values, value| match values {
            Values::Unsigned(values) => {
                values.push(value);
                true
            }
            _ => false,
        })
    }

    /// A floating-point number; `None` is NULL.
    ///
    /// # Errors
    /// When the column takes another kind of value.
    pub fn real(&mut self, position: usize, value: impl Into<Option<f64>>) -> Result<(), RowFailure> {
        self.push(position, value.into(), "a floating-point number", |values, value| match values {
            Values::Real(values) => {
                values.push(value);
                true
            }
            _ => false,
        })
    }

    /// A boolean; `None` is NULL.
    ///
    /// # Errors
    /// When the column takes another kind of value.
    pub fn boolean(&mut self, position: usize, value: impl Into<Option<bool>>) -> Result<(), RowFailure> {
        self.push(position, value.into(), "a boolean", |values, value| match values {
            Values::Bits(bits) => {
                bits.push(value);
                true
            }
            _ => false,
        })
    }

    /// A date; `None` is NULL.
    ///
    /// # Errors
    /// When the column takes another kind of value.
    pub fn date(&mut self, position: usize, value: impl Into<Option<Fields>>) -> Result<(), RowFailure> {
        self.int(position, value.into().map(Fields::to_days))
    }

    /// A timestamp; `None` is NULL.
    ///
    /// # Errors
    /// When the column takes another kind of value.
    pub fn timestamp(&mut self, position: usize, value: impl Into<Option<Fields>>) -> Result<(), RowFailure> {
        self.int(position, value.into().map(Fields::to_micros))
    }

    fn builder(&mut self, position: usize) -> Result<&mut Builder, RowFailure> {
        let row = self.row;
        let Some(builder) = self.columns.get_mut(position) else {
            return Err(RowFailure::new(
                "no-such-write",
                format!("the plan writes no column at position {position}"),
            ));
        };
        if builder.len() > row {
            return Err(RowFailure::new("written-twice", format!("column {position} was written twice")));
        }
        Ok(builder)
    }

    fn push<T>(
        &mut self,
        position: usize,
        value: Option<T>,
        kind: &str,
        append: impl FnOnce(&mut Values, T) -> bool,
    ) -> Result<(), RowFailure> {
        let builder = self.builder(position)?;
        match value {
            None => builder.push_null(),
            Some(value) => {
                if !append(&mut builder.values, value) {
                    return Err(RowFailure::new(
                        "wrong-kind",
                        format!("column {position} does not take {kind}"),
                    ));
                }
                builder.note_present();
            }
        }
        Ok(())
    }
}

/// Bits, least significant of each byte first.
#[derive(Debug, Default)]
struct Bits {
    bytes: Vec<u8>,
    len: usize,
}

impl Bits {
    fn filled(len: usize) -> Self {
        let mut bits = Self::default();
        for _ in 0..len {
            bits.push(true);
        }
        bits
    }

    fn push(&mut self, value: bool) {
        if self.len.is_multiple_of(8) {
            self.bytes.push(0);
        }
        if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(value) << (self.len % 8);
        }
        self.len += 1;
    }
}

#[derive(Debug)]
enum Values {
    Bits(Bits),
    Signed(Vec<i64>),
    Unsigned(Vec<u64>),
    Real(Vec<f64>),
    Varlen(Varlen),
}

#[derive(Debug)]
struct Builder {
    values: Values,
    /// Made at the first NULL.
    validity: Option<Bits>,
}

impl Builder {
    fn new(logical: &LogicalType, rows: usize) -> Self {
        let values = match logical {
            LogicalType::Boolean => Values::Bits(Bits::default()),
            LogicalType::Integer(integer) if !integer.signed => Values::Unsigned(Vec::with_capacity(rows)),
            LogicalType::Integer(_)
            | LogicalType::Date
            | LogicalType::Time(_)
            | LogicalType::Timestamp(_) => Values::Signed(Vec::with_capacity(rows)),
            LogicalType::Float32 | LogicalType::Float64 => Values::Real(Vec::with_capacity(rows)),
            LogicalType::Decimal(_)
            | LogicalType::Text(_)
            | LogicalType::Bytes(_)
            | LogicalType::Json
            | LogicalType::Uuid
            | LogicalType::Bit(_)
            | LogicalType::Enumeration(_)
            | LogicalType::Set(_)
            | LogicalType::Other(_) => {
                let mut offsets = Vec::with_capacity(rows + 1);
                offsets.push(0);
                Values::Varlen(Varlen { offsets, data: Vec::new() })
            }
        };
        Self { values, validity: None }
    }

    fn len(&self) -> usize {
        match &self.values {
            Values::Bits(bits) => bits.len,
            Values::Signed(values) => values.len(),
            Values::Unsigned(values) => values.len(),
            Values::Real(values) => values.len(),
            Values::Varlen(varlen) => varlen.offsets.len() - 1,
        }
    }

    fn note_present(&mut self) {
        if let Some(validity) = &mut self.validity {
            validity.push(true);
        }
    }

    fn push_null(&mut self) {
        let rows = self.len();
        self.validity.get_or_insert_with(|| Bits::filled(rows)).push(false);
        match &mut self.values {
            Values::Bits(bits) => bits.push(false),
            Values::Signed(values) => values.push(0),
            Values::Unsigned(values) => values.push(0),
            Values::Real(values) => values.push(0.0),
            Values::Varlen(varlen) => varlen.offsets.push(varlen.data.len() as u32),
        }
    }

    fn finish(self) -> Column {
        let values = match self.values {
            Values::Bits(bits) => Vector::Bits(bits.bytes),
            Values::Signed(values) => Vector::S64s(values),
            Values::Unsigned(values) => Vector::U64s(values),
            Values::Real(values) => Vector::F64s(values),
            Values::Varlen(varlen) => Vector::Varlen(varlen),
        };
        Column { values, validity: self.validity.map(|bits| bits.bytes).unwrap_or_default() }
    }
}
