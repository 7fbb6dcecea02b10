//! Row events.

use engine_core::change::{Op, TableChanges};
use engine_core::{Error, ErrorKind, Result};

use super::super::bytes::Bytes;
use super::super::event::{Change, RowsKind};
use super::super::partial::decode_partial_update;
use super::super::payload::unpack_mariadb;
use super::super::rows::{RowError, RowsEvent, decode_row};
use super::super::tables::Mapped;
use super::super::wire::malformed;
use super::BinlogChanges;
use super::transaction::holds;

impl BinlogChanges {
    pub(super) fn rows(&mut self, body: &[u8], kind: RowsKind) -> Result<()> {
        let event = RowsEvent::read(body, kind)?;
        let Some(mapped) = self.tables.mapped(event.table_number) else {
            // The number that only ends a statement.
            if event.packed.is_empty() || event.table_number == 0x00ff_ffff {
                return Ok(());
            }
            return Err(malformed("a row event is of a table that no event described"));
        };
        match &*mapped {
            Mapped::PassedOver => return Ok(()),
            Mapped::Unforeseen(name) => {
                return Err(Error::new(ErrorKind::Divergence, "a table was created after the task began")
                    .at("table", name)
                    .because("the selection of the task takes it in, but its rows were never copied")
                    .help("exclude it with --exclude, or start a new task"));
            }
            Mapped::Wanted { .. } => {}
        }
        let transaction = self.transaction.as_ref().filter(|transaction| transaction.open);
        let transaction = transaction.ok_or_else(|| malformed("rows change outside of a transaction"))?;
        if transaction.distributed {
            return self.keep(mapped, kind, body);
        }
        self.take_rows(&mapped, &event, kind)
    }

    /// Takes the rows of an event into the set, as those of the transaction that the stream is in.
    pub(super) fn take_rows(&mut self, mapped: &Mapped, event: &RowsEvent<'_>, kind: RowsKind) -> Result<()> {
        let Mapped::Wanted { table: index, columns } = mapped else { return Ok(()) };
        let index = *index;
        let Some(transaction) = &mut self.transaction else {
            return Err(malformed("rows change outside of a transaction"));
        };
        let table = self.tables.table(index)?;
        let schema = &table.schema;
        let named = |error: Error| error.at("table", &schema.name);
        if let Some(since) = self.since.get(index).and_then(Option::as_ref)
            && holds(since, &self.reached, transaction)
        {
            return Ok(());
        }
        if event.columns != columns.len() {
            return Err(named(malformed("a row event has another number of columns than its table")));
        }
        if !event.full_images {
            return Err(named(without_columns(transaction.session)));
        }
        let place = self.reached.file.as_ref();
        let applied = match transaction.applied {
            Some(applied) => applied,
            None => {
                let name = transaction.id.name(place, transaction.start);
                let applied = self.tables.request().applied.contains(&name);
                if applied {
                    self.set.pass_over(name);
                }
                *transaction.applied.insert(applied)
            }
        };
        if applied {
            return Ok(());
        }
        transaction.has_rows = true;
        let in_set = match transaction.place {
            Some(in_set) => in_set,
            None => {
                let name = transaction.id.name(place, transaction.start);
                *transaction.place.insert(self.set.place_of(name))
            }
        };

        let unpacked;
        let packed = if kind.compressed {
            unpacked = unpack_mariadb(event.packed)?;
            &unpacked
        } else {
            event.packed
        };
        let changes = self.set.changes(index, || TableChanges::none(index, &table.schema, &table.columns));
        let mut input = Bytes::new(packed);
        let before = changes.ops.len();
        while !input.is_empty() {
            let decoded = match kind.change {
                Change::Insert => decode_row(columns, &mut input, &mut changes.after),
                Change::Delete => decode_row(columns, &mut input, &mut changes.before),
                Change::Update if kind.partial => {
                    decode_partial_update(columns, &mut input, &mut changes.before, &mut changes.after)
                }
                Change::Update => decode_row(columns, &mut input, &mut changes.before)
                    .and_then(|()| decode_row(columns, &mut input, &mut changes.after)),
            };
            decoded.map_err(|error| {
                named(match error {
                    RowError::Malformed(error) => error.into(),
                    RowError::Cell(ordinal, error) => {
                        let column = schema.columns.get(ordinal).map_or("?", |column| column.name.as_str());
                        Error::new(ErrorKind::Unrepresentable, "a changed value can't be read")
                            .at("column", column)
                            .because(error)
                    }
                })
            })?;
            changes.ops.push(match kind.change {
                Change::Insert => Op::Insert,
                Change::Update => Op::Update,
                Change::Delete => Op::Delete,
            });
        }
        changes.transactions.resize(changes.ops.len(), in_set);
        let added = changes.ops.len() - before;
        self.set.count(added, packed.len());
        Ok(())
    }
}

/// The error for a row of which the log has a part, and no more will ever be known.
fn without_columns(session: Option<u32>) -> Error {
    let error = Error::new(ErrorKind::Precondition, "a row was logged without all of its columns")
        .because("the session that changed it, or the server, has a binlog_row_image other than FULL")
        .help(
            "SET GLOBAL binlog_row_image = FULL, also in the server's configuration, and let sessions that are open \
             connect again. Then start a new task: what is missing in the log can't be had, and no table can be copied \
             again by itself",
        );
    match session {
        Some(session) => error.at("session", session),
        None => error,
    }
}
