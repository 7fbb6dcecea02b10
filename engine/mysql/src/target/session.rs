//! Connections that write: what their sessions set, and running statements so that nothing the
//! server did to a value goes unnoticed.

use bytes::Bytes;
use engine_core::Result;
use futures_util::{StreamExt as _, stream};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error as DriverFailure, Row};

use super::failure::{Failure, Warning, translate};
use crate::connect::Connector;
use crate::server::{Flavor, GtidMode, Server};

/// The session of every connection that writes.
///
/// - Times are UTC, as batches have them.
/// - `sql_mode` is strict, and takes the dates that MySQL itself can hold: which of them may be there
///   is the plan's decision. A zero in a numbering column is a zero.
/// - Notes are on: MySQL tells of some truncations by a note alone.
/// - Foreign keys don't act, since the source has carried their actions through already. Unique
///   indexes are checked always.
/// - Locks are waited for long: the holder is another lane, or an engine that is being replaced.
///
/// Versioned comments are read by the servers that know the variable, see [`crate::connect`].
const SESSION: &str = "SET SESSION time_zone = '+00:00', \
    sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION', \
    sql_notes = 1, foreign_key_checks = 0, unique_checks = 1, innodb_lock_wait_timeout = 600, \
    net_write_timeout = 3600, net_read_timeout = 3600, wait_timeout = 86400, sql_auto_is_null = 0, \
    sql_safe_updates = 0, sql_select_limit = DEFAULT \
    /*!80000 , max_execution_time = 0, range_optimizer_max_mem_size = 0, information_schema_stats_expiry = 0 */\
    /*M!100804 , explicit_defaults_for_timestamp = 1 */\
    /*M!100100 , max_statement_time = 0, in_predicate_conversion_threshold = 0 */";

/// As the session is but for strictness, with room for every warning.
const LENIENT: &str = "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION', \
    max_error_count = 65535";
/// As the session is.
const STRICT: &str = "SET SESSION \
    sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION', \
    max_error_count = DEFAULT";
/// What a server says of an ENUM that is given the place of no label.
const NO_LABEL: u16 = 1265;

/// Size of a piece of lines on its way to the server, in bytes.
const PIECE: usize = 256 << 10;

/// Opens a connection that writes.
pub(super) async fn open(connector: &Connector, server: &Server) -> Result<Session> {
    let statements = ["SET NAMES utf8mb4", SESSION, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"];
    let mut conn = connector.open_writer(&statements).await?;
    if server.flavor == Flavor::MySql
        && server.version_number >= (8, 3, 0)
        && server.gtid_mode == GtidMode::MySql
    {
        // Tells the engine's own transactions from everybody else's, for a way back. An account that
        // may not do so goes on without.
        match conn.query_drop("SET SESSION gtid_next = 'AUTOMATIC:mig'").await {
            Ok(()) | Err(DriverFailure::Server(_)) => {}
            Err(error) => return Err(translate(error, "the session can't be set up")),
        }
    }
    Ok(Session { conn, found: 0 })
}

/// Opens a connection that only reads: text comes in the character set of its column, and a transaction
/// sees one state of everything.
pub(super) async fn open_reading(connector: &Connector) -> Result<Session> {
    Ok(Session { conn: connector.open_unselected().await?, found: 0 })
}

/// A connection that writes.
pub(super) struct Session {
    conn: Conn,
    /// Rows that the last statement found, warned of or not.
    found: u64,
}

impl Session {
    /// The connection itself, for what is read as a stream.
    pub(super) fn connection(&mut self) -> &mut Conn {
        &mut self.conn
    }

    /// Runs one statement that returns no rows; how many rows it found. Whatever the server warns of
    /// makes it a failure, since the statement was carried out with other values than it was given.
    pub(super) async fn execute(&mut self, sql: impl AsRef<[u8]>) -> Result<u64, Failure> {
        let result = self.conn.query_iter(sql.as_ref()).await?;
        let (found, warnings) = (result.affected_rows(), result.warnings());
        result.drop_result().await?;
        self.found = found;
        if warnings == 0 { Ok(found) } else { Err(Failure::Warned(self.warnings().await?)) }
    }

    /// Runs statements joined by semicolons, in one round trip; how many rows each found. After a
    /// failure, that of the statement at the place that comes with it, those before it have been carried out.
    pub(super) async fn execute_each(
        &mut self,
        sql: &[u8],
        statements: usize,
    ) -> Result<Vec<u64>, (usize, Failure)> {
        let mut found = Vec::with_capacity(statements);
        let mut result = self.conn.query_iter(sql).await.map_err(|error| (0, error.into()))?;
        for statement in 0..statements {
            let (rows, warnings) = (result.affected_rows(), result.warnings());
            // Goes on to the answer of the next statement, or says why there is none.
            if let Err(error) = result.next().await {
                return Err((statement, error.into()));
            }
            if warnings > 0 {
                let why = if statement + 1 == statements {
                    drop(result);
                    self.warnings().await.map_err(|failure| (statement, failure))?
                } else {
                    while !result.is_empty() {
                        result.next().await.map_err(|error| (statement, error.into()))?;
                    }
                    Vec::new()
                };
                return Err((statement, Failure::Warned(why)));
            }
            found.push(rows);
        }
        Ok(found)
    }

    /// As [`execute`](Self::execute), of a statement that has so many values without a label, which the
    /// server takes under protest only.
    pub(super) async fn execute_leniently(&mut self, sql: &[u8], no_labels: usize) -> Result<u64, Failure> {
        self.conn.query_drop(LENIENT).await?;
        let outcome = self.execute(sql).await;
        self.conn.query_drop(STRICT).await?;
        match outcome {
            Err(Failure::Warned(warnings))
                if warnings.len() == no_labels && warnings.iter().all(|warning| warning.code == NO_LABEL) =>
            {
                // Each row of such a statement is one that was written.
                Ok(self.found)
            }
            Ok(_) => Err(Failure::Warned(Vec::new())),
            outcome => outcome,
        }
    }

    /// The connection, for reading the catalog as a source's is read: of this session nothing may be
    /// written afterwards.
    pub(super) async fn reading(&mut self) -> Result<&mut Conn> {
        self.conn
            .query_drop("SET SESSION character_set_results = NULL, sql_mode = 'ALLOW_INVALID_DATES'")
            .await
            .map_err(|error| translate(error, "the session can't be set up"))?;
        Ok(&mut self.conn)
    }

    async fn warnings(&mut self) -> Result<Vec<Warning>, Failure> {
        let rows: Vec<(String, u16, String)> = self.conn.query("SHOW WARNINGS").await?;
        Ok(rows.into_iter().map(|(_, code, message)| Warning { code, message }).collect())
    }

    /// Whether the server reads lines from the connection.
    pub(super) async fn takes_lines(&mut self) -> Result<bool, DriverFailure> {
        let setting: Option<bool> = self.conn.query_first("SELECT @@GLOBAL.local_infile").await?;
        Ok(setting == Some(true))
    }

    /// Runs a statement that reads lines from the connection; how many it took, and how often the server
    /// warned.
    pub(super) async fn load(&mut self, sql: &str, lines: Vec<u8>) -> Result<(u64, u16), DriverFailure> {
        let lines = Bytes::from(lines);
        let pieces = (0..lines.len()).step_by(PIECE);
        let pieces: Vec<std::io::Result<Bytes>> =
            pieces.map(|from| Ok(lines.slice(from..lines.len().min(from + PIECE)))).collect();
        self.conn.set_infile_handler(async move { Ok(stream::iter(pieces).boxed()) });
        let result = self.conn.query_iter(sql).await?;
        let outcome = (result.affected_rows(), result.warnings());
        result.drop_result().await?;
        Ok(outcome)
    }

    /// Runs a statement whose warnings mean nothing for values: of a session, a transaction, a structure.
    pub(super) async fn run(&mut self, sql: impl AsRef<[u8]>) -> Result<(), DriverFailure> {
        self.conn.query_drop(sql.as_ref()).await
    }

    /// The rows of a query.
    pub(super) async fn query(&mut self, sql: impl AsRef<[u8]>) -> Result<Vec<Row>, DriverFailure> {
        self.conn.query(sql.as_ref()).await
    }

    /// Runs a statement with parameters; how many rows it found.
    pub(super) async fn change(
        &mut self,
        sql: &str,
        parameters: impl Into<mysql_async::Params> + Send,
    ) -> Result<u64, DriverFailure> {
        self.conn.exec_drop(sql, parameters).await?;
        Ok(self.conn.affected_rows())
    }

    /// The rows of a query with parameters.
    pub(super) async fn select(
        &mut self,
        sql: &str,
        parameters: impl Into<mysql_async::Params> + Send,
    ) -> Result<Vec<Row>, DriverFailure> {
        self.conn.exec(sql, parameters).await
    }
}
