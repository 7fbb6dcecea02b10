//! Which column of the target's table of before is which of after, and what rows that are there get
//! in the others.

use engine_core::column::Column;
use engine_core::logical::LogicalType;
use engine_core::plan::{ColumnRule, ExtraSource, NativeOp};
use engine_core::schema::TableSchema;
use engine_core::structure::{ColumnOrigin, Fill, TableEvolution};

use crate::compose::{Composed, StageSource};
use crate::ops;

/// For each column of the target's table after, where it comes from; `Err` says what keeps the rows
/// that are there from being what they would be if they were copied now.
pub(super) fn origins(
    evolution: &TableEvolution,
    before: &Composed,
    after: &Composed,
) -> Result<Vec<ColumnOrigin>, String> {
    row_code(before, after)?;
    let (old, new) = (Ways::of(before), Ways::of(after));
    (0..after.target.columns.len())
        .map(|place| {
            let column = after.target.columns.get(place).ok_or("a column is not in the plan")?;
            let unknown = |why: String| ColumnOrigin::Added(Fill::Unknown(why));
            if column.generated.is_some() {
                let same = before
                    .target
                    .columns
                    .iter()
                    .position(|known| known.name == column.name && known.generated == column.generated);
                return Ok(
                    same.map_or_else(|| unknown("the target computes it".to_owned()), ColumnOrigin::Kept)
                );
            }
            let Some(way) = new.0.get(place) else { return Err("a column is not in the plan".to_owned()) };
            match way.start {
                Start::Source(ordinal) => match evolution.columns.get(ordinal) {
                    Some(ColumnOrigin::Kept(from)) => {
                        let found = old.0.iter().position(|other| other.start == Start::Source(*from));
                        let Some(found) = found else {
                            return Ok(unknown(format!(
                                "the plan left the column {} out before",
                                column.name
                            )));
                        };
                        if old.0.get(found).is_some_and(|other| other.conversions() != way.conversions()) {
                            return Err(format!(
                                "the plan converts the column {} otherwise than before",
                                column.name
                            ));
                        }
                        Ok(ColumnOrigin::Kept(found))
                    }
                    Some(ColumnOrigin::Added(Fill::Value(value))) => {
                        Ok(ColumnOrigin::Added(way.carry(value.clone(), &column.name)))
                    }
                    Some(ColumnOrigin::Added(Fill::Unknown(why))) => Ok(unknown(why.clone())),
                    None => Err("a column of the statement is not in the plan".to_owned()),
                },
                Start::Extra => {
                    let found =
                        old.0.iter().zip(&before.target.columns).position(|(other, known)| {
                            other.start == Start::Extra && known.name == column.name
                        });
                    match found {
                        Some(found) if old.0.get(found) == Some(way) => Ok(ColumnOrigin::Kept(found)),
                        Some(_) => {
                            Err(format!("the plan makes the column {} otherwise than before", column.name))
                        }
                        None => Ok(match way.constant(&column.logical) {
                            Some(value) => ColumnOrigin::Added(Fill::Value(value)),
                            None => {
                                unknown(format!("row code of a plugin computes the column {}", column.name))
                            }
                        }),
                    }
                }
            }
        })
        .collect()
}

/// The columns of a table that somebody else brought to its new structure: those of the same name.
pub(super) fn by_name(before: &TableSchema, after: &TableSchema) -> Vec<ColumnOrigin> {
    let origin = |name: &str| {
        let found = before.columns.iter().position(|column| column.name == name);
        found.map_or_else(
            || ColumnOrigin::Added(Fill::Unknown("it was added by hand".to_owned())),
            ColumnOrigin::Kept,
        )
    };
    after.columns.iter().map(|column| origin(&column.name)).collect()
}

/// Row code sees the rows that are there no second time: it must read what it read before.
fn row_code(before: &Composed, after: &Composed) -> Result<(), String> {
    let reads = |table: &Composed| -> Vec<(Vec<String>, Vec<String>)> {
        table
            .planned
            .iter()
            .map(|planned| {
                let names = |places: &[usize]| {
                    let columns = places.iter().filter_map(|&place| planned.schema.columns.get(place));
                    columns.map(|column| column.name.clone()).collect()
                };
                (names(&planned.plan.filter_reads), names(&planned.plan.transform_reads))
            })
            .collect()
    };
    let calls = |table: &Composed| table.stages.iter().map(|stage| stage.calls).collect::<Vec<_>>();
    if reads(before) == reads(after) && calls(before) == calls(after) {
        Ok(())
    } else {
        Err("row code of a plugin reads other columns than before".to_owned())
    }
}

/// Where the values of a target's column start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// The source column of this ordinal.
    Source(usize),
    /// A plugin.
    Extra,
}

/// The way of the values of one target column through the plugins.
#[derive(Debug, Clone, PartialEq)]
struct Way {
    start: Start,
    /// Row code writes it, or a constant takes its place.
    rewritten: Vec<ExtraSource>,
    ops: Vec<(NativeOp, LogicalType)>,
}

impl Way {
    /// What is done to values, apart from their types.
    fn conversions(&self) -> (&[ExtraSource], Vec<&NativeOp>) {
        (&self.rewritten, self.ops.iter().map(|(op, _)| op).collect())
    }

    /// The value that a column has in every row.
    fn constant(&self, logical: &LogicalType) -> Option<Column> {
        match (self.rewritten.as_slice(), self.ops.as_slice()) {
            ([ExtraSource::Constant(value)], []) => ops::constant(value, logical, 1),
            _ => None,
        }
    }

    /// What becomes of a value on the way.
    fn carry(&self, mut value: Column, name: &str) -> Fill {
        if !self.rewritten.is_empty() {
            return Fill::Unknown(format!("row code of a plugin writes the column {name}"));
        }
        let mut failures = Vec::new();
        for (op, logical) in &self.ops {
            value = ops::apply(op, value, logical, &mut failures);
        }
        match failures.into_iter().next() {
            Some(failure) => {
                Fill::Unknown(format!("the column {name} can't be converted: {}", failure.reason))
            }
            None => Fill::Value(value),
        }
    }
}

/// The ways of the columns that are written, in the order of the target's table.
struct Ways(Vec<Way>);

impl Ways {
    fn of(table: &Composed) -> Self {
        let dropped = |ordinal: usize| {
            let rules = table.planned.first().map(|planned| planned.plan.columns.as_slice());
            rules.and_then(|rules| rules.get(ordinal)) == Some(&ColumnRule::Drop)
        };
        let read =
            |ordinal: usize| Way { start: Start::Source(ordinal), rewritten: Vec::new(), ops: Vec::new() };
        let mut ways: Vec<Way> = table.reads.iter().map(|&ordinal| read(ordinal)).collect();
        for stage in &table.stages {
            ways = stage
                .columns
                .iter()
                .map(|column| {
                    let mut way = match &column.source {
                        StageSource::Input(place) => match ways.get(*place) {
                            Some(way) => way.clone(),
                            None => Way { start: Start::Extra, rewritten: Vec::new(), ops: Vec::new() },
                        },
                        StageSource::Transformed(_) | StageSource::Constant(_) => {
                            let ordinal = table
                                .schema
                                .columns
                                .iter()
                                .position(|known| known.name == column.source_name);
                            let start = match ordinal.filter(|&ordinal| !dropped(ordinal)) {
                                Some(ordinal) => Start::Source(ordinal),
                                None => Start::Extra,
                            };
                            let rewritten = match &column.source {
                                StageSource::Constant(value) => ExtraSource::Constant(value.clone()),
                                _ => ExtraSource::Computed,
                            };
                            Way { start, rewritten: vec![rewritten], ops: Vec::new() }
                        }
                    };
                    way.ops.extend(column.ops.iter().cloned());
                    way
                })
                .collect();
        }
        Self(ways)
    }
}
