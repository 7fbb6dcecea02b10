//! Which tables of the log concern the task, and how their rows are decoded.

use engine_core::logical::LogicalType;
use engine_core::schema::{TableName, TableSchema};
use engine_core::source::{StreamRequest, StreamTable};
use engine_core::{Error, ErrorKind, Result};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::bytes::bit;
use super::cell::{CellDecoder, ColumnMismatch};
use super::extent::wire_type;
use super::rows::ColumnPlan;
use super::table_map::{self, TableMap};
use crate::charset::Charsets;

/// Databases of the server itself.
const SYSTEM: [&str; 5] = ["mysql", "sys", "information_schema", "performance_schema", "_migration"];

/// What a table is to the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Its changes are wanted; index into the request's tables.
    Wanted(usize),
    /// It doesn't concern the task.
    PassedOver,
    /// It belongs to the task, but didn't exist when the task began.
    Unforeseen,
}

/// What the row events of a table number mean.
#[derive(Debug)]
pub(crate) enum Mapped {
    /// Decode them so.
    Wanted { table: usize, columns: Arc<[ColumnPlan]> },
    /// Pass them over.
    PassedOver,
    /// Stop at the first.
    Unforeseen(TableName),
}

/// The tables of a request.
#[derive(Debug)]
pub(crate) struct Tables {
    request: StreamRequest,
    by_name: HashMap<TableName, usize>,
    skipped: HashSet<TableName>,
    charsets: Charsets,
    mapped: HashMap<u64, (Vec<u8>, Arc<Mapped>)>,
}

/// Table numbers kept; each is a few hundred bytes.
const MAX_MAPPED: usize = 8192;

impl Tables {
    pub(crate) fn new(request: StreamRequest, charsets: Charsets) -> Result<Self> {
        for table in &request.tables {
            let columns = table.schema.columns.len();
            let distinct: HashSet<_> = table.columns.iter().collect();
            if distinct.len() != table.columns.len() || table.columns.iter().any(|&column| column >= columns)
            {
                return Err(Error::new(ErrorKind::Internal, "columns were requested twice or don't exist")
                    .at("table", &table.schema.name));
            }
        }
        let name = |(index, table): (usize, &StreamTable)| (table.schema.name.clone(), index);
        Ok(Self {
            by_name: request.tables.iter().enumerate().map(name).collect(),
            skipped: request.skipped.iter().cloned().collect(),
            request,
            charsets,
            mapped: HashMap::new(),
        })
    }

    pub(crate) fn request(&self) -> &StreamRequest {
        &self.request
    }

    pub(crate) fn table(&self, index: usize) -> Result<&StreamTable> {
        self.request
            .tables
            .get(index)
            .ok_or_else(|| Error::new(ErrorKind::Internal, "a table was decoded that nobody requested"))
    }

    /// What a table is to the task.
    pub(crate) fn role(&self, name: &TableName) -> Role {
        if let Some(&index) = self.by_name.get(name) {
            return Role::Wanted(index);
        }
        let passed_over = self.skipped.contains(name)
            || SYSTEM.contains(&name.namespace.as_str())
            || !self.request.selection.matches(name);
        if passed_over { Role::PassedOver } else { Role::Unforeseen }
    }

    /// Whether a statement that names the table concerns the task. Letters are compared in either
    /// case: a statement may spell a name otherwise than the server stores it.
    pub(crate) fn concerns(&self, name: &TableName) -> bool {
        let same = |other: &TableName| {
            other.namespace.eq_ignore_ascii_case(&name.namespace)
                && other.name.eq_ignore_ascii_case(&name.name)
        };
        match self.role(name) {
            Role::Wanted(_) | Role::Unforeseen => true,
            Role::PassedOver => {
                self.skipped.iter().any(same)
                    || self.request.tables.iter().any(|table| same(&table.schema.name))
            }
        }
    }

    /// Whether a table of the task is in the database. Letters are compared in either case.
    pub(crate) fn has_tables_in(&self, database: &str) -> bool {
        self.request.tables.iter().any(|table| table.schema.name.namespace.eq_ignore_ascii_case(database))
    }

    /// Whether the task has, or could have, tables in the database.
    pub(crate) fn concerns_database(&self, database: &str) -> bool {
        let selected = self.request.selection.database.as_deref();
        !SYSTEM.contains(&database)
            && (selected.is_none_or(|selected| selected.eq_ignore_ascii_case(database))
                || self.request.tables.iter().any(|table| table.schema.name.namespace == database))
    }

    /// Reads a table map event. The same event as before, byte for byte, costs next to nothing.
    pub(crate) fn map(&mut self, body: &[u8]) -> Result<()> {
        let number = table_map::table_number(body)?;
        if self.mapped.get(&number).is_some_and(|(known, _)| known == body) {
            return Ok(());
        }
        if self.mapped.len() >= MAX_MAPPED {
            self.mapped.clear();
        }
        let (database, table) = table_map::names(body)?;
        let name = TableName::new(String::from_utf8_lossy(database), String::from_utf8_lossy(table));
        let mapped = match self.role(&name) {
            Role::PassedOver => Mapped::PassedOver,
            Role::Unforeseen => Mapped::Unforeseen(name),
            Role::Wanted(index) => {
                let table = self.table(index)?;
                let map = TableMap::read(body).map_err(|error| Error::from(error).at("table", &name))?;
                let columns = plan(table, &map, &self.charsets).map_err(|error| error.at("table", &name))?;
                Mapped::Wanted { table: index, columns: columns.into() }
            }
        };
        self.mapped.insert(number, (body.to_vec(), Arc::new(mapped)));
        Ok(())
    }

    /// What a table number stands for.
    pub(crate) fn mapped(&self, number: u64) -> Option<Arc<Mapped>> {
        self.mapped.get(&number).map(|(_, mapped)| Arc::clone(mapped))
    }

    /// Forgets all table numbers: the server that gave them has restarted or changed files.
    pub(crate) fn forget(&mut self) {
        self.mapped.clear();
    }
}

/// How to decode the rows of a table, if its map agrees with the schema.
fn plan(table: &StreamTable, map: &TableMap, charsets: &Charsets) -> Result<Vec<ColumnPlan>> {
    let schema = &table.schema;
    if map.columns.len() != schema.columns.len() {
        return Err(changed(&format!(
            "the log has {} columns of it, the schema {}",
            map.columns.len(),
            schema.columns.len()
        )));
    }
    check_signs(schema, map)?;
    let mut plans = Vec::with_capacity(map.columns.len());
    for (ordinal, (wire, column)) in map.columns.iter().zip(&schema.columns).enumerate() {
        let slot = table.columns.iter().position(|&wanted| wanted == ordinal);
        let wanted = match slot {
            None => None,
            Some(slot) => {
                let decoder =
                    CellDecoder::new(column, *wire, charsets).map_err(|mismatch| match mismatch {
                        ColumnMismatch::Type => changed(&format!(
                            "the log has a value of type {} where the schema says {}",
                            wire.kind, column.native
                        ))
                        .at("column", &column.name),
                        ColumnMismatch::Unsupported(why) => {
                            Error::new(ErrorKind::Unrepresentable, "the changes of a column can't be decoded")
                                .at("column", &column.name)
                                .because(why)
                                .help("leave the table or the column out, or change the column's type")
                        }
                    })?;
                Some((slot, decoder))
            }
        };
        plans.push(ColumnPlan { extent: wire.extent, is_json: wire.kind == wire_type::JSON, wanted });
    }
    Ok(plans)
}

/// Compares the signs of the numeric columns, where the log tells them.
fn check_signs(schema: &TableSchema, map: &TableMap) -> Result<()> {
    let Some(signs) = &map.metadata.signedness else { return Ok(()) };
    let numeric = schema.columns.iter().zip(&map.columns).filter(|(_, wire)| wire.is_numeric());
    for (index, (column, _)) in numeric.enumerate() {
        // Highest bit first.
        let unsigned = bit(signs, index / 8 * 8 + 7 - index % 8);
        if let LogicalType::Integer { signed, .. } = column.logical
            && signed == unsigned
            && !column.native.to_ascii_lowercase().starts_with("year")
        {
            return Err(changed("a number is signed on one side only").at("column", &column.name));
        }
    }
    Ok(())
}

fn changed(why: &str) -> Error {
    Error::new(
        ErrorKind::Divergence,
        "the structure of a table at this position is not the one the task knows",
    )
    .because(why)
    .help("the table was altered while nobody followed it: start a new task, or leave the table out")
}
