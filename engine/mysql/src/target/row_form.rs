//! Rows in canonical form: what a column's type holds, as bytes that are the same for the same value,
//! whether they are made of a batch that would be written or of a row that the server sends.
//!
//! | columns | bytes of a field |
//! |---|---|
//! | integers, YEAR, BIT, places of ENUM and SET | 8 bytes, big-endian; from 2⁶³ on a 1 before them |
//! | DECIMAL | its digits, without zeros that mean nothing |
//! | FLOAT, DOUBLE | IEEE 754, big-endian |
//! | texts | UTF-8; what is no text of its character set as it is, after a byte that UTF-8 does not have |
//! | JSON | [`json_form`] |
//! | BINARY, VARBINARY, BLOB, geometries, vectors | the bytes |
//! | dates and times | days or microseconds as in batches, 8 bytes |
//! | UUID, INET4, INET6 | 16 bytes |

mod column;
mod text;
mod wire;

use engine_core::Result;
use engine_core::batch::Batch;
use engine_core::column::Column;
use engine_core::examine::{CanonicalRows, RowForm};
use engine_core::json_form::{self, Members};
use engine_core::logical::LogicalType;
use mysql_async::{Row, Value};

use super::column_type::ColumnType;
use super::layout::{TableLayout, WrittenColumn};
use crate::charset::Charset;
use crate::server::Flavor;

/// Begins the field of a text whose bytes are none of its character set.
const NO_TEXT: u8 = 0xff;

/// What a field's bytes are.
#[derive(Debug, Clone, PartialEq)]
enum Rule {
    Integer,
    Decimal,
    Float,
    Double,
    Text,
    Json(Members),
    Bytes,
    Uuid,
    Address,
    Date,
    Datetime,
    Time,
    /// The place of a label, from 1 on; 0 is none of them.
    Label(Vec<String>),
    /// A bit for each label.
    Labels(Vec<String>),
}

impl Rule {
    fn of(written: &WrittenColumn, logical: Option<&LogicalType>, flavor: Flavor) -> Self {
        use ColumnType as C;
        match (&written.column_type, logical) {
            (C::Integer | C::Bit | C::Year, _) => Self::Integer,
            (C::Decimal { .. }, _) => Self::Decimal,
            (C::Float { .. }, _) => Self::Float,
            (C::Double { .. }, _) => Self::Double,
            // MySQL keeps a document of it, whose members have no order. MariaDB keeps the text.
            (C::Json, _) if flavor == Flavor::MySql => Self::Json(Members::Unordered),
            (C::Json | C::Char { .. } | C::Varchar { .. } | C::Text, Some(LogicalType::Json)) => {
                Self::Json(Members::AsWritten)
            }
            (C::Json | C::Char { .. } | C::Varchar { .. } | C::Text, _) => Self::Text,
            (C::Uuid, _) => Self::Uuid,
            (C::Address, _) => Self::Address,
            (C::Date, _) => Self::Date,
            (C::Datetime { .. } | C::Timestamp { .. }, _) => Self::Datetime,
            (C::Time { .. }, _) => Self::Time,
            (C::Enumeration { labels }, _) => Self::Label(labels.clone()),
            (C::Set { labels }, _) => Self::Labels(labels.clone()),
            (C::Binary { .. } | C::Blob | C::Geometry | C::Vector | C::Unknown(_), _) => Self::Bytes,
        }
    }

    /// How the server is asked for a column. Of labels the places, since a label that is empty and
    /// none at all have the same text.
    fn selected(&self, name: &str) -> String {
        match self {
            Self::Label(_) | Self::Labels(_) => format!("CAST({name} AS UNSIGNED)"),
            _ => name.to_owned(),
        }
    }
}

/// The canonical form of one table's rows.
pub(super) struct CanonicalForm {
    layout: TableLayout,
    rules: Vec<Rule>,
}

impl CanonicalForm {
    pub(super) fn new(layout: TableLayout) -> Self {
        let rule = |written: &WrittenColumn| {
            let logical = layout.table.columns.get(written.ordinal).map(|column| &column.logical);
            Rule::of(written, logical, layout.flavor)
        };
        let rules = layout.columns.iter().map(rule).collect();
        Self { layout, rules }
    }

    /// How the table is written.
    pub(super) fn layout(&self) -> &TableLayout {
        &self.layout
    }

    /// What a query is to select, for [`take_row`](Self::take_row).
    pub(super) fn selected(&self) -> String {
        let columns = self.layout.columns.iter().zip(&self.rules);
        let columns: Vec<String> = columns.map(|(written, rule)| rule.selected(&written.name)).collect();
        columns.join(", ")
    }

    /// Appends a row as the server sends it, its texts in these character sets; `None` when it is no such
    /// row.
    pub(super) fn take_row(
        &self,
        row: &Row,
        charsets: &[Option<Charset>],
        out: &mut CanonicalRows,
    ) -> Option<()> {
        if row.len() != self.rules.len() {
            return None;
        }
        for (place, (rule, charset)) in self.rules.iter().zip(charsets).enumerate() {
            match row.as_ref(place)? {
                Value::NULL => out.field(None),
                value => framed(out, |buffer| wire::put(rule, value, charset.as_ref(), buffer))?,
            }
        }
        out.end_row();
        Some(())
    }
}

/// Appends a field whose value `write` appends; nothing is left of it where that answers `None`.
fn framed(out: &mut CanonicalRows, write: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<()> {
    let buffer = out.buffer();
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    let written = write(buffer);
    if written.is_none() {
        buffer.truncate(start);
        return None;
    }
    let length = (buffer.len() - start - 4) as u32;
    if let Some(place) = buffer.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    Some(())
}

/// An integer of 64 bits, signed or not.
fn put_integer(value: i128, out: &mut Vec<u8>) -> Option<()> {
    if let Ok(value) = i64::try_from(value) {
        out.extend_from_slice(&value.to_be_bytes());
    } else {
        out.push(1);
        out.extend_from_slice(&u64::try_from(value).ok()?.to_be_bytes());
    }
    Some(())
}

/// The integer that [`put_integer`] appended.
fn integer(value: &[u8]) -> Option<i128> {
    match value {
        [1, rest @ ..] if value.len() == 9 => Some(u64::from_be_bytes(rest.try_into().ok()?).into()),
        _ => Some(i64::from_be_bytes(value.try_into().ok()?).into()),
    }
}

/// The number of bytes as a big-endian number has them.
fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// A decimal number without zeros that mean nothing, and zero without a sign.
fn put_decimal(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (is_negative, digits) = match text.split_first()? {
        (b'-', digits) => (true, digits),
        _ => (false, text),
    };
    let point = digits.iter().position(|&byte| byte == b'.').unwrap_or(digits.len());
    let (whole, fraction) = (digits.get(..point)?, digits.get(point + 1..).unwrap_or_default());
    if !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        return None;
    }
    let first = whole.iter().position(|&digit| digit != b'0').unwrap_or(whole.len());
    let whole = whole.get(first..)?;
    let end = fraction.iter().rposition(|&digit| digit != b'0').map_or(0, |last| last + 1);
    let fraction = fraction.get(..end)?;
    if whole.is_empty() && fraction.is_empty() {
        out.push(b'0');
        return Some(());
    }
    if is_negative {
        out.push(b'-');
    }
    if whole.is_empty() {
        out.push(b'0');
    }
    out.extend_from_slice(whole);
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(fraction);
    }
    Some(())
}

/// The sixteen bytes of an address; one of four bytes as the one of sixteen that stands for it.
fn put_address(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let address: std::net::IpAddr = std::str::from_utf8(text).ok()?.parse().ok()?;
    let octets = match address {
        std::net::IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(address) => address.octets(),
    };
    out.extend_from_slice(&octets);
    Some(())
}

impl RowForm for CanonicalForm {
    fn canonical(&self, batch: &Batch, out: &mut CanonicalRows) -> Result<()> {
        self.layout.check_shape(batch, &self.layout.all())?;
        for row in 0..batch.rows {
            for ((values, written), rule) in batch.columns.iter().zip(&self.layout.columns).zip(&self.rules) {
                if values.is_null(row) {
                    out.field(None);
                } else if framed(out, |buffer| column::put(rule, &written.encoder, values, row, buffer))
                    .is_none()
                {
                    out.unrepresentable();
                }
            }
            out.end_row();
        }
        Ok(())
    }

    fn text(&self, place: usize, value: &[u8]) -> String {
        let rule = self.rules.get(place);
        rule.and_then(|rule| text::text(rule, value)).unwrap_or_else(|| text::hexadecimal(value))
    }

    fn value(&self, place: usize, value: &[u8]) -> Option<Column> {
        let written = self.layout.columns.get(place)?;
        let logical = &self.layout.table.columns.get(written.ordinal)?.logical;
        column::of(self.rules.get(place)?, logical, value)
    }

    fn keeps_order(&self, place: usize) -> bool {
        let column_type = self.layout.columns.get(place).map(|written| &written.column_type);
        matches!(
            column_type,
            Some(
                ColumnType::Integer
                    | ColumnType::Decimal { .. }
                    | ColumnType::Binary { .. }
                    | ColumnType::Blob
                    | ColumnType::Date
                    | ColumnType::Datetime { .. }
                    | ColumnType::Timestamp { .. }
            )
        )
    }

    fn leniency(&self, place: usize) -> Option<&'static str> {
        match self.rules.get(place)? {
            Rule::Decimal => Some("the number counts, not how many decimal places are shown"),
            Rule::Json(Members::Unordered) => Some("the document counts, not its spelling"),
            Rule::Json(Members::AsWritten) => {
                Some("the document counts, members in their order, not its spelling")
            }
            Rule::Address => Some("the address counts, not its spelling"),
            _ => None,
        }
    }
}

/// JSON text, in its canonical form.
fn put_json(text: &[u8], members: Members, out: &mut Vec<u8>) {
    json_form::canonical(text, members, out);
}

#[cfg(test)]
mod tests;
