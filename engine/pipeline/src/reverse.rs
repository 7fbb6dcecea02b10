//! The way back: what applications change in the target of a task, after its cut-over, goes to its source.
//!
//! It is a task like any other, with the two databases in each other's places, whose plan is the inverse of
//! the other's ([`Inverse`]). It has nothing to create and to copy: at the place where it begins both sides
//! have the same rows.

mod inverse;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use engine_core::error::{Error, ErrorKind, Result};
use engine_core::failpoint::Failpoint;
use engine_core::plan::TargetTable;
use engine_core::position::{Position, Watermarks};
use engine_core::schema::{TableName, TableSchema};
use engine_core::selection::Selection;
use engine_core::source::{ChunkRange, Source};
use engine_core::structure::RecordedTable;
use engine_core::target::ChunkRecord;

use crate::chain::Chain;
use crate::plan::{self, TaskPlan};
use crate::state::{RunContext, Store, TaskDirectory};
use crate::task::{Mode, TaskSpec};

pub use inverse::Inverse;

/// Name of the way back of `task`.
pub fn task_name(task: &str) -> String {
    format!("{task}-back")
}

/// The tables that it is about.
pub(crate) fn selection<'a>(targets: impl IntoIterator<Item = &'a Arc<TargetTable>>) -> Selection {
    let include = targets.into_iter().map(|table| table.name.to_string()).collect();
    Selection { database: None, include, exclude: Vec::new() }
}

/// Fails unless every table is there under the name that the plan has for it: one that is not would be left out
/// in silence.
async fn require_tables(source: &dyn Source, targets: &[Arc<TargetTable>]) -> Result<Vec<TableSchema>> {
    let schemas = source.catalog(&selection(targets)).await?;
    let there: HashSet<&TableName> = schemas.iter().map(|schema| &schema.name).collect();
    match targets.iter().find(|table| !there.contains(&table.name)) {
        None => Ok(schemas),
        Some(missing) => {
            Err(Error::new(ErrorKind::Precondition, "a table can't be followed on the way back")
                .at("table", &missing.name)
                .because("it was dropped or renamed, or the server has cut its name")
                .help("give the table its name back, or leave it out of the task that is to have a way back"))
        }
    }
}

/// Completes the way back of `forward`, which was cut over, into the database that was its source.
pub async fn open(forward: &TaskSpec) -> Result<TaskSpec> {
    let task = &forward.name;
    let over = forward.target.cut_over(task).await?.ok_or_else(|| {
        Error::new(ErrorKind::Precondition, "the task was not cut over, so there is nothing to go back from")
            .at("task", task)
            .help(format!("engine cutover {task} --way-back moves over, and prepares the way back"))
    })?;
    let start = over.way_back.ok_or_else(|| {
        Error::new(ErrorKind::Precondition, "the task was cut over without a way back")
            .at("task", task)
            .because("the target has kept no log of what was written to it since")
            .help("begin a task of its own from the one database to the other, with tables of other names")
    })?;
    if let Ok(state) = forward.source.write_state().await
        && state.frozen
    {
        let mut error =
            Error::new(ErrorKind::Precondition, "the database that the way back leads to refuses writes")
                .at("target", &forward.source_label)
                .because(state.setting);
        if let Some(before) = over.before {
            error =
                error.help(format!("keep applications away from it, and run there: {}", before.statement));
        }
        return Err(error);
    }
    let spec = inverted(forward).await?;
    adopt(&spec, &start).await?;
    Ok(spec)
}

/// The plan that the way back of `forward` would have. Fails where it could have none.
pub(crate) async fn plan(forward: &TaskSpec) -> Result<TaskPlan> {
    let spec = inverted(forward).await?;
    let (plan, _) = planned(&spec).await?;
    for table in plan.tables.iter().filter(|table| table.target.with_rows) {
        let fits = spec.target.row_check(&Arc::new(table.target.clone())).await;
        fits.map_err(|error| error.help("cut over without a way back, or leave the table out of the task"))?;
    }
    Ok(plan)
}

async fn inverted(forward: &TaskSpec) -> Result<TaskSpec> {
    let (task, name) = (&forward.name, task_name(&forward.name));
    let target = forward.source.as_target().await?;
    let chain = Chain::load(forward, &RunContext::of_task(task)).await?;
    let recorded = forward.target.structure(task).await?;
    let schemas = recorded.into_iter().map(|table| table.schema).collect();
    let plan = plan::from_schemas(forward, &chain, schemas).await?;
    let inverse = Inverse::of(plan.tables, &forward.source.catalog(&forward.selection).await?)?;
    Ok(TaskSpec {
        source: forward.target.as_source(&name, &forward.source_label).await?,
        target,
        source_label: forward.target_label.clone(),
        target_label: forward.source_label.clone(),
        selection: selection(&inverse.targets()),
        mode: Mode::Online,
        plugins: Vec::new(),
        plugin_config: BTreeMap::new(),
        inverse: Some(Arc::new(inverse)),
        structure_by_hand: Vec::new(),
        name,
        ..forward.clone()
    })
}

/// The plan of a way back, and the tables as they are where it begins.
async fn planned(spec: &TaskSpec) -> Result<(TaskPlan, Vec<TableSchema>)> {
    let chain = Chain::load(spec, &RunContext::of_task(&spec.name)).await?;
    let targets = spec.inverse.as_ref().map(|inverse| inverse.targets()).unwrap_or_default();
    let schemas = require_tables(spec.source.as_ref(), &targets).await?;
    // What was added since has no place to go back to, and is not in every row of the stream.
    let schemas: Vec<TableSchema> = match &spec.inverse {
        Some(inverse) => schemas.iter().map(|schema| inverse.restrict(schema)).collect::<Result<_>>()?,
        None => schemas,
    };
    Ok((plan::from_schemas(spec, &chain, schemas.clone()).await?, schemas))
}

/// Registers the task with its target as one that has copied everything. Doing it again after a crash is doing
/// it.
async fn adopt(spec: &TaskSpec, start: &Position) -> Result<()> {
    let target = &spec.target;
    match target.task(&spec.name).await? {
        Some(record) if record.start.as_ref() != Some(start) => {
            let is_older = record.start.is_some_and(|first| spec.source.is_begun_anew(&first, start));
            if !is_older {
                return Err(Error::new(ErrorKind::State, "the target knows another task of the name of the way back")
                    .at("task", &spec.name)
                    .help("tasks that share a server need names of their own: give them with --name from the first run on"));
            }
            // The way back of a cut-over before this one.
            target.forget(&spec.name).await?;
            Store::open(TaskDirectory::open(&spec.state_dir, &spec.name)?.path())?.clear()?;
        }
        Some(record) if record.built => return Ok(()),
        _ => {}
    }
    let (plan, schemas) = planned(spec).await?;
    let tables: Vec<Arc<TargetTable>> =
        plan.tables.iter().map(|table| Arc::new(table.target.clone())).collect();
    target.claim(&spec.name, &plan.digest, Some(start)).await?;
    Failpoint::TaskClaimed.reach();
    // As it was where the log begins: the stream tells what has changed since.
    let recorded: Vec<RecordedTable> =
        schemas.into_iter().map(|schema| RecordedTable { schema, as_of: None }).collect();
    target.record_structure(&recorded).await?;
    Failpoint::StructureRecorded.reach();
    target.adopt_tables(&tables).await?;
    Failpoint::TablesCreated.reach();
    let done = target.task(&spec.name).await?.map(|record| record.chunks).unwrap_or_default();
    let mut loader = target.open_loader().await?;
    for table in tables.iter().filter(|table| table.with_rows) {
        if done.iter().any(|chunk| chunk.table == table.source) {
            continue;
        }
        loader.begin(table).await?;
        let record = ChunkRecord {
            table: table.source.clone(),
            number: 0,
            range: ChunkRange { after: None, to: None },
            rows: 0,
            watermarks: Watermarks { low: start.clone(), high: start.clone() },
        };
        loader.commit(&record).await?;
    }
    target.flush().await?;
    Failpoint::CopyDone.reach();
    target.record_built().await
}
