//! Tables that become one: tables of one task with the same name in the target, each with rows of its own.
//!
//! No two of them may have a row under the same key, and none tells whose a row of the target is. So each is
//! read in one exact piece, whose changes are never applied again, and every insert must find no row.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

use engine_core::batch::Batch;
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::plan::{TargetColumn, TargetIndex, TargetTable};
use engine_core::schema::{IndexKind, TableName};
use engine_core::source::{KeyedRequest, Source};

use crate::compose::Composed;
use crate::route::Route;

/// How long it may take to find out whose row is in the way.
const PATIENCE: Duration = Duration::from_secs(10);

/// Refuses tables that get one name in the target, unless all of these are to be merged.
pub(crate) fn require_distinct(tables: &[Composed]) -> Result<()> {
    let mut taken: HashMap<&TableName, &Composed> = HashMap::with_capacity(tables.len());
    for table in tables {
        let Some(other) = taken.insert(&table.target.name, table) else { continue };
        if table.target.is_shared() && other.target.is_shared() {
            continue;
        }
        return Err(Error::new(ErrorKind::Plugin, "two tables get the same name in the target")
            .at("table", &table.schema.name)
            .at("and", &other.schema.name)
            .because(format!("both become {}", table.target.name))
            .help(
                "rename one of them in the plugin's configuration, or leave one out with --exclude; a MySQL or \
                 MariaDB target can have the rows of both (merge of mysql2mysql)",
            ));
    }
    Ok(())
}

/// Refuses merged tables that the plan does not give one structure.
pub(crate) fn require_alike(tables: &[Composed]) -> Result<()> {
    let mut first: HashMap<&TableName, &Composed> = HashMap::new();
    for table in tables.iter().filter(|table| table.target.is_shared()) {
        let Some(other) = first.get(&table.target.name) else {
            first.insert(&table.target.name, table);
            continue;
        };
        if let Some((what, difference)) = differs(&table.target, &other.target) {
            let mut error = Error::new(ErrorKind::Precondition, "tables that become one are not alike")
                .at("table", &table.schema.name)
                .at("and", &other.schema.name);
            if let Some(column) = what {
                error = error.at("column", column);
            }
            return Err(error.because(difference).help(
                "give them the same structure on the source, or map types and names alike in the plugin's \
                 configuration",
            ));
        }
    }
    Ok(())
}

/// The tables that become one with another, to be asked whose row is in the way.
pub(crate) struct Company {
    source: Arc<dyn Source>,
    others: Vec<Arc<Composed>>,
}

impl fmt::Debug for Company {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Company").field("tables", &self.others.len()).finish_non_exhaustive()
    }
}

impl Company {
    /// Those of the table of `route`; `None` when it becomes one alone.
    pub(crate) fn of(source: &Arc<dyn Source>, routes: &[Arc<Route>], route: &Route) -> Option<Arc<Self>> {
        let own = route.composed();
        if !own.target.is_shared() {
            return None;
        }
        let is_other = |other: &&Arc<Composed>| {
            other.target.name == own.target.name && other.schema.name != own.schema.name
        };
        let others: Vec<_> = routes.iter().map(|route| route.composed()).filter(is_other).cloned().collect();
        let source = Arc::clone(source);
        (!others.is_empty()).then(|| Arc::new(Self { source, others }))
    }

    /// Adds to the error of a changed row, one of `rows`, that met another one in the target which other table has
    /// that. What mends the rows on the source comes later in the log than the change, which has to be applied first.
    pub(crate) async fn explain(&self, table: &TargetTable, rows: &Batch, error: Error) -> Error {
        let is_met = error.row().is_some() && error.kind() == ErrorKind::Divergence;
        let (error, _) = self.meet(table, rows, error).await;
        if !is_met {
            return error;
        }
        error.help(
            "two tables of the task have had rows under the same key, and no row is ever overwritten: see which of \
             them may keep its own, give the other row another key on the source, and begin a new task with another \
             --name and an empty target",
        )
    }

    /// As [`explain`](Self::explain), and whether none of the others has it any more.
    pub(crate) async fn meet(&self, table: &TargetTable, rows: &Batch, error: Error) -> (Error, bool) {
        let error = error.at("source table", &table.source);
        let Some(row) = error.row().filter(|&row| row < rows.rows) else { return (error, false) };
        if error.kind() != ErrorKind::Divergence {
            return (error, false);
        }
        match timeout(PATIENCE, self.find(table, &rows.take(&[row]))).await {
            Ok(Ok(Some(other))) => (error.at("also in", other), false),
            Ok(Ok(None)) => (error, true),
            Ok(Err(_)) | Err(_) => (error, false),
        }
    }

    /// The table that has a row under a unique key of this one, as the source is now.
    async fn find(&self, table: &TargetTable, row: &Batch) -> Result<Option<TableName>> {
        let mut reader = self.source.open_reader().await?;
        for (other, request) in self.requests(table, row) {
            if reader.read_by_key(&request).await?.rows > 0 {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    /// What each of the others is to be asked for.
    fn requests(&self, table: &TargetTable, row: &Batch) -> Vec<(TableName, KeyedRequest)> {
        let unique = |index: &&TargetIndex| matches!(index.kind, IndexKind::Primary | IndexKind::Unique);
        let of_indexes = table.indexes.iter().filter(unique).map(|index| {
            let whole = index.parts.iter().map(|part| part.prefix.is_none().then_some(part.column));
            whole.collect::<Option<Vec<usize>>>()
        });
        let mut requests = Vec::new();
        for key in std::iter::once(table.row_key.clone()).chain(of_indexes).flatten() {
            for other in &self.others {
                let request = request(table, &key, row, other);
                requests.extend(request.map(|request| (other.schema.name.clone(), request)));
            }
        }
        requests
    }
}

/// Asks another table for the row under a key of this one, where the values are the source's own.
fn request(table: &TargetTable, key: &[usize], row: &Batch, other: &Composed) -> Option<KeyedRequest> {
    let (mut ordinals, mut values) = (Vec::with_capacity(key.len()), Vec::with_capacity(key.len()));
    for &ordinal in key {
        let column = table.columns.get(ordinal)?;
        let place = table.written_columns().position(|written| written == ordinal)?;
        let counterpart = other.target.columns.iter().find(|counterpart| counterpart.name == column.name)?;
        let ordinal = other.schema.columns.iter().position(|known| known.name == counterpart.source_name)?;
        if other.schema.columns.get(ordinal)?.logical != column.logical {
            return None;
        }
        ordinals.push(ordinal);
        values.push(row.columns.get(place)?.clone());
    }
    let columns: Arc<[usize]> = ordinals.into();
    let values = Batch { rows: 1, columns: values };
    Some(KeyedRequest {
        table: Arc::new(other.schema.clone()),
        columns: Arc::clone(&columns),
        key: columns,
        values,
    })
}

/// The first difference that matters: its column, if it is one, and what differs in words.
pub(crate) fn differs<'t>(one: &'t TargetTable, other: &'t TargetTable) -> Option<(Option<&'t str>, String)> {
    let named = |table: &'t TargetTable, name: &str| table.columns.iter().find(|column| column.name == name);
    for column in &one.columns {
        let Some(counterpart) = named(other, &column.name) else {
            return Some((Some(&column.name), format!("{} has no such column", other.source)));
        };
        if !is_alike(column, counterpart) {
            let difference = format!("it is {}, and {} of {}", text(column), text(counterpart), other.source);
            return Some((Some(&column.name), difference));
        }
    }
    if let Some(column) = other.columns.iter().find(|column| named(one, &column.name).is_none()) {
        return Some((Some(&column.name), format!("only {} has such a column", other.source)));
    }
    let order = |(one, other): &(&TargetColumn, &TargetColumn)| one.name != other.name;
    if let Some((column, _)) = one.columns.iter().zip(&other.columns).find(order) {
        return Some((Some(&column.name), format!("{} has its columns in another order", other.source)));
    }
    if one.row_key != other.row_key {
        return Some((None, "their rows are told apart by different keys".to_owned()));
    }
    let has = |table: &TargetTable, index: &TargetIndex| table.indexes.contains(index);
    if let Some(index) = one.indexes.iter().find(|index| !has(other, index)) {
        return Some((None, format!("{} has no index {} like it", other.source, index.name)));
    }
    if let Some(index) = other.indexes.iter().find(|index| !has(one, index)) {
        return Some((None, format!("only {} has the index {}", other.source, index.name)));
    }
    if one.with_rows != other.with_rows {
        return Some((None, "only one of them is to have its rows copied".to_owned()));
    }
    (one.comment != other.comment).then(|| (None, "their comments differ".to_owned()))
}

/// Whether two columns are the same but for where they come from.
pub(crate) fn is_alike(one: &TargetColumn, other: &TargetColumn) -> bool {
    let own = TargetColumn { source_name: one.source_name.clone(), ..other.clone() };
    own == *one
}

/// A column in words.
fn text(column: &TargetColumn) -> String {
    let mut text = column.target_type.clone();
    text.push_str(if column.nullable { " NULL" } else { " NOT NULL" });
    if let Some(default) = &column.default {
        text.push_str(" DEFAULT ");
        text.push_str(default);
    }
    if let Some(expression) = &column.generated {
        text.push_str(" AS ");
        text.push_str(expression);
    }
    if !column.comment.is_empty() {
        text.push_str(" with another comment");
    }
    text
}

/// For each table the number of the first that becomes the same one, where that is so.
pub(crate) fn firsts<'t>(targets: impl Iterator<Item = &'t TargetTable>) -> Vec<usize> {
    let mut known: HashMap<&TableName, usize> = HashMap::new();
    targets.enumerate().map(|(place, table)| *known.entry(&table.name).or_insert(place)).collect()
}
