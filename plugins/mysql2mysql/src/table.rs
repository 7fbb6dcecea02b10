//! The plan of one table.

use migration_sdk::{
    ColumnMapping, ColumnRule, ColumnSchema, Disposition, Endpoint, Finding, LogicalType, NativeOp,
    PluginError, TablePlan, TableSchema, mysql::Flavor, selection, settings,
};

use crate::config::{ColumnOverride, Config, ZeroDates};
use crate::types::Mapped;
use crate::{default, naming, types};

/// Plans `table`.
pub(crate) fn plan(
    config: &Config,
    table: &TableSchema,
    source: &Endpoint,
    target: &Endpoint,
) -> Result<TablePlan, PluginError> {
    let exception = settings::of_table(&config.tables, table).cloned().unwrap_or_default();
    if exception.skip || !selection::takes(&config.include, &config.exclude, table) {
        return Ok(TablePlan::skip(table));
    }
    settings::known_columns(table, exception.columns.keys())?;
    let mut plan = TablePlan::unchanged(table);
    plan.target = naming::target(config, table, &exception, target);
    if exception.schema_only {
        plan.disposition = Disposition::SchemaOnly;
    }
    exception.on_row_error.unwrap_or(config.on_row_error).apply(&mut plan);
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
            if self.table.in_primary_key(self.ordinal) {
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
                if self.table.in_primary_key(self.ordinal) {
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
        if default::takes_from_sequence(default) {
            let keeps = self.target.is_mariadb;
            let (message, fix) = if keeps {
                (
                    format!("the default {default} takes numbers from a sequence, which is not copied"),
                    "create the sequence in the target before the run, or set the column's default",
                )
            } else {
                (
                    format!("the default {default} is left out: MySQL has no sequences"),
                    "have the applications give the number, or alter the column to AUTO_INCREMENT after the cut-over",
                )
            };
            findings.push(Finding::warning(Some(self.ordinal), message).with_fix(fix));
            if !keeps {
                return None;
            }
        }
        Some(default::translate(default, &self.column.logical, target_type, self.target))
    }

    fn unsupported(&self, reason: &str) -> PluginError {
        PluginError::of_column(self.table, self.ordinal, reason)
    }
}
