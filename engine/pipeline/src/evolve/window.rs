//! Statements that may be older than what the task read: what it knows of the table, or rows it
//! copied, may show the change already.

use engine_core::error::{Error, ErrorKind, Result};
use engine_core::position::Position;
use engine_core::schema::{ColumnSchema, TableSchema};
use engine_core::source::Source;
use engine_core::structure::{ColumnOrigin, RecordedTable, TableEvolution};
use engine_core::target::TaskRecord;

/// Refuses a change that the structure on record or a chunk of the table may show already, unless
/// that makes no difference to rows.
pub(super) fn check(
    source: &dyn Source,
    evolution: &mut TableEvolution,
    recorded: &[RecordedTable],
    record: &TaskRecord,
    position: &Position,
) -> Result<()> {
    let Some(before) = &evolution.before else { return Ok(()) };
    let Some(known) = recorded.iter().find(|table| table.schema.name == *before) else { return Ok(()) };
    let late = |error: Error| error.at("table", before);
    let keeps_structure = keeps_structure(&known.schema, evolution);
    if keeps_structure && !evolution.emptied {
        return Ok(());
    }
    if let Some(as_of) = &known.as_of
        && !keeps_structure
        && source.covers(as_of, position)?
    {
        return Err(late(refusal("the task had just begun and was reading the source's structure")));
    }
    for chunk in record.chunks.iter().filter(|chunk| chunk.table == *before) {
        if source.covers(&chunk.watermarks.high, position)? {
            return Err(late(refusal("its rows were being copied at the time")));
        }
    }
    Ok(())
}

fn refusal(why: &str) -> Error {
    Error::new(ErrorKind::Precondition, "a table changed while the task was taking it in")
        .because(format!("{why}, so what was read may be from before or after the change"))
        .help(
            "drop the task's tables and begin a new task under another --name; keep the structure of the source \
             as it is until the copy is complete",
        )
}

/// Whether how rows are read is the same before and after.
fn keeps_structure(before: &TableSchema, evolution: &TableEvolution) -> bool {
    let Some(after) = &evolution.after else { return false };
    let same = |(place, (origin, column)): (usize, (&ColumnOrigin, &ColumnSchema))| {
        let old = match origin {
            ColumnOrigin::Kept(ordinal) if *ordinal == place => before.columns.get(*ordinal),
            _ => None,
        };
        old.is_some_and(|old| {
            let alike = ColumnSchema {
                default: old.default.clone(),
                comment: old.comment.clone(),
                on_update_now: old.on_update_now,
                ..column.clone()
            };
            alike == *old
        })
    };
    before.name == after.name
        && before.columns.len() == after.columns.len()
        && before.row_key() == after.row_key()
        && evolution.columns.iter().zip(&after.columns).enumerate().all(same)
}
