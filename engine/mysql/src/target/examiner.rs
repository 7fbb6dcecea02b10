//! Reads a task's tables back, in snapshots.
//!
//! A snapshot is that of InnoDB: rows and the lanes' positions, which are committed together, are seen
//! together.

use async_trait::async_trait;
use engine_core::batch::Batch;
use engine_core::digest::{Digest, ValueForm, Weights};
use engine_core::examine::{CanonicalRows, Examiner, KeyRange, RowSink, Stand};
use engine_core::plan::TargetTable;
use engine_core::schema::TableName;
use engine_core::{Error, ErrorKind, Result};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Error as DriverFailure, ServerError};
use std::collections::HashMap;
use std::sync::Arc;

use super::connection::Connections;
use super::digest::FoundColumns;
use super::failure::translate;
use super::lanes;
use super::layout::TableLayout;
use super::row_form::CanonicalForm;
use super::session::Session;
use super::statement;
use crate::charset::{Charset, Charsets};
use crate::chunk;
use crate::digest::Written;

/// Bytes of canonical rows that are handed over together.
const HANDED_OVER: usize = 256 << 10;
/// The table's definition changed after the snapshot was taken.
const ALTERED: u16 = 1412;

/// A connection that reads in snapshots.
pub(super) struct MysqlExaminer {
    connections: Connections,
    charsets: Charsets,
    tables: HashMap<TableName, Arc<CanonicalForm>>,
    found: HashMap<TableName, Arc<FoundColumns>>,
    /// Taken out while something is read: what is left of an answer must not be taken for the next one.
    session: Option<Session>,
    in_snapshot: bool,
}

impl MysqlExaminer {
    /// An examiner over a connection of its own.
    pub(super) async fn open(connections: Connections, charsets: Charsets) -> Result<Self> {
        let session = connections.open_reading().await?;
        let (tables, found) = (HashMap::new(), HashMap::new());
        Ok(Self { connections, charsets, tables, found, session: Some(session), in_snapshot: false })
    }

    fn form(&mut self, table: &Arc<TargetTable>) -> Result<Arc<CanonicalForm>> {
        if let Some(form) = self.tables.get(&table.name)
            && (Arc::ptr_eq(&form.layout().table, table) || form.layout().table == *table)
        {
            return Ok(Arc::clone(form));
        }
        let form = Arc::new(CanonicalForm::new(TableLayout::new(table, self.connections.flavor())?));
        self.tables.insert(table.name.clone(), Arc::clone(&form));
        Ok(form)
    }

    /// A table's columns as the server has them; as it had them, when it was asked before.
    async fn found(&mut self, session: &mut Session, layout: &TableLayout) -> Result<Arc<FoundColumns>> {
        if let Some(found) = self.found.get(&layout.table.name) {
            return Ok(Arc::clone(found));
        }
        let found = Arc::new(FoundColumns::of(session, layout).await?);
        self.found.insert(layout.table.name.clone(), Arc::clone(&found));
        Ok(found)
    }

    /// The session of the open snapshot.
    fn take_session(&mut self) -> Result<Session> {
        self.session
            .take()
            .filter(|_| self.in_snapshot)
            .ok_or_else(|| Error::new(ErrorKind::Internal, "rows are read back without a snapshot"))
    }
}

#[async_trait]
impl Examiner for MysqlExaminer {
    async fn begin(&mut self, task: &str) -> Result<Stand> {
        self.end().await?;
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.connections.open_reading().await?,
        };
        session
            .run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
            .await
            .map_err(|error| translate(error, "a snapshot can't be taken"))?;
        let stand = lanes::stand(&mut session, task).await?;
        self.session = Some(session);
        self.in_snapshot = true;
        Ok(stand)
    }

    async fn read(
        &mut self,
        table: &Arc<TargetTable>,
        range: &KeyRange,
        sink: &mut dyn RowSink,
    ) -> Result<()> {
        let form = self.form(table)?;
        let mut session = self.take_session()?;
        let query = format!(
            "SELECT {} FROM {}",
            form.selected(),
            from_clause(form.layout(), &form.layout().name, range)?
        );
        read_rows(&self.charsets, &mut session, &form, query.into_bytes(), sink).await?;
        self.session = Some(session);
        Ok(())
    }

    fn reads_keys(&self) -> bool {
        true
    }

    async fn read_keys(
        &mut self,
        table: &Arc<TargetTable>,
        keys: &Batch,
        sink: &mut dyn RowSink,
    ) -> Result<()> {
        let form = self.form(table)?;
        let mut session = self.take_session()?;
        for condition in statement::exact_keys(form.layout(), keys)? {
            let mut query =
                format!("SELECT {} FROM {} WHERE ", form.selected(), form.layout().name).into_bytes();
            query.extend_from_slice(&condition);
            read_rows(&self.charsets, &mut session, &form, query, sink).await?;
        }
        self.session = Some(session);
        Ok(())
    }

    async fn value_forms(&mut self, table: &Arc<TargetTable>) -> Result<Vec<Option<ValueForm>>> {
        let form = self.form(table)?;
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.connections.open_reading().await?,
        };
        let found = self.found(&mut session, form.layout()).await?;
        self.session = Some(session);
        Ok(found.forms(form.layout()))
    }

    async fn digest(
        &mut self,
        table: &Arc<TargetTable>,
        range: &KeyRange,
        weights: &Weights,
    ) -> Result<Digest> {
        let form = self.form(table)?;
        let layout = form.layout();
        let mut session = self.take_session()?;
        let found = self.found(&mut session, layout).await?;
        let forms: Option<Vec<ValueForm>> = found.forms(layout).into_iter().collect();
        let Some(forms) = forms else {
            // Somebody has altered the table since it was asked for them: the rows will show how.
            self.session = Some(session);
            return Ok(Digest { rows: 0, sum: None });
        };
        let columns: Vec<Written<'_>> = layout
            .columns
            .iter()
            .zip(&forms)
            .zip(found.charsets())
            .map(|((column, form), charset)| Written { name: &column.name, form, charset })
            .collect();
        let query = crate::digest::query(&columns, &from_clause(layout, &layout.name, range)?, weights);
        let row = session.connection().query_first(query).await;
        let digest = crate::digest::taken(row.map_err(|error| not_read(error).at("table", &table.name))?)?;
        self.session = Some(session);
        Ok(digest)
    }

    async fn end(&mut self) -> Result<()> {
        if std::mem::take(&mut self.in_snapshot)
            && let Some(mut session) = self.session.take()
        {
            session.run("COMMIT").await.map_err(|error| translate(error, "a snapshot can't be ended"))?;
            self.session = Some(session);
        }
        Ok(())
    }
}

/// Hands over the rows of a query that selects what the form [asks for](CanonicalForm::selected).
pub(super) async fn read_rows(
    known: &Charsets,
    session: &mut Session,
    form: &CanonicalForm,
    query: Vec<u8>,
    sink: &mut dyn RowSink,
) -> Result<()> {
    let table = &form.layout().table.name;
    let failed = |error| not_read(error).at("table", table);
    let conn = session.connection();
    // Prepared, so that values arrive typed.
    let prepared = conn.prep(query).await.map_err(failed)?;
    let mut charsets: Vec<Option<Charset>> = Vec::new();
    for column in prepared.columns().iter() {
        let collation = column.character_set();
        if let Some(name) = known.name_of_collation(collation)
            && name != "binary"
        {
            known.require(conn, [name]).await?;
        }
        charsets.push(known.by_collation(collation));
    }
    let mut answer = conn.exec_iter(&prepared, ()).await.map_err(failed)?;
    let mut rows = CanonicalRows::default();
    while let Some(row) = answer.next().await.map_err(failed)? {
        form.take_row(&row, &charsets, &mut rows).ok_or_else(|| {
            Error::new(ErrorKind::Divergence, "a column of the target has another type than was planned")
                .at("table", table)
                .help("see whether somebody changed the table's structure, and copy the table again")
        })?;
        if rows.size() >= HANDED_OVER {
            sink.push(&rows).await?;
            rows.clear();
        }
    }
    drop(answer);
    sink.push(&rows).await?;
    session.connection().close(prepared).await.map_err(failed)
}

/// A table that was altered since the snapshot was taken is read in a new one.
fn not_read(error: DriverFailure) -> Error {
    match error {
        DriverFailure::Server(ServerError { code: ALTERED, message, .. }) => {
            Error::new(ErrorKind::Transient, "rows can't be read back").because(message)
        }
        error => translate(error, "rows can't be read back"),
    }
}

/// `table WHERE …` for the rows of a range, of a table with the layout's columns.
pub(super) fn from_clause(layout: &TableLayout, table: &str, range: &KeyRange) -> Result<String> {
    let KeyRange::Between { columns, after, to } = range else { return Ok(table.to_owned()) };
    let no_bound = || {
        Error::new(ErrorKind::Internal, "a bound of a range has no form in the target's SQL")
            .at("table", &layout.table.name)
    };
    let place = |ordinal: &usize| layout.columns.iter().position(|column| column.ordinal == *ordinal);
    let key: Vec<usize> = columns.iter().map(place).collect::<Option<_>>().ok_or_else(no_bound)?;
    let names: Vec<String> =
        key.iter().filter_map(|&place| Some(layout.columns.get(place)?.name.clone())).collect();
    let mut conditions = Vec::new();
    for (bound, strictly, last) in [(after, ">", ">"), (to, "<", "<=")] {
        let Some(bound) = bound else { continue };
        let values = key.iter().enumerate();
        let values = values.map(|(index, &place)| statement::readable(layout, bound, (index, place), 0));
        let values: Vec<String> = values.collect::<Option<_>>().ok_or_else(no_bound)?;
        conditions.push(chunk::condition(&names, &values, strictly, last));
    }
    if conditions.is_empty() {
        return Ok(table.to_owned());
    }
    Ok(format!("{table} WHERE {}", conditions.join(" AND ")))
}
