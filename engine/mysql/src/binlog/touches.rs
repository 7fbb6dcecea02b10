//! Whether a stretch of the log touches a table.

use engine_core::Result;
use engine_core::schema::TableName;
use std::collections::HashMap;

use super::event::{self, EventKind, Query};
use super::payload::Payload;
use super::position::{FilePosition, LogPosition};
use super::rows::RowsEvent;
use super::statement::{Statement, classify};
use super::table_map;
use super::wire::{RawEvent, Wire, malformed};

/// Reads from `low` on, up to `high` or the end of the log, and stops at the first row event of
/// `table`, or the first statement that names it.
pub(crate) async fn scan(
    mut wire: Wire,
    low: LogPosition,
    high: &LogPosition,
    table: &TableName,
) -> Result<bool> {
    let mut scan = Scan { table, reached: low, tables: HashMap::new() };
    while let Some(event) = wire.next().await? {
        if scan.touched_by(&event)? {
            return Ok(true);
        }
        if EventKind::of(event.header.kind) == Some(EventKind::TransactionPayload) {
            let mut payload = Payload::open(event.body())?;
            while let Some((header, body)) = payload.next()? {
                wire.expect_repeated(header);
                if scan.touched_by(&RawEvent::inner(header, body))? {
                    return Ok(true);
                }
            }
        }
        if scan.reached.covers(high)? {
            return Ok(false);
        }
    }
    Ok(false)
}

struct Scan<'t> {
    table: &'t TableName,
    reached: LogPosition,
    /// Whether a table number is the table's.
    tables: HashMap<u64, bool>,
}

impl Scan<'_> {
    fn touched_by(&mut self, event: &RawEvent) -> Result<bool> {
        let body = event.body();
        let kind = EventKind::of(event.header.kind)
            .ok_or_else(|| malformed(&format!("its type {} is unknown", event.header.kind)))?;
        match kind {
            EventKind::Rotate => {
                let (file, offset) = event::rotate(body)?;
                self.reached.file = Some(FilePosition { file, offset });
                return Ok(false);
            }
            EventKind::TableMap => {
                let (database, name) = table_map::names(body)?;
                let same = database == self.table.namespace.as_bytes() && name == self.table.name.as_bytes();
                self.tables.insert(table_map::table_number(body)?, same);
            }
            EventKind::Rows(kind) => {
                let number = RowsEvent::read(body, kind)?.table_number;
                return Ok(self.tables.get(&number).copied().unwrap_or(false));
            }
            EventKind::Query { compressed: false } => {
                let query = Query::read(body, false)?;
                let database = String::from_utf8_lossy(query.database);
                let named = match classify(&String::from_utf8_lossy(query.statement), &database) {
                    // What it brings was logged long before.
                    Statement::XaDecision { commit: true } => return Ok(true),
                    Statement::Structure(tables)
                    | Statement::Rows(tables)
                    | Statement::CreateWithRows(tables) => tables,
                    _ => Vec::new(),
                };
                return Ok(named.contains(self.table));
            }
            _ => {}
        }
        self.advance(event);
        Ok(false)
    }

    fn advance(&mut self, event: &RawEvent) {
        if event.is_placed()
            && let Some(place) = &mut self.reached.file
        {
            place.advance(event.header.next);
        }
    }
}
