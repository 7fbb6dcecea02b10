//! One live instance of a plugin: store, exports, limits.

use engine_core::{Error, ErrorKind, Result};
use std::time::Duration;
use wasmtime::component::{ComponentExportIndex, Func, Instance as WasmInstance, InstancePre};
use wasmtime::{Store, UpdateDeadline};

use crate::bindings::contract::{conflicts, ddl, lifecycle, objects, planning};
use crate::convert;
use crate::deadline::{Deadline, ticks};
use crate::engine::Limits;
use crate::failure::Failure;
use crate::host::Host;
use crate::plugin::Plugin;
use crate::settings::Settings;

/// Where each exported interface is; resolved once per component.
pub(crate) struct Exports {
    pub(crate) lifecycle: lifecycle::GuestIndices,
    pub(crate) planning: planning::GuestIndices,
    pub(crate) conflicts: Option<conflicts::GuestIndices>,
    pub(crate) ddl: Option<ddl::GuestIndices>,
    pub(crate) objects: Option<objects::GuestIndices>,
    pub(crate) transform: Option<RowExports>,
}

/// The two row functions.
#[derive(Clone, Copy)]
pub(crate) struct RowExports {
    pub(crate) filter: ComponentExportIndex,
    pub(crate) transform: ComponentExportIndex,
}

/// The two row functions of an instance.
#[derive(Clone, Copy)]
pub(crate) struct RowFunctions {
    pub(crate) filter: Func,
    pub(crate) transform: Func,
}

/// An instance, ready to be called.
pub(crate) struct Instance {
    store: Store<Host>,
    limits: Limits,
    plugin: String,
    pub(crate) lifecycle: lifecycle::Guest,
    pub(crate) planning: planning::Guest,
    pub(crate) conflicts: Option<conflicts::Guest>,
    pub(crate) ddl: Option<ddl::Guest>,
    pub(crate) objects: Option<objects::Guest>,
    pub(crate) rows: Option<RowFunctions>,
}

impl Instance {
    /// Instantiates `prepared` without configuring it.
    pub(crate) fn bare(
        prepared: &InstancePre<Host>,
        exports: &Exports,
        host: Host,
        limits: &Limits,
        plugin: &str,
    ) -> Result<Self> {
        let mut store = Store::new(prepared.engine(), host);
        store.limiter(|host| host);
        store.set_hostcall_fuel(limits.memory);
        store.epoch_deadline_callback(|context| {
            Ok(match context.data().deadline.decide() {
                UpdateDeadline::Continue(ticks) => UpdateDeadline::Continue(ticks),
                _ => UpdateDeadline::Interrupt,
            })
        });
        arm(&mut store, limits.planning);
        let failed = |error: wasmtime::Error, store: &mut Store<Host>| {
            Failure::of(&error, store.data_mut().last_words.take()).into_error(plugin)
        };
        let instance = match prepared.instantiate(&mut store) {
            Ok(instance) => instance,
            Err(error) => return Err(failed(error, &mut store)),
        };
        let loaded = load(exports, &mut store, &instance);
        let (lifecycle, planning, conflicts, ddl, objects, rows) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                return Err(Error::new(ErrorKind::Plugin, "the plugin doesn't fit the contract")
                    .at("plugin", plugin)
                    .because(format!("{error:#}"))
                    .help(crate::plugin::REBUILD));
            }
        };
        Ok(Self {
            store,
            limits: limits.clone(),
            plugin: plugin.to_owned(),
            lifecycle,
            planning,
            conflicts,
            ddl,
            objects,
            rows,
        })
    }

    /// A configured instance of `plugin`.
    pub(crate) fn configured(plugin: &Plugin, settings: &Settings) -> Result<Self> {
        let mut instance = plugin.instantiate()?;
        instance
            .plan(|this, store| {
                this.lifecycle.call_configure(store, &settings.context.to_wit(), &settings.config)
            })?
            .map_err(|refusal| {
                convert::plugin_error(refusal, plugin.name(), settings, "the plugin can't be configured")
            })?;
        Ok(instance)
    }

    /// Calls into the guest with the CPU time of a rare call.
    pub(crate) fn plan<T>(
        &mut self,
        call: impl FnOnce(&Exported<'_>, &mut Store<Host>) -> wasmtime::Result<T>,
    ) -> Result<T> {
        let budget = self.limits.planning;
        self.call(budget, call).map_err(|failure| failure.into_error(&self.plugin))
    }

    /// Calls into the guest. After a failure the instance must be dropped.
    pub(crate) fn call<T>(
        &mut self,
        budget: Duration,
        call: impl FnOnce(&Exported<'_>, &mut Store<Host>) -> wasmtime::Result<T>,
    ) -> Result<T, Failure> {
        arm(&mut self.store, budget);
        let exported = Exported {
            lifecycle: &self.lifecycle,
            planning: &self.planning,
            conflicts: self.conflicts.as_ref(),
            ddl: self.ddl.as_ref(),
            objects: self.objects.as_ref(),
            rows: self.rows,
        };
        call(&exported, &mut self.store)
            .map_err(|error| Failure::of(&error, self.store.data_mut().last_words.take()))
    }
}

/// The functions of an instance, apart from its store.
pub(crate) struct Exported<'a> {
    pub(crate) lifecycle: &'a lifecycle::Guest,
    pub(crate) planning: &'a planning::Guest,
    pub(crate) conflicts: Option<&'a conflicts::Guest>,
    pub(crate) ddl: Option<&'a ddl::Guest>,
    pub(crate) objects: Option<&'a objects::Guest>,
    pub(crate) rows: Option<RowFunctions>,
}

fn arm(store: &mut Store<Host>, budget: Duration) {
    let host = store.data_mut();
    host.deadline = Deadline::after(budget);
    host.last_words = None;
    store.set_epoch_deadline(ticks(budget));
}

type Loaded = (
    lifecycle::Guest,
    planning::Guest,
    Option<conflicts::Guest>,
    Option<ddl::Guest>,
    Option<objects::Guest>,
    Option<RowFunctions>,
);

fn load(exports: &Exports, store: &mut Store<Host>, instance: &WasmInstance) -> wasmtime::Result<Loaded> {
    let lifecycle = exports.lifecycle.load(&mut *store, instance)?;
    let planning = exports.planning.load(&mut *store, instance)?;
    let conflicts =
        exports.conflicts.as_ref().map(|indices| indices.load(&mut *store, instance)).transpose()?;
    let ddl = exports.ddl.as_ref().map(|indices| indices.load(&mut *store, instance)).transpose()?;
    let objects = exports.objects.as_ref().map(|indices| indices.load(&mut *store, instance)).transpose()?;
    let mut function = |index: ComponentExportIndex| {
        instance
            .get_func(&mut *store, index)
            .ok_or_else(|| wasmtime::Error::msg("a function of the interface 'transform' is missing"))
    };
    let rows = match exports.transform {
        Some(rows) => {
            Some(RowFunctions { filter: function(rows.filter)?, transform: function(rows.transform)? })
        }
        None => None,
    };
    if let Some(rows) = rows {
        crate::row_calls::check(&rows, store)?;
    }
    Ok((lifecycle, planning, conflicts, ddl, objects, rows))
}
