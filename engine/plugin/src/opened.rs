//! Tables as the row functions see them.

use engine_core::logical::LogicalType;
use engine_core::plan::{StagePlan, WriteColumn};
use engine_core::schema::TableSchema;
use engine_core::{Error, ErrorKind, Result};
use std::sync::{Arc, PoisonError, RwLock};

use crate::bindings::contract::{lifecycle, types};
use crate::convert;

/// One table under one plugin: what `open-table` is given and what the calls must look like.
pub(crate) struct OpenTable {
    pub(crate) id: u32,
    /// For messages.
    pub(crate) name: String,
    pub(crate) stage: usize,
    pub(crate) schema: types::TableSchema,
    pub(crate) plan: lifecycle::TablePlan,
    /// Types of the columns that `filter` and `transform-batch` read.
    pub(crate) filter_reads: Vec<LogicalType>,
    pub(crate) transform_reads: Vec<LogicalType>,
    /// Types and names of the columns that `transform-batch` writes.
    pub(crate) writes: Vec<(String, LogicalType)>,
}

/// The tables that were registered; an index into it is a table's id.
#[derive(Default)]
pub(crate) struct Tables {
    tables: RwLock<Vec<Arc<OpenTable>>>,
}

impl Tables {
    /// Registers `table` with the plan that plugin `stage` made for it, and returns its id.
    pub(crate) fn add(&self, stage: usize, table: &TableSchema, plan: &StagePlan) -> Result<usize> {
        let internal = |why: &str| {
            Error::new(ErrorKind::Internal, "a plan doesn't belong to its table")
                .at("table", &table.name)
                .because(why)
        };
        let types_of = |columns: &[usize]| {
            columns
                .iter()
                .map(|&column| table.columns.get(column).map(|column| column.logical.clone()))
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| internal("it reads a column that isn't there"))
        };
        let writes = plan
            .transform_writes
            .iter()
            .map(|write| match *write {
                WriteColumn::Input(column) => {
                    table.columns.get(column).map(|column| (column.name.clone(), column.logical.clone()))
                }
                WriteColumn::Extra(extra) => {
                    plan.extra_columns.get(extra).map(|extra| (extra.name.clone(), extra.logical.clone()))
                }
            })
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| internal("it writes a column that isn't there"))?;
        let (filter_reads, transform_reads) =
            (types_of(&plan.filter_reads)?, types_of(&plan.transform_reads)?);
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        let id = tables.len();
        tables.push(Arc::new(OpenTable {
            id: id as u32,
            name: table.name.to_string(),
            stage,
            schema: convert::schema::table(table),
            plan: convert::plan::plan(plan),
            filter_reads,
            transform_reads,
            writes,
        }));
        Ok(id)
    }

    pub(crate) fn get(&self, id: usize) -> Option<Arc<OpenTable>> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner).get(id).map(Arc::clone)
    }
}
