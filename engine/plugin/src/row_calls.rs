//! One call of a row function: lower, run, lift.

use std::time::Duration;
use wasmtime::Store;

use crate::bindings::contract::transform::{BatchOutput, Origin};
use crate::bindings::contract::types::PluginError;
use crate::bindings::rows::{Batch, Column};
use crate::failure::Failure;
use crate::host::Host;
use crate::instance::{Instance, RowFunctions};

type Filtered = (Result<Vec<u8>, PluginError>,);
type Transformed = (Result<BatchOutput, PluginError>,);

/// Compares the row functions with the contract.
pub(crate) fn check(functions: &RowFunctions, store: &mut Store<Host>) -> wasmtime::Result<()> {
    functions.filter.typed::<(Batch<'_>,), Filtered>(&*store)?;
    functions.transform.typed::<(Batch<'_>,), Transformed>(&*store)?;
    Ok(())
}

/// What every call says beside the columns.
#[derive(Clone, Copy)]
pub(crate) struct Head {
    pub(crate) table: u32,
    pub(crate) rows: usize,
    pub(crate) origin: Origin,
    pub(crate) budget: Duration,
}

impl Instance {
    /// Calls `filter`.
    pub(crate) fn filter(
        &mut self,
        head: Head,
        columns: &[Column<'_>],
    ) -> Result<Result<Vec<u8>, PluginError>, Failure> {
        self.call(head.budget, |exported, store| {
            let function = functions(exported.rows)?.filter.typed::<(Batch<'_>,), Filtered>(&*store)?;
            Ok(function.call(store, (batch(head, columns),))?.0)
        })
    }

    /// Calls `transform-batch`.
    pub(crate) fn transform(
        &mut self,
        head: Head,
        columns: &[Column<'_>],
    ) -> Result<Result<BatchOutput, PluginError>, Failure> {
        self.call(head.budget, |exported, store| {
            let function = functions(exported.rows)?.transform.typed::<(Batch<'_>,), Transformed>(&*store)?;
            Ok(function.call(store, (batch(head, columns),))?.0)
        })
    }
}

fn functions(functions: Option<RowFunctions>) -> wasmtime::Result<RowFunctions> {
    functions.ok_or_else(|| wasmtime::Error::msg("the plugin exports no 'transform'"))
}

fn batch<'a>(head: Head, columns: &'a [Column<'a>]) -> Batch<'a> {
    Batch { table: head.table, rows: head.rows as u32, origin: head.origin, columns }
}
