//! Rows summed up by the server, see [`engine_core::digest`].

use engine_core::digest::{Digest, ValueForm};
use engine_core::logical::LogicalType;
use engine_core::schema::ColumnSchema;
use engine_core::{Error, ErrorKind, Result};
use mysql_async::Row;

use crate::server::Flavor;
use crate::sql;

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

/// What writes a column's value down, as bytes or ASCII text.
fn expression(name: &str, form: &ValueForm) -> String {
    match form {
        // A sum of nothing takes the zeros off that ZEROFILL adds; a CAST gives the number of a BIT.
        ValueForm::Integer => format!("{name}+0"),
        ValueForm::Label(_) | ValueForm::Labels(_) => format!("CAST({name} AS UNSIGNED)"),
        // The second coordinate is zero; the first begins after the order of bytes and the kind.
        ValueForm::Float => format!("SUBSTR(HEX(ST_AsBinary(POINT({name}*1e0,0))),11,16)"),
        ValueForm::Text => format!("CAST(CONVERT({name} USING utf8mb4) AS BINARY)"),
        ValueForm::Document(_) => format!("CAST(CAST({name} AS CHAR CHARACTER SET utf8mb4) AS BINARY)"),
        ValueForm::Bytes => format!("CAST({name} AS BINARY)"),
        ValueForm::Decimal { .. }
        | ValueForm::Date
        | ValueForm::Timestamp { .. }
        | ValueForm::Time { .. } => format!("CAST({name} AS CHAR)"),
    }
}

/// A query for the digest of the rows of `from`, a table with a condition, for [`taken`]. Columns are names
/// in quotes.
pub(crate) fn query<'a>(
    columns: impl IntoIterator<Item = (&'a str, &'a ValueForm)>,
    from: &str,
    salt: &str,
) -> String {
    let columns = columns.into_iter().map(|(name, form)| {
        let text = expression(name, form);
        format!("IF({name} IS NULL,'~',CONCAT(OCTET_LENGTH({text}),':',{text}))")
    });
    let texts: Vec<String> = std::iter::once(sql::literal(salt)).chain(columns).collect();
    let hash = format!("CAST(CONV(LEFT(SHA2(CONCAT({}),256),16),16,10) AS UNSIGNED)", texts.join(","));
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
    fn a_row_is_its_columns_with_their_lengths() {
        let forms = [("`a`", &ValueForm::Integer), ("`b`", &ValueForm::Text)];
        let query = query(forms, "`d`.`t` WHERE `a` > 5", "salt");
        assert!(
            query.contains(
                "CONCAT('salt',IF(`a` IS NULL,'~',CONCAT(OCTET_LENGTH(`a`+0),':',`a`+0)),IF(`b` IS NULL"
            ),
            "{query}"
        );
        assert!(query.ends_with("FROM `d`.`t` WHERE `a` > 5"), "{query}");
    }

    #[test]
    fn texts_with_two_codes_for_a_character_are_read() {
        assert!(is_plain("utf8mb4") && !is_plain("sjis") && !is_plain("gb18030"));
    }
}
