//! The stream.

use engine_core::change::SchemaChange;
use engine_core::error::Result;
use engine_core::position::Position;
use tokio_util::sync::CancellationToken;

use super::Task;
use super::prepare::{Prepared, line};
use crate::control::gate::{Held, Released};
use crate::evolve;
use crate::follow::{Followed, Follower};
use crate::progress::TableProgress;
use crate::retry::retried;

impl Task {
    /// Follows the source, over changes of structure too.
    pub(super) async fn follow(&self, prepared: &mut Prepared, until: Option<&Position>) -> Result<()> {
        loop {
            let pass = self.gate.enter().await?;
            let goal = self.gate.goal();
            self.gate.show(Held { routes: prepared.routes.clone(), targets: prepared.targets.clone() });
            match self.follower(prepared, &pass.stop).follow(goal.as_ref().or(until)).await {
                Err(error) if self.gate.is_ours(&error) => {}
                Err(error) => return Err(error),
                Ok(Followed::Structure(change, position)) => {
                    self.evolve(prepared, &change, &position).await?;
                }
                Ok(Followed::Reached) => {
                    drop(pass);
                    let Some(goal) = goal else { return Ok(()) };
                    if self.gate.hold(&goal).await? == Released::Complete {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn evolve(
        &self,
        prepared: &mut Prepared,
        change: &SchemaChange,
        position: &Position,
    ) -> Result<()> {
        let chain = &prepared.chain;
        let applied = retried(&self.stop, || evolve::apply(&self.spec, chain, change, position));
        let plan = self.unless_stopped(applied).await?;
        if let Some(mut stored) = self.store.plan()? {
            stored.digest.clone_from(&plan.digest);
            stored.tables.clone_from(&plan.tables);
            self.store.put_plan(&stored)?;
        }
        self.progress.update(|report| {
            let known = std::mem::take(&mut report.tables);
            report.position = Some(position.to_string());
            report.tables = plan
                .tables
                .iter()
                .map(|table| {
                    let fresh = line(table, &prepared.dead_letters);
                    let old = known.iter().find(|old| old.table == fresh.table);
                    old.map_or(TableProgress { copied: true, ..fresh.clone() }, |old| TableProgress {
                        target: fresh.target,
                        ..old.clone()
                    })
                })
                .collect();
        });
        prepared.adopt(plan, &self.spec).await
    }

    fn follower<'a>(&'a self, prepared: &'a Prepared, stop: &'a CancellationToken) -> Follower<'a> {
        Follower {
            spec: &self.spec,
            routes: &prepared.routes,
            skipped: &prepared.skipped,
            progress: &self.progress,
            stop,
            check: self.check.get(),
        }
    }
}
