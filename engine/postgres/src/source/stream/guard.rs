//! What looks every few seconds whether the stream still has everything of the task's tables, of which the
//! stream itself says nothing.

use engine_core::schema::TableName;
use engine_core::selection::Selection;
use engine_core::{Error, ErrorKind, Result};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_postgres::Client;

use crate::connect::Connector;
use crate::failure::translate;
use crate::family::Family;
use crate::source::mppdb::decoding::Decoding;
use crate::source::mppdb::require;
use crate::source::publication::Published;
use crate::source::{catalog, publication};

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(5);

/// What a stream is to have.
#[derive(Debug, Clone)]
pub(in crate::source) struct Expected {
    /// The publication.
    pub(in crate::source) publication: String,
    pub(in crate::source) family: Family,
    /// How the changes come.
    pub(in crate::source) decoding: Decoding,
    /// Tables that are followed.
    pub(in crate::source) tables: HashSet<TableName>,
    /// Tables of the selection that are left out.
    pub(in crate::source) skipped: HashSet<TableName>,
    pub(in crate::source) selection: Selection,
}

impl Expected {
    /// Fails for tables that the publication lacks or has lacked, and for those that came into being since
    /// the task began. Answers what is published for the task.
    pub(in crate::source) async fn require(&self, client: &Client) -> Result<Published> {
        let published = self.require_followed(client).await?;
        let names = catalog::names(client, self.family, &self.selection).await?;
        let is_new = |name: &&TableName| !self.tables.contains(name) && !self.skipped.contains(name);
        match names.iter().find(is_new) {
            Some(new) => {
                // A partition that was detached since the first look is a table, and is better told as what it was.
                self.require_followed(client).await?;
                Err(unforeseen(new))
            }
            None => Ok(published),
        }
    }

    async fn require_followed(&self, client: &Client) -> Result<Published> {
        if self.decoding.is_published() {
            return self.require_published(client).await;
        }
        require::tables(client, &self.tables).await?;
        Ok(Published::default())
    }

    async fn require_published(&self, client: &Client) -> Result<Published> {
        let rows = client
            .query(self.family.publication_tables(), &[&self.publication])
            .await
            .map_err(|error| translate(error, "the publication can't be looked at"))?;
        let published: HashSet<TableName> =
            rows.iter().map(|row| TableName::new(row.get::<_, &str>(0), row.get::<_, &str>(1))).collect();
        if (!published.is_empty() || self.family.is_opengauss())
            && let Some(missing) = self.tables.iter().find(|table| !published.contains(table))
        {
            return Err(Error::new(ErrorKind::Divergence, "a table of the task is not published any more")
                .at("table", missing)
                .at("publication", &self.publication)
                .because(
                    "it was dropped or renamed, or the publication was altered: its changes are not in the stream",
                )
                .help(
                    "if it was renamed, give it its name back; else begin a new task with another --name",
                ));
        }
        publication::require_intact(client, self.family, &self.publication).await
    }
}

/// The error of a table that the task has no place for.
pub(in crate::source) fn unforeseen(table: &TableName) -> Error {
    Error::new(ErrorKind::Divergence, "a table of the selection came into being after the task began")
        .at("table", table)
        .because("it was created, or another one was renamed to it")
        .help("leave it out with --exclude, drop it, or begin a new task with another --name")
}

/// The guard of one stream.
pub(in crate::source) struct Guard {
    found: Arc<Mutex<Option<Error>>>,
    running: AbortHandle,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Guard {
    /// Begins to look.
    pub(in crate::source) fn start(connector: Connector, expected: Expected) -> Self {
        let found = Arc::new(Mutex::new(None));
        let told = Arc::clone(&found);
        let running = tokio::spawn(async move {
            let mut every = interval(EVERY);
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            // The first tick comes at once, and somebody has just looked.
            every.tick().await;
            loop {
                every.tick().await;
                let looked = async { expected.require(&connector.connect().await?).await };
                match looked.await {
                    Ok(_) => {}
                    Err(error) if matches!(error.kind(), ErrorKind::Divergence | ErrorKind::Precondition) => {
                        *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        return;
                    }
                    // The stream notices by itself what is wrong with the server.
                    Err(error) => tracing::debug!("the publication could not be looked at: {error}"),
                }
            }
        });
        Self { found, running: running.abort_handle() }
    }

    /// What was found, once.
    pub(super) fn found(&self) -> Option<Error> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
