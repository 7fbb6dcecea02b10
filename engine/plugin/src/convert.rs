//! Between the engine's vocabulary and the contract's, in both directions.

use engine_core::{Error, ErrorKind};

use crate::bindings::contract::types;
use crate::settings::{ConfigPlace, Settings};

pub(crate) mod column;
mod operation;
pub(crate) mod plan;
pub(crate) mod schema;

/// What a plugin answered in place of a result, as an error of the engine.
///
/// A refused configuration is the user's to mend, everything else the plugin's.
pub(crate) fn plugin_error(
    error: types::PluginError,
    plugin: &str,
    settings: &Settings,
    what: &str,
) -> Error {
    match error {
        types::PluginError::InvalidConfig((pointer, message)) => {
            misconfigured(plugin, settings.place.as_ref(), &pointer).because(message)
        }
        types::PluginError::Unsupported(message) => Error::new(ErrorKind::Unrepresentable, what)
            .at("plugin", plugin)
            .because(format!("not supported: {message}")),
        types::PluginError::Fatal(message) => {
            Error::new(ErrorKind::Plugin, what).at("plugin", plugin).because(message)
        }
    }
}

/// The error of a configuration that a plugin refuses, at the place where it stands.
fn misconfigured(plugin: &str, place: Option<&ConfigPlace>, pointer: &str) -> Error {
    let error = Error::new(ErrorKind::Usage, "the plugin's configuration is not valid").at("plugin", plugin);
    let inspect = "`engine plugin inspect` shows what it may hold";
    let Some(ConfigPlace { file, section }) = place else {
        return error.at("setting", key(plugin, pointer)).help(format!(
            "write it under [plugin.{plugin}] of the task file, or under [{plugin}] of a file for --plugin-config; {inspect}"
        ));
    };
    error
        .at("file", file.display())
        .at("setting", key(section, pointer))
        .help(format!("correct [{section}] of {}; {inspect}", file.display()))
}

/// What a JSON pointer into a section leads to, as it is written in a file.
fn key(section: &str, pointer: &str) -> String {
    let mut key = section.to_owned();
    for step in pointer.split('/').skip(1) {
        key.push('.');
        key.push_str(&step.replace("~1", "/").replace("~0", "~"));
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_setting_is_named_where_it_stands() {
        let place = ConfigPlace { file: "tasks/shop.toml".into(), section: "plugin.mask".into() };
        let error = misconfigured("mask", Some(&place), "/tables/0/a~1b");
        let expected =
            [("plugin", "mask"), ("file", "tasks/shop.toml"), ("setting", "plugin.mask.tables.0.a/b")];
        assert_eq!(error.place(), expected.map(|(name, value)| (name, value.to_owned())));
        let error = misconfigured("mask", Some(&place), "");
        assert_eq!(error.place().last(), Some(&("setting", "plugin.mask".to_owned())));
        assert!(error.remedy().is_some_and(|help| !help.contains("--plugin-config")));
    }

    #[test]
    fn a_configuration_that_is_missing_has_two_places_to_go() {
        let error = misconfigured("mask", None, "/salt");
        assert_eq!(error.place().last(), Some(&("setting", "mask.salt".to_owned())));
        assert!(
            error
                .remedy()
                .is_some_and(|help| help.contains("--plugin-config") && help.contains("[plugin.mask]"))
        );
    }
}
