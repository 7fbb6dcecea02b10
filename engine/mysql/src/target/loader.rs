//! Loads chunks by lines where the server takes those, else by `INSERT` of many rows.

use async_trait::async_trait;
use engine_core::batch::Batch;
use engine_core::failpoint::Failpoint;
use engine_core::plan::{RowErrorPolicy, TargetTable};
use engine_core::schema::TableName;
use engine_core::target::{ChunkRecord, Loader, Refusal};
use engine_core::{Error, ErrorKind, Result};
use std::collections::HashMap;
use std::sync::Arc;

use super::bulk::Bulk;
use super::connection::Connections;
use super::control::{self, Claim};
use super::failure::{is_ambiguous, translate};
use super::layout::TableLayout;
use super::session::Session;
use super::{rows, shared, statement};

/// A connection that loads one chunk after the other.
pub(super) struct MysqlLoader {
    connections: Connections,
    session: Session,
    claim: Claim,
    layouts: HashMap<TableName, Arc<TableLayout>>,
    in_transaction: bool,
    chunk: Option<Chunk>,
    takes_lines: bool,
}

/// The chunk being written.
struct Chunk {
    layout: Arc<TableLayout>,
    bulk: Option<Bulk>,
    /// A write failed: the chunk can only be given up.
    failed: bool,
}

impl MysqlLoader {
    /// A loader over a connection of its own.
    pub(super) async fn open(connections: Connections, claim: Claim) -> Result<Self> {
        let mut session = connections.open().await?;
        let takes_lines = session
            .takes_lines()
            .await
            .map_err(|error| translate(error, "the target's settings can't be read"))?;
        let layouts = HashMap::new();
        Ok(Self { connections, session, claim, layouts, in_transaction: false, chunk: None, takes_lines })
    }

    fn layout(&mut self, table: &Arc<TargetTable>) -> Result<Arc<TableLayout>> {
        if let Some(layout) = self.layouts.get(&table.name)
            && (Arc::ptr_eq(&layout.table, table) || layout.table == *table)
        {
            return Ok(Arc::clone(layout));
        }
        let layout = Arc::new(TableLayout::new(table, self.connections.flavor())?);
        self.layouts.insert(table.name.clone(), Arc::clone(&layout));
        Ok(layout)
    }

    async fn write_rows(&mut self, batch: &Batch) -> Result<Vec<Refusal>> {
        let chunk = self.chunk.as_mut().ok_or_else(|| not_begun("written"))?;
        // Stays set when this call fails or is dropped half-way.
        if std::mem::replace(&mut chunk.failed, true) {
            return Err(not_begun("written"));
        }
        let layout = &chunk.layout;
        layout.check_shape(batch, &layout.all())?;
        if let Some(bulk) = &chunk.bulk
            && bulk.load(&mut self.session, layout, batch).await?
        {
            chunk.failed = false;
            return Ok(Vec::new());
        }
        let careful =
            layout.table.on_row_error == RowErrorPolicy::DeadLetter && layout.table.row_key.is_some();
        let refusals = if careful {
            rows::insert_or_refuse(&mut self.session, layout, batch).await?
        } else {
            for statement in statement::insert(layout, batch, 0..batch.rows)? {
                rows::insert(&mut self.session, layout, batch, &statement).await?;
            }
            Vec::new()
        };
        chunk.failed = false;
        Ok(refusals)
    }

    async fn roll_back(&mut self) -> Result<()> {
        self.chunk = None;
        if std::mem::take(&mut self.in_transaction) {
            self.session
                .run("ROLLBACK")
                .await
                .map_err(|error| translate(error, "a chunk can't be rolled back"))?;
        }
        Ok(())
    }
}

#[async_trait]
impl Loader for MysqlLoader {
    async fn begin(&mut self, table: &Arc<TargetTable>) -> Result<()> {
        self.roll_back().await?;
        let layout = self.layout(table)?;
        self.in_transaction = true;
        control::begin(&mut self.session).await.map_err(|error| error.at("table", &table.name))?;
        let bulk = self.takes_lines.then(|| Bulk::new(&layout));
        self.chunk = Some(Chunk { layout, bulk, failed: false });
        Ok(())
    }

    async fn write(&mut self, batch: &Batch) -> Result<Vec<Refusal>> {
        let table = self.chunk.as_ref().map(|chunk| Arc::clone(&chunk.layout.table));
        match (self.write_rows(batch).await, table) {
            (Err(error), Some(table)) => {
                Err(shared::explain(&self.connections, &self.claim, &table, error).await)
            }
            (written, _) => written,
        }
    }

    async fn commit(&mut self, record: &ChunkRecord) -> Result<()> {
        let chunk = self.chunk.take().ok_or_else(|| not_begun("committed"))?;
        if chunk.failed {
            return Err(not_begun("committed"));
        }
        control::insert_chunk(&mut self.session, &self.claim, record).await?;
        Failpoint::ChunkWritten.reach();
        match self.session.run("COMMIT").await {
            Ok(()) => {
                self.in_transaction = false;
                Ok(())
            }
            Err(error) if !is_ambiguous(&error) => {
                Err(translate(error, "a chunk can't be committed").at("table", &record.table))
            }
            Err(error) => {
                let broken = translate(error, "the connection broke while a chunk was committed");
                self.session = self.connections.open().await?;
                self.in_transaction = false;
                if control::has_chunk(&mut self.session, &self.claim, record).await? {
                    Ok(())
                } else {
                    Err(broken.at("table", &record.table))
                }
            }
        }
    }

    async fn abort(&mut self) -> Result<()> {
        self.roll_back().await
    }
}

fn not_begun(what: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("a chunk was {what} that had not begun or had failed"))
}
