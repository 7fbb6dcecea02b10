//! `cargo xtask test`: everything that has to hold before a change is merged.

use anyhow::{Result, bail};
use test_kit::{Builder, Product, Server};

use crate::deny;
use crate::steps::Steps;
use crate::workspace::{build_guests, cargo, enter, run};

/// By which the test harness is told how many tests run at once.
const THREADS: &str = "RUST_TEST_THREADS";

/// Options of `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Steps to run: fmt, clippy, deny, guests, unit, end-to-end. All of them by default
    #[arg(value_name = "STEP")]
    steps: Vec<Step>,
    /// Handed on to the tests, after `--`: a part of a test's name, or options of the test harness
    #[arg(last = true, value_name = "TEST ARGUMENT")]
    test_arguments: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Step {
    /// Formatting
    Fmt,
    /// Lints, warnings being errors
    Clippy,
    /// Licenses, sources, duplicates and advisories of dependencies
    Deny,
    /// The plugins and examples, as components
    Guests,
    /// Unit and integration tests of every crate
    Unit,
    /// End-to-end tests of the engine's binary against real servers
    EndToEnd,
}

/// Runs the steps.
///
/// All that is built is built for the whole workspace, whatever is wanted of it: dependencies get the features
/// that the packages at hand ask for, and the big ones would be compiled once more for every other choice.
fn run_steps(options: &Options, steps: &mut Steps) {
    let wanted = |step: Step| options.steps.is_empty() || options.steps.contains(&step);
    if wanted(Step::Fmt) {
        steps.step("fmt", || run(&mut cargo(&["fmt", "--all", "--check"])));
    }
    if wanted(Step::Clippy) {
        steps.step("clippy", || {
            run(&mut cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--locked",
                "--quiet",
                "--",
                "-D",
                "warnings",
            ]))
        });
    }
    if wanted(Step::Deny) {
        steps.step("deny", deny::check);
    }
    if wanted(Step::Guests) || wanted(Step::Unit) || wanted(Step::EndToEnd) {
        steps.step("guests", build_guests);
    }
    if wanted(Step::Unit) {
        steps.step("unit", || test(&["--workspace", "--exclude", "e2e"], &options.test_arguments, &[]));
    }
    if wanted(Step::EndToEnd) {
        steps.step("engine", || {
            run(&mut cargo(&["build", "--workspace", "--bin", "engine", "--locked", "--quiet"]))
        });
        if let Some(servers) = steps.step("servers", start_servers) {
            steps.step("end-to-end", || {
                test(&["--workspace", "--test", "main"], &options.test_arguments, &servers)
            });
        }
    }
}

/// Runs `cargo xtask test`.
pub(crate) fn main(options: &Options) -> Result<()> {
    enter()?;
    let mut steps = Steps::default();
    run_steps(options, &mut steps);
    steps.sum_up()
}

/// The servers all end-to-end tests share; they end when the value is dropped. One that the environment names is
/// left alone.
fn start_servers() -> Result<Vec<Server>> {
    let mut servers = Vec::new();
    for product in [Product::MySql, Product::MariaDb, Product::Postgres15] {
        if std::env::var_os(product.variable()).is_some_and(|url| !url.is_empty()) {
            eprintln!("{product}: from {}", product.variable());
            continue;
        }
        let server = Builder::new(product).line(connections(product)).start()?;
        eprintln!("{product}: {}", server.url());
        servers.push(server);
    }
    Ok(servers)
}

/// Many tests run at once, each with several connections.
fn connections(product: Product) -> &'static str {
    if product.is_postgres() { "max_connections = 400" } else { "max_connections=400" }
}

fn test(packages: &[&str], arguments: &[String], servers: &[Server]) -> Result<()> {
    let mut command = cargo(&["test", "--locked", "--quiet"]);
    command.args(packages).arg("--").args(arguments);
    for server in servers {
        command.env(server.product().variable(), server.url());
    }
    // Tests with servers wait more than they work.
    if !servers.is_empty() && std::env::var_os(THREADS).is_none() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        command.env(THREADS, (2 * cores).to_string());
    }
    if let Err(error) = run(&mut command) {
        for server in servers {
            eprintln!("--- end of the log of {}\n{}", server.product(), server.log_tail());
        }
        bail!(error);
    }
    Ok(())
}
