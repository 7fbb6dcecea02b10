//! The project's own tasks: `cargo xtask test | plugins | demo | bench | torture`.

mod deny;
mod run;
mod steps;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, tests, shows and measures the migration engine.
///
/// Every task prepares what it needs by itself; a bare Debian 12 with rustup's stable toolchain and a C linker is
/// enough. Database servers are thrown away afterwards; their software is kept below target/servers.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Runs every check and every test, as CI does
    ///
    /// Formatting, lints, dependencies, guests, unit tests and the end-to-end tests against real servers. Each step
    /// is timed; all steps run even if one fails, and the exit status is 0 only if every step succeeded.
    #[command(
        after_help = "Servers come from TEST_MYSQL_URL, TEST_MARIADB_URL and TEST_POSTGRES_URL if set, else from \
        this machine, else from Debian's packages.\n\nExamples:\n  cargo xtask test\n  cargo xtask test fmt clippy\n  \
        cargo xtask test end-to-end -- kill_and_resume"
    )]
    Test(test::Options),
    /// Builds the plugins and examples as WebAssembly components into target/guests
    ///
    /// Takes rustup's wasm32-unknown-unknown target where it can be had, else Debian's rustc-web and rust-web-src,
    /// and says which.
    Plugins,
    /// Migrates a small shop, live, and compares every row
    ///
    /// Starts a throw-away MySQL and PostgreSQL, loads a shop of a quarter of a million rows, keeps writing to it
    /// while the engine migrates it, and compares both sides row for row afterwards.
    #[command(after_help = "Examples:\n  cargo xtask demo\n  cargo xtask demo --mariadb --keep")]
    Demo(Passed),
    /// Measures the engine against the physical floor, side by side
    ///
    /// Copies the same data with the servers' own clients and with the engine, in turn, and prints medians. The
    /// servers keep their durable defaults; nothing else should run on the machine.
    #[command(
        after_help = "Examples:\n  cargo xtask bench\n  cargo xtask bench --quick\n  cargo xtask bench --json > figures.json"
    )]
    Bench(Passed),
    /// Breaks everything that can break, again and again, and compares every row
    ///
    /// Kills, pauses and replaces the engine, kills and restarts the servers, and cuts, holds and slows the network
    /// between them while somebody writes to the source. Each round of it ends with a comparison of every row. The test
    /// suite runs a few rounds; this goes on for as long as you like.
    #[command(after_help = "Examples:\n  cargo xtask torture --help\n  cargo xtask torture --minutes 60\n  \
        cargo xtask torture --seed 7 --source mariadb")]
    Torture(Passed),
}

/// Arguments handed on unread.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
struct Passed {
    /// Options of the program itself: see `--help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Test(options) => test::main(&options),
        Task::Plugins => workspace::enter().and_then(|()| workspace::build_guests()),
        Task::Demo(passed) => run::program("demo", &passed.arguments),
        Task::Bench(passed) => run::program("bench", &passed.arguments),
        Task::Torture(passed) => run::program("torture", &passed.arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
