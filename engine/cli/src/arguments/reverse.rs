//! What the way back of a task is told.

use clap::Args;

use super::task::{TaskArguments, UntilArgument};

/// `engine reverse`
#[derive(Debug, Args)]
pub(crate) struct ReverseArguments {
    /// Task that was cut over, in place of --name.
    #[arg(id = "named", value_name = "NAME", conflicts_with = "name")]
    pub(crate) named: Option<String>,

    #[command(flatten)]
    pub(crate) task: TaskArguments,

    /// When it ends by itself [default: when it is stopped].
    #[arg(long, value_name = "WHEN", help_heading = "Task")]
    pub(crate) until: Option<UntilArgument>,

    /// A change of structure at which it stopped, by the token of the message, that has been carried out by hand.
    #[arg(long, value_name = "TOKEN", help_heading = "Task")]
    pub(crate) structure_by_hand: Vec<String>,

    /// Compares rows that change with the target after they were applied; the exit code is 4 when some are wrong.
    #[arg(long, help_heading = "Task")]
    pub(crate) check_changes: bool,

    /// Writes events as JSON lines on standard output: phase, progress, finding, done, error.
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
}

/// `engine drop`
#[derive(Debug, Args)]
pub(crate) struct DropArguments {
    /// Task to drop, in place of --name.
    #[arg(id = "named", value_name = "NAME", conflicts_with = "name")]
    pub(crate) named: Option<String>,

    #[command(flatten)]
    pub(crate) task: TaskArguments,

    /// Drops the way back of the task, rather than the task.
    #[arg(long, help_heading = "Task")]
    pub(crate) way_back: bool,
}
