//! Asking the server for its log.

use engine_core::logical::LogicalType;
use engine_core::position::Position;
use engine_core::schema::TableName;
use engine_core::source::StreamRequest;
use engine_core::transaction::TransactionSet;
use engine_core::{Error, ErrorKind, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStreamRequest, Conn, Sid};
use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};

use super::gtid::GtidSet;
use super::position::{LogPosition, Transactions};
use super::resume;
use super::stream::BinlogChanges;
use super::tables::Tables;
use super::wire::{Wire, stream_error};
use crate::charset::Charsets;
use crate::connect::Connector;
use crate::error::server_error;
use crate::server::{Flavor, GtidMode, Server};
use crate::watermark::identity;

/// How often an idle server says that it is there, in nanoseconds.
const HEARTBEAT: u64 = 500_000_000;

/// Opens the change stream.
pub(crate) async fn open(
    connector: &Connector,
    server: &Server,
    charsets: &Charsets,
    request: StreamRequest,
) -> Result<BinlogChanges> {
    let from = LogPosition::parse(&request.from)?;
    let since = request
        .tables
        .iter()
        .map(|table| table.since.as_ref().map(LogPosition::parse).transpose())
        .collect::<Result<Vec<_>>>()?;
    let mut conn = connector.open().await?;
    charsets.require(&mut conn, character_sets(&request)).await?;
    resume::check(&mut conn, server, &from, &request.applied).await?;
    let tables = Tables::new(request, charsets.clone())?;
    let wire = dump(conn, server, &from.beginning(), replica_id(connector)?, true).await?;
    let begins = from.beginning().on(identity(server));
    let again_until = from.begin.is_some().then(|| from.on(identity(server)));
    Ok(BinlogChanges::new(wire, tables, since, begins, again_until))
}

fn character_sets(request: &StreamRequest) -> BTreeSet<&str> {
    let columns = request.tables.iter().flat_map(|table| &table.schema.columns);
    columns
        .filter_map(|column| match &column.logical {
            LogicalType::Text { charset, .. } => charset.as_deref(),
            _ => None,
        })
        .collect()
}

/// The number under which we register. Two replicas of one number throw each other out, so it is
/// drawn from the upper half of the numbers unless the URL's `server-id` gives one.
fn replica_id(connector: &Connector) -> Result<u32> {
    let given = connector.url().options.iter().find(|(name, _)| *name == "server-id");
    match given {
        Some((_, text)) => text.parse().ok().filter(|&id| id > 0).ok_or_else(|| {
            Error::new(ErrorKind::Usage, "the URL option server-id is not a number from 1 to 4294967295")
        }),
        None => Ok(random() as u32 | 1 << 31),
    }
}

fn random() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// Sends the request for the log from `from` on. `wait` keeps the stream open at its end.
async fn dump(mut conn: Conn, server: &Server, from: &LogPosition, id: u32, wait: bool) -> Result<Wire> {
    let mut variables = vec![
        format!("@master_heartbeat_period = {HEARTBEAT}"),
        "@master_binlog_checksum = 'CRC32'".to_owned(),
        // The pipeline may keep us waiting while it loads tables.
        "SESSION net_write_timeout = 31536000".to_owned(),
    ];
    if server.flavor == Flavor::MySql {
        let uuid = format!("{:016x}{:016x}", random(), random());
        variables.extend([
            format!("@source_heartbeat_period = {HEARTBEAT}"),
            "@source_binlog_checksum = 'CRC32'".to_owned(),
            format!("@slave_uuid = '{uuid}'"),
            format!("@replica_uuid = '{uuid}'"),
        ]);
    }
    let state = match &from.transactions {
        Some(Transactions::State(state)) if server.flavor == Flavor::MariaDb => Some(state),
        _ => None,
    };
    if server.flavor == Flavor::MariaDb {
        // Capability 4: GTIDs, and every event of this version's log as it is.
        variables.push("@mariadb_slave_capability = 4".to_owned());
        match state {
            Some(state) => variables.extend([
                format!("@slave_connect_state = '{state}'"),
                "@slave_gtid_strict_mode = 0".to_owned(),
                "@slave_gtid_ignore_duplicates = 0".to_owned(),
            ]),
            None => variables.push("@slave_connect_state = NULL".to_owned()),
        }
    }
    conn.query_drop(format!("SET {}", variables.join(", ")))
        .await
        .map_err(|error| server_error("the change stream can't be prepared", error))?;

    let mut request = BinlogStreamRequest::new(id);
    if !wait {
        request = request.with_non_blocking();
    }
    let request = match (&from.transactions, &from.file) {
        (Some(Transactions::Set(set)), _) if server.gtid_mode == GtidMode::MySql => {
            request.with_gtid().with_gtid_set(sids(set)?)
        }
        _ if state.is_some() => request,
        (_, Some(place)) => {
            if place.offset > u64::from(u32::MAX) {
                return Err(Error::new(
                    ErrorKind::Unrepresentable,
                    "the position lies beyond 4 GiB of a log file",
                )
                .at("position", from)
                .because("a stream can be asked for by 32 bits of offset only")
                .help("set gtid_mode = ON and start a new task"));
            }
            request.with_filename(place.file.as_bytes()).with_pos(place.offset)
        }
        _ => return Err(Error::new(ErrorKind::Internal, "a position has neither a place nor transactions")),
    };
    conn.get_binlog_stream(request).await.map(Wire::new).map_err(stream_error)
}

/// The set in the form of the request.
fn sids(set: &GtidSet) -> Result<Vec<Sid<'static>>> {
    set.parts()
        .map(|part| {
            part.parse().map_err(|error: std::io::Error| {
                Error::new(ErrorKind::Internal, "a GTID set can't be sent to the source").caused_by(error)
            })
        })
        .collect()
}

/// Whether the log has a row event of `table` after `low` and not beyond `high`.
pub(crate) async fn touches(
    connector: &Connector,
    server: &Server,
    table: &TableName,
    low: &Position,
    high: &Position,
) -> Result<bool> {
    let (low, high) = (LogPosition::parse(low)?, LogPosition::parse(high)?);
    if low.covers(&high)? {
        return Ok(false);
    }
    let mut conn = connector.open().await?;
    resume::check(&mut conn, server, &low, &TransactionSet::default()).await?;
    let wire = dump(conn, server, &low, replica_id(connector)?, false).await?;
    super::touches::scan(wire, low, &high, table).await
}
