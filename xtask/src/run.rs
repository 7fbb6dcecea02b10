//! Builds the engine, the guests and one of the programs that show or measure them, and runs it.

use anyhow::Result;

use crate::workspace::{build_guests, cargo, enter, run, target};

/// Runs the program `name` of `tests/` with the release build of the engine.
pub(crate) fn program(name: &str, arguments: &[String]) -> Result<()> {
    enter()?;
    let asks_for_help = arguments.iter().any(|argument| argument == "--help" || argument == "-h");
    if !asks_for_help {
        eprintln!("building the engine and the plugins");
        run(&mut cargo(&["build", "--quiet", "--release", "--locked", "--package", "engine"]))?;
        build_guests()?;
    }
    run(&mut cargo(&["build", "--quiet", "--release", "--locked", "--package", name]))?;
    let program = target().join("release").join(name);
    run(std::process::Command::new(program).args(arguments))
}
