//! A change of one of several tables that become one.
//!
//! The same statement comes once for each of them. The target's table has what any of them has, so that a column
//! or an index is added with the first that gets it, goes with the last that loses it, and is there already for
//! all others. What is between must do no harm to the rows of those that have not changed yet, or still do not
//! have it: else the task stops, and somebody carries the change out for all of them.

use engine_core::error::{Error, Result};
use engine_core::plan::{TargetColumn, TargetTable};
use engine_core::schema::IndexKind;
use engine_core::structure::{ColumnOrigin, Fill, TargetAction, TargetEvolution};

use crate::merged::{differs, is_alike};
use crate::plan::TaskPlan;

use super::unsupported;

/// What the target is to do about a change that it could carry out by itself if the table were one alone.
pub(super) fn action(change: &TargetEvolution, before: &TaskPlan) -> Result<TargetAction> {
    let is_shared = |table: &&TargetTable| table.is_shared();
    let old = change.before.as_deref().filter(is_shared);
    let new = change.after.as_deref().filter(is_shared);
    let source = match (old, new) {
        (None, None) => return Ok(TargetAction::Translate),
        (Some(table), _) | (None, Some(table)) => table,
    };
    let is_other = |other: &&TargetTable| other.name == source.name && other.source != source.source;
    let others: Vec<&TargetTable> =
        before.tables.iter().map(|table| &table.target).filter(is_other).collect();
    let stop = |why: &str| unsupported(why).at("table", &source.source);
    match (old, new) {
        (Some(_), _) if others.is_empty() => {
            Err(stop("the table is merged with those of other tasks, which have not changed yet"))
        }
        (None, Some(_)) if others.is_empty() => Ok(TargetAction::Translate),
        (None, Some(new)) => match others.iter().find_map(|other| differs(new, other)) {
            None => Ok(TargetAction::Execute(Vec::new())),
            Some((column, difference)) => {
                let error = stop("the new table is to become one with others that are not like it");
                let error = match column {
                    Some(column) => error.at("column", column),
                    None => error,
                };
                Err(error.because(difference))
            }
        },
        (Some(old), Some(new)) if !change.emptied && old.source == new.source && old.name == new.name => {
            Altered { change, old, new, others: &others }.action(&stop)
        }
        _ => Err(stop("which of the merged table's rows are its own can't be told any more")),
    }
}

/// One of them, before and after.
struct Altered<'a> {
    change: &'a TargetEvolution,
    old: &'a TargetTable,
    new: &'a TargetTable,
    others: &'a [&'a TargetTable],
}

impl Altered<'_> {
    fn action(&self, stop: &dyn Fn(&str) -> Error) -> Result<TargetAction> {
        let names = |table: &TargetTable| -> Option<Vec<String>> {
            let name = |&ordinal: &usize| table.columns.get(ordinal).map(|column| column.name.clone());
            table.row_key.as_ref()?.iter().map(name).collect()
        };
        if names(self.old) != names(self.new) {
            return Err(stop("the key that tells the rows of merged tables apart changes"));
        }
        let (mut to_do, mut is_done) = (false, false);
        for step in self.columns(stop)?.into_iter().chain(self.indexes(stop)?) {
            match step {
                Step::Do => to_do = true,
                Step::Done => is_done = true,
            }
        }
        match (to_do, is_done) {
            (true, true) => Err(stop(
                "part of the change is in the target already, since another of the merged tables made it, and \
                 part is not",
            )),
            (true, false) => Ok(TargetAction::Translate),
            (false, _) => Ok(TargetAction::Execute(Vec::new())),
        }
    }

    fn columns(&self, stop: &dyn Fn(&str) -> Error) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        let others_have = |column: &TargetColumn| {
            self.others.iter().flat_map(|other| &other.columns).any(|other| is_alike(other, column))
        };
        let mut kept = vec![false; self.old.columns.len()];
        for (column, origin) in self.new.columns.iter().zip(&self.change.columns) {
            match origin {
                ColumnOrigin::Kept(from) => {
                    if let Some(kept) = kept.get_mut(*from) {
                        *kept = true;
                    }
                    match self.old.columns.get(*from) {
                        Some(old) if is_alike(old, column) => {}
                        Some(old) if old.name == column.name && others_have(column) => steps.push(Step::Done),
                        _ => {
                            return Err(stop(
                                "a column of merged tables changes, which the others still have as \
                                             it was",
                            )
                            .at("column", &column.name));
                        }
                    }
                }
                ColumnOrigin::Added(_) if others_have(column) => steps.push(Step::Done),
                ColumnOrigin::Added(fill) => {
                    if !is_harmless(column, fill) {
                        return Err(stop(
                            "a column is added whose value in the rows of the other merged tables \
                                         is not known before these have it too",
                        )
                        .at("column", &column.name));
                    }
                    steps.push(Step::Do);
                }
            }
        }
        for column in self.old.columns.iter().zip(kept).filter(|(_, kept)| !kept).map(|(column, _)| column) {
            let is_there =
                self.others.iter().any(|other| other.columns.iter().any(|c| c.name == column.name));
            if is_there && !column.nullable && column.default.is_none() {
                return Err(stop(
                    "a column is dropped that the other merged tables still have, and new rows would \
                                 have no value in it",
                )
                .at("column", &column.name));
            }
            steps.push(if is_there { Step::Done } else { Step::Do });
        }
        Ok(steps)
    }

    fn indexes(&self, stop: &dyn Fn(&str) -> Error) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        let (old, new) = (described(self.old), described(self.new));
        let others_have =
            |index: &Described<'_>| self.others.iter().any(|other| described(other).contains(index));
        for index in new.iter().filter(|index| !old.contains(index)) {
            let is_there = others_have(index);
            if !is_there && matches!(index.kind, IndexKind::Primary | IndexKind::Unique) {
                return Err(stop("a unique key is added that the other merged tables don't have")
                    .at("index", index.name));
            }
            steps.push(if is_there { Step::Done } else { Step::Do });
        }
        for index in old.iter().filter(|index| !new.contains(index)) {
            // One over a column that goes, goes with it.
            steps.push(if others_have(index) { Step::Done } else { Step::Do });
        }
        Ok(steps)
    }
}

/// What is to be done in the target about a piece of the change.
enum Step {
    /// It is to be carried out.
    Do,
    /// Another of the tables had it done, or has it yet.
    Done,
}

/// Whether the rows of tables that don't have a column yet have in it what they will once they get it.
fn is_harmless(column: &TargetColumn, fill: &Fill) -> bool {
    let renews = column.target_type.to_ascii_uppercase().contains("ON UPDATE");
    let is_constant = match &column.default {
        None => column.nullable,
        Some(default) => is_literal(default),
    };
    matches!(fill, Fill::Value(_)) && is_constant && !renews && !column.identity && column.generated.is_none()
}

/// Whether a default is the same whenever it is asked for.
fn is_literal(default: &str) -> bool {
    let text = default.trim();
    let number = text.strip_prefix(['-', '+']).unwrap_or(text);
    let quoted = ["", "b", "B", "x", "X", "_utf8mb4", "_binary"]
        .iter()
        .any(|prefix| text.strip_prefix(prefix).is_some_and(|rest| rest.trim_start().starts_with('\'')));
    let is_number = number.starts_with(|c: char| c.is_ascii_digit())
        && number.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-'));
    is_number || quoted && text.ends_with('\'') || text.eq_ignore_ascii_case("NULL")
}

/// An index by the names of its columns.
#[derive(PartialEq, Eq)]
struct Described<'t> {
    name: &'t str,
    kind: IndexKind,
    parts: Vec<(Option<&'t str>, Option<u32>, bool)>,
}

fn described(table: &TargetTable) -> Vec<Described<'_>> {
    let name = |ordinal: usize| table.columns.get(ordinal).map(|column| column.name.as_str());
    let indexes = table.indexes.iter().map(|index| Described {
        name: &index.name,
        kind: index.kind,
        parts: index.parts.iter().map(|part| (name(part.column), part.prefix, part.descending)).collect(),
    });
    indexes.collect()
}

#[cfg(test)]
mod tests {
    use super::is_literal;

    #[test]
    fn only_constants_are_the_same_at_any_time() {
        for text in ["'it''s'", "42", "-1.5e3", "b'0'", "NULL", "_utf8mb4'x'", "''"] {
            assert!(is_literal(text), "{text}");
        }
        for text in
            ["CURRENT_TIMESTAMP(6)", "(uuid())", "uuid()", "(1 + rand())", "1 + rand()", "'a' + rand()"]
        {
            assert!(!is_literal(text), "{text}");
        }
    }
}
