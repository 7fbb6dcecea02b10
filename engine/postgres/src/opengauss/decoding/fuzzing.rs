//! Entry point for the fuzz target in `fuzz/`: it takes any bytes, and must return.

use super::{Lsn, Style, records};

const STYLES: [Style; 6] = [
    Style::Serial,
    Style::Json { batched: false },
    Style::Json { batched: true },
    Style::Text { batched: false },
    Style::Text { batched: true },
    Style::Binary,
];

/// A byte that chooses the style, and the payload of a message.
pub fn payload(input: &[u8]) {
    let Some((style, payload)) = input.split_first() else { return };
    let Some(style) = STYLES.get(usize::from(*style) % STYLES.len()) else { return };
    let mut ended = false;
    for record in records(*style, Lsn(1), payload) {
        assert!(!ended, "there is nothing behind an error");
        ended = record.is_err();
    }
}
