//! Which tables of the stream concern the task, and how their rows are decoded.

use engine_core::batch::Batch;
use engine_core::change::TableChanges;
use engine_core::schema::{ColumnSchema, TableName, TableSchema};
use engine_core::source::{StreamRequest, StreamTable};
use engine_core::{Error, ErrorKind, Result};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::replication::pgoutput::message::{Relation, RelationColumn};
use crate::replication::pgoutput::tuple::{Cell, Tuple};
use crate::source::catalog;
use crate::source::position::{LogPosition, Snapshot};
use crate::source::reader::{decoder, refused};
use crate::source::value::CellDecoder;

/// What the changes of a relation mean.
#[derive(Clone)]
pub(super) enum Known {
    /// Decode them so.
    Wanted(Arc<Wanted>),
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
}

/// Where a value goes.
struct Place {
    slot: usize,
    ordinal: usize,
    decoder: CellDecoder,
}

/// The tables of a request.
pub(super) struct Relations {
    request: StreamRequest,
    by_name: HashMap<TableName, usize>,
    skipped: HashSet<TableName>,
    known: HashMap<u32, Known>,
}

impl Relations {
    pub(super) fn new(request: StreamRequest) -> Self {
        let name = |(index, table): (usize, &StreamTable)| (table.schema.name.clone(), index);
        Self {
            by_name: request.tables.iter().enumerate().map(name).collect(),
            skipped: request.skipped.iter().cloned().collect(),
            request,
            known: HashMap::new(),
        }
    }

    pub(super) fn request(&self) -> &StreamRequest {
        &self.request
    }

    /// Takes in what the stream says of a relation, before its first change and after it was altered.
    pub(super) fn learn(&mut self, relation: &Relation<'_>) -> Result<()> {
        let name = TableName::new(relation.namespace, relation.name);
        let known = if let Some(&index) = self.by_name.get(&name) {
            let wanted = self.wanted(index, &relation.columns).map_err(|error| error.at("table", &name))?;
            Known::Wanted(Arc::new(wanted))
        } else if self.skipped.contains(&name) || !self.request.selection.matches(&name) {
            Known::PassedOver
        } else {
            Known::Unforeseen(name)
        };
        self.known.insert(relation.id, known);
        Ok(())
    }

    /// What a relation's number stands for.
    pub(super) fn get(&self, relation: u32) -> Result<Known> {
        self.known.get(&relation).cloned().ok_or_else(|| {
            Error::new(ErrorKind::Divergence, "the source's stream changes a table that it has not described")
                .at("relation", relation)
        })
    }

    fn wanted(&self, index: usize, sent: &[RelationColumn<'_>]) -> Result<Wanted> {
        let unknown = || Error::new(ErrorKind::Internal, "a table was decoded that nobody requested");
        let table = self.request.tables.get(index).ok_or_else(unknown)?;
        let schema = &table.schema;
        // What is computed is sent by PostgreSQL 18 and later alone.
        let has_generated = sent.len() == schema.columns.len();
        let stored = schema.columns.iter().enumerate();
        let stored: Vec<(usize, &ColumnSchema)> =
            stored.filter(|(_, column)| has_generated || column.generated.is_none()).collect();
        let same = |((_, column), sent): (&(usize, &ColumnSchema), &RelationColumn<'_>)| {
            column.name == sent.name && catalog::is_type(column, sent.type_id, sent.type_modifier)
        };
        if stored.len() != sent.len() || !stored.iter().zip(sent).all(same) {
            return Err(changed(&stored, sent));
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
        let since = table.since.as_ref().map(LogPosition::parse).transpose()?;
        Ok(Wanted {
            table: index,
            schema: Arc::clone(schema),
            columns: Arc::clone(&table.columns),
            plan,
            since: since.and_then(|position| position.snapshot),
        })
    }
}

impl Wanted {
    /// An empty set of changes.
    pub(super) fn empty_changes(&self) -> TableChanges {
        let columns = self.columns.iter().filter_map(|&ordinal| self.schema.columns.get(ordinal));
        let batch = Batch {
            rows: 0,
            columns: columns.map(|column| column.logical.layout().empty_column()).collect(),
        };
        TableChanges {
            table: self.table,
            ops: Vec::new(),
            transactions: Vec::new(),
            after: batch.clone(),
            before: batch,
        }
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
        let name = &self.schema.name;
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

fn changed(stored: &[(usize, &ColumnSchema)], sent: &[RelationColumn<'_>]) -> Error {
    let known: Vec<&str> = stored.iter().map(|(_, column)| column.name.as_str()).collect();
    let new: Vec<&str> = sent.iter().map(|column| column.name).collect();
    let why = if known == new {
        let other = stored
            .iter()
            .zip(sent)
            .find(|((_, column), sent)| !catalog::is_type(column, sent.type_id, sent.type_modifier));
        let name = other.map_or("", |((_, column), _)| column.name.as_str());
        format!("the type of column {name} was changed")
    } else {
        format!("it had the columns {}, and has {}", known.join(", "), new.join(", "))
    };
    Error::new(
        ErrorKind::Divergence,
        "the structure of a table at this position is not the one the task knows",
    )
    .because(why)
    .help(
        "changes of structure are not carried over from PostgreSQL yet: begin a new task with another --name",
    )
}
