//! What makes a task, for every command that takes one.

use clap::{Args, ValueEnum};
use serde::Deserialize;
use std::path::PathBuf;

use engine_pipeline::task;

/// What `run` and `plan` have in common: source, target, plugins, and which tables.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TaskArguments {
    /// Database to read: mysql://USER:PASSWORD@HOST:PORT/DATABASE, or mariadb://.
    ///
    /// With a database, the task is about that one alone; without, about all but the server's own.
    /// Characters with a meaning in URLs are written as escapes (%40 for @, %2F for /). A password
    /// on the command line can be seen by other users of the machine: prefer the environment
    /// variable, or a task file with ${VARIABLE}.
    #[arg(
        long,
        env = "ENGINE_SOURCE",
        hide_env_values = true,
        value_name = "URL",
        help_heading = "Endpoints"
    )]
    pub(crate) source: Option<String>,

    /// Replica of the source to read rows from, so that the copy costs the source nothing.
    ///
    /// Changes are still followed on the source. Both need GTIDs, and the replica must have taken no
    /// writes of its own. It may lag: what it lacks comes with the changes.
    #[arg(
        long,
        env = "ENGINE_READ_FROM",
        hide_env_values = true,
        value_name = "URL",
        help_heading = "Endpoints"
    )]
    pub(crate) read_from: Option<String>,

    /// Database to write: postgres://USER:PASSWORD@HOST:PORT/DATABASE, or opengauss://, mysql://, mariadb://.
    #[arg(
        long,
        env = "ENGINE_TARGET",
        hide_env_values = true,
        value_name = "URL",
        help_heading = "Endpoints"
    )]
    pub(crate) target: Option<String>,

    /// WebAssembly component that decides about tables, types and rows; repeat it for a chain.
    ///
    /// Each plugin sees the tables as the one before left them. From MySQL or MariaDB to
    /// PostgreSQL or openGauss, mysql2og.wasm has to be among them; between MySQL and MariaDB,
    /// mysql2mysql.wasm.
    #[arg(long = "plugin", value_name = "FILE", help_heading = "Plugins")]
    pub(crate) plugins: Vec<PathBuf>,

    /// TOML or JSON file with one section per plugin name.
    ///
    /// A section replaces the task file's [plugin.NAME] as a whole. `engine plugin inspect` shows
    /// what a plugin can be told.
    #[arg(long, value_name = "FILE", help_heading = "Plugins")]
    pub(crate) plugin_config: Option<PathBuf>,

    /// Task file (TOML) that can hold every option, with ${VARIABLE} for secrets.
    ///
    /// Options on the command line and environment variables win over the file; a list given there
    /// replaces the file's list. Relative paths in the file start at the file's own directory.
    #[arg(long, value_name = "FILE.toml", help_heading = "Task")]
    pub(crate) task: Option<PathBuf>,

    /// Name of the task: letters, digits, '.', '_' and '-' [default: from the two databases, as in
    /// shop-to-postgres].
    #[arg(long, value_name = "NAME", help_heading = "Task")]
    pub(crate) name: Option<String>,

    /// Table to take, as TABLE or DATABASE.TABLE with * and ?; may be repeated [default: all].
    #[arg(long = "include", value_name = "PATTERN", help_heading = "Tables")]
    pub(crate) include: Vec<String>,

    /// Table to leave out, whatever --include says; may be repeated.
    #[arg(long = "exclude", value_name = "PATTERN", help_heading = "Tables")]
    pub(crate) exclude: Vec<String>,

    /// Whether the source keeps taking writes [default: online].
    #[arg(long, value_name = "MODE", help_heading = "Task")]
    pub(crate) mode: Option<ModeArgument>,

    /// Connections to each side that copy at the same time, and indexes built at once [default:
    /// the number of cores, at least 2, at most 8].
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=256),
        help_heading = "Task"
    )]
    pub(crate) parallelism: Option<u16>,

    /// Rows that may be set aside, over all runs of the task; one more stops it. `none` for any
    /// number [default: 1000].
    ///
    /// A row is set aside, rather than stopping the task, where a plugin's plan says so.
    #[arg(long, value_name = "N|none", value_parser = dead_letter_limit, help_heading = "Task")]
    pub(crate) dead_letter_limit: Option<Limit>,

    /// Directory in which tasks keep their state [default: ./engine-state].
    #[arg(long, env = "ENGINE_STATE_DIR", hide_env_values = true, value_name = "DIR", help_heading = "Task")]
    pub(crate) state_dir: Option<PathBuf>,
}

/// The most there may be of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// This many, at least one.
    Of(u64),
    /// Any number.
    None,
}

/// Reads `none` or a number from 1.
pub(crate) fn dead_letter_limit(text: &str) -> Result<Limit, String> {
    match (text, text.parse()) {
        ("none", _) => Ok(Limit::None),
        (_, Ok(number @ 1..)) => Ok(Limit::Of(number)),
        (_, Ok(0)) => Err("it is at least 1; 'none' stands for any number".to_owned()),
        _ => Err("it is a number from 1, or 'none'".to_owned()),
    }
}

/// Values of `--mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ModeArgument {
    /// Copy once; the source must stand still meanwhile.
    Offline,
    /// Copy, then follow the changes.
    Online,
}

/// Values of `--until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UntilArgument {
    /// Once the source position read when the copy was complete is applied.
    CaughtUp,
}

impl From<ModeArgument> for task::Mode {
    fn from(mode: ModeArgument) -> Self {
        match mode {
            ModeArgument::Offline => Self::Offline,
            ModeArgument::Online => Self::Online,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_or_none() {
        assert_eq!(dead_letter_limit("none"), Ok(Limit::None));
        assert_eq!(dead_letter_limit("7"), Ok(Limit::Of(7)));
        for bad in ["0", "-1", "", "all", "1.5"] {
            assert!(dead_letter_limit(bad).is_err(), "{bad}");
        }
    }
}
