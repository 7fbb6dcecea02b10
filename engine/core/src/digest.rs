//! Sets of rows summed up by the databases themselves, so that two of them can be compared without
//! reading a row of either.
//!
//! # The hash of a row
//! Each column's value is written down as bytes, [`ValueForm`] says how. A column counts as the CRC-32 of these
//! bytes, or as [`NULL`]. A [`Factor`] is a constant and the columns, each times a weight, modulo [`MODULUS`]. The row's
//! hash is the product of two factors: of the row key's columns and of the others; of a table that has either of them only,
//! both are of all columns. The digest is the number of rows and the sum of their hashes.
//!
//! Constants and weights are [drawn](Weights::draw) for each check. Rows that differ have one hash with a probability of about
//! the number of columns times 2⁻³²; CRC-32 itself sees every difference within 32 neighbouring bits. A value that is in the row of
//! another key meets another factor there, so that swapped values show, and equal rows don't cancel each other, as they would in an XOR.
//! Databases are quick at it: no row becomes a text, and the CRC-32 of a text costs them little more than looking at it.
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
    /// What the columns count.
    pub weights: Arc<Weights>,
}

/// What NULL counts as.
pub const NULL: u64 = MODULUS - 1;

/// The greatest prime below 2³².
pub const MODULUS: u64 = 4_294_967_291;

/// What the columns of a row count in its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weights {
    /// The hash is their product.
    pub factors: [Factor; 2],
}

/// A number for some columns of a row: the constant and what they count times their weights, modulo [`MODULUS`]. Before
/// that it stays below 2⁶⁴.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Factor {
    /// So that no row's factor is known to be zero.
    pub constant: u32,
    /// Places of columns, and their weights.
    pub terms: Vec<(usize, u32)>,
}

impl Weights {
    /// Weights for rows of so many columns, with those at some places being the key. `draw` answers any number from 1
    /// up to the given one.
    pub fn draw(columns: usize, key: &[usize], mut draw: impl FnMut(u32) -> u32) -> Self {
        let (of_key, others): (Vec<usize>, Vec<usize>) = (0..columns).partition(|place| key.contains(place));
        let is_split = !of_key.is_empty() && !others.is_empty();
        let mut factor = |places: Vec<usize>| {
            let places = if is_split { places } else { (0..columns).collect() };
            let greatest = u32::try_from(places.len()).map_or(1, |number| u32::MAX / (number + 1));
            let terms = places.into_iter().map(|place| (place, draw(greatest))).collect();
            Factor { constant: draw(u32::MAX), terms }
        };
        Self { factors: [factor(of_key), factor(others)] }
    }
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
    fn a_key_and_the_other_columns_are_a_factor_each() {
        let places = |columns, key: &[usize]| {
            Weights::draw(columns, key, |greatest| greatest)
                .factors
                .map(|factor| factor.terms.into_iter().map(|(place, _)| place).collect::<Vec<_>>())
        };
        assert_eq!(places(4, &[2, 0]), [vec![0, 2], vec![1, 3]]);
        assert_eq!(places(2, &[0, 1]), [vec![0, 1], vec![0, 1]]);
        assert_eq!(places(2, &[]), [vec![0, 1], vec![0, 1]]);
    }

    #[test]
    fn no_factor_overflows() {
        for columns in [1, 2, 3, 100, 4096] {
            for Factor { constant, terms } in Weights::draw(columns, &[], |greatest| greatest).factors {
                let sum: u128 =
                    terms.iter().map(|&(_, weight)| u128::from(weight) * u128::from(u32::MAX)).sum();
                assert!(sum + u128::from(constant) <= u128::from(u64::MAX), "{columns}");
                assert!(terms.iter().all(|&(_, weight)| weight > 1 << 18), "{columns}");
            }
        }
    }

    #[test]
    fn what_could_not_be_summed_up_is_the_same_as_nothing() {
        let digest = |rows, sum| Digest { rows, sum };
        assert!(digest(2, Some(5)).is_same(&digest(2, Some(5))));
        assert!(!digest(2, Some(5)).is_same(&digest(3, Some(5))));
        assert!(!digest(2, None).is_same(&digest(2, None)));
    }
}
