//! What comes once the rows are there: indexes, foreign keys, objects, numbering.

use engine_core::error::{Error, ErrorKind, Result};
use engine_core::failpoint::Failpoint;
use engine_core::object::ObjectKind;
use engine_core::plan::TargetTable;
use engine_core::target::BuildStep;
use futures_util::{TryStreamExt as _, stream};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Task;
use super::prepare::Prepared;
use crate::identities;
use crate::objects;
use crate::retry::retried;

impl Task {
    pub(super) async fn finish(&self, prepared: &Prepared, online: bool) -> Result<()> {
        if !prepared.record.built {
            if !online {
                self.build(BuildStep::RowKeys, &prepared.targets).await?;
            }
            self.build(BuildStep::Indexes, &prepared.targets).await?;
            self.build(BuildStep::ForeignKeys, &prepared.targets).await?;
            let with_rows = prepared.targets.iter().filter(|target| target.with_rows).map(Ok::<_, Error>);
            stream::iter(with_rows)
                .try_for_each_concurrent(self.spec.parallelism.max(1), |target| {
                    self.patiently(|| self.spec.target.analyze(target))
                })
                .await?;
            self.patiently(|| self.spec.target.record_built()).await?;
        }
        self.create_objects(prepared, online).await?;
        self.set_identities(&prepared.targets).await
    }

    /// Creates views, routines and events; triggers too when nothing is applied any more.
    async fn create_objects(&self, prepared: &Prepared, online: bool) -> Result<()> {
        let spec = &self.spec;
        let tables = || prepared.routes.iter().map(|route| route.composed().as_ref());
        let Some(plan) = self.patiently(|| objects::plan(spec, &prepared.chain, tables())).await? else {
            return Ok(());
        };
        let now = plan.only(|kind| !online || kind != ObjectKind::Trigger);
        let refused = self.patiently(|| spec.target.create_objects(&now)).await?;
        self.note(refused)?;
        Failpoint::ObjectsCreated.reach();
        if !online {
            self.patiently(|| spec.target.enable_events(&spec.name)).await?;
        }
        Ok(())
    }

    pub(crate) async fn build(&self, step: BuildStep, targets: &[Arc<TargetTable>]) -> Result<()> {
        let jobs = self.spec.target.render_step(step, targets)?;
        self.progress.update(|report| report.builds_total += jobs.len() as u64);
        let slots = Arc::new(Semaphore::new(self.spec.parallelism.max(1)));
        let mut running = JoinSet::new();
        for job in jobs {
            let (target, progress) = (Arc::clone(&self.spec.target), Arc::clone(&self.progress));
            let (slots, stop, gate) = (Arc::clone(&slots), self.stop.clone(), Arc::clone(&self.gate));
            running.spawn(async move {
                let _slot = slots.acquire_owned().await;
                let _pass = gate.enter().await?;
                progress.update(|report| report.building.push(job.label.clone()));
                let result = retried(&stop, || target.build(&job)).await;
                progress.update(|report| {
                    report.building.retain(|label| *label != job.label);
                    report.builds_done += u64::from(result.is_ok());
                });
                result
            });
        }
        let all = async {
            while let Some(ended) = running.join_next().await {
                ended.map_err(|error| {
                    Error::new(ErrorKind::Internal, "building an index ended unexpectedly").caused_by(error)
                })??;
            }
            Ok(())
        };
        self.unless_stopped(all).await
    }

    pub(super) async fn set_identities(&self, targets: &[Arc<TargetTable>]) -> Result<()> {
        if self.patiently(|| identities::set(&self.spec, targets)).await? == 0 {
            return Ok(());
        }
        Failpoint::IdentitiesSet.reach();
        Ok(())
    }
}
