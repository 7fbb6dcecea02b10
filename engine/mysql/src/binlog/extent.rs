//! How many bytes a value takes in a row event, by the type the table map gives it.

use super::bytes::{Bytes, Malformed};
use super::decimal::PackedDecimal;
use super::temporal::fraction_bytes;

/// Type numbers of the table map event.
pub(crate) mod wire_type {
    pub(crate) const TINY: u8 = 1;
    pub(crate) const SHORT: u8 = 2;
    pub(crate) const LONG: u8 = 3;
    pub(crate) const FLOAT: u8 = 4;
    pub(crate) const DOUBLE: u8 = 5;
    pub(crate) const TIMESTAMP: u8 = 7;
    pub(crate) const LONGLONG: u8 = 8;
    pub(crate) const INT24: u8 = 9;
    pub(crate) const DATE: u8 = 10;
    pub(crate) const TIME: u8 = 11;
    pub(crate) const DATETIME: u8 = 12;
    pub(crate) const YEAR: u8 = 13;
    pub(crate) const NEWDATE: u8 = 14;
    pub(crate) const VARCHAR: u8 = 15;
    pub(crate) const BIT: u8 = 16;
    pub(crate) const TIMESTAMP2: u8 = 17;
    pub(crate) const DATETIME2: u8 = 18;
    pub(crate) const TIME2: u8 = 19;
    /// MariaDB's `BLOB … COMPRESSED` and `TEXT … COMPRESSED`.
    pub(crate) const BLOB_COMPRESSED: u8 = 140;
    /// MariaDB's `VARCHAR … COMPRESSED` and `VARBINARY … COMPRESSED`.
    pub(crate) const VARCHAR_COMPRESSED: u8 = 141;
    pub(crate) const VECTOR: u8 = 242;
    pub(crate) const JSON: u8 = 245;
    pub(crate) const NEWDECIMAL: u8 = 246;
    pub(crate) const ENUM: u8 = 247;
    pub(crate) const SET: u8 = 248;
    pub(crate) const TINY_BLOB: u8 = 249;
    pub(crate) const MEDIUM_BLOB: u8 = 250;
    pub(crate) const LONG_BLOB: u8 = 251;
    pub(crate) const BLOB: u8 = 252;
    pub(crate) const VAR_STRING: u8 = 253;
    pub(crate) const STRING: u8 = 254;
    pub(crate) const GEOMETRY: u8 = 255;
}

/// A column as the table map describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WireColumn {
    /// One of [`wire_type`]; ENUM and SET are told from CHAR already.
    pub(crate) kind: u8,
    /// What the type's metadata says: fractional digits, largest size in bytes, precision and
    /// scale as `precision << 8 | scale`, bits of a BIT.
    pub(crate) detail: u16,
    /// Where a value ends.
    pub(crate) extent: Extent,
}

/// Where a value ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// After so many bytes.
    Fixed(usize),
    /// After as many bytes as a little-endian length of this many bytes says.
    Prefixed(usize),
}

impl Extent {
    /// Takes the bytes of one value.
    #[inline]
    pub(crate) fn take<'a>(&self, input: &mut Bytes<'a>) -> Result<&'a [u8], Malformed> {
        let length = match self {
            Self::Fixed(length) => *length,
            Self::Prefixed(width) => input.little_endian(*width)? as usize,
        };
        input.take(length)
    }
}

/// Bytes of metadata that a type has in the table map. `None` for a type nobody knows.
fn metadata_width(kind: u8) -> Option<usize> {
    use wire_type::{
        BIT, BLOB, BLOB_COMPRESSED, DATE, DATETIME, DATETIME2, DOUBLE, ENUM, FLOAT, GEOMETRY, INT24, JSON,
        LONG, LONG_BLOB, LONGLONG, MEDIUM_BLOB, NEWDATE, NEWDECIMAL, SET, SHORT, STRING, TIME, TIME2,
        TIMESTAMP, TIMESTAMP2, TINY, TINY_BLOB, VAR_STRING, VARCHAR, VARCHAR_COMPRESSED, VECTOR, YEAR,
    };
    match kind {
        TINY | SHORT | LONG | LONGLONG | INT24 | YEAR | TIMESTAMP | DATE | TIME | DATETIME | NEWDATE => {
            Some(0)
        }
        FLOAT | DOUBLE | BLOB | TINY_BLOB | MEDIUM_BLOB | LONG_BLOB | JSON | GEOMETRY | VECTOR
        | TIMESTAMP2 | DATETIME2 | TIME2 | BLOB_COMPRESSED => Some(1),
        VARCHAR | VARCHAR_COMPRESSED | BIT | NEWDECIMAL | STRING | VAR_STRING | ENUM | SET => Some(2),
        _ => None,
    }
}

impl WireColumn {
    /// Reads the metadata of one column of type `kind`.
    pub(crate) fn read(kind: u8, metadata: &mut Bytes<'_>) -> Result<Self, Malformed> {
        use wire_type::{
            BIT, BLOB, BLOB_COMPRESSED, DATE, DATETIME, DATETIME2, DOUBLE, ENUM, FLOAT, GEOMETRY, INT24,
            JSON, LONG, LONG_BLOB, LONGLONG, MEDIUM_BLOB, NEWDATE, NEWDECIMAL, SET, SHORT, STRING, TIME,
            TIME2, TIMESTAMP, TIMESTAMP2, TINY, TINY_BLOB, VAR_STRING, VARCHAR, VARCHAR_COMPRESSED, VECTOR,
            YEAR,
        };
        const UNKNOWN: Malformed = Malformed("the table map has a column type this engine does not know");
        let width = metadata_width(kind).ok_or(UNKNOWN)?;
        let raw = metadata.take(width)?;
        let (first, second) = (raw.first().copied().unwrap_or(0), raw.get(1).copied().unwrap_or(0));
        let detail = u16::from(first);
        let fixed = |length, detail| Ok(Self { kind, detail, extent: Extent::Fixed(length) });
        let prefix_for = |largest: u16| Extent::Prefixed(if largest > 255 { 2 } else { 1 });
        match kind {
            TINY | YEAR => fixed(1, 0),
            SHORT => fixed(2, 0),
            INT24 | DATE | NEWDATE | TIME => fixed(3, 0),
            LONG | TIMESTAMP => fixed(4, 0),
            LONGLONG | DATETIME => fixed(8, 0),
            FLOAT => fixed(4, detail),
            DOUBLE => fixed(8, detail),
            TIMESTAMP2 | DATETIME2 | TIME2 => {
                if first > 6 {
                    return Err(Malformed("the table map has a time with more than six fractional digits"));
                }
                let whole = match kind {
                    TIMESTAMP2 => 4,
                    DATETIME2 => 5,
                    _ => 3,
                };
                fixed(whole + fraction_bytes(first), detail)
            }
            NEWDECIMAL => {
                let decimal = PackedDecimal::new(first, second)
                    .ok_or(Malformed("the table map has a decimal of impossible precision"))?;
                fixed(decimal.size(), detail << 8 | u16::from(second))
            }
            BIT => {
                // Bits of the incomplete byte, then complete bytes.
                if first > 7 || second > 8 {
                    return Err(Malformed("the table map has a BIT of impossible width"));
                }
                fixed(usize::from(second) + usize::from(first > 0), u16::from(second) * 8 + detail)
            }
            VARCHAR | VARCHAR_COMPRESSED => {
                let largest = u16::from_le_bytes([first, second]);
                Ok(Self { kind, detail: largest, extent: prefix_for(largest) })
            }
            BLOB | TINY_BLOB | MEDIUM_BLOB | LONG_BLOB | BLOB_COMPRESSED | JSON | GEOMETRY | VECTOR => {
                if !(1..=4).contains(&first) {
                    return Err(Malformed("the table map has a BLOB of impossible size"));
                }
                Ok(Self { kind, detail, extent: Extent::Prefixed(usize::from(first)) })
            }
            STRING | VAR_STRING | ENUM | SET => Self::read_string(first, second),
            _ => Err(UNKNOWN),
        }
    }

    /// Whether the log tells the sign of such columns.
    pub(crate) fn is_numeric(&self) -> bool {
        use wire_type::{DOUBLE, FLOAT, INT24, LONG, LONGLONG, NEWDECIMAL, SHORT, TINY, YEAR};
        matches!(self.kind, TINY | SHORT | INT24 | LONG | LONGLONG | FLOAT | DOUBLE | NEWDECIMAL | YEAR)
    }

    /// CHAR, BINARY, ENUM and SET share a type; the metadata's first byte is the real one, with
    /// two bits of a length beyond 255 inverted into it.
    fn read_string(first: u8, second: u8) -> Result<Self, Malformed> {
        use wire_type::{ENUM, SET, STRING, VAR_STRING};
        let (kind, length) = if first & 0x30 == 0x30 {
            (first, u16::from(second))
        } else {
            (first | 0x30, u16::from(second) | u16::from(first & 0x30 ^ 0x30) << 4)
        };
        match kind {
            ENUM if matches!(length, 1 | 2) => {}
            SET if matches!(length, 1..=4 | 8) => {}
            STRING | VAR_STRING => {
                let prefix = if length > 255 { 2 } else { 1 };
                return Ok(Self { kind: STRING, detail: length, extent: Extent::Prefixed(prefix) });
            }
            _ => return Err(Malformed("the table map has a string of impossible type")),
        }
        Ok(Self { kind, detail: length, extent: Extent::Fixed(usize::from(length)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: u8, metadata: &[u8]) -> Result<WireColumn, Malformed> {
        WireColumn::read(kind, &mut Bytes::new(metadata))
    }

    #[test]
    fn a_long_char_hides_its_length_in_the_type() {
        // CHAR(255) of utf8mb4: 1020 bytes.
        let column =
            read(wire_type::STRING, &[0xfe & !0x30 | (!(1020u16 >> 4) as u8 & 0x30), 0xfc]).expect("known");
        assert_eq!(
            (column.kind, column.detail, column.extent),
            (wire_type::STRING, 1020, Extent::Prefixed(2))
        );
    }

    #[test]
    fn enum_and_set_are_told_from_char() {
        assert_eq!(read(wire_type::STRING, &[247, 2]).map(|column| column.extent), Ok(Extent::Fixed(2)));
        assert_eq!(read(wire_type::STRING, &[248, 8]).map(|column| column.kind), Ok(wire_type::SET));
    }

    #[test]
    fn unknown_types_are_errors() {
        assert!(read(20, &[0]).is_err());
        assert!(read(wire_type::BLOB, &[5]).is_err());
        assert!(read(wire_type::STRING, &[0xff, 1]).is_err());
    }
}
