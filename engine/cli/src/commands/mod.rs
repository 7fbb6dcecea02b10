//! The commands, one module each, and how they are begun and ended.

mod control;
mod cutover;
mod dead_letter;
mod known;
mod plan;
mod plugin;
mod precheck;
mod reverse;
mod run;
mod status;
mod verify;

use clap::Parser;
use clap::error::ErrorKind as ClapErrorKind;
use std::io::{self, Write};
use std::process::ExitCode;

use engine_core::{Error, ErrorKind, Result};
use engine_pipeline::control::Request;

use crate::arguments::{Arguments, Command, DeadLetterCommand};
use crate::render::Screen;
use crate::{exit, logging};

/// Reads the command line, runs the command, shows its error, and answers with the exit code.
pub(crate) fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return ExitCode::from(refuse(&error)),
    };
    let json = arguments.command.json();
    let is_run = matches!(arguments.command, Command::Run(_) | Command::Cutover(_) | Command::Reverse(_));
    let screen = Screen::new(!json);
    match perform(arguments, &screen) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            tracing::debug!(?error, "the command failed");
            show(&error, json, is_run, &screen);
            ExitCode::from(exit::code(&error))
        }
    }
}

/// Runs the command; answers with the exit code of one that did what it was asked to do.
fn perform(arguments: Arguments, screen: &Screen) -> Result<u8> {
    logging::start(&arguments.log, screen)?;
    let done = match arguments.command {
        Command::Precheck(arguments) => return block_on(precheck::precheck(arguments, screen)),
        Command::Run(arguments) => return block_on(run::run(arguments, screen)),
        Command::Plan(arguments) => block_on(plan::plan(arguments, screen)),
        Command::Status(arguments) => status::status(&arguments),
        Command::Cutover(arguments) => block_on(cutover::cutover(*arguments, screen)),
        Command::Reverse(arguments) => return block_on(reverse::reverse(*arguments, screen)),
        Command::Drop(arguments) => block_on(reverse::let_go(*arguments, screen)),
        Command::Pause(arguments) => block_on(control::control(&arguments, Request::Pause)),
        Command::Resume(arguments) => block_on(control::control(&arguments, Request::Resume)),
        Command::Stop(arguments) => block_on(control::control(&arguments, Request::Stop)),
        Command::DeadLetter { command: DeadLetterCommand::List(arguments) } => dead_letter::list(&arguments),
        Command::DeadLetter { command: DeadLetterCommand::Retry(arguments) } => {
            block_on(dead_letter::retry(*arguments, screen))
        }
        Command::Verify(arguments) => return block_on(verify::verify(*arguments, screen)),
        Command::Plugin { command } => plugin::plugin(&command),
    };
    done.map(|()| exit::DONE)
}

/// Runs asynchronous work on one thread per core.
fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Error::new(ErrorKind::Internal, "the threads that do the work can't be started").caused_by(error)
    })?;
    let result = runtime.block_on(work);
    // Work that a stop left behind must not keep the process.
    runtime.shutdown_background();
    result
}

/// Events of a run belong to its standard output; every other error goes to standard error.
fn show(error: &Error, json: bool, is_run: bool, screen: &Screen) {
    if !json {
        screen.line(&exit::text(error));
    } else if is_run {
        // Nobody is left to tell when standard output is gone; the exit code still says it.
        drop(print(&exit::event(error).to_string()));
    } else {
        screen.line(&exit::event(error).to_string());
    }
}

/// Shows clap's help, version or complaint; with `--json` a complaint is an event like any other.
fn refuse(error: &clap::Error) -> u8 {
    let asked_for = matches!(error.kind(), ClapErrorKind::DisplayHelp | ClapErrorKind::DisplayVersion);
    if !asked_for && std::env::args_os().any(|argument| argument == "--json") {
        let rendered = error.render().to_string();
        let complaint = rendered.lines().next().unwrap_or_default();
        let what = complaint.strip_prefix("error: ").unwrap_or(complaint);
        let usage = Error::new(ErrorKind::Usage, what).help("engine --help lists commands and options");
        let is_run = std::env::args_os()
            .nth(1)
            .is_some_and(|command| ["run", "cutover", "reverse"].iter().any(|known| command == *known));
        show(&usage, true, is_run, &Screen::new(false));
    } else {
        drop(error.print());
    }
    if asked_for { exit::DONE } else { exit::USAGE }
}

/// Writes a line of data to standard output. A reader that went away is no failure of the command.
fn print(text: &str) -> Result<()> {
    let mut output = io::stdout().lock();
    match writeln!(output, "{}", text.trim_end()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::new(ErrorKind::Internal, "standard output can't be written").caused_by(error))
        }
        _ => Ok(()),
    }
}

/// A value as indented JSON.
fn to_json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string_pretty(value).map_err(|error| {
        Error::new(ErrorKind::Internal, "the answer can't be written as JSON").caused_by(error)
    })
}
