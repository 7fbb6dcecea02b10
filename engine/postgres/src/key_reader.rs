//! Reads single rows back, told by their keys.

use engine_core::batch::Batch;
use engine_core::examine::{CanonicalRows, RowSink};
use engine_core::plan::TargetTable;
use engine_core::{Error, ErrorKind, Result};
use futures_util::TryStreamExt as _;
use std::collections::HashMap;
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, Row, Statement};

use crate::array;
use crate::failure::translate;
use crate::row_form::CanonicalForm;
use crate::{apply_sql, layout::TableLayout};

/// For a transaction: rows are found through the index of the row key, whatever statistics a freshly loaded table
/// has or lacks.
const BY_INDEX: &str = "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; \
    SET LOCAL enable_mergejoin = off";

/// Rows that are handed over together.
const HANDED_OVER: usize = 1024;

/// The statements that read rows by key, by table.
#[derive(Default)]
pub(crate) struct KeyReader {
    statements: HashMap<String, (Statement, Vec<usize>)>,
}

impl KeyReader {
    /// Reads the rows of the transaction open on `client` that have one of `keys`.
    pub(crate) async fn read(
        &mut self,
        client: &Client,
        form: &CanonicalForm,
        keys: &Batch,
        sink: &mut dyn RowSink,
    ) -> Result<()> {
        if keys.rows == 0 {
            return Ok(());
        }
        let layout = form.layout();
        let table = &layout.table;
        let failed =
            |error| translate(error, "rows can't be read back by their keys").at("table", &table.name);
        let (statement, key) = self.statement(client, layout).await?;
        let arrays = array::columns(layout, keys, &key, 0..keys.rows)?;
        client.batch_execute(BY_INDEX).await.map_err(failed)?;
        let parameters = arrays.iter().map(|array| array as &dyn ToSql);
        let stream = client.query_raw(&statement, parameters).await.map_err(failed)?;
        let mut stream = std::pin::pin!(stream);
        let (mut rows, mut bytes) = (CanonicalRows::default(), Vec::new());
        while let Some(row) = stream.try_next().await.map_err(failed)? {
            wire_form(&row, &mut bytes).ok_or_else(|| malformed(table))?;
            form.take_row(&bytes, &mut rows).ok_or_else(|| malformed(table))?;
            if rows.len() >= HANDED_OVER {
                sink.push(&rows).await?;
                rows.clear();
            }
        }
        sink.push(&rows).await
    }

    async fn statement(&mut self, client: &Client, layout: &TableLayout) -> Result<(Statement, Vec<usize>)> {
        let key = layout.key.clone().ok_or_else(|| {
            Error::new(ErrorKind::Internal, "rows of a table without a key can't be read by it")
                .at("table", &layout.table.name)
        })?;
        let sql = apply_sql::select_keys(layout, &key);
        if let Some(known) = self.statements.get(&sql) {
            return Ok(known.clone());
        }
        let statement = client.prepare(&sql).await.map_err(|error| {
            translate(error, "rows can't be read back by their keys").at("table", &layout.table.name)
        })?;
        self.statements.insert(sql, (statement.clone(), key.clone()));
        Ok((statement, key))
    }
}

fn malformed(table: &TargetTable) -> Error {
    Error::new(ErrorKind::Internal, "the target's rows are not in the form that they were asked for in")
        .at("table", &table.name)
}

/// The row as the server sent it: after the number of fields, each with its length.
pub(crate) fn wire_form(row: &Row, out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    out.extend_from_slice(&u16::try_from(row.len()).ok()?.to_be_bytes());
    for place in 0..row.len() {
        match row.try_get::<_, Option<Raw<'_>>>(place).ok()? {
            Some(Raw(value)) => {
                out.extend_from_slice(&u32::try_from(value.len()).ok()?.to_be_bytes());
                out.extend_from_slice(value);
            }
            None => out.extend_from_slice(&u32::MAX.to_be_bytes()),
        }
    }
    Some(())
}

/// A value as the server sent it, of any type.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(
        _: &Type,
        raw: &'a [u8],
    ) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
