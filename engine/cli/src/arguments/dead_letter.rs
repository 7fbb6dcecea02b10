//! Rows that are set aside: listing and trying them again.

use clap::{Args, Subcommand};
use std::path::PathBuf;

use super::task::TaskArguments;

/// `engine dead-letter`
#[derive(Debug, Subcommand)]
pub(crate) enum DeadLetterCommand {
    /// Lists the rows that are set aside.
    ///
    /// First how many for each table and reason, then each row with its key, what the source did with
    /// it and in which transaction. `--json` adds the rows' values. Needs no connection, and works
    /// while the task runs.
    #[command(after_long_help = "\
Examples:
    engine dead-letter list shop-to-postgres
    engine dead-letter list shop-to-postgres --table shop.orders --json | jq '.[].row'

Exit codes: 0 listed, or there are none; 1 failed, 2 usage.")]
    List(ListArguments),

    /// Tries the rows that are set aside again, as the source has them now.
    ///
    /// Each is read from the source by its key, taken through the plugins and written to the target.
    /// What succeeds is off the list, and so is a row that the source has no more; the others stay
    /// with their new reason. Takes the options that the task was run with; the task must not be
    /// running, and its copy must be complete.
    #[command(after_long_help = "\
Examples:
    engine dead-letter retry shop-to-postgres --task shop.toml
    engine dead-letter retry --task shop.toml

Exit codes: 0 no row is left, 1 some are or it failed, 2 usage, 130 interrupted.")]
    Retry(Box<RetryArguments>),
}

/// `engine dead-letter list`
#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// Task whose rows to list.
    pub(crate) name: String,

    /// Source table to list alone, as TABLE or DATABASE.TABLE with * and ?; may be repeated.
    #[arg(long = "table", value_name = "PATTERN")]
    pub(crate) tables: Vec<String>,

    /// Directory in which tasks keep their state.
    #[arg(long, env = "ENGINE_STATE_DIR", hide_env_values = true, value_name = "DIR", default_value = crate::settings::STATE_DIR)]
    pub(crate) state_dir: PathBuf,

    /// Writes an array of objects, one for each row, with its values.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `engine dead-letter retry`
#[derive(Debug, Args)]
pub(crate) struct RetryArguments {
    /// Task whose rows to try again, in place of --name.
    #[arg(id = "named", value_name = "NAME", conflicts_with = "name")]
    pub(crate) named: Option<String>,

    #[command(flatten)]
    pub(crate) task: TaskArguments,

    /// Writes the outcome as one JSON object.
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
}
