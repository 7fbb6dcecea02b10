//! Row functions: good batches, bad rows, bad plugins.

use engine_core::{Error, ErrorKind};
use engine_plugin::{Filtered, Limits, Origin, Plugin, PluginEngine, Transformed, Workers};
use std::time::Duration;

use crate::kit::{self, read, texts, words_with};

/// Workers with `shop.words` open, and its number.
fn workers(limits: Limits) -> (Workers, usize) {
    let engine = PluginEngine::new(None, limits).expect("an engine");
    let plugin = Plugin::load(&engine, &kit::guest("misbehave")).expect("a plugin");
    let settings = kit::settings("");
    let plan = engine_plugin::Control::new(&plugin, &settings)
        .and_then(|mut control| {
            control.plan_table(&kit::words(), &kit::endpoint("mysql"), &kit::endpoint("postgres"))
        })
        .expect("a plan");
    let workers = Workers::start(vec![(plugin, settings)], 2).expect("workers");
    let table = workers.add_table(0, &kit::words(), &plan).expect("a table");
    (workers, table)
}

async fn transform(limits: Limits, input: engine_core::batch::Batch) -> Result<Transformed, Error> {
    let (workers, table) = workers(limits);
    workers.transform(table, Origin::Snapshot, input).await
}

fn codes(transformed: &Transformed) -> Vec<(usize, &str)> {
    transformed.errors.iter().map(|error| (error.row, error.code.as_str())).collect()
}

/// Every row that is not in error was copied in upper case.
fn assert_others_unharmed(transformed: &Transformed) {
    let (input, output) = (read(&transformed.input, 0), read(&transformed.output, 0));
    assert_eq!(output.len(), input.len());
    for (row, (before, after)) in input.into_iter().zip(output).enumerate() {
        if !transformed.errors.iter().any(|error| error.row == row) {
            assert_eq!(after, before.map(|text| text.to_uppercase()), "row {row}");
        }
    }
}

#[tokio::test]
async fn rows_go_there_and_back() {
    let transformed = transform(kit::limits(), texts([Some("é"), None, Some(""), Some("zwölf")])).await;
    let transformed = transformed.expect("rows");
    let wanted = [Some("É"), None, Some(""), Some("ZWÖLF")].map(|text| text.map(str::to_owned));
    assert_eq!(read(&transformed.output, 0), wanted);
    assert_eq!(transformed.errors, []);
}

#[tokio::test]
async fn an_empty_batch_stays_empty() {
    let transformed = transform(kit::limits(), texts([])).await.expect("no rows");
    assert_eq!((transformed.output.rows, transformed.output.columns.len()), (0, 1));
}

#[tokio::test]
async fn a_filter_drops_what_it_says() {
    let (workers, table) = workers(kit::limits());
    let input = texts([Some("keep"), Some("drop"), None, Some("drop"), Some("x")]);
    let Filtered { keep, errors, .. } =
        workers.filter(table, Origin::ChangeStream, input).await.expect("an answer");
    assert_eq!(keep.iter().collect::<Vec<_>>(), [true, false, true, false, true]);
    assert_eq!(errors, []);
}

#[tokio::test]
async fn a_filter_that_traps_loses_one_row() {
    let (workers, table) = workers(kit::limits());
    let input = words_with(300, &[(17, "trap in filter"), (200, "drop")]);
    let filtered = workers.filter(table, Origin::Snapshot, input).await.expect("an answer");
    assert_eq!(filtered.errors.iter().map(|error| error.row).collect::<Vec<_>>(), [17]);
    let dropped: Vec<usize> = (0..300).filter(|&row| !filtered.keep.get(row)).collect();
    assert_eq!(dropped, [17, 200]);
}

#[tokio::test]
async fn a_trap_is_narrowed_to_its_row() {
    let transformed = transform(kit::limits(), words_with(1024, &[(0, "trap"), (700, "trap")])).await;
    let transformed = transformed.expect("rows");
    assert_eq!(codes(&transformed), [(0, "trap"), (700, "trap")]);
    assert!(transformed.errors[0].message.starts_with("told to at a row"), "{:?}", transformed.errors);
    assert!(transformed.errors[0].message.contains("misbehave::"), "{:?}", transformed.errors);
    assert_others_unharmed(&transformed);
}

#[tokio::test]
async fn a_row_that_loops_is_narrowed_to_its_row() {
    let limits = Limits { batch: Duration::from_millis(100), ..kit::limits() };
    let transformed = transform(limits, words_with(64, &[(33, "loop")])).await.expect("rows");
    assert_eq!(codes(&transformed), [(33, "timeout")]);
    assert_others_unharmed(&transformed);
}

#[tokio::test]
async fn a_row_that_hoards_is_narrowed_to_its_row() {
    let transformed = transform(kit::limits(), words_with(16, &[(15, "allocate")])).await.expect("rows");
    assert_eq!(codes(&transformed), [(15, "memory")]);
    assert_others_unharmed(&transformed);
}

#[tokio::test]
async fn an_answer_too_short_is_narrowed_to_its_row() {
    let transformed = transform(kit::limits(), words_with(50, &[(20, "leave out")])).await.expect("rows");
    assert_eq!(codes(&transformed), [(20, "malformed")]);
    assert_others_unharmed(&transformed);
}

#[tokio::test]
async fn the_plugins_own_row_errors_keep_their_place_beside_a_trap() {
    let input = words_with(100, &[(10, "refuse"), (60, "trap"), (90, "refuse")]);
    let transformed = transform(kit::limits(), input).await.expect("rows");
    assert_eq!(codes(&transformed), [(10, "refused"), (60, "trap"), (90, "refused")]);
    assert_eq!(transformed.errors[0].column, Some(0));
    assert_others_unharmed(&transformed);
}

#[tokio::test]
async fn a_plugin_that_always_fails_is_given_up() {
    let every: Vec<(usize, &str)> = (0..500).map(|row| (row, "trap")).collect();
    let error = transform(kit::limits(), words_with(500, &every)).await.expect_err("given up");
    assert_eq!(error.kind(), ErrorKind::Plugin);
    let text = error.to_string();
    assert!(text.contains("64 of 500 failed one by one"), "{text}");
    assert!(text.contains("plugin misbehave") && text.contains("table shop.words"), "{text}");
}

#[tokio::test]
async fn a_storm_of_messages_harms_nobody() {
    let transformed = transform(kit::limits(), words_with(3, &[(1, "storm")])).await.expect("rows");
    assert_eq!(codes(&transformed), []);
}

#[tokio::test]
async fn a_batch_without_the_planned_columns_never_reaches_the_plugin() {
    let input = engine_core::batch::Batch { rows: 2, columns: Vec::new() };
    let error = transform(kit::limits(), input).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Internal);
}
