//! The plan of one table.

use migration_sdk::{
    ColumnMapping, ColumnRule, ColumnSchema, Disposition, Endpoint, Finding, LogicalType, NativeOp,
    PluginError, RowErrorPolicy, TablePlan, TableSchema, types::IndexKind,
};

use crate::config::{ColumnOverride, Config, OnRowError, ZeroDates};
use crate::flavor::Flavor;
use crate::types::Mapped;
use crate::{default, naming, types};

/// Plans `table`.
pub(crate) fn plan(
    config: &Config,
    table: &TableSchema,
    source: &Endpoint,
    target: &Endpoint,
) -> Result<TablePlan, PluginError> {
    let full_name = format!("{}.{}", table.namespace, table.name);
    let exception = config.tables.get(&full_name).cloned().unwrap_or_default();
    if exception.skip || !naming::selected(config, table) {
        return Ok(TablePlan::skip(table));
    }
    if let Some(name) = exception.columns.keys().find(|name| table.column_index(name).is_none()) {
        return Err(PluginError::InvalidConfig((
            format!("/tables/{}/columns/{}", pointer(&full_name), pointer(name)),
            format!("the table {full_name} has no column {name}"),
        )));
    }
    let mut plan = TablePlan::unchanged(table);
    plan.target = naming::target(config, table, &exception, target);
    if exception.schema_only {
        plan.disposition = Disposition::SchemaOnly;
    }
    if exception.on_row_error.unwrap_or(config.on_row_error) == OnRowError::DeadLetter {
        plan.on_row_error = RowErrorPolicy::DeadLetter;
        plan.findings.push(Finding::note(
            None,
            "rows that can't be carried over are set aside: see them with 'engine dead-letter list'",
        ));
    }
    if exception.merge.unwrap_or(config.merge) {
        plan.attributes.push(("merge".to_owned(), "true".to_owned()));
    }
    let no_exception = ColumnOverride::default();
    for (ordinal, column) in (0..).zip(&table.columns) {
        let planned = PlannedColumn {
            config,
            table,
            ordinal,
            column,
            exception: exception.columns.get(&column.name).unwrap_or(&no_exception),
            source: Flavor::of(source),
            target: Flavor::of(target),
        };
        let rule = planned.rule(&mut plan.findings)?;
        plan.columns.push(rule);
    }
    Ok(plan)
}

struct PlannedColumn<'a> {
    config: &'a Config,
    table: &'a TableSchema,
    ordinal: u32,
    column: &'a ColumnSchema,
    exception: &'a ColumnOverride,
    source: Flavor,
    target: Flavor,
}

impl PlannedColumn<'_> {
    fn rule(&self, findings: &mut Vec<Finding>) -> Result<ColumnRule, PluginError> {
        if self.exception.drop {
            if self.in_primary_key() {
                return Err(self.unsupported("it is part of the primary key and can't be dropped"));
            }
            findings.push(Finding::warning(Some(self.ordinal), "left out, as configured"));
            return Ok(ColumnRule::Drop);
        }
        // An earlier plugin's decision stands unless the user overrides it here.
        let decided = self.exception.target_type.clone().or_else(|| self.column.target_type.clone());
        let target_type = match decided {
            Some(target_type) => target_type,
            None => {
                let mapped = types::map(self.ordinal, self.column, self.config, self.source, self.target);
                let Mapped { target_type, findings: mut noted } =
                    mapped.map_err(|reason| self.unsupported(&reason))?;
                findings.append(&mut noted);
                target_type
            }
        };
        let mut ops = Vec::new();
        let mut nullable = self.exception.nullable;
        self.zero_dates(&mut ops, &mut nullable, findings)?;
        Ok(ColumnRule::Remap(ColumnMapping {
            name: self.exception.name.clone().filter(|name| *name != self.column.name),
            default_expr: self.default(&target_type, findings),
            target_type: Some(target_type),
            nullable,
            ops,
        }))
    }

    fn zero_dates(
        &self,
        ops: &mut Vec<NativeOp>,
        nullable: &mut Option<bool>,
        findings: &mut Vec<Finding>,
    ) -> Result<(), PluginError> {
        let is_date = matches!(self.column.logical, LogicalType::Date);
        if !is_date && !matches!(self.column.logical, LogicalType::Timestamp(_)) {
            return Ok(());
        }
        match self.exception.zero_dates.unwrap_or(self.config.zero_dates) {
            ZeroDates::Keep => {}
            ZeroDates::Replace(fields) => {
                let value = if is_date { fields.to_days() } else { fields.to_micros() };
                ops.push(NativeOp::IrregularDateTo(value));
            }
            ZeroDates::Null => {
                if self.in_primary_key() {
                    return Err(self.unsupported(
                        "it is part of the primary key, where a zero date can't become NULL: give it a date instead",
                    ));
                }
                ops.push(NativeOp::IrregularDateToNull);
                if !self.column.nullable && nullable.is_none() {
                    *nullable = Some(true);
                    findings.push(
                        Finding::warning(
                            Some(self.ordinal),
                            "NOT NULL is given up, since zero dates become NULL",
                        )
                        .with_fix("set zero_dates to a date for this column"),
                    );
                }
            }
        }
        Ok(())
    }

    fn default(&self, target_type: &str, findings: &mut Vec<Finding>) -> Option<String> {
        if let Some(default) = &self.exception.default {
            return (!default.is_empty()).then(|| default.clone());
        }
        if self.column.generated.is_some() || self.column.identity {
            return None;
        }
        let default = self.column.default_expr.as_deref()?;
        if default.contains("'0000-00-00") {
            findings.push(
                Finding::warning(
                    Some(self.ordinal),
                    format!("the default {default} is one that a server's usual sql_mode refuses to write"),
                )
                .with_fix("set the column's default"),
            );
        }
        Some(default::translate(default, &self.column.logical, target_type, self.target))
    }

    fn in_primary_key(&self) -> bool {
        let primary = self.table.indexes.iter().filter(|index| index.kind == IndexKind::Primary);
        primary.flat_map(|index| &index.parts).any(|part| part.column == Some(self.ordinal))
    }

    fn unsupported(&self, reason: &str) -> PluginError {
        let Self { table, column, .. } = self;
        PluginError::Unsupported(format!("{}.{}.{}: {reason}", table.namespace, table.name, column.name))
    }
}

/// A name as a part of a JSON pointer.
fn pointer(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
