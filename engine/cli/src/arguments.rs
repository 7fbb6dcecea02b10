//! The command line. What the options mean to a user is said here and nowhere else: the help texts
//! are the reference.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::SystemTime;

mod cutover;
mod dead_letter;
mod reverse;
mod task;
mod throttle;
mod verify;

pub(crate) use cutover::CutoverArguments;
pub(crate) use dead_letter::{DeadLetterCommand, ListArguments, RetryArguments};
pub(crate) use reverse::{DropArguments, ReverseArguments};
pub(crate) use task::{Limit, ModeArgument, TaskArguments, UntilArgument, dead_letter_limit};
pub(crate) use throttle::ThrottleArguments;
pub(crate) use verify::VerifyArguments;

/// Moves live databases, taught by WebAssembly plugins.
///
/// A task copies the tables of a source to a target and then follows the changes made
/// meanwhile, until you stop it or it has caught up. The decisions about names, types and
/// filters are made by plugins.
#[derive(Debug, Parser)]
#[command(
    name = "engine",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_long_help = "\
Examples:
  See what would happen, touching nothing:
    engine plan --source mysql://mig:secret@db1/shop --target postgres://mig:secret@pg1/shop \\
        --plugin mysql2og.wasm

  Copy, follow, and end once caught up; the same command later goes on from there:
    engine run --task shop.toml --until caught-up

  Look at it from another terminal:
    engine status

  See whether both sides are equal:
    engine verify --task shop.toml

Exit codes: 0 done, 1 failed, 2 usage, 4 verify found differences, 130 interrupted."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) log: LogArguments,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What is written to the log, for every command.
#[derive(Debug, Args)]
pub(crate) struct LogArguments {
    /// What to log on standard error: error, warn, info, debug, trace, or a filter by module.
    ///
    /// A filter looks like `info,engine_mysql=debug`.
    #[arg(
        long,
        global = true,
        env = "ENGINE_LOG",
        hide_env_values = true,
        value_name = "LEVEL",
        default_value = "warn",
        help_heading = "Logging"
    )]
    pub(crate) log: String,

    /// Form of the log lines.
    #[arg(
        long,
        global = true,
        env = "ENGINE_LOG_FORMAT",
        hide_env_values = true,
        value_name = "FORMAT",
        default_value = "text",
        help_heading = "Logging"
    )]
    pub(crate) log_format: LogFormat,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs a task: copies, follows, and goes on where an earlier run of it ended.
    ///
    /// The state of the task is committed to the target together with its rows. Stop it at any
    /// moment, by Ctrl-C or harder, and run the same command again: it goes on from there.
    #[command(after_long_help = "\
Examples:
  Copy the database shop and follow it until Ctrl-C:
    engine run --source mysql://mig:secret@db1/shop --target postgres://mig:secret@pg1/shop \\
        --plugin mysql2og.wasm

  Two tables of one database, copied once from a source that stands still:
    engine run --source mysql://mig:secret@db1/shop --target postgres://mig:secret@pg1/shop \\
        --plugin mysql2og.wasm --mode offline --include orders --include customers

  Everything from a task file, with machine-readable progress:
    engine run --task shop.toml --until caught-up --json

Standard output carries the result (with --json: the events), standard error the progress.
Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted.")]
    Run(RunArguments),

    /// Shows what a run would do: the target's DDL, every type decision, every warning.
    ///
    /// Reads the source's catalog and asks the plugins. Touches nothing on either side.
    #[command(after_long_help = "\
Examples:
    engine plan --task shop.toml
    engine plan --task shop.toml --json | jq -r '.before_load[]'

Exit codes: 0 the plan can be run, 1 it can't, 2 usage, 130 interrupted.")]
    Plan(PlanArguments),

    /// Checks source, target and plan, and says what has to be mended before a run.
    ///
    /// Every item is a pass, a note, a warning or a failure, with what was seen, why it matters and the
    /// statement that mends it. Privileges are tried. Nothing is written to either side.
    #[command(after_long_help = "\
Examples:
    engine precheck --task shop.toml
    engine precheck --task shop.toml --json | jq '.items[] | select(.severity == \"failed\")'

Exit codes: 0 nothing stands in the way, 1 something does, 2 usage, 3 there are warnings,
130 interrupted.")]
    Precheck(PrecheckArguments),

    /// Shows how far tasks are, running or ended.
    #[command(after_long_help = "\
Examples:
    engine status
    engine status shop-to-postgres
    engine status --state-dir /var/lib/engine --json | jq '.[] | {task, phase, lag_ms}'")]
    Status(StatusArguments),

    /// Ends a task: guides from the last write on the source to the first on the target.
    ///
    /// Shows and times each step: compares every row while both sides move, waits until the target is
    /// close behind, has writes stopped or stops them, makes sure that they have, waits until the target has everything, sets identity columns,
    /// looks at foreign keys and triggers, holds both sides against each other, and records the end in
    /// the target. Up to that last step everything is undone when something fails, when writes have been
    /// stopped for longer than --freeze-budget, and by Ctrl-C.
    ///
    /// While an engine runs the task, the name alone is enough. Otherwise give the options that the task
    /// was run with, and this command runs it until it is cut over.
    #[command(after_long_help = "\
Examples:
  You stop the applications yourself, when asked to:
    engine cutover shop-to-postgres

  The engine has the source refuse writes, for half a minute at most:
    engine cutover shop-to-postgres --set-source-read-only --freeze-budget 30s

  In a script, without a running engine:
    engine cutover --task shop.toml --set-source-read-only --yes --json

Exit codes: 0 cut over; 1 it failed, and everything is as it was unless the error says otherwise;
2 usage; 130 given up, and everything is as it was.")]
    Cutover(Box<CutoverArguments>),

    /// Takes the way back of a task: what applications write to its target goes to its source.
    ///
    /// It begins at the moment of the cut-over, which has to have been made with --way-back, and is a task of its
    /// own, NAME-back, which stops and goes on as any other. Tables, columns and types are those that the rows came
    /// from. Once it has caught up, applications can be pointed at the old database again, no row lost.
    ///
    /// Give the options that the task was run with.
    #[command(after_long_help = "\
Examples:
  Keep the old database up to date, until Ctrl-C:
    engine reverse --task shop.toml

  Bring it up to date once:
    engine reverse --task shop.toml --until caught-up

  Compare both sides:
    engine verify --task shop.toml --way-back

Exit codes: 0 done, 1 failed, 2 usage, 4 rows that changed are wrong, 130 interrupted.")]
    Reverse(Box<ReverseArguments>),

    /// Ends a task for good on its source: drops what the source keeps for its sake.
    ///
    /// A PostgreSQL source keeps its log for a task's replication slot, however long nobody runs the task. The task
    /// can't go on afterwards. The target keeps its rows and the record of the task. A MySQL source keeps nothing.
    #[command(after_long_help = "\
Examples:
    engine drop --task shop.toml
    engine drop --task shop.toml --way-back

Exit codes: 0 dropped, 1 failed, 2 usage.")]
    Drop(Box<DropArguments>),

    /// Has a running task read and write nothing until it is resumed.
    ///
    /// Answered once nothing goes on any more: changes in hand are committed, the position is kept in
    /// the target, and the connections that copy and follow are closed. A chunk of the copy that is
    /// under way is given up and copied again; an index that is being built is finished first. The
    /// source must keep its log for as long as the pause lasts.
    #[command(after_long_help = "\
Examples:
    engine pause shop-to-postgres
    engine resume shop-to-postgres

Exit codes: 0 it is paused; 1 it isn't, or no engine runs the task; 2 usage.")]
    Pause(ControlArguments),

    /// Has a paused task go on.
    Resume(ControlArguments),

    /// Stops a running task, as Ctrl-C in its terminal does.
    ///
    /// What is in hand is committed first. Answered once the task has ended; its `engine run` ends with
    /// exit code 130, and the same command goes on from there.
    Stop(ControlArguments),

    /// Shows the rows that a task has set aside, and tries them again.
    ///
    /// A plugin's plan says for each table whether a row that can't be carried over stops the task or
    /// is set aside; with mysql2og, the setting `on_row_error = "dead-letter"` does. What is set aside
    /// is missing in the target; nothing else is.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    DeadLetter {
        #[command(subcommand)]
        command: DeadLetterCommand,
    },

    /// Compares every row of the target with the source, also while an engine follows.
    ///
    /// Both sides are read in parts, through the plan and the plugins, and compared at one and the same
    /// position of the source: nothing is locked, nobody has to pause, and a row that is just changing is
    /// no difference. Wrong rows are listed with the columns that differ. Takes the options that the task
    /// was run with.
    ///
    /// An interrupted check goes on where it was: parts that were found equal are not read again.
    #[command(after_long_help = "\
Examples:
  Compare everything, while `engine run` goes on in another terminal:
    engine verify shop-to-postgres --task shop.toml

  Two tables, as quietly as possible:
    engine verify --task shop.toml --table orders --table customers --parallelism 1 --max-load 20

  See what would mend the differences, then mend them:
    engine verify --task shop.toml --repair --dry-run
    engine verify --task shop.toml --repair

  Every wrong row, for a program:
    engine verify --task shop.toml --json | jq '.tables[].differences[]'

Standard output carries the report, standard error the progress.
Exit codes: 0 equal, 1 failed, 2 usage, 4 there are differences, 130 interrupted.")]
    Verify(Box<VerifyArguments>),

    /// Looks at plugins and builds them.
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Plugin {
        #[command(subcommand)]
        command: PluginCommand,
    },
}

/// `engine run`
#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) task: TaskArguments,

    /// When an online task ends by itself [default: when it is stopped].
    #[arg(long, value_name = "WHEN", help_heading = "Task")]
    pub(crate) until: Option<UntilArgument>,

    /// A statement at which the task stopped, by the token of the message, that has been carried out
    /// in the target by hand.
    #[arg(long, value_name = "TOKEN", help_heading = "Task")]
    pub(crate) structure_by_hand: Vec<String>,

    /// Begins a task that has never run in spite of warnings about source or target.
    ///
    /// Without it, somebody at a terminal is asked, and a script's run ends before anything is written.
    #[arg(long, help_heading = "Task")]
    pub(crate) accept_warnings: bool,

    /// When the work begins: 2026-12-24T02:00:00Z, or without the Z, or HH:MM, in local time. The checks are made
    /// at once.
    #[arg(long, value_name = "TIME", value_parser = crate::start_time::parse, help_heading = "Task")]
    pub(crate) start_at: Option<SystemTime>,

    /// Compares rows that change with the target after they were applied; the exit code is 4 when some are wrong.
    ///
    /// Of an online task whose target can be read back. What is wrong is told at once.
    #[arg(long, help_heading = "Task")]
    pub(crate) check_changes: bool,

    #[command(flatten)]
    pub(crate) throttle: ThrottleArguments,

    /// Writes events as JSON lines on standard output: phase, progress, finding, done, error.
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
}

/// `engine plan`
#[derive(Debug, Args)]
pub(crate) struct PlanArguments {
    #[command(flatten)]
    pub(crate) task: TaskArguments,

    /// Writes the plan as one JSON object.
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
}

/// `engine precheck`
#[derive(Debug, Args)]
pub(crate) struct PrecheckArguments {
    #[command(flatten)]
    pub(crate) task: TaskArguments,

    /// Writes the list as one JSON object.
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
}

/// `engine status`
#[derive(Debug, Args)]
pub(crate) struct StatusArguments {
    /// Task to show in full [default: all tasks, one line each].
    pub(crate) name: Option<String>,

    /// Directory in which tasks keep their state.
    #[arg(long, env = "ENGINE_STATE_DIR", hide_env_values = true, value_name = "DIR", default_value = crate::settings::STATE_DIR)]
    pub(crate) state_dir: PathBuf,

    /// Writes JSON: one object with a name, else an array.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `engine pause`, `engine resume`, `engine stop`
#[derive(Debug, Args)]
pub(crate) struct ControlArguments {
    /// Task that an `engine run` of this machine is running.
    pub(crate) name: String,

    /// Directory in which tasks keep their state.
    #[arg(long, env = "ENGINE_STATE_DIR", hide_env_values = true, value_name = "DIR", default_value = crate::settings::STATE_DIR)]
    pub(crate) state_dir: PathBuf,

    /// Writes the answer as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `engine plugin`
#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Shows a plugin's name, version, exports, imports, size, digest and configuration schema.
    Inspect {
        /// The component.
        file: PathBuf,

        /// Writes one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Builds a plugin's Rust crate into a component.
    ///
    /// Takes rustup's wasm32-unknown-unknown target where it is installed, Debian's rustc-web and
    /// rust-web-src where not, and says which.
    Build {
        /// Directory with the crate's Cargo.toml.
        #[arg(value_name = "DIR", default_value = ".")]
        directory: PathBuf,

        /// Where the component goes [default: target/guests/NAME.wasm of the crate's workspace].
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,

        /// Writes one JSON object.
        #[arg(long)]
        json: bool,
    },
}

impl Command {
    /// Whether the command was asked for JSON.
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Run(arguments) => arguments.json,
            Self::Plan(arguments) => arguments.json,
            Self::Precheck(arguments) => arguments.json,
            Self::Status(arguments) => arguments.json,
            Self::Cutover(arguments) => arguments.json,
            Self::Reverse(arguments) => arguments.json,
            Self::Drop(_) => false,
            Self::Pause(arguments) | Self::Resume(arguments) | Self::Stop(arguments) => arguments.json,
            Self::DeadLetter { command: DeadLetterCommand::List(arguments) } => arguments.json,
            Self::DeadLetter { command: DeadLetterCommand::Retry(arguments) } => arguments.json,
            Self::Verify(arguments) => arguments.json,
            Self::Plugin {
                command: PluginCommand::Inspect { json, .. } | PluginCommand::Build { json, .. },
            } => *json,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn help_of(path: &[&str]) -> String {
        let mut command = Arguments::command().term_width(100);
        command.build();
        let mut selected = &mut command;
        for name in path {
            selected = selected.find_subcommand_mut(name).expect("a subcommand of this name");
        }
        selected.render_long_help().to_string()
    }

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_help() {
        insta::assert_snapshot!("help", help_of(&[]));
        insta::assert_snapshot!("help_run", help_of(&["run"]));
        insta::assert_snapshot!("help_plan", help_of(&["plan"]));
        insta::assert_snapshot!("help_precheck", help_of(&["precheck"]));
        insta::assert_snapshot!("help_status", help_of(&["status"]));
        insta::assert_snapshot!("help_cutover", help_of(&["cutover"]));
        insta::assert_snapshot!("help_reverse", help_of(&["reverse"]));
        insta::assert_snapshot!("help_drop", help_of(&["drop"]));
        insta::assert_snapshot!("help_pause", help_of(&["pause"]));
        insta::assert_snapshot!("help_resume", help_of(&["resume"]));
        insta::assert_snapshot!("help_stop", help_of(&["stop"]));
        insta::assert_snapshot!("help_dead_letter", help_of(&["dead-letter"]));
        insta::assert_snapshot!("help_dead_letter_list", help_of(&["dead-letter", "list"]));
        insta::assert_snapshot!("help_dead_letter_retry", help_of(&["dead-letter", "retry"]));
        insta::assert_snapshot!("help_verify", help_of(&["verify"]));
        insta::assert_snapshot!("help_plugin", help_of(&["plugin"]));
        insta::assert_snapshot!("help_plugin_inspect", help_of(&["plugin", "inspect"]));
        insta::assert_snapshot!("help_plugin_build", help_of(&["plugin", "build"]));
    }
}
