//! The entry point for the fuzz target in `fuzz/`.

use super::lexer::{self, Dialect};
use super::parse;
use crate::server::{Flavor, GtidMode, Server};

/// A statement of structure: a byte that says whose it is and how it is quoted, then its text.
pub(crate) fn statement(input: &[u8]) {
    let Some((&kind, text)) = input.split_first() else { return };
    let (flavor, version_number) = match kind & 1 {
        0 => (Flavor::MySql, (9, 7, 0)),
        _ => (Flavor::MariaDb, (10, 11, 0)),
    };
    let server = Server {
        flavor,
        version: String::new(),
        version_number,
        gtid_mode: GtidMode::Off,
        gtid_mode_text: String::new(),
        server_id: 1,
        server_uuid: None,
        log_bin: true,
        lower_case_table_names: 0,
        logs_cascades: false,
    };
    let dialect = Dialect { ansi_quotes: kind & 2 != 0, plain_backslashes: kind & 4 != 0 };
    let text = String::from_utf8_lossy(text);
    if let Ok(tokens) = lexer::tokenize(&text, dialect, &server) {
        drop(parse::parse(&text, &tokens, kind & 8 != 0));
    }
}
