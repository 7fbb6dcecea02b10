//! Plans. What comes from a plugin is checked for sense in [`crate::validate`]; here only an
//! operation that this engine does not know stops it.

use engine_core::finding::{Finding, Severity};
use engine_core::plan::{
    Calls, ColumnMapping, ColumnRule, ConflictPolicy, Disposition, ExtraColumn, ExtraSource, NativeOp,
    RowErrorPolicy, StagePlan, WriteColumn,
};
use engine_core::schema::{TableName, TableSchema};

use super::{operation, schema};
use crate::bindings::contract::planning as wit;

/// The engine's form of a plan for `table`, or what about it the engine does not know.
pub(crate) fn plan_from(plan: wit::TablePlan, table: &TableSchema) -> Result<StagePlan, String> {
    let columns = plan
        .columns
        .into_iter()
        .enumerate()
        .map(|(ordinal, rule)| rule_from(rule).map_err(|why| format!("{}: {why}", label(table, ordinal))))
        .collect::<Result<_, String>>()?;
    Ok(StagePlan {
        disposition: match plan.disposition {
            wit::Disposition::Migrate => Disposition::Migrate,
            wit::Disposition::SchemaOnly => Disposition::SchemaOnly,
            wit::Disposition::Skip => Disposition::Skip,
        },
        target: TableName::new(plan.target.namespace, plan.target.name),
        columns,
        extra_columns: plan.extra_columns.into_iter().map(extra_from).collect(),
        filter_reads: plan.filter_reads.into_iter().map(|column| column as usize).collect(),
        transform_reads: plan.transform_reads.into_iter().map(|column| column as usize).collect(),
        transform_writes: plan
            .transform_writes
            .into_iter()
            .map(|write| match write {
                wit::WriteColumn::Input(column) => WriteColumn::Input(column as usize),
                wit::WriteColumn::Extra(extra) => WriteColumn::Extra(extra as usize),
            })
            .collect(),
        calls: Calls {
            filter: plan.calls.contains(wit::Calls::FILTER),
            transform: plan.calls.contains(wit::Calls::TRANSFORM),
        },
        on_conflict: match plan.on_conflict {
            wit::ConflictPolicy::Fail if merges(&plan.attributes) => ConflictPolicy::Shared,
            wit::ConflictPolicy::Fail => ConflictPolicy::Fail,
            wit::ConflictPolicy::Overwrite => ConflictPolicy::Overwrite,
            wit::ConflictPolicy::Ignore => ConflictPolicy::Ignore,
            wit::ConflictPolicy::AskPlugin => ConflictPolicy::AskPlugin,
        },
        on_row_error: match plan.on_row_error {
            wit::RowErrorPolicy::Fail => RowErrorPolicy::Fail,
            wit::RowErrorPolicy::DeadLetter => RowErrorPolicy::DeadLetter,
        },
        state: plan.state,
        findings: plan.findings.into_iter().map(|finding| finding_from(finding, table)).collect(),
    })
}

/// Whether the table is to take rows of other tasks too.
fn merges(attributes: &[(String, String)]) -> bool {
    attributes.iter().any(|(name, value)| name == "merge" && value == "true")
}

/// Column `ordinal` of `table` for a message, in or out of range.
fn label(table: &TableSchema, ordinal: usize) -> String {
    table
        .columns
        .get(ordinal)
        .map_or_else(|| format!("column #{ordinal}"), |column| format!("column {}", column.name))
}

fn finding_from(finding: wit::Finding, table: &TableSchema) -> Finding {
    let column = finding.column.map(|ordinal| match table.columns.get(ordinal as usize) {
        Some(column) => format!(".{}", column.name),
        None => format!(".#{ordinal}"),
    });
    Finding {
        severity: match finding.severity {
            wit::Severity::Note => Severity::Note,
            wit::Severity::Warning => Severity::Warning,
        },
        subject: format!("{}{}", table.name, column.unwrap_or_default()),
        message: finding.message,
        fix: (!finding.fix.is_empty()).then_some(finding.fix),
    }
}

fn rule_from(rule: wit::ColumnRule) -> Result<ColumnRule, String> {
    Ok(match rule {
        wit::ColumnRule::Keep => ColumnRule::Keep,
        wit::ColumnRule::Drop => ColumnRule::Drop,
        wit::ColumnRule::Remap(mapping) => ColumnRule::Remap(ColumnMapping {
            name: mapping.name,
            target_type: mapping.target_type,
            default: mapping.default_expr,
            nullable: mapping.nullable,
            ops: mapping.ops.into_iter().map(op_from).collect::<Result<_, String>>()?,
        }),
    })
}

fn op_from(op: wit::NativeOp) -> Result<NativeOp, String> {
    use wit::NativeOp as Wit;
    Ok(match op {
        Wit::StripNul => NativeOp::StripNul,
        Wit::TrimEnd => NativeOp::TrimEnd,
        Wit::Lowercase => NativeOp::Lowercase,
        Wit::Uppercase => NativeOp::Uppercase,
        Wit::EmptyToNull => NativeOp::EmptyToNull,
        Wit::NullTo(value) => NativeOp::NullTo(schema::scalar_from(value)),
        Wit::IrregularDateToNull => NativeOp::IrregularDateToNull,
        Wit::IrregularDateTo(value) => NativeOp::IrregularDateTo(value),
        Wit::ShiftSeconds(seconds) => NativeOp::ShiftSeconds(seconds),
        Wit::TruncateChars(chars) => NativeOp::TruncateChars(chars),
        Wit::IntegerToBoolean => NativeOp::IntegerToBoolean,
        Wit::BitToInteger => NativeOp::BitToInteger,
        Wit::ToText => NativeOp::ToText,
        Wit::Hex => NativeOp::Hex,
        Wit::Base64 => NativeOp::Base64,
        Wit::GeometryToEwkb => NativeOp::GeometryToEwkb,
        Wit::Other((name, arguments)) => operation::read(&name, &arguments)?,
    })
}

fn extra_from(extra: wit::ExtraColumn) -> ExtraColumn {
    ExtraColumn {
        name: extra.name,
        target_type: extra.target_type,
        logical: schema::logical_from(extra.logical),
        nullable: extra.nullable,
        source: match extra.source {
            wit::ExtraSource::Constant(value) => ExtraSource::Constant(schema::scalar_from(value)),
            wit::ExtraSource::Computed => ExtraSource::Computed,
            wit::ExtraSource::Generated(expression) => ExtraSource::Generated(expression),
        },
    }
}

/// The contract's form of a plan, for `open-table`. Findings and attributes were for the reader of
/// the plan and are not repeated.
pub(crate) fn plan(plan: &StagePlan) -> wit::TablePlan {
    let mut calls = wit::Calls::empty();
    if plan.calls.filter {
        calls |= wit::Calls::FILTER;
    }
    if plan.calls.transform {
        calls |= wit::Calls::TRANSFORM;
    }
    let ordinals = |columns: &[usize]| columns.iter().map(|&column| column as u32).collect();
    wit::TablePlan {
        disposition: match plan.disposition {
            Disposition::Migrate => wit::Disposition::Migrate,
            Disposition::SchemaOnly => wit::Disposition::SchemaOnly,
            Disposition::Skip => wit::Disposition::Skip,
        },
        target: wit::TargetTable { namespace: plan.target.namespace.clone(), name: plan.target.name.clone() },
        columns: plan.columns.iter().map(rule).collect(),
        extra_columns: plan.extra_columns.iter().map(extra).collect(),
        filter_reads: ordinals(&plan.filter_reads),
        transform_reads: ordinals(&plan.transform_reads),
        transform_writes: plan
            .transform_writes
            .iter()
            .map(|write| match write {
                WriteColumn::Input(column) => wit::WriteColumn::Input(*column as u32),
                WriteColumn::Extra(extra) => wit::WriteColumn::Extra(*extra as u32),
            })
            .collect(),
        calls,
        on_conflict: match plan.on_conflict {
            ConflictPolicy::Fail | ConflictPolicy::Shared => wit::ConflictPolicy::Fail,
            ConflictPolicy::Overwrite => wit::ConflictPolicy::Overwrite,
            ConflictPolicy::Ignore => wit::ConflictPolicy::Ignore,
            ConflictPolicy::AskPlugin => wit::ConflictPolicy::AskPlugin,
        },
        on_row_error: match plan.on_row_error {
            RowErrorPolicy::Fail => wit::RowErrorPolicy::Fail,
            RowErrorPolicy::DeadLetter => wit::RowErrorPolicy::DeadLetter,
        },
        state: plan.state.clone(),
        findings: Vec::new(),
        attributes: if plan.on_conflict == ConflictPolicy::Shared {
            vec![("merge".to_owned(), "true".to_owned())]
        } else {
            Vec::new()
        },
    }
}

fn rule(rule: &ColumnRule) -> wit::ColumnRule {
    match rule {
        ColumnRule::Keep => wit::ColumnRule::Keep,
        ColumnRule::Drop => wit::ColumnRule::Drop,
        ColumnRule::Remap(mapping) => wit::ColumnRule::Remap(wit::ColumnMapping {
            name: mapping.name.clone(),
            target_type: mapping.target_type.clone(),
            default_expr: mapping.default.clone(),
            nullable: mapping.nullable,
            ops: mapping.ops.iter().map(op).collect(),
        }),
    }
}

fn op(op: &NativeOp) -> wit::NativeOp {
    use wit::NativeOp as Wit;
    match op {
        NativeOp::StripNul => Wit::StripNul,
        NativeOp::TrimEnd => Wit::TrimEnd,
        NativeOp::Lowercase => Wit::Lowercase,
        NativeOp::Uppercase => Wit::Uppercase,
        NativeOp::EmptyToNull => Wit::EmptyToNull,
        NativeOp::NullTo(value) => Wit::NullTo(schema::scalar(value)),
        NativeOp::IrregularDateToNull => Wit::IrregularDateToNull,
        NativeOp::IrregularDateTo(value) => Wit::IrregularDateTo(*value),
        NativeOp::ShiftSeconds(seconds) => Wit::ShiftSeconds(*seconds),
        NativeOp::TruncateChars(chars) => Wit::TruncateChars(*chars),
        NativeOp::IntegerToBoolean => Wit::IntegerToBoolean,
        NativeOp::BitToInteger => Wit::BitToInteger,
        NativeOp::ToText => Wit::ToText,
        NativeOp::Hex => Wit::Hex,
        NativeOp::Base64 => Wit::Base64,
        NativeOp::GeometryToEwkb => Wit::GeometryToEwkb,
        NativeOp::DatesWithin { .. }
        | NativeOp::NotFiniteToNull
        | NativeOp::ToDecimal { .. }
        | NativeOp::ArrayToJson { .. }
        | NativeOp::IntervalToMicroseconds
        | NativeOp::IntervalToTime => Wit::Other(operation::write(op)),
    }
}

fn extra(extra: &ExtraColumn) -> wit::ExtraColumn {
    wit::ExtraColumn {
        name: extra.name.clone(),
        target_type: extra.target_type.clone(),
        logical: schema::logical(&extra.logical),
        nullable: extra.nullable,
        source: match &extra.source {
            ExtraSource::Constant(value) => wit::ExtraSource::Constant(schema::scalar(value)),
            ExtraSource::Computed => wit::ExtraSource::Computed,
            ExtraSource::Generated(expression) => wit::ExtraSource::Generated(expression.clone()),
        },
    }
}
