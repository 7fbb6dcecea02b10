//! The full check, while writes still go on: every row of both sides at one position.

use std::sync::Arc;
use tokio_util::sync::CancellationToken;

use engine_core::error::{Error, ErrorKind, Result};

use crate::control::gate::Held;
use crate::task::TaskSpec;
use crate::verify::{self, Options, Progress};

/// Compares every row; a difference is an error. Answers what was compared, or that this target can't
/// be.
pub(super) async fn compare(
    spec: &TaskSpec,
    held: &Held,
    progress: Arc<Progress>,
    stop: CancellationToken,
) -> Result<String> {
    if let Some(table) = held.targets.first()
        && let Err(error) = spec.target.row_form(table).await
    {
        if error.kind() == ErrorKind::Precondition {
            return Ok(format!("not made: {}; rows are counted once writes have stopped", error.what()));
        }
        return Err(error);
    }
    let options = Options { restart: true, ..Options::default() };
    let report = Box::pin(verify::verify(spec.clone(), options, progress, stop)).await?;
    let tables = report.tables.len();
    let rows: u64 = report.tables.iter().map(|table| table.equal).sum();
    if report.is_equal() {
        let merged = report.tables.iter().filter(|table| table.merged).count();
        let besides = match merged {
            0 => String::new(),
            1 => "; one of them is merged, and has rows of others too".to_owned(),
            _ => format!("; {merged} of them are merged, and have rows of others too"),
        };
        return Ok(format!(
            "{rows} rows of {tables} tables are equal on both sides, column by column{besides}"
        ));
    }
    let not_equal: Vec<String> = report
        .tables
        .iter()
        .filter(|table| !table.is_equal())
        .map(|table| {
            format!(
                "{}: {} missing, {} extra, {} different{}",
                table.table,
                table.missing,
                table.extra,
                table.different,
                if table.is_complete { "" } else { ", not compared as a whole" }
            )
        })
        .collect();
    Err(Error::new(ErrorKind::Divergence, "the target is not equal to its source")
        .at("task", &spec.name)
        .because(not_equal.join("; "))
        .help(format!(
            "engine verify {0} shows the rows, engine verify {0} --repair mends them; --skip-verify cuts over all the same",
            spec.name
        )))
}
