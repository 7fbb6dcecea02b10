//! Reading from a replica while following its primary, so that the copy costs the primary nothing.
//!
//! Both are compared by transaction identifiers, which a transaction keeps wherever it is executed. What
//! a read of the replica contains is what *it* had executed; the stream of the primary has everything after
//! that, however far the replica lags behind. Only a transaction that the primary never had would not
//! come, so a replica with such transactions is refused.

use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

use engine_core::batch::Batch;
use engine_core::change::SchemaChange;
use engine_core::cut_over::WriteState;
use engine_core::digest::{Digest, DigestRequest, ValueForm};
use engine_core::endpoint::{Endpoint, EndpointUrl};
use engine_core::finding::{Finding, Severity};
use engine_core::position::{Position, Watermarks};
use engine_core::schema::TableSchema;
use engine_core::selection::Selection;
use engine_core::source::{
    BatchSink, ChangeStream, KeyBound, KeyedRequest, Lag, ReadRequest, Reader, Source, StreamRequest,
};
use engine_core::structure::TableEvolution;
use engine_core::survey::Needs;
use engine_core::target::Target;
use engine_core::transaction::TransactionSet;
use engine_core::{Error, ErrorKind, Result};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row};

use crate::error::server_error;
use crate::server::{Flavor, GtidMode, Server};
use crate::source::MysqlSource;

/// A primary to follow, and a replica of it to read from.
pub struct ReplicatedSource {
    primary: Arc<MysqlSource>,
    replica: MysqlSource,
}

impl ReplicatedSource {
    /// Connects to both.
    pub async fn connect(primary: EndpointUrl, replica: EndpointUrl) -> Result<Self> {
        let replica =
            MysqlSource::connect(replica).await.map_err(|error| error.at("option", "--read-from"))?;
        Ok(Self { primary: Arc::new(MysqlSource::connect(primary).await?), replica })
    }

    /// Why the two can't be used together, if they can't.
    async fn mismatch(&self) -> Result<Option<(String, &'static str)>> {
        let (primary, replica) = (self.primary.server(), self.replica.server());
        if primary.flavor != replica.flavor || primary.gtid_mode != replica.gtid_mode {
            let say = |server: &Server| {
                format!("{} with gtid_mode {}", server.endpoint().engine, server.gtid_mode_text)
            };
            return Ok(Some((
                format!("it is {}, the source is {}", say(replica), say(primary)),
                "give a replica of the source that has the same gtid_mode",
            )));
        }
        if primary.gtid_mode == GtidMode::Off {
            return Ok(Some((
                "without GTIDs, what it has can't be compared with the source's log".to_owned(),
                "SET gtid_mode = ON on both servers (by way of OFF_PERMISSIVE and ON_PERMISSIVE), or read from the source",
            )));
        }
        if !primary.log_bin || !replica.log_bin {
            return Ok(Some((
                "one of the two keeps no log".to_owned(),
                "set log_bin and restart the server",
            )));
        }
        // What a read of the replica contains is told by its own log and by what it counts as executed.
        let state = self.replica.replica_state().await?;
        if !state.logs_updates {
            return Ok(Some((
                "what it replicates is not in its own log".to_owned(),
                "set log_replica_updates = ON (log_slave_updates on MariaDB) in its configuration and restart it",
            )));
        }
        if !state.filters.is_empty() {
            return Ok(Some((
                format!(
                    "it leaves out some of what it replicates ({}), and counts it as executed",
                    state.filters.join("; ")
                ),
                "give a replica without filters, or leave out --read-from",
            )));
        }
        // Asked for in this order, the source has whatever the replica got from it.
        let executed = self.replica.low_watermark().await?;
        let logged = self.primary.high_watermark().await?;
        if !self.primary.covers(&logged, &executed)? {
            return Ok(Some((
                "it has transactions that the source does not have, which would never come in the source's log"
                    .to_owned(),
                "compare @@GLOBAL.gtid_executed (gtid_binlog_pos on MariaDB) of both; give a replica that took no writes of its own",
            )));
        }
        Ok(None)
    }

    async fn check_replica(&self, selection: &Selection) -> Result<Vec<Finding>> {
        let finding = |severity, message: String, fix: Option<&str>| Finding {
            severity,
            subject: "source replica".to_owned(),
            message,
            fix: fix.map(str::to_owned),
        };
        if let Some((why, fix)) = self.mismatch().await? {
            return Ok(vec![finding(
                Severity::Failed,
                format!("the server of --read-from can't be read from: {why}"),
                Some(fix),
            )]);
        }
        let mut findings = self.replica.check(selection, false).await?;
        findings.retain(|finding| finding.severity >= Severity::Warning);
        for finding in &mut findings {
            let rest = finding.subject.strip_prefix("source ").unwrap_or(&finding.subject);
            finding.subject = format!("source replica {rest}");
        }
        findings.push(match self.lag().await? {
            Some(Lag::Behind(lag)) => {
                finding(Severity::Pass, format!("rows are read from a replica that is {} s behind", lag.as_secs()), None)
            }
            Some(Lag::Stopped) => finding(
                Severity::Warning,
                "rows are read from a server that does not replicate: the further it is behind, the more is followed \
                 after the copy"
                    .to_owned(),
                Some("START REPLICA (START SLAVE on MariaDB)"),
            ),
            None => finding(
                Severity::Warning,
                "rows are read from a server that does not say that it is a replica".to_owned(),
                Some("see that --read-from names a replica, and GRANT REPLICATION CLIENT (SLAVE MONITOR on MariaDB) on it"),
            ),
        });
        Ok(findings)
    }
}

/// Asks a server what it is as a replica.
pub(crate) async fn state(conn: &mut Conn, server: &Server) -> Result<ReplicaState> {
    let (statement, column) = match server.flavor {
        Flavor::MySql if server.version_number >= (8, 0, 22) => {
            ("SHOW REPLICA STATUS", "Seconds_Behind_Source")
        }
        Flavor::MySql => ("SHOW SLAVE STATUS", "Seconds_Behind_Master"),
        Flavor::MariaDb => ("SHOW ALL SLAVES STATUS", "Seconds_Behind_Master"),
    };
    let failed = |error| server_error("the replica's state can't be read", error);
    let logs: Vec<(String, String)> = conn
        .query("SHOW GLOBAL VARIABLES WHERE Variable_name IN ('log_replica_updates', 'log_slave_updates')")
        .await
        .map_err(failed)?;
    let logs_updates = logs.iter().any(|(_, value)| value == "ON");
    let rows: Vec<Row> = match conn.query(statement).await {
        Ok(rows) => rows,
        Err(mysql_async::Error::Server(_)) => return Ok(ReplicaState { logs_updates, ..Default::default() }),
        Err(error) => return Err(failed(error)),
    };
    // Of several channels the one that is furthest behind.
    let of_channel = |row: &Row| match row.get_opt::<Option<u64>, _>(column) {
        Some(Ok(Some(seconds))) => Lag::Behind(Duration::from_secs(seconds)),
        _ => Lag::Stopped,
    };
    let mut filters: Vec<String> = Vec::new();
    for row in &rows {
        for name in FILTERS {
            if let Some(Ok(Some(value))) = row.get_opt::<Option<String>, _>(name)
                && !value.is_empty()
            {
                filters.push(format!("{name} = {value}"));
            }
        }
    }
    Ok(ReplicaState { lag: rows.iter().map(of_channel).max(), filters, logs_updates })
}

/// Settings of a replica by which it leaves transactions out while it counts them as executed.
const FILTERS: [&str; 7] = [
    "Replicate_Do_DB",
    "Replicate_Ignore_DB",
    "Replicate_Do_Table",
    "Replicate_Ignore_Table",
    "Replicate_Wild_Do_Table",
    "Replicate_Wild_Ignore_Table",
    "Replicate_Rewrite_DB",
];

/// What a replica says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ReplicaState {
    /// How far it is behind; `None` when it isn't a replica, or won't say.
    pub(crate) lag: Option<Lag>,
    /// The filters that are set.
    filters: Vec<String>,
    /// Whether what it replicates is in its own log.
    logs_updates: bool,
}

/// Reads chunks from the replica; single rows, which are wanted as they are now, from the primary.
struct ReplicatedReader {
    chunks: Box<dyn Reader>,
    primary: Arc<MysqlSource>,
    keyed: Option<Box<dyn Reader>>,
}

#[async_trait]
impl Reader for ReplicatedReader {
    async fn read(&mut self, request: &ReadRequest, sink: &mut dyn BatchSink) -> Result<Watermarks> {
        self.chunks.read(request, sink).await
    }

    async fn read_by_key(&mut self, request: &KeyedRequest) -> Result<Batch> {
        let reader = match &mut self.keyed {
            Some(reader) => reader,
            none => none.insert(self.primary.open_reader().await?),
        };
        reader.read_by_key(request).await
    }

    async fn digest(&mut self, request: &DigestRequest) -> Result<(Digest, Watermarks)> {
        self.chunks.digest(request).await
    }
}

#[async_trait]
impl Source for ReplicatedSource {
    fn endpoint(&self) -> &Endpoint {
        self.primary.endpoint()
    }

    async fn check(&self, selection: &Selection, online: bool) -> Result<Vec<Finding>> {
        let mut findings = self.primary.check(selection, online).await?;
        findings.extend(self.check_replica(selection).await?);
        Ok(findings)
    }

    async fn survey(&self, selection: &Selection, needs: &Needs) -> Result<Vec<Finding>> {
        self.primary.survey(selection, needs).await
    }

    /// Of the replica: its rows have the structure that it has.
    async fn catalog(&self, selection: &Selection) -> Result<Vec<TableSchema>> {
        self.replica.catalog(selection).await
    }

    async fn as_target(&self) -> Result<Arc<dyn Target>> {
        self.primary.as_target().await
    }

    async fn log_kept_for(&self) -> Result<Option<Duration>> {
        self.primary.log_kept_for().await
    }

    async fn low_watermark(&self) -> Result<Position> {
        self.replica.low_watermark().await
    }

    async fn high_watermark(&self) -> Result<Position> {
        self.primary.high_watermark().await
    }

    fn covers(&self, reached: &Position, wanted: &Position) -> Result<bool> {
        self.primary.covers(reached, wanted)
    }

    fn beyond(&self, position: &Position, transactions: &TransactionSet) -> Result<TransactionSet> {
        self.primary.beyond(position, transactions)
    }

    fn can_chunk(&self, table: &TableSchema) -> bool {
        self.replica.can_chunk(table)
    }

    async fn chunk_end(
        &self,
        table: &TableSchema,
        after: Option<&KeyBound>,
        rows: u64,
    ) -> Result<Option<KeyBound>> {
        self.replica.chunk_end(table, after, rows).await
    }

    fn bound_values(&self, table: &TableSchema, bound: &KeyBound) -> Result<Option<(Vec<usize>, Batch)>> {
        self.replica.bound_values(table, bound)
    }

    async fn evolve(
        &self,
        change: &SchemaChange,
        known: &[TableSchema],
        selection: &Selection,
    ) -> Result<Vec<TableEvolution>> {
        self.primary.evolve(change, known, selection).await
    }

    async fn load(&self) -> Result<Option<u64>> {
        self.replica.load().await
    }

    fn value_forms(&self, table: &TableSchema) -> Vec<Option<ValueForm>> {
        self.replica.value_forms(table)
    }

    fn followed(&self) -> Option<Arc<dyn Source>> {
        let primary: Arc<dyn Source> = Arc::clone(&self.primary) as _;
        Some(primary)
    }

    async fn lag(&self) -> Result<Option<Lag>> {
        Ok(self.replica.replica_state().await?.lag)
    }

    async fn write_state(&self) -> Result<WriteState> {
        self.primary.write_state().await
    }

    async fn may_freeze(&self) -> Result<()> {
        self.primary.may_freeze().await
    }

    async fn freeze(&self, patience: Duration) -> Result<()> {
        self.primary.freeze(patience).await
    }

    async fn restore_writes(&self, before: &WriteState) -> Result<()> {
        self.primary.restore_writes(before).await
    }

    async fn unfinished(&self, ago: Duration) -> Result<Vec<Finding>> {
        self.primary.unfinished(ago).await
    }

    async fn count_rows(&self, table: &TableSchema) -> Result<u64> {
        self.primary.count_rows(table).await
    }

    async fn open_reader(&self) -> Result<Box<dyn Reader>> {
        // A replica that was put in another's place since the checks would give rows that never come.
        if let Some((why, fix)) = self.mismatch().await? {
            return Err(Error::new(ErrorKind::Precondition, "the server of --read-from can't be read from")
                .because(why)
                .help(fix));
        }
        let chunks = self.replica.open_reader().await?;
        Ok(Box::new(ReplicatedReader { chunks, primary: Arc::clone(&self.primary), keyed: None }))
    }

    async fn open_stream(&self, request: StreamRequest) -> Result<Box<dyn ChangeStream>> {
        self.primary.open_stream(request).await
    }
}
