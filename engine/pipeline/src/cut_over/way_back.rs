//! The target as the source of a way back, seen from the cut-over.
//!
//! The target keeps its log from a place at which nobody but the task has written to it, and the task has
//! written its last: what comes after is what applications change, and all of that.

use std::sync::Arc;
use std::time::Duration;

use engine_core::error::{Error, ErrorKind, Result};
use engine_core::failpoint::Failpoint;
use engine_core::finding::Finding;
use engine_core::plan::TargetTable;
use engine_core::position::Position;
use engine_core::source::Source;

use crate::reverse;
use crate::task::TaskSpec;

/// Has the target's tables log what a way back needs, and looks for what stands in its way.
pub(super) async fn prepare(spec: &TaskSpec, targets: &[Arc<TargetTable>]) -> Result<Vec<Finding>> {
    if let Some(table) = targets.iter().find(|table| table.is_shared()) {
        return Err(Error::new(ErrorKind::Precondition, "a merged table has no way back")
            .at("table", &table.name)
            .because("nobody knows which table of the source a new row would belong to")
            .help("cut over without one"));
    }
    let source = open(spec).await?;
    let selection = reverse::selection(targets);
    let names: Vec<_> = targets.iter().map(|table| table.name.clone()).collect();
    let plan = reverse::plan(spec).await?;
    source.log_whole_rows(&names).await?;
    let mut findings = source.check(&selection, true).await?;
    findings.extend(plan.unlogged_cascades(source.endpoint()).into_iter().map(|finding| Finding {
        fix: Some(
            "cut over without a way back, or drop the action from the foreign key in the target".to_owned(),
        ),
        ..finding
    }));
    Ok(findings)
}

/// Has the target keep its log; answers where it begins, and how long it is kept, where time decides that.
pub(super) async fn begin(
    spec: &TaskSpec,
    targets: &[Arc<TargetTable>],
) -> Result<(Position, Option<Duration>)> {
    let source = open(spec).await?;
    let begins = source.begin_following(&reverse::selection(targets)).await?;
    Failpoint::WayBackBegun.reach();
    Ok((begins, source.log_kept_for().await?))
}

/// Lets go what a cut-over has the target keep that was killed before its end.
pub(super) async fn clear(spec: &TaskSpec) {
    match open(spec).await {
        Ok(source) => let_go(source.as_ref()).await,
        // Then none can have begun.
        Err(error) => tracing::debug!("there is no way back from the target: {error}"),
    }
}

/// Lets the log go again, as far as that can be had now.
pub(super) async fn give_up(spec: &TaskSpec) {
    match open(spec).await {
        Ok(source) => let_go(source.as_ref()).await,
        Err(error) => warn(&error),
    }
}

async fn let_go(source: &dyn Source) {
    if let Err(error) = source.let_go().await {
        warn(&error);
    }
}

fn warn(error: &Error) {
    tracing::warn!("the target may keep its log for a way back that is not taken: {error}");
}

async fn open(spec: &TaskSpec) -> Result<Arc<dyn Source>> {
    spec.target.as_source(&reverse::task_name(&spec.name), &spec.source_label).await
}
