//! Rows summed up by the server, see [`engine_core::digest`].

use engine_core::digest::{Digest, Factor, MODULUS, NULL, ValueForm, Weights};
use engine_core::logical::LogicalType;
use engine_core::schema::ColumnSchema;
use engine_core::{Error, ErrorKind, Result};
use mysql_async::Row;

use crate::server::Flavor;

/// Character sets each of whose characters has one code, and each of whose codes a character: what the
/// server makes of their texts in UTF-8 is as good as the texts.
const PLAIN: [&str; 4] = ["utf8mb4", "utf8mb3", "utf8", "latin1"];
/// In place of the hash of a row that the server could not write down: more than all hashes of a table
/// together.
const LOST: &str = "10000000000000000000000000000000000";

/// How a source's column is written down.
pub(crate) fn form_of_source(column: &ColumnSchema, flavor: Flavor) -> Option<ValueForm> {
    use LogicalType as L;
    Some(match &column.logical {
        L::Integer { .. } | L::Bit { .. } => ValueForm::Integer,
        L::Decimal { scale, .. } => ValueForm::Decimal { scale: u32::try_from(*scale).ok()? },
        L::Float32 | L::Float64 => ValueForm::Float,
        L::Text { charset: Some(charset), .. } if is_plain(charset) => ValueForm::Text,
        L::Json if flavor == Flavor::MySql => ValueForm::Document("mysql"),
        L::Bytes { .. } => ValueForm::Bytes,
        L::Other(name) if name == "geometry" => ValueForm::Bytes,
        L::Date => ValueForm::Date,
        L::Timestamp { precision, .. } => ValueForm::Timestamp { precision: u32::from(*precision) },
        L::Time { precision } => ValueForm::Time { precision: u32::from(*precision) },
        L::Enumeration { labels } => ValueForm::Label(labels.clone()),
        L::Set { labels } => ValueForm::Labels(labels.clone()),
        _ => return None,
    })
}

/// Whether texts of a character set can be written down.
pub(crate) fn is_plain(charset: &str) -> bool {
    PLAIN.contains(&charset)
}

/// A column of a query for a digest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written<'a> {
    /// Its name, in quotes.
    pub(crate) name: &'a str,
    /// How it is written down.
    pub(crate) form: &'a ValueForm,
    /// The character set of a text.
    pub(crate) charset: Option<&'a str>,
}

impl Written<'_> {
    /// What writes the column's value down, as bytes or ASCII text.
    fn text(&self) -> String {
        let name = self.name;
        match self.form {
            // A sum of nothing takes the zeros off that ZEROFILL adds; a CAST gives the number of a BIT.
            ValueForm::Integer => format!("{name}+0"),
            ValueForm::Label(_) | ValueForm::Labels(_) => format!("CAST({name} AS UNSIGNED)"),
            // The second coordinate is zero; the first begins after the order of bytes and the kind.
            ValueForm::Float => format!("SUBSTR(HEX(ST_AsBinary(POINT({name}*1e0,0))),11,16)"),
            // These bytes are UTF-8 as they are; to convert them all the same costs as much as all the rest.
            ValueForm::Text if self.charset.is_some_and(|charset| charset.starts_with("utf8")) => {
                name.to_owned()
            }
            ValueForm::Text => format!("CONVERT({name} USING utf8mb4)"),
            ValueForm::Document(_) => format!("CAST({name} AS CHAR CHARACTER SET utf8mb4)"),
            ValueForm::Bytes => name.to_owned(),
            ValueForm::Decimal { .. }
            | ValueForm::Date
            | ValueForm::Timestamp { .. }
            | ValueForm::Time { .. } => format!("CAST({name} AS CHAR)"),
        }
    }

    /// What the column counts. Of one type in either case: a number of two would be a DECIMAL, which is slow.
    fn number(&self) -> String {
        format!("IF({} IS NULL,CAST({NULL} AS UNSIGNED),CRC32({}))", self.name, self.text())
    }
}

/// A query for the digest of the rows of `from`, a table with a condition, for [`taken`].
pub(crate) fn query(columns: &[Written<'_>], from: &str, weights: &Weights) -> String {
    let [key, others] = &weights.factors;
    let factor = |factor: &Factor| {
        let terms = factor
            .terms
            .iter()
            .filter_map(|&(place, weight)| Some(format!("{weight}*{}", columns.get(place)?.number())));
        let terms: Vec<String> = std::iter::once(factor.constant.to_string()).chain(terms).collect();
        format!("(({})%{MODULUS})", terms.join("+"))
    };
    let hash = format!("{}*{}", factor(key), factor(others));
    // Text that grows beyond max_allowed_packet is NULL, with a warning alone.
    format!("SELECT COUNT(*), CAST(COALESCE(SUM(COALESCE({hash},{LOST})),0) AS CHAR) FROM {from}")
}

/// The digest that the query answered.
pub(crate) fn taken(row: Option<Row>) -> Result<Digest> {
    let malformed = || Error::new(ErrorKind::Internal, "the server answered no digest");
    let mut row = row.ok_or_else(malformed)?;
    let rows: u64 = row.take_opt(0).and_then(std::result::Result::ok).ok_or_else(malformed)?;
    let sum: Vec<u8> = row.take_opt(1).and_then(std::result::Result::ok).ok_or_else(malformed)?;
    let sum = std::str::from_utf8(&sum).ok().and_then(|sum| sum.parse::<u128>().ok());
    let greatest = u128::from(rows) * u128::from(u64::MAX);
    Ok(Digest { rows, sum: sum.filter(|&sum| sum <= greatest) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_the_product_of_its_key_and_the_rest() {
        let written = |name, form, charset| Written { name, form, charset };
        let columns = [
            written("`id`", &ValueForm::Integer, None),
            written("`old`", &ValueForm::Text, Some("latin1")),
            written("`new`", &ValueForm::Text, Some("utf8mb4")),
        ];
        let weights = Weights::draw(3, &[0], |greatest| greatest);
        insta::assert_snapshot!(query(&columns, "`d`.`t` WHERE `id` > 5", &weights));
    }

    #[test]
    fn texts_with_two_codes_for_a_character_are_read() {
        assert!(is_plain("utf8mb4") && !is_plain("sjis") && !is_plain("gb18030"));
    }
}
