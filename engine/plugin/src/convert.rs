//! Between the engine's vocabulary and the contract's, in both directions.

use engine_core::{Error, ErrorKind};

use crate::bindings::contract::types;

pub(crate) mod column;
mod operation;
pub(crate) mod plan;
pub(crate) mod schema;

/// What a plugin answered in place of a result, as an error of the engine.
///
/// A refused configuration is the user's to mend, everything else the plugin's.
pub(crate) fn plugin_error(error: types::PluginError, plugin: &str, what: &str) -> Error {
    match error {
        types::PluginError::InvalidConfig((pointer, message)) => {
            let pointer = if pointer.is_empty() { "the whole document".to_owned() } else { pointer };
            Error::new(ErrorKind::Usage, "the plugin's configuration is not valid")
                .at("plugin", plugin)
                .at("setting", pointer)
                .because(message)
                .help("correct the file given with --plugin-config; `engine plugin inspect` shows what it may hold")
        }
        types::PluginError::Unsupported(message) => Error::new(ErrorKind::Unrepresentable, what)
            .at("plugin", plugin)
            .because(format!("not supported: {message}")),
        types::PluginError::Fatal(message) => {
            Error::new(ErrorKind::Plugin, what).at("plugin", plugin).because(message)
        }
    }
}
