//! Reading one column: typed values by row, or the whole vector.

use crate::RowFailure;
use crate::temporal::Fields;
use crate::types::{Column as Raw, Vector};

/// One column of a batch. Every accessor takes a row of the batch and answers `None` for NULL; it
/// fails when the column holds another kind of value or has no such row.
#[derive(Debug, Clone, Copy)]
pub struct Column<'a> {
    raw: &'a Raw,
    /// All values as one text, once that was found to be UTF-8.
    text: Option<&'a str>,
    position: usize,
}

impl<'a> Column<'a> {
    /// The column at `position` of the plan's reads.
    pub(crate) fn new(raw: &'a Raw, position: usize) -> Self {
        Self { raw, text: None, position }
    }

    /// Checks the text of all rows at once, which makes reading it row by row cheaper.
    pub(crate) fn with_text(self) -> Self {
        let text = match &self.raw.values {
            Vector::Varlen(varlen) => std::str::from_utf8(&varlen.data).ok(),
            _ => None,
        };
        Self { text, ..self }
    }

    /// The vector and its NULLs as they crossed, to be worked on as a whole. The contract's `types`
    /// says how values lie in it.
    pub fn raw(&self) -> &'a Raw {
        self.raw
    }

    /// Whether the value of `row` is NULL.
    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        let validity = &self.raw.validity;
        !validity.is_empty() && validity.get(row / 8).is_none_or(|byte| byte >> (row % 8) & 1 == 0)
    }

    /// Text, JSON, an enumeration's label, a set's labels, or a decimal's digits.
    ///
    /// # Errors
    /// When the column holds something else.
    #[inline]
    pub fn text(&self, row: usize) -> Result<Option<&'a str>, RowFailure> {
        if let Some(text) = self.text
            && let Vector::Varlen(varlen) = &self.raw.values
            && !self.is_null(row)
            && let Some(&[start, end]) = varlen.offsets.get(row..).and_then(<[u32]>::first_chunk)
            && let Some(value) = text.get(start as usize..end as usize)
        {
            return Ok(Some(value));
        }
        let Some(bytes) = self.bytes(row)? else { return Ok(None) };
        match std::str::from_utf8(bytes) {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(RowFailure::new("not-text", format!("read {} is not UTF-8", self.position))),
        }
    }

    /// Raw bytes of anything of variable length.
    ///
    /// # Errors
    /// When the column holds something else.
    #[inline]
    pub fn bytes(&self, row: usize) -> Result<Option<&'a [u8]>, RowFailure> {
        self.value(row, "text or bytes", |values| match values {
            Vector::Varlen(varlen) => {
                let &[start, end] = varlen.offsets.get(row..)?.first_chunk()?;
                varlen.data.get(start as usize..end as usize)
            }
            _ => None,
        })
    }

    /// A signed integer.
    ///
    /// # Errors
    /// When the column holds something else.
    #[inline]
    pub fn int(&self, row: usize) -> Result<Option<i64>, RowFailure> {
        self.value(row, "a signed integer", |values| match values {
            Vector::S64s(values) => values.get(row).copied(),
            _ => None,
        })
    }

    /// An unsigned integer.
    ///
    /// # Errors
    /// When the column holds something else.
    #[inline]
    pub fn uint(&self, row: usize) -> Result<Option<u64>, RowFailure> {
        self.value(row, "an unsigned integer", |values| match values {
            Vector::U64s(values) => values.get(row).copied(),
            _ => None,
        })
    }

    /// An integer, signed or not.
    ///
    /// # Errors
    /// When the column holds something else.
    #[inline]
    pub fn integer(&self, row: usize) -> Result<Option<i128>, RowFailure> {
        self.value(row, "an integer", |values| match values {
            Vector::S64s(values) => values.get(row).copied().map(i128::from),
            Vector::U64s(values) => values.get(row).copied().map(i128::from),
            _ => None,
        })
    }

    /// A floating-point number.
    ///
    /// # Errors
    /// When the column holds something else.
    #[inline]
    pub fn real(&self, row: usize) -> Result<Option<f64>, RowFailure> {
        self.value(row, "a floating-point number", |values| match values {
            Vector::F64s(values) => values.get(row).copied(),
            _ => None,
        })
    }

    /// A boolean.
    ///
    /// # Errors
    /// When the column holds something else.
    #[inline]
    pub fn boolean(&self, row: usize) -> Result<Option<bool>, RowFailure> {
        self.value(row, "a boolean", |values| match values {
            Vector::Bits(bytes) => bytes.get(row / 8).map(|byte| byte >> (row % 8) & 1 == 1),
            _ => None,
        })
    }

    /// A date, irregular ones included: see [`crate::temporal`].
    ///
    /// # Errors
    /// When the column holds something else.
    #[inline]
    pub fn date(&self, row: usize) -> Result<Option<Fields>, RowFailure> {
        Ok(self.int(row)?.map(Fields::from_days))
    }

    /// A timestamp, irregular ones included: see [`crate::temporal`].
    ///
    /// # Errors
    /// When the column holds something else.
    #[inline]
    pub fn timestamp(&self, row: usize) -> Result<Option<Fields>, RowFailure> {
        Ok(self.int(row)?.map(Fields::from_micros))
    }

    #[inline]
    fn value<T>(
        &self,
        row: usize,
        wanted: &str,
        read: impl FnOnce(&'a Vector) -> Option<T>,
    ) -> Result<Option<T>, RowFailure> {
        if self.is_null(row) {
            return Ok(None);
        }
        match read(&self.raw.values) {
            Some(value) => Ok(Some(value)),
            None => Err(self.wrong_kind(wanted)),
        }
    }

    #[cold]
    fn wrong_kind(&self, wanted: &str) -> RowFailure {
        RowFailure::new("wrong-kind", format!("read {} does not hold {wanted}", self.position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Varlen;

    fn varlen(offsets: &[u32], data: &[u8], validity: &[u8]) -> Raw {
        let values = Vector::Varlen(Varlen { offsets: offsets.to_vec(), data: data.to_vec() });
        Raw { values, validity: validity.to_vec() }
    }

    #[test]
    fn text_is_the_same_checked_at_once_or_row_by_row() {
        let raw = varlen(&[0, 2, 2, 3, 3], "éx".as_bytes(), &[0b1101]);
        for column in [Column::new(&raw, 0), Column::new(&raw, 0).with_text()] {
            let texts: Vec<_> = (0..4).map(|row| column.text(row).expect("text")).collect();
            assert_eq!(texts, [Some("é"), None, Some("x"), Some("")]);
            assert_eq!(column.int(0).expect_err("no number").code, "wrong-kind");
        }
    }

    #[test]
    fn only_the_row_that_is_not_text_says_so() {
        let torn = [varlen(&[0, 1, 2, 3], b"a\xffb", &[]), varlen(&[0, 1, 2, 3], "aé".as_bytes(), &[])];
        for raw in torn {
            let column = Column::new(&raw, 0).with_text();
            assert_eq!(column.text(0), Ok(Some("a")));
            assert_eq!(column.text(1).expect_err("no text").code, "not-text");
        }
    }
}
