//! The one codec that turns text of a source into UTF-8, for the snapshot and the binlog alike.
//!
//! Unicode encodings are decoded here. For every other character set the source server itself is
//! asked for its conversion table, so that a value comes out exactly as the server would convert
//! it. Bytes that the server can't convert (it would answer `?`) are an [`Unmappable`] error.

mod load;
mod registry;
mod table;
mod unicode;

use std::fmt;
use std::sync::Arc;

use self::table::{GbTable, PairTable, SingleTable};

pub use self::registry::Charsets;

/// A character set of the source server. Cloning shares the tables.
#[derive(Debug, Clone)]
pub struct Charset {
    name: Arc<str>,
    codec: Codec,
}

/// How the bytes of a character set become UTF-8.
#[derive(Debug, Clone)]
enum Codec {
    Utf8,
    Ascii,
    Ucs2,
    Utf16 { little_endian: bool },
    Utf32,
    Single(Arc<SingleTable>),
    Pairs(Arc<PairTable>),
    Gb18030(Arc<GbTable>),
}

/// Bytes of a text value that have no Unicode character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmappable {
    /// The character set of the value.
    pub charset: Arc<str>,
    /// Where in the value, in bytes.
    pub offset: usize,
    /// The bytes from there on, four at most.
    pub bytes: Vec<u8>,
}

impl fmt::Display for Unmappable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "byte {} of the value (X'{}') is no character of {} that Unicode knows",
            self.offset,
            hex::encode_upper(&self.bytes),
            self.charset
        )
    }
}

impl std::error::Error for Unmappable {}

impl Charset {
    /// A character set that needs no table: the Unicode encodings and ASCII. `None` for others.
    pub fn native(name: &str) -> Option<Self> {
        let codec = match name {
            "utf8mb4" | "utf8mb3" | "utf8" => Codec::Utf8,
            "ascii" => Codec::Ascii,
            "ucs2" => Codec::Ucs2,
            "utf16" => Codec::Utf16 { little_endian: false },
            "utf16le" => Codec::Utf16 { little_endian: true },
            "utf32" => Codec::Utf32,
            _ => return None,
        };
        Some(Self { name: name.into(), codec })
    }

    /// The server's name of the character set, e.g. `utf8mb4`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether values are UTF-8 already, so that decoding only has to validate them.
    pub fn is_utf8(&self) -> bool {
        matches!(self.codec, Codec::Utf8 | Codec::Ascii)
    }

    /// Appends `raw` to `out` as UTF-8. On an error `out` is left as it was.
    #[inline]
    pub fn decode_into(&self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), Unmappable> {
        let kept = out.len();
        let decoded = match &self.codec {
            Codec::Utf8 => unicode::utf8(raw, out),
            Codec::Ascii => unicode::ascii(raw, out),
            Codec::Ucs2 => unicode::ucs2(raw, out),
            Codec::Utf16 { little_endian } => unicode::utf16(raw, *little_endian, out),
            Codec::Utf32 => unicode::utf32(raw, out),
            Codec::Single(table) => table.decode(raw, out),
            Codec::Pairs(table) => table.decode(raw, out),
            Codec::Gb18030(table) => table.decode(raw, out),
        };
        decoded.map_err(|Undecoded(offset)| {
            out.truncate(kept);
            self.unmappable(raw, offset)
        })
    }

    #[cold]
    fn unmappable(&self, raw: &[u8], offset: usize) -> Unmappable {
        let bytes = raw.get(offset..).unwrap_or_default().iter().copied().take(4).collect();
        Unmappable { charset: Arc::clone(&self.name), offset, bytes }
    }
}

/// Offset of the first byte that could not be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Undecoded(usize);

fn push_char(c: char, out: &mut Vec<u8>) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}
