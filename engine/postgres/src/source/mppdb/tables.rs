//! The tables of a stream by their names, and their rows as `pgoutput` would send them.

use bytes::BufMut;
use engine_core::schema::{ColumnSchema, TableName, TableSchema};
use engine_core::selection::Selection;
use engine_core::source::StreamRequest;
use engine_core::{Error, ErrorKind, Result};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::heartbeat;
use super::require::Facts;
use crate::opengauss::decoding::{Change, Column, ColumnType, Op, Truncate, Value};
use crate::source::catalog;
use crate::source::stream::unforeseen;

/// The tables that are followed. Their numbers are this module's own.
pub(in crate::source) struct Tables {
    /// By schema and name.
    by_name: HashMap<String, HashMap<String, Table>>,
    /// Which others belong to the task all the same.
    selection: Selection,
    skipped: HashSet<TableName>,
    facts: Facts,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) number: u32,
    pub(super) schema: Arc<TableSchema>,
    /// Type of each column by its number and name.
    types: Vec<(u32, String)>,
}

impl Tables {
    /// Those of a request, which goes by the facts.
    pub(in crate::source) fn new(request: &StreamRequest, facts: Facts) -> Result<Self> {
        let mut tables: HashMap<String, HashMap<String, Table>> = HashMap::new();
        for (number, table) in (1..).zip(&request.tables) {
            let schema = Arc::clone(&table.schema);
            let types = schema.columns.iter().map(|column| {
                let number = catalog::type_number(column).ok_or_else(|| unknown_type(&schema, column))?;
                let name = facts.type_names.get(&number).ok_or_else(|| unknown_type(&schema, column))?;
                Ok((number, name.clone()))
            });
            let types = types.collect::<Result<_>>()?;
            let TableName { namespace, name } = schema.name.clone();
            tables.entry(namespace).or_default().insert(name, Table { number, schema, types });
        }
        let skipped = request.skipped.iter().cloned().collect();
        Ok(Self { by_name: tables, selection: request.selection.clone(), skipped, facts })
    }

    /// The tables of a request as the server takes a list of them; none, which is all, where it can't be said.
    pub(in crate::source) fn list(request: &StreamRequest) -> Vec<String> {
        /// A command is no longer than this.
        const LONGEST: usize = 16 << 10;
        let plain = |name: &str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let names = request.tables.iter().map(|table| &table.schema.name);
        let is_plain = names.clone().all(|name| plain(&name.namespace) && plain(&name.name));
        let list: Vec<String> = names.map(ToString::to_string).chain([heartbeat::TABLE.to_owned()]).collect();
        let length: usize = list.iter().map(|name| name.len() + 1).sum();
        if is_plain && length <= LONGEST { list } else { Vec::new() }
    }

    /// The table, if it is followed. One that belongs to the task, and was not there when it began, is an error.
    pub(super) fn get(&self, schema: &str, table: &str) -> Result<Option<&Table>> {
        if let Some(known) = self.by_name.get(schema).and_then(|tables| tables.get(table)) {
            return Ok(Some(known));
        }
        if self.facts.schemas.contains(schema) {
            return Ok(None);
        }
        let name = TableName::new(schema, table);
        let is_passed_over = self.skipped.contains(&name)
            || self.facts.relations.contains(&name)
            || !self.selection.matches(&name);
        if is_passed_over { Ok(None) } else { Err(unforeseen(&name)) }
    }

    /// Messages that describe them.
    pub(super) fn descriptions(&self) -> impl Iterator<Item = Vec<u8>> {
        self.by_name.values().flat_map(HashMap::values).map(Table::description)
    }

    /// What follows the type of a message that says which tables were emptied; `None` if none of these was.
    pub(super) fn truncate(&self, truncate: &Truncate<'_>) -> Result<Option<Vec<u8>>> {
        let mut numbers = Vec::new();
        for (schema, table) in &truncate.tables {
            numbers.extend(self.get(schema, table)?.map(|table| table.number));
        }
        if numbers.is_empty() {
            return Ok(None);
        }
        let mut message = Vec::with_capacity(5 + 4 * numbers.len());
        message.put_u32(numbers.len() as u32);
        message.put_u8(u8::from(truncate.cascade) | u8::from(truncate.restart_sequences) << 1);
        for number in numbers {
            message.put_u32(number);
        }
        Ok(Some(message))
    }
}

impl Table {
    /// As it is on record: what is sent otherwise is an error.
    fn description(&self) -> Vec<u8> {
        let mut message = vec![b'R'];
        message.put_u32(self.number);
        text(&mut message, &self.schema.name.namespace);
        text(&mut message, &self.schema.name.name);
        message.put_u8(b'f');
        message.put_u16(self.schema.columns.len() as u16);
        for (column, (number, _)) in self.schema.columns.iter().zip(&self.types) {
            message.put_u8(1);
            text(&mut message, &column.name);
            message.put_u32(*number);
            message.put_i32(-1);
        }
        message
    }

    /// The type of the message for a change, and what follows it.
    pub(super) fn message(&self, change: &Change<'_>) -> Result<(u8, Vec<u8>)> {
        let mut message = Vec::with_capacity(256);
        message.put_u32(self.number);
        let old = change.old.as_deref().map(|old| self.arrange(old)).transpose()?;
        let kind = match change.op {
            Op::Insert => b'I',
            Op::Update => {
                self.put_old(&mut message, old.as_deref());
                b'U'
            }
            Op::Delete => {
                self.put_old(&mut message, old.as_deref());
                return Ok((b'D', message));
            }
        };
        let new = change.new.as_deref().ok_or_else(|| self.error("it does not say what the row is"))?;
        let new = self.arrange(new)?;
        message.put_u8(b'N');
        message.put_u16(new.len() as u16);
        for (place, cell) in new.iter().enumerate() {
            match cell {
                Some(cell) => put(&mut message, &cell.value),
                // A big value that did not change, of which the old row says what it is.
                None if old.as_ref().is_some_and(|old| old.get(place).is_some_and(Option::is_some)) => {
                    put(&mut message, &Value::Unchanged);
                }
                None => return Err(self.lacks(place)),
            }
        }
        Ok((kind, message))
    }

    /// The row before the change: all of it, else the key alone, which is not enough to follow it.
    fn put_old(&self, message: &mut Vec<u8>, old: Option<&[Option<&Column<'_>>]>) {
        let whole: Option<Vec<&Column<'_>>> = old.and_then(|old| old.iter().copied().collect());
        message.put_u8(if whole.is_some() { b'O' } else { b'K' });
        message.put_u16(self.schema.columns.len() as u16);
        match whole {
            Some(whole) => whole.iter().for_each(|column| put(message, &column.value)),
            None => self.schema.columns.iter().for_each(|_| put(message, &Value::Null)),
        }
    }

    /// The values of a row in the order of the table's columns.
    fn arrange<'r, 'a>(&self, row: &'r [Column<'a>]) -> Result<Vec<Option<&'r Column<'a>>>> {
        let mut arranged = vec![None; self.schema.columns.len()];
        for (place, sent) in row.iter().enumerate() {
            let is_it = |column: &ColumnSchema| column.name == sent.name;
            let columns = &self.schema.columns;
            let place = match columns.get(place) {
                Some(column) if is_it(column) => Some(place),
                _ => columns.iter().position(is_it),
            };
            let cell = place.and_then(|place| arranged.get_mut(place)).ok_or_else(|| {
                self.altered().at("column", &sent.name).because("the column is not on record")
            })?;
            if cell.replace(sent).is_some() {
                return Err(self.error("a row has a column twice"));
            }
            let (number, name) = place
                .and_then(|place| self.types.get(place))
                .ok_or_else(|| self.error("a column has no type"))?;
            let is_type = match &sent.column_type {
                ColumnType::Oid(sent) => sent == number,
                ColumnType::Name(sent) => is_same(sent, name),
            };
            if !is_type {
                return Err(self
                    .altered()
                    .at("column", &sent.name)
                    .because(format!("its type on record is {name}")));
            }
        }
        Ok(arranged)
    }

    fn lacks(&self, place: usize) -> Error {
        let column = self.schema.columns.get(place).map_or("", |column| column.name.as_str());
        self.altered().at("column", column).because("a row does not have the column")
    }

    fn altered(&self) -> Error {
        Error::new(ErrorKind::Divergence, "a table has another structure than the one on record")
            .at("table", &self.schema.name)
            .help(
                "mppdb_decoding says nothing of changes of structure: begin a new task with another --name, best with \
                 decoding=pgoutput, which has them carried over",
            )
    }

    fn error(&self, why: &'static str) -> Error {
        Error::new(ErrorKind::Divergence, "a change can't be read")
            .at("table", &self.schema.name)
            .because(why)
    }
}

/// Whether two names are of one type. A name has its schema or not, by what the server searches; a `clob` is written as
/// the text that it is stored as.
fn is_same(sent: &str, known: &str) -> bool {
    let ends = |long: &str, short: &str| long.strip_suffix(short).is_some_and(|rest| rest.ends_with('.'));
    sent == known || ends(sent, known) || ends(known, sent) || (sent, known) == ("text", "clob")
}

fn put(message: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Null => message.put_u8(b'n'),
        Value::Unchanged => message.put_u8(b'u'),
        Value::Text(text) => {
            message.put_u8(b't');
            message.put_u32(text.len() as u32);
            message.put_slice(text.as_bytes());
        }
    }
}

fn text(message: &mut Vec<u8>, text: &str) {
    message.put_slice(text.as_bytes());
    message.put_u8(0);
}

fn unknown_type(table: &TableSchema, column: &ColumnSchema) -> Error {
    Error::new(ErrorKind::Divergence, "the type of a column is not the one on record any more")
        .at("table", &table.name)
        .at("column", &column.name)
        .help("begin a new task with another --name")
}
