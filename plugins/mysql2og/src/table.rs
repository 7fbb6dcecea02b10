//! The plan of one table.

use migration_sdk::{
    ColumnMapping, ColumnRule, ColumnSchema, Disposition, Endpoint, Finding, LogicalType, NativeOp,
    PluginError, TablePlan, TableSchema, selection, settings, types::IndexKind,
};

use crate::config::{ColumnOverride, Config, EmptyStrings, Operation, ZeroDates};
use crate::types::{Mapped, TypeSettings};
use crate::{defaults, empty, naming, types};

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
    plan.target = naming::target(config, table, &exception);
    if exception.schema_only {
        plan.disposition = Disposition::SchemaOnly;
    }
    exception.on_row_error.unwrap_or(config.on_row_error).apply(&mut plan);
    let default_exception = ColumnOverride::default();
    let mut stopping = 0;
    for (ordinal, column) in table.columns.iter().enumerate() {
        let planned = PlannedColumn {
            config,
            table,
            ordinal: ordinal as u32,
            column,
            exception: exception.columns.get(&column.name).unwrap_or(&default_exception),
            source,
            target,
        };
        let rule = planned.rule(&mut plan.findings)?;
        if planned.empty_strings_stop_the_task(&rule) {
            stopping += 1;
        }
        plan.columns.push(rule);
    }
    plan.findings.extend(empty::stopping(stopping));
    Ok(plan)
}

struct PlannedColumn<'a> {
    config: &'a Config,
    table: &'a TableSchema,
    ordinal: u32,
    column: &'a ColumnSchema,
    exception: &'a ColumnOverride,
    source: &'a Endpoint,
    target: &'a Endpoint,
}

impl PlannedColumn<'_> {
    fn rule(&self, findings: &mut Vec<Finding>) -> Result<ColumnRule, PluginError> {
        if self.exception.drop {
            if self.table.in_primary_key(self.ordinal) {
                return Err(self.unsupported("it is part of the primary key and can't be dropped"));
            }
            findings.push(self.warning("left out, as configured"));
            return Ok(ColumnRule::Drop);
        }
        let Mapped { target_type, mut ops, findings: mut notes } = self.mapped()?;
        let mut nullable = self.exception.nullable;
        self.zero_dates(&mut ops, &mut nullable, findings)?;
        if self.exception.strip_nul.unwrap_or(self.config.strip_nul)
            && matches!(self.column.logical, LogicalType::Text(_))
        {
            ops.push(NativeOp::StripNul);
        }
        ops.extend(self.exception.ops.iter().copied().map(native_op));
        if empty::matters(self.column, &target_type, self.target)
            && self.empty_strings() == EmptyStrings::Null
            && !self.may_tell_rows_apart()
        {
            ops.push(NativeOp::EmptyToNull);
            if !self.column.nullable && nullable.is_none() {
                nullable = Some(true);
                findings.push(
                    self.warning("NOT NULL is given up, since empty strings become NULL")
                        .with_fix(empty::WAY_OUT),
                );
            }
        }
        findings.append(&mut notes);
        let default_expr = self.default(&target_type, findings);
        if self.column.generated.is_some() {
            findings.push(self.warning(
                "the source generates this column; the target gets its values as an ordinary column and does not generate new ones",
            ).with_fix("make it a generated column after the migration"));
        }
        if self.column.on_update_now {
            findings.push(
                self.warning("ON UPDATE CURRENT_TIMESTAMP has no counterpart: after cut-over nothing renews the column")
                    .with_fix("create a BEFORE UPDATE trigger on the target"),
            );
        }
        if self.column.invisible {
            findings
                .push(Finding::note(Some(self.ordinal), "invisible in the source, visible in the target"));
        }
        let name =
            self.exception.name.clone().unwrap_or_else(|| naming::cased(self.config, &self.column.name));
        Ok(ColumnRule::Remap(ColumnMapping {
            name: (name != self.column.name).then_some(name),
            target_type: Some(target_type),
            default_expr,
            nullable,
            ops,
        }))
    }

    fn mapped(&self) -> Result<Mapped, PluginError> {
        let settings = TypeSettings {
            tinyint1: self.exception.tinyint1.unwrap_or(self.config.tinyint1),
            unsigned_bigint: self.exception.unsigned_bigint.unwrap_or(self.config.unsigned_bigint),
            json: self.exception.json.or(self.config.json),
            geometry: self.config.geometry,
            vector: self.config.vector,
        };
        // An earlier plugin's decision stands unless the user overrides it here.
        let decided = self.exception.target_type.clone().or_else(|| self.column.target_type.clone());
        match (decided, types::map(self.ordinal, self.column, &settings, self.source, self.target)) {
            (Some(target_type), mapped) => Ok(Mapped {
                target_type,
                ops: match mapped {
                    // A geometry's own layout is no value of any type.
                    Ok(mapped) if matches!(self.column.logical, LogicalType::Other(_)) => mapped.ops,
                    _ => Vec::new(),
                },
                findings: Vec::new(),
            }),
            (None, Ok(mapped)) => Ok(mapped),
            (None, Err(reason)) => Err(self.unsupported(&reason)),
        }
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
        match self.zero_date_policy() {
            ZeroDates::Fail => {}
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
                        self.warning("NOT NULL is given up, since zero dates become NULL")
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
        let sql = self.column.default_expr.as_deref()?;
        match defaults::translate(
            sql,
            &self.column.logical,
            target_type,
            self.zero_date_policy(),
            self.target,
        ) {
            Ok(Some(default)) if default == "''" && empty::matters(self.column, target_type, self.target) => {
                findings.push(
                    self.warning("the default '' is left out: in a database of compatibility A it is NULL")
                        .with_fix(empty::WAY_OUT),
                );
                None
            }
            Ok(default) => default,
            Err(reason) => {
                findings.push(
                    self.warning(&format!("the default {sql} is left out: {reason}"))
                        .with_fix("set the column's default in the target's SQL"),
                );
                None
            }
        }
    }

    fn empty_strings(&self) -> EmptyStrings {
        self.exception.empty_strings.unwrap_or(self.config.empty_strings)
    }

    /// Whether a value of the planned column can be one that the target has no place for.
    fn empty_strings_stop_the_task(&self, rule: &ColumnRule) -> bool {
        let ColumnRule::Remap(ColumnMapping { target_type: Some(target_type), ops, .. }) = rule else {
            return false;
        };
        empty::matters(self.column, target_type, self.target) && !ops.contains(&NativeOp::EmptyToNull)
    }

    fn zero_date_policy(&self) -> ZeroDates {
        self.exception.zero_dates.unwrap_or(self.config.zero_dates)
    }

    /// Whether the column may be one of those by which rows are found, and so has no NULL.
    fn may_tell_rows_apart(&self) -> bool {
        let has_primary = self.table.indexes.iter().any(|index| index.kind == IndexKind::Primary);
        let unique = self.table.indexes.iter().filter(|index| index.kind == IndexKind::Unique);
        let is_unique = unique.flat_map(|index| &index.parts).any(|part| part.column == Some(self.ordinal));
        self.table.in_primary_key(self.ordinal) || (!has_primary && is_unique && !self.column.nullable)
    }

    fn warning(&self, message: &str) -> Finding {
        Finding::warning(Some(self.ordinal), message)
    }

    fn unsupported(&self, reason: &str) -> PluginError {
        PluginError::of_column(self.table, self.ordinal, reason)
    }
}

fn native_op(operation: Operation) -> NativeOp {
    match operation {
        Operation::TrimEnd => NativeOp::TrimEnd,
        Operation::Lowercase => NativeOp::Lowercase,
        Operation::Uppercase => NativeOp::Uppercase,
        Operation::EmptyToNull => NativeOp::EmptyToNull,
        Operation::IntegerToBoolean => NativeOp::IntegerToBoolean,
        Operation::BitToInteger => NativeOp::BitToInteger,
        Operation::ToText => NativeOp::ToText,
        Operation::Hex => NativeOp::Hex,
        Operation::Base64 => NativeOp::Base64,
    }
}
