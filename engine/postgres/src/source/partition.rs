//! Partitioned tables of PostgreSQL, whose rows are in their partitions.
//!
//! # What the log has of them
//! Changes of rows, under the name of the partition or, with `publish_via_partition_root`, under that of the table.
//! In the latter way `pgoutput` leaves out what empties a partition by itself, without a word, so partitions are
//! published by their own names, and which table's they are is looked up here. A `TRUNCATE` of the table names all
//! of its partitions then.
//!
//! # What it does not have
//! Rows that come or go with a partition as a whole: attached, detached, dropped. So the partitions are noted with the
//! publication, each by the row of the catalog that makes it one. One that is not there any more took rows along. A
//! new one brought none if it was made as a partition, or has none when it is first seen.

use engine_core::schema::{ColumnSchema, TableName};
use engine_core::{Error, ErrorKind, Result};
use std::collections::{BTreeMap, HashMap, HashSet};
use tokio_postgres::{Client, Row};

use super::catalog::{self, full_identity};
use super::chunk::relation;
use crate::failure::translate;
use crate::replication::pgoutput::message::RelationColumn;

/// A partition, or a partition of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Partition {
    pub(super) number: u32,
    pub(super) name: TableName,
    /// What it is a partition of, in the last resort.
    pub(super) table: TableName,
    pub(super) table_number: u32,
    /// Its number, that of its parent, and the transaction that made it a partition of that.
    pub(super) membership: String,
    pub(super) kind: Kind,
    pub(super) is_unlogged: bool,
    /// Whole rows of it are logged.
    pub(super) is_full: bool,
    /// It was made as a partition, and has been one ever since.
    pub(super) is_born: bool,
    /// Its table's columns, with their numbers.
    pub(super) of_table: Vec<(String, i16)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Has rows.
    Leaf,
    /// Has partitions.
    Branch,
    /// Its rows are on another server.
    Foreign,
}

/// All partitions that hang on a table, whether it is followed or not.
///
/// `attinhcount` of a column is written when the table is made only if it is made as a partition: attaching it, and
/// detaching it, write the row of each column anew. The rows of system columns are never written again.
const PARTITIONS: &str = "
WITH RECURSIVE tree AS (
    SELECT i.inhrelid AS node, i.inhparent AS parent, i.inhparent AS root, i.xmin AS since
    FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class r ON r.oid = i.inhparent
    WHERE r.relkind = 'p' AND NOT r.relispartition
    UNION ALL
    SELECT i.inhrelid, i.inhparent, t.root, i.xmin FROM pg_catalog.pg_inherits i JOIN tree t ON t.node = i.inhparent)
SELECT t.node, n.nspname::text, c.relname::text, rn.nspname::text, r.relname::text, t.root,
       t.node::text || ':' || t.parent::text || ':' || t.since::text, c.relkind::text, c.relpersistence = 'u',
       c.relreplident = 'f',
       EXISTS (SELECT 1 FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_attribute s ON s.attrelid = a.attrelid
               WHERE a.attrelid = t.node AND a.attnum > 0 AND a.attinhcount > 0 AND s.attnum = -1
               AND a.xmin = s.xmin AND a.cmin = s.cmin),
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = t.root AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
       ARRAY(SELECT a.attnum FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = t.root AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum)
FROM tree t
JOIN pg_catalog.pg_class c ON c.oid = t.node JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class r ON r.oid = t.root JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace
ORDER BY 2, 3";

/// The name of a relation, if it has one.
pub(super) async fn name_of(client: &Client, number: u32) -> Result<Option<TableName>> {
    let row = client
        .query_opt(
            "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1",
            &[&number],
        )
        .await
        .map_err(|error| translate(error, "the source's tables can't be listed"))?;
    Ok(row.map(|row| TableName::new(row.get::<_, &str>(0), row.get::<_, &str>(1))))
}

/// Reads the partitions of every table.
pub(super) async fn read(client: &Client) -> Result<Vec<Partition>> {
    let rows = client
        .query(PARTITIONS, &[])
        .await
        .map_err(|error| translate(error, "the source's partitions can't be listed"))?;
    Ok(rows.iter().map(Partition::of).collect())
}

impl Partition {
    fn of(row: &Row) -> Self {
        Self {
            number: row.get(0),
            name: TableName::new(row.get::<_, &str>(1), row.get::<_, &str>(2)),
            table: TableName::new(row.get::<_, &str>(3), row.get::<_, &str>(4)),
            table_number: row.get(5),
            membership: row.get(6),
            kind: match row.get(7) {
                "p" => Kind::Branch,
                "f" => Kind::Foreign,
                _ => Kind::Leaf,
            },
            is_unlogged: row.get(8),
            is_full: row.get(9),
            is_born: row.get(10),
            of_table: {
                let (names, numbers): (Vec<String>, Vec<i16>) = (row.get(11), row.get(12));
                names.into_iter().zip(numbers).collect()
            },
        }
    }

    /// Fails unless a partition that nobody has seen before can be followed, and brought no rows along.
    pub(super) async fn admit(&self, client: &Client) -> Result<()> {
        let refused = |kind, what: &str| {
            Error::new(kind, what.to_owned()).at("table", &self.table).at("partition", &self.name)
        };
        if self.kind == Kind::Foreign || self.is_unlogged {
            return Err(refused(ErrorKind::Divergence, "a new partition can't be followed")
                .because("its rows are on another server, or in no log")
                .help(BEGIN_ANEW));
        }
        if !self.is_born && self.has_rows(client).await? {
            return Err(refused(ErrorKind::Divergence, "a table with rows became a partition")
                .because("it was attached while its table is followed, and its rows are in no stream")
                .help(
                    "have partitions made with CREATE TABLE … PARTITION OF, or attached empty; now begin a new task \
                     with another --name",
                ));
        }
        if self.kind == Kind::Leaf && !self.is_full {
            return Err(refused(ErrorKind::Precondition, "a new partition does not log whole rows")
                .because("each partition has a replica identity of its own, and this one's is not FULL")
                .help(format!(
                    "{}; then run again. Have it done for each partition as it is made",
                    full_identity(&self.name)
                )));
        }
        Ok(())
    }

    async fn has_rows(&self, client: &Client) -> Result<bool> {
        let row = client
            .query_one(&format!("SELECT EXISTS (SELECT 1 FROM {})", relation(&self.name)), &[])
            .await
            .map_err(|error| {
                translate(error, "a new partition can't be looked at")
                    .at("table", &self.table)
                    .at("partition", &self.name)
            })?;
        Ok(row.get(0))
    }
}

/// What a task does when it can't be known what it lacks.
const BEGIN_ANEW: &str = "begin a new task with another --name";

/// The error of a partition that is not what it was.
pub(super) async fn gone(client: &Client, membership: &str, now: &[Partition]) -> Result<Error> {
    let mut numbers = membership.split(':').map(|number| number.parse::<u32>().ok());
    let (number, parent) = (numbers.next().flatten(), numbers.next().flatten());
    let mut error = Error::new(ErrorKind::Divergence, "a partition was detached or dropped");
    if let Some(table) = name_of(client, parent.unwrap_or_default()).await? {
        error = error.at("table", table);
    }
    if let Some(partition) = name_of(client, number.unwrap_or_default()).await? {
        error = error.at("partition", partition);
    }
    if now.iter().any(|partition| Some(partition.number) == number) {
        error = error.because("it was attached again, and what happened to it meanwhile is in no stream");
        return Ok(error.help(BEGIN_ANEW));
    }
    Ok(error.because("rows went or came with it as a whole, which is not in the log").help(
        "begin a new task with another --name, and let no job drop or detach partitions of its tables until it is over",
    ))
}

/// The leaves of the tables that are followed, for a stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Leaves {
    by_number: HashMap<u32, Leaf>,
    of_table: HashMap<u32, HashSet<u32>>,
}

/// A partition that has rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) name: TableName,
    /// The table whose rows they are.
    pub(super) table: TableName,
    pub(super) table_number: u32,
    /// The columns of its table, with their numbers.
    of_table: Vec<(String, i16)>,
}

impl Leaf {
    /// Puts columns of its table into the order in which the partition has them, which may be another one. A column that
    /// was dropped and made anew is not what it was, and is left where that shows.
    pub(super) fn put_in_order(&self, columns: &mut [(usize, &ColumnSchema)], sent: &[RelationColumn<'_>]) {
        let is_other = |column: &ColumnSchema| {
            self.of_table
                .iter()
                .any(|(name, number)| *name == column.name && catalog::number(column) != Some(*number))
        };
        if !columns.iter().any(|(_, column)| is_other(column)) {
            let place = |name: &str| sent.iter().position(|sent| sent.name == name);
            columns.sort_by_key(|(_, column)| place(&column.name));
        }
    }
}

/// The error of a relation that the stream has and nobody has heard of: whether it is a partition is looked up by the
/// stream that reads on.
pub(super) fn unheard_of(namespace: &str, name: &str) -> Error {
    Error::new(ErrorKind::Transient, "the source has a table, or a partition, that is new")
        .at("table", TableName::new(namespace, name))
        .because("what it is has to be looked up before its rows are read")
}

/// The error of a `TRUNCATE` of partitions.
pub(super) fn emptied_partly(table: &TableName, partitions: &[TableName]) -> Error {
    let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
    Error::new(ErrorKind::Unrepresentable, "a partition was emptied by itself")
        .at("table", table)
        .at("partition", names.join(", "))
        .because(
            "the log has no row of what was in it, so that the target can't be told which of its rows go",
        )
        .help("begin a new task with another --name; DELETE what is in a partition rather than TRUNCATE it")
}

/// What a `TRUNCATE` is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Emptied {
    /// A relation whose rows are the table's.
    pub(super) relation: u32,
    /// Partitions of it that were emptied, when there are others that were not.
    pub(super) partly: Vec<TableName>,
}

impl Leaves {
    pub(super) fn new(partitions: Vec<Partition>) -> Self {
        let mut leaves = Self::default();
        for partition in partitions.into_iter().filter(|partition| partition.kind == Kind::Leaf) {
            leaves.of_table.entry(partition.table_number).or_default().insert(partition.number);
            leaves.by_number.insert(
                partition.number,
                Leaf {
                    name: partition.name,
                    table: partition.table,
                    table_number: partition.table_number,
                    of_table: partition.of_table,
                },
            );
        }
        leaves
    }

    /// Whether there are partitions at all, so that a relation that nobody knows may be one that is new.
    pub(super) fn is_empty(&self) -> bool {
        self.by_number.is_empty()
    }

    pub(super) fn get(&self, relation: u32) -> Option<&Leaf> {
        self.by_number.get(&relation)
    }

    /// The tables that a `TRUNCATE` of these relations is of. A partition that came into being after it counts as
    /// one that was left as it is.
    pub(super) fn emptied(&self, relations: impl Iterator<Item = u32>) -> Vec<Emptied> {
        let (mut emptied, mut partitioned) = (Vec::new(), BTreeMap::<u32, Vec<u32>>::new());
        for relation in relations {
            match self.get(relation) {
                Some(leaf) => partitioned.entry(leaf.table_number).or_default().push(relation),
                None => emptied.push(Emptied { relation, partly: Vec::new() }),
            }
        }
        for (table, relations) in partitioned {
            let all = self.of_table.get(&table).map_or(0, HashSet::len);
            let distinct: HashSet<&u32> = relations.iter().collect();
            let name = |relation: &u32| self.get(*relation).map(|leaf| leaf.name.clone());
            let partly =
                if distinct.len() < all { relations.iter().filter_map(name).collect() } else { Vec::new() };
            emptied.extend(relations.first().map(|&relation| Emptied { relation, partly }));
        }
        emptied
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::source) fn partition(number: u32, name: &str) -> Partition {
        Partition {
            number,
            name: TableName::new("shop", name),
            table: TableName::new("shop", "orders"),
            table_number: 1,
            membership: format!("{number}:1:7"),
            kind: Kind::Leaf,
            is_unlogged: false,
            is_full: true,
            is_born: true,
            of_table: Vec::new(),
        }
    }

    #[test]
    fn what_is_emptied_is_a_table_or_parts_of_it() {
        let branch = Partition { kind: Kind::Branch, ..partition(4, "orders_later") };
        let leaves = Leaves::new(vec![partition(2, "orders_1"), partition(3, "orders_2"), branch]);
        let emptied = |relations: &[u32]| leaves.emptied(relations.iter().copied());
        let whole = |relation| Emptied { relation, partly: Vec::new() };
        assert_eq!(emptied(&[9, 2, 3]), [whole(9), whole(2)]);
        assert_eq!(emptied(&[3, 3]).len(), 1);
        let part = emptied(&[3]);
        assert_eq!(part[0].partly, [TableName::new("shop", "orders_2")]);
        assert!(leaves.get(4).is_none() && !leaves.is_empty() && Leaves::default().is_empty());
    }
}
