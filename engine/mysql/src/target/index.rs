//! Keys, indexes and foreign keys, built after the load.

use engine_core::plan::{TargetForeignKey, TargetTable};
use engine_core::schema::{IndexKind, TableName};
use engine_core::target::{BuildJob, BuildStep};
use engine_core::{Error, ErrorKind, Result};
use mysql_async::Error as DriverFailure;
use std::collections::HashSet;
use std::sync::Arc;

use super::ddl;
use super::failure::translate;
use super::foreign_key;
use super::session::Session;
use crate::server::{Flavor, Server};
use crate::sql;

/// Characters that a name may have.
const LONGEST_NAME: usize = 64;

/// The jobs of one step over all tables. The row key is made with its table.
pub(super) fn jobs(step: BuildStep, tables: &[Arc<TargetTable>]) -> Result<Vec<BuildJob>> {
    let mut jobs = Vec::new();
    let mut names = HashSet::new();
    for table in tables {
        match step {
            BuildStep::RowKeys => {}
            BuildStep::Indexes => {
                // All in one job: the server reads the table once for all of them.
                let there = ddl::with_table(table);
                let left = table.indexes.iter().filter(|index| {
                    index.kind != IndexKind::Primary && !there.iter().any(|made| made.name == index.name)
                });
                let statements: Vec<String> = left
                    .map(|index| Ok(format!("{}{}", alter(table), ddl::index_definition(table, index)?)))
                    .collect::<Result<_>>()?;
                if !statements.is_empty() {
                    let label = format!("{} indexes of {}", statements.len(), table.name);
                    jobs.push(BuildJob { table: table.name.clone(), label, statements });
                }
            }
            BuildStep::ForeignKeys => {
                for key in &table.foreign_keys {
                    let name = unique_name(&mut names, table, key);
                    jobs.push(BuildJob {
                        table: table.name.clone(),
                        label: format!("foreign key {name} of {}", table.name),
                        statements: foreign_key::statements(table, key, &name)?,
                    });
                }
            }
        }
    }
    Ok(jobs)
}

fn alter(table: &TargetTable) -> String {
    format!("ALTER TABLE {} ADD ", sql::table(&table.name))
}

/// A name that no other foreign key of the database has, since a database keeps them together.
fn unique_name(names: &mut HashSet<(String, String)>, table: &TargetTable, key: &TargetForeignKey) -> String {
    let wanted = [key.name.clone(), format!("{}_{}", table.name.name, key.name)];
    let numbered = (2..).map(|number| format!("{number}_{}_{}", table.name.name, key.name));
    let mut candidates =
        wanted.into_iter().chain(numbered).map(|name| name.chars().take(LONGEST_NAME).collect::<String>());
    candidates
        .find(|name| names.insert((table.name.namespace.to_lowercase(), name.to_lowercase())))
        .unwrap_or_default()
}

/// Builds what isn't there of a job.
pub(super) async fn build(session: &mut Session, server: &Server, job: &BuildJob) -> Result<()> {
    let failed = |error| translate(error, format!("{} can't be built", job.label)).at("table", &job.table);
    if server.flavor == Flavor::MySql && server.version_number >= (8, 0, 27) {
        // What sorting an index may take, in bytes; the server's own 1 MiB is meant for a busy server.
        session.run("SET SESSION innodb_ddl_buffer_size = 67108864").await.map_err(failed)?;
    }
    let mut attempt = 1;
    while let Err(error) = attempt_build(session, job).await {
        // The server goes on with what an engine that was killed had it build; having waited for that, it
        // refuses the same thing a second time.
        let built_meanwhile = matches!(&error, Attempt::Refused(DriverFailure::Server(error))
            if AGAIN.contains(&error.code) && attempt < BUILD_ATTEMPTS);
        match error {
            Attempt::Refused(_) if built_meanwhile => attempt += 1,
            Attempt::Refused(error) => return Err(failed(error)),
            Attempt::Failed(error) => return Err(error),
        }
    }
    Ok(())
}

/// How often what is missing of a job is looked for anew.
const BUILD_ATTEMPTS: usize = 5;
/// An index or a foreign key of this name is there; or tables were locked in another order by a foreign
/// key that is built at the same time.
const AGAIN: [u16; 4] = [1061, 1826, 1022, 1213];

enum Attempt {
    /// The server refused to build something.
    Refused(DriverFailure),
    Failed(Error),
}

impl From<Error> for Attempt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

async fn attempt_build(session: &mut Session, job: &BuildJob) -> Result<(), Attempt> {
    let start = format!("ALTER TABLE {} ADD ", sql::table(&job.table));
    let there = existing(session, &job.table).await?;
    let is_there = |definition: &str| there.has(definition);
    let definitions = job.statements.iter().filter_map(|statement| statement.strip_prefix(&start));
    let missing: Vec<&str> = definitions.filter(|definition| !is_there(definition)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for query in job.statements.iter().filter(|statement| !statement.starts_with(&start)) {
        // A query for what must not be.
        if !session.query(query).await.map_err(Attempt::Refused)?.is_empty() {
            return Err(Attempt::Failed(
                Error::new(ErrorKind::Unrepresentable, "a row refers to a parent that isn't there")
                    .at("table", &job.table)
                    .because(format_args!("{} can't be built", job.label))
                    .help("see to the source's rows, or leave the key out"),
            ));
        }
    }
    // The server builds full-text indexes one at a time.
    let (alone, together): (Vec<&str>, Vec<&str>) =
        missing.into_iter().partition(|definition| definition.starts_with("FULLTEXT"));
    let together = if together.is_empty() { None } else { Some(together.join(", ADD ")) };
    for definitions in together.as_deref().into_iter().chain(alone) {
        session.run(format!("{start}{definitions}")).await.map_err(Attempt::Refused)?;
    }
    Ok(())
}

/// The name of what a definition after `ADD` makes, as names are compared.
pub(super) fn made(definition: &str) -> Option<String> {
    let mut quoted = definition.get(definition.find('`')? + 1..)?.chars();
    let mut name = String::new();
    loop {
        match quoted.next()? {
            '`' => match quoted.next() {
                Some('`') => name.push('`'),
                _ => return Some(name.to_lowercase()),
            },
            other => name.push(other),
        }
    }
}

/// Names of the indexes and of the foreign keys that a table has, in lower case. One of each may have the
/// same name: the server gives an index that it makes for a foreign key the key's.
#[derive(Debug, Clone, Default)]
pub(super) struct Existing {
    pub(super) indexes: HashSet<String>,
    pub(super) foreign_keys: HashSet<String>,
}

impl Existing {
    /// Whether what a definition after `ADD` makes is there.
    pub(super) fn has(&self, definition: &str) -> bool {
        let names = if definition.starts_with("CONSTRAINT") { &self.foreign_keys } else { &self.indexes };
        if definition.starts_with("PRIMARY KEY") {
            return names.contains("primary");
        }
        made(definition).is_some_and(|name| names.contains(&name))
    }
}

/// What the table has.
pub(super) async fn existing(session: &mut Session, table: &TableName) -> Result<Existing> {
    let failed = |error| translate(error, "indexes can't be looked for").at("table", table);
    let mut found = [HashSet::new(), HashSet::new()];
    let queries = [
        "SELECT CONVERT(index_name USING utf8mb4) FROM information_schema.statistics \
         WHERE LOWER(table_schema) = LOWER(?) AND LOWER(table_name) = LOWER(?)",
        "SELECT CONVERT(constraint_name USING utf8mb4) FROM information_schema.table_constraints \
         WHERE LOWER(table_schema) = LOWER(?) AND LOWER(table_name) = LOWER(?) \
         AND constraint_type = 'FOREIGN KEY'",
    ];
    for (query, names) in queries.into_iter().zip(&mut found) {
        let rows = session.select(query, (&table.namespace, &table.name)).await.map_err(failed)?;
        for mut row in rows {
            names.insert(super::control::field::<String>(&mut row, 0)?.to_lowercase());
        }
    }
    let [indexes, foreign_keys] = found;
    Ok(Existing { indexes, foreign_keys })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_built_together_and_foreign_keys_after_a_look_for_orphans() {
        let tables = [Arc::new(ddl::tests::orders())];
        let rendered = |step| {
            let jobs = jobs(step, &tables).expect("good tables");
            jobs.into_iter().flat_map(|job| job.statements).collect::<Vec<_>>().join(";\n")
        };
        assert_eq!(rendered(BuildStep::RowKeys), "");
        insta::assert_snapshot!(rendered(BuildStep::Indexes), @r"
        ALTER TABLE `shop`.`orders` ADD UNIQUE KEY `by_note` (`no``te`(10), `customer` DESC);
        ALTER TABLE `shop`.`orders` ADD KEY `by_customer` (`customer`)
        ");
        insta::assert_snapshot!(rendered(BuildStep::ForeignKeys), @r"
        SELECT 1 FROM `shop`.`orders` c LEFT JOIN `shop`.`customers` p ON p.`id` = c.`customer` WHERE c.`customer` IS NOT NULL AND p.`id` IS NULL LIMIT 1;
        ALTER TABLE `shop`.`orders` ADD CONSTRAINT `orders_customer` FOREIGN KEY (`customer`) REFERENCES `shop`.`customers` (`id`) ON DELETE CASCADE ON UPDATE NO ACTION
        ");
    }

    #[test]
    fn an_index_is_no_foreign_key_of_its_name() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let there = Existing { indexes: names(&["fk", "primary"]), foreign_keys: names(&["other"]) };
        assert!(there.has("KEY `FK` (`a`)") && there.has("PRIMARY KEY (`a`)"));
        assert!(!there.has("CONSTRAINT `fk` FOREIGN KEY (`a`)") && !there.has("KEY `other` (`a`)"));
    }

    #[test]
    fn what_a_statement_makes_is_read_from_it() {
        assert_eq!(made("UNIQUE KEY `By``x` (`a`)").as_deref(), Some("by`x"));
        assert_eq!(made("CONSTRAINT `fk` FOREIGN KEY (`a`)").as_deref(), Some("fk"));
    }
}
