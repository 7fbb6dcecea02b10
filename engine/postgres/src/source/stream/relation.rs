//! Which tables of the stream concern the task, and how their rows are decoded.

use engine_core::batch::Batch;
use engine_core::change::{Op, SchemaChange, TableChanges};
use engine_core::gathering::Gathering;
use engine_core::schema::{ColumnSchema, TableName, TableSchema};
use engine_core::source::{StreamRequest, StreamTable};
use engine_core::{Error, ErrorKind, Result};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::replication::pgoutput::message::{Relation, RelationColumn};
use crate::replication::pgoutput::tuple::{Cell, Tuple};
use crate::source::alteration::{self, Sent};
use crate::source::catalog;
use crate::source::partition::{Emptied, Leaf};
use crate::source::position::{LogPosition, Snapshot};
use crate::source::publication::Published;
use crate::source::reader::{decoder, refused};
use crate::source::value::CellDecoder;

/// What the changes of a relation mean.
#[derive(Clone)]
pub(super) enum Known {
    /// Decode them so.
    Wanted(Arc<Wanted>),
    /// They have another structure than the one on record.
    Altered(Arc<Altered>),
    /// Pass them over.
    PassedOver,
    /// Stop at the first: it belongs to the task, but didn't exist when the task began.
    Unforeseen(TableName),
}

/// A table whose changes are wanted.
pub(super) struct Wanted {
    /// Index into the request's tables.
    pub(super) table: usize,
    pub(super) schema: Arc<TableSchema>,
    columns: Arc<[usize]>,
    /// By column of the relation.
    plan: Vec<Option<Place>>,
    /// What an exact read has seen, whose changes are left out.
    pub(super) since: Option<Snapshot>,
    /// The table, or the partition of it, by whose replica identity the rows are logged.
    logged_as: TableName,
}

/// A wanted table whose structure is not the one on record.
pub(super) struct Altered {
    /// Index into the request's tables.
    pub(super) table: usize,
    pub(super) schema: Arc<TableSchema>,
    pub(super) since: Option<Snapshot>,
    /// Number of the table, also where the change is one of a partition.
    pub(super) relation: u32,
    sent: Vec<Sent>,
}

impl Altered {
    /// The columns on record.
    pub(super) fn known_columns(&self) -> Vec<String> {
        self.schema.columns.iter().map(|column| column.name.clone()).collect()
    }

    /// What is to be told of it.
    pub(super) fn change(&self) -> SchemaChange {
        alteration::change(&self.schema, self.relation, &self.sent)
    }
}

/// Where a value goes.
struct Place {
    slot: usize,
    ordinal: usize,
    decoder: CellDecoder,
}

/// The tables of a request.
pub(in crate::source) struct Relations {
    request: StreamRequest,
    by_name: HashMap<TableName, usize>,
    skipped: HashSet<TableName>,
    /// What is published for the task; other tables were added by somebody else.
    published: Published,
    /// Relations that are no partitions, if they are none that are published.
    looked_up: HashSet<u32>,
    known: HashMap<u32, Known>,
}

impl Relations {
    /// `published` has what is published for the task, `looked_up` relations that were not known to a stream before it
    /// was read.
    pub(in crate::source) fn new(
        request: StreamRequest,
        published: Published,
        looked_up: HashSet<u32>,
    ) -> Self {
        let name = |(index, table): (usize, &StreamTable)| (table.schema.name.clone(), index);
        Self {
            by_name: request.tables.iter().enumerate().map(name).collect(),
            skipped: request.skipped.iter().cloned().collect(),
            request,
            published,
            looked_up,
            known: HashMap::new(),
        }
    }

    pub(super) fn request(&self) -> &StreamRequest {
        &self.request
    }

    /// Whether nobody has heard of a relation, so that it may be a partition that is new.
    pub(super) fn is_unheard_of(&self, relation: &Relation<'_>) -> bool {
        let Published { tables, leaves } = &self.published;
        !leaves.is_empty()
            && leaves.get(relation.id).is_none()
            && !self.looked_up.contains(&relation.id)
            && tables.as_ref().is_none_or(|tables| !tables.contains(&relation.id))
    }

    /// What a `TRUNCATE` of these relations is of.
    pub(super) fn emptied(&self, relations: impl Iterator<Item = u32>) -> Vec<Emptied> {
        self.published.leaves.emptied(relations)
    }

    /// Takes in what the stream says of a relation, before its first change and after it was altered.
    pub(super) fn learn(&mut self, relation: &Relation<'_>) -> Result<()> {
        let logged_as = TableName::new(relation.namespace, relation.name);
        let leaf = self.published.leaves.get(relation.id);
        let (name, number) = leaf.map_or((&logged_as, relation.id), |leaf| (&leaf.table, leaf.table_number));
        let known = if let Some(&index) = self.by_name.get(name) {
            self.wanted(index, relation, &logged_as, leaf).map_err(|error| error.at("table", name))?
        } else if self.skipped.contains(name) || !self.concerns(number, name) {
            Known::PassedOver
        } else {
            Known::Unforeseen(name.clone())
        };
        self.known.insert(relation.id, known);
        Ok(())
    }

    /// Whether a table that goes by another name than any of the task's is one of them all the same.
    fn concerns(&self, relation: u32, name: &TableName) -> bool {
        let is_ours = self.published.tables.as_ref().is_some_and(|published| published.contains(&relation));
        is_ours || self.request.selection.matches(name)
    }

    /// Whether the table that a change is about has what the change leaves on record.
    pub(super) fn has_on_record(&self, change: &SchemaChange) -> bool {
        let table = change.tables.first().and_then(|name| self.by_name.get(name));
        let table = table.and_then(|&index| self.request.tables.get(index));
        table.is_some_and(|table| alteration::is_on_record(change, &table.schema))
    }

    /// What a relation's number stands for.
    pub(super) fn get(&self, relation: u32) -> Result<Known> {
        self.known.get(&relation).cloned().ok_or_else(|| {
            Error::new(ErrorKind::Divergence, "the source's stream changes a table that it has not described")
                .at("relation", relation)
        })
    }

    fn wanted(
        &self,
        index: usize,
        relation: &Relation<'_>,
        logged_as: &TableName,
        leaf: Option<&Leaf>,
    ) -> Result<Known> {
        let sent = &relation.columns;
        let unknown = || Error::new(ErrorKind::Internal, "a table was decoded that nobody requested");
        let table = self.request.tables.get(index).ok_or_else(unknown)?;
        let schema = &table.schema;
        // What is computed is sent by PostgreSQL 18 and later alone.
        let has_generated = sent.len() == schema.columns.len();
        let stored = schema.columns.iter().enumerate();
        let mut stored: Vec<(usize, &ColumnSchema)> =
            stored.filter(|(_, column)| has_generated || column.generated.is_none()).collect();
        if let Some(leaf) = leaf {
            leaf.put_in_order(&mut stored, sent);
        }
        let same = |((_, column), sent): (&(usize, &ColumnSchema), &RelationColumn<'_>)| {
            column.name == sent.name && catalog::is_type(column, sent.type_id, sent.type_modifier)
        };
        if stored.len() != sent.len() || !stored.iter().zip(sent).all(same) {
            let sent = sent.iter().map(|column| Sent {
                name: column.name.to_owned(),
                type_id: column.type_id,
                type_modifier: column.type_modifier,
            });
            let mut sent: Vec<Sent> = sent.collect();
            if leaf.is_some() {
                // In the table's order as far as it is known, whichever partition was the first.
                let place = |sent: &Sent| schema.columns.iter().position(|column| column.name == sent.name);
                sent.sort_by_key(|sent| place(sent).unwrap_or(usize::MAX));
            }
            return Ok(Known::Altered(Arc::new(Altered {
                table: index,
                schema: Arc::clone(schema),
                since: snapshot(table)?,
                relation: leaf.map_or(relation.id, |leaf| leaf.table_number),
                sent,
            })));
        }
        let mut plan = Vec::with_capacity(stored.len());
        for &(ordinal, column) in &stored {
            plan.push(match table.columns.iter().position(|&wanted| wanted == ordinal) {
                Some(slot) => Some(Place { slot, ordinal, decoder: decoder(&schema.name, column)? }),
                None => None,
            });
        }
        if plan.iter().flatten().count() != table.columns.len() {
            return Err(Error::new(ErrorKind::Unrepresentable, "a generated column can't be followed")
                .because("the source does not send its values")
                .help("have the plugin leave the column out, or generate it in the target"));
        }
        Ok(Known::Wanted(Arc::new(Wanted {
            table: index,
            schema: Arc::clone(schema),
            columns: Arc::clone(&table.columns),
            plan,
            since: snapshot(table)?,
            logged_as: logged_as.clone(),
        })))
    }
}

/// What an exact read of the table has seen.
fn snapshot(table: &StreamTable) -> Result<Option<Snapshot>> {
    let since = table.since.as_ref().map(LogPosition::parse).transpose()?;
    Ok(since.and_then(|position| position.snapshot))
}

impl Wanted {
    /// The changes of the table in a set, for one more of the transaction at `place`; the rows are the caller's to add.
    pub(super) fn change<'s>(
        &self,
        set: &'s mut Gathering,
        op: Op,
        place: u32,
        bytes: usize,
    ) -> &'s mut TableChanges {
        set.change(self.table, op, place, bytes, || {
            TableChanges::none(self.table, &self.schema, &self.columns)
        })
    }

    /// Appends a row. Values that the change did not touch and that were not logged are those of `old`.
    pub(super) fn push(&self, row: &Tuple<'_>, old: Option<&Tuple<'_>>, batch: &mut Batch) -> Result<()> {
        if row.len() != self.plan.len() || old.is_some_and(|old| old.len() != row.len()) {
            return Err(self.error("a row has not as many values as its table has columns"));
        }
        let mut before = old.map(Tuple::cells);
        for (place, cell) in self.plan.iter().zip(row.cells()) {
            let before = before.as_mut().and_then(Iterator::next);
            let Some(Place { slot, ordinal, decoder }) = place else { continue };
            let Some(column) = batch.columns.get_mut(*slot) else { continue };
            let cell = if cell == Cell::Unchanged { before.unwrap_or(cell) } else { cell };
            match cell {
                Cell::Null => column.push_null(),
                Cell::Text(text) => {
                    decoder.push(text, column).map_err(|why| match self.schema.columns.get(*ordinal) {
                        Some(schema) => refused(&self.schema.name, schema, text, why),
                        None => self.error(why),
                    })?;
                }
                Cell::Binary(_) => {
                    return Err(self.error("a value is in binary form, which was not asked for"));
                }
                Cell::Unchanged => return Err(self.not_full()),
            }
        }
        batch.rows += 1;
        Ok(())
    }

    /// The error of a change that doesn't say what the row was.
    pub(super) fn not_full(&self) -> Error {
        let name = &self.logged_as;
        Error::new(ErrorKind::Precondition, "a change does not say what the row was before")
            .at("table", name)
            .because("the table's replica identity is not FULL")
            .help(format!(
                "{}; what was changed before that can't be followed: begin a new task with another --name then",
                catalog::full_identity(name)
            ))
    }

    fn error(&self, why: &str) -> Error {
        Error::new(ErrorKind::Divergence, "a change can't be read")
            .at("table", &self.schema.name)
            .because(why)
    }
}
