//! One column of a batch: a contiguous vector and a validity bitmap.

use crate::bitmap::Bitmap;

/// Values of one column. Which variant a logical type uses is fixed by
/// [`LogicalType::layout`](crate::logical::LogicalType::layout).
///
/// A NULL row still has a slot: zero, false or an empty range.
#[derive(Debug, Clone, PartialEq)]
pub enum Vector {
    /// Booleans.
    Bits(Bitmap),
    /// Signed integers, dates (days), times and timestamps (microseconds).
    I64(Vec<i64>),
    /// Unsigned integers.
    U64(Vec<u64>),
    /// Floating point. A 32-bit source value is widened exactly.
    F64(Vec<f64>),
    /// Everything else.
    Varlen(Varlen),
}

/// Variable-length values, end to end. `offsets` has one entry more than there are rows; row `i`
/// is `data[offsets[i]..offsets[i + 1]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Varlen {
    /// Starts at 0, never decreases, ends at `data.len()`.
    pub offsets: Vec<u32>,
    /// Text is UTF-8, decimals are ASCII, bytes are raw.
    pub data: Vec<u8>,
}

impl Default for Varlen {
    fn default() -> Self {
        Self { offsets: vec![0], data: Vec::new() }
    }
}

impl Varlen {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends one value.
    #[inline]
    pub fn push(&mut self, value: &[u8]) {
        self.data.extend_from_slice(value);
        self.offsets.push(self.data.len() as u32);
    }

    /// Ends the value whose bytes were appended to `data` directly.
    #[inline]
    pub fn end_value(&mut self) {
        self.offsets.push(self.data.len() as u32);
    }

    /// Value `row`; empty when out of range.
    #[inline]
    pub fn get(&self, row: usize) -> &[u8] {
        let (Some(&start), Some(&end)) = (self.offsets.get(row), self.offsets.get(row + 1)) else {
            return &[];
        };
        self.data.get(start as usize..end as usize).unwrap_or(&[])
    }

    /// Whether the offsets describe `rows` values inside `data`. Required of vectors from a plugin.
    pub fn is_well_formed(&self, rows: usize) -> bool {
        self.offsets.len() == rows + 1
            && self.offsets.first() == Some(&0)
            && self.offsets.is_sorted()
            && self.offsets.last().is_some_and(|&end| end as usize == self.data.len())
    }
}

impl Vector {
    /// An empty vector of the same kind.
    #[must_use]
    pub fn empty_like(&self) -> Self {
        match self {
            Self::Bits(_) => Self::Bits(Bitmap::new()),
            Self::I64(_) => Self::I64(Vec::new()),
            Self::U64(_) => Self::U64(Vec::new()),
            Self::F64(_) => Self::F64(Vec::new()),
            Self::Varlen(_) => Self::Varlen(Varlen::default()),
        }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::Bits(bits) => bits.len(),
            Self::I64(values) => values.len(),
            Self::U64(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::Varlen(values) => values.len(),
        }
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory taken by the values, in bytes.
    pub fn size(&self) -> usize {
        match self {
            Self::Bits(bits) => bits.as_bytes().len(),
            Self::I64(values) => values.len() * 8,
            Self::U64(values) => values.len() * 8,
            Self::F64(values) => values.len() * 8,
            Self::Varlen(values) => values.data.len() + values.offsets.len() * 4,
        }
    }

    /// Appends value `row` of `other`, or the empty slot when the kinds differ (a NULL's slot).
    #[inline]
    pub fn push_from(&mut self, other: &Self, row: usize) {
        match (self, other) {
            (Self::Bits(to), Self::Bits(from)) => to.push(from.get(row)),
            (Self::I64(to), Self::I64(from)) => to.push(from.get(row).copied().unwrap_or_default()),
            (Self::U64(to), Self::U64(from)) => to.push(from.get(row).copied().unwrap_or_default()),
            (Self::F64(to), Self::F64(from)) => to.push(from.get(row).copied().unwrap_or_default()),
            (Self::Varlen(to), Self::Varlen(from)) => to.push(from.get(row)),
            (to, _) => to.push_empty(),
        }
    }

    /// Appends the slot of a NULL.
    #[inline]
    pub fn push_empty(&mut self) {
        match self {
            Self::Bits(values) => values.push(false),
            Self::I64(values) => values.push(0),
            Self::U64(values) => values.push(0),
            Self::F64(values) => values.push(0.0),
            Self::Varlen(values) => values.end_value(),
        }
    }
}

/// A vector and which of its rows are present.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// The values.
    pub values: Vector,
    /// One bit per row, 1 = present; `None` = no NULLs.
    pub validity: Option<Bitmap>,
}

impl Column {
    /// A column without NULLs.
    pub fn new(values: Vector) -> Self {
        Self { values, validity: None }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Whether row `row` is NULL.
    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        self.validity.as_ref().is_some_and(|validity| !validity.get(row))
    }

    /// Makes row `row` NULL, keeping its slot.
    pub fn set_null(&mut self, row: usize) {
        let rows = self.len();
        self.validity.get_or_insert_with(|| Bitmap::filled(rows, true)).set(row, false);
    }

    /// Appends a NULL.
    pub fn push_null(&mut self) {
        let rows = self.len();
        self.validity.get_or_insert_with(|| Bitmap::filled(rows, true)).push(false);
        self.values.push_empty();
    }

    /// Records that the value just appended to `values` is present. Call after each append.
    #[inline]
    pub fn note_present(&mut self) {
        if let Some(validity) = &mut self.validity {
            validity.push(true);
        }
    }

    /// Appends row `row` of `other`.
    #[inline]
    pub fn push_from(&mut self, other: &Self, row: usize) {
        if other.is_null(row) {
            self.push_null();
        } else {
            self.values.push_from(&other.values, row);
            self.note_present();
        }
    }

    /// The rows whose bit is set, in order.
    #[must_use]
    pub fn filter(&self, keep: &Bitmap) -> Self {
        let mut kept = Self::new(self.values.empty_like());
        for row in (0..self.len()).filter(|&row| keep.get(row)) {
            kept.push_from(self, row);
        }
        kept
    }

    /// The rows at `rows`, in that order.
    #[must_use]
    pub fn take(&self, rows: &[usize]) -> Self {
        let mut taken = Self::new(self.values.empty_like());
        for &row in rows {
            taken.push_from(self, row);
        }
        taken
    }

    /// Memory taken, in bytes.
    pub fn size(&self) -> usize {
        self.values.size() + self.validity.as_ref().map_or(0, |validity| validity.as_bytes().len())
    }

    /// Whether values and validity are consistent and `rows` long.
    pub fn is_well_formed(&self, rows: usize) -> bool {
        let values = match &self.values {
            Vector::Varlen(varlen) => varlen.is_well_formed(rows),
            other => other.len() == rows,
        };
        values && self.validity.as_ref().is_none_or(|validity| validity.len() == rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(values: &[Option<&str>]) -> Column {
        let mut column = Column::new(Vector::Varlen(Varlen::default()));
        for value in values {
            match (value, &mut column.values) {
                (Some(value), Vector::Varlen(varlen)) => {
                    varlen.push(value.as_bytes());
                    column.note_present();
                }
                _ => column.push_null(),
            }
        }
        column
    }

    #[test]
    fn null_and_empty_stay_distinct() {
        let column = text(&[Some(""), None, Some("x")]);
        assert!(column.is_well_formed(3));
        assert_eq!((0..3).map(|row| column.is_null(row)).collect::<Vec<_>>(), [false, true, false]);
        let kept = column.filter(&[false, true, true].into_iter().collect());
        assert_eq!(kept, text(&[None, Some("x")]));
        assert_eq!(column.take(&[2, 0]).len(), 2);
    }

    #[test]
    fn offsets_from_outside_are_checked() {
        let bad = Varlen { offsets: vec![0, 5, 3], data: vec![0; 3] };
        assert!(!bad.is_well_formed(2));
        let short = Varlen { offsets: vec![0, 9], data: vec![0; 3] };
        assert!(!short.is_well_formed(1));
        assert_eq!(short.get(0), b"");
    }
}
