//! A plugin file: what it is, whether it fits, and its instances.

use engine_core::{Error, ErrorKind, Result};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wasmtime::component::{Component, InstancePre};

use crate::bindings::contract::{conflicts, ddl, lifecycle, objects, planning};
use crate::engine::{Limits, PluginEngine};
use crate::host::{Host, Log};
use crate::inspect::{self, Interfaces};
use crate::instance::{Exports, Instance, RowExports};

pub(crate) const REBUILD: &str = "rebuild the plugin against this engine's wit/ (`engine plugin build`)";

/// What a plugin says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Description {
    /// Its name, for messages and logs.
    pub name: String,
    /// Its version.
    pub version: String,
    /// One sentence.
    pub summary: String,
    /// JSON Schema of its configuration; empty when it takes none.
    pub config_schema: String,
    /// Engines it reads from; empty = any.
    pub sources: Vec<String>,
    /// Engines it writes to; empty = any.
    pub targets: Vec<String>,
    /// Open-ended facts.
    pub attributes: Vec<(String, String)>,
}

/// A compiled plugin. Cheap to clone.
#[derive(Clone)]
pub struct Plugin {
    inner: Arc<Inner>,
}

struct Inner {
    /// Kept because the deadlines of every instance end with it.
    _engine: PluginEngine,
    path: PathBuf,
    digest: String,
    size: u64,
    description: Description,
    interfaces: Interfaces,
    prepared: InstancePre<Host>,
    exports: Exports,
    log: Arc<Log>,
    /// Kept alive for as long as a plugin can run: its ticker is what ends endless calls.
    engine: PluginEngine,
}

impl Plugin {
    /// Reads, checks and compiles a component, and asks it to describe itself.
    pub fn load(engine: &PluginEngine, path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|error| {
            Error::new(ErrorKind::Usage, "the plugin can't be read")
                .at("file", path.display())
                .because(&error)
                .help("give the path of a component file with --plugin")
                .caused_by(error)
        })?;
        Self::from_bytes(engine, path, &bytes).map_err(|error| error.at("file", path.display()))
    }

    fn from_bytes(engine: &PluginEngine, path: &Path, bytes: &[u8]) -> Result<Self> {
        inspect::refuse_what_is_no_component(bytes)?;
        let component = Component::new(engine.wasmtime(), bytes).map_err(|error| {
            Error::new(
                ErrorKind::Plugin,
                "the component can't be compiled: it is damaged, or newer than this engine",
            )
            .because(format!("{error:#}"))
            .help("build or download it again")
        })?;
        let interfaces = inspect::interfaces(engine.wasmtime(), &component)?;
        let unfit = |error: wasmtime::Error| {
            Error::new(ErrorKind::Plugin, "the plugin doesn't fit the contract")
                .because(format!("{error:#}"))
                .help(REBUILD)
        };
        let prepared = engine.linker().instantiate_pre(&component).map_err(unfit)?;
        let exports = Exports {
            lifecycle: lifecycle::GuestIndices::new(&prepared).map_err(unfit)?,
            planning: planning::GuestIndices::new(&prepared).map_err(unfit)?,
            conflicts: interfaces
                .has("conflicts")
                .then(|| conflicts::GuestIndices::new(&prepared))
                .transpose()
                .map_err(unfit)?,
            ddl: interfaces
                .has("ddl")
                .then(|| ddl::GuestIndices::new(&prepared))
                .transpose()
                .map_err(unfit)?,
            objects: interfaces
                .has("objects")
                .then(|| objects::GuestIndices::new(&prepared))
                .transpose()
                .map_err(unfit)?,
            transform: interfaces
                .full_name("transform")
                .map(|name| row_exports(&component, name))
                .transpose()
                .map_err(unfit)?,
        };
        let limits = engine.limits().clone();
        let file_name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let log = Arc::new(Log::new(file_name.clone()));
        let host = Host::new(Arc::clone(&log), limits.memory);
        let mut instance = Instance::bare(&prepared, &exports, host, &limits, &file_name)?;
        let described = instance.plan(|exported, store| exported.lifecycle.call_describe(store))?;
        let description = Description {
            name: described.name,
            version: described.version,
            summary: described.summary,
            config_schema: described.config_schema,
            sources: described.sources,
            targets: described.targets,
            attributes: described.attributes,
        };
        if description.name.trim().is_empty() {
            return Err(Error::new(ErrorKind::Plugin, "the plugin describes itself without a name"));
        }
        Ok(Self {
            inner: Arc::new(Inner {
                _engine: engine.clone(),
                path: path.to_owned(),
                digest: hex::encode(Sha256::digest(bytes)),
                size: bytes.len() as u64,
                log: Arc::new(Log::new(description.name.clone())),
                description,
                interfaces,
                prepared,
                exports,
                engine: engine.clone(),
            }),
        })
    }

    /// The name it gives itself.
    pub fn name(&self) -> &str {
        &self.inner.description.name
    }

    /// What it says about itself.
    pub fn description(&self) -> &Description {
        &self.inner.description
    }

    /// The file it was read from.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// SHA-256 of the file, in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.inner.digest
    }

    /// Size of the file in bytes.
    pub fn size(&self) -> u64 {
        self.inner.size
    }

    /// What it imports and exports.
    pub fn interfaces(&self) -> &Interfaces {
        &self.inner.interfaces
    }

    /// Whether it has row functions.
    pub fn transforms(&self) -> bool {
        self.inner.exports.transform.is_some()
    }

    /// Whether it decides key conflicts.
    pub fn resolves_conflicts(&self) -> bool {
        self.inner.exports.conflicts.is_some()
    }

    /// Whether it translates schema changes.
    pub fn maps_ddl(&self) -> bool {
        self.inner.exports.ddl.is_some()
    }

    /// Whether it maps views, triggers, routines and events.
    pub fn maps_objects(&self) -> bool {
        self.inner.exports.objects.is_some()
    }

    pub(crate) fn limits(&self) -> &Limits {
        self.inner.engine.limits()
    }

    /// A new instance that is not configured yet.
    pub(crate) fn instantiate(&self) -> Result<Instance> {
        let inner = &self.inner;
        let host = Host::new(Arc::clone(&inner.log), self.limits().memory);
        Instance::bare(&inner.prepared, &inner.exports, host, self.limits(), self.name())
    }
}

fn row_exports(component: &Component, name: &str) -> wasmtime::Result<RowExports> {
    let missing = |what: &str| wasmtime::Error::msg(format!("the interface 'transform' has no '{what}'"));
    let (_, interface) = component
        .get_export(None, name)
        .ok_or_else(|| wasmtime::Error::msg("the interface 'transform' is missing"))?;
    let function = |name: &str| {
        component.get_export(Some(&interface), name).map(|(_, index)| index).ok_or_else(|| missing(name))
    };
    Ok(RowExports { filter: function("filter")?, transform: function("transform-batch")? })
}
