//! What a value is, apart from how a database spells its type.

use serde::{Deserialize, Serialize};

use crate::bitmap::Bitmap;
use crate::column::{Column, Varlen, Vector};

/// The engine's own type system; connectors translate to and from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogicalType {
    /// True or false.
    Boolean,
    /// A fixed-width integer of 8, 16, 24, 32 or 64 bits.
    Integer {
        /// Width.
        bits: u8,
        /// Two's complement, or unsigned.
        signed: bool,
    },
    /// IEEE 754 single precision, held widened to double.
    Float32,
    /// IEEE 754 double precision.
    Float64,
    /// Exact decimal, held as text such as `-12.3400`: optional sign, digits, and exactly `scale`
    /// digits after the point (none where `scale` is negative). PostgreSQL also has `NaN` among them.
    Decimal {
        /// All digits.
        precision: u16,
        /// Digits after the point.
        scale: i16,
    },
    /// Text, held as UTF-8.
    Text {
        /// Longest value in characters.
        max_chars: Option<u32>,
        /// `CHAR(n)` rather than `VARCHAR(n)`; trailing pad spaces are already removed.
        fixed: bool,
        /// The source's character set.
        charset: Option<String>,
        /// The source's collation.
        collation: Option<String>,
    },
    /// Raw bytes; a fixed-length source value is padded to its length.
    Bytes {
        /// Longest value in bytes.
        max_bytes: Option<u32>,
        /// `BINARY(n)` rather than `VARBINARY(n)`.
        fixed: bool,
    },
    /// Days since 1970-01-01, see [`crate::temporal`].
    Date,
    /// Signed microseconds; MySQL's reaches from -838:59:59 to 838:59:59.
    Time {
        /// Fractional-second digits.
        precision: u8,
    },
    /// Microseconds since 1970-01-01T00:00:00, see [`crate::temporal`].
    Timestamp {
        /// Fractional-second digits.
        precision: u8,
        /// An instant in UTC, rather than a wall-clock reading.
        zoned: bool,
    },
    /// JSON text.
    Json,
    /// 16 bytes.
    Uuid,
    /// A bit string, held as big-endian bytes, right-aligned: `width.div_ceil(8)` of them.
    Bit {
        /// Number of bits.
        width: u32,
    },
    /// One of a list of labels, held as its text; `""` for MySQL's invalid index 0.
    Enumeration {
        /// The labels, in order.
        labels: Vec<String>,
    },
    /// Some of a list of labels, held as text: labels in definition order joined by commas.
    Set {
        /// The labels, in order.
        labels: Vec<String>,
    },
    /// Anything passed through as bytes; the name says how to read them: `geometry` (4-byte
    /// little-endian SRID, then WKB with longitude first), `vector` (little-endian 32-bit floats).
    ///
    /// A name that begins with [`TEXT_FORM`] stands for values that travel as their source's text, in
    /// UTF-8: `text/interval`, `text/inet`. What comes after it is PostgreSQL's name of the type, or
    /// `numeric` for a number without bounds, with `NaN`, `Infinity` and `-Infinity` among its values;
    /// `array`, `range`, `multirange`, `composite` for all of a kind; `unknown` for a type that the
    /// engine knows nothing about.
    Other(String),
}

/// How names of [`LogicalType::Other`] begin whose values are text.
pub const TEXT_FORM: &str = "text/";

/// Physical layout of a column; see [`Vector`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// [`Vector::Bits`]
    Bits,
    /// [`Vector::I64`]
    I64,
    /// [`Vector::U64`]
    U64,
    /// [`Vector::F64`]
    F64,
    /// [`Vector::Varlen`]
    Varlen,
}

impl LogicalType {
    /// How a column of this type is held.
    pub fn layout(&self) -> Layout {
        match self {
            Self::Boolean => Layout::Bits,
            Self::Integer { signed: true, .. } | Self::Date | Self::Time { .. } | Self::Timestamp { .. } => {
                Layout::I64
            }
            Self::Integer { signed: false, .. } => Layout::U64,
            Self::Float32 | Self::Float64 => Layout::F64,
            Self::Decimal { .. }
            | Self::Text { .. }
            | Self::Bytes { .. }
            | Self::Json
            | Self::Uuid
            | Self::Bit { .. }
            | Self::Enumeration { .. }
            | Self::Set { .. }
            | Self::Other(_) => Layout::Varlen,
        }
    }

    /// Values in their source's text form, under `name`.
    pub fn in_text_form(name: &str) -> Self {
        Self::Other(format!("{TEXT_FORM}{name}"))
    }

    /// What values in their source's text form are: `interval` of `text/interval`.
    pub fn text_form(&self) -> Option<&str> {
        match self {
            Self::Other(name) => name.strip_prefix(TEXT_FORM),
            _ => None,
        }
    }

    /// Whether values are UTF-8 text (decimals aside).
    pub fn is_text(&self) -> bool {
        matches!(self, Self::Text { .. } | Self::Json | Self::Enumeration { .. } | Self::Set { .. })
    }
}

impl Layout {
    /// An empty column of this layout.
    pub fn empty_column(self) -> Column {
        Column::new(match self {
            Self::Bits => Vector::Bits(Bitmap::new()),
            Self::I64 => Vector::I64(Vec::new()),
            Self::U64 => Vector::U64(Vec::new()),
            Self::F64 => Vector::F64(Vec::new()),
            Self::Varlen => Vector::Varlen(Varlen::default()),
        })
    }

    /// Whether `vector` has this layout.
    pub fn fits(self, vector: &Vector) -> bool {
        matches!(
            (self, vector),
            (Self::Bits, Vector::Bits(_))
                | (Self::I64, Vector::I64(_))
                | (Self::U64, Vector::U64(_))
                | (Self::F64, Vector::F64(_))
                | (Self::Varlen, Vector::Varlen(_))
        )
    }
}
