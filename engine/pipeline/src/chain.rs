//! The plugins of a task: loaded, configured, asked for plans, and run over rows.

use engine_core::endpoint::Endpoint;
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::object::{DatabaseObject, ObjectAction};
use engine_core::schema::{TableName, TableSchema};
use engine_plugin::{Control, DdlAction, DdlEvent, Limits, Plugin, PluginEngine, Settings, Workers};
use std::sync::Arc;

use crate::compose::{self, Composed};
use crate::reverse::Inverse;
use crate::route::RowCode;
use crate::state::{PluginRecord, RunContext};
use crate::task::TaskSpec;

/// The loaded plugins of a task, in order.
pub(crate) struct Chain {
    links: Vec<Link>,
    /// In place of plugins.
    inverse: Option<Arc<Inverse>>,
}

#[derive(Clone)]
struct Link {
    plugin: Plugin,
    settings: Settings,
}

impl Chain {
    /// Loads the components and finds each one's configuration.
    pub(crate) async fn load(spec: &TaskSpec, context: &RunContext) -> Result<Self> {
        let (paths, mut configs) = (spec.plugins.clone(), spec.plugin_config.clone());
        let inverse = spec.inverse.clone();
        let cache = spec.state_dir.join("compiled-plugins");
        let context = engine_plugin::RunContext {
            run_id: context.run_id.clone(),
            started_at_us: context.started_at_us,
            seed: context.seed,
            attributes: Vec::new(),
        };
        blocking(move || {
            let engine = PluginEngine::new(Some(&cache), Limits::default())?;
            let mut links: Vec<Link> = Vec::with_capacity(paths.len());
            for path in &paths {
                let plugin = Plugin::load(&engine, &path.path)?;
                if links.iter().any(|link| link.plugin.name() == plugin.name()) {
                    return Err(
                        Error::new(ErrorKind::Usage, "a plugin is given twice").at("plugin", plugin.name())
                    );
                }
                let (config, place) = match configs.remove(plugin.name()) {
                    Some(config) => (config.value.to_string(), Some(config.place)),
                    None => (String::new(), None),
                };
                let settings = Settings { context: context.clone(), config, place };
                links.push(Link { plugin, settings });
            }
            if let Some((name, config)) = configs.first_key_value() {
                let known: Vec<&str> = links.iter().map(|link| link.plugin.name()).collect();
                return Err(Error::new(
                    ErrorKind::Usage,
                    "the configuration names a plugin that is not in the chain",
                )
                .at("plugin", name)
                .at("file", config.place.file.display())
                .at("section", &config.place.section)
                .help(format!("the chain has: {}", known.join(", "))));
            }
            Ok(Self { links, inverse })
        })
        .await
    }

    /// What identifies the chain.
    pub(crate) fn records(&self) -> Vec<PluginRecord> {
        self.links
            .iter()
            .map(|link| PluginRecord {
                name: link.plugin.name().to_owned(),
                version: link.plugin.description().version.clone(),
                digest: link.plugin.digest().to_owned(),
                config: link.settings.config.clone(),
            })
            .collect()
    }

    /// Takes every table through the plugins. The second list has the tables that they leave out.
    pub(crate) async fn plan(
        &self,
        schemas: Vec<TableSchema>,
        source: &Endpoint,
        target: &Endpoint,
    ) -> Result<(Vec<Composed>, Vec<(TableName, String)>)> {
        let (links, inverse) = (self.links.clone(), self.inverse.clone());
        let (source, target) = (source.clone(), target.clone());
        blocking(move || {
            let mut controls = links
                .iter()
                .map(|link| Control::new(&link.plugin, &link.settings))
                .collect::<Result<Vec<Control>>>()?;
            let (mut tables, mut skipped) = (Vec::new(), Vec::new());
            for schema in schemas {
                let stages = if inverse.is_some() { 1 } else { controls.len() };
                let planned = compose::compose(&schema, &target, stages, |place, shown| {
                    if let Some(inverse) = &inverse {
                        return inverse.plan(shown);
                    }
                    let missing = || Error::new(ErrorKind::Internal, "the chain has no such plugin");
                    controls.get_mut(place).ok_or_else(missing)?.plan_table(shown, &source, &target)
                })?;
                match planned {
                    Ok(mut table) => {
                        if let Some(inverse) = &inverse {
                            inverse.complete(&mut table);
                        }
                        tables.push(table);
                    }
                    Err(reason) => skipped.push((schema.name, reason)),
                }
            }
            Ok((tables, skipped))
        })
        .await
    }

    /// Asks the plugins what becomes of changes of structure: for each the first answer other than
    /// [`DdlAction::Translate`]. A plugin gets each event as the plugins before it left the table;
    /// `events` says so by its place.
    pub(crate) async fn map_ddl(
        &self,
        events: Vec<Vec<DdlEvent>>,
        target: &Endpoint,
    ) -> Result<Vec<DdlAction>> {
        let (links, target) = (self.links.clone(), target.clone());
        blocking(move || {
            let mut controls = links
                .iter()
                .map(|link| Control::new(&link.plugin, &link.settings))
                .collect::<Result<Vec<Control>>>()?;
            let mut actions = Vec::with_capacity(events.len());
            for event in &events {
                let mut action = DdlAction::Translate;
                for (control, event) in controls.iter_mut().zip(event) {
                    action = control.map_ddl(event, &target)?;
                    if action != DdlAction::Translate {
                        break;
                    }
                }
                actions.push(action);
            }
            Ok(actions)
        })
        .await
    }

    /// Asks the first plugin that has a say in objects what becomes of each, in order; `None` when there is
    /// no such plugin.
    pub(crate) async fn map_objects(
        &self,
        objects: Vec<DatabaseObject>,
        source: &Endpoint,
        target: &Endpoint,
    ) -> Result<Vec<(DatabaseObject, Option<ObjectAction>)>> {
        let link = self.links.iter().find(|link| link.plugin.maps_objects()).cloned();
        let Some(link) = link else { return Ok(objects.into_iter().map(|object| (object, None)).collect()) };
        let (source, target) = (source.clone(), target.clone());
        blocking(move || {
            let mut control = Control::new(&link.plugin, &link.settings)?;
            objects
                .into_iter()
                .map(|object| {
                    let action = control.map_object(&object, &source, &target)?;
                    Ok((object, action))
                })
                .collect()
        })
        .await
    }

    /// Whether a plugin has a say in objects other than tables.
    pub(crate) fn maps_objects(&self) -> bool {
        self.links.iter().any(|link| link.plugin.maps_objects())
    }

    /// Number of plugins.
    pub(crate) fn len(&self) -> usize {
        self.links.len()
    }

    /// Starts the threads for row functions and registers each table's stages with them.
    pub(crate) fn row_code(&self, tables: &[Composed], threads: usize) -> Result<Vec<RowCode>> {
        let chain = self.links.iter().map(|link| (link.plugin.clone(), link.settings.clone())).collect();
        let needed = tables
            .iter()
            .flat_map(|table| &table.stages)
            .any(|stage| stage.calls.filter || stage.calls.transform);
        let workers = Workers::start(chain, if needed { threads } else { 1 })?;
        tables
            .iter()
            .map(|table| {
                let handles = table
                    .stages
                    .iter()
                    .zip(&table.planned)
                    .map(|(stage, planned)| {
                        let calls = stage.calls.filter || stage.calls.transform;
                        calls
                            .then(|| workers.add_table(stage.plugin, &planned.schema, &planned.plan))
                            .transpose()
                    })
                    .collect::<Result<_>>()?;
                Ok(RowCode { workers: workers.clone(), handles })
            })
            .collect()
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Error::new(ErrorKind::Internal, "planning ended unexpectedly").caused_by(error))
    })
}
