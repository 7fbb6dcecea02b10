//! Writing one column: values appended row by row, or a whole vector.

use crate::RowFailure;
use crate::temporal::Fields;
use crate::types::{Column, LogicalType, Varlen, Vector};

/// One column of a plan's writes, growing by a value per row. Every function fails when the column
/// takes another kind of value.
#[derive(Debug)]
pub struct ColumnOutput {
    values: Values,
    /// Made at the first NULL.
    validity: Option<Bits>,
    rows: usize,
    position: usize,
}

/// Bits, least significant of each byte first.
#[derive(Debug, Default)]
struct Bits {
    bytes: Vec<u8>,
    len: usize,
}

#[derive(Debug)]
enum Values {
    Bits(Bits),
    Signed(Vec<i64>),
    Unsigned(Vec<u64>),
    Real(Vec<f64>),
    Varlen(Varlen),
    /// Handed over as a whole.
    Whole(Column),
}

impl ColumnOutput {
    /// Empty, with room for `rows`, at `position` of the plan's writes.
    pub(crate) fn new(logical: &LogicalType, position: usize, rows: usize) -> Self {
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
        Self { values, validity: None, rows: 0, position }
    }

    /// Rows written so far.
    #[inline]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The whole column at once: `column` holds `rows` values, laid out as the contract's `types`
    /// says for the column's type. The host checks that.
    ///
    /// # Errors
    /// When something was written already.
    pub fn whole(&mut self, column: Column, rows: usize) -> Result<(), RowFailure> {
        if self.rows > 0 || matches!(self.values, Values::Whole(_)) {
            return Err(RowFailure::new(
                "written-twice",
                format!("column {} was written twice", self.position),
            ));
        }
        self.values = Values::Whole(column);
        self.rows = rows;
        Ok(())
    }

    /// NULL.
    ///
    /// # Errors
    /// When the column was handed over as a whole.
    pub fn null(&mut self) -> Result<(), RowFailure> {
        match &mut self.values {
            Values::Bits(bits) => bits.push(false),
            Values::Signed(values) => values.push(0),
            Values::Unsigned(values) => values.push(0),
            Values::Real(values) => values.push(0.0),
            Values::Varlen(varlen) => varlen.offsets.push(varlen.data.len() as u32),
            Values::Whole(_) => return Err(self.wrong_kind("more")),
        }
        let rows = self.rows;
        self.validity.get_or_insert_with(|| Bits::filled(rows)).push(false);
        self.rows += 1;
        Ok(())
    }

    /// Text, or any other value held as text; `None` is NULL.
    ///
    /// # Errors
    /// When the column takes another kind of value.
    #[inline]
    pub fn text<'t>(&mut self, value: impl Into<Option<&'t str>>) -> Result<(), RowFailure> {
        self.bytes(value.into().map(str::as_bytes))
    }

    /// Raw bytes; `None` is NULL.
    ///
    /// # Errors
    /// When the column takes another kind of value.
    #[inline]
    pub fn bytes<'b>(&mut self, value: impl Into<Option<&'b [u8]>>) -> Result<(), RowFailure> {
        self.push(value.into(), "text or bytes", |values, value| match values {
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
    #[inline]
    pub fn int(&mut self, value: impl Into<Option<i64>>) -> Result<(), RowFailure> {
        self.push(value.into(), "a signed integer", |values, value| match values {
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
    #[inline]
    pub fn uint(&mut self, value: impl Into<Option<u64>>) -> Result<(), RowFailure> {
        self.push(value.into(), "an unsigned integer", |values, value| match values {
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
    #[inline]
    pub fn real(&mut self, value: impl Into<Option<f64>>) -> Result<(), RowFailure> {
        self.push(value.into(), "a floating-point number", |values, value| match values {
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
    #[inline]
    pub fn boolean(&mut self, value: impl Into<Option<bool>>) -> Result<(), RowFailure> {
        self.push(value.into(), "a boolean", |values, value| match values {
            Values::Bits(values) => {
                values.push(value);
                true
            }
            _ => false,
        })
    }

    /// A date; `None` is NULL.
    ///
    /// # Errors
    /// When the column takes another kind of value.
    #[inline]
    pub fn date(&mut self, value: impl Into<Option<Fields>>) -> Result<(), RowFailure> {
        self.int(value.into().map(Fields::to_days))
    }

    /// A timestamp; `None` is NULL.
    ///
    /// # Errors
    /// When the column takes another kind of value.
    #[inline]
    pub fn timestamp(&mut self, value: impl Into<Option<Fields>>) -> Result<(), RowFailure> {
        self.int(value.into().map(Fields::to_micros))
    }

    #[inline]
    fn push<T>(
        &mut self,
        value: Option<T>,
        kind: &str,
        append: impl FnOnce(&mut Values, T) -> bool,
    ) -> Result<(), RowFailure> {
        let Some(value) = value else { return self.null() };
        if !append(&mut self.values, value) {
            return Err(self.wrong_kind(kind));
        }
        if let Some(validity) = &mut self.validity {
            validity.push(true);
        }
        self.rows += 1;
        Ok(())
    }

    #[cold]
    fn wrong_kind(&self, kind: &str) -> RowFailure {
        RowFailure::new("wrong-kind", format!("column {} does not take {kind}", self.position))
    }

    /// Makes room for as many bytes as `input` holds.
    pub(crate) fn expect(&mut self, input: &Column) {
        if let (Values::Varlen(own), Vector::Varlen(input)) = (&mut self.values, &input.values) {
            own.data.reserve(input.data.len());
        }
    }

    /// What crosses to the host.
    pub(crate) fn finish(self) -> Column {
        let values = match self.values {
            Values::Bits(bits) => Vector::Bits(bits.bytes),
            Values::Signed(values) => Vector::S64s(values),
            Values::Unsigned(values) => Vector::U64s(values),
            Values::Real(values) => Vector::F64s(values),
            Values::Varlen(varlen) => Vector::Varlen(varlen),
            Values::Whole(column) => return column,
        };
        Column { values, validity: self.validity.map(|bits| bits.bytes).unwrap_or_default() }
    }
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
