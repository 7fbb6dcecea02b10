//! All there is to check before a task begins, as a list for a person to read.

use serde::Serialize;
use std::sync::Arc;

use engine_core::error::{Error, ErrorKind, Result};
use engine_core::finding::{Finding, Severity};
use engine_core::plan::TargetTable;
use engine_core::survey::Needs;

use crate::chain::Chain;
use crate::cut_over;
use crate::objects::{self, ObjectPlan};
use crate::plan::{self, TaskPlan};
use crate::state::RunContext;
use crate::task::{Mode, TaskSpec};

/// Connections beside those of the workers.
const FURTHER_CONNECTIONS: u64 = 4;

/// What an item is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The source's server.
    Source,
    /// The tables and what becomes of them.
    Tables,
    /// The target's server.
    Target,
}

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// What it is about.
    pub side: Side,
    /// Whether a run asks about it before a task begins.
    pub asks: bool,
    /// What was found.
    #[serde(flatten)]
    pub finding: Finding,
}

/// The list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Precheck {
    /// The items, source first.
    pub items: Vec<Item>,
}

impl Precheck {
    /// How many items are of this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.items.iter().filter(|item| item.finding.severity == severity).count()
    }

    fn add(&mut self, side: Side, findings: impl IntoIterator<Item = Finding>) {
        self.items.extend(findings.into_iter().map(|finding| Item { side, asks: false, finding }));
    }

    /// Takes what a look around found; that it can't be had is a failed item of its own.
    fn take(&mut self, side: Side, subject: &str, findings: Result<Vec<Finding>>) {
        match findings {
            Ok(findings) => self.add(side, findings),
            Err(error) => self.add(side, [failed(subject, &error)]),
        }
    }

    /// Takes what a check found, which a run asks about.
    fn take_check(&mut self, side: Side, subject: &str, findings: Result<Vec<Finding>>) {
        let first = self.items.len();
        self.take(side, subject, findings);
        for item in self.items.iter_mut().skip(first) {
            item.asks = is_worth_asking(&item.finding);
        }
    }
}

/// Checks everything, also where something has failed already. Writes nothing.
pub async fn precheck(spec: &TaskSpec) -> Result<Precheck> {
    let online = spec.mode == Mode::Online;
    let mut list = Precheck { items: Vec::new() };
    let endpoint = |side: &str, label: &str, endpoint: &engine_core::endpoint::Endpoint| Finding {
        severity: Severity::Pass,
        subject: format!("{side} connection"),
        message: format!("{} {} answers at {label}", endpoint.engine, endpoint.version),
        fix: None,
    };
    list.add(Side::Source, [endpoint("source", &spec.source_label, spec.source.endpoint())]);
    let checked = spec.source.check(&spec.selection, online).await;
    list.take_check(Side::Source, "source", checked);

    let planned = planned(spec).await;
    let (plan, objects) = match planned {
        Ok((plan, objects)) => (Some(plan), objects),
        Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
        Err(error) => {
            list.add(Side::Tables, [failed("plan", &error)]);
            (None, Ok(None))
        }
    };
    let has_objects = matches!(&objects, Ok(Some(_)) | Err(_));
    let needs = needs(spec, plan.as_ref(), has_objects);
    list.take(Side::Source, "source", spec.source.survey(&spec.selection, &needs).await);
    let targets = plan.as_ref().map(targets).unwrap_or_default();
    if let Some(plan) = &plan {
        list.add(Side::Tables, of_plan(spec, plan));
    }
    list.add(Side::Target, [endpoint("target", &spec.target_label, spec.target.endpoint())]);
    if let Err(error) = cut_over::refuse_if_over(spec).await
        && error.kind() == ErrorKind::State
    {
        list.add(Side::Target, [failed("task", &error)]);
    }
    let checked = spec.target.check(&spec.name, &targets, online).await;
    list.take_check(Side::Target, "target", checked);
    list.take(Side::Target, "target", spec.target.survey(&spec.name, &targets, &needs).await);
    match objects {
        Ok(None) => {}
        Ok(Some(objects)) => {
            let checked = spec.target.check_objects(&spec.name, &objects.objects).await;
            list.add(Side::Tables, objects.findings);
            list.take(Side::Target, "objects", checked);
            list.take(Side::Source, "accounts", spec.source.accounts(&spec.selection).await);
        }
        Err(error) => list.add(Side::Tables, [failed("objects", &error)]),
    }
    list.items.sort_by_key(|item| item.side);
    Ok(list)
}

/// The plan, and that of objects, which may fail by itself.
async fn planned(spec: &TaskSpec) -> Result<(TaskPlan, Result<Option<ObjectPlan>>)> {
    let chain = Chain::load(spec, &RunContext::of_task(&spec.name)).await?;
    let plan = plan::build(spec, &chain).await?;
    let objects = objects::plan(spec, &chain, &plan.tables).await;
    Ok((plan, objects))
}

fn targets(plan: &TaskPlan) -> Vec<Arc<TargetTable>> {
    plan.tables.iter().map(|table| Arc::new(table.target.clone())).collect()
}

/// What the task will ask of either server.
pub(crate) fn needs(spec: &TaskSpec, plan: Option<&TaskPlan>, objects_planned: bool) -> Needs {
    let with_rows = plan.map(|plan| plan.tables.iter().filter(|table| table.target.with_rows));
    Needs {
        connections: spec.parallelism.max(1) as u64 + FURTHER_CONNECTIONS,
        bytes: with_rows.and_then(|tables| tables.map(|table| table.schema.byte_estimate).sum()),
        online: spec.mode == Mode::Online,
        objects_planned,
    }
}

/// What the plan itself has to say, in the order of the tables.
fn of_plan(spec: &TaskSpec, plan: &TaskPlan) -> Vec<Finding> {
    let mut findings = vec![Finding {
        severity: Severity::Pass,
        subject: "plan".into(),
        message: match plan.skipped.len() {
            0 => format!("{} tables have a place in the target", plan.tables.len()),
            skipped => format!(
                "{} tables have a place in the target, {skipped} are left out by the plugins",
                plan.tables.len()
            ),
        },
        fix: None,
    }];
    if spec.mode == Mode::Online {
        findings.extend(plan.unlogged_cascades(spec.source.endpoint()));
    }
    findings.extend(plan.tables.iter().flat_map(|table| table.findings.iter().cloned()));
    findings
}

/// The warnings for which somebody is asked before a task begins: those about a server as a whole.
/// What a plan decides about single tables has its own place, the plugins' configuration.
pub(crate) fn worth_asking(findings: &[Finding]) -> Vec<Finding> {
    findings.iter().filter(|finding| is_worth_asking(finding)).cloned().collect()
}

fn is_worth_asking(finding: &Finding) -> bool {
    finding.severity == Severity::Warning
        && ["source ", "target "].iter().any(|side| finding.subject.starts_with(side))
}

/// The error of a check as an item.
pub fn failed(subject: &str, error: &Error) -> Finding {
    let place: Vec<String> = error.place().iter().map(|(name, value)| format!("{name} {value}")).collect();
    let place = if place.is_empty() { String::new() } else { format!(" ({})", place.join(", ")) };
    let why = error.why().map(|why| format!(": {why}")).unwrap_or_default();
    Finding {
        severity: Severity::Failed,
        subject: subject.to_owned(),
        message: format!("{}{place}{why}", error.what()),
        fix: error.remedy().map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_warnings_about_servers_are_asked_about() {
        let finding = |severity, subject: &str| Finding {
            severity,
            subject: subject.into(),
            message: String::new(),
            fix: None,
        };
        let findings = [
            finding(Severity::Warning, "source tables"),
            finding(Severity::Note, "source gtid_mode"),
            finding(Severity::Warning, "shop.orders.note"),
            finding(Severity::Warning, "target version"),
        ];
        let asked: Vec<String> = worth_asking(&findings).into_iter().map(|finding| finding.subject).collect();
        assert_eq!(asked, ["source tables", "target version"]);
    }
}
