//! Row counts of both sides, of a source that stands still and a target that has everything.
//!
//! Equal counts don't make equal rows. It finds what a person fears at this moment, a table that was
//! forgotten or written to on the target, and nothing finer.

use engine_core::error::{Error, ErrorKind, Result};

use crate::control::gate::Held;
use crate::task::TaskSpec;

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counted {
    tables: u64,
    rows: u64,
    /// Tables of which a plugin filters rows or some are set aside: their numbers may differ.
    passed_over: u64,
}

impl Counted {
    /// In words.
    pub(super) fn text(self) -> String {
        let passed_over = match self.passed_over {
            0 => String::new(),
            some => {
                format!("; {some} with filtered rows, rows set aside or rows of other tasks are not counted")
            }
        };
        format!("{} tables have the same number of rows, {} in all{passed_over}", self.tables, self.rows)
    }
}

/// Counts every table on both sides; a difference is an error.
pub(super) async fn compare(spec: &TaskSpec, held: &Held) -> Result<Counted> {
    let mut counted = Counted::default();
    let mut different = Vec::new();
    for route in &held.routes {
        let composed = route.composed();
        let (schema, target) = (&composed.schema, &composed.target);
        if !target.with_rows {
            continue;
        }
        let is_filtered = composed.planned.iter().any(|planned| planned.plan.calls.filter);
        if is_filtered || target.is_shared() || route.dead_letters().count(&schema.name.to_string()) > 0 {
            counted.passed_over += 1;
            continue;
        }
        let (of_source, of_target) =
            tokio::try_join!(spec.source.count_rows(schema), spec.target.count_rows(target))?;
        if of_source == of_target {
            counted.tables += 1;
            counted.rows += of_source;
        } else {
            different.push(format!("{} has {of_source}, {} has {of_target}", schema.name, target.name));
        }
    }
    if different.is_empty() {
        return Ok(counted);
    }
    Err(Error::new(ErrorKind::Divergence, "source and target don't have the same numbers of rows")
        .at("task", &spec.name)
        .because(different.join("; "))
        .help("see whether somebody wrote to the target; engine verify finds the rows"))
}
