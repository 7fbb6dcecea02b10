//! What a run is asked to do, from command line, environment and task file together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine_core::endpoint::EndpointUrl;
use engine_core::selection::Selection;
use engine_core::{Error, ErrorKind, Result};
use engine_pipeline::task::{ConfigPlace, Mode, PluginConfig, PluginSpec, Until};
use engine_pipeline::throttle::Limits;

use crate::arguments::{Limit, TaskArguments, ThrottleArguments, UntilArgument};
use crate::plugin_config::{self, Sections};
use crate::task_file::{self, TaskFile};

/// Where tasks keep their state unless told otherwise.
pub(crate) const STATE_DIR: &str = "./engine-state";

/// Rows that may be set aside unless told otherwise.
const DEAD_LETTER_LIMIT: u64 = 1000;

/// Longest name of a task, in bytes: it names a directory and a row in the target.
const LONGEST_NAME: usize = 64;

/// Everything about a task but its connections.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) source: EndpointUrl,
    /// A replica of the source, for reading rows.
    pub(crate) read_from: Option<EndpointUrl>,
    /// The task file, where that names the replica.
    pub(crate) read_from_file: Option<PathBuf>,
    pub(crate) target: EndpointUrl,
    pub(crate) selection: Selection,
    pub(crate) mode: Mode,
    pub(crate) until: Until,
    pub(crate) plugins: Vec<PluginSpec>,
    pub(crate) plugin_config: BTreeMap<String, PluginConfig>,
    pub(crate) parallelism: usize,
    pub(crate) dead_letter_limit: Option<u64>,
    /// Whether the task file wants what changes to be compared after it was applied.
    pub(crate) check_changes: bool,
    /// What the task file says; the command line wins.
    pub(crate) throttle: ThrottleArguments,
    /// The task file.
    pub(crate) file: Option<PathBuf>,
    pub(crate) state_dir: PathBuf,
}

impl Settings {
    /// Reads the task file and the plugin configuration, lets the command line win, fills in the
    /// defaults.
    pub(crate) fn gather(
        arguments: TaskArguments,
        until: Option<UntilArgument>,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let file = match &arguments.task {
            Some(path) => task_file::read(path, lookup)?,
            None => TaskFile::default(),
        };
        let path = arguments.task.as_deref();
        let source = Given::of(arguments.source, file.source, path);
        let source = source.ok_or_else(|| missing("source", "ENGINE_SOURCE"))?.url("source")?;
        let target = Given::of(arguments.target, file.target, path);
        let target = target.ok_or_else(|| missing("target", "ENGINE_TARGET"))?.url("target")?;
        let read_from = Given::of(arguments.read_from, file.read_from, path);
        let read_from_file = read_from.as_ref().and_then(|given| given.file).map(Path::to_owned);
        let read_from = read_from.map(|given| given.url("read-from")).transpose()?;

        let mode = arguments.mode.or(file.mode).map_or(Mode::Online, Mode::from);
        // An `until` of the file belongs to its online runs; asking for both at once is a mistake.
        if mode == Mode::Offline && until.is_some() {
            return Err(Error::new(ErrorKind::Usage, "--until has no meaning for an offline task")
                .because("it ends by itself once every row is copied")
                .help("leave out --until, or --mode offline"));
        }
        if mode == Mode::Offline && read_from.is_some() {
            let error = Error::new(ErrorKind::Usage, "--read-from has no meaning for an offline task")
                .because("nothing is followed")
                .help("give the replica as --source");
            return Err(stands(error, "read-from", read_from_file.as_deref()));
        }
        let until = match (mode, until.or(file.until)) {
            (Mode::Online, Some(UntilArgument::CaughtUp)) => Until::CaughtUp,
            _ => Until::Stopped,
        };

        let mut plugin_config = BTreeMap::new();
        if let Some(path) = path {
            plugin_config.extend(placed(file.plugin_config, path, "plugin."));
        }
        if let Some(path) = &arguments.plugin_config {
            plugin_config.extend(placed(plugin_config::read(path, lookup)?, path, ""));
        }
        let plugins = first_given(arguments.plugins, file.plugins);
        if plugins.is_empty()
            && let Some(PluginConfig { place, .. }) = plugin_config.values().next()
        {
            return Err(Error::new(ErrorKind::Usage, "there is plugin configuration but no plugin")
                .at("file", place.file.display())
                .at("section", &place.section)
                .help("name the component with --plugin FILE, or plugins = [...] in the task file"));
        }

        Ok(Self {
            name: match Given::of(arguments.name, file.name, path) {
                Some(given) => check_name(given.value).map_err(|error| stands(error, "name", given.file))?,
                None => derived_name(&source, &target),
            },
            selection: Selection {
                // A PostgreSQL database is connected to; what tells tables apart in it are schemas.
                database: if source.has_schemas() { None } else { source.database.clone() },
                include: first_given(arguments.include, file.include),
                exclude: first_given(arguments.exclude, file.exclude),
            },
            source,
            read_from,
            read_from_file,
            target,
            mode,
            until,
            plugins: plugins.into_iter().map(|path| PluginSpec { path }).collect(),
            plugin_config,
            parallelism: arguments
                .parallelism
                .or(file.parallelism)
                .map_or_else(default_parallelism, usize::from),
            dead_letter_limit: match arguments.dead_letter_limit.or(file.dead_letter_limit) {
                Some(Limit::None) => None,
                Some(Limit::Of(number)) => Some(number),
                None => Some(DEAD_LETTER_LIMIT),
            },
            check_changes: file.check_changes,
            throttle: file.throttle,
            file: arguments.task,
            state_dir: arguments.state_dir.or(file.state_dir).unwrap_or_else(|| PathBuf::from(STATE_DIR)),
        })
    }
}

/// The limits of the copy, each from the command line or else from the task file.
pub(crate) fn limits(line: ThrottleArguments, settings: &Settings) -> Result<Limits> {
    let file = settings.throttle;
    let lag = Given::of(line.max_replica_lag, file.max_replica_lag, settings.file.as_deref());
    if let Some(given) = &lag
        && settings.read_from.is_none()
    {
        let error = Error::new(ErrorKind::Usage, "--max-replica-lag is for a copy from a replica")
            .because("rows are read from the source itself, which lags behind nobody")
            .help("name the replica with --read-from URL, or leave out --max-replica-lag");
        let setting = if given.file.is_some() { "throttle.max-replica-lag" } else { "max-replica-lag" };
        return Err(stands(error, setting, given.file));
    }
    Ok(Limits {
        rows_per_second: line.max_rows_per_second.or(file.max_rows_per_second),
        bytes_per_second: line
            .max_mb_per_second
            .or(file.max_mb_per_second)
            .map(|megabytes| ((megabytes * 1e6) as u64).max(1)),
        load: line.max_load.or(file.max_load),
        lag: lag.map(|given| Duration::from_secs(given.value)),
    })
}

/// A setting, and where it stands.
struct Given<'a, T> {
    value: T,
    /// The task file; `None` for the command line and the environment, which win.
    file: Option<&'a Path>,
}

impl<'a, T> Given<'a, T> {
    fn of(argument: Option<T>, setting: Option<T>, file: Option<&'a Path>) -> Option<Self> {
        match argument {
            Some(value) => Some(Self { value, file: None }),
            None => setting.map(|value| Self { value, file }),
        }
    }
}

impl Given<'_, String> {
    fn url(self, setting: &str) -> Result<EndpointUrl> {
        EndpointUrl::parse(&self.value).map_err(|error| stands(error, setting, self.file))
    }
}

/// The error of a setting at the place where it stands: the task file, or the command line.
pub(crate) fn stands(error: Error, setting: &str, file: Option<&Path>) -> Error {
    match file {
        Some(file) => error.at("file", file.display()).at("setting", setting),
        None => error.at("option", format_args!("--{setting}")),
    }
}

/// Sections of a file with their place.
fn placed(sections: Sections, file: &Path, prefix: &str) -> impl Iterator<Item = (String, PluginConfig)> {
    sections.into_iter().map(move |(name, value)| {
        let place = ConfigPlace { file: file.to_owned(), section: format!("{prefix}{name}") };
        (name, PluginConfig { value, place })
    })
}

fn missing(setting: &str, variable: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("there is no {setting} database")).help(format!(
        "give --{setting} URL, or set {variable}, or write {setting} = \"URL\" into a file for --task; \
         'engine run --help' has examples"
    ))
}

fn first_given<T>(arguments: Vec<T>, file: Vec<T>) -> Vec<T> {
    if arguments.is_empty() { file } else { arguments }
}

/// The number of cores, at least 2, at most 8.
fn default_parallelism() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8)
}

fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// A task's name is part of a path, so that it must not lead out of the state directory.
pub(crate) fn check_name(name: String) -> Result<String> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > LONGEST_NAME {
        "it is longer than 64 characters"
    } else if name.starts_with('.') {
        "it begins with a dot"
    } else if !name.chars().all(is_name_character) {
        "it may hold letters, digits, '.', '_' and '-' only"
    } else {
        return Ok(name);
    };
    Err(Error::new(ErrorKind::Usage, format!("'{}' can't be the name of a task", name.escape_debug()))
        .because(why)
        .help("choose another with --name, e.g. --name shop-to-postgres"))
}

/// `shop-to-postgres`: the databases, or what kind of server it is where the URL names none.
fn derived_name(source: &EndpointUrl, target: &EndpointUrl) -> String {
    let side = |url: &EndpointUrl| {
        let name = url.database.as_deref().unwrap_or(&url.scheme);
        let clean: String =
            name.chars().map(|c| if is_name_character(c) { c } else { '-' }).take(30).collect();
        clean.trim_start_matches('.').to_owned()
    };
    format!("{}-to-{}", side(source), side(target))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "mysql://u:hidden@h/shop";
    const TARGET: &str = "postgres://u:hidden@h/postgres";

    fn arguments() -> TaskArguments {
        TaskArguments { source: Some(SOURCE.into()), target: Some(TARGET.into()), ..TaskArguments::default() }
    }

    fn gather(arguments: TaskArguments) -> Result<Settings> {
        Settings::gather(arguments, None, &|_| None)
    }

    #[test]
    fn defaults() {
        let settings = gather(arguments()).expect("good arguments");
        assert_eq!(settings.name, "shop-to-postgres");
        assert_eq!(settings.selection.database.as_deref(), Some("shop"));
        assert_eq!((settings.mode, settings.until), (Mode::Online, Until::Stopped));
        assert!((2..=8).contains(&settings.parallelism));
        assert_eq!(settings.dead_letter_limit, Some(1000));
        assert_eq!(settings.state_dir, PathBuf::from("./engine-state"));
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("t.toml");
        let text = format!(
            "name = \"file\"\nsource = \"{SOURCE}2\"\ntarget = \"{TARGET}\"\ninclude = [\"a\"]\nexclude = [\"b\"]\n\
             parallelism = 3\nplugins = [\"p.wasm\"]\n[plugin.p]\nx = 1\n"
        );
        std::fs::write(&path, text).expect("a writable file");
        let settings = gather(TaskArguments {
            task: Some(path),
            name: Some("line".into()),
            include: vec!["c".into()],
            ..TaskArguments::default()
        })
        .expect("good arguments");
        assert_eq!(settings.name, "line");
        assert_eq!(settings.source.database.as_deref(), Some("shop2"));
        assert_eq!(settings.selection.include, ["c"]);
        assert_eq!(settings.selection.exclude, ["b"]);
        assert_eq!(settings.parallelism, 3);
        assert_eq!(settings.plugins[0].path, directory.path().join("p.wasm"));
        let config = &settings.plugin_config["p"];
        assert_eq!(config.value["x"], 1);
        assert_eq!(config.place.section, "plugin.p");
    }

    #[test]
    fn a_missing_or_unreadable_endpoint_is_named() {
        let error = gather(TaskArguments::default()).expect_err("no source");
        assert!(error.remedy().is_some_and(|help| help.contains("ENGINE_SOURCE")), "{error}");
        let error = gather(TaskArguments { target: Some("oracle://u:hidden@h/b".into()), ..arguments() })
            .expect_err("an unknown scheme");
        assert_eq!(error.place(), [("option", "--target".to_owned())]);
        assert!(!error.to_string().contains("hidden"));
    }

    #[test]
    fn a_setting_of_the_file_is_named_with_the_file() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("t.toml");
        let refused = |text: &str, line: TaskArguments| {
            std::fs::write(&path, text).expect("a writable file");
            gather(TaskArguments { task: Some(path.clone()), ..line }).expect_err(text)
        };
        let in_file = |setting: &str| [("file", path.display().to_string()), ("setting", setting.to_owned())];
        let source = "source = \"oracle://u:hidden@h/b\"";
        let error = refused(source, TaskArguments::default());
        assert_eq!(error.place(), in_file("source"));
        assert!(!error.to_string().contains("hidden"));
        let replica = "read-from = \"h\"";
        assert_eq!(refused(replica, arguments()).place(), in_file("read-from"));
        assert_eq!(refused("name = \"a/b\"", arguments()).place(), in_file("name"));
        let error = refused("[plugin.p]\nx = 1", arguments());
        assert_eq!(error.place()[0], in_file("")[0]);
        assert_eq!(error.place()[1], ("section", "plugin.p".to_owned()));
        let offline = format!("mode = \"offline\"\nread-from = \"{SOURCE}\"");
        assert_eq!(refused(&offline, arguments()).place(), in_file("read-from"));

        std::fs::write(&path, "[throttle]\nmax-replica-lag = 5").expect("a writable file");
        let settings =
            gather(TaskArguments { task: Some(path.clone()), ..arguments() }).expect("good arguments");
        let error = limits(ThrottleArguments::default(), &settings).expect_err("no replica");
        assert_eq!(error.place(), in_file("throttle.max-replica-lag"));
        // What the command line has wins, and is blamed.
        let line = TaskArguments { name: Some("../x".into()), ..arguments() };
        assert_eq!(refused("name = \"good\"", line).place(), [("option", "--name".to_owned())]);
    }

    #[test]
    fn names_stay_inside_the_state_directory() {
        for bad in ["", ".", "..", "a/b", "a b", "ü", ".hidden", &"a".repeat(65)] {
            assert!(check_name(bad.to_owned()).is_err(), "{bad}");
        }
        for (source, expected) in
            [("mysql://h", "mysql-to-postgres"), ("mysql://h/..%2Fa%20b", "-a-b-to-postgres")]
        {
            let Ok(source) = EndpointUrl::parse(source) else { continue };
            let target = EndpointUrl::parse(TARGET).expect("a good URL");
            assert_eq!(derived_name(&source, &target), expected);
        }
    }

    #[test]
    fn until_is_for_online_tasks() {
        let offline = TaskArguments { mode: Some(crate::arguments::ModeArgument::Offline), ..arguments() };
        let error = Settings::gather(offline, Some(UntilArgument::CaughtUp), &|_| None).expect_err("both");
        assert_eq!(error.kind(), ErrorKind::Usage);
    }
}
