//! Sets of rows summed up by the databases themselves, so that two of them can be compared without
//! reading a row of either.
//!
//! # The text of a row
//! Each column's value is written down as bytes, [`ValueForm`] says how, then as their number, a colon
//! and the bytes themselves; `~` stands for NULL. The row's text is a [salt](DigestRequest::salt) and the
//! columns in order, so that no two different rows have one text. The row's hash are the first 64 bits of
//! the SHA-256 of its text, and the digest is the number of rows and the sum of their hashes, which sees
//! swapped values and pairs of equal rows.
//!
//! Both databases must write each column down in the same form. Where there is none that both know,
//! the table's rows have to be read.

use std::sync::Arc;

use crate::schema::TableSchema;
use crate::source::ChunkRange;

/// How values of a column are written down. Two columns whose forms are equal write equal values
/// down as the same bytes and different ones as different bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueForm {
    /// Digits, with a minus before them.
    Integer,
    /// Digits with so many after the point.
    Decimal {
        /// Digits after the point.
        scale: u32,
    },
    /// The bits of the double that has the value, little-endian, as sixteen upper-case hexadecimal digits.
    Float,
    /// UTF-8.
    Text,
    /// The document as the server prints it; the engine's name says which server.
    Document(&'static str),
    /// Raw bytes.
    Bytes,
    /// `2024-02-31`
    Date,
    /// `2024-02-31 23:59:59.999`, in UTC where that matters, with so many digits after the point.
    Timestamp {
        /// Digits after the point.
        precision: u32,
    },
    /// `-838:59:59.000000`, with so many digits after the point.
    Time {
        /// Digits after the point.
        precision: u32,
    },
    /// The place of one of these labels, from 1 on; 0 for none.
    Label(Vec<String>),
    /// A number with a bit for each of these labels.
    Labels(Vec<String>),
}

/// What a source is to sum up.
#[derive(Debug, Clone)]
pub struct DigestRequest {
    /// The table.
    pub table: Arc<TableSchema>,
    /// Ordinals of the columns in the order in which they are written down.
    pub columns: Vec<usize>,
    /// Which rows.
    pub range: ChunkRange,
    /// As in a [`ReadRequest`](crate::source::ReadRequest::exact).
    pub exact: bool,
    /// What each row's text begins with; letters and digits.
    pub salt: String,
}

/// A set of rows, summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// Number of rows.
    pub rows: u64,
    /// Sum of their hashes; `None` when the server could not write all of them down.
    pub sum: Option<u128>,
}

impl Digest {
    /// Whether two sets of rows are the same.
    pub fn is_same(&self, other: &Self) -> bool {
        self.rows == other.rows && self.sum.is_some() && self.sum == other.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_summed_up_is_the_same_as_nothing() {
        let digest = |rows, sum| Digest { rows, sum };
        assert!(digest(2, Some(5)).is_same(&digest(2, Some(5))));
        assert!(!digest(2, Some(5)).is_same(&digest(3, Some(5))));
        assert!(!digest(2, None).is_same(&digest(2, None)));
    }
}
