//! Before a task's first row: a look around, a question about what is risky, and the hour.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use engine_core::error::{Error, ErrorKind, Result};
use engine_core::finding::Finding;
use engine_core::plan::TargetTable;

use crate::chain::Chain;
use crate::objects;
use crate::plan::TaskPlan;
use crate::precheck::{self, worth_asking};
use crate::run::Task;
use crate::state::RunContext;
use crate::task::Mode;

/// How often the countdown is told.
const TICK: Duration = Duration::from_millis(500);

impl Task {
    /// Looks around on both sides and, when `checked` has warnings worth it, asks whether to begin.
    /// Only once in the life of a task; nothing was written before.
    pub(crate) async fn ask_to_begin(
        &self,
        chain: &Chain,
        plan: &TaskPlan,
        targets: &[Arc<TargetTable>],
        checked: &[Finding],
    ) -> Result<()> {
        let spec = &self.spec;
        let objects = objects::plan(spec, chain, &plan.tables).await?;
        let needs = precheck::needs(spec, Some(plan), objects.is_some());
        if let Some(objects) = objects {
            self.note(objects.findings)?;
            self.note(spec.target.check_objects(&spec.name, &objects.objects).await?)?;
        }
        self.note(spec.source.survey(&spec.selection, &needs).await?)?;
        self.note(spec.target.survey(&spec.name, targets, &needs).await?)?;
        let warnings = worth_asking(checked);
        if warnings.is_empty() || self.options.consent.to_begin(&warnings).await? {
            return Ok(());
        }
        let subjects: Vec<&str> = warnings.iter().map(|warning| warning.subject.as_str()).collect();
        let fixes: Vec<&str> = warnings.iter().filter_map(|warning| warning.fix.as_deref()).collect();
        let instead = if fixes.is_empty() { String::new() } else { format!("\n{}", fixes.join("\n")) };
        Err(Error::new(ErrorKind::Precondition, "the task does not begin because of warnings")
            .at("task", &spec.name)
            .at("check", subjects.join(", "))
            .because(warnings.iter().map(|warning| warning.message.as_str()).collect::<Vec<_>>().join("; "))
            .help(format!("to begin all the same: --accept-warnings{instead}")))
    }

    /// Makes every check now for a start later, of a task that has not begun.
    pub(crate) async fn rehearse(&self, checked: Vec<Finding>) -> Result<()> {
        let spec = &self.spec;
        if spec.target.task(&spec.name).await?.is_some() {
            return Ok(());
        }
        let chain = Chain::load(spec, &RunContext::of_task(&spec.name)).await?;
        let plan = crate::plan::build(spec, &chain).await?;
        let targets: Vec<Arc<TargetTable>> =
            plan.tables.iter().map(|table| Arc::new(table.target.clone())).collect();
        let online = spec.mode == Mode::Online;
        let of_target = spec.target.check(&spec.name, &targets, online).await?;
        self.note(of_target.clone())?;
        let checked: Vec<Finding> = checked.into_iter().chain(of_target).collect();
        self.ask_to_begin(&chain, &plan, &targets, &checked).await
    }

    /// Waits until the hour, telling how long it still is.
    pub(crate) async fn wait_until(&self, hour: SystemTime) -> Result<()> {
        while let Ok(left) = hour.duration_since(SystemTime::now()) {
            let _pass = self.gate.enter().await?;
            let seconds = left.as_secs();
            let text =
                format!("it begins in {}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
            self.progress.update(|report| report.waits_for = Some(text));
            self.unless_stopped(async {
                tokio::time::sleep(left.min(TICK)).await;
                Ok(())
            })
            .await?;
        }
        self.progress.update(|report| report.waits_for = None);
        Ok(())
    }
}
