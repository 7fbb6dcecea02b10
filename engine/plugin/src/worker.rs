//! One thread's instances, and how it does a job.

use engine_core::batch::Batch;
use engine_core::bitmap::Bitmap;
use engine_core::column::Column;
use engine_core::logical::LogicalType;
use engine_core::{Error, ErrorKind, Result};
use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use crate::bindings::contract::transform::{BatchOutput, Origin as WitOrigin};
use crate::bindings::contract::types::PluginError;
use crate::bindings::rows;
use crate::convert::{self, column};
use crate::failure::Failure;
use crate::instance::Instance;
use crate::isolate::{Attempt, GivenUp, Isolated, isolate};
use crate::opened::{OpenTable, Tables};
use crate::plugin::Plugin;
use crate::row_calls::Head;
use crate::settings::Settings;
use crate::workers::{Filtered, Job, Origin, Reply, RowError, Transformed};

/// A part of a batch that failed before is first tried with this fraction of the time.
const QUICK: u32 = 8;

pub(crate) struct Worker {
    chain: Arc<Vec<(Plugin, Settings)>>,
    tables: Arc<Tables>,
    /// One per plugin, made when first needed and after each failure.
    seats: Vec<Option<Seat>>,
}

/// A configured instance and the tables it has open.
struct Seat {
    instance: Instance,
    open: HashSet<u32>,
}

/// Output columns and the row errors that the plugin reported, by row of the part.
type PartOutput = (Vec<Column>, Vec<RowError>);

impl Worker {
    pub(crate) fn new(chain: Arc<Vec<(Plugin, Settings)>>, tables: Arc<Tables>) -> Self {
        let seats = chain.iter().map(|_| None).collect();
        Self { chain, tables, seats }
    }

    /// Does `job`. Nobody may be waiting any more, which is no error.
    pub(crate) fn run(&mut self, job: Job) {
        let Job { table, origin, input, reply } = job;
        match reply {
            Reply::Filter(reply) => {
                let _ = reply.send(self.filter(table, origin, input));
            }
            Reply::Transform(reply) => {
                let _ = reply.send(self.transform(table, origin, input));
            }
        }
    }

    fn filter(&mut self, table: usize, origin: Origin, input: Batch) -> Result<Filtered> {
        let table = self.table(table)?;
        check_input(&table, &table.filter_reads, &input)?;
        if input.rows == 0 {
            return Ok(Filtered { keep: Bitmap::new(), errors: Vec::new(), input });
        }
        let isolated = self.isolated(&table, origin, &input, |instance, head, columns| {
            Ok(instance.filter(head, columns)?.map(|bytes| {
                let length = bytes.len();
                (length == head.rows.div_ceil(8))
                    .then(|| Bitmap::from_bytes(bytes, head.rows))
                    .flatten()
                    .ok_or_else(|| format!("filter: it has {length} bytes of bits for {} rows", head.rows))
            }))
        })?;
        let errors = isolated.failed.into_iter().map(|(row, failure)| failed_row(row, &failure)).collect();
        let mut parts = isolated.parts;
        let keep = match parts.pop() {
            Some((part, keep)) if part.len() == input.rows => keep,
            last => {
                let mut all = Bitmap::filled(input.rows, false);
                for (part, keep) in parts.into_iter().chain(last) {
                    part.zip(keep.iter()).for_each(|(row, kept)| all.set(row, kept));
                }
                all
            }
        };
        Ok(Filtered { keep, errors, input })
    }

    fn transform(&mut self, table: usize, origin: Origin, input: Batch) -> Result<Transformed> {
        let table = self.table(table)?;
        check_input(&table, &table.transform_reads, &input)?;
        if input.rows == 0 {
            let columns = table.writes.iter().map(|(_, logical)| logical.layout().empty_column()).collect();
            return Ok(Transformed { output: Batch { rows: 0, columns }, errors: Vec::new(), input });
        }
        let isolated = self.isolated(&table, origin, &input, |instance, head, columns| {
            Ok(instance.transform(head, columns)?.map(|output| part_output(output, &table, head.rows)))
        })?;
        let (columns, errors) = joined(isolated, &table, input.rows);
        Ok(Transformed { output: Batch { rows: input.rows, columns }, errors, input })
    }

    fn table(&self, id: usize) -> Result<Arc<OpenTable>> {
        self.tables.get(id).filter(|table| table.stage < self.chain.len()).ok_or_else(|| {
            Error::new(ErrorKind::Internal, format!("table {id} is not registered with the plugins"))
        })
    }

    /// Calls a row function over `input`, isolating rows at which it fails.
    fn isolated<T>(
        &mut self,
        table: &OpenTable,
        origin: Origin,
        input: &Batch,
        mut call: impl FnMut(
            &mut Instance,
            Head,
            &[rows::Column<'_>],
        ) -> Result<Result<Result<T, String>, PluginError>, Failure>,
    ) -> Result<Isolated<T>> {
        let Some((plugin, settings)) = self.chain.get(table.stage) else {
            return Err(Error::new(ErrorKind::Internal, "the chain has no such plugin"));
        };
        let Some(seat) = self.seats.get_mut(table.stage) else {
            return Err(Error::new(ErrorKind::Internal, "the chain has no such plugin"));
        };
        let limits = plugin.limits();
        let origin = match origin {
            Origin::Snapshot => WitOrigin::Snapshot,
            Origin::ChangeStream => WitOrigin::ChangeStream,
        };
        let result = isolate(input.rows, limits, |part, attempt| {
            let columns = slice(input, &part);
            let lowered: Vec<_> = columns.iter().map(|column| column::lower(column)).collect();
            let base = match attempt {
                Attempt::Full => limits.batch,
                Attempt::Quick => limits.batch / QUICK,
            };
            let budget = base + limits.per_row.saturating_mul(part.len() as u32);
            let head = Head { table: table.id, rows: part.len(), origin, budget };
            let mut taken = ready(seat.take(), plugin, settings, table)?;
            let failure = match call(&mut taken.instance, head, &lowered) {
                Ok(Ok(Ok(answer))) => {
                    *seat = Some(taken);
                    return Ok(Ok(answer));
                }
                Ok(Ok(Err(why))) => Failure::malformed(why),
                Ok(Err(refusal)) => {
                    *seat = Some(taken);
                    let what = "the plugin can't process a batch";
                    return Err(convert::plugin_error(refusal, plugin.name(), settings, what));
                }
                Err(failure) => failure,
            };
            tracing::debug!(
                plugin = plugin.name(), table = %table.name, rows = part.len(), kind = failure.kind.code(),
                "a call failed, its batch is searched for the row"
            );
            Ok(Err(failure))
        });
        result.map_err(|given_up| {
            let error = match given_up {
                GivenUp::Error(error) => error,
                GivenUp::Plugin { failure, rows } => failure.into_error(plugin.name()).at(
                    "rows",
                    format_args!("{rows} of {} failed one by one before the plugin was given up", input.rows),
                ),
            };
            error.at("plugin", plugin.name()).at("table", &table.name)
        })
    }
}

/// The seat's instance with `table` open, or a new one.
fn ready(seat: Option<Seat>, plugin: &Plugin, settings: &Settings, table: &OpenTable) -> Result<Seat> {
    let mut seat = match seat {
        Some(seat) => seat,
        None => Seat { instance: Instance::configured(plugin, settings)?, open: HashSet::new() },
    };
    if !seat.open.contains(&table.id) {
        seat.instance
            .plan(|exported, store| {
                exported.lifecycle.call_open_table(store, table.id, &table.schema, &table.plan)
            })?
            .map_err(|refusal| {
                convert::plugin_error(
                    refusal,
                    plugin.name(),
                    settings,
                    "the plugin can't start with the table",
                )
            })?;
        seat.open.insert(table.id);
    }
    Ok(seat)
}

/// A batch that isn't what the plan says is the caller's mistake, not the plugin's.
fn check_input(table: &OpenTable, expected: &[LogicalType], input: &Batch) -> Result<()> {
    let fits = input.columns.len() == expected.len()
        && input.columns.iter().zip(expected).all(|(column, logical)| {
            logical.layout().fits(&column.values) && column.is_well_formed(input.rows)
        });
    if fits {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Internal, "a batch for a plugin doesn't have the planned columns")
        .at("table", &table.name))
}

fn slice<'a>(input: &'a Batch, part: &Range<usize>) -> Cow<'a, [Column]> {
    if part.len() == input.rows {
        return Cow::Borrowed(&input.columns);
    }
    let rows: Vec<usize> = part.clone().collect();
    Cow::Owned(input.columns.iter().map(|column| column.take(&rows)).collect())
}

fn part_output(output: BatchOutput, table: &OpenTable, rows: usize) -> Result<PartOutput, String> {
    if output.columns.len() != table.writes.len() {
        return Err(format!(
            "it has {} columns where {} were planned",
            output.columns.len(),
            table.writes.len()
        ));
    }
    let columns = output
        .columns
        .into_iter()
        .zip(&table.writes)
        .map(|(column, (name, logical))| {
            column::lift(column, logical, rows).map_err(|why| format!("column {name}: {why}"))
        })
        .collect::<Result<_, String>>()?;
    let errors = output
        .errors
        .into_iter()
        .map(|error| {
            let column = error.column.map(|column| column as usize);
            if error.row as usize >= rows || column.is_some_and(|column| column >= table.schema.columns.len())
            {
                return Err("a row error names a row or column that isn't there".to_owned());
            }
            Ok(RowError { row: error.row as usize, column, code: error.code, message: error.message })
        })
        .collect::<Result<_, String>>()?;
    Ok((columns, errors))
}

/// Puts the parts together; a row without an answer gets an empty slot.
fn joined(isolated: Isolated<PartOutput>, table: &OpenTable, rows: usize) -> PartOutput {
    let mut errors: Vec<RowError> =
        isolated.failed.iter().map(|(row, failure)| failed_row(*row, failure)).collect();
    let mut parts = isolated.parts;
    if let [(part, _)] = parts.as_slice()
        && part.len() == rows
        && let Some((_, whole)) = parts.pop()
    {
        return whole;
    }
    let mut columns: Vec<Column> =
        table.writes.iter().map(|(_, logical)| logical.layout().empty_column()).collect();
    let pad = |columns: &mut Vec<Column>, to: usize| {
        for column in columns {
            (column.len()..to).for_each(|_| column.push_null());
        }
    };
    for (part, (part_columns, part_errors)) in parts {
        pad(&mut columns, part.start);
        for (whole, piece) in columns.iter_mut().zip(&part_columns) {
            (0..part.len()).for_each(|row| whole.push_from(piece, row));
        }
        errors.extend(part_errors.into_iter().map(|error| RowError { row: error.row + part.start, ..error }));
    }
    pad(&mut columns, rows);
    errors.sort_by_key(|error| error.row);
    (columns, errors)
}

fn failed_row(row: usize, failure: &Failure) -> RowError {
    RowError { row, column: None, code: failure.kind.code().to_owned(), message: failure.to_string() }
}
