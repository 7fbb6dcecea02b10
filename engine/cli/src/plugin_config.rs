//! Plugin configuration: one section per plugin name, from TOML or JSON.

use serde_json::{Map, Value};
use std::path::Path;

use engine_core::{Error, ErrorKind, Result};

use crate::environment::substitute;

/// Sections by plugin name, each an object.
pub(crate) type Sections = Map<String, Value>;

/// Reads a file whose name ends in `.json` as JSON and any other as TOML.
///
/// Errors name file, line and what is wrong; `${VARIABLE}` in its texts is replaced.
pub(crate) fn read(path: &Path, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Sections> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::new(ErrorKind::Usage, "the plugin configuration can't be read")
            .at("file", path.display())
            .caused_by(error)
    })?;
    let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let parsed = if is_json { parse_json(&text) } else { parse_toml(&text) };
    parsed.and_then(|sections| finish(sections, lookup)).map_err(|error| error.at("file", path.display()))
}

fn parse_json(text: &str) -> Result<Sections> {
    serde_json::from_str(text).map_err(|error| {
        Error::new(ErrorKind::Usage, "the plugin configuration is not the JSON object it has to be")
            .at("line", error.line())
            .because(error)
    })
}

fn parse_toml(text: &str) -> Result<Sections> {
    let table: toml::Table =
        toml::from_str(text).map_err(|error| toml_error("the plugin configuration", text, &error))?;
    from_toml(table)
}

/// Checks that each section is an object, and replaces variables in its texts.
fn finish(mut sections: Sections, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Sections> {
    for (name, section) in &mut sections {
        if !section.is_object() {
            return Err(Error::new(ErrorKind::Usage, format!("'{name}' is not a section"))
                .because("a plugin's configuration stands under the plugin's name")
                .help(format!("write it as a section, e.g. [mysql2og] and then {name} = ...")));
        }
        substitute_all(section, lookup).map_err(|error| error.at("plugin", name))?;
    }
    Ok(sections)
}

/// Replaces variables in every text inside `value`; keys stay as they are.
pub(crate) fn substitute_all(value: &mut Value, lookup: &dyn Fn(&str) -> Option<String>) -> Result<()> {
    match value {
        Value::String(text) => *text = substitute(text, lookup)?,
        Value::Array(items) => items.iter_mut().try_for_each(|item| substitute_all(item, lookup))?,
        Value::Object(members) => {
            members.values_mut().try_for_each(|member| substitute_all(member, lookup))?;
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    Ok(())
}

/// A TOML table as the JSON object that plugins are given; dates become their text.
pub(crate) fn from_toml(table: toml::Table) -> Result<Sections> {
    table.into_iter().map(|(name, value)| Ok((name, value_from_toml(value)?))).collect()
}

fn value_from_toml(value: toml::Value) -> Result<Value> {
    Ok(match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Boolean(boolean) => Value::Bool(boolean),
        toml::Value::Datetime(datetime) => Value::String(datetime.to_string()),
        toml::Value::Float(number) => {
            serde_json::Number::from_f64(number).map(Value::Number).ok_or_else(|| {
                Error::new(ErrorKind::Usage, format!("{number} can't be passed to a plugin"))
                    .because("JSON, in which plugins read their configuration, has no such number")
            })?
        }
        toml::Value::Array(items) => {
            Value::Array(items.into_iter().map(value_from_toml).collect::<Result<_>>()?)
        }
        toml::Value::Table(table) => Value::Object(from_toml(table)?),
    })
}

/// What is wrong with a TOML text, and in which line; the text itself is never repeated.
pub(crate) fn toml_error(what: &str, text: &str, error: &toml::de::Error) -> Error {
    let failed = Error::new(ErrorKind::Usage, format!("{what} has a mistake")).because(error.message());
    match error.span().and_then(|span| text.get(..span.start)) {
        Some(before) => failed.at("line", before.matches('\n').count() + 1),
        None => failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read_text(name: &str, text: &str) -> Result<Sections> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("a writable file");
        read(&path, &|name| (name == "SALT").then(|| "pepper".to_owned()))
    }

    #[test]
    fn toml_and_json_say_the_same() {
        let toml =
            "[mysql2og]\nzero_dates = \"null\"\n[mask]\nsalt = \"${SALT}\"\nratio = 0.5\nlist = [1, true]\n";
        let json = r#"{"mysql2og": {"zero_dates": "null"}, "mask": {"salt": "${SALT}", "ratio": 0.5, "list": [1, true]}}"#;
        let expected = json!({
            "mysql2og": {"zero_dates": "null"},
            "mask": {"salt": "pepper", "ratio": 0.5, "list": [1, true]},
        });
        for (name, text) in [("c.toml", toml), ("c.json", json)] {
            assert_eq!(Value::Object(read_text(name, text).expect("a good file")), expected, "{name}");
        }
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        let line =
            |error: &Error| error.place().iter().find(|(name, _)| *name == "line").map(|(_, n)| n.clone());
        let error = read_text("c.toml", "[mysql2og]\n\nzero_dates = \n").expect_err("a mistake");
        assert_eq!(line(&error).as_deref(), Some("3"), "{error}");
        let error = read_text("c.json", "{\n\"mysql2og\": }").expect_err("a mistake");
        assert_eq!(line(&error).as_deref(), Some("2"), "{error}");
    }

    #[test]
    fn a_setting_outside_a_section_is_refused() {
        let error = read_text("c.toml", "zero_dates = \"null\"\n").expect_err("no section");
        assert_eq!(error.what(), "'zero_dates' is not a section");
    }

    #[test]
    fn a_missing_file_is_a_usage_error() {
        let error = read(Path::new("/nonexistent/c.toml"), &|_| None).expect_err("no file");
        assert_eq!(error.kind(), ErrorKind::Usage);
    }
}
