//! The statements that turn the tables of a task into what they are after a change of structure.

use engine_core::plan::{TargetColumn, TargetTable};
use engine_core::schema::TableName;
use engine_core::structure::{ColumnOrigin, Evolution, TargetAction, TargetEvolution};
use engine_core::{Error, ErrorKind, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ddl;
use super::index::{self, Existing};
use crate::sql;

/// What the rows of a table get in a column that is added to it, by change and ordinal of the column: an
/// expression, or why there is none.
pub(super) type Fills = BTreeMap<(usize, usize), Result<Fill, String>>;

/// The value of the rows that are there in a column that is added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fill {
    Null,
    Value(String),
}

/// The indexes and foreign keys that each table of before has in the target.
pub(super) type Keys = BTreeMap<TableName, Existing>;

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Steps {
    /// Statements, in order, each of which commits by itself.
    pub(super) statements: Vec<String>,
    /// Tables that must have no rows, and why.
    pub(super) empty: Vec<(TableName, String)>,
}

/// The steps of a change.
pub(super) fn steps(evolution: &Evolution, fills: &Fills, keys: &Keys) -> Result<Steps> {
    let mut steps = Steps::default();
    let translated = || evolution.changes.iter().filter(|change| change.action == TargetAction::Translate);
    let gone: Vec<String> = translated()
        .filter(|change| change.after.is_none())
        .filter_map(|change| change.before.as_ref().map(|before| sql::table(&before.name)))
        .collect();
    if !gone.is_empty() {
        // All at once: they may refer to each other.
        steps.statements.push(format!("DROP TABLE {}", gone.join(", ")));
    }
    rename(translated(), &mut steps);
    let mut foreign_keys = Vec::new();
    for (number, change) in evolution.changes.iter().enumerate() {
        let (Some(before), Some(after), TargetAction::Translate) =
            (&change.before, &change.after, &change.action)
        else {
            continue;
        };
        if change.emptied {
            steps.statements.push(format!("TRUNCATE TABLE {}", sql::table(&after.name)));
        }
        let no_keys = Existing::default();
        let altered = Altered {
            number,
            before,
            after,
            columns: &change.columns,
            keys: keys.get(&before.name).unwrap_or(&no_keys),
        };
        altered.alter(fills, &mut steps, &mut foreign_keys)?;
    }
    for change in translated() {
        if let (None, Some(after)) = (&change.before, &change.after) {
            steps.statements.extend(ddl::table(after)?);
            for job in index::jobs(engine_core::target::BuildStep::Indexes, &[Arc::clone(after)])? {
                steps.statements.extend(job.statements);
            }
            foreign_keys.extend(added_foreign_keys(after, &[])?);
        }
    }
    steps.statements.append(&mut foreign_keys);
    Ok(steps)
}

/// Renames all at once, so that tables may take each other's names.
fn rename<'e>(changes: impl Iterator<Item = &'e TargetEvolution>, steps: &mut Steps) {
    let moved: Vec<(&TableName, &TableName)> = changes
        .filter_map(|change| Some((&change.before.as_ref()?.name, &change.after.as_ref()?.name)))
        .filter(|(from, to)| from != to)
        .collect();
    if moved.is_empty() {
        return;
    }
    let namespaces: BTreeSet<&str> = moved
        .iter()
        .filter(|(from, to)| from.namespace != to.namespace)
        .map(|(_, to)| to.namespace.as_str())
        .collect();
    for namespace in namespaces {
        steps.statements.push(format!("CREATE DATABASE IF NOT EXISTS {}", sql::identifier(namespace)));
    }
    let passing = |number: usize, name: &TableName| {
        sql::table(&TableName::new(name.namespace.clone(), format!("_migration_{number}")))
    };
    let aside = moved
        .iter()
        .enumerate()
        .map(|(number, (from, _))| format!("{} TO {}", sql::table(from), passing(number, from)));
    let back = moved
        .iter()
        .enumerate()
        .map(|(number, (from, to))| format!("{} TO {}", passing(number, from), sql::table(to)));
    let all: Vec<String> = aside.chain(back).collect();
    steps.statements.push(format!("RENAME TABLE {}", all.join(", ")));
}

/// The statements of foreign keys that `there` has not.
fn added_foreign_keys(table: &Arc<TargetTable>, there: &[String]) -> Result<Vec<String>> {
    let jobs = index::jobs(engine_core::target::BuildStep::ForeignKeys, &[Arc::clone(table)])?;
    let statements = jobs.into_iter().flat_map(|job| job.statements);
    Ok(statements
        .filter(|statement| statement.starts_with("ALTER TABLE") && !there.contains(statement))
        .collect())
}

/// A table that is there before and after.
struct Altered<'e> {
    number: usize,
    before: &'e Arc<TargetTable>,
    after: &'e Arc<TargetTable>,
    columns: &'e [ColumnOrigin],
    keys: &'e Existing,
}

impl Altered<'_> {
    /// The table as it was, under the names of now.
    fn renamed_before(&self) -> TargetTable {
        let mut renamed = TargetTable::clone(self.before);
        renamed.name = self.after.name.clone();
        for (ordinal, column) in renamed.columns.iter_mut().enumerate() {
            let place = self
                .columns
                .iter()
                .position(|origin| matches!(origin, ColumnOrigin::Kept(from) if *from == ordinal));
            match place.and_then(|place| self.after.columns.get(place)) {
                Some(after) => column.name.clone_from(&after.name),
                // No column of now has such a name.
                None => column.name = format!("\u{1}{ordinal}"),
            }
        }
        for key in &mut renamed.foreign_keys {
            // The target's own foreign keys follow their parents by themselves.
            if let Some(now) = self.after.foreign_keys.iter().find(|now| now.name == key.name) {
                key.parent.clone_from(&now.parent);
                key.parent_columns.clone_from(&now.parent_columns);
            }
        }
        renamed
    }

    fn alter(&self, fills: &Fills, steps: &mut Steps, foreign_keys: &mut Vec<String>) -> Result<()> {
        let renamed = Arc::new(self.renamed_before());
        let alter = format!("ALTER TABLE {} ", sql::table(&self.after.name));
        let keys_before = added_foreign_keys(&renamed, &[])?;
        let keys_after = added_foreign_keys(self.after, &[])?;
        let mut specs: Vec<String> = Vec::new();
        for statement in keys_before.iter().filter(|statement| !keys_after.contains(statement)) {
            let start = format!("{alter}ADD ");
            let name = statement.strip_prefix(&start).and_then(index::made);
            if let Some(name) = name.filter(|name| self.keys.foreign_keys.contains(name)) {
                specs.push(format!("DROP FOREIGN KEY {}", sql::identifier(&name)));
            }
        }
        if !specs.is_empty() {
            // By itself: the server takes no index away that a foreign key still needs.
            steps.statements.push(format!("{alter}{}", specs.join(", ")));
            specs.clear();
        }
        self.drop_keys(&renamed, &mut specs)?;
        let mut finished = Vec::new();
        self.alter_columns(&renamed, fills, (&mut specs, &mut finished), steps)?;
        self.add_keys(&renamed, &mut specs)?;
        if self.before.comment != self.after.comment {
            let comment = ddl::comment(&self.after.comment, ddl::LONGEST_TABLE_COMMENT);
            specs.push(format!("COMMENT = {}", sql::literal(comment)));
        }
        for specs in [specs, finished] {
            if !specs.is_empty() {
                steps.statements.push(format!("{alter}{}", specs.join(", ")));
            }
        }
        foreign_keys.extend(keys_after.into_iter().filter(|statement| !keys_before.contains(statement)));
        Ok(())
    }

    fn drop_keys(&self, renamed: &TargetTable, specs: &mut Vec<String>) -> Result<()> {
        let wanted: Vec<String> = definitions(self.after)?;
        for (index, definition) in renamed.indexes.iter().zip(definitions(renamed)?) {
            if wanted.contains(&definition) || !self.keys.indexes.contains(&index.name.to_lowercase()) {
                continue;
            }
            specs.push(if index.kind == engine_core::schema::IndexKind::Primary {
                "DROP PRIMARY KEY".to_owned()
            } else {
                format!("DROP INDEX {}", sql::identifier(&index.name))
            });
        }
        Ok(())
    }

    /// Those that come. Indexes that wait for the end of the copy go on waiting.
    fn add_keys(&self, renamed: &TargetTable, specs: &mut Vec<String>) -> Result<()> {
        let there: Vec<String> = definitions(renamed)?;
        let built =
            self.before.indexes.iter().all(|index| self.keys.indexes.contains(&index.name.to_lowercase()));
        let needed = ddl::with_table(self.after);
        for (index, definition) in self.after.indexes.iter().zip(definitions(self.after)?) {
            let is_needed = needed.iter().any(|needed| needed.name == index.name);
            if !there.contains(&definition) && (built || is_needed) {
                specs.push(format!("ADD {definition}"));
            }
        }
        Ok(())
    }

    fn alter_columns(
        &self,
        renamed: &TargetTable,
        fills: &Fills,
        (specs, finished): (&mut Vec<String>, &mut Vec<String>),
        steps: &mut Steps,
    ) -> Result<()> {
        let kept: Vec<usize> = self
            .columns
            .iter()
            .filter_map(|origin| if let ColumnOrigin::Kept(from) = origin { Some(*from) } else { None })
            .collect();
        for (ordinal, column) in self.before.columns.iter().enumerate() {
            if !kept.contains(&ordinal) {
                specs.push(format!("DROP COLUMN {}", sql::identifier(&column.name)));
            }
        }
        let in_order = kept.is_sorted();
        let mut previous: Option<&TargetColumn> = None;
        for (ordinal, (origin, column)) in self.columns.iter().zip(&self.after.columns).enumerate() {
            let place = match previous {
                None => " FIRST".to_owned(),
                Some(previous) => format!(" AFTER {}", sql::identifier(&previous.name)),
            };
            previous = Some(column);
            match origin {
                ColumnOrigin::Kept(from) => {
                    let (Some(old), Some(same)) =
                        (self.before.columns.get(*from), renamed.columns.get(*from))
                    else {
                        return Err(Error::new(ErrorKind::Internal, "a column comes from none")
                            .at("table", &self.after.name));
                    };
                    let definition = ddl::column(column);
                    if old.name != column.name || ddl::column(same) != definition || !in_order {
                        let place = if in_order { "" } else { &place };
                        specs.push(format!(
                            "CHANGE COLUMN {} {definition}{place}",
                            sql::identifier(&old.name)
                        ));
                    }
                }
                ColumnOrigin::Added(_) => {
                    let definition = match fills.get(&(self.number, ordinal)) {
                        None => ddl::column(column),
                        Some(Ok(Fill::Null)) => {
                            let empty = TargetColumn { default: None, ..column.clone() };
                            ddl::column(&empty)
                        }
                        Some(Ok(Fill::Value(value))) => {
                            let filled = TargetColumn { default: Some(value.clone()), ..column.clone() };
                            ddl::column(&filled)
                        }
                        Some(Err(why)) => {
                            steps.empty.push((self.before.name.clone(), why.clone()));
                            ddl::column(column)
                        }
                    };
                    if definition != ddl::column(column) {
                        let name = sql::identifier(&column.name);
                        finished.push(format!("CHANGE COLUMN {name} {}", ddl::column(column)));
                    }
                    specs.push(format!("ADD COLUMN {definition}{place}"));
                }
            }
        }
        Ok(())
    }
}

fn definitions(table: &TargetTable) -> Result<Vec<String>> {
    table.indexes.iter().map(|index| ddl::index_definition(table, index)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::ddl::tests::{named, orders};
    use super::*;
    use engine_core::logical::LogicalType;
    use engine_core::position::Position;

    fn evolution(before: TargetTable, after: TargetTable, columns: Vec<ColumnOrigin>) -> Evolution {
        let change = TargetEvolution {
            source: Some(before.source.clone()),
            before: Some(Arc::new(before)),
            after: Some(Arc::new(after)),
            columns,
            emptied: false,
            action: TargetAction::Translate,
        };
        Evolution {
            before: Vec::new(),
            after: Vec::new(),
            changes: vec![change],
            forgotten: Vec::new(),
            recorded: Vec::new(),
            old_digest: String::new(),
            new_digest: String::new(),
            position: Position(String::new()),
        }
    }

    #[test]
    fn a_table_is_altered_by_as_few_statements_as_can_be() {
        let before = orders();
        let mut after = before.clone();
        after.name.name = "sales".to_owned();
        after.columns[1].name = "buyer".to_owned();
        after.columns.remove(2);
        after.columns.push(named("rank", "int", LogicalType::Integer { bits: 32, signed: true }));
        after.indexes.remove(1);
        let unknown = || ColumnOrigin::Added(engine_core::structure::Fill::Unknown(String::new()));
        let columns = vec![ColumnOrigin::Kept(0), ColumnOrigin::Kept(1), ColumnOrigin::Kept(3), unknown()];
        let indexes = ["primary", "by_note", "by_customer"].map(str::to_owned).into_iter().collect();
        let keys = Existing { indexes, ..Existing::default() };
        let keys: Keys = [(before.name.clone(), keys)].into();
        let fills: Fills = [((0, 3), Ok(Fill::Value("7".to_owned())))].into();
        let steps = steps(&evolution(before, after, columns), &fills, &keys).expect("good tables");
        insta::assert_snapshot!(steps.statements.join(";\n"), @r"
        RENAME TABLE `shop`.`orders` TO `shop`.`_migration_0`, `shop`.`_migration_0` TO `shop`.`sales`;
        ALTER TABLE `shop`.`sales` DROP INDEX `by_note`, DROP COLUMN `no``te`, CHANGE COLUMN `customer` `buyer` int NULL, ADD COLUMN `rank` int NOT NULL DEFAULT 7 AFTER `twice`;
        ALTER TABLE `shop`.`sales` CHANGE COLUMN `rank` `rank` int NOT NULL
        ");
    }
}
