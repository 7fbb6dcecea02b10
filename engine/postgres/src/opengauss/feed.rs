//! A slot's changes as they come.

use bytes::Bytes;
use engine_core::endpoint::EndpointUrl;
use engine_core::{Error, ErrorKind, Result};

use super::decoding::{Lsn, Records, Style, records};
use crate::replication::connection::ReplicationConnection;
use crate::replication::stream::{Frame, LogStream};

/// Which changes, and how they are to be written.
#[derive(Debug, Clone)]
pub struct FeedRequest {
    /// A slot of the plugin `mppdb_decoding`, in the database of the URL.
    pub slot: String,
    /// The place to go on from. What was confirmed before is not sent again, whatever this says; `0/0` is
    /// where the slot stands.
    pub from: Lsn,
    /// How records are written.
    pub style: Style,
    /// Decoders of the server in a parallel style, 2 to 20.
    pub decoders: u8,
    /// For [`Style::Binary`], which has the same frame in either case: whether records come in batches.
    pub batched: bool,
    /// Leave transactions out that changed nothing that is sent.
    pub skip_empty: bool,
    /// Tables as `schema.table`, `schema.*` or `*.table`; none is all. The server takes no quotes and no
    /// names with spaces, points or quotes in them.
    pub tables: Vec<String>,
}

impl FeedRequest {
    /// Everything in the serial stream, which alone is complete.
    pub fn serial(slot: impl Into<String>) -> Self {
        Self {
            slot: slot.into(),
            from: Lsn(0),
            style: Style::Serial,
            decoders: 2,
            batched: false,
            skip_empty: false,
            tables: Vec::new(),
        }
    }

    /// Everything that can be said of some tables in a style.
    pub(crate) fn of(slot: impl Into<String>, style: Style, decoders: u8, tables: Vec<String>) -> Self {
        Self { style, decoders, batched: true, tables, ..Self::serial(slot) }
    }

    /// The command. Every option that has a default on the server's side which an operator may change is given.
    pub(crate) fn command(&self) -> Result<String> {
        let mut options = vec![
            ("include-xids", "on"),
            ("include-timestamp", "on"),
            ("only-local", "on"),
            ("standby-connection", "off"),
        ];
        options.push(("skip-empty-xacts", if self.skip_empty { "on" } else { "off" }));
        let decoders = self.decoders.to_string();
        let batched = match self.style {
            Style::Serial => None,
            Style::Json { batched } => Some(("j", batched)),
            Style::Text { batched } => Some(("t", batched)),
            Style::Binary => Some(("b", self.batched)),
        };
        match batched {
            None => options.push(("parallel-decode-num", "1")),
            Some((style, batched)) => {
                options.push(("parallel-decode-num", &decoders));
                options.push(("decode-style", style));
                options.push(("sending-batch", if batched { "1" } else { "0" }));
            }
        }
        let tables = self.tables.join(",");
        if !tables.is_empty() {
            options.push(("white-table-list", &tables));
        }
        if tables.contains(['\'', '"', '(', ')']) {
            return Err(Error::new(ErrorKind::Usage, "the server can't be asked for these tables alone")
                .because("a name has a quote or a parenthesis")
                .help("ask for all tables of the schema"));
        }
        let options: Vec<String> =
            options.iter().map(|(name, value)| format!("\"{name}\" '{value}'")).collect();
        Ok(format!("START_REPLICATION SLOT {} LOGICAL {} ({})", self.slot, self.from, options.join(", ")))
    }
}

/// What comes.
#[derive(Debug)]
pub enum Arrival {
    /// Records.
    Payload(Payload),
    /// A sign of life.
    Keepalive {
        /// In a serial stream everything before it was sent. In a parallel one it is ahead of what was sent,
        /// and must not be confirmed.
        end: Lsn,
        /// The connection ends unless something is [confirmed](Feed::confirm) soon.
        reply_wanted: bool,
    },
}

/// The payload of a message, and what it takes to read it.
#[derive(Debug)]
pub struct Payload {
    style: Style,
    at: Lsn,
    bytes: Bytes,
}

impl Payload {
    /// The records in it.
    pub fn records(&self) -> Records<'_> {
        records(self.style, self.at, &self.bytes)
    }
}

/// A stream of `mppdb_decoding`.
///
/// The server ends it unless it hears something every `logical_sender_timeout` (30 s by default), also while
/// it sends.
pub struct Feed {
    stream: LogStream,
    style: Style,
    confirmed: Lsn,
}

impl Feed {
    /// Logs in and starts. With a pool of threads, the server takes this at its HA port, which is found.
    pub async fn open(url: &EndpointUrl, request: &FeedRequest) -> Result<Self> {
        let command = request.command()?;
        let stream = ReplicationConnection::open(url)
            .await?
            .start(&command)
            .await
            .map_err(|error| error.at("source", url).at("slot", &request.slot))?;
        Ok(Self { stream, style: request.style, confirmed: Lsn(0) })
    }

    /// Waits for what comes next. Cancel-safe. An end of the stream is a
    /// [`Transient`](ErrorKind::Transient) error.
    pub async fn next(&mut self) -> Result<Arrival> {
        Ok(match self.stream.next().await? {
            Frame::Data { start, payload, .. } => {
                Arrival::Payload(Payload { style: self.style, at: start, bytes: payload })
            }
            Frame::Keepalive { end, reply_wanted, .. } => Arrival::Keepalive { end, reply_wanted },
        })
    }

    /// Tells the server that everything before a place is safe: a [`Commit::end`](super::decoding::Commit::end)
    /// of this stream and nothing else, since the server believes any place and forgets what is before it.
    /// One that is not beyond the last is a sign of life.
    pub async fn confirm(&mut self, end: Lsn) -> Result<()> {
        self.confirmed = self.confirmed.max(end);
        self.stream.report(self.confirmed, self.confirmed, self.confirmed, false).await
    }

    /// Ends the stream.
    pub async fn close(self) -> Result<()> {
        self.stream.close().await
    }
}

/// Creates a slot for [`Feed`]; answers the place behind which it has every change.
pub async fn create_slot(url: &EndpointUrl, slot: &str) -> Result<Lsn> {
    let mut connection = ReplicationConnection::open(url).await?;
    let command = format!("CREATE_REPLICATION_SLOT {slot} LOGICAL mppdb_decoding");
    let rows = connection.query(&command).await.map_err(|error| error.at("slot", slot))?;
    let place = rows.first().and_then(|row| row.get(1)).and_then(Option::as_deref);
    place
        .ok_or_else(|| Error::new(ErrorKind::Divergence, "the server doesn't say where a slot begins"))?
        .parse()
}

/// Drops a slot.
pub async fn drop_slot(url: &EndpointUrl, slot: &str) -> Result<()> {
    let mut connection = ReplicationConnection::open(url).await?;
    let command = format!("DROP_REPLICATION_SLOT {slot}");
    connection.query(&command).await.map(drop).map_err(|error| error.at("slot", slot))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_for_what_the_style_takes() {
        let serial = FeedRequest { from: Lsn(0x16_B374_D848), ..FeedRequest::serial("s") };
        insta::assert_snapshot!(serial.command().expect("a command"));
        let parallel = FeedRequest {
            style: Style::Binary,
            decoders: 4,
            batched: true,
            skip_empty: true,
            tables: vec!["public.t".to_owned(), "shop.*".to_owned()],
            ..FeedRequest::serial("s")
        };
        insta::assert_snapshot!(parallel.command().expect("a command"));
    }

    #[test]
    fn asks_for_no_table_that_it_can_not_name() {
        let request = FeedRequest { tables: vec!["public.it's".to_owned()], ..FeedRequest::serial("s") };
        assert_eq!(request.command().expect_err("a quote").kind(), ErrorKind::Usage);
    }
}
