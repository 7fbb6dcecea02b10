//! The values of a row.

use super::super::fields::{Fields, Malformed};

/// One value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cell<'a> {
    /// NULL.
    Null,
    /// A value out of line (TOAST) that the change did not touch; it was not logged.
    Unchanged,
    /// In the text format of its type.
    Text(&'a [u8]),
    /// In the binary format of its type.
    Binary(&'a [u8]),
}

/// The values of a row, in the order of the columns of its relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tuple<'a> {
    columns: u16,
    /// As in the message; read through once already, so that it holds as many values as it says.
    cells: &'a [u8],
}

impl<'a> Tuple<'a> {
    pub(super) fn read(fields: &mut Fields<'a>) -> Result<Self, Malformed> {
        let columns = fields.u16()?;
        let before = fields.rest();
        for _ in 0..columns {
            read_cell(fields)?;
        }
        let length = before.len() - fields.rest().len();
        Ok(Self { columns, cells: before.get(..length).unwrap_or_default() })
    }

    /// Number of values.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.columns)
    }

    /// The values, each column's.
    pub(crate) fn cells(&self) -> Cells<'a> {
        Cells { left: self.columns, fields: Fields::new(self.cells) }
    }
}

/// Goes over the values of a row.
#[derive(Debug, Clone)]
pub(crate) struct Cells<'a> {
    left: u16,
    fields: Fields<'a>,
}

impl<'a> Iterator for Cells<'a> {
    type Item = Cell<'a>;

    #[inline]
    fn next(&mut self) -> Option<Cell<'a>> {
        self.left = self.left.checked_sub(1)?;
        read_cell(&mut self.fields).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for Cells<'_> {}

#[inline]
fn read_cell<'a>(fields: &mut Fields<'a>) -> Result<Cell<'a>, Malformed> {
    let kind = fields.u8()?;
    Ok(match kind {
        b'n' => Cell::Null,
        b'u' => Cell::Unchanged,
        b't' | b'b' => {
            let length = fields.u32()?;
            let value = fields.take(length as usize)?;
            if kind == b't' { Cell::Text(value) } else { Cell::Binary(value) }
        }
        _ => return Err(Malformed("a value is in an unknown format")),
    })
}
