//! The task file: every option of `engine run` as TOML.

use serde::Deserialize;
use std::path::{Path, PathBuf};

use engine_core::{Error, ErrorKind, Result};

use crate::arguments::{Limit, ModeArgument, ThrottleArguments, UntilArgument, dead_letter_limit};
use crate::environment::substitute;
use crate::plugin_config::{self, Sections};

/// What a task file says, variables replaced and paths made relative to nothing but the working
/// directory.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct TaskFile {
    pub(crate) name: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) read_from: Option<String>,
    pub(crate) target: Option<String>,
    pub(crate) mode: Option<ModeArgument>,
    pub(crate) until: Option<UntilArgument>,
    pub(crate) include: Vec<String>,
    pub(crate) exclude: Vec<String>,
    pub(crate) plugins: Vec<PathBuf>,
    pub(crate) plugin_config: Sections,
    pub(crate) parallelism: Option<u16>,
    pub(crate) dead_letter_limit: Option<Limit>,
    pub(crate) check_changes: bool,
    pub(crate) throttle: ThrottleArguments,
    pub(crate) state_dir: Option<PathBuf>,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Raw {
    name: Option<String>,
    source: Option<String>,
    read_from: Option<String>,
    target: Option<String>,
    mode: Option<ModeArgument>,
    until: Option<UntilArgument>,
    #[serde(default)]
    include: Vec<String>,
    #[serde(default)]
    exclude: Vec<String>,
    #[serde(default)]
    plugins: Vec<String>,
    #[serde(default)]
    plugin: toml::Table,
    parallelism: Option<u16>,
    dead_letter_limit: Option<toml::Value>,
    #[serde(default)]
    check_changes: bool,
    #[serde(default)]
    throttle: ThrottleArguments,
    state_dir: Option<String>,
}

/// Reads a task file. Errors name the file, and the line or the setting.
pub(crate) fn read(path: &Path, lookup: &dyn Fn(&str) -> Option<String>) -> Result<TaskFile> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::new(ErrorKind::Usage, "the task file can't be read")
            .at("file", path.display())
            .caused_by(error)
    })?;
    let directory = path.parent().unwrap_or(Path::new(""));
    parse(&text, directory, lookup).map_err(|error| error.at("file", path.display()))
}

fn parse(text: &str, directory: &Path, lookup: &dyn Fn(&str) -> Option<String>) -> Result<TaskFile> {
    let raw: Raw =
        toml::from_str(text).map_err(|error| plugin_config::toml_error("the task file", text, &error))?;
    if raw.parallelism.is_some_and(|number| !(1..=256).contains(&number)) {
        return Err(Error::new(ErrorKind::Usage, "parallelism is out of range")
            .at("setting", "parallelism")
            .because("it is a number from 1 to 256"));
    }
    let throttle = raw.throttle;
    let zero = [
        ("max-rows-per-second", throttle.max_rows_per_second == Some(0)),
        (
            "max-mb-per-second",
            throttle.max_mb_per_second.is_some_and(|rate| !(rate > 0.0 && rate.is_finite())),
        ),
        ("max-load", throttle.max_load == Some(0)),
    ];
    if let Some((name, _)) = zero.into_iter().find(|&(_, is_zero)| is_zero) {
        return Err(Error::new(ErrorKind::Usage, format!("{name} is out of range"))
            .at("setting", format!("throttle.{name}"))
            .because("it is a number above 0"));
    }
    let limit = raw.dead_letter_limit.as_ref().map(|value| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        dead_letter_limit(&text).map_err(|why| {
            Error::new(ErrorKind::Usage, "dead-letter-limit can't be read")
                .at("setting", "dead-letter-limit")
                .because(why)
        })
    });
    let replaced = |setting: &'static str, text: &str| {
        substitute(text, lookup).map_err(|error| error.at("setting", setting))
    };
    let one = |setting, text: Option<String>| text.map(|text| replaced(setting, &text)).transpose();
    let many = |setting, texts: Vec<String>| {
        texts.iter().map(|text| replaced(setting, text)).collect::<Result<Vec<_>>>()
    };

    let mut plugin_config = plugin_config::from_toml(raw.plugin)?;
    for (name, section) in &mut plugin_config {
        let place = format!("plugin.{name}");
        if !section.is_object() {
            return Err(Error::new(ErrorKind::Usage, format!("'{name}' is not a section"))
                .at("setting", place)
                .help("write the configuration of a plugin under [plugin.NAME]"));
        }
        plugin_config::substitute_all(section, lookup).map_err(|error| error.at("setting", place))?;
    }

    Ok(TaskFile {
        name: one("name", raw.name)?,
        source: one("source", raw.source)?,
        read_from: one("read-from", raw.read_from)?,
        target: one("target", raw.target)?,
        mode: raw.mode,
        until: raw.until,
        include: many("include", raw.include)?,
        exclude: many("exclude", raw.exclude)?,
        plugins: many("plugins", raw.plugins)?.into_iter().map(|plugin| directory.join(plugin)).collect(),
        plugin_config,
        parallelism: raw.parallelism,
        dead_letter_limit: limit.transpose()?,
        check_changes: raw.check_changes,
        throttle: raw.throttle,
        state_dir: one("state-dir", raw.state_dir)?.map(|state_dir| directory.join(state_dir)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse_text(text: &str) -> Result<TaskFile> {
        parse(text, Path::new("tasks"), &|name| match name {
            "MYSQL_PASSWORD" => Some("p%40ss".to_owned()),
            "HOME_DIR" => Some("/srv".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn reads_every_setting() {
        let file = parse_text(
            r#"
            name = "shop"
            source = "mysql://mig:${MYSQL_PASSWORD}@db1/shop"
            read-from = "mysql://mig:${MYSQL_PASSWORD}@db2/shop"
            target = "postgres://pg1/shop"
            mode = "online"
            until = "caught-up"
            include = ["shop.*"]
            exclude = ["tmp_*"]
            plugins = ["plugins/mysql2og.wasm", "/opt/mask.wasm"]
            parallelism = 4
            dead-letter-limit = 50
            check-changes = true
            state-dir = "${HOME_DIR}/state"

            [throttle]
            max-load = 40
            max-mb-per-second = 12.5
            max-replica-lag = 5

            [plugin.mysql2og]
            zero_dates = "null"
            "#,
        )
        .expect("a good file");
        assert_eq!(
            file,
            TaskFile {
                name: Some("shop".into()),
                source: Some("mysql://mig:p%40ss@db1/shop".into()),
                read_from: Some("mysql://mig:p%40ss@db2/shop".into()),
                target: Some("postgres://pg1/shop".into()),
                mode: Some(ModeArgument::Online),
                until: Some(UntilArgument::CaughtUp),
                include: vec!["shop.*".into()],
                exclude: vec!["tmp_*".into()],
                plugins: vec!["tasks/plugins/mysql2og.wasm".into(), "/opt/mask.wasm".into()],
                plugin_config: json!({"mysql2og": {"zero_dates": "null"}})
                    .as_object()
                    .expect("an object")
                    .clone(),
                parallelism: Some(4),
                dead_letter_limit: Some(Limit::Of(50)),
                check_changes: true,
                throttle: ThrottleArguments {
                    max_load: Some(40),
                    max_mb_per_second: Some(12.5),
                    max_replica_lag: Some(5),
                    ..ThrottleArguments::default()
                },
                state_dir: Some("/srv/state".into()),
            }
        );
    }

    #[test]
    fn a_limit_can_be_none() {
        let file = parse_text("dead-letter-limit = \"none\"").expect("a good file");
        assert_eq!(file.dead_letter_limit, Some(Limit::None));
    }

    #[test]
    fn nothing_is_required() {
        assert_eq!(parse_text("").expect("an empty file"), TaskFile::default());
    }

    #[test]
    fn an_unknown_setting_is_named_with_its_line() {
        let error = parse_text("name = \"a\"\nstate_dir = \"x\"\n").expect_err("an unknown setting");
        assert!(error.why().is_some_and(|why| why.contains("state_dir")), "{error}");
        assert_eq!(error.place(), [("line", "2".to_owned())]);
    }

    #[test]
    fn a_missing_variable_is_named_with_its_setting() {
        let error = parse_text("source = \"mysql://u:hidden@${NO_HOST}/\"").expect_err("an unset variable");
        assert!(error.what().contains("NO_HOST"), "{error}");
        assert_eq!(error.place(), [("setting", "source".to_owned())]);
        assert!(!error.to_string().contains("hidden"));
    }

    #[test]
    fn wrong_words_and_numbers_are_refused() {
        for text in [
            "mode = \"fast\"",
            "until = \"never\"",
            "parallelism = 0",
            "parallelism = 70000",
            "plugin.a = 1",
            "dead-letter-limit = 0",
            "[throttle]\nmax-load = 0",
            "[throttle]\nmax-mb-per-second = -1.0",
        ] {
            assert_eq!(parse_text(text).expect_err(text).kind(), ErrorKind::Usage, "{text}");
        }
    }
}
