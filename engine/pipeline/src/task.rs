//! What a task is asked to do.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use engine_core::selection::Selection;
use engine_core::source::Source;
use engine_core::target::Target;

use crate::reverse::Inverse;

pub use engine_plugin::ConfigPlace;

/// Whether the source keeps taking writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Copy once; the source is expected to stand still.
    Offline,
    /// Copy, then follow.
    Online,
}

/// When an online task ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// It goes on until it is stopped.
    Stopped,
    /// Once the source position read when the copy was complete is applied.
    CaughtUp,
}

/// A plugin of the chain.
#[derive(Debug, Clone)]
pub struct PluginSpec {
    /// The component.
    pub path: PathBuf,
}

/// The configuration of a plugin.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginConfig {
    /// An object.
    pub value: serde_json::Value,
    /// Where it stands.
    pub place: ConfigPlace,
}

/// Everything a task needs. Later runs of the same task pass the same.
#[derive(Clone)]
pub struct TaskSpec {
    /// Name; also the name of its directory under `state_dir`.
    pub name: String,
    /// Where rows come from.
    pub source: Arc<dyn Source>,
    /// Where they go.
    pub target: Arc<dyn Target>,
    /// The source for people: a URL without password.
    pub source_label: String,
    /// The target for people.
    pub target_label: String,
    /// Which tables.
    pub selection: Selection,
    /// Offline or online.
    pub mode: Mode,
    /// When it ends.
    pub until: Until,
    /// The chain, in order.
    pub plugins: Vec<PluginSpec>,
    /// In place of a chain: the way back of another task.
    pub inverse: Option<Arc<Inverse>>,
    /// Configuration by plugin name; a name that no plugin of the chain has is an error.
    pub plugin_config: BTreeMap<String, PluginConfig>,
    /// Connections to source and target that copy at the same time, and indexes built at once.
    pub parallelism: usize,
    /// The most rows that may be set aside, over all runs; `None` for any number.
    pub dead_letter_limit: Option<u64>,
    /// Statements of structure, by the tokens of their errors, that the user has carried out in the
    /// target by hand.
    pub structure_by_hand: Vec<String>,
    /// Where tasks keep their state.
    pub state_dir: PathBuf,
}
