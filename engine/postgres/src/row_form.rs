//! Rows in canonical form: the fields of `COPY … (FORMAT binary)`, so that what would be written and
//! what is read are compared as they are. Only where the server gives a value back in another form
//! than it took it, both are brought to a third.

use engine_core::Result;
use engine_core::batch::Batch;
use engine_core::column::Column;
use engine_core::examine::{CanonicalRows, NULL, RowForm};
use engine_core::json_form::{self, Members};
use engine_core::logical::LogicalType;

use crate::layout::TableLayout;
use crate::pg_type::PgType;
use crate::value_text;

/// What makes a field's bytes canonical.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// They are.
    Bytes,
    /// The number of decimal places shown is not compared: `1.50` is `1.5`.
    Numeric,
    /// Trailing spaces, to which `char(n)` pads, are not compared.
    Blank,
    /// The binary form of `jsonb` is a version and JSON text; members have no order.
    Jsonb,
    /// JSON text.
    Json,
}

/// The canonical form of one table's rows.
pub(crate) struct CanonicalForm {
    layout: TableLayout,
    rules: Vec<Rule>,
}

impl CanonicalForm {
    pub(crate) fn new(layout: TableLayout) -> Self {
        let rule = |place: &crate::layout::WrittenColumn| {
            let logical = layout.table.columns.get(place.ordinal).map(|column| &column.logical);
            match (&place.pg_type, logical) {
                (PgType::Numeric(_), _) => Rule::Numeric,
                (PgType::Bpchar(_), _) => Rule::Blank,
                (PgType::Jsonb, _) => Rule::Jsonb,
                (PgType::Json, _) | (_, Some(LogicalType::Json)) => Rule::Json,
                _ => Rule::Bytes,
            }
        };
        let rules = layout.columns.iter().map(rule).collect();
        Self { layout, rules }
    }

    /// How the table is written.
    pub(crate) fn layout(&self) -> &TableLayout {
        &self.layout
    }

    /// Appends a row as the server sends it: after the number of fields, the fields. `None` when the
    /// bytes are no such row.
    pub(crate) fn take_row(&self, mut row: &[u8], out: &mut CanonicalRows) -> Option<()> {
        let (count, rest) = row.split_first_chunk::<2>()?;
        if usize::from(u16::from_be_bytes(*count)) != self.rules.len() {
            return None;
        }
        row = rest;
        for rule in &self.rules {
            let (length, rest) = row.split_first_chunk::<4>()?;
            let length = u32::from_be_bytes(*length);
            row = rest;
            if length == NULL {
                out.field(None);
                continue;
            }
            let (value, rest) = row.split_at_checked(length as usize)?;
            row = rest;
            put(*rule, value, out);
        }
        out.end_row();
        row.is_empty().then_some(())
    }
}

/// Appends a value that is in the server's binary form.
fn put(rule: Rule, value: &[u8], out: &mut CanonicalRows) {
    match rule {
        Rule::Bytes => out.field(Some(value)),
        Rule::Blank => {
            let end = value.iter().rposition(|&byte| byte != b' ').map_or(0, |last| last + 1);
            out.field(value.get(..end));
        }
        Rule::Numeric => {
            let buffer = out.buffer();
            buffer.extend_from_slice(&(value.len() as u32).to_be_bytes());
            let start = buffer.len();
            buffer.extend_from_slice(value);
            // The display scale, the fourth of the header's words.
            if let Some(scale) = buffer.get_mut(start + 6..start + 8) {
                scale.fill(0);
            }
        }
        Rule::Jsonb => {
            let text = value.split_first().map_or(value, |(_, text)| text);
            json(text, Members::Unordered, out);
        }
        Rule::Json => json(value, Members::AsWritten, out),
    }
}

fn json(text: &[u8], members: Members, out: &mut CanonicalRows) {
    let buffer = out.buffer();
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    json_form::canonical(text, members, buffer);
    let length = (buffer.len() - start - 4) as u32;
    if let Some(place) = buffer.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

impl RowForm for CanonicalForm {
    fn canonical(&self, batch: &Batch, out: &mut CanonicalRows) -> Result<()> {
        self.layout.check_shape(batch, &self.layout.all())?;
        let mut scratch = Vec::new();
        for row in 0..batch.rows {
            for ((column, written), rule) in batch.columns.iter().zip(&self.layout.columns).zip(&self.rules) {
                if column.is_null(row) {
                    out.field(None);
                    continue;
                }
                if *rule == Rule::Bytes {
                    let buffer = out.buffer();
                    let start = buffer.len();
                    if written.encoder.encode(column, row, buffer).is_err() {
                        buffer.truncate(start);
                        out.unrepresentable();
                    }
                    continue;
                }
                scratch.clear();
                match written.encoder.encode(column, row, &mut scratch) {
                    Ok(()) => put(*rule, scratch.get(4..).unwrap_or_default(), out),
                    Err(_) => out.unrepresentable(),
                }
            }
            out.end_row();
        }
        Ok(())
    }

    fn text(&self, place: usize, value: &[u8]) -> String {
        let Some((written, rule)) = self.layout.columns.get(place).zip(self.rules.get(place)) else {
            return value_text::hexadecimal(value);
        };
        match rule {
            // The canonical form of JSON is not JSON; the row's own text is asked for elsewhere.
            Rule::Json | Rule::Jsonb => value_text::json(value),
            _ => value_text::text(&written.pg_type, value),
        }
    }

    fn value(&self, place: usize, value: &[u8]) -> Option<Column> {
        let written = self.layout.columns.get(place)?;
        let logical = &self.layout.table.columns.get(written.ordinal)?.logical;
        value_text::column(&written.pg_type, logical, value)
    }

    fn keeps_order(&self, place: usize) -> bool {
        let Some(written) = self.layout.columns.get(place) else { return false };
        matches!(
            written.pg_type,
            PgType::Int2
                | PgType::Int4
                | PgType::Int8
                | PgType::Numeric(_)
                | PgType::Bytea
                | PgType::Date
                | PgType::Timestamp(_)
                | PgType::TimestampTz(_)
        )
    }

    fn leniency(&self, place: usize) -> Option<&'static str> {
        match self.rules.get(place)? {
            Rule::Bytes => None,
            Rule::Numeric => Some("the number counts, not how many decimal places are shown"),
            Rule::Blank => Some("trailing spaces, to which char(n) pads, don't count"),
            Rule::Jsonb => Some("the document counts, not its spelling"),
            Rule::Json => Some("the document counts, members in their order, not its spelling"),
        }
    }
}
