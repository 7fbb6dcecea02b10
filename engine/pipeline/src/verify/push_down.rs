//! Which parts the databases sum up themselves, so that no row of them crosses the network.
//!
//! A table's columns must arrive in the target just as they are read, nothing may filter its rows, and both
//! databases must know one [form](engine_core::digest::ValueForm) for each of the columns. Parts whose sums
//! differ, and parts that changes touch, are read.

use rand::Rng as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine_core::digest::Weights;
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::plan::TargetTable;

use super::look::Connections;
use super::order::origin;
use super::subject::{Subject, Table};

/// How rows are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// Whichever was quicker for the first parts of a table.
    #[default]
    Auto,
    /// Rows are read from both sides and hashed by the engine.
    Stream,
    /// Both databases sum up what they can.
    PushDown,
}

/// Which tables can be summed up, and what came of it so far.
pub(super) struct PushDown {
    method: Method,
    tables: Vec<Option<Pushed>>,
}

/// What rows of a table are summed up by.
pub(super) struct SummedBy {
    /// Ordinals in the source of the written columns.
    pub(super) columns: Vec<usize>,
    /// What they count.
    pub(super) weights: Arc<Weights>,
}

/// A table that can be summed up.
struct Pushed {
    by: SummedBy,
    /// Rows, and the time that they took: read, and summed up.
    took: Mutex<[(u64, Duration); 2]>,
}

impl PushDown {
    /// Sees for each table whether it can be summed up.
    pub(super) async fn plan(
        subject: &Subject,
        connections: &mut Connections,
        method: Method,
    ) -> Result<Self> {
        let mut tables = Vec::with_capacity(subject.tables.len());
        for table in &subject.tables {
            let columns = if method == Method::Stream || !table.is_compared() || table.target.is_shared() {
                None
            } else {
                columns(subject, table, connections).await?
            };
            tables.push(columns.map(|columns| {
                let weights = Arc::new(weights(&columns, &table.target));
                Pushed { by: SummedBy { columns, weights }, took: Mutex::default() }
            }));
        }
        let wanted = || subject.tables.iter().zip(&tables).filter(|(table, _)| table.is_compared());
        if method == Method::PushDown && wanted().all(|(_, pushed)| pushed.is_none()) {
            return Err(Error::new(ErrorKind::Usage, "no table can be compared by the databases themselves")
                .at("task", &subject.spec.name)
                .because("the plan changes values or filters rows, or the databases write values down in different ways")
                .help("compare with --method auto or --method stream"));
        }
        Ok(Self { method, tables })
    }

    /// What a part of a table is to be summed up by; `None` when it is to be read.
    pub(super) fn wanted(&self, table: usize) -> Option<&SummedBy> {
        let pushed = self.tables.get(table)?.as_ref()?;
        let chosen = match self.method {
            Method::Stream => false,
            Method::PushDown => true,
            Method::Auto => is_quicker(&pushed.took.lock().unwrap_or_else(PoisonError::into_inner)),
        };
        chosen.then_some(&pushed.by)
    }

    /// Notes how long rows of a table took; `summed` when the databases summed them up.
    pub(super) fn note(&self, table: usize, summed: bool, rows: u64, took: Duration) {
        if let Some(pushed) = self.tables.get(table).and_then(Option::as_ref) {
            let mut known = pushed.took.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((all, time)) = known.get_mut(usize::from(summed)) {
                *all += rows;
                *time += took;
            }
        }
    }
}

/// Whether a part is to be summed up: the first one is read, since that costs the databases less, the second
/// one summed up.
fn is_quicker(took: &[(u64, Duration); 2]) -> bool {
    match took {
        [(0, _), _] => false,
        [_, (0, _)] => true,
        // Rows times durations on either side, in place of a division of each.
        [(read, reading), (summed, summing)] => {
            summing.as_nanos() * u128::from(*read) < reading.as_nanos() * u128::from(*summed)
        }
    }
}

/// The source's columns, in the order of the written ones, if they can be summed up on both sides.
async fn columns(
    subject: &Subject,
    table: &Table,
    connections: &mut Connections,
) -> Result<Option<Vec<usize>>> {
    let composed = table.route.composed();
    if composed.planned.iter().any(|planned| planned.plan.calls.filter) {
        return Ok(None);
    }
    let places = table.target.written_columns().count();
    let Some(columns) = (0..places).map(|place| origin(composed, place)).collect::<Option<Vec<usize>>>()
    else {
        return Ok(None);
    };
    let of_source = subject.spec.source.value_forms(&composed.schema);
    let of_target = connections.examiner.value_forms(&table.target).await?;
    let is_same = |(column, target): (&usize, &Option<_>)| {
        target.is_some() && of_source.get(*column).is_some_and(|source| source == target)
    };
    let all = of_target.len() == columns.len() && columns.iter().zip(&of_target).all(is_same);
    Ok((all && !columns.is_empty()).then_some(columns))
}

/// What the columns count, under numbers that nobody knows.
fn weights(columns: &[usize], target: &TargetTable) -> Weights {
    let written: Vec<usize> = target.written_columns().collect();
    let place = |ordinal: &usize| written.iter().position(|written| written == ordinal);
    let key: Vec<usize> = target.row_key.iter().flatten().filter_map(place).collect();
    let mut numbers = rand::rng();
    Weights::draw(columns.len(), &key, |greatest| numbers.random_range(1..=greatest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quicker_way_is_taken_once_both_are_known() {
        let way = |rows, millis| (rows, Duration::from_millis(millis));
        assert!(!is_quicker(&[way(0, 0), way(0, 0)]));
        assert!(is_quicker(&[way(100, 5), way(0, 0)]));
        assert!(is_quicker(&[way(100, 5), way(1000, 40)]));
        assert!(!is_quicker(&[way(100, 5), way(1000, 60)]));
    }
}
