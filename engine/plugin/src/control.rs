//! The instance that plans and decides; one per plugin and task.

use engine_core::endpoint::Endpoint;
use engine_core::object::{DatabaseObject, Definer, ObjectAction, ObjectMapping};
use engine_core::plan::{Scalar, StagePlan};
use engine_core::schema::{TableName, TableSchema};
use engine_core::{Error, ErrorKind, Result};
use wasmtime::Store;

use crate::bindings::contract::{conflicts, ddl, objects};
use crate::convert::{self, plan, schema};
use crate::host::Host;
use crate::instance::{Exported, Instance};
use crate::plugin::Plugin;
use crate::settings::Settings;
use crate::validate;

/// A change of structure, for the plugin to decide about.
#[derive(Debug, Clone, PartialEq)]
pub struct DdlEvent {
    /// `create-table`, `alter-table`, `drop-table`, `rename-table`, `truncate`, `create-index`, …
    pub kind: String,
    /// The statement as logged.
    pub statement: String,
    /// Database in which it ran.
    pub namespace: String,
    /// The table before, where there was one.
    pub before: Option<TableSchema>,
    /// The table after, where there is one.
    pub after: Option<TableSchema>,
    /// Where in the stream it is.
    pub position: String,
}

/// What becomes of a change of structure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DdlAction {
    /// The engine translates it.
    Translate,
    /// Nothing happens on the target.
    Ignore,
    /// These statements run on the target instead.
    Execute(Vec<String>),
    /// Applying stops until somebody decides; the text says why.
    Pause(String),
}

/// A row that the target already has under a unique key.
#[derive(Debug, Clone, PartialEq)]
pub struct RowConflict {
    /// The table, as registered with the workers.
    pub table: usize,
    /// Name of the violated constraint.
    pub constraint: String,
    /// Target column names, in the order of both rows.
    pub columns: Vec<String>,
    /// The row that was to be written.
    pub incoming: Vec<Scalar>,
    /// The row that is there.
    pub existing: Vec<Scalar>,
}

/// What becomes of a conflicting row.
#[derive(Debug, Clone, PartialEq)]
pub enum RowResolution {
    /// The incoming row wins.
    Overwrite,
    /// The existing row stays.
    KeepExisting,
    /// This row is written instead, in the order of the conflict's columns.
    Merge(Vec<Scalar>),
    /// The incoming row is set aside, for this reason.
    DeadLetter(String),
    /// The task stops, for this reason.
    Fail(String),
}

/// A configured plugin that plans tables. Calls are synchronous and may take as long as
/// [`Limits::planning`](crate::Limits::planning).
pub struct Control {
    plugin: Plugin,
    settings: Settings,
    /// `None` after a failed call, until the next one.
    instance: Option<Instance>,
}

impl Control {
    /// Instantiates and configures `plugin`. A configuration that it refuses is an error of kind
    /// [`Usage`](ErrorKind::Usage) with plugin and JSON pointer.
    pub fn new(plugin: &Plugin, settings: &Settings) -> Result<Self> {
        let instance = Some(Instance::configured(plugin, settings)?);
        Ok(Self { plugin: plugin.clone(), settings: settings.clone(), instance })
    }

    /// The plugin behind it.
    pub fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// Asks for the plan of one table and checks that it holds together.
    pub fn plan_table(
        &mut self,
        table: &TableSchema,
        source: &Endpoint,
        target: &Endpoint,
    ) -> Result<StagePlan> {
        let (schema, source, target) =
            (schema::table(table), schema::endpoint(source), schema::endpoint(target));
        let answer = self
            .call(|exported, store| exported.planning.call_plan_table(store, &schema, &source, &target))
            .map_err(|error| error.at("table", &table.name))?;
        let planned = answer.map_err(|refusal| {
            convert::plugin_error(
                refusal,
                self.plugin.name(),
                &self.settings,
                "the plugin can't plan the table",
            )
            .at("table", &table.name)
        })?;
        plan::plan_from(planned, table)
            .and_then(|planned| {
                let (transforms, resolves) = (self.plugin.transforms(), self.plugin.resolves_conflicts());
                validate::plan(&planned, table, transforms, resolves).map(|()| planned)
            })
            .map_err(|why| self.nonsense("the plugin's plan makes no sense", &why).at("table", &table.name))
    }

    /// Asks what becomes of a change of structure. A plugin without an opinion leaves it to the engine.
    pub fn map_ddl(&mut self, event: &DdlEvent, target: &Endpoint) -> Result<DdlAction> {
        if !self.plugin.maps_ddl() {
            return Ok(DdlAction::Translate);
        }
        let asked = ddl::DdlEvent {
            kind: event.kind.clone(),
            statement: event.statement.clone(),
            namespace: event.namespace.clone(),
            before: event.before.as_ref().map(schema::table),
            after: event.after.as_ref().map(schema::table),
            position: event.position.clone(),
            attributes: Vec::new(),
        };
        let target = schema::endpoint(target);
        let answer = self
            .call(|exported, store| match exported.ddl {
                Some(guest) => guest.call_map_ddl(store, &asked, &target).map(Some),
                None => Ok(None),
            })
            .map_err(|error| error.at("position", &event.position))?;
        let Some(answer) = answer else { return Ok(DdlAction::Translate) };
        answer
            .map(|action| match action {
                ddl::DdlAction::Translate => DdlAction::Translate,
                ddl::DdlAction::Ignore => DdlAction::Ignore,
                ddl::DdlAction::Execute(statements) => DdlAction::Execute(statements),
                ddl::DdlAction::Pause(why) => DdlAction::Pause(why),
            })
            .map_err(|refusal| {
                let what = "the plugin can't map a change of structure";
                convert::plugin_error(refusal, self.plugin.name(), &self.settings, what)
                    .at("position", &event.position)
            })
    }

    /// Asks what becomes of a view, a trigger, a routine or an event; `None` when the plugin has no say.
    pub fn map_object(
        &mut self,
        object: &DatabaseObject,
        source: &Endpoint,
        target: &Endpoint,
    ) -> Result<Option<ObjectAction>> {
        let asked = objects::DatabaseObject {
            kind: object.kind.name().to_owned(),
            namespace: object.name.namespace.clone(),
            name: object.name.name.clone(),
            table: object.table.clone(),
            definer: object.definer.clone(),
            definition: object.definition.clone(),
            environment: object.environment.clone(),
        };
        let (source, target) = (schema::endpoint(source), schema::endpoint(target));
        let answer = self
            .call(|exported, store| match exported.objects {
                Some(guest) => guest.call_map_object(store, &asked, &source, &target).map(Some),
                None => Ok(None),
            })
            .map_err(|error| error.at("object", &object.name))?;
        let Some(answer) = answer else { return Ok(None) };
        let action = answer.map_err(|refusal| {
            convert::plugin_error(
                refusal,
                self.plugin.name(),
                &self.settings,
                "the plugin can't map an object",
            )
            .at("object", &object.name)
        })?;
        Ok(Some(match action {
            objects::ObjectAction::LeaveOut(why) => ObjectAction::LeaveOut(why),
            objects::ObjectAction::Copy(mapping) => ObjectAction::Copy(ObjectMapping {
                namespace: mapping.namespace,
                definition: mapping.definition,
                definer: match mapping.definer {
                    objects::ObjectDefiner::Keep => Definer::Keep,
                    objects::ObjectDefiner::Account => Definer::Account,
                    objects::ObjectDefiner::Invoker => Definer::Invoker,
                },
                environment: mapping.environment,
            }),
        }))
    }

    /// Asks about rows that the target already has; one answer per conflict, in order.
    pub fn resolve_rows(&mut self, table: &TableName, rows: &[RowConflict]) -> Result<Vec<RowResolution>> {
        let scalars = |values: &[Scalar]| values.iter().map(schema::scalar).collect();
        let asked: Vec<conflicts::RowConflict> = rows
            .iter()
            .map(|row| conflicts::RowConflict {
                table: row.table as u32,
                constraint: row.constraint.clone(),
                columns: row.columns.clone(),
                incoming: scalars(&row.incoming),
                existing: scalars(&row.existing),
                attributes: Vec::new(),
            })
            .collect();
        let answer = self
            .call(|exported, store| match exported.conflicts {
                Some(guest) => guest.call_resolve_rows(store, &asked).map(Some),
                None => Ok(None),
            })
            .map_err(|error| error.at("table", table))?;
        let what = "the plugin can't decide about conflicting rows";
        let Some(answer) = answer else {
            return Err(self.nonsense(what, "it exports no 'conflicts'").at("table", table));
        };
        let answers = answer.map_err(|refusal| {
            convert::plugin_error(refusal, self.plugin.name(), &self.settings, what).at("table", table)
        })?;
        if answers.len() != rows.len() {
            let why = format!("it answered {} times about {} rows", answers.len(), rows.len());
            return Err(self.nonsense(what, &why).at("table", table));
        }
        answers
            .into_iter()
            .zip(rows)
            .map(|(answer, row)| {
                Ok(match answer {
                    conflicts::RowResolution::Overwrite => RowResolution::Overwrite,
                    conflicts::RowResolution::KeepExisting => RowResolution::KeepExisting,
                    conflicts::RowResolution::Merge(values) if values.len() == row.columns.len() => {
                        RowResolution::Merge(values.into_iter().map(schema::scalar_from).collect())
                    }
                    conflicts::RowResolution::Merge(values) => {
                        let why =
                            format!("it merged a row of {} columns into {}", row.columns.len(), values.len());
                        return Err(self.nonsense(what, &why).at("table", table));
                    }
                    conflicts::RowResolution::DeadLetter(why) => RowResolution::DeadLetter(why),
                    conflicts::RowResolution::Fail(why) => RowResolution::Fail(why),
                })
            })
            .collect()
    }

    fn nonsense(&self, what: &str, why: &str) -> Error {
        Error::new(ErrorKind::Plugin, what)
            .at("plugin", self.plugin.name())
            .because(why)
            .help("this is a mistake in the plugin: report it to its author")
    }

    /// Calls the instance, or a new one when the last call failed.
    fn call<T>(
        &mut self,
        call: impl FnOnce(&Exported<'_>, &mut Store<Host>) -> wasmtime::Result<T>,
    ) -> Result<T> {
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => Instance::configured(&self.plugin, &self.settings)?,
        };
        let answer = instance.plan(call)?;
        self.instance = Some(instance);
        Ok(answer)
    }
}
