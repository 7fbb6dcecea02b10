//! A reader over bytes from the server that can't run past their end.

use memchr::memchr;

use super::lsn::Lsn;

/// Why bytes from the server could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

const SHORT: Malformed = Malformed("it ends in the middle of a field");

/// Microseconds from 1970 to 2000, where the server's clock begins.
const EPOCH: i64 = 946_684_800_000_000;

/// A time of the server as microseconds since 1970.
pub(crate) fn since_1970(since_2000: i64) -> i64 {
    since_2000.saturating_add(EPOCH)
}

/// A time in microseconds since 1970 as the server counts it.
pub(crate) fn since_2000(since_1970: i64) -> i64 {
    since_1970.saturating_sub(EPOCH)
}

/// Takes fields off the front of a byte slice; integers are big-endian.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
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
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    pub(crate) fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn lsn(&mut self) -> Result<Lsn, Malformed> {
        self.u64().map(Lsn)
    }

    /// A time of the server, as microseconds since 1970.
    pub(crate) fn time(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_be_bytes).map(since_1970)
    }

    /// Bytes up to a zero byte, which is taken too.
    pub(crate) fn terminated(&mut self) -> Result<&'a [u8], Malformed> {
        let end = memchr(0, self.0).ok_or(Malformed("a text in it has no end"))?;
        let text = self.take(end)?;
        self.take(1)?;
        Ok(text)
    }

    /// The same, as text.
    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.terminated()?).map_err(|_| Malformed("a name in it is not UTF-8"))
    }

    /// Fails unless everything was taken.
    pub(crate) fn end(&self) -> Result<(), Malformed> {
        if self.is_empty() { Ok(()) } else { Err(Malformed("it goes on after its last field")) }
    }
}
