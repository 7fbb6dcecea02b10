//! Hashes of canonical rows, and sums of them.
//!
//! Rows and keys are hashed by SipHash-1-3 with 128 bits under a key that is drawn anew for each check
//! and never leaves the process: two different rows have one hash with a
//! probability of 2⁻¹²⁸, whoever chose them. Sets of rows are compared by their number and the sum of
//! their hashes modulo 2¹²⁸, which sees swapped values and pairs of equal rows, where XOR or a CRC
//! does not.

use rand::RngCore as _;
use siphasher::sip128::{Hasher128 as _, SipHasher13};
use std::hash::{BuildHasherDefault, Hasher};

use engine_core::examine::fields;

/// A hash of a row or of a key.
pub(super) type Hash = u128;

/// Hashes under one key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hashing {
    hasher: SipHasher13,
}

impl Hashing {
    /// A key that nobody knows.
    pub(super) fn draw() -> [u8; 16] {
        let mut key = [0; 16];
        rand::rng().fill_bytes(&mut key);
        key
    }

    pub(super) fn new(key: &[u8; 16]) -> Self {
        Self { hasher: SipHasher13::new_with_key(key) }
    }

    /// The hash of some bytes.
    #[inline]
    pub(super) fn bytes(&self, bytes: &[u8]) -> Hash {
        let mut hasher = self.hasher;
        hasher.write(bytes);
        hasher.finish128().as_u128()
    }

    /// The hash of those fields of a canonical row.
    #[inline]
    pub(super) fn fields(&self, row: &[u8], places: &[usize]) -> Hash {
        // Keys are most often a single field or the first ones.
        if let [place] = places {
            return self.bytes(fields(row).nth(*place).map_or(&[][..], |(_, whole)| whole));
        }
        let mut hasher = self.hasher;
        for &place in places {
            hasher.write(fields(row).nth(place).map_or(&[][..], |(_, whole)| whole));
        }
        hasher.finish128().as_u128()
    }
}

/// How many rows, and the sum of their hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Digest {
    pub(super) count: u64,
    pub(super) sum: Hash,
}

impl Digest {
    /// Adds a row.
    #[inline]
    pub(super) fn add(&mut self, hash: Hash) {
        self.count = self.count.wrapping_add(1);
        self.sum = self.sum.wrapping_add(hash);
    }

    /// Takes a row out.
    #[inline]
    pub(super) fn remove(&mut self, hash: Hash) {
        self.count = self.count.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(hash);
    }

    /// Adds a row `times` times, or takes it out.
    pub(super) fn add_times(&mut self, hash: Hash, times: i64) {
        self.count = self.count.wrapping_add_signed(times);
        self.sum = self.sum.wrapping_add(hash.wrapping_mul(i128::from(times) as u128));
    }
}

/// For maps whose keys are hashes already.
pub(super) type ByHash = BuildHasherDefault<Low>;

/// The low half of a hash.
#[derive(Debug, Default)]
pub(super) struct Low(u64);

impl Hasher for Low {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u128(&mut self, number: u128) {
        self.0 = number as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::examine::CanonicalRows;

    fn rows(values: &[(&str, Option<&str>)]) -> Vec<Vec<u8>> {
        let mut rows = CanonicalRows::default();
        for (one, other) in values {
            rows.field(Some(one.as_bytes()));
            rows.field(other.map(str::as_bytes));
            rows.end_row();
        }
        rows.iter().map(<[u8]>::to_vec).collect()
    }

    fn digest(rows: &[Vec<u8>]) -> Digest {
        let hashing = Hashing::new(&[7; 16]);
        let mut digest = Digest::default();
        rows.iter().for_each(|row| digest.add(hashing.bytes(row)));
        digest
    }

    #[test]
    fn swaps_pairs_and_borders_are_seen() {
        let before = digest(&rows(&[("1", Some("alice")), ("2", Some("carol"))]));
        assert_ne!(before, digest(&rows(&[("1", Some("carol")), ("2", Some("alice"))])));
        assert_ne!(digest(&rows(&[("a", Some("bc"))])), digest(&rows(&[("ab", Some("c"))])));
        assert_ne!(digest(&rows(&[("a", None)])), digest(&rows(&[("a", Some(""))])));
        let pair = rows(&[("1", None), ("1", None)]);
        assert_ne!(digest(&pair), Digest::default());
        assert_ne!(digest(&pair).sum, digest(&rows(&[("2", None), ("2", None)])).sum);
    }

    #[test]
    fn what_was_added_can_be_taken_out() {
        let mut sum = Digest::default();
        sum.add(Hash::MAX - 3);
        sum.add(9);
        sum.add_times(9, -1);
        sum.remove(Hash::MAX - 3);
        assert_eq!(sum, Digest::default());
        sum.add_times(5, 3);
        (0..3).for_each(|_| sum.remove(5));
        assert_eq!(sum, Digest::default());
    }

    #[test]
    fn a_key_is_its_fields_and_nothing_else() {
        let hashing = Hashing::new(&[7; 16]);
        let rows = rows(&[("1", Some("x")), ("1", Some("y")), ("2", Some("x"))]);
        let key = |row: usize, places: &[usize]| hashing.fields(&rows[row], places);
        assert_eq!(key(0, &[0]), key(1, &[0]));
        assert_ne!(key(0, &[0]), key(2, &[0]));
        assert_eq!(key(0, &[0, 1]), hashing.bytes(&rows[0]));
        assert_ne!(key(0, &[0, 1]), key(0, &[1, 0]));
    }
}
