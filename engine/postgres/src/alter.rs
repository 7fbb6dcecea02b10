//! The statements that turn the tables of a task into what they are after a change of structure.

use engine_core::plan::{TargetColumn, TargetTable};
use engine_core::schema::{IndexKind, TableName};
use engine_core::structure::{ColumnOrigin, Evolution, TargetAction, TargetEvolution};
use engine_core::{Error, ErrorKind, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::dialect::Dialect;
use crate::identifier::{column as column_name, fit, literal, qualified, quote};
use crate::index::{self, IndexNames, KeyIndex, Made, ROW_KEY};
use crate::pg_type::PgType;
use crate::rename::{self, Rename};
use crate::{ddl, exact};

/// One step of a change, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A statement to run.
    Run(String),
    /// A table that must have no rows, and why.
    RequireEmpty(TableName, String),
}

/// The fill of rows that get no value.
pub(crate) const NULL: &str = "NULL";

/// What the rows of a table get in a column that is added to it, by change and ordinal of the
/// column: an expression, or why there is none.
pub(crate) type Fills = BTreeMap<(usize, usize), Result<String, String>>;

/// The steps of a change.
pub(crate) fn steps(dialect: Dialect, evolution: &Evolution, fills: &Fills) -> Result<Vec<Step>> {
    let old_names = IndexNames::assign(&evolution.before);
    let new_names = IndexNames::assign(&evolution.after);
    let altered: Vec<Altered<'_>> = evolution
        .changes
        .iter()
        .enumerate()
        .filter_map(|(number, change)| Altered::of(dialect, number, change))
        .map(|altered| altered.with_keys(&old_names, &new_names))
        .collect::<Result<_>>()?;
    let mut steps = Vec::new();
    // What goes, makes room for names.
    let gone: Vec<String> = translated(evolution)
        .filter(|change| change.after.is_none())
        .filter_map(|change| change.before.as_ref().map(|before| qualified(&before.name)))
        .collect();
    if !gone.is_empty() {
        // All at once: they may refer to each other.
        steps.push(Step::Run(format!("DROP TABLE {}", gone.join(", "))));
    }
    for table in &altered {
        table.drop_keys(&mut steps);
    }
    rename_tables(&altered, &mut steps);
    rename_indexes(evolution, &altered, &old_names, &new_names, &mut steps);
    rename_sequences(dialect, &altered, &mut steps);
    for table in &altered {
        table.empty(evolution, &mut steps);
        table.alter_columns(fills, &mut steps)?;
    }
    for change in translated(evolution) {
        if let (None, Some(after)) = (&change.before, &change.after) {
            steps.extend(ddl::table(dialect, after).into_iter().map(Step::Run));
            let keys = keys(after, |key| new_names.of(after, key))?;
            steps.extend(keys.into_iter().map(|key| Step::Run(key.statement)));
            for key in &after.foreign_keys {
                steps.push(Step::Run(index::foreign_key(after, key)?));
            }
        }
    }
    for table in &altered {
        table.add_keys(&mut steps)?;
    }
    Ok(steps)
}

fn translated(evolution: &Evolution) -> impl Iterator<Item = &TargetEvolution> {
    evolution.changes.iter().filter(|change| change.action == TargetAction::Translate)
}

/// A key or an index of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    /// What the source calls it.
    source_name: String,
    /// The statement that makes it.
    statement: String,
}

/// The keys and indexes of a table under the names that `name_of` gives them.
fn keys(table: &TargetTable, name_of: impl Fn(&str) -> String) -> Result<Vec<Key>> {
    let mut keys = Vec::new();
    for each in &table.indexes {
        let name = name_of(&each.name);
        let statement = match each.kind {
            IndexKind::Primary => index::primary_key(table, each, &name)?,
            _ => index::index_statement(table, each, &name)?,
        };
        keys.push(Key { source_name: each.name.clone(), statement });
    }
    if let (Some(row_key), KeyIndex::Missing) = (&table.row_key, index::key_index(table)) {
        let statement = index::row_key_index(table, row_key, &name_of(ROW_KEY))?;
        keys.push(Key { source_name: ROW_KEY.to_owned(), statement });
    }
    Ok(keys)
}

/// A table that is there before and after.
struct Altered<'e> {
    dialect: Dialect,
    number: usize,
    before: &'e Arc<TargetTable>,
    after: &'e Arc<TargetTable>,
    columns: &'e [ColumnOrigin],
    emptied: bool,
    /// Names in the target of keys that go.
    dropped: Vec<Made>,
    /// Statements of keys that come.
    added: Vec<String>,
    /// Keys that stay: their names before and after.
    kept: Vec<(String, String)>,
}

impl<'e> Altered<'e> {
    fn of(dialect: Dialect, number: usize, change: &'e TargetEvolution) -> Option<Self> {
        let (Some(before), Some(after), TargetAction::Translate) =
            (&change.before, &change.after, &change.action)
        else {
            return None;
        };
        Some(Self {
            dialect,
            number,
            before,
            after,
            columns: &change.columns,
            emptied: change.emptied,
            dropped: Vec::new(),
            added: Vec::new(),
            kept: Vec::new(),
        })
    }

    /// The ordinal after of a column by its ordinal before.
    fn place(&self, before: usize) -> Option<usize> {
        self.columns.iter().position(|origin| matches!(origin, ColumnOrigin::Kept(from) if *from == before))
    }

    /// The columns that stay, as they were and as they are.
    fn kept_columns(&self) -> impl Iterator<Item = (&'e TargetColumn, &'e TargetColumn)> + '_ {
        self.columns.iter().zip(&self.after.columns).filter_map(|(origin, after)| match origin {
            ColumnOrigin::Kept(ordinal) => Some((self.before.columns.get(*ordinal)?, after)),
            ColumnOrigin::Added(_) => None,
        })
    }

    /// The table as it was, under the names of now.
    fn renamed_before(&self) -> TargetTable {
        let mut renamed = TargetTable::clone(self.before);
        renamed.name = self.after.name.clone();
        for (ordinal, column) in renamed.columns.iter_mut().enumerate() {
            match self.place(ordinal).and_then(|place| self.after.columns.get(place)) {
                Some(after) => column.name.clone_from(&after.name),
                // No column of now has such a name.
                None => column.name = format!("\u{1}{ordinal}"),
            }
        }
        renamed
    }

    fn with_keys(mut self, old_names: &IndexNames, new_names: &IndexNames) -> Result<Self> {
        let placeholder = |_: &str| "\u{1}".to_owned();
        let mut old = keys(&self.renamed_before(), placeholder)?;
        let made = keys(self.before, |key| old_names.of(self.before, key))?;
        let mut new = keys(self.after, placeholder)?;
        // The same key under the same name first, then the same key under another.
        for by_name in [true, false] {
            new.retain(|key| {
                let found = old.iter().position(|other| {
                    other.statement == key.statement && (!by_name || other.source_name == key.source_name)
                });
                let Some(found) = found else { return true };
                let other = old.remove(found);
                let names = (
                    old_names.of(self.before, &other.source_name),
                    new_names.of(self.after, &key.source_name),
                );
                self.kept.push(names);
                false
            });
        }
        for key in old {
            let statement = made.iter().find(|made| made.source_name == key.source_name);
            self.dropped.extend(statement.and_then(|made| index::made(&made.statement)));
        }
        let named = keys(self.after, |key| new_names.of(self.after, key))?;
        self.added = named
            .into_iter()
            .filter(|named| new.iter().any(|key| key.source_name == named.source_name))
            .map(|named| named.statement)
            .collect();
        Ok(self)
    }

    /// Foreign keys whose statement is another than before, under the names of now.
    fn foreign_keys(&self) -> Result<(Vec<String>, Vec<String>)> {
        let statements = |table: &TargetTable| -> Result<Vec<(String, String)>> {
            let render = |key| index::foreign_key(table, key);
            table.foreign_keys.iter().map(|key| Ok((key.name.clone(), render(key)?))).collect()
        };
        let mut renamed = self.renamed_before();
        for key in &mut renamed.foreign_keys {
            // The target's own foreign keys follow their parents by themselves.
            if let Some(now) = self.after.foreign_keys.iter().find(|now| now.name == key.name) {
                key.parent.clone_from(&now.parent);
                key.parent_columns.clone_from(&now.parent_columns);
            }
        }
        let (old, new) = (statements(&renamed)?, statements(self.after)?);
        let gone = old.iter().filter(|key| !new.contains(key)).map(|(name, _)| name.clone()).collect();
        let come =
            new.iter().filter(|key| !old.contains(key)).map(|(_, statement)| statement.clone()).collect();
        Ok((gone, come))
    }

    fn drop_keys(&self, steps: &mut Vec<Step>) {
        let table = qualified(&self.before.name);
        if let Ok((gone, _)) = self.foreign_keys() {
            for name in gone {
                let name = column_name(&name);
                steps.push(Step::Run(format!("ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}")));
            }
        }
        for key in &self.dropped {
            steps.push(Step::Run(match key {
                Made::Constraint(name) => {
                    format!("ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {}", quote(name))
                }
                Made::Index(name) => {
                    format!(
                        "DROP INDEX IF EXISTS {}.{}",
                        quote(&fit(&self.before.name.namespace)),
                        quote(name)
                    )
                }
            }));
        }
    }

    fn add_keys(&self, steps: &mut Vec<Step>) -> Result<()> {
        steps.extend(self.added.iter().cloned().map(Step::Run));
        let (_, come) = self.foreign_keys()?;
        steps.extend(come.into_iter().map(Step::Run));
        Ok(())
    }

    fn empty(&self, evolution: &Evolution, steps: &mut Vec<Step>) {
        if !self.emptied {
            return;
        }
        let table = qualified(&self.after.name);
        // TRUNCATE refuses a table that others refer to, as the source did not.
        let is_parent = evolution
            .before
            .iter()
            .any(|other| other.foreign_keys.iter().any(|key| key.parent == self.before.name));
        steps.push(Step::Run(if is_parent {
            format!("DELETE FROM {table}")
        } else {
            format!("TRUNCATE {table} RESTART IDENTITY")
        }));
    }

    fn alter_columns(&self, fills: &Fills, steps: &mut Vec<Step>) -> Result<()> {
        let table = qualified(&self.after.name);
        let mut run = |text: String| steps.push(Step::Run(format!("ALTER TABLE {table} {text}")));
        let mut gone: Vec<&TargetColumn> = self
            .before
            .columns
            .iter()
            .enumerate()
            .filter(|(ordinal, _)| self.place(*ordinal).is_none())
            .map(|(_, column)| column)
            .collect();
        // Generated columns depend on others.
        gone.sort_by_key(|column| column.generated.is_none());
        for column in gone {
            run(format!("DROP COLUMN {}", column_name(&column.name)));
        }
        let renames = self.kept_columns().filter(|(old, new)| fit(&old.name) != fit(&new.name));
        let renames = renames.map(|(old, new)| Rename { from: fit(&old.name), to: fit(&new.name) }).collect();
        for rename in rename::order(renames) {
            run(format!("RENAME COLUMN {} TO {}", quote(&rename.from), quote(&rename.to)));
        }
        for (old, new) in self.kept_columns() {
            self.alter_column(old, new, steps)?;
        }
        for (ordinal, (origin, column)) in self.columns.iter().zip(&self.after.columns).enumerate() {
            if matches!(origin, ColumnOrigin::Added(_)) {
                self.add_column(column, fills.get(&(self.number, ordinal)), steps);
            }
        }
        if self.before.comment != self.after.comment {
            let comment = ddl::comment(&self.after.comment);
            steps.push(Step::Run(format!("COMMENT ON TABLE {table} IS {comment}")));
        }
        Ok(())
    }

    fn add_column(
        &self,
        column: &TargetColumn,
        fill: Option<&Result<String, String>>,
        steps: &mut Vec<Step>,
    ) {
        let table = qualified(&self.after.name);
        let name = column_name(&column.name);
        let plain = |steps: &mut Vec<Step>| {
            if ddl::needs_sequence(self.dialect, column) {
                let sequence = ddl::sequence(&self.after.name, column);
                steps.push(Step::Run(format!("CREATE SEQUENCE {sequence}")));
            }
            let definition = ddl::render_column(self.dialect, &self.after.name, column);
            steps.push(Step::Run(format!("ALTER TABLE {table} ADD COLUMN {definition}")));
            if ddl::needs_sequence(self.dialect, column) {
                let sequence = ddl::sequence(&self.after.name, column);
                steps.push(Step::Run(format!("ALTER SEQUENCE {sequence} OWNED BY {table}.{name}")));
            }
        };
        match fill {
            // The server computes it, for the rows that are there too.
            _ if column.generated.is_some() => plain(steps),
            Some(Ok(value)) if value == NULL => {
                let empty = TargetColumn { default: None, ..column.clone() };
                let definition = ddl::render_column(self.dialect, &self.after.name, &empty);
                steps.push(Step::Run(format!("ALTER TABLE {table} ADD COLUMN {definition}")));
                if column.default.is_some() {
                    steps.push(Step::Run(format!(
                        "ALTER TABLE {table} ALTER COLUMN {name} {}",
                        default(column)
                    )));
                }
            }
            Some(Ok(value)) => {
                let filled = TargetColumn { default: Some(value.clone()), ..column.clone() };
                let definition = ddl::render_column(self.dialect, &self.after.name, &filled);
                steps.push(Step::Run(format!("ALTER TABLE {table} ADD COLUMN {definition}")));
                if column.default.as_ref() != Some(value) {
                    steps.push(Step::Run(format!(
                        "ALTER TABLE {table} ALTER COLUMN {name} {}",
                        default(column)
                    )));
                }
            }
            Some(Err(why)) => {
                steps.push(Step::RequireEmpty(self.after.name.clone(), why.clone()));
                plain(steps);
            }
            None => plain(steps),
        }
        if !column.comment.is_empty() {
            let comment = ddl::comment(&column.comment);
            steps.push(Step::Run(format!("COMMENT ON COLUMN {table}.{name} IS {comment}")));
        }
    }

    fn alter_column(&self, old: &TargetColumn, new: &TargetColumn, steps: &mut Vec<Step>) -> Result<()> {
        let table = qualified(&self.after.name);
        let name = column_name(&new.name);
        let mut run =
            |text: String| steps.push(Step::Run(format!("ALTER TABLE {table} ALTER COLUMN {name} {text}")));
        let refuse = |why: String| {
            Error::new(ErrorKind::Unrepresentable, "a change of structure has no counterpart in the target")
                .at("table", &self.after.name)
                .at("column", &new.name)
                .because(why)
        };
        if old.generated != new.generated {
            return Err(refuse("the expression that the target computes it from changes".to_owned()));
        }
        let retyped = old.target_type != new.target_type;
        let mut default_gone = false;
        if retyped {
            if new.generated.is_some() {
                return Err(refuse("the type of a column that the target computes changes".to_owned()));
            }
            let stored = |column: &TargetColumn| self.dialect.stored(PgType::parse(&column.target_type));
            let (from, to) = (stored(old), stored(new));
            if !exact::is_exact(&from, &to) {
                return Err(refuse(format!(
                    "values could change from {} to {}",
                    old.target_type, new.target_type
                )));
            }
        }
        // A number that the target counts on with one kind of object before and with another after.
        let needs_sequence = |column: &TargetColumn| ddl::needs_sequence(self.dialect, column);
        let recounted = old.identity != new.identity || needs_sequence(old) != needs_sequence(new);
        if recounted && old.identity {
            run(if needs_sequence(old) { "DROP DEFAULT" } else { "DROP IDENTITY IF EXISTS" }.to_owned());
        }
        if retyped {
            if old.default.is_some() && !old.identity {
                run("DROP DEFAULT".to_owned());
                default_gone = true;
            }
            run(format!("TYPE {}", self.dialect.declaration(&new.target_type)));
        }
        if old.nullable != new.nullable {
            run(if new.nullable { "DROP NOT NULL" } else { "SET NOT NULL" }.to_owned());
        }
        if recounted && new.identity {
            if needs_sequence(new) {
                let sequence = ddl::sequence(&self.after.name, new);
                run(format!("SET DEFAULT nextval({}::regclass)", literal(&sequence)));
                let at = steps.len() - 1;
                steps.insert(at, Step::Run(format!("CREATE SEQUENCE {sequence}")));
                steps.push(Step::Run(format!("ALTER SEQUENCE {sequence} OWNED BY {table}.{name}")));
            } else {
                run("ADD GENERATED BY DEFAULT AS IDENTITY".to_owned());
            }
        } else if !new.identity && new.generated.is_none() {
            let differs = old.default != new.default || old.identity;
            let to_set = if default_gone { new.default.is_some() } else { differs };
            if to_set {
                run(default(new));
            }
        }
        if old.comment != new.comment {
            let comment = ddl::comment(&new.comment);
            steps.push(Step::Run(format!("COMMENT ON COLUMN {table}.{name} IS {comment}")));
        }
        Ok(())
    }
}

fn default(column: &TargetColumn) -> String {
    match &column.default {
        Some(default) => format!("SET DEFAULT {default}"),
        None => "DROP DEFAULT".to_owned(),
    }
}

fn rename_tables(altered: &[Altered<'_>], steps: &mut Vec<Step>) {
    let fitted = |name: &TableName| (fit(&name.namespace), fit(&name.name));
    let moved = altered.iter().filter(|table| fitted(&table.before.name) != fitted(&table.after.name));
    let mut by_namespace: BTreeMap<String, Vec<Rename>> = BTreeMap::new();
    for table in moved {
        let (from, to) = (fitted(&table.before.name), fitted(&table.after.name));
        if from.0 == to.0 {
            by_namespace.entry(from.0).or_default().push(Rename { from: from.1, to: to.1 });
            continue;
        }
        let passing = rename::passing(&from.1);
        let (old, new) = (quote(&from.0), quote(&to.0));
        steps.push(Step::Run(format!("CREATE SCHEMA IF NOT EXISTS {new}")));
        steps.push(Step::Run(format!("ALTER TABLE {old}.{} RENAME TO {}", quote(&from.1), quote(&passing))));
        steps.push(Step::Run(format!("ALTER TABLE {old}.{} SET SCHEMA {new}", quote(&passing))));
        by_namespace.entry(to.0).or_default().push(Rename { from: passing, to: to.1 });
    }
    for (namespace, renames) in by_namespace {
        for rename in rename::order(renames) {
            let (namespace, from, to) = (quote(&namespace), quote(&rename.from), quote(&rename.to));
            steps.push(Step::Run(format!("ALTER TABLE {namespace}.{from} RENAME TO {to}")));
        }
    }
}

/// Sequences are called after their table and column.
fn rename_sequences(dialect: Dialect, altered: &[Altered<'_>], steps: &mut Vec<Step>) {
    let mut by_namespace: BTreeMap<String, Vec<Rename>> = BTreeMap::new();
    for table in altered {
        for (old, new) in table.kept_columns() {
            let (from, to) =
                (ddl::sequence_name(&table.before.name, old), ddl::sequence_name(&table.after.name, new));
            let are_counted = ddl::needs_sequence(dialect, old) && ddl::needs_sequence(dialect, new);
            if are_counted && from != to {
                by_namespace.entry(fit(&table.after.name.namespace)).or_default().push(Rename { from, to });
            }
        }
    }
    for (namespace, renames) in by_namespace {
        for rename in rename::order(renames) {
            let (namespace, from, to) = (quote(&namespace), quote(&rename.from), quote(&rename.to));
            steps.push(Step::Run(format!("ALTER SEQUENCE {namespace}.{from} RENAME TO {to}")));
        }
    }
}

/// Gives the indexes that stay the names that they would have been given, those of other tables too:
/// an index goes out of the way of a table or an index that comes into being.
fn rename_indexes(
    evolution: &Evolution,
    altered: &[Altered<'_>],
    old_names: &IndexNames,
    new_names: &IndexNames,
    steps: &mut Vec<Step>,
) {
    let mut by_namespace: BTreeMap<String, Vec<Rename>> = BTreeMap::new();
    let mut note = |namespace: &str, from: String, to: String| {
        if from != to {
            by_namespace.entry(fit(namespace)).or_default().push(Rename { from, to });
        }
    };
    let mut touched = BTreeSet::new();
    for table in altered {
        touched.insert(&table.before.name);
        for (from, to) in &table.kept {
            note(&table.after.name.namespace, from.clone(), to.clone());
        }
    }
    for change in &evolution.changes {
        touched.extend(change.before.as_ref().map(|table| &table.name));
    }
    for table in evolution.before.iter().filter(|table| !touched.contains(&table.name)) {
        let own = table.indexes.iter().map(|index| index.name.as_str());
        for index in own.chain([ROW_KEY]) {
            note(&table.name.namespace, old_names.of(table, index), new_names.of(table, index));
        }
    }
    for (namespace, renames) in by_namespace {
        for rename in rename::order(renames) {
            let (namespace, from, to) = (quote(&namespace), quote(&rename.from), quote(&rename.to));
            steps.push(Step::Run(format!("ALTER INDEX IF EXISTS {namespace}.{from} RENAME TO {to}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ddl::tests::{column, index, orders};
    use engine_core::logical::LogicalType;
    use engine_core::position::Position;
    use engine_core::structure::Fill;

    fn kept(table: &TargetTable) -> Vec<ColumnOrigin> {
        (0..table.columns.len()).map(ColumnOrigin::Kept).collect()
    }

    fn change(
        before: Option<TargetTable>,
        after: Option<TargetTable>,
        columns: Vec<ColumnOrigin>,
    ) -> TargetEvolution {
        let source = before.as_ref().map(|table| table.source.clone());
        TargetEvolution {
            source,
            before: before.map(Arc::new),
            after: after.map(Arc::new),
            columns,
            emptied: false,
            action: TargetAction::Translate,
        }
    }

    fn rendered(changes: Vec<TargetEvolution>, fills: &Fills) -> String {
        let evolution = Evolution {
            before: changes.iter().filter_map(|change| change.before.clone()).collect(),
            after: changes.iter().filter_map(|change| change.after.clone()).collect(),
            changes,
            forgotten: Vec::new(),
            recorded: Vec::new(),
            old_digest: String::new(),
            new_digest: String::new(),
            position: Position(String::new()),
        };
        let steps = steps(Dialect::Postgres, &evolution, fills).expect("steps");
        let lines = steps.into_iter().map(|step| match step {
            Step::Run(statement) => statement,
            Step::RequireEmpty(table, why) => format!("-- {table} must be empty: {why}"),
        });
        lines.collect::<Vec<_>>().join(";\n")
    }

    fn named(name: &str) -> TargetTable {
        let mut table = orders();
        table.foreign_keys.clear();
        table.name.name = name.to_owned();
        table
    }

    #[test]
    fn columns_change() {
        let (before, mut after) = (named("orders"), named("orders"));
        let integer = LogicalType::Integer { bits: 64, signed: true };
        after.columns[1].target_type = "bigint".to_owned();
        after.columns[1].default = Some("0".to_owned());
        after.columns[1].nullable = false;
        after.columns[2].name = "remark".to_owned();
        after.columns.remove(3);
        after.columns.push(column("count", "integer", integer.clone()));
        after.columns.push(TargetColumn { identity: true, ..column("number", "bigint", integer) });
        after.indexes = vec![
            index("PRIMARY", IndexKind::Primary, &[(0, None, false)]),
            index("renamed", IndexKind::Unique, &[(2, Some(10), false), (1, None, true)]),
            index("by_count", IndexKind::Plain, &[(4, None, false)]),
        ];
        let unknown = ColumnOrigin::Added(Fill::Unknown("who knows".to_owned()));
        let mut columns: Vec<_> = [0, 1, 2, 4].map(ColumnOrigin::Kept).into();
        columns.extend([unknown.clone(), unknown]);
        let fills =
            Fills::from([((0, 4), Ok("'7'::integer".to_owned())), ((0, 5), Err("who knows".to_owned()))]);
        insta::assert_snapshot!(rendered(vec![change(Some(before), Some(after), columns)], &fills), @r#"
        DROP INDEX IF EXISTS "shop"."orders_by_hash";
        ALTER INDEX IF EXISTS "shop"."orders_by_note" RENAME TO "orders_renamed";
        ALTER TABLE "shop"."orders" DROP COLUMN "hash";
        ALTER TABLE "shop"."orders" RENAME COLUMN "Note ""x""" TO "remark";
        ALTER TABLE "shop"."orders" ALTER COLUMN "customer" TYPE bigint;
        ALTER TABLE "shop"."orders" ALTER COLUMN "customer" SET NOT NULL;
        ALTER TABLE "shop"."orders" ALTER COLUMN "customer" SET DEFAULT 0;
        ALTER TABLE "shop"."orders" ADD COLUMN "count" integer DEFAULT '7'::integer NOT NULL;
        ALTER TABLE "shop"."orders" ALTER COLUMN "count" DROP DEFAULT;
        -- shop.orders must be empty: who knows;
        ALTER TABLE "shop"."orders" ADD COLUMN "number" bigint GENERATED BY DEFAULT AS IDENTITY NOT NULL;
        CREATE INDEX "orders_by_count" ON "shop"."orders" ("count")
        "#);
    }

    #[test]
    fn tables_swap_names_and_take_their_indexes_along() {
        let (old, new) = (named("orders"), named("_orders_new"));
        let changes = vec![
            change(Some(old.clone()), Some(named("_orders_old")), kept(&old)),
            change(Some(new.clone()), Some(named("orders")), kept(&new)),
        ];
        insta::assert_snapshot!(rendered(changes, &Fills::new()), @r#"
        ALTER TABLE "shop"."orders" RENAME TO "_orders_old";
        ALTER TABLE "shop"."_orders_new" RENAME TO "orders";
        ALTER INDEX IF EXISTS "shop"."orders_pkey" RENAME TO "_orders_old_pkey";
        ALTER INDEX IF EXISTS "shop"."orders_by_note" RENAME TO "_orders_old_by_note";
        ALTER INDEX IF EXISTS "shop"."orders_by_hash" RENAME TO "_orders_old_by_hash";
        ALTER INDEX IF EXISTS "shop"."_orders_new_pkey" RENAME TO "orders_pkey";
        ALTER INDEX IF EXISTS "shop"."_orders_new_by_note" RENAME TO "orders_by_note";
        ALTER INDEX IF EXISTS "shop"."_orders_new_by_hash" RENAME TO "orders_by_hash"
        "#);
    }

    #[test]
    fn tables_come_and_go() {
        let mut emptied = change(Some(named("kept")), Some(named("kept")), kept(&named("kept")));
        emptied.emptied = true;
        let mut made = named("made");
        made.columns.truncate(1);
        made.indexes.truncate(1);
        made.comment.clear();
        let changes = vec![
            change(Some(named("gone")), None, Vec::new()),
            emptied,
            change(None, Some(made), Vec::new()),
        ];
        insta::assert_snapshot!(rendered(changes, &Fills::new()), @r#"
        DROP TABLE "shop"."gone";
        TRUNCATE "shop"."kept" RESTART IDENTITY;
        CREATE SCHEMA IF NOT EXISTS "shop";
        CREATE TABLE "shop"."made" (
            "id" bigint GENERATED BY DEFAULT AS IDENTITY NOT NULL
        );
        ALTER TABLE "shop"."made" ADD CONSTRAINT "made_pkey" PRIMARY KEY ("id")
        "#);
    }

    #[test]
    fn what_could_change_values_is_refused() {
        let (before, mut after) = (named("orders"), named("orders"));
        after.columns[2].target_type = "integer".to_owned();
        let columns = kept(&before);
        let evolution = Evolution {
            before: Vec::new(),
            after: Vec::new(),
            changes: vec![change(Some(before), Some(after), columns)],
            forgotten: Vec::new(),
            recorded: Vec::new(),
            old_digest: String::new(),
            new_digest: String::new(),
            position: Position(String::new()),
        };
        let error = steps(Dialect::Postgres, &evolution, &Fills::new()).expect_err("another type");
        assert!(error.to_string().contains("from varchar(200) to integer"), "{error}");
    }
}
