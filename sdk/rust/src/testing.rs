//! Running a plugin in its own tests: on the host, without WebAssembly and without a database.
//!
//! ```
//! # use migration_sdk::*;
//! # struct Quiet;
//! # impl Planner for Quiet {
//! #     type Config = NoConfig;
//! #     fn describe() -> Description { Description::new("quiet", "1.0.0", "changes nothing") }
//! #     fn configure(_: RunContext, _: NoConfig) -> Result<Self, PluginError> { Ok(Self) }
//! #     fn plan_table(&self, schema: &TableSchema, _: &Endpoint, _: &Endpoint) -> Result<TablePlan, PluginError> {
//! #         Ok(TablePlan::unchanged(schema))
//! #     }
//! # }
//! use migration_sdk::testing::{self, Harness};
//!
//! let plugin = Harness::<Quiet>::configure("{}")?;
//! let table = testing::table("shop", "orders", [testing::column("id", testing::integer(64))]);
//! assert_eq!(plugin.plan(&table)?.target.name, "orders");
//! # Ok::<(), PluginError>(())
//! ```

use crate::batch::{Batch, Row};
use crate::bindings::exports::migration::plugin::transform as contract;
use crate::instance::{Instance, OpenTables};
use crate::output::{Output, RowOutput};
use crate::plugin::{Planner, Transformer};
use crate::types::{BytesType, IntegerType, RowError, TextType, TimestampType, Vector};
use crate::{
    ColumnSchema, Endpoint, LogicalType, PluginError, RowFailure, RunContext, TablePlan, TableSchema,
    WriteColumn,
};

/// One value of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// NULL.
    Null,
    /// Of a boolean column.
    Boolean(bool),
    /// Of a signed column: integers, dates, times, timestamps.
    Int(i64),
    /// Of an unsigned column.
    Uint(u64),
    /// Of a floating-point column.
    Real(f64),
    /// Of any other column.
    Bytes(Vec<u8>),
}

impl Cell {
    /// Text, or anything else held as text.
    pub fn text(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }

    /// The text of a cell that holds some.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    fn read(row: Row<'_>, position: usize, values: &Vector) -> Result<Self, RowFailure> {
        let cell = match values {
            Vector::Bits(_) => row.boolean(position)?.map(Self::Boolean),
            Vector::S64s(_) => row.int(position)?.map(Self::Int),
            Vector::U64s(_) => row.uint(position)?.map(Self::Uint),
            Vector::F64s(_) => row.real(position)?.map(Self::Real),
            _ => row.bytes(position)?.map(|bytes| Self::Bytes(bytes.to_vec())),
        };
        Ok(cell.unwrap_or(Self::Null))
    }

    fn write(&self, position: usize, output: &mut RowOutput<'_>) -> Result<(), RowFailure> {
        match self {
            Self::Null => output.null(position),
            Self::Boolean(value) => output.boolean(position, *value),
            Self::Int(value) => output.int(position, *value),
            Self::Uint(value) => output.uint(position, *value),
            Self::Real(value) => output.real(position, *value),
            Self::Bytes(value) => output.bytes(position, value.as_slice()),
        }
    }
}

/// What a transform answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Transformed {
    /// Per row, the columns of [`TablePlan::transform_writes`]; NULLs where the row is in error.
    pub rows: Vec<Vec<Cell>>,
    /// Rows that can't be carried over.
    pub errors: Vec<RowError>,
}

/// A configured plugin.
pub struct Harness<P> {
    instance: Instance<P>,
}

impl<P: Planner> Harness<P> {
    /// Configures the plugin with JSON text.
    ///
    /// # Errors
    /// Those of the plugin's `configure`.
    pub fn configure(config: &str) -> Result<Self, PluginError> {
        let context = RunContext { run_id: "test".into(), started_at_us: 0, seed: 0, attributes: Vec::new() };
        let instance = Instance::new();
        instance.configure(context, config)?;
        Ok(Self { instance })
    }

    /// Plans a table between MySQL 8.4 and PostgreSQL 16.
    ///
    /// # Errors
    /// Those of the plugin.
    pub fn plan(&self, schema: &TableSchema) -> Result<TablePlan, PluginError> {
        self.plan_between(schema, &endpoint("mysql", "8.4.0"), &endpoint("postgres", "16.4"))
    }

    /// Plans a table.
    ///
    /// # Errors
    /// Those of the plugin.
    pub fn plan_between(
        &self,
        schema: &TableSchema,
        source: &Endpoint,
        target: &Endpoint,
    ) -> Result<TablePlan, PluginError> {
        self.instance.plan_table(schema, source, target)
    }
}

impl<P: Transformer> Harness<P> {
    /// Which rows the plugin keeps. Each row holds the columns of [`TablePlan::filter_reads`].
    ///
    /// # Errors
    /// Those of the plugin, and [`PluginError::Fatal`] for cells that don't fit the schema.
    pub fn filter(&self, schema: &TableSchema, rows: &[Vec<Cell>]) -> Result<Vec<bool>, PluginError> {
        let (tables, plan) = self.open(schema)?;
        let input = batch(schema, &plan.filter_reads, rows)?;
        let keep = tables.filter(&self.instance, &input)?;
        let bit = |row: usize| keep.get(row / 8).is_some_and(|byte| byte >> (row % 8) & 1 == 1);
        Ok((0..rows.len()).map(bit).collect())
    }

    /// What the plugin makes of rows, each of which holds the columns of
    /// [`TablePlan::transform_reads`].
    ///
    /// # Errors
    /// Those of the plugin, and [`PluginError::Fatal`] for cells that don't fit the schema.
    pub fn transform(&self, schema: &TableSchema, rows: &[Vec<Cell>]) -> Result<Transformed, PluginError> {
        let (tables, plan) = self.open(schema)?;
        let input = batch(schema, &plan.transform_reads, rows)?;
        let output = tables.transform(&self.instance, &input)?;
        let answered = contract::Batch { columns: output.columns, ..input };
        let read = |row: Row<'_>| {
            let columns = answered.columns.iter().enumerate();
            columns.map(|(position, column)| Cell::read(row, position, &column.values)).collect()
        };
        let rows = Batch::new(&answered).rows().map(read).collect::<Result<_, RowFailure>>();
        Ok(Transformed {
            rows: rows.map_err(|failure| PluginError::Fatal(failure.message))?,
            errors: output.errors,
        })
    }

    fn open(&self, schema: &TableSchema) -> Result<(OpenTables<P>, TablePlan), PluginError> {
        let plan = self.plan(schema)?;
        let tables = OpenTables::new();
        tables.open(&self.instance, 0, schema.clone(), plan.clone())?;
        Ok((tables, plan))
    }
}

fn batch(schema: &TableSchema, reads: &[u32], rows: &[Vec<Cell>]) -> Result<contract::Batch, PluginError> {
    let mut plan = TablePlan::unchanged(schema);
    plan.transform_writes = reads.iter().copied().map(WriteColumn::Input).collect();
    let mut columns = Output::new(schema, &plan, rows.len())
        .ok_or_else(|| PluginError::Fatal("the plan reads a column that does not exist".to_owned()))?;
    for (index, row) in rows.iter().enumerate() {
        columns.row(index, |writer| {
            row.iter().enumerate().try_for_each(|(position, cell)| cell.write(position, writer))
        });
    }
    let built = columns.finish();
    match built.errors.first() {
        Some(error) => Err(PluginError::Fatal(format!("row {} does not fit: {}", error.row, error.message))),
        None => Ok(contract::Batch {
            table: 0,
            rows: rows.len() as u32,
            origin: contract::Origin::Snapshot,
            columns: built.columns,
        }),
    }
}

/// A database of the given engine and version.
pub fn endpoint(engine: &str, version: &str) -> Endpoint {
    Endpoint { engine: engine.to_owned(), version: version.to_owned(), attributes: Vec::new() }
}

/// A table without indexes.
pub fn table(namespace: &str, name: &str, columns: impl IntoIterator<Item = ColumnSchema>) -> TableSchema {
    TableSchema {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        columns: columns.into_iter().collect(),
        indexes: Vec::new(),
        row_estimate: None,
        attributes: Vec::new(),
    }
}

/// A nullable column without a default.
pub fn column(name: &str, logical: LogicalType) -> ColumnSchema {
    ColumnSchema {
        name: name.to_owned(),
        logical,
        native: String::new(),
        nullable: true,
        default_expr: None,
        on_update_now: false,
        generated: None,
        identity: false,
        invisible: false,
        target_type: None,
        attributes: Vec::new(),
    }
}

/// A signed integer of `bits` bits.
pub fn integer(bits: u8) -> LogicalType {
    LogicalType::Integer(IntegerType { bits, signed: true })
}

/// An unsigned integer of `bits` bits.
pub fn unsigned(bits: u8) -> LogicalType {
    LogicalType::Integer(IntegerType { bits, signed: false })
}

/// Text of at most `max_chars` characters.
pub fn text(max_chars: u32) -> LogicalType {
    LogicalType::Text(TextType { max_chars: Some(max_chars), fixed: false, charset: None, collation: None })
}

/// At most `max_bytes` bytes.
pub fn bytes(max_bytes: u32) -> LogicalType {
    LogicalType::Bytes(BytesType { max_bytes: Some(max_bytes), fixed: false })
}

/// A timestamp with `precision` fractional digits.
pub fn timestamp(precision: u8, zoned: bool) -> LogicalType {
    LogicalType::Timestamp(TimestampType { precision, zoned })
}

/// Asserts that the file at `path`, a plugin's stored JSON Schema, is `current`; with the environment variable
/// `UPDATE_SCHEMA` it is written.
///
/// A component that made its schema itself would carry the generator along.
///
/// # Panics
/// When the two differ.
pub fn assert_schema_is_stored(path: &str, current: &str) {
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(path, format!("{current}\n")).expect("the file is writable");
    }
    let stored = std::fs::read_to_string(path).expect("the file is there");
    assert_eq!(stored.trim_end(), current, "run the test with UPDATE_SCHEMA=1 and commit the file");
}
