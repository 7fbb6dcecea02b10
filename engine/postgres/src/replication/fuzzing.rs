//! Entry points for the fuzz targets in `fuzz/`: each takes any bytes, and must return.

#![expect(clippy::missing_panics_doc, reason = "a panic is what a fuzzer looks for")]

use super::pgoutput::Decoder;
use super::pgoutput::message::{Content, Message, OldRow};
use super::pgoutput::tuple::Tuple;

/// Messages of a stream, each after its length in two bytes.
pub fn pgoutput(input: &[u8]) {
    let mut decoder = Decoder::new();
    let mut rest = input;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let (payload, after) = after.split_at(length);
        rest = after;
        let Ok(Message::Change { content, .. }) = decoder.decode(payload) else { continue };
        match content {
            Content::Insert { new, .. } => row(&new),
            Content::Update(update) => {
                if let Some(OldRow::Key(old) | OldRow::Full(old)) = update.old {
                    row(&old);
                }
                row(&update.new);
            }
            Content::Truncate(truncate) => assert!(truncate.relations().count() <= payload.len() / 4),
            _ => {}
        }
    }
}

fn row(row: &Tuple<'_>) {
    assert_eq!(row.cells().count(), row.len(), "a row has as many values as it says");
}
