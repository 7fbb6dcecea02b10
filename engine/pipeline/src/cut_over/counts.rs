//! Row counts of both sides, of a source that stands still and a target that has everything.
//!
//! Equal counts don't make equal rows. It finds what a person fears at this moment, a table that was
//! forgotten or written to on the target, and nothing finer.

use std::collections::BTreeMap;

use engine_core::error::{Error, ErrorKind, Result};
use engine_core::schema::TableName;

use crate::control::gate::Held;
use crate::route::Route;
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

/// Counts every table on both sides; a difference is an error. Tables that become one are counted together.
pub(super) async fn compare(spec: &TaskSpec, held: &Held) -> Result<Counted> {
    let mut counted = Counted::default();
    let mut different = Vec::new();
    let mut by_target: BTreeMap<&TableName, Vec<&Route>> = BTreeMap::new();
    for route in held.routes.iter().filter(|route| route.composed().target.with_rows) {
        by_target.entry(&route.composed().target.name).or_default().push(route);
    }
    for routes in by_target.into_values() {
        let tables = routes.len() as u64;
        if may_differ(spec, &routes).await? {
            counted.passed_over += tables;
            continue;
        }
        let (mut of_source, mut of_target, mut names) = (0, 0, Vec::with_capacity(routes.len()));
        for (number, route) in routes.iter().enumerate() {
            let (schema, target) = (&route.composed().schema, &route.composed().target);
            if number == 0 {
                (of_source, of_target) =
                    tokio::try_join!(spec.source.count_rows(schema), spec.target.count_rows(target))?;
            } else {
                of_source += spec.source.count_rows(schema).await?;
            }
            names.push(schema.name.to_string());
        }
        if of_source == of_target {
            counted.tables += tables;
            counted.rows += of_source;
        } else {
            let target = routes.first().map(|route| route.composed().target.name.to_string());
            let (names, target) = (names.join(" and "), target.unwrap_or_default());
            different.push(format!("{names} has {of_source}, {target} has {of_target}"));
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

/// Whether the numbers of rows of tables that become one may differ from that of the one.
async fn may_differ(spec: &TaskSpec, routes: &[&Route]) -> Result<bool> {
    for route in routes {
        let composed = route.composed();
        let is_filtered = composed.planned.iter().any(|planned| planned.plan.calls.filter);
        if is_filtered || route.dead_letters().count(&composed.schema.name.to_string()) > 0 {
            return Ok(true);
        }
        if composed.target.is_shared() && spec.target.has_rows_of_others(&spec.name, &composed.target).await?
        {
            return Ok(true);
        }
    }
    Ok(false)
}
