//! The plan of a way back: each table and column to where it came from, in the type that it had.

use std::collections::HashMap;
use std::sync::Arc;

use engine_core::error::{Error, ErrorKind, Result};
use engine_core::finding::{Finding, Severity};
use engine_core::logical::LogicalType;
use engine_core::plan::{
    Calls, ColumnMapping, ColumnRule, ConflictPolicy, Disposition, NativeOp, StagePlan, TargetIndex,
    TargetIndexPart, TargetTable,
};
use engine_core::schema::{ColumnSchema, ForeignKey, IndexSchema, TableName, TableSchema};

use crate::compose::Composed;

/// The tables of a task, by what they are in its target.
#[derive(Debug)]
pub struct Inverse {
    tables: HashMap<TableName, Composed>,
    /// The columns that the source has by now, by table and name.
    now: HashMap<TableName, HashMap<String, ColumnSchema>>,
}

/// What a conversion of the way there means for the way back.
enum Undone {
    /// Exactly, by this.
    By(Option<NativeOp>),
    /// Values that were changed stay as they became.
    Not,
    /// There is no telling what a value was made of.
    Never,
}

impl Inverse {
    /// Turns the plan of a task around, whose source has the tables `now`.
    pub(super) fn of(tables: Vec<Composed>, now: &[TableSchema]) -> Result<Self> {
        if let Some(table) =
            tables.iter().find(|table| table.stages.iter().any(|stage| stage.calls.transform))
        {
            return Err(Error::new(
                ErrorKind::Precondition,
                "what a plugin's code made of rows can't be undone",
            )
            .at("table", &table.schema.name)
            .because("its transform-batch computes values, and nobody has told how to compute them back")
            .help("leave such tables out of the task that is to have a way back"));
        }
        let with_rows = tables.into_iter().filter(|table| table.target.with_rows);
        let columns = |table: &TableSchema| {
            table.columns.iter().map(|column| (column.name.clone(), column.clone())).collect()
        };
        Ok(Self {
            tables: with_rows.map(|table| (table.target.name.clone(), table)).collect(),
            now: now.iter().map(|table| (table.name.clone(), columns(table))).collect(),
        })
    }

    /// The tables as they are in the task's target.
    pub(super) fn targets(&self) -> Vec<Arc<TargetTable>> {
        let mut targets: Vec<_> = self.tables.values().map(|table| Arc::new(table.target.clone())).collect();
        targets.sort_by(|one, other| one.name.cmp(&other.name));
        targets
    }

    /// A table of the target with those of its columns alone that the way there wrote.
    pub(super) fn restrict(&self, shown: &TableSchema) -> Result<TableSchema> {
        let forward = self.forward(&shown.name)?;
        let is_written =
            |column: &ColumnSchema| forward.target.columns.iter().any(|known| known.name == column.name);
        let kept: Vec<usize> = (0..shown.columns.len())
            .filter(|&ordinal| shown.columns.get(ordinal).is_some_and(is_written))
            .collect();
        let place = |ordinal: usize| kept.iter().position(|&known| known == ordinal);
        let index = |index: &IndexSchema| {
            let mut index = index.clone();
            for part in &mut index.parts {
                if let Some(column) = part.column {
                    part.column = Some(place(column)?);
                }
            }
            Some(index)
        };
        let foreign_keys = shown.foreign_keys.iter().filter_map(|key| {
            let columns = key.columns.iter().map(|&column| place(column)).collect::<Option<_>>()?;
            Some(ForeignKey { columns, ..key.clone() })
        });
        let columns = kept.iter().filter_map(|&ordinal| shown.columns.get(ordinal)).cloned().collect();
        let indexes = shown.indexes.iter().filter_map(index).collect();
        Ok(TableSchema { columns, indexes, foreign_keys: foreign_keys.collect(), ..shown.clone() })
    }

    fn forward(&self, name: &TableName) -> Result<&Composed> {
        self.tables.get(name).ok_or_else(|| {
            Error::new(ErrorKind::Internal, "the way back has a table that the way there did not have")
                .at("table", name)
        })
    }

    /// Plans a table of the target.
    pub(crate) fn plan(&self, shown: &TableSchema) -> Result<StagePlan> {
        let forward = self.forward(&shown.name)?;
        let is_there = |name: &str| shown.columns.iter().any(|column| column.name == name);
        let mut expected = forward.target.columns.iter().filter(|column| column.generated.is_none());
        if let Some(missing) = expected.find(|column| !is_there(&column.name)) {
            return Err(Error::new(ErrorKind::Precondition, "a column can't be followed on the way back")
                .at("table", &shown.name)
                .at("column", &missing.name)
                .because("it was dropped or renamed since, or the server has cut its name")
                .help("give the column its name back, or leave the table out of the task that is to have a way back"));
        }
        let mut findings = Vec::new();
        let mut columns = Vec::with_capacity(shown.columns.len());
        for column in &shown.columns {
            columns.push(match origin(forward, column) {
                Some(origin) => {
                    let ops = undo(forward, column, origin, &mut findings)
                        .map_err(|error| error.at("table", &shown.name).at("column", &column.name))?;
                    ColumnRule::Remap(ColumnMapping {
                        name: Some(origin.name.clone()),
                        target_type: Some(origin.native.clone()),
                        default: None,
                        nullable: Some(origin.nullable),
                        ops,
                    })
                }
                None => {
                    if column.generated.is_none() {
                        findings.push(Finding {
                            severity: Severity::Warning,
                            subject: format!("{}.{}", shown.name, column.name),
                            message: format!(
                                "{} has no such column: its values stay behind",
                                forward.schema.name
                            ),
                            fix: None,
                        });
                    }
                    ColumnRule::Drop
                }
            });
        }
        Ok(StagePlan {
            disposition: Disposition::Migrate,
            target: forward.schema.name.clone(),
            columns,
            extra_columns: Vec::new(),
            filter_reads: Vec::new(),
            transform_reads: Vec::new(),
            transform_writes: Vec::new(),
            calls: Calls::default(),
            on_conflict: ConflictPolicy::Fail,
            on_row_error: forward.target.on_row_error,
            state: Vec::new(),
            findings,
        })
    }

    /// Gives a planned table's columns the types that they have by now. They are not a part of the plan: that a
    /// column was made wider, so that it can have what applications write, changes nothing else.
    pub(crate) fn fit(&self, table: &mut TargetTable) {
        let Some(now) = self.now.get(&table.name) else { return };
        for column in &mut table.columns {
            if let Some(found) = now.get(&column.name) {
                column.target_type.clone_from(&found.native);
                column.nullable = found.nullable;
            }
        }
    }

    /// Gives a planned table the indexes that it has: those that the way there began with.
    pub(crate) fn complete(&self, table: &mut Composed) {
        let Some(forward) = self.tables.get(&table.schema.name) else { return };
        let place = |ordinal: usize| {
            let name = &forward.schema.columns.get(ordinal)?.name;
            table.target.columns.iter().position(|column| column.name == *name)
        };
        let indexes = forward.schema.indexes.iter().filter_map(|index| {
            let parts = index.parts.iter().map(|part| {
                let column = place(part.column?)?;
                Some(TargetIndexPart { column, prefix: part.prefix, descending: part.descending })
            });
            Some(TargetIndex {
                name: index.name.clone(),
                kind: index.kind,
                parts: parts.collect::<Option<_>>()?,
            })
        });
        table.target.indexes = indexes.collect();
        // Those that are there are nobody's business on the way back.
        table.target.foreign_keys.clear();
    }
}

/// The column that `column` of the target came from; `None` when it came from none, or when either side
/// computes it.
fn origin<'a>(forward: &'a Composed, column: &ColumnSchema) -> Option<&'a ColumnSchema> {
    let target = forward.target.columns.iter().find(|target| target.name == column.name)?;
    let origin = forward.schema.columns.iter().find(|origin| origin.name == target.source_name)?;
    let is_computed = column.generated.is_some() || target.generated.is_some() || origin.generated.is_some();
    (!is_computed).then_some(origin)
}

/// The conversions of the way back.
fn undo(
    forward: &Composed,
    column: &ColumnSchema,
    origin: &ColumnSchema,
    findings: &mut Vec<Finding>,
) -> Result<Vec<NativeOp>> {
    let mut undone = Vec::new();
    let there = forward.stages.iter().flat_map(|stage| &stage.columns);
    let there = there.filter(|stage| stage.source_name == origin.name).flat_map(|stage| &stage.ops);
    for (op, _) in there {
        match inverse_of(op) {
            Undone::By(op) => undone.extend(op),
            Undone::Not => findings.push(Finding {
                severity: Severity::Warning,
                subject: format!("{}.{}", forward.target.name, column.name),
                message: format!(
                    "{op:?} changed values on the way there; rows that applications change come back with them as they \
                     became"
                ),
                fix: None,
            }),
            Undone::Never => {
                return Err(Error::new(ErrorKind::Unrepresentable, "a conversion of the way there can't be undone")
                    .because(format!("{op:?} made {} out of {}", column.native, origin.native))
                    .help("leave the table out of the task that is to have a way back, or keep the column's type"));
            }
        }
    }
    undone.reverse();
    // The column's type is another than the values': what was made of them without a conversion.
    match (column.logical.text_form(), &origin.logical) {
        (Some("interval"), LogicalType::Time { .. }) => undone.push(NativeOp::IntervalToTime),
        (Some("numeric"), &LogicalType::Decimal { precision, scale }) => {
            undone.push(NativeOp::ToDecimal { precision, scale: scale.max(0).unsigned_abs() });
        }
        _ => {}
    }
    Ok(undone)
}

fn inverse_of(op: &NativeOp) -> Undone {
    match op {
        NativeOp::ShiftSeconds(seconds) => Undone::By(Some(NativeOp::ShiftSeconds(-seconds))),
        // The target's own conversion, from what such a column holds.
        NativeOp::IntegerToBoolean | NativeOp::BitToInteger | NativeOp::ToText => Undone::By(None),
        NativeOp::StripNul
        | NativeOp::TrimEnd
        | NativeOp::Lowercase
        | NativeOp::Uppercase
        | NativeOp::EmptyToNull
        | NativeOp::NullTo(_)
        | NativeOp::IrregularDateToNull
        | NativeOp::IrregularDateTo(_)
        | NativeOp::TruncateChars(_) => Undone::Not,
        _ => Undone::Never,
    }
}
