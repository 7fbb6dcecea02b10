//! A stream beside a task's own, of an openGauss server.
//!
//! PostgreSQL copies slots for as long as a connection lasts. openGauss makes a slot at the places of another, which
//! stays: it has to be dropped once the stream has ended. One that an engine left behind goes when the next one is made,
//! when the task's own stream is opened, and with the task.

use async_trait::async_trait;
use engine_core::Result;
use engine_core::change::ChangeSet;
use engine_core::source::{ChangeStream, LogHold};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tokio_postgres::Client;

use super::slot;
use super::stream::SlotChanges;
use crate::connect::Connector;
use crate::failure::translate;

/// Name of the copy of a task's slot, of which there is one at a time.
pub(super) fn copy_of(slot: &str) -> String {
    let digest = Sha256::digest(slot.as_bytes());
    format!("engine_check_{}", hex::encode(digest.get(..6).unwrap_or_default()))
}

/// Makes a slot at the places of the task's.
pub(super) async fn copy(client: &Client, slot: &str, copy: &str, plugin: &str) -> Result<()> {
    slot::drop_when_idle(client, copy).await?;
    client
        .execute(
            &format!(
                "SELECT pg_catalog.pg_create_logical_replication_slot($1, '{plugin}', restart_lsn, confirmed_flush) \
                 FROM pg_catalog.pg_replication_slots WHERE slot_name = $2"
            ),
            &[&copy, &slot],
        )
        .await
        .map_err(|error| {
            translate(error, "the changes of the source can't be followed beside the task").at("slot", slot).help(
                "stop the task first, or have it check what changes as it goes on, with --check-changes",
            )
        })?;
    Ok(())
}

/// Drops a copy that was left behind.
pub(super) async fn sweep(client: &Client, slot: &str) {
    // It may be in use by whoever checks the task.
    if let Err(error) = slot::drop_slot(client, &copy_of(slot)).await {
        tracing::debug!(%error, "the copy of the task's slot stays");
    }
}

/// A stream whose slot is dropped when it ends.
pub(super) struct Beside {
    stream: SlotChanges,
    _copy: Copy,
}

impl Beside {
    pub(super) fn new(stream: SlotChanges, connector: Connector, copy: String) -> Self {
        Self { stream, _copy: Copy { connector, name: copy } }
    }
}

#[async_trait]
impl ChangeStream for Beside {
    async fn next(&mut self) -> Result<ChangeSet> {
        self.stream.next().await
    }

    fn hold(&self) -> Option<Arc<dyn LogHold>> {
        self.stream.hold()
    }
}

struct Copy {
    connector: Connector,
    name: String,
}

impl Drop for Copy {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (connector, name) = (self.connector.clone(), std::mem::take(&mut self.name));
        runtime.spawn(async move {
            let dropped = async { slot::drop_when_idle(&connector.connect().await?, &name).await };
            if let Err(error) = dropped.await {
                tracing::debug!(%error, "the copy of the task's slot stays");
            }
        });
    }
}
