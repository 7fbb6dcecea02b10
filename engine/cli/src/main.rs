//! The `engine` binary: reads the command line, wires connectors to the pipeline, shows progress.

mod arguments;
mod commands;
mod connect;
mod consent;
mod environment;
mod exit;
mod logging;
mod plugin_config;
mod render;
mod settings;
mod signals;
mod start_time;
mod task_file;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::main()
}
