//! A plugin that does what no plugin may: when its configuration says so while it plans, and at rows
//! whose first column names a misdeed. At every other row it behaves and copies that column in upper
//! case, so that a test can tell that the rows around a bad one are unharmed.

use migration_sdk::batch::{Batch, Row};
use migration_sdk::output::{Output, RowOutput};
use migration_sdk::{
    Calls, ColumnRule, Description, Endpoint, NativeOp, Planner, PluginError, RowErrorPolicy, RowFailure,
    RunContext, TablePlan, TableSchema, Transformer, WriteColumn, export_plugin, log,
};
use serde::Deserialize;

struct Misbehave {
    config: Config,
}

/// What to do wrong while planning.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Misdeed {
    #[default]
    None,
    Trap,
    Loop,
    Allocate,
    UnknownOperation,
    TooFewRules,
    ReadsNoColumn,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    plan: Misdeed,
    /// Refuse the configuration at this JSON pointer.
    refuse: Option<String>,
}

impl Planner for Misbehave {
    type Config = Config;

    fn describe() -> Description {
        Description {
            name: "misbehave".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "does what no plugin may".to_owned(),
            config_schema: String::new(),
            sources: Vec::new(),
            targets: Vec::new(),
            attributes: Vec::new(),
        }
    }

    fn configure(_: RunContext, config: Config) -> Result<Self, PluginError> {
        match &config.refuse {
            Some(pointer) => Err(PluginError::InvalidConfig((pointer.clone(), "not this".to_owned()))),
            None => Ok(Self { config }),
        }
    }

    fn plan_table(&self, schema: &TableSchema, _: &Endpoint, _: &Endpoint) -> Result<TablePlan, PluginError> {
        let mut plan = TablePlan {
            filter_reads: vec![0],
            transform_reads: vec![0],
            transform_writes: vec![WriteColumn::Input(0)],
            calls: Calls::FILTER | Calls::TRANSFORM,
            on_row_error: RowErrorPolicy::DeadLetter,
            ..TablePlan::unchanged(schema)
        };
        match self.config.plan {
            Misdeed::None => {}
            Misdeed::Trap => panic!("told to while planning"),
            Misdeed::Loop => run_forever(),
            Misdeed::Allocate => allocate_forever(),
            Misdeed::UnknownOperation => {
                let mut mapping = migration_sdk::ColumnMapping::unchanged();
                mapping.ops.push(NativeOp::Other(("reverse".to_owned(), String::new())));
                plan.columns = schema.columns.iter().map(|_| ColumnRule::Keep).collect();
                plan.columns[0] = ColumnRule::Remap(mapping);
            }
            Misdeed::TooFewRules => plan.columns = vec![ColumnRule::Keep; schema.columns.len() + 1],
            Misdeed::ReadsNoColumn => plan.filter_reads = vec![99],
        }
        Ok(plan)
    }
}

impl Transformer for Misbehave {
    type Table = ();

    fn open_table(&self, _: &TableSchema, _: &TablePlan) -> Result<(), PluginError> {
        Ok(())
    }

    fn keep(&self, (): &(), row: Row<'_>) -> Result<bool, RowFailure> {
        let word = row.text(0)?;
        assert!(word != Some("trap in filter"), "told to while filtering");
        Ok(word != Some("drop"))
    }

    fn transform_batch(&self, (): &(), batch: &Batch<'_>, output: &mut Output) -> Result<(), PluginError> {
        for row in batch.rows() {
            // A row left out makes the answer too short.
            if row.text(0).ok().flatten() != Some("leave out") {
                output.row(row.index(), |writer| transform(row, writer));
            }
        }
        Ok(())
    }
}

fn transform(row: Row<'_>, output: &mut RowOutput<'_>) -> Result<(), RowFailure> {
    let word = row.text(0)?;
    match word {
        Some("trap") => panic!("told to at a row"),
        Some("loop") => run_forever(),
        Some("allocate") => allocate_forever(),
        Some("storm") => (0..10_000).for_each(|number| log::warn(format_args!("storm {number}"))),
        Some("refuse") => return Err(RowFailure::new("refused", "told to").at_column(0)),
        _ => {}
    }
    output.text(0, word.map(str::to_uppercase).as_deref())
}

// Not inlined: the tests look for its name in the guest's backtrace.
#[inline(never)]
fn run_forever() {
    let mut number = 0u64;
    while std::hint::black_box(number) != u64::MAX {
        number = (number + 1) % 1000;
    }
}

#[inline(never)]
fn allocate_forever() {
    let mut hoard = Vec::new();
    loop {
        hoard.push(vec![1u8; 1 << 20]);
        std::hint::black_box(&hoard);
    }
}

export_plugin!(Misbehave: Transformer);
