//! `engine plugin`: looks at components and builds them.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};

use engine_core::{Error, ErrorKind, Result};
use engine_plugin::{Limits, Plugin, PluginEngine};

use super::{print, to_json};
use crate::arguments::PluginCommand;
use crate::render::table::Table;
use crate::render::units::bytes;

/// Runs the subcommand.
pub(super) fn plugin(command: &PluginCommand) -> Result<()> {
    match command {
        PluginCommand::Inspect { file, json } => {
            let plugin = load(file)?;
            print(&if *json { to_json(&as_json(&plugin))? } else { text(&plugin) })
        }
        PluginCommand::Build { directory, output, json } => {
            let file = build(directory, output.as_deref())?;
            // What was built is read back, so that a crate that is no plugin is told apart now.
            let plugin = load(&file)?;
            print(&if *json { to_json(&as_json(&plugin))? } else { built_text(&plugin) })
        }
    }
}

fn load(file: &Path) -> Result<Plugin> {
    Plugin::load(&PluginEngine::new(None, Limits::default())?, file)
}

fn build(directory: &Path, output: Option<&Path>) -> Result<PathBuf> {
    let failed = |what: &str| Error::new(ErrorKind::Plugin, what).at("directory", directory.display());
    let built = guest_build::build(directory)
        .map_err(|error| failed("the plugin can't be built").because(format!("{error:#}")))?;
    let Some(output) = output else { return Ok(built) };
    std::fs::copy(&built, output).map_err(|error| {
        failed("the component can't be put where it is wanted").at("file", output.display()).caused_by(error)
    })?;
    Ok(output.to_owned())
}

fn built_text(plugin: &Plugin) -> String {
    let description = plugin.description();
    format!(
        "built {} {}: {}, {}",
        description.name,
        description.version,
        plugin.path().display(),
        bytes(plugin.size())
    )
}

/// What the functions that it exports let it decide, in words.
fn abilities(plugin: &Plugin) -> Vec<&'static str> {
    let optional = [
        (plugin.transforms(), "rows: filters and rewrites"),
        (plugin.resolves_conflicts(), "key conflicts"),
        (plugin.maps_ddl(), "schema changes"),
    ];
    let optional = optional.into_iter().filter(|(has, _)| *has).map(|(_, what)| what);
    std::iter::once("tables: names, types, what to leave out").chain(optional).collect()
}

/// The configuration schema as JSON where it is JSON, else as the text it is.
fn schema(plugin: &Plugin) -> Value {
    match plugin.description().config_schema.as_str() {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
    }
}

fn as_json(plugin: &Plugin) -> Value {
    let (description, interfaces) = (plugin.description(), plugin.interfaces());
    json!({
        "file": plugin.path(),
        "name": description.name,
        "version": description.version,
        "summary": description.summary,
        "sources": description.sources,
        "targets": description.targets,
        "contract": interfaces.contract,
        "world": interfaces.world(),
        "exports": interfaces.exports,
        "imports": interfaces.imports,
        "size": plugin.size(),
        "sha256": plugin.digest(),
        "config_schema": schema(plugin),
    })
}

fn text(plugin: &Plugin) -> String {
    let (description, interfaces) = (plugin.description(), plugin.interfaces());
    let listed = |items: &[String], none: &str| {
        if items.is_empty() { none.to_owned() } else { items.join(", ") }
    };
    let mut facts = Table::new(&[]);
    facts.row(&["name", &description.name]);
    facts.row(&["version", &description.version]);
    facts.row(&["summary", &description.summary]);
    facts.row(&["sources", &listed(&description.sources, "any")]);
    facts.row(&["targets", &listed(&description.targets, "any")]);
    facts.row(&["decides", &abilities(plugin).join("; ")]);
    facts.row(&[
        "contract",
        &format!("migration:plugin@{}, world {}", interfaces.contract, interfaces.world()),
    ]);
    facts.row(&["exports", &listed(&interfaces.exports, "nothing")]);
    facts.row(&["imports", &listed(&interfaces.imports, "nothing")]);
    facts.row(&["size", &bytes(plugin.size())]);
    facts.row(&["sha256", plugin.digest()]);
    format!("{facts}\n\n{}", settings_text(&description.name, &schema(plugin)))
}

/// What can be written under the plugin's section: the schema's properties as a table, and the
/// whole schema where that would leave something out.
fn settings_text(name: &str, schema: &Value) -> String {
    if schema.is_null() {
        return "takes no configuration".to_owned();
    }
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return format!("configuration schema of [plugin.{name}]:\n{schema:#}");
    };
    let mut table = Table::new(&["SETTING", "TYPE", "DEFAULT", "MEANING"]);
    for (setting, property) in properties {
        table.row(&[
            setting.clone(),
            type_text(property),
            property.get("default").map_or_else(|| "-".to_owned(), Value::to_string),
            property.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " "),
        ]);
    }
    format!("configuration, in [plugin.{name}] (--json has the whole schema):\n{table}")
}

fn type_text(property: &Value) -> String {
    if let Some(words) = property.get("enum").and_then(Value::as_array) {
        return words.iter().map(Value::to_string).collect::<Vec<_>>().join(" | ");
    }
    match property.get("type") {
        Some(Value::String(name)) => name.clone(),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" | "),
        _ => "see schema".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_listed_from_the_schema() {
        let schema = json!({"type": "object", "properties": {
            "zero_dates": {"enum": ["fail", "null", "epoch"], "default": "fail", "description": "What becomes of 0000-00-00."},
            "lower_case": {"type": "boolean", "default": true, "description": "Lower-cases names."},
            "columns": {"$ref": "#/$defs/columns"},
        }});
        insta::assert_snapshot!(settings_text("mysql2og", &schema));
        assert_eq!(settings_text("mysql2og", &Value::Null), "takes no configuration");
    }
}
