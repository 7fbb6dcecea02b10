//! Guests, tables and settings for the tests.

use engine_core::batch::Batch;
use engine_core::column::{Column, Varlen, Vector};
use engine_core::endpoint::Endpoint;
use engine_core::logical::LogicalType;
use engine_core::schema::{ColumnSchema, TableName, TableSchema};
use engine_plugin::{Control, Limits, Plugin, PluginEngine, RunContext, Settings};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The built guest `name`.
pub(crate) fn guest(name: &str) -> PathBuf {
    let directory = std::env::var_os("GUESTS_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guests"), PathBuf::from);
    let path = directory.join(name).with_extension("wasm");
    assert!(path.is_file(), "{} is missing: run `cargo xtask plugins`", path.display());
    path
}

/// Limits short enough for a test to run into.
pub(crate) fn limits() -> Limits {
    Limits {
        memory: 32 << 20,
        planning: Duration::from_millis(400),
        batch: Duration::from_millis(400),
        ..Limits::default()
    }
}

pub(crate) fn engine() -> PluginEngine {
    PluginEngine::new(None, limits()).expect("an engine")
}

pub(crate) fn misbehave() -> Plugin {
    Plugin::load(&engine(), &guest("misbehave")).expect("a plugin")
}

pub(crate) fn settings(config: &str) -> Settings {
    let context = RunContext { run_id: "test".to_owned(), started_at_us: 0, seed: 7, attributes: Vec::new() };
    Settings { context, config: config.to_owned(), place: None }
}

pub(crate) fn control(config: &str) -> Control {
    Control::new(&misbehave(), &settings(config)).expect("a configured plugin")
}

pub(crate) fn endpoint(engine: &str) -> Endpoint {
    Endpoint { engine: engine.to_owned(), version: "1".to_owned(), attributes: Vec::new() }
}

/// `shop.words`, with one text column and one date.
pub(crate) fn words() -> TableSchema {
    let column = |name: &str, logical: LogicalType, native: &str| ColumnSchema {
        name: name.to_owned(),
        logical,
        native: native.to_owned(),
        nullable: true,
        default: None,
        on_update_now: false,
        generated: None,
        identity: false,
        invisible: false,
        comment: String::new(),
        target_type: None,
        attributes: Vec::new(),
    };
    let text = LogicalType::Text { max_chars: Some(200), fixed: false, charset: None, collation: None };
    TableSchema {
        name: TableName::new("shop", "words"),
        columns: vec![column("word", text, "varchar(200)"), column("day", LogicalType::Date, "date")],
        indexes: Vec::new(),
        foreign_keys: Vec::new(),
        comment: String::new(),
        collation: None,
        row_estimate: None,
        byte_estimate: None,
        next_identity: None,
    }
}

/// One text column; `None` is NULL.
pub(crate) fn texts<'a>(values: impl IntoIterator<Item = Option<&'a str>>) -> Batch {
    let mut varlen = Varlen::default();
    let mut present = engine_core::bitmap::Bitmap::new();
    for value in values {
        varlen.push(value.unwrap_or_default().as_bytes());
        present.push(value.is_some());
    }
    let rows = varlen.len();
    let validity = (!present.all()).then_some(present);
    Batch { rows, columns: vec![Column { values: Vector::Varlen(varlen), validity }] }
}

/// `rows` good words, with `bad` put at some of them.
pub(crate) fn words_with(rows: usize, bad: &[(usize, &str)]) -> Batch {
    let good: Vec<String> = (0..rows).map(|row| format!("word {row}")).collect();
    texts((0..rows).map(|row| {
        let misdeed = bad.iter().find(|(at, _)| *at == row).map(|(_, misdeed)| *misdeed);
        Some(misdeed.unwrap_or(&good[row]))
    }))
}

/// The texts of a column.
pub(crate) fn read(batch: &Batch, column: usize) -> Vec<Option<String>> {
    let column = &batch.columns[column];
    let Vector::Varlen(values) = &column.values else { panic!("not text: {column:?}") };
    (0..batch.rows)
        .map(|row| {
            (!column.is_null(row)).then(|| String::from_utf8(values.get(row).to_vec()).expect("UTF-8"))
        })
        .collect()
}
