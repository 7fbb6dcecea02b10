//! The plan of one table.

use migration_sdk::{
    ColumnMapping, ColumnRule, ColumnSchema, Disposition, Endpoint, Finding, LogicalType, NativeOp,
    PluginError, TablePlan, TableSchema, mysql::Flavor, selection, settings,
};

use crate::config::{ColumnOverride, Config, FarDates, NotFinite, TableOverride};
use crate::types::Type;
use crate::{default, naming, range, size, types};

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
    plan.target = naming::target(config, table, &exception, (source, target));
    if exception.schema_only {
        plan.disposition = Disposition::SchemaOnly;
    }
    exception.on_row_error.unwrap_or(config.on_row_error).apply(&mut plan);
    let planner = Planner { config, table, exception: &exception, target: Flavor::of(target) };
    planner.numbering()?;
    let mut types = Vec::with_capacity(table.columns.len());
    for (ordinal, column) in (0..).zip(&table.columns) {
        types.push(planner.mapped(ordinal, column, &mut plan.findings)?);
    }
    size::fit(table, &mut types, &mut plan.findings)
        .map_err(|(ordinal, reason)| planner.unsupported(ordinal, &reason))?;
    for ((ordinal, column), target_type) in (0..).zip(&table.columns).zip(&types) {
        plan.columns.push(match target_type {
            None => ColumnRule::Drop,
            Some(target_type) => {
                ColumnRule::Remap(planner.mapping(ordinal, column, target_type, &mut plan.findings)?)
            }
        });
    }
    Ok(plan)
}

struct Planner<'a> {
    config: &'a Config,
    table: &'a TableSchema,
    exception: &'a TableOverride,
    target: Flavor,
}

impl Planner<'_> {
    fn exception(&self, column: &ColumnSchema) -> ColumnOverride {
        self.exception.columns.get(&column.name).cloned().unwrap_or_default()
    }

    /// Refuses columns that number themselves as no table of MySQL can have them.
    fn numbering(&self) -> Result<(), PluginError> {
        let dropped = |column: &ColumnSchema| self.exception(column).drop;
        let mut numbering =
            (0..).zip(&self.table.columns).filter(|(_, column)| column.identity && !dropped(column));
        if let Some((second, _)) = numbering.nth(1) {
            return Err(self.unsupported(
                second,
                "a table of MySQL has one column that numbers itself, and this would be the second; take its identity or sequence from it in the source, or leave it out with drop = true",
            ));
        }
        Ok(())
    }

    /// The type of a column, `None` when it is left out.
    fn mapped(
        &self,
        ordinal: u32,
        column: &ColumnSchema,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<Type>, PluginError> {
        let exception = self.exception(column);
        if exception.drop {
            if self.table.in_primary_key(ordinal) {
                return Err(self.unsupported(ordinal, "it is part of the primary key and can't be dropped"));
            }
            findings.push(Finding::warning(Some(ordinal), "left out, as configured"));
            return Ok(None);
        }
        // An earlier plugin's decision stands unless the user overrides it here.
        if let Some(decided) = exception.target_type.or_else(|| column.target_type.clone()) {
            return Ok(Some(Type::Decided(decided)));
        }
        if column.generated.is_some() {
            findings.push(
                Finding::warning(
                    Some(ordinal),
                    "left out: PostgreSQL computes the column and does not replicate it",
                )
                .with_fix("set the column's type to one with GENERATED ALWAYS AS (...) in the target's SQL"),
            );
            return match self.index_with(ordinal) {
                Some(index) => Err(self.unsupported(
                    ordinal,
                    &format!("PostgreSQL computes the column, and the index {index} needs it; set its type to one with GENERATED ALWAYS AS (...) in the target's SQL"),
                )),
                None => Ok(None),
            };
        }
        let mut mapped = types::map(ordinal, column, self.config, self.target)
            .map_err(|reason| self.unsupported(ordinal, &reason))?;
        findings.append(&mut mapped.findings);
        let is_key_text =
            matches!(mapped.target, Type::Text { ascii: false, .. }) && self.index_with(ordinal).is_some();
        if is_key_text && types::pads(self.target) {
            findings.push(Finding::warning(
                Some(ordinal),
                "this version of MySQL takes texts for equal that differ in blanks at their ends alone: two keys may clash",
            ));
        }
        Ok(Some(mapped.target))
    }

    fn mapping(
        &self,
        ordinal: u32,
        column: &ColumnSchema,
        target_type: &Type,
        findings: &mut Vec<Finding>,
    ) -> Result<ColumnMapping, PluginError> {
        let exception = self.exception(column);
        let sql = target_type.sql(self.target);
        let mut ops = Vec::new();
        let mut nullable = exception.nullable;
        let gives_nulls = [
            self.not_finite(column, &exception, &mut ops).then_some("not_finite"),
            self.far_dates(column, &exception, &sql, &mut ops).then_some("far_dates"),
        ];
        if let Some(setting) = gives_nulls.into_iter().flatten().next()
            && !column.nullable
        {
            if self.table.in_primary_key(ordinal) {
                let reason = format!(
                    "it is part of the primary key, where nothing can become NULL: set another {setting} for it"
                );
                return Err(self.unsupported(ordinal, &reason));
            }
            if nullable.is_none() {
                nullable = Some(true);
                let message = format!("NOT NULL is given up, since {setting} = \"null\"");
                findings.push(
                    Finding::warning(Some(ordinal), message)
                        .with_fix(format!("set another {setting} for this column")),
                );
            }
        }
        ops.extend(types::conversions(column, &sql));
        Ok(ColumnMapping {
            name: exception.name.clone().filter(|name| *name != column.name),
            default_expr: self.default(ordinal, column, &exception, &sql, findings),
            target_type: Some(sql),
            nullable,
            ops,
        })
    }

    /// Whether numbers that are none become NULL.
    fn not_finite(&self, column: &ColumnSchema, exception: &ColumnOverride, ops: &mut Vec<NativeOp>) -> bool {
        let has_such = match &column.logical {
            LogicalType::Float32 | LogicalType::Float64 => true,
            LogicalType::Decimal(_) => column.native != "money",
            LogicalType::Other(name) => name == "text/numeric",
            _ => false,
        };
        let policy = exception.not_finite.unwrap_or(self.config.not_finite);
        if !has_such || policy == NotFinite::Fail {
            return false;
        }
        ops.push(types::other("not-finite-to-null", String::new()));
        true
    }

    /// Whether dates out of reach become NULL.
    fn far_dates(
        &self,
        column: &ColumnSchema,
        exception: &ColumnOverride,
        sql: &str,
        ops: &mut Vec<NativeOp>,
    ) -> bool {
        let (first, last) = match &column.logical {
            LogicalType::Date => range::date(),
            LogicalType::Timestamp(timestamp) if sql.starts_with("timestamp") => {
                range::timestamp(timestamp.precision)
            }
            LogicalType::Timestamp(timestamp) => range::datetime(timestamp.precision),
            _ => return false,
        };
        let policy = exception.far_dates.unwrap_or(self.config.far_dates);
        if policy != FarDates::Fail {
            let nearest = policy == FarDates::Nearest;
            let arguments = format!(r#"{{"first":{first},"last":{last},"nearest":{nearest}}}"#);
            ops.push(types::other("dates-within", arguments));
        }
        policy == FarDates::Null
    }

    fn default(
        &self,
        ordinal: u32,
        column: &ColumnSchema,
        exception: &ColumnOverride,
        sql: &str,
        findings: &mut Vec<Finding>,
    ) -> Option<String> {
        if let Some(default) = &exception.default {
            return (!default.is_empty()).then(|| default.clone());
        }
        if column.generated.is_some() || column.identity {
            return None;
        }
        let written = column.default_expr.as_deref()?;
        match default::translate(written, &column.logical, sql, self.target) {
            Ok(default) => default,
            Err(reason) => {
                findings.push(
                    Finding::warning(Some(ordinal), format!("the default {written} is left out: {reason}"))
                        .with_fix("set the column's default in the target's SQL"),
                );
                None
            }
        }
    }

    /// An index that the column is part of.
    fn index_with(&self, ordinal: u32) -> Option<&str> {
        let has = |index: &&migration_sdk::types::IndexSchema| {
            index.parts.iter().any(|part| part.column == Some(ordinal))
        };
        self.table.indexes.iter().find(has).map(|index| index.name.as_str())
    }

    fn unsupported(&self, ordinal: u32, reason: &str) -> PluginError {
        PluginError::of_column(self.table, ordinal, reason)
    }
}
