//! Inserting rows in an open transaction, and finding the one that the server refuses.

use engine_core::batch::Batch;
use engine_core::target::Refusal;
use engine_core::{Error, ErrorKind, Result};
use std::ops::Range;

use super::failure::{Failure, translate};
use super::layout::TableLayout;
use super::session::Session;
use super::statement::{self, Statement};

const BEGIN: &str = "SAVEPOINT careful";
const UNDO: &str = "ROLLBACK TO SAVEPOINT careful";

/// Runs a statement that inserts rows; how many it inserted.
pub(super) async fn execute(session: &mut Session, statement: &Statement) -> Result<u64, Failure> {
    match statement.no_labels {
        0 => session.execute(&statement.sql).await,
        no_labels => session.execute_leniently(&statement.sql, no_labels).await,
    }
}

/// Inserts the rows of a statement, all of them. After an error the transaction can only be given up.
pub(super) async fn insert(
    session: &mut Session,
    layout: &TableLayout,
    batch: &Batch,
    statement: &Statement,
) -> Result<()> {
    match execute(session, statement).await {
        Ok(inserted) if inserted == statement.rows.len() as u64 => Ok(()),
        Ok(inserted) => Err(kept_others(layout, inserted, statement.rows.len())),
        Err(failure) => Err(refused(session, layout, batch, statement, failure).await),
    }
}

/// The error of a statement that failed, with the row that is at fault where that can be found.
pub(super) async fn refused(
    session: &mut Session,
    layout: &TableLayout,
    batch: &Batch,
    statement: &Statement,
    failure: Failure,
) -> Error {
    let row = if failure.is_about_values() {
        find(session, layout, batch, statement, &failure).await
    } else {
        None
    };
    let column = failure.column().map(str::to_owned);
    let error = if failure.is_duplicate() {
        place_taken(&failure)
    } else {
        let what =
            if failure.is_about_values() { "the target refused a row" } else { "rows can't be written" };
        failure.explain(what)
    };
    let mut error = error.at("table", &layout.table.name);
    if let Some(row) = row {
        error = error.at("key", layout.key_text(batch, &layout.all(), row)).of_row(row);
    }
    match column {
        Some(column) => error.at("column", column),
        None => error,
    }
}

/// The row that the server refuses: the one that it names, else the one found by halves, in the
/// transaction that is given up all the same. `None` when rows are refused only together.
async fn find(
    session: &mut Session,
    layout: &TableLayout,
    batch: &Batch,
    statement: &Statement,
    failure: &Failure,
) -> Option<usize> {
    if let Some(row) = failure.row().map(|row| statement.rows.start + row)
        && statement.rows.contains(&row)
    {
        return Some(row);
    }
    session.run(BEGIN).await.ok()?;
    let mut rows = statement.rows.clone();
    while rows.len() > 1 {
        let middle = rows.start + rows.len() / 2;
        let mut refused = None;
        for half in [rows.start..middle, middle..rows.end] {
            let accepted = is_accepted(session, layout, batch, half.clone()).await?;
            session.run(UNDO).await.ok()?;
            if !accepted {
                refused = Some(half);
                break;
            }
        }
        rows = refused?;
    }
    Some(rows.start)
}

async fn is_accepted(
    session: &mut Session,
    layout: &TableLayout,
    batch: &Batch,
    rows: Range<usize>,
) -> Option<bool> {
    for part in statement::insert(layout, batch, rows).ok()? {
        match execute(session, &part).await {
            Ok(_) => {}
            Err(failure) if failure.is_about_values() => return Some(false),
            Err(_) => return None,
        }
    }
    Some(true)
}

/// Inserts rows, all but those that the server refuses.
///
/// Rows that are only refused together, as two of one unique value are, are tried in their order: the
/// first is written.
pub(super) async fn insert_or_refuse(
    session: &mut Session,
    layout: &TableLayout,
    batch: &Batch,
) -> Result<Vec<Refusal>> {
    let mut refusals = Vec::new();
    let mut parts: Vec<Range<usize>> = std::iter::once(0..batch.rows).collect();
    while let Some(rows) = parts.pop() {
        if rows.is_empty() {
            continue;
        }
        match insert_part(session, layout, batch, rows.clone()).await? {
            Ok(()) => {}
            Err(failure) => {
                if rows.len() == 1 {
                    refusals.push(layout.refusal(rows.start, &failure));
                } else {
                    let middle = rows.start + rows.len() / 2;
                    parts.push(middle..rows.end);
                    parts.push(rows.start..middle);
                }
            }
        }
    }
    refusals.sort_unstable_by_key(|refusal| refusal.row);
    Ok(refusals)
}

/// Inserts rows, all or none; `Err` says why the server refuses them.
async fn insert_part(
    session: &mut Session,
    layout: &TableLayout,
    batch: &Batch,
    rows: Range<usize>,
) -> Result<Result<(), Failure>> {
    let step = |error| translate(error, "rows can't be written").at("table", &layout.table.name);
    session.run(BEGIN).await.map_err(step)?;
    for part in statement::insert(layout, batch, rows)? {
        match execute(session, &part).await {
            Ok(inserted) if inserted == part.rows.len() as u64 => {}
            Ok(inserted) => return Err(kept_others(layout, inserted, part.rows.len())),
            Err(failure) if failure.is_about_values() => {
                session.run(UNDO).await.map_err(step)?;
                return Ok(Err(failure));
            }
            Err(failure) => {
                return Err(failure.explain("rows can't be written").at("table", &layout.table.name));
            }
        }
    }
    Ok(Ok(()))
}

/// The error of a row whose key or other unique value a row of the target has.
fn place_taken(failure: &Failure) -> Error {
    Error::new(ErrorKind::Divergence, "the target has a row in the place of one that the source wrote")
        .because(failure)
        .help(
            "somebody else writes to the table, or the rows are not unique under the target's rules: \
         compare the table with the source's, and the collations of the key",
        )
}

pub(super) fn kept_others(layout: &TableLayout, kept: u64, expected: usize) -> Error {
    Error::new(ErrorKind::Divergence, "the target kept a different number of rows than were written")
        .at("table", &layout.table.name)
        .because(format_args!("{kept} of {expected} rows: a trigger of the table changes them"))
        .help("drop the trigger for the time of the migration")
}
