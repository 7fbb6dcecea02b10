//! Whether the task's publication is what it was.
//!
//! A publication decides what is in the stream as of each place of the log, and says nothing in it: changes
//! that are made while a table is not published, or while there is no publication (from PostgreSQL 18 on), are
//! left out in silence. So what the publication consists of is noted in its comment when it is made, by rows of the
//! catalog that are other ones once anything was dropped, made anew or altered. It is looked at before a
//! stream begins, every few seconds while it lasts, and for each place up to which a task wants to be certain. With it
//! go the partitions of its tables: see [`partition`](super::partition).

use engine_core::{Error, ErrorKind, Result};
use std::collections::HashSet;
use tokio_postgres::Client;

use super::partition::{self, Leaves, Partition};
use crate::failure::translate;
use crate::family::Family;
use crate::identifier::{literal, quote};

/// What the comment begins with.
const SEAL: &str = "kept by the migration engine, which stops when it is changed: ";

/// A publication in the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// Of the publication itself: its number, and the transaction that made or altered it last.
    itself: String,
    /// Of each of its tables: the table's number, that of its membership, and the transaction that made it.
    tables: Vec<String>,
    /// What makes each partition of them one.
    partitions: Vec<String>,
}

/// What is published for a task.
#[derive(Debug, Clone, Default)]
pub(super) struct Published {
    /// Numbers of the tables; `None` for a publication of which nothing is noted: of openGauss, whose catalog has no
    /// rows that tell.
    pub(super) tables: Option<HashSet<u32>>,
    /// The partitions of them.
    pub(super) leaves: Leaves,
}

/// What a word about a partition begins with.
const PARTITION: &str = "p:";

impl Entry {
    /// The first word of a comment, and the others.
    fn parse(comment: &str) -> Option<Self> {
        let mut words = comment.strip_prefix(SEAL)?.split(' ').map(str::to_owned);
        let mut entry = Self { itself: words.next()?, tables: Vec::new(), partitions: Vec::new() };
        for word in words {
            match word.strip_prefix(PARTITION) {
                Some(partition) => entry.partitions.push(partition.to_owned()),
                None => entry.tables.push(word),
            }
        }
        Some(entry)
    }

    fn comment(&self) -> String {
        let partitions = self.partitions.iter().map(|partition| format!("{PARTITION}{partition}"));
        let words: Vec<String> =
            std::iter::once(&self.itself).chain(&self.tables).cloned().chain(partitions).collect();
        format!("{SEAL}{}", words.join(" "))
    }

    /// What is not as it was: the publication, or the first of its tables by number. Tables that were added
    /// do no harm.
    fn change_to(&self, now: &Self) -> Option<Change> {
        if self.itself != now.itself {
            return Some(Change::Itself);
        }
        let there: HashSet<&String> = now.tables.iter().collect();
        let missing = self.tables.iter().find(|table| !there.contains(table))?;
        Some(Change::Table(number(missing)?))
    }

    /// Numbers of the tables.
    fn numbers(&self) -> HashSet<u32> {
        self.tables.iter().filter_map(|table| number(table)).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Itself,
    Table(u32),
}

fn number(table: &str) -> Option<u32> {
    table.split(':').next()?.parse().ok()
}

/// A publication as it is.
struct Now {
    entry: Entry,
    comment: Option<String>,
    /// What happens to partitions is sent as their table's.
    is_by_root: bool,
    partitions: Vec<Partition>,
}

impl Now {
    /// What the catalog has of a publication, and its comment.
    async fn read(client: &Client, name: &str) -> Result<Self> {
        let row = client
            .query_opt(
                "SELECT p.oid::text || ':' || p.xmin::text, \
                 ARRAY(SELECT r.prrelid::text || ':' || r.oid::text || ':' || r.xmin::text \
                       FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid ORDER BY r.prrelid), \
                 pg_catalog.obj_description(p.oid, 'pg_publication'), p.pubviaroot \
                 FROM pg_catalog.pg_publication p WHERE p.pubname = $1",
                &[&name],
            )
            .await
            .map_err(|error| {
                translate(error, "the publication can't be looked at").at("publication", name)
            })?;
        let row = row.ok_or_else(|| gone(name))?;
        let mut entry = Entry { itself: row.get(0), tables: row.get(1), partitions: Vec::new() };
        let tables = entry.numbers();
        let mut partitions = partition::read(client).await?;
        partitions.retain(|partition| tables.contains(&partition.table_number));
        entry.partitions = partitions.iter().map(|partition| partition.membership.clone()).collect();
        Ok(Self { entry, comment: row.get(2), is_by_root: row.get(3), partitions })
    }

    /// Fails for partitions that went or brought rows along since `made`. Answers whether there are new ones.
    async fn require_partitions(&self, client: &Client, made: &Entry) -> Result<bool> {
        let there: HashSet<&String> = self.entry.partitions.iter().collect();
        if let Some(lost) = made.partitions.iter().find(|partition| !there.contains(partition)) {
            return Err(partition::gone(client, lost, &self.partitions).await?);
        }
        let known: HashSet<&String> = made.partitions.iter().collect();
        let mut is_new = false;
        for partition in self.partitions.iter().filter(|partition| !known.contains(&partition.membership)) {
            partition.admit(client).await?;
            is_new = true;
        }
        Ok(is_new)
    }
}

/// Notes in its comment what the publication consists of.
pub(super) async fn seal(client: &Client, name: &str) -> Result<()> {
    note(client, name, &Now::read(client, name).await?.entry).await
}

async fn note(client: &Client, name: &str, entry: &Entry) -> Result<()> {
    let statement = format!("COMMENT ON PUBLICATION {} IS {}", quote(name), literal(&entry.comment()));
    client
        .batch_execute(&statement)
        .await
        .map_err(|error| translate(error, "the publication can't be commented on").at("publication", name))
}

/// Fails unless the publication has been what it is since it was made, and the partitions of its tables too. Those that
/// are new, and brought no rows along, are noted.
pub(super) async fn require_intact(client: &Client, family: Family, name: &str) -> Result<Published> {
    if family.is_opengauss() {
        return Ok(Published::default());
    }
    let now = Now::read(client, name).await?;
    if let Some(partition) = now.partitions.first().filter(|_| now.is_by_root) {
        return Err(by_root(name, partition));
    }
    let made = now.comment.as_deref().and_then(Entry::parse);
    let tables = match made.as_ref().map(|made| (made, made.change_to(&now.entry))) {
        None if !now.partitions.is_empty() => {
            return Err(changed(name).because("which partitions its tables had is not noted any more"));
        }
        None => None,
        Some((made, None)) => {
            if now.require_partitions(client, made).await? {
                note(client, name, &Entry { partitions: now.entry.partitions, ..made.clone() }).await?;
            }
            Some(made.numbers())
        }
        Some((_, Some(Change::Itself))) => {
            return Err(changed(name).because("it was altered, or dropped and made anew"));
        }
        Some((_, Some(Change::Table(table)))) => {
            return Err(match partition::name_of(client, table).await? {
                Some(table) => changed(name)
                    .at("table", table)
                    .because("the table was taken out of it, if only for a while"),
                None => changed(name).because("one of its tables was dropped"),
            });
        }
    };
    Ok(Published { tables, leaves: Leaves::new(now.partitions) })
}

/// The way out when changes may be missing from the stream.
const BEGIN_ANEW: &str =
    "the target may lack changes that were made meanwhile: begin a new task with another --name";

fn gone(name: &str) -> Error {
    Error::new(ErrorKind::Divergence, "the task's publication is not there any more")
        .at("publication", name)
        .because("it was dropped or renamed, and without it no change is sent")
        .help(BEGIN_ANEW)
}

fn changed(name: &str) -> Error {
    Error::new(ErrorKind::Divergence, "the task's publication was changed")
        .at("publication", name)
        .help(BEGIN_ANEW)
}

/// The error of a publication of which a partitioned table can't be followed.
fn by_root(name: &str, partition: &Partition) -> Error {
    Error::new(ErrorKind::Precondition, "the publication does not say what happens to partitions")
        .at("publication", name)
        .at("table", &partition.table)
        .because(
            "it has publish_via_partition_root, by which PostgreSQL leaves out what empties a partition by itself",
        )
        .help("have the engine make its own: begin a new task with another --name")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(itself: &str, tables: &[&str]) -> Entry {
        let tables = tables.iter().map(|&table| table.to_owned()).collect();
        Entry { itself: itself.to_owned(), tables, partitions: Vec::new() }
    }

    #[test]
    fn a_comment_is_read_as_it_was_written() {
        let partitioned =
            Entry { partitions: vec!["20:12:8".to_owned()], ..entry("5:7", &["12:13:7", "14:15:7"]) };
        assert!(partitioned.comment().ends_with(" 12:13:7 14:15:7 p:20:12:8"));
        for made in [partitioned, entry("5:7", &["12:13:7", "14:15:7"]), entry("5:7", &[])] {
            assert_eq!(Entry::parse(&made.comment()), Some(made));
        }
        assert_eq!(Entry::parse("somebody's own"), None);
    }

    #[test]
    fn whatever_was_dropped_or_made_anew_is_noticed() {
        let made = entry("5:7", &["12:13:7", "14:15:7"]);
        assert_eq!(made.change_to(&made), None);
        assert_eq!(made.change_to(&entry("5:7", &["12:13:7", "14:15:7", "20:21:9"])), None);
        assert_eq!(made.change_to(&entry("5:9", &["12:13:7", "14:15:7"])), Some(Change::Itself));
        assert_eq!(made.change_to(&entry("5:7", &["12:13:7"])), Some(Change::Table(14)));
        assert_eq!(made.change_to(&entry("5:7", &["12:16:9", "14:15:7"])), Some(Change::Table(12)));
        assert_eq!(made.numbers(), HashSet::from([12, 14]));
    }
}
