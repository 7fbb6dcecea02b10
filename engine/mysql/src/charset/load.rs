//! Asks the server for the conversion tables of its character sets.
//!
//! A byte sequence that is no character comes back as NULL, an empty string, or several
//! characters, depending on server and `sql_mode`; one that has no Unicode character as `?`.
//! Neither gets an entry.

use engine_core::{Error, ErrorKind, Result};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::table::{EUC_TRIPLE, GB_BASIC_PLANE, GbTable, PAIRS, PairTable, SingleTable};
use super::{Charset, Codec};
use crate::error::server_error;

/// The numbers 0 to 255, cross-joined below to every byte sequence of interest.
const BYTES: &str = "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 255)";

/// Loads character set `name`, whose characters take at most `max_bytes`.
pub(super) async fn load(conn: &mut Conn, name: &str, max_bytes: u32) -> Result<Charset> {
    if let Some(native) = Charset::native(name) {
        return Ok(native);
    }
    let codec = match (name, max_bytes) {
        (_, 1) => Codec::Single(singles(conn, name).await?.into()),
        (_, 2) => Codec::Pairs(
            PairTable::new(singles(conn, name).await?, pairs(conn, name).await?, Box::default()).into(),
        ),
        ("ujis" | "eucjpms", 3) => {
            let triples = table(conn, name, &triple_query(name), PAIRS).await?;
            Codec::Pairs(PairTable::new(singles(conn, name).await?, pairs(conn, name).await?, triples).into())
        }
        ("gb18030", 4) => {
            let pairs = PairTable::new(singles(conn, name).await?, pairs(conn, name).await?, Box::default());
            let fours = table(conn, name, &four_byte_query(name), GB_BASIC_PLANE).await?;
            Codec::Gb18030(GbTable::new(pairs, fours).into())
        }
        _ => {
            return Err(Error::new(ErrorKind::Unrepresentable, "this character set can't be decoded")
                .at("character set", name)
                .because(format!(
                    "it takes up to {max_bytes} bytes for a character and its structure is not known"
                ))
                .help("convert the columns that use it to utf8mb4, or exclude their tables"));
        }
    };
    Ok(Charset { name: name.into(), codec })
}

async fn singles(conn: &mut Conn, name: &str) -> Result<SingleTable> {
    let query = format!("{BYTES} SELECT i, {} FROM n", converted("i", name));
    let found = table(conn, name, &query, 256).await?;
    let mut chars = [None; 256];
    for (slot, (index, &c)) in chars.iter_mut().zip(found.iter().enumerate()) {
        *slot = (c != '\0' || index == 0).then_some(c);
    }
    Ok(SingleTable::new(&chars))
}

async fn pairs(conn: &mut Conn, name: &str) -> Result<Box<[char]>> {
    let converted = converted("a.i, b.i", name);
    let query = format!("{BYTES} SELECT a.i * 256 + b.i, {converted} FROM n a, n b WHERE a.i >= 128");
    table(conn, name, &query, PAIRS).await
}

fn triple_query(name: &str) -> String {
    let converted = converted(&format!("{EUC_TRIPLE}, a.i, b.i"), name);
    format!("{BYTES} SELECT a.i * 256 + b.i, {converted} FROM n a, n b WHERE a.i >= 128 AND b.i >= 128")
}

/// The sequences 81–84, 30–39, 81–FE, 30–39, numbered as GB 18030 does.
fn four_byte_query(name: &str) -> String {
    let converted = converted("a.i + 129, b.i + 48, c.i + 129, d.i + 48", name);
    format!(
        "{BYTES} SELECT ((a.i * 10 + b.i) * 126 + c.i) * 10 + d.i, {converted} FROM n a, n b, n c, n d \
         WHERE a.i < 4 AND b.i < 10 AND c.i < 126 AND d.i < 10"
    )
}

/// Hexadecimal UTF-8 of the bytes as text of the character set, in SQL.
fn converted(bytes: &str, name: &str) -> String {
    format!("HEX(CONVERT(CONVERT(CHAR({bytes}) USING {name}) USING utf8mb4))")
}

async fn table(conn: &mut Conn, name: &str, query: &str, entries: usize) -> Result<Box<[char]>> {
    let failed =
        |error| server_error("the server's conversion table can't be read", error).at("character set", name);
    let mut chars = vec!['\0'; entries];
    let mut answer = conn.query_iter(query).await.map_err(failed)?;
    while let Some(row) = answer.next().await.map_err(failed)? {
        let (index, text): (usize, Option<Vec<u8>>) = mysql_async::from_row_opt(row).map_err(|error| {
            Error::new(ErrorKind::Internal, "the server's conversion table has an unexpected shape")
                .because(error)
        })?;
        if let (Some(slot), Some(c)) = (chars.get_mut(index), text.as_deref().and_then(single_char))
            && (c != '?' || index == usize::from(b'?'))
        {
            *slot = c;
        }
    }
    Ok(chars.into())
}

fn single_char(hex_text: &[u8]) -> Option<char> {
    let text = String::from_utf8(hex::decode(hex_text).ok()?).ok()?;
    let mut chars = text.chars();
    let only = chars.next()?;
    chars.next().is_none().then_some(only)
}

#[cfg(test)]
mod tests {
    use super::single_char;

    #[test]
    fn takes_exactly_one_character() {
        assert_eq!(single_char(b"E4BDA0"), Some('你'));
        assert_eq!(single_char(b""), None);
        assert_eq!(single_char(b"3F30"), None);
        assert_eq!(single_char(b"FF"), None);
    }
}
