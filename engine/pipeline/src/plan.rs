//! The plan of a task: every table through the chain of plugins, and the target's statements for it.

pub(crate) mod difference;

use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::sync::Arc;

use engine_core::endpoint::Endpoint;
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::finding::Finding;
use engine_core::plan::{ColumnRule, TargetTable};
use engine_core::schema::{TableName, TableSchema};
use engine_core::target::{BuildStep, Target};

use crate::cascades;
use crate::chain::Chain;
use crate::compose::{self, Composed};
use crate::merged;
use crate::state::{PluginRecord, RunContext};
use crate::task::{Mode, TaskSpec};

/// The plan as the phases use it.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskPlan {
    /// The tables, by source name.
    pub tables: Vec<Composed>,
    /// Tables that the plugins leave out, and why.
    pub skipped: Vec<(TableName, String)>,
    /// Digest over plugins, configuration and tables.
    pub digest: String,
}

impl TaskPlan {
    /// A failure for each foreign key that keeps a table from being followed.
    pub(crate) fn unlogged_cascades(&self, source: &Endpoint) -> Vec<Finding> {
        let with_rows = self.tables.iter().filter(|table| table.target.with_rows);
        cascades::check(source, with_rows.map(|table| &table.schema))
    }
}

/// The plan for a reader.
#[derive(Debug, Clone, Serialize)]
pub struct PlanReport {
    /// The tables, by source name.
    pub tables: Vec<PlannedTable>,
    /// Tables that the plugins leave out, and why.
    pub skipped: Vec<(TableName, String)>,
    /// What the checks of source and target found.
    pub findings: Vec<Finding>,
    /// Statements before rows are copied, in order.
    pub before_load: Vec<String>,
    /// Statements after, in order.
    pub after_load: Vec<String>,
}

/// A table of the plan.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedTable {
    /// The source table.
    pub source: TableName,
    /// The target table.
    pub target: TargetTable,
    /// What becomes of each source column, then the columns that plugins add.
    pub columns: Vec<ColumnDecision>,
    /// Decisions and warnings.
    pub findings: Vec<Finding>,
}

/// What becomes of a column.
#[derive(Debug, Clone, Serialize)]
pub struct ColumnDecision {
    /// Source column; the target's name for a column that a plugin adds.
    pub column: String,
    /// Source type; empty for an added column.
    pub native: String,
    /// Target column; `None` when it is dropped.
    pub target_column: Option<String>,
    /// Target type.
    pub target_type: Option<String>,
    /// Default in the target's SQL.
    pub default: Option<String>,
    /// Conversions in order.
    pub conversions: Vec<String>,
}

/// Plans without touching anything.
pub async fn plan(spec: &TaskSpec) -> Result<PlanReport> {
    let context = RunContext::of_task(&spec.name);
    let chain = Chain::load(spec, &context).await?;
    let plan = build(spec, &chain).await?;
    let online = spec.mode == Mode::Online;
    let mut findings = spec.source.check(&spec.selection, online).await?;
    if online {
        findings.extend(plan.unlogged_cascades(spec.source.endpoint()));
    }
    let targets: Vec<Arc<TargetTable>> =
        plan.tables.iter().map(|table| Arc::new(table.target.clone())).collect();
    findings.extend(spec.target.check(&spec.name, &targets, online).await?);
    let (before_load, after_load) = statements(spec.target.as_ref(), &targets)?;
    Ok(PlanReport {
        tables: plan.tables.into_iter().map(describe).collect(),
        skipped: plan.skipped,
        findings,
        before_load,
        after_load,
    })
}

/// Asks the plugins about every table of the selection.
pub(crate) async fn build(spec: &TaskSpec, chain: &Chain) -> Result<TaskPlan> {
    from_catalog(spec, chain, catalog(spec).await?).await
}

/// Asks the plugins about tables as the source has them now, all of them at once.
pub(crate) async fn from_catalog(
    spec: &TaskSpec,
    chain: &Chain,
    schemas: Vec<TableSchema>,
) -> Result<TaskPlan> {
    let plan = from_schemas(spec, chain, schemas).await?;
    merged::require_alike(&plan.tables)?;
    Ok(plan)
}

/// The tables of the source; there must be some.
pub(crate) async fn catalog(spec: &TaskSpec) -> Result<Vec<TableSchema>> {
    let schemas = spec.source.catalog(&spec.selection).await?;
    if schemas.is_empty() {
        return Err(Error::new(ErrorKind::Usage, "no table of the source belongs to the task")
            .at("source", &spec.source_label)
            .help("check the database in the source URL and the --include and --exclude patterns"));
    }
    Ok(schemas)
}

/// Asks the plugins about tables. Of those that are merged, some may have changed as others have yet to.
pub(crate) async fn from_schemas(
    spec: &TaskSpec,
    chain: &Chain,
    mut schemas: Vec<TableSchema>,
) -> Result<TaskPlan> {
    // By the bytes of their names: every server and every collation orders them otherwise.
    schemas.sort_by(|left, right| left.name.cmp(&right.name));
    let (mut tables, skipped) = chain.plan(schemas, spec.source.endpoint(), spec.target.endpoint()).await?;
    compose::resolve_foreign_keys(&mut tables);
    merged::require_distinct(&tables)?;
    let digest = digest(&chain.records(), &tables)?;
    if let Some(inverse) = &spec.inverse {
        tables.iter_mut().for_each(|table| inverse.fit(&mut table.target));
    }
    Ok(TaskPlan { tables, skipped, digest })
}

fn statements(target: &dyn Target, tables: &[Arc<TargetTable>]) -> Result<(Vec<String>, Vec<String>)> {
    let mut before = Vec::new();
    let mut known = HashSet::new();
    for table in tables {
        for statement in target.render_table(table)? {
            // Several tables need the same schema.
            if known.insert(statement.clone()) {
                before.push(statement);
            }
        }
    }
    let mut after = Vec::new();
    for step in [BuildStep::RowKeys, BuildStep::Indexes, BuildStep::ForeignKeys] {
        after.extend(target.render_step(step, tables)?.into_iter().flat_map(|job| job.statements));
    }
    Ok((before, after))
}

/// Statistics and counters move all the time; the rest of a schema is part of the plan.
fn without_counters(schema: &TableSchema) -> TableSchema {
    TableSchema { row_estimate: None, byte_estimate: None, next_identity: None, ..schema.clone() }
}

fn digest(plugins: &[PluginRecord], tables: &[Composed]) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut feed = |bytes: serde_json::Result<Vec<u8>>| match bytes {
        Ok(bytes) => {
            hasher.update((bytes.len() as u64).to_le_bytes());
            hasher.update(&bytes);
            Ok(())
        }
        Err(error) => Err(Error::new(ErrorKind::Internal, "the plan can't be written").caused_by(error)),
    };
    feed(serde_json::to_vec(plugins))?;
    for table in tables {
        feed(serde_json::to_vec(&without_counters(&table.schema)))?;
        feed(serde_json::to_vec(&(&table.target, &table.reads, &table.stages)))?;
    }
    Ok(hex::encode(hasher.finalize()))
}

fn describe(table: Composed) -> PlannedTable {
    let mut columns: Vec<ColumnDecision> = table
        .schema
        .columns
        .iter()
        .map(|column| {
            let target = table
                .target
                .columns
                .iter()
                .find(|target| target.source_name == column.name && target.generated.is_none());
            ColumnDecision {
                column: column.name.clone(),
                native: column.native.clone(),
                target_column: target.map(|target| target.name.clone()),
                target_type: target.map(|target| target.target_type.clone()),
                default: target.and_then(|target| target.default.clone()),
                conversions: conversions(&table, &column.name),
            }
        })
        .collect();
    let added = table
        .target
        .columns
        .iter()
        .filter(|target| table.schema.columns.iter().all(|column| column.name != target.source_name));
    columns.extend(added.map(|target| ColumnDecision {
        column: target.name.clone(),
        native: String::new(),
        target_column: Some(target.name.clone()),
        target_type: Some(target.target_type.clone()),
        default: target.default.clone(),
        conversions: target.generated.iter().map(|expression| format!("generated as {expression}")).collect(),
    }));
    PlannedTable { source: table.schema.name, target: table.target, columns, findings: table.findings }
}

/// The native operations and row code on a source column, through every stage.
fn conversions(table: &Composed, source_name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut name = source_name.to_owned();
    for planned in &table.planned {
        let Some(place) = planned.schema.columns.iter().position(|column| column.name == name) else { break };
        if planned.plan.transform_writes.contains(&engine_core::plan::WriteColumn::Input(place)) {
            found.push("rewritten by row code".to_owned());
        }
        if let Some(ColumnRule::Remap(mapping)) = planned.plan.columns.get(place) {
            found.extend(mapping.ops.iter().map(|op| format!("{op:?}")));
            if let Some(renamed) = &mapping.name {
                name.clone_from(renamed);
            }
        }
    }
    found
}
