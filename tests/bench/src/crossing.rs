//! What it costs to have rows rewritten by row code: there, the code, and back.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, anyhow};
use engine_core::batch::Batch;
use engine_core::column::{Column, Varlen, Vector};
use engine_core::endpoint::Endpoint;
use engine_core::logical::LogicalType;
use engine_core::schema::{ColumnSchema, TableName, TableSchema};
use engine_plugin::{Control, Limits, Origin, Plugin, PluginEngine, RunContext, Settings, Workers};

use crate::measure::{Case, Measure};

const COLUMNS: usize = 12;
const BATCH_ROWS: usize = 4096;
const BATCHES: usize = 250;

/// Batches of 4,096 rows of which two of twelve columns, 24 and 80 bytes long, cross and come back in upper case: by
/// code that works on whole columns, which is little more than the crossing, and by code that works on rows. One
/// thread, so that the time on the clock is the time spent.
pub(crate) fn measure(runtime: &tokio::runtime::Runtime, plugin: &Path, runs: usize) -> Result<Vec<Case>> {
    [
        ("column", "crossing: 2 of 12 columns to the plugin and back, upper case by whole columns"),
        ("row", "crossing: the same, upper case row by row"),
    ]
    .into_iter()
    .map(|(by, name)| one(runtime, plugin, by, name, runs))
    .collect()
}

fn one(runtime: &tokio::runtime::Runtime, plugin: &Path, by: &str, name: &str, runs: usize) -> Result<Case> {
    let failed = |error: engine_core::Error| anyhow!("{error}");
    let engine = PluginEngine::new(None, Limits::default()).map_err(failed)?;
    let plugin = Plugin::load(&engine, plugin).map_err(failed)?;
    let context =
        RunContext { run_id: "bench".to_owned(), started_at_us: 0, seed: 1, attributes: Vec::new() };
    let settings =
        Settings { context, config: format!(r#"{{"columns": ["c1", "c11"], "by": "{by}"}}"#), place: None };
    let schema = schema();
    let endpoint = Endpoint { engine: "any".to_owned(), version: "1".to_owned(), attributes: Vec::new() };
    let plan = Control::new(&plugin, &settings)
        .and_then(|mut control| control.plan_table(&schema, &endpoint, &endpoint))
        .map_err(failed)?;
    let workers = Workers::start(vec![(plugin, settings)], 1).map_err(failed)?;
    let table = workers.add_table(0, &schema, &plan).map_err(failed)?;
    let mut input = Batch { rows: BATCH_ROWS, columns: vec![texts(24), texts(80)] };
    let mut case = Case::new(name, (BATCH_ROWS * BATCHES) as u64);
    for _ in 0..runs {
        let begin = Instant::now();
        for _ in 0..BATCHES {
            let done = runtime.block_on(workers.transform(table, Origin::Snapshot, input)).map_err(failed)?;
            input = done.input;
        }
        let wall = begin.elapsed().as_secs_f64();
        case.add(Measure { wall, tool_cpu: wall, ..Measure::default() });
    }
    Ok(case)
}

fn schema() -> TableSchema {
    let column = |number: usize| ColumnSchema {
        name: format!("c{number}"),
        logical: LogicalType::Text { max_chars: None, fixed: false, charset: None, collation: None },
        native: "text".to_owned(),
        nullable: false,
        default: None,
        on_update_now: false,
        generated: None,
        identity: false,
        invisible: false,
        comment: String::new(),
        target_type: Some("text".to_owned()),
        attributes: Vec::new(),
    };
    TableSchema {
        name: TableName::new("bench", "rows"),
        columns: (0..COLUMNS).map(column).collect(),
        indexes: Vec::new(),
        foreign_keys: Vec::new(),
        comment: String::new(),
        collation: None,
        row_estimate: None,
        byte_estimate: None,
        next_identity: None,
    }
}

fn texts(length: usize) -> Column {
    let mut values = Varlen::default();
    for row in 0..BATCH_ROWS {
        values.push(format!("{row:0length$}").as_bytes());
    }
    Column::new(Vector::Varlen(values))
}
