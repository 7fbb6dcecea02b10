//! Following the source: changes are converted, spread over lanes, merged and applied, each lane
//! committing its part together with where it stands.
//!
//! A [`session`] runs over one stream and one set of lanes. [`routing`] takes changes through the plugins and
//! the plan; [`dispatch`] decides which lane gets which transactions, by the [`keys`] that they touch; a
//! [`lane`] applies its parts in order; the [`ledger`] knows how far the target has everything.

mod dispatch;
mod keys;
mod lane;
mod ledger;
#[cfg(test)]
mod model;
mod routing;
mod session;
mod set_aside;

use std::sync::Arc;
use tokio_util::sync::CancellationToken;

use engine_core::change::SchemaChange;
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::failpoint::Failpoint;
use engine_core::position::Position;
use engine_core::source::{StreamRequest, StreamTable};
use engine_core::target::TaskRecord;
use engine_core::transaction::TransactionSet;

use crate::progress::Progress;
use crate::retry::{Backoff, may_pass};
use crate::route::Route;
use crate::task::TaskSpec;
use crate::verify::incremental::{Incremental, Watch};

pub(crate) use lane::RoutedTable;
use routing::Router;
use session::{Context, Session};

const SET_BYTES: usize = 4 << 20;
const SET_ROWS: usize = 8192;

/// Follows a source on behalf of a task.
pub struct Follower<'a> {
    /// The task.
    pub spec: &'a TaskSpec,
    /// The tables.
    pub routes: &'a [Arc<Route>],
    /// Tables of the selection that the plan leaves out.
    pub skipped: &'a [engine_core::schema::TableName],
    /// Where progress is told.
    pub progress: &'a Progress,
    /// When to stop.
    pub stop: &'a CancellationToken,
    /// What compares the changes after they were applied.
    pub(crate) check: Option<&'a Arc<Incremental>>,
}

/// How following ended.
#[derive(Debug)]
pub enum Followed {
    /// Everything that was wanted is applied.
    Reached,
    /// A change of structure comes next, and the position after it. Everything before is committed.
    Structure(Box<SchemaChange>, Position),
}

impl Follower<'_> {
    /// Applies changes until `until` is covered, or, without one, until stopped, or up to a change of
    /// structure.
    pub async fn follow(&self, until: Option<&Position>) -> Result<Followed> {
        let mut backoff = Backoff::new();
        loop {
            let before = self.progress.report().transactions_applied;
            match self.session(until).await {
                Err(error) if may_pass(&error) => {
                    if self.progress.report().transactions_applied > before {
                        backoff = Backoff::new();
                    }
                    backoff.wait(error, self.stop).await?;
                }
                result => return result,
            }
        }
    }

    /// Follows over one stream and one set of lanes. Where to begin is for the target to say.
    async fn session(&self, until: Option<&Position>) -> Result<Followed> {
        let (source, target) = (&self.spec.source, &self.spec.target);
        let record = target.task(&self.spec.name).await?.ok_or_else(|| {
            Error::new(ErrorKind::State, "the target does not know the task").at("task", &self.spec.name)
        })?;
        let lanes = target.open_lanes(self.spec.parallelism.max(1)).await?;
        Failpoint::LanesOpened.reach();
        let (position, had) = (lanes.position.clone(), lanes.applied.clone());
        let applied = source.beyond(&position, &had)?;
        let (request, places) = self.request(lanes.position.clone(), applied, &record);
        let stream = source.open_stream(request).await?;
        let hold = stream.hold();
        let router = Router::new(source, self.routes, places, lanes.appliers.len())?;
        let context = Context { source: source.as_ref(), progress: self.progress, stop: self.stop };
        let mut session = Session::begin(context, lanes, stream, router, self.end_of_copy(&record)?);
        if let Some(hold) = hold {
            session.release(hold, Arc::clone(target));
        }
        if let Some(check) = self.check {
            let watch =
                Watch::begin(check, self.routes, &position, &had, session.running(), self.stop).await?;
            session.watch_by(watch);
        }
        session.run(until).await
    }

    /// A position beyond which no chunk has a change; `None` when nothing was copied.
    fn end_of_copy(&self, record: &TaskRecord) -> Result<Option<Position>> {
        let mut end: Option<&Position> = None;
        for chunk in &record.chunks {
            let high = &chunk.watermarks.high;
            let is_earlier = match end {
                Some(end) => self.spec.source.covers(end, high)?,
                None => false,
            };
            if !is_earlier {
                end = Some(high);
            }
        }
        Ok(end.cloned())
    }

    /// The stream to ask for, and for each of its tables the table's number in the task.
    fn request(
        &self,
        from: Position,
        applied: TransactionSet,
        record: &TaskRecord,
    ) -> (StreamRequest, Vec<usize>) {
        let mut tables = Vec::new();
        let mut places = Vec::new();
        let mut skipped = self.skipped.to_vec();
        for (place, route) in self.routes.iter().enumerate() {
            let composed = route.composed();
            if !composed.target.with_rows {
                skipped.push(composed.schema.name.clone());
                continue;
            }
            // Only an exact read can do without the changes it already has; the others take them again.
            let since = match composed.target.row_key.as_ref().filter(|_| !composed.target.is_shared()) {
                Some(_) => None,
                None => record
                    .chunks
                    .iter()
                    .find(|chunk| chunk.table == composed.schema.name)
                    .map(|chunk| chunk.watermarks.low.clone()),
            };
            tables.push(StreamTable {
                schema: Arc::new(composed.schema.clone()),
                columns: composed.reads.clone().into(),
                since,
            });
            places.push(place);
        }
        let selection = self.spec.selection.clone();
        let request = StreamRequest {
            from,
            applied,
            tables,
            selection,
            skipped,
            set_bytes: SET_BYTES,
            set_rows: SET_ROWS,
        };
        (request, places)
    }
}
