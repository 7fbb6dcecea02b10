//! The table map event: which table a number stands for, and the types of its columns.

use super::bytes::{Bytes, Malformed};
use super::extent::WireColumn;

/// The widest table of any version has 4096 columns.
const MAX_COLUMNS: u64 = 4096;

/// A table as it was when the row events that follow were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableMap {
    pub(crate) database: String,
    pub(crate) table: String,
    pub(crate) columns: Vec<WireColumn>,
    /// Character columns' collations and numbers' signs.
    pub(crate) metadata: OptionalMetadata,
}

/// What the server adds to a table map beyond what is needed to cut a row into values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct OptionalMetadata {
    /// One bit per numeric column in order, highest first; set when unsigned.
    pub(crate) signedness: Option<Vec<u8>>,
}

/// The number that row events use for the table.
pub(crate) fn table_number(body: &[u8]) -> Result<u64, Malformed> {
    Bytes::new(body).little_endian(6)
}

/// The names alone, which is all that is needed of tables that don't concern the task.
pub(crate) fn names(body: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let mut input = Bytes::new(body);
    // Table number and flags.
    input.take(8)?;
    Ok((name(&mut input)?, name(&mut input)?))
}

fn name<'a>(input: &mut Bytes<'a>) -> Result<&'a [u8], Malformed> {
    let length = usize::from(input.u8()?);
    let name = input.take(length)?;
    match input.u8()? {
        0 => Ok(name),
        _ => Err(Malformed("a name in a table map does not end where it should")),
    }
}

impl TableMap {
    pub(crate) fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut input = Bytes::new(body);
        input.take(8)?;
        let text = |name: &[u8]| {
            String::from_utf8(name.to_vec()).map_err(|_| Malformed("a name in a table map is not UTF-8"))
        };
        let database = text(name(&mut input)?)?;
        let table = text(name(&mut input)?)?;
        let count = input.length_encoded()?;
        if count > MAX_COLUMNS {
            return Err(Malformed("a table map has too many columns"));
        }
        let kinds = input.take(count as usize)?;
        let length = input.length_encoded()? as usize;
        let mut details = Bytes::new(input.take(length)?);
        let columns =
            kinds.iter().map(|&kind| WireColumn::read(kind, &mut details)).collect::<Result<_, _>>()?;
        if !details.is_empty() {
            return Err(Malformed("a table map has more column details than columns"));
        }
        // Which columns may be NULL.
        input.take((count as usize).div_ceil(8))?;
        Ok(Self { database, table, columns, metadata: OptionalMetadata::read(input.rest())? })
    }
}

impl OptionalMetadata {
    fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        const SIGNEDNESS: u8 = 1;
        let mut input = Bytes::new(bytes);
        let mut metadata = Self::default();
        while !input.is_empty() {
            let kind = input.u8()?;
            let length = input.length_encoded()? as usize;
            let value = input.take(length)?;
            if kind == SIGNEDNESS {
                metadata.signedness = Some(value.to_vec());
            }
        }
        Ok(metadata)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A table map of number 1 for columns without metadata.
    pub(crate) fn encode(database: &str, table: &str, kinds: &[u8], details: &[u8]) -> Vec<u8> {
        let mut body = vec![1, 0, 0, 0, 0, 0, 1, 0, database.len() as u8];
        body.extend_from_slice(database.as_bytes());
        body.extend([0, table.len() as u8]);
        body.extend_from_slice(table.as_bytes());
        body.extend([0, kinds.len() as u8]);
        body.extend_from_slice(kinds);
        body.push(details.len() as u8);
        body.extend_from_slice(details);
        body.extend(vec![0xff; kinds.len().div_ceil(8)]);
        body
    }

    #[test]
    fn reads_names_types_and_signs() {
        let mut body = encode("shop", "orders", &[3, 15], &[0x2c, 0x01]);
        body.extend([1, 1, 0x80, 77, 2, 5, 5]);
        let map = TableMap::read(&body).expect("well-formed");
        assert_eq!((map.database.as_str(), map.table.as_str(), map.columns.len()), ("shop", "orders", 2));
        assert_eq!(map.metadata.signedness, Some(vec![0x80]));
        assert_eq!(names(&body), Ok((&b"shop"[..], &b"orders"[..])));
        assert_eq!(table_number(&body), Ok(1));
    }

    #[test]
    fn leftover_details_are_noticed() {
        assert!(TableMap::read(&encode("d", "t", &[3], &[1])).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(mut body: Vec<u8>, tail: Vec<u8>) {
            let _ = (TableMap::read(&body), names(&body), table_number(&body));
            body = encode("d", "t", &body, &tail);
            let _ = TableMap::read(&body);
        }
    }
}
