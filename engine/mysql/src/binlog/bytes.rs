//! A reader over bytes from the server that can't run past their end.

/// Why bytes from the server could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

const SHORT: Malformed = Malformed("it ends in the middle of a field");

/// Takes fields off the front of a byte slice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Everything not taken yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes `count` bytes.
    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*taken)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// An unsigned little-endian integer of `width` bytes, at most eight.
    #[inline]
    pub(crate) fn little_endian(&mut self, width: usize) -> Result<u64, Malformed> {
        Ok(self.take(width)?.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    /// An unsigned big-endian integer of `width` bytes, at most eight.
    #[inline]
    pub(crate) fn big_endian(&mut self, width: usize) -> Result<u64, Malformed> {
        Ok(self.take(width)?.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    /// A length-encoded integer of the client protocol.
    pub(crate) fn length_encoded(&mut self) -> Result<u64, Malformed> {
        match self.u8()? {
            small @ 0..=250 => Ok(u64::from(small)),
            252 => self.little_endian(2),
            253 => self.little_endian(3),
            254 => self.u64(),
            _ => Err(Malformed("a length has an impossible first byte")),
        }
    }

    /// A variable-length integer of MySQL's serialization library: as many bytes follow the first
    /// as that one has trailing one-bits, and the remaining bits are the value's lowest.
    pub(crate) fn serialized(&mut self) -> Result<u64, Malformed> {
        let first = self.u8()?;
        let more = first.trailing_ones();
        if more == 8 {
            return self.u64();
        }
        let high = self.little_endian(more as usize)?;
        let low = u64::from(first).checked_shr(more + 1).unwrap_or(0);
        Ok(high << (7 - more) | low)
    }
}

/// Bit `index` of a bitmap whose first bit is the lowest of the first byte; false beyond its end.
#[inline]
pub(crate) fn bit(bitmap: &[u8], index: usize) -> bool {
    bitmap.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_every_width() {
        let mut bytes = Bytes::new(&[250, 252, 1, 2, 253, 1, 2, 3, 254, 1, 0, 0, 0, 0, 0, 0, 0, 251]);
        assert_eq!(bytes.length_encoded(), Ok(250));
        assert_eq!(bytes.length_encoded(), Ok(0x0201));
        assert_eq!(bytes.length_encoded(), Ok(0x03_0201));
        assert_eq!(bytes.length_encoded(), Ok(1));
        assert!(bytes.length_encoded().is_err());
    }

    #[test]
    fn serialized_integers() {
        let encode = |value: u64, width: u32| {
            let marked = value << width | ((1 << (width - 1)) - 1);
            marked.to_le_bytes()[..width as usize].to_vec()
        };
        for (value, width) in
            [(0, 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3), ((1 << 49) - 1, 7), ((1 << 56) - 1, 8)]
        {
            assert_eq!(Bytes::new(&encode(value, width)).serialized(), Ok(value), "{value}");
        }
        assert_eq!(Bytes::new(&[0xff; 9]).serialized(), Ok(u64::MAX));
        assert!(Bytes::new(&[0x01]).serialized().is_err());
    }
}
