//! Reading chunks of tables over one connection.

mod cell;
mod keyed;
mod rows;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use engine_core::batch::Batch;
use engine_core::digest::{Digest, DigestRequest, ValueForm, Weights};
use engine_core::logical::LogicalType;
use engine_core::position::{Position, Watermarks};
use engine_core::source::{BatchSink, ChunkRange, KeyedRequest, ReadRequest, Reader};
use engine_core::{Error, ErrorKind, Result};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use self::rows::RowReader;
use crate::charset::Charsets;
use crate::connect::Connector;
use crate::digest::Written;
use crate::error::server_error;
use crate::server::{GtidMode, Server};
use crate::{binlog, chunk, digest};
use crate::{sql, watermark};

/// How often a quiet moment is sought for a table without a row key.
const EXACT_ATTEMPTS: u32 = 50;
/// Pause after the first attempt; the n-th is n times as long.
const EXACT_PAUSE: Duration = Duration::from_millis(20);

/// Reads chunks with the binary protocol, whose floating-point values are exact where the text
/// protocol's are rounded.
pub(crate) struct ChunkReader {
    connector: Connector,
    server: Server,
    charsets: Charsets,
    /// `None` after a failure: what is left of an answer must not be taken for the next one.
    conn: Option<Conn>,
}

impl ChunkReader {
    pub(crate) async fn open(connector: Connector, server: Server, charsets: Charsets) -> Result<Self> {
        let conn = connector.open().await?;
        Ok(Self { connector, server, charsets, conn: Some(conn) })
    }

    async fn chunk(
        &self,
        conn: &mut Conn,
        request: &ReadRequest,
        answer: &mut Answer<'_>,
    ) -> Result<Watermarks> {
        match (self.server.log_bin, self.server.gtid_mode) {
            (false, _) => {
                self.answer(conn, request, answer).await?;
                Ok(Watermarks { low: unknown(), high: unknown() })
            }
            (true, GtidMode::MariaDb) => self.in_snapshot(conn, request, answer).await,
            (true, _) if request.exact => self.between_changes(conn, request, answer).await,
            (true, _) => self.between_watermarks(conn, request, answer).await,
        }
    }

    /// MariaDB: a consistent snapshot that knows its position. The GTIDs before it are needed for
    /// an exact read alone: the stream leaves out by them what the read had. For an upper bound, which a
    /// stream of another server is held against, those at the end of the log will do.
    async fn in_snapshot(
        &self,
        conn: &mut Conn,
        request: &ReadRequest,
        answer: &mut Answer<'_>,
    ) -> Result<Watermarks> {
        let failed = |error| server_error("a consistent snapshot can't be taken", error);
        conn.query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").await.map_err(failed)?;
        let low = known(watermark::snapshot(conn, &self.server, request.exact).await)?;
        let high = if request.exact || low == unknown() {
            low.clone()
        } else {
            watermark::with_logged(conn, &low).await?
        };
        self.answer(conn, request, answer).await?;
        conn.query_drop("COMMIT").await.map_err(failed)?;
        Ok(Watermarks { low, high })
    }

    /// MySQL: a consistent snapshot taken at a moment when no change of the table was on its way
    /// from the log to visibility, which the log itself proves.
    async fn between_changes(
        &self,
        conn: &mut Conn,
        request: &ReadRequest,
        answer: &mut Answer<'_>,
    ) -> Result<Watermarks> {
        let table = &request.table.name;
        let failed = |error| server_error("a consistent snapshot can't be taken", error);
        for attempt in 0..EXACT_ATTEMPTS {
            let low = watermark::low(conn, &self.server).await?;
            conn.query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT").await.map_err(failed)?;
            let high = watermark::high(conn, &self.server).await?;
            if binlog::touches(&self.connector, &self.server, table, &low, &high).await? {
                conn.query_drop("ROLLBACK").await.map_err(failed)?;
                let pause = EXACT_PAUSE * (attempt + 1);
                tracing::debug!(%table, attempt, ?pause, "the table changed around the snapshot");
                tokio::time::sleep(pause).await;
                continue;
            }
            self.answer(conn, request, answer).await?;
            conn.query_drop("COMMIT").await.map_err(failed)?;
            return Ok(Watermarks { low, high });
        }
        Err(Error::new(ErrorKind::Precondition, "no quiet moment was found for a table that is read in one piece")
            .at("table", table)
            .because(format!("it was being changed at each of {EXACT_ATTEMPTS} moments tried"))
            .help("pause its writers until its copy has begun; of a table without a row key, a primary key does it too"))
    }

    /// MySQL: one statement, with what was visible before it and what was logged after it.
    async fn between_watermarks(
        &self,
        conn: &mut Conn,
        request: &ReadRequest,
        answer: &mut Answer<'_>,
    ) -> Result<Watermarks> {
        let low = known(watermark::low(conn, &self.server).await)?;
        self.answer(conn, request, answer).await?;
        let high = known(watermark::high(conn, &self.server).await)?;
        Ok(Watermarks { low, high })
    }

    async fn answer(&self, conn: &mut Conn, request: &ReadRequest, answer: &mut Answer<'_>) -> Result<()> {
        let from = chunk::from_clause(&request.table, &request.range)?;
        match answer {
            Answer::Rows(sink) => self.select(conn, request, &from, *sink).await.map(drop),
            Answer::Digest { weights, digest } => {
                let table = &request.table;
                let forms: Option<Vec<(String, ValueForm, Option<&str>)>> = request
                    .columns
                    .iter()
                    .map(|&ordinal| {
                        let column = table.columns.get(ordinal)?;
                        let form = digest::form_of_source(column, self.server.flavor)?;
                        let charset = match &column.logical {
                            LogicalType::Text { charset, .. } => charset.as_deref(),
                            _ => None,
                        };
                        Some((sql::identifier(&column.name), form, charset))
                    })
                    .collect();
                let forms = forms.ok_or_else(|| {
                    Error::new(ErrorKind::Internal, "rows are to be summed up that can't be")
                        .at("table", &table.name)
                })?;
                let columns: Vec<Written<'_>> = forms
                    .iter()
                    .map(|(name, form, charset)| Written { name, form, charset: *charset })
                    .collect();
                let row =
                    conn.query_first(digest::query(&columns, &from, weights)).await.map_err(|error| {
                        server_error("rows can't be summed up", error).at("table", &table.name)
                    })?;
                **digest = Some(digest::taken(row)?);
                Ok(())
            }
        }
    }

    /// The rows of `from`, a clause with a condition of its own.
    async fn select(
        &self,
        conn: &mut Conn,
        request: &ReadRequest,
        from: &str,
        sink: &mut dyn BatchSink,
    ) -> Result<u64> {
        let table = &request.table;
        let mut names = Vec::with_capacity(request.columns.len());
        for &ordinal in request.columns.iter() {
            let column = table.columns.get(ordinal).ok_or_else(|| {
                Error::new(ErrorKind::Internal, "a column was asked for that the table does not have")
                    .at("table", &table.name)
            })?;
            names.push(sql::identifier(&column.name));
        }
        // Rows are counted even when no column of theirs is wanted.
        let names = if names.is_empty() { "1".to_owned() } else { names.join(", ") };
        let failed = |error| server_error("the rows can't be read", error).at("table", &table.name);
        let statement = conn.prep(format!("SELECT {names} FROM {from}")).await.map_err(failed)?;
        let mut reader = RowReader::prepare(conn, &self.charsets, request, &statement.columns()).await?;
        let rows = reader.run(conn, &statement, sink).await?;
        conn.close(statement).await.map_err(failed)?;
        Ok(rows)
    }
}

/// What is wanted of the rows of a chunk.
enum Answer<'a> {
    Rows(&'a mut dyn BatchSink),
    Digest { weights: &'a Weights, digest: &'a mut Option<Digest> },
}

#[async_trait]
impl Reader for ChunkReader {
    async fn read(&mut self, request: &ReadRequest, sink: &mut dyn BatchSink) -> Result<Watermarks> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.connector.open().await?,
        };
        let watermarks = self.chunk(&mut conn, request, &mut Answer::Rows(sink)).await?;
        self.conn = Some(conn);
        Ok(watermarks)
    }

    async fn digest(&mut self, request: &DigestRequest) -> Result<(Digest, Watermarks)> {
        let read = ReadRequest {
            table: Arc::clone(&request.table),
            columns: request.columns.clone().into(),
            range: request.range.clone(),
            batch_bytes: usize::MAX,
            batch_rows: usize::MAX,
            exact: request.exact,
        };
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.connector.open().await?,
        };
        let mut digest = None;
        let mut answer = Answer::Digest { weights: &request.weights, digest: &mut digest };
        let watermarks = self.chunk(&mut conn, &read, &mut answer).await?;
        self.conn = Some(conn);
        let digest = digest.ok_or_else(|| Error::new(ErrorKind::Internal, "nothing was summed up"))?;
        Ok((digest, watermarks))
    }

    async fn read_by_key(&mut self, request: &KeyedRequest) -> Result<Batch> {
        let from = keyed::from_clause(request)?;
        let all = ReadRequest {
            table: Arc::clone(&request.table),
            columns: Arc::clone(&request.columns),
            range: ChunkRange { after: None, to: None },
            batch_bytes: usize::MAX,
            batch_rows: usize::MAX,
            exact: false,
        };
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.connector.open().await?,
        };
        let mut found = keyed::Found::default();
        self.select(&mut conn, &all, &from, &mut found).await?;
        self.conn = Some(conn);
        found.one_or_none(request)
    }
}

/// The position of a read that nobody can follow from: no binlog, or not allowed to see it. Such
/// a task was checked to be an offline one; comparing this position is an error.
fn unknown() -> Position {
    Position(String::new())
}

fn known(position: Result<Position>) -> Result<Position> {
    match position {
        Err(error) if error.kind() == ErrorKind::Precondition => {
            tracing::debug!(%error, "the read has no position");
            Ok(unknown())
        }
        other => other,
    }
}
