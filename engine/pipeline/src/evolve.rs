//! A change of structure in the stream, carried over: the source says what its statement did to which
//! tables, the plugins plan the tables of before and of after, and the target makes the difference,
//! in one transaction with the record of both and the position.
//!
//! Everything is read from the target's record, so that the one call, [`apply`], can be made by
//! whoever follows, whenever everything before the statement is committed and nobody else writes.

mod columns;
mod merged;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_core::change::SchemaChange;
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::failpoint::Failpoint;
use engine_core::finding::Severity;
use engine_core::plan::TargetTable;
use engine_core::position::Position;
use engine_core::schema::{TableName, TableSchema};
use engine_core::structure::{
    ColumnOrigin, Evolution, RecordedTable, StructureKind, TableEvolution, TargetAction, TargetEvolution,
};
use engine_core::target::TaskRecord;
use engine_plugin::{DdlAction, DdlEvent};

use crate::chain::Chain;
use crate::compose::Composed;
use crate::plan::{self, TaskPlan};
use crate::task::TaskSpec;

/// Carries out `change`, after which the stream goes on at `position`; answers the plan from there on.
///
/// Everything before the statement must be committed in the target, with a position before it. An
/// error means that the target stands where it stood; one that [may pass](ErrorKind::Transient)
/// can be met by calling again, since what is done already is found to be.
pub(crate) async fn apply(
    spec: &TaskSpec,
    chain: &Chain,
    change: &SchemaChange,
    position: &Position,
) -> Result<TaskPlan> {
    let evolver = Evolver { spec, chain, change, position };
    evolver.apply().await.map_err(|error| evolver.explain(error))
}

struct Evolver<'a> {
    spec: &'a TaskSpec,
    chain: &'a Chain,
    change: &'a SchemaChange,
    position: &'a Position,
}

/// The tables before and after.
struct Structures {
    before: BTreeMap<TableName, RecordedTable>,
    after: BTreeMap<TableName, RecordedTable>,
    forgotten: Vec<TableName>,
}

impl Evolver<'_> {
    async fn apply(&self) -> Result<TaskPlan> {
        let Self { spec, chain, change, position } = self;
        let missing = || Error::new(ErrorKind::State, "the target does not know where the task stands");
        let record = spec.target.task(&spec.name).await?.ok_or_else(missing)?;
        let recorded = spec.target.structure(&spec.name).await?;
        let schemas: Vec<TableSchema> = recorded.iter().map(|table| table.schema.clone()).collect();
        let before = plan::from_schemas(spec, chain, schemas.clone()).await?;
        if before.digest != record.plan_digest {
            return Err(Error::new(ErrorKind::State, "the plan is not the one on record in the target")
                .at("task", &spec.name)
                .help("go back to the plugins and configuration that the task was begun with"));
        }
        let stands = record.position.as_ref().or(record.start.as_ref()).ok_or_else(missing)?;
        if !change.with_rows && spec.source.covers(stands, position)? {
            return Ok(before);
        }
        let (evolutions, as_of) = if self.is_by_hand() {
            self.by_hand(&schemas).await?
        } else {
            let read = self.read(&schemas, &recorded, &record).await;
            let evolutions = self.unless_left_out(read, &before)?;
            self.keep_tables_on_the_way_back(&evolutions)?;
            (evolutions, None)
        };
        let structures = Structures::new(recorded, &evolutions, as_of.as_ref())?;
        let schemas = structures.after.values().map(|table| table.schema.clone()).collect();
        let after = plan::from_schemas(spec, chain, schemas).await?;
        self.check_cascades(&before, &after)?;
        let changes = self.changes(&evolutions, &before, &after).await?;
        let arcs = |plan: &TaskPlan| plan.tables.iter().map(|table| Arc::new(table.target.clone())).collect();
        let is_new = |table: &&RecordedTable| structures.before.get(&table.schema.name) != Some(*table);
        let evolution = Evolution {
            before: arcs(&before),
            after: arcs(&after),
            changes,
            forgotten: structures.forgotten.clone(),
            recorded: structures.after.values().filter(is_new).cloned().collect(),
            old_digest: before.digest,
            new_digest: after.digest.clone(),
            position: (*position).clone(),
        };
        spec.target.evolve(&evolution).await?;
        Failpoint::StructureCommitted.reach();
        tracing::info!(statement = change.statement, position = %position, "the structure has changed");
        Ok(after)
    }

    /// What the statement did, where that can be told.
    async fn read(
        &self,
        schemas: &[TableSchema],
        recorded: &[RecordedTable],
        record: &TaskRecord,
    ) -> Result<Vec<TableEvolution>> {
        let source = self.spec.source.as_ref();
        let mut evolutions = source.evolve(self.change, schemas, &self.spec.selection).await?;
        let drops = |evolution: &TableEvolution| evolution.kind == StructureKind::DropTable;
        if self.change.with_rows && evolutions.iter().any(drops) {
            return Err(unsupported("it replaces a table and writes rows in one statement"));
        }
        for evolution in &mut evolutions {
            window::check(source, evolution, recorded, record, self.position)?;
        }
        Ok(evolutions)
    }

    /// Passes over what can't be told about tables that the plugins leave out.
    fn unless_left_out(
        &self,
        read: Result<Vec<TableEvolution>>,
        before: &TaskPlan,
    ) -> Result<Vec<TableEvolution>> {
        let left_out = |name: &TableName| before.skipped.iter().any(|(skipped, _)| skipped == name);
        match read {
            Err(error)
                if error.kind() == ErrorKind::Unrepresentable
                    && !self.change.tables.is_empty()
                    && self.change.tables.iter().all(left_out) =>
            {
                Ok(Vec::new())
            }
            read => read,
        }
    }

    /// The tables that a way back leads to are those that the way there began with.
    fn keep_tables_on_the_way_back(&self, evolutions: &[TableEvolution]) -> Result<()> {
        let stays = |evolution: &&TableEvolution| {
            evolution.before.as_ref() == evolution.after.as_ref().map(|table| &table.name)
        };
        match evolutions.iter().find(|evolution| !stays(evolution)) {
            Some(other) if self.spec.inverse.is_some() => {
                let why = "on the way back no table is created, dropped or renamed";
                Err(unsupported(why).at("table", name_of(other)))
            }
            _ => Ok(()),
        }
    }

    /// The structure that the tables have today, which the user says that the target has too, and
    /// what reading it can have seen.
    async fn by_hand(&self, schemas: &[TableSchema]) -> Result<(Vec<TableEvolution>, Option<Position>)> {
        let source = &self.spec.source;
        let now = match source.structure_after(self.change, schemas).await? {
            Some(table) => vec![table],
            None => source.catalog(&self.spec.selection).await?,
        };
        let mut evolutions = Vec::new();
        for name in &self.change.tables {
            let before = schemas.iter().find(|table| table.name == *name);
            let after = now.iter().find(|table| table.name == *name);
            let columns = match (before, after) {
                (Some(before), Some(after)) => columns::by_name(before, after),
                _ => Vec::new(),
            };
            if before.is_some() || after.is_some() {
                evolutions.push(TableEvolution {
                    kind: StructureKind::AlterTable,
                    before: before.map(|table| table.name.clone()),
                    after: after.cloned(),
                    columns,
                    emptied: false,
                });
            }
        }
        Ok((evolutions, Some(self.spec.source.high_watermark().await?)))
    }

    /// Identifies the statement at its place, for a user who takes the matter into their own hands.
    fn token(&self) -> String {
        token(self.change, self.position)
    }

    fn is_by_hand(&self) -> bool {
        self.spec.structure_by_hand.contains(&self.token())
    }

    fn check_cascades(&self, before: &TaskPlan, after: &TaskPlan) -> Result<()> {
        let endpoint = self.spec.source.endpoint();
        let known = before.unlogged_cascades(endpoint);
        let new = after.unlogged_cascades(endpoint).into_iter();
        let mut new = new.filter(|finding| finding.severity == Severity::Failed && !known.contains(finding));
        match new.next() {
            Some(finding) => Err(unsupported(&finding.message).at("table", finding.subject)),
            None => Ok(()),
        }
    }

    /// What the target is to do about each table.
    async fn changes(
        &self,
        evolutions: &[TableEvolution],
        before: &TaskPlan,
        after: &TaskPlan,
    ) -> Result<Vec<TargetEvolution>> {
        let (mut changes, mut events) = (Vec::new(), Vec::new());
        for evolution in evolutions {
            let old = evolution.before.as_ref().and_then(|name| find(before, name));
            let new = evolution.after.as_ref().and_then(|table| find(after, &table.name));
            let was_out = evolution.before.is_some() && old.is_none();
            let is_out = evolution.after.is_some() && new.is_none();
            match (was_out, is_out) {
                (true, true) => continue,
                (true, false) if new.is_none() => continue,
                (false, true) if old.is_none() => continue,
                (false, false) => {}
                _ => {
                    let why = "the plugins leave the table out before or after it, but not both";
                    return Err(unsupported(why).at("table", name_of(evolution)));
                }
            }
            changes.push(target_evolution(evolution, old, new)?);
            events.push(self.events(evolution, old, new));
        }
        let asked = if self.is_by_hand() {
            vec![DdlAction::Ignore; events.len()]
        } else {
            self.chain.map_ddl(events, self.spec.target.endpoint()).await?
        };
        for (change, action) in changes.iter_mut().zip(asked) {
            change.action = match action {
                DdlAction::Translate => merged::action(change, before)?,
                DdlAction::Ignore => TargetAction::Execute(Vec::new()),
                DdlAction::Execute(statements) => TargetAction::Execute(statements),
                DdlAction::Pause(why) => {
                    return Err(Error::new(
                        ErrorKind::Precondition,
                        "a plugin stops the task at a change of structure",
                    )
                    .because(why));
                }
            };
        }
        for change in changes.iter().filter(|change| change.action == TargetAction::Translate) {
            if let Some(table) = change.before.as_ref().filter(|table| table.is_shared())
                && self.spec.target.has_rows_of_others(&self.spec.name, table).await?
            {
                return Err(unsupported(
                    "the table is merged with those of other tasks, which have not changed yet",
                )
                .at("table", &table.source));
            }
        }
        // What follows for tables that the statement doesn't touch, such as children of a table that went.
        for old in &before.tables {
            let touched = |change: &TargetEvolution| change.source.as_ref() == Some(&old.schema.name);
            let Some(new) = find(after, &old.schema.name).filter(|_| !changes.iter().any(touched)) else {
                continue;
            };
            if old.target != new.target {
                let same = TableEvolution {
                    kind: StructureKind::AlterTable,
                    before: Some(old.schema.name.clone()),
                    after: Some(new.schema.clone()),
                    columns: (0..new.schema.columns.len()).map(ColumnOrigin::Kept).collect(),
                    emptied: false,
                };
                changes.push(target_evolution(&same, Some(old), Some(new))?);
            }
        }
        Ok(changes)
    }

    /// The event as each plugin of the chain sees it.
    fn events(
        &self,
        evolution: &TableEvolution,
        old: Option<&Composed>,
        new: Option<&Composed>,
    ) -> Vec<DdlEvent> {
        let shown = |table: Option<&Composed>, place: usize| {
            table.and_then(|table| table.planned.get(place)).map(|planned| planned.schema.clone())
        };
        (0..self.chain.len())
            .map(|place| DdlEvent {
                kind: evolution.kind.name().to_owned(),
                statement: self.change.statement.clone(),
                namespace: self.change.namespace.clone(),
                before: shown(old, place),
                after: shown(new, place),
                position: self.position.to_string(),
            })
            .collect()
    }

    /// Adds to an error which statement it is about, and the way on.
    fn explain(&self, error: Error) -> Error {
        let stops = matches!(
            error.kind(),
            ErrorKind::Unrepresentable | ErrorKind::Precondition | ErrorKind::Plugin | ErrorKind::Divergence
        );
        let remedy = error.remedy().map(str::to_owned);
        let error = error.at("statement", &self.change.statement).at("position", self.position);
        match remedy {
            _ if !stops => error,
            // What was done is in the log, also when it is undone.
            Some(remedy) if self.spec.inverse.is_some() => error.help(format!(
                "{remedy}; and if the task stops here again, run the same command with --structure-by-hand {}",
                self.token()
            )),
            Some(remedy) => error.help(remedy),
            None => error.help(format!(
                "nothing was changed, and the task stands before the statement. Bring the target to the new \
                 structure by hand, its rows too where the statement changes them, then run the same command \
                 with --structure-by-hand {}; or begin a new task under another --name",
                self.token()
            )),
        }
    }
}

/// What stands for a statement at its place in the stream.
fn token(change: &SchemaChange, position: &Position) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::new()
        .chain_update(&change.namespace)
        .chain_update([0])
        .chain_update(&change.statement)
        .chain_update([0])
        .chain_update(&position.0)
        .finalize();
    hex::encode(digest.get(..6).unwrap_or_default())
}

fn unsupported(why: &str) -> Error {
    Error::new(ErrorKind::Unrepresentable, "a change of structure on the source can't be followed")
        .because(why)
}

fn find<'p>(plan: &'p TaskPlan, name: &TableName) -> Option<&'p Composed> {
    plan.tables.iter().find(|table| table.schema.name == *name)
}

fn name_of(evolution: &TableEvolution) -> String {
    let name = evolution.before.as_ref().or(evolution.after.as_ref().map(|table| &table.name));
    name.map(ToString::to_string).unwrap_or_default()
}

fn target_evolution(
    evolution: &TableEvolution,
    old: Option<&Composed>,
    new: Option<&Composed>,
) -> Result<TargetEvolution> {
    let columns = match (old, new) {
        (Some(old), Some(new)) => {
            if old.target.with_rows != new.target.with_rows {
                return Err(unsupported("the plugins want its rows before or after it, but not both")
                    .at("table", name_of(evolution)));
            }
            columns::origins(evolution, old, new)
                .map_err(|why| unsupported(&why).at("table", name_of(evolution)))?
        }
        _ => Vec::new(),
    };
    let arc = |table: Option<&Composed>| -> Option<Arc<TargetTable>> {
        table.map(|table| Arc::new(table.target.clone()))
    };
    Ok(TargetEvolution {
        source: evolution.before.clone(),
        before: arc(old),
        after: arc(new),
        columns,
        emptied: evolution.emptied,
        action: TargetAction::Translate,
    })
}

impl Structures {
    fn new(
        recorded: Vec<RecordedTable>,
        evolutions: &[TableEvolution],
        now: Option<&Position>,
    ) -> Result<Self> {
        let before: BTreeMap<TableName, RecordedTable> =
            recorded.into_iter().map(|table| (table.schema.name.clone(), table)).collect();
        let mut after = before.clone();
        let mut forgotten = Vec::new();
        for name in evolutions.iter().filter_map(|evolution| evolution.before.as_ref()) {
            after.remove(name);
            forgotten.push(name.clone());
        }
        for evolution in evolutions {
            let Some(schema) = &evolution.after else { continue };
            // What was uncertain about the structure before stays so.
            let old = || evolution.before.as_ref().and_then(|name| before.get(name)?.as_of.clone());
            let as_of = now.cloned().or_else(old);
            let table = RecordedTable { schema: schema.clone(), as_of };
            if after.insert(schema.name.clone(), table).is_some() {
                return Err(Error::new(ErrorKind::Divergence, "two tables come to have one name")
                    .at("table", &schema.name));
            }
        }
        forgotten.retain(|name| !after.contains_key(name));
        Ok(Self { before, after, forgotten })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_known_by_itself_and_its_place() {
        let change = |statement: &str| SchemaChange {
            namespace: "d".to_owned(),
            tables: Vec::new(),
            statement: statement.to_owned(),
            executed_at: None,
            session: Vec::new(),
            with_rows: false,
        };
        let at = |place: &str| Position(place.to_owned());
        assert_eq!(token(&change("a"), &at("1")), token(&change("a"), &at("1")));
        assert_ne!(token(&change("a"), &at("1")), token(&change("a"), &at("2")));
        assert_ne!(token(&change("a"), &at("1")), token(&change("b"), &at("1")));
    }
}
