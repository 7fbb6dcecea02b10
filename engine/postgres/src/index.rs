//! Keys, indexes and foreign keys, built after the load.

use engine_core::logical::LogicalType;
use engine_core::plan::{TargetForeignKey, TargetIndex, TargetTable};
use engine_core::schema::{IndexKind, ReferentialAction, TableName};
use engine_core::target::{BuildJob, BuildStep};
use engine_core::{Error, ErrorKind, Result};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::identifier::{MAX_BYTES, column as column_name, fit, qualified, quote};
use crate::pg_type::PgType;

/// The jobs of one step over all tables.
pub(crate) fn jobs(step: BuildStep, tables: &[Arc<TargetTable>]) -> Result<Vec<BuildJob>> {
    let names = IndexNames::assign(tables);
    let mut jobs = Vec::new();
    for table in tables {
        let key = key_index(table);
        match step {
            BuildStep::RowKeys => {
                if let Some(primary) = table.indexes.iter().find(|index| index.kind == IndexKind::Primary) {
                    let name = names.of(table, &primary.name);
                    let statement = primary_key(table, primary, &name)?;
                    jobs.push(job(table, format!("primary key of {}", table.name), statement));
                }
                match (&table.row_key, key) {
                    (Some(_), KeyIndex::Unique(index)) => {
                        let statement = index_statement(table, index, &names.of(table, &index.name))?;
                        jobs.push(job(
                            table,
                            format!("unique key {} of {}", index.name, table.name),
                            statement,
                        ));
                    }
                    (Some(row_key), KeyIndex::Missing) => {
                        let statement = row_key_index(table, row_key, &names.of(table, ROW_KEY))?;
                        jobs.push(job(table, format!("row key of {}", table.name), statement));
                    }
                    _ => {}
                }
            }
            BuildStep::Indexes => {
                for index in &table.indexes {
                    let is_row_key = matches!(key, KeyIndex::Unique(row_key) if row_key.name == index.name);
                    if index.kind == IndexKind::Primary || is_row_key {
                        continue;
                    }
                    let kind = if index.kind == IndexKind::Unique { "unique key" } else { "index" };
                    let statement = index_statement(table, index, &names.of(table, &index.name))?;
                    jobs.push(job(table, format!("{kind} {} of {}", index.name, table.name), statement));
                }
            }
            BuildStep::ForeignKeys => {
                for key in &table.foreign_keys {
                    let statement = foreign_key(table, key)?;
                    jobs.push(job(table, format!("foreign key {} of {}", key.name, table.name), statement));
                }
            }
        }
    }
    Ok(jobs)
}

fn job(table: &TargetTable, label: String, statement: String) -> BuildJob {
    BuildJob { table: table.name.clone(), label, statements: vec![statement] }
}

/// Stands for the unique index that a row key gets when no key of the source has its columns.
pub(crate) const ROW_KEY: &str = "row key";

/// Which index makes the row key unique.
#[derive(Clone, Copy)]
pub(crate) enum KeyIndex<'a> {
    Primary,
    Unique(&'a TargetIndex),
    Missing,
}

pub(crate) fn key_index(table: &TargetTable) -> KeyIndex<'_> {
    let Some(row_key) = &table.row_key else { return KeyIndex::Missing };
    let covers = |index: &&TargetIndex| {
        index.parts.len() == row_key.len()
            && index.parts.iter().all(|part| part.prefix.is_none() && row_key.contains(&part.column))
    };
    let of_kind = |kind| table.indexes.iter().filter(move |index| index.kind == kind).find(covers);
    match (of_kind(IndexKind::Primary), of_kind(IndexKind::Unique)) {
        (Some(_), _) => KeyIndex::Primary,
        (None, Some(index)) => KeyIndex::Unique(index),
        (None, None) => KeyIndex::Missing,
    }
}

/// Names of indexes, which PostgreSQL keeps apart per schema and together with those of tables.
pub(crate) struct IndexNames(HashMap<(TableName, String), String>);

impl IndexNames {
    /// Gives each index of each table a name of its own; the same for the same tables.
    pub(crate) fn assign(tables: &[Arc<TargetTable>]) -> Self {
        let mut taken: HashSet<(String, String)> =
            tables.iter().map(|table| (fit(&table.name.namespace), fit(&table.name.name))).collect();
        let mut names = HashMap::new();
        let mut sorted: Vec<_> = tables.iter().collect();
        sorted.sort_by(|left, right| left.name.cmp(&right.name));
        for table in sorted {
            let own = table.indexes.iter().map(|index| (index.name.as_str(), index.kind));
            for (index, kind) in own.chain([(ROW_KEY, IndexKind::Unique)]) {
                let wanted = match (kind, index) {
                    (IndexKind::Primary, _) => format!("{}_pkey", table.name.name),
                    (_, ROW_KEY) => format!("{}_row_key", table.name.name),
                    _ => format!("{}_{index}", table.name.name),
                };
                let mut name = fit(&wanted);
                let mut number = 1;
                while !taken.insert((fit(&table.name.namespace), name.clone())) {
                    number += 1;
                    // Cut first, so that the number stays.
                    let mut end = name.len().min(MAX_BYTES - 8);
                    while !wanted.is_char_boundary(end) {
                        end -= 1;
                    }
                    name = format!("{}_{number}", wanted.get(..end).unwrap_or_default());
                }
                names.insert((table.name.clone(), index.to_owned()), name);
            }
        }
        Self(names)
    }

    pub(crate) fn of(&self, table: &TargetTable, index: &str) -> String {
        self.0
            .get(&(table.name.clone(), index.to_owned()))
            .cloned()
            .unwrap_or_else(|| fit(&format!("{}_{index}", table.name.name)))
    }
}

fn name_of(table: &TargetTable, ordinal: usize) -> Result<String> {
    table.columns.get(ordinal).map(|column| column_name(&column.name)).ok_or_else(|| {
        Error::new(ErrorKind::Internal, "a key of the plan names a column that isn't there")
            .at("table", &table.name)
    })
}

pub(crate) fn primary_key(table: &TargetTable, index: &TargetIndex, name: &str) -> Result<String> {
    if index.parts.iter().any(|part| part.prefix.is_some()) {
        // A primary key holds whole columns; the prefix is unique all the same.
        return index_statement(table, &TargetIndex { kind: IndexKind::Unique, ..index.clone() }, name);
    }
    let columns: Vec<_> =
        index.parts.iter().map(|part| name_of(table, part.column)).collect::<Result<_>>()?;
    Ok(format!(
        "ALTER TABLE {} ADD CONSTRAINT {} PRIMARY KEY ({})",
        qualified(&table.name),
        quote(name),
        columns.join(", ")
    ))
}

pub(crate) fn row_key_index(table: &TargetTable, row_key: &[usize], name: &str) -> Result<String> {
    let columns: Vec<_> = row_key.iter().map(|&column| name_of(table, column)).collect::<Result<_>>()?;
    Ok(format!("CREATE UNIQUE INDEX {} ON {} ({})", quote(name), qualified(&table.name), columns.join(", ")))
}

pub(crate) fn index_statement(table: &TargetTable, index: &TargetIndex, name: &str) -> Result<String> {
    let unique = match index.kind {
        IndexKind::Primary | IndexKind::Unique => "UNIQUE ",
        IndexKind::Plain => "",
        IndexKind::Fulltext | IndexKind::Spatial => {
            return Err(Error::new(ErrorKind::Internal, "an index of this kind should not be in the plan")
                .at("table", &table.name)
                .at("index", &index.name));
        }
    };
    let mut parts = Vec::with_capacity(index.parts.len());
    for part in &index.parts {
        let column = name_of(table, part.column)?;
        let mut text = match part.prefix {
            None => column,
            Some(length) => match table
                .columns
                .get(part.column)
                .map(|column| (PgType::parse(&column.target_type), &column.logical))
            {
                Some((PgType::Bytea, _) | (_, LogicalType::Bytes { .. })) => {
                    format!("substr({column}, 1, {length})")
                }
                _ => format!("left({column}, {length})"),
            },
        };
        if part.descending {
            text.push_str(" DESC");
        }
        parts.push(text);
    }
    Ok(format!("CREATE {unique}INDEX {} ON {} ({})", quote(name), qualified(&table.name), parts.join(", ")))
}

pub(crate) fn foreign_key(table: &TargetTable, key: &TargetForeignKey) -> Result<String> {
    let columns: Vec<_> = key.columns.iter().map(|&column| name_of(table, column)).collect::<Result<_>>()?;
    let parents: Vec<_> = key.parent_columns.iter().map(|name| column_name(name)).collect();
    Ok(format!(
        "ALTER TABLE {} ADD CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {} ({}) ON DELETE {} ON UPDATE {}",
        qualified(&table.name),
        column_name(&key.name),
        columns.join(", "),
        qualified(&key.parent),
        parents.join(", "),
        action(key.on_delete),
        action(key.on_update),
    ))
}

fn action(action: ReferentialAction) -> &'static str {
    match action {
        ReferentialAction::NoAction => "NO ACTION",
        ReferentialAction::Restrict => "RESTRICT",
        ReferentialAction::Cascade => "CASCADE",
        ReferentialAction::SetNull => "SET NULL",
        ReferentialAction::SetDefault => "SET DEFAULT",
    }
}

/// What a statement of a job makes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Made {
    /// An index of this name in the table's schema.
    Index(String),
    /// A constraint of this name on the table.
    Constraint(String),
}

/// Reads from a statement rendered above what it makes.
pub(crate) fn made(statement: &str) -> Option<Made> {
    let unquote = |text: &str| {
        let mut name = String::new();
        let mut characters = text.strip_prefix('"')?.chars();
        loop {
            match characters.next()? {
                '"' if characters.as_str().starts_with('"') => {
                    characters.next();
                    name.push('"');
                }
                '"' => return Some(name),
                character => name.push(character),
            }
        }
    };
    for create in ["CREATE UNIQUE INDEX ", "CREATE INDEX "] {
        if let Some(rest) = statement.strip_prefix(create) {
            return unquote(rest).map(Made::Index);
        }
    }
    let rest = statement.strip_prefix("ALTER TABLE ")?;
    // The table's own name might hold the words; its quotes then make the first match none.
    rest.match_indices(" ADD CONSTRAINT ").find_map(|(at, words)| {
        let inside_quotes = rest.get(..at)?.matches('"').count() % 2 == 1;
        if inside_quotes { None } else { unquote(rest.get(at + words.len()..)?).map(Made::Constraint) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ddl::tests::{index, orders};

    fn render(step: BuildStep, tables: Vec<TargetTable>) -> String {
        let tables: Vec<_> = tables.into_iter().map(Arc::new).collect();
        let jobs = jobs(step, &tables).expect("jobs");
        let lines = jobs.iter().map(|job| format!("{}: {}", job.label, job.statements.join("; ")));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn renders_keys_and_indexes() {
        insta::assert_snapshot!(render(BuildStep::RowKeys, vec![orders()]), @r#"primary key of shop.orders: ALTER TABLE "shop"."orders" ADD CONSTRAINT "orders_pkey" PRIMARY KEY ("id")"#);
        insta::assert_snapshot!(render(BuildStep::Indexes, vec![orders()]), @r#"
        unique key by_note of shop.orders: CREATE UNIQUE INDEX "orders_by_note" ON "shop"."orders" (left("Note ""x""", 10), "customer" DESC)
        index by_hash of shop.orders: CREATE INDEX "orders_by_hash" ON "shop"."orders" (substr("hash", 1, 4))
        "#);
        insta::assert_snapshot!(render(BuildStep::ForeignKeys, vec![orders()]), @r#"foreign key orders_customer of shop.orders: ALTER TABLE "shop"."orders" ADD CONSTRAINT "orders_customer" FOREIGN KEY ("customer") REFERENCES "shop"."customers" ("id") ON DELETE CASCADE ON UPDATE NO ACTION"#);
    }

    #[test]
    fn a_row_key_without_an_index_gets_one() {
        let mut table = orders();
        table.indexes.clear();
        insta::assert_snapshot!(render(BuildStep::RowKeys, vec![table]), @r#"row key of shop.orders: CREATE UNIQUE INDEX "orders_row_key" ON "shop"."orders" ("id")"#);
    }

    #[test]
    fn a_unique_row_key_is_built_before_the_other_indexes() {
        let mut table = orders();
        table.indexes = vec![
            index("u", IndexKind::Unique, &[(0, None, false)]),
            index("i", IndexKind::Plain, &[(0, None, false)]),
        ];
        assert!(render(BuildStep::RowKeys, vec![table.clone()]).contains("CREATE UNIQUE INDEX \"orders_u\""));
        assert!(!render(BuildStep::Indexes, vec![table]).contains("orders_u"));
    }

    #[test]
    fn an_index_never_takes_the_name_of_a_table_or_another_index() {
        let mut other = orders();
        other.name.name = "orders_by_hash".to_owned();
        other.indexes.clear();
        other.foreign_keys.clear();
        let text = render(BuildStep::Indexes, vec![orders(), other]);
        assert!(text.contains("CREATE INDEX \"orders_by_hash_2\" ON \"shop\".\"orders\""), "{text}");
    }

    #[test]
    fn reads_back_what_a_statement_makes() {
        assert_eq!(
            made(r#"CREATE UNIQUE INDEX "a""b" ON "s"."t" (x)"#),
            Some(Made::Index("a\"b".to_owned()))
        );
        assert_eq!(
            made(r#"ALTER TABLE "s"."odd ADD CONSTRAINT name" ADD CONSTRAINT "c" PRIMARY KEY ("id")"#),
            Some(Made::Constraint("c".to_owned()))
        );
        assert_eq!(made("SELECT 1"), None);
    }
}
