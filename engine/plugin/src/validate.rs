//! Whether a plan that a plugin made holds together.

use engine_core::plan::{ColumnRule, Disposition, ExtraSource, StagePlan, WriteColumn};
use engine_core::schema::TableSchema;
use std::collections::BTreeSet;

/// Checks `plan` against the schema it was made for; `transforms` says whether the plugin has row
/// functions, `resolves` whether it decides conflicts. Answers with the first thing wrong.
pub(crate) fn plan(
    plan: &StagePlan,
    table: &TableSchema,
    transforms: bool,
    resolves: bool,
) -> Result<(), String> {
    if plan.disposition == Disposition::Skip {
        return Ok(());
    }
    if plan.target.namespace.is_empty() || plan.target.name.is_empty() {
        return Err("the target table has an empty namespace or name".to_owned());
    }
    if !plan.columns.is_empty() && plan.columns.len() != table.columns.len() {
        return Err(format!(
            "it has rules for {} columns and the table has {}",
            plan.columns.len(),
            table.columns.len()
        ));
    }
    target_names(plan, table)?;
    for (what, reads) in [("filter-reads", &plan.filter_reads), ("transform-reads", &plan.transform_reads)] {
        if let Some(column) = reads.iter().find(|&&column| column >= table.columns.len()) {
            return Err(format!("{what} names column {column} and the table has {}", table.columns.len()));
        }
    }
    writes(plan, table)?;
    if (plan.calls.filter || plan.calls.transform) && !transforms {
        return Err("it asks for row functions and the plugin exports no 'transform'".to_owned());
    }
    if plan.on_conflict == engine_core::plan::ConflictPolicy::AskPlugin && !resolves {
        return Err("it wants to be asked about conflicts and the plugin exports no 'conflicts'".to_owned());
    }
    Ok(())
}

/// Every column that reaches the target has a name, a type that is not blank, and no namesake.
fn target_names(plan: &StagePlan, table: &TableSchema) -> Result<(), String> {
    let mut names = BTreeSet::new();
    let mut take = |name: &str| {
        if name.is_empty() {
            return Err("a target column has an empty name".to_owned());
        }
        if names.insert(name.to_owned()) {
            Ok(())
        } else {
            Err(format!("two target columns are named {name}"))
        }
    };
    for (ordinal, column) in table.columns.iter().enumerate() {
        match plan.columns.get(ordinal) {
            None | Some(ColumnRule::Keep) => take(&column.name)?,
            Some(ColumnRule::Drop) => {}
            Some(ColumnRule::Remap(mapping)) => {
                take(mapping.name.as_deref().unwrap_or(&column.name))?;
                if mapping.target_type.as_deref().is_some_and(|target| target.trim().is_empty()) {
                    return Err(format!("the target type of column {} is empty", column.name));
                }
            }
        }
    }
    for extra in &plan.extra_columns {
        take(&extra.name)?;
        if extra.target_type.trim().is_empty() {
            return Err(format!("the target type of extra column {} is empty", extra.name));
        }
    }
    Ok(())
}

/// What transform returns exists, once, and every computed column is among it.
fn writes(plan: &StagePlan, table: &TableSchema) -> Result<(), String> {
    if !plan.transform_writes.is_empty() && !plan.calls.transform {
        return Err("it has transform-writes and does not ask for 'transform'".to_owned());
    }
    let (mut inputs, mut extras) = (BTreeSet::new(), BTreeSet::new());
    for write in &plan.transform_writes {
        match *write {
            WriteColumn::Input(column) => {
                if column >= table.columns.len() {
                    return Err(format!(
                        "transform-writes names column {column} and the table has {}",
                        table.columns.len()
                    ));
                }
                if plan.columns.get(column) == Some(&ColumnRule::Drop) {
                    return Err(format!("transform-writes names column {column}, which is dropped"));
                }
                if !inputs.insert(column) {
                    return Err(format!("transform-writes names column {column} twice"));
                }
            }
            WriteColumn::Extra(extra) => {
                match plan.extra_columns.get(extra) {
                    None => {
                        return Err(format!(
                            "transform-writes names extra column {extra}, which isn't there"
                        ));
                    }
                    Some(column) if column.source != ExtraSource::Computed => {
                        return Err(format!(
                            "transform-writes names extra column {}, which is not computed",
                            column.name
                        ));
                    }
                    Some(_) => {}
                }
                if !extras.insert(extra) {
                    return Err(format!("transform-writes names extra column {extra} twice"));
                }
            }
        }
    }
    let unwritten = plan
        .extra_columns
        .iter()
        .enumerate()
        .find(|(ordinal, extra)| extra.source == ExtraSource::Computed && !extras.contains(ordinal));
    match unwritten {
        Some((_, extra)) => {
            Err(format!("extra column {} is computed and transform-writes does not name it", extra.name))
        }
        None => Ok(()),
    }
}
