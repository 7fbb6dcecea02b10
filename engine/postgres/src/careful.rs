//! Writing rows of tables whose bad rows are set aside: behind savepoints, so that a row that the
//! server refuses costs itself alone.

use bytes::Bytes;
use engine_core::batch::Batch;
use engine_core::target::Refusal;
use engine_core::{Error, ErrorKind, Result};
use futures_util::SinkExt;
use std::ops::Range;
use tokio_postgres::{Client, Statement};

use crate::applier::{self, Upsert};
use crate::array::{self, Encoded};
use crate::copy;
use crate::failure::{copy_place, is_about_values, translate};
use crate::layout::{self, TableLayout};

const BEGIN: &str = "SAVEPOINT careful";
const KEEP: &str = "RELEASE SAVEPOINT careful";
const UNDO: &str = "ROLLBACK TO SAVEPOINT careful; RELEASE SAVEPOINT careful";

/// Copies rows in the open transaction, all but those that the server names as refused.
pub(crate) async fn write(client: &Client, layout: &TableLayout, batch: &Batch) -> Result<Vec<Refusal>> {
    let positions = layout.all();
    layout.check_shape(batch, &positions)?;
    layout.check_columns(batch, &positions)?;
    let mut refusals = Vec::new();
    // What is still to be copied; the last one is next.
    let mut parts: Vec<Range<usize>> = std::iter::once(0..batch.rows).collect();
    while let Some(rows) = parts.pop() {
        if rows.is_empty() {
            continue;
        }
        step(client, BEGIN, layout).await?;
        match copy_rows(client, layout, batch, rows.clone()).await? {
            Ok(copied) if copied == rows.len() as u64 => step(client, KEEP, layout).await?,
            Ok(copied) => return Err(kept_others(layout, copied, rows.len())),
            Err(error) => {
                let refused = copy_place(&error)
                    .and_then(|place| usize::try_from(place.line).ok()?.checked_sub(1))
                    .map(|line| rows.start + line)
                    .filter(|row| rows.contains(row) && error.code().is_some_and(is_about_values));
                let Some(refused) = refused else {
                    return Err(translate(error, "rows can't be copied").at("table", &layout.table.name));
                };
                step(client, UNDO, layout).await?;
                refusals.push(layout::refusal(&layout.table, refused, &error));
                parts.push(refused + 1..rows.end);
                parts.push(rows.start..refused);
            }
        }
    }
    refusals.sort_unstable_by_key(|refusal| refusal.row);
    Ok(refusals)
}

/// Copies rows; how many the server kept, or why it refused them.
async fn copy_rows(
    client: &Client,
    layout: &TableLayout,
    batch: &Batch,
    rows: Range<usize>,
) -> Result<Result<u64, tokio_postgres::Error>> {
    let sink = match client.copy_in::<_, Bytes>(&copy::statement(layout)).await {
        Ok(sink) => sink,
        Err(error) => return Ok(Err(error)),
    };
    let mut sink = Box::pin(sink);
    let mut buffer = copy::HEADER.to_vec();
    let part = if rows == (0..batch.rows) {
        copy::encode_rows(layout, batch, 0, &mut buffer, usize::MAX)
    } else {
        let part = batch.take(&rows.collect::<Vec<_>>());
        copy::encode_rows(layout, &part, 0, &mut buffer, usize::MAX)
    };
    part?;
    buffer.extend_from_slice(copy::TRAILER);
    if let Err(error) = sink.send(Bytes::from(buffer)).await {
        return Ok(Err(error));
    }
    Ok(sink.as_mut().finish().await)
}

/// Upserts rows in the open transaction, all but those that the server refuses, whose keys are
/// deleted.
///
/// Rows that are only refused together, as two of one unique value are, are tried in their order: the
/// first is written.
pub(crate) async fn upsert(
    client: &Client,
    layout: &TableLayout,
    key: &[usize],
    (upsert, delete): (&Upsert, &Statement),
    batch: &Batch,
) -> Result<Vec<Refusal>> {
    let mut refusals = Vec::new();
    let mut parts: Vec<Range<usize>> = std::iter::once(0..batch.rows).collect();
    while let Some(rows) = parts.pop() {
        let arrays = array::columns(layout, batch, &layout.all(), rows.clone())?;
        step(client, BEGIN, layout).await?;
        match applier::execute(client, &upsert.statement, &arrays).await {
            Ok(written) if upsert.explains(written, rows.len()) => step(client, KEEP, layout).await?,
            Ok(written) => return Err(kept_others(layout, written, rows.len())),
            Err(error) if error.code().is_some_and(is_about_values) => {
                step(client, UNDO, layout).await?;
                if rows.len() > 1 {
                    let middle = rows.start + rows.len() / 2;
                    parts.push(middle..rows.end);
                    parts.push(rows.start..middle);
                } else {
                    refusals.push(layout::refusal(&layout.table, rows.start, &error));
                    let keys = delete_key(layout, key, batch, rows.start)?;
                    applier::execute(client, delete, &keys).await.map_err(|error| {
                        translate(error, "rows can't be deleted").at("table", &layout.table.name)
                    })?;
                }
            }
            Err(error) => {
                return Err(translate(error, "rows can't be written").at("table", &layout.table.name));
            }
        }
    }
    Ok(refusals)
}

fn delete_key(layout: &TableLayout, key: &[usize], batch: &Batch, row: usize) -> Result<Vec<Encoded>> {
    let columns = key.iter().filter_map(|&place| Some(batch.columns.get(place)?.take(&[row]))).collect();
    array::columns(layout, &Batch { rows: 1, columns }, key, 0..1)
}

async fn step(client: &Client, sql: &str, layout: &TableLayout) -> Result<()> {
    client
        .batch_execute(sql)
        .await
        .map_err(|error| translate(error, "rows can't be written").at("table", &layout.table.name))
}

fn kept_others(layout: &TableLayout, kept: u64, expected: usize) -> Error {
    Error::new(ErrorKind::Divergence, "the target kept a different number of rows than were written")
        .at("table", &layout.table.name)
        .because(format_args!("{kept} of {expected} rows: a trigger or a rule of the table changes them"))
        .help("drop the trigger or rule for the time of the migration")
}
