//! The command line. What the options mean to a user is said here and nowhere else: the help texts
//! are the reference.

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use engine_pipeline::task;
use engine_pipeline::verify::Method;

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

    /// When the work begins: 2026-12-24T02:00:00Z, or HH:MM in local time. The checks are made at once.
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

/// How much of the source the copy may take. Following is not slowed down.
#[derive(Debug, Clone, Copy, Default, Args, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[expect(clippy::struct_field_names, reason = "the names of the options")]
pub(crate) struct ThrottleArguments {
    /// Rows that the copy may read in a second, over all connections.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Throttle")]
    pub(crate) max_rows_per_second: Option<u64>,

    /// Millions of bytes that the copy may read in a second.
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Throttle")]
    pub(crate) max_mb_per_second: Option<f64>,

    /// Statements that the source may be working on (`Threads_running`, the copy's own among them);
    /// above that the copy waits.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Throttle")]
    pub(crate) max_load: Option<u64>,

    /// Seconds that the replica of --read-from may be behind; above that the copy waits.
    #[arg(long, value_name = "SECONDS", help_heading = "Throttle")]
    pub(crate) max_replica_lag: Option<u64>,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("it is a number above 0".to_owned()),
    }
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

/// `engine cutover`
#[derive(Debug, Args)]
pub(crate) struct CutoverArguments {
    /// Task to cut over, in place of --name.
    #[arg(id = "named", value_name = "NAME", conflicts_with = "name")]
    pub(crate) named: Option<String>,

    #[command(flatten)]
    pub(crate) task: TaskArguments,

    /// Asks nothing; without --set-source-read-only, writes have to be stopped before.
    #[arg(long, help_heading = "Cut-over")]
    pub(crate) yes: bool,

    /// How far the target may be behind when writes are stopped: 500ms, 5s, 2m.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s", help_heading = "Cut-over")]
    pub(crate) max_lag: Duration,

    /// How long writes may be stopped before everything is undone: 30s, 5m, 1h.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5m", help_heading = "Cut-over")]
    pub(crate) freeze_budget: Duration,

    /// Has the source refuse writes (`super_read_only` on MySQL, `read_only` on MariaDB), rather than
    /// somebody stop the applications.
    #[arg(long, help_heading = "Cut-over")]
    pub(crate) set_source_read_only: bool,

    /// Leaves out the comparison of every row before writes stop, and the count of rows after.
    #[arg(long, help_heading = "Cut-over")]
    pub(crate) skip_verify: bool,

    /// Leaves rows behind that are set aside, and so are missing in the target.
    #[arg(long, help_heading = "Cut-over")]
    pub(crate) leave_set_aside: bool,

    /// Writes events as JSON lines on standard output: step, cut-over, error.
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
}

/// Reads `500ms`, `5s`, `2m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("it is a number with ms, s, m or h".to_owned()),
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(milliseconds)) {
        Some(time @ 1..) => Ok(Duration::from_millis(time)),
        _ => Err("it is a number above 0 with ms, s, m or h".to_owned()),
    }
}

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

/// `engine verify`
#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    /// Task to check, in place of --name.
    #[arg(id = "named", value_name = "NAME", conflicts_with = "name")]
    pub(crate) named: Option<String>,

    #[command(flatten)]
    pub(crate) task: TaskArguments,

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

impl Command {
    /// Whether the command was asked for JSON.
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Run(arguments) => arguments.json,
            Self::Plan(arguments) => arguments.json,
            Self::Precheck(arguments) => arguments.json,
            Self::Status(arguments) => arguments.json,
            Self::Cutover(arguments) => arguments.json,
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
    fn a_limit_is_a_number_or_none() {
        assert_eq!(dead_letter_limit("none"), Ok(Limit::None));
        assert_eq!(dead_letter_limit("7"), Ok(Limit::Of(7)));
        for bad in ["0", "-1", "", "all", "1.5"] {
            assert!(dead_letter_limit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        for bad in ["", "5", "s", "0s", "-1s", "1.5s", "1d", "99999999999999999999h", "9999999999999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_help() {
        insta::assert_snapshot!("help", help_of(&[]));
        insta::assert_snapshot!("help_run", help_of(&["run"]));
        insta::assert_snapshot!("help_plan", help_of(&["plan"]));
        insta::assert_snapshot!("help_precheck", help_of(&["precheck"]));
        insta::assert_snapshot!("help_status", help_of(&["status"]));
        insta::assert_snapshot!("help_cutover", help_of(&["cutover"]));
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
