//! A growable bit vector: validity of a column, values of a boolean column, rows to keep.

use serde::{Deserialize, Serialize};

/// Bits, least significant bit of each byte first: the layout of Arrow and of the plugin contract.
/// Bits beyond [`Bitmap::len`] in the last byte are zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bitmap {
    bytes: Vec<u8>,
    len: usize,
}

impl Bitmap {
    /// An empty bitmap.
    pub fn new() -> Self {
        Self::default()
    }

    /// `len` bits, all of them `value`.
    pub fn filled(len: usize, value: bool) -> Self {
        let mut bitmap = Self { bytes: vec![if value { 0xff } else { 0 }; len.div_ceil(8)], len };
        bitmap.clear_tail();
        bitmap
    }

    /// Takes `len` bits from `bytes`; `None` when there are too few bytes.
    pub fn from_bytes(mut bytes: Vec<u8>, len: usize) -> Option<Self> {
        let needed = len.div_ceil(8);
        if bytes.len() < needed {
            return None;
        }
        bytes.truncate(needed);
        let mut bitmap = Self { bytes, len };
        bitmap.clear_tail();
        Some(bitmap)
    }

    fn clear_tail(&mut self) {
        let used = self.len % 8;
        if used != 0
            && let Some(last) = self.bytes.last_mut()
        {
            *last &= (1u8 << used) - 1;
        }
    }

    /// Number of bits.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bits as bytes, `len().div_ceil(8)` of them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends one bit.
    #[inline]
    pub fn push(&mut self, value: bool) {
        let bit = self.len % 8;
        if bit == 0 {
            self.bytes.push(0);
        }
        if value && let Some(last) = self.bytes.last_mut() {
            *last |= 1 << bit;
        }
        self.len += 1;
    }

    /// Bit `index`; false beyond the end.
    #[inline]
    pub fn get(&self, index: usize) -> bool {
        index < self.len && self.bytes.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1)
    }

    /// Sets bit `index`; does nothing beyond the end.
    #[inline]
    pub fn set(&mut self, index: usize, value: bool) {
        if index >= self.len {
            return;
        }
        if let Some(byte) = self.bytes.get_mut(index / 8) {
            if value {
                *byte |= 1 << (index % 8);
            } else {
                *byte &= !(1 << (index % 8));
            }
        }
    }

    /// How many bits are set.
    pub fn count_ones(&self) -> usize {
        self.bytes.iter().map(|byte| byte.count_ones() as usize).sum()
    }

    /// Whether every bit is set.
    pub fn all(&self) -> bool {
        self.count_ones() == self.len
    }

    /// The bits in order.
    pub fn iter(&self) -> impl Iterator<Item = bool> + '_ {
        (0..self.len).map(|index| self.get(index))
    }
}

impl FromIterator<bool> for Bitmap {
    fn from_iter<I: IntoIterator<Item = bool>>(bits: I) -> Self {
        let mut bitmap = Self::new();
        for bit in bits {
            bitmap.push(bit);
        }
        bitmap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushes_and_reads_back() {
        let bits = [true, false, true, true, false, false, true, true, true, false];
        let bitmap: Bitmap = bits.into_iter().collect();
        assert_eq!(bitmap.iter().collect::<Vec<_>>(), bits);
        assert_eq!(bitmap.count_ones(), 6);
        assert_eq!(bitmap.as_bytes(), [0b1100_1101, 0b01]);
    }

    #[test]
    fn tail_bits_are_zero_whatever_came_in() {
        let bitmap = Bitmap::from_bytes(vec![0xff, 0xff], 9).expect("enough bytes");
        assert_eq!(bitmap.as_bytes(), [0xff, 0x01]);
        assert!(bitmap.all());
        assert!(Bitmap::from_bytes(vec![0xff], 9).is_none());
    }
}
