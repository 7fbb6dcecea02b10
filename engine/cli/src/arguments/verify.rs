//! What a check is told.

use clap::{Args, ValueEnum};

use engine_pipeline::verify::Method;

use super::task::TaskArguments;

/// `engine verify`
#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    /// Task to check, in place of --name.
    #[arg(id = "named", value_name = "NAME", conflicts_with = "name")]
    pub(crate) named: Option<String>,

    #[command(flatten)]
    pub(crate) task: TaskArguments,

    /// Checks the way back of the task, begun by `engine reverse`, rather than the task.
    #[arg(long, help_heading = "Task")]
    pub(crate) way_back: bool,

    /// Source table to check alone, as TABLE or DATABASE.TABLE with * and ?; may be repeated.
    #[arg(long = "table", value_name = "PATTERN", help_heading = "Check")]
    pub(crate) tables: Vec<String>,

    /// Waits before each part while the source runs more statements than this at once, as MySQL's
    /// `Threads_running` says.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Check")]
    pub(crate) max_load: Option<u64>,

    /// How rows are compared.
    ///
    /// push-down is for tables whose values the plan leaves as they are, between MySQL and MariaDB servers in any
    /// direction; other tables, and parts that differ or are just changing, are streamed all the same.
    #[arg(long, value_enum, value_name = "METHOD", default_value = "auto", help_heading = "Check")]
    pub(crate) method: MethodArgument,

    /// Rows of a part [default: as many as weigh 24 MiB, at most 150,000].
    ///
    /// A part is what one connection to each side reads at a time, in a snapshot of its own.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Check")]
    pub(crate) part_rows: Option<u64>,

    /// Begins anew in place of going on with an interrupted check.
    #[arg(long, help_heading = "Check")]
    pub(crate) restart: bool,

    /// Mends the rows that are wrong, and no others, then looks at them again.
    ///
    /// An engine may go on following meanwhile. Rows are written as they must be where the target
    /// stands, so that what the engine applies next finds what it expects.
    #[arg(long, help_heading = "Repair")]
    pub(crate) repair: bool,

    /// With --repair: shows the statements and changes nothing.
    #[arg(long, requires = "repair", help_heading = "Repair")]
    pub(crate) dry_run: bool,

    /// Plants defects in copies of some rows of the target, and ends with 0 if the check finds all of them and nothing
    /// else.
    ///
    /// The copies are temporary tables that nobody else sees; the task's own tables are only read.
    #[arg(long, conflicts_with_all = ["repair", "restart", "max_load"], help_heading = "Self-test")]
    pub(crate) self_test: bool,

    /// Writes the report as one JSON object.
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
}

/// Values of `--method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MethodArgument {
    /// Whichever of the others was quicker for the first parts of a table.
    Auto,
    /// Rows are read from both sides and hashed by the engine: the least work for the databases.
    Stream,
    /// Both databases sum up hashes of their rows: the least traffic.
    PushDown,
}

impl From<MethodArgument> for Method {
    fn from(argument: MethodArgument) -> Self {
        match argument {
            MethodArgument::Auto => Self::Auto,
            MethodArgument::Stream => Self::Stream,
            MethodArgument::PushDown => Self::PushDown,
        }
    }
}
