//! `engine run`: connects, runs the task, shows how far it is.

use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use engine_core::{Error, ErrorKind, Result};
use engine_pipeline::options::RunOptions;
use engine_pipeline::progress::{ChangeCheck, Progress};
use engine_pipeline::task::{Mode, TaskSpec};

use crate::arguments::RunArguments;
use crate::consent::consent;
use crate::render::summary::{Asked, Outcome};
use crate::render::{self, Screen};
use crate::settings::{self, Settings};
use crate::signals::{stop_on_signal, unless_stopped};
use crate::{connect, environment, exit};

/// How often the display looks at the task; displays write less often than that.
const LOOK: Duration = Duration::from_millis(100);

pub(super) async fn run(arguments: RunArguments, screen: &Screen) -> Result<u8> {
    let settings = Settings::gather(arguments.task, arguments.until, &environment::variable)?;
    if arguments.check_changes && settings.mode == Mode::Offline {
        return Err(Error::new(ErrorKind::Usage, "--check-changes has no meaning for an offline task")
            .because("it follows no changes")
            .help("leave it out, and compare every row afterwards with: engine verify"));
    }
    let options = RunOptions {
        consent: consent(arguments.accept_warnings, arguments.json, screen),
        start_at: arguments.start_at,
        limits: settings::limits(arguments.throttle, &settings)?,
        check_changes: arguments.check_changes || settings.check_changes,
    };
    connect::check(&settings)?;
    let asked = Asked {
        mode: settings.mode,
        until: settings.until,
        is_way_back: false,
        state_dir: settings.state_dir.clone(),
    };
    let stop = stop_on_signal(screen)?;
    let mut spec = unless_stopped(&stop, Box::pin(connect::connect(settings))).await?;
    spec.structure_by_hand = arguments.structure_by_hand;

    show(spec, options, &asked, arguments.json, stop, screen).await
}

/// Runs a task and shows how far it is.
pub(super) async fn show(
    spec: TaskSpec,
    options: RunOptions,
    asked: &Asked,
    json: bool,
    stop: CancellationToken,
    screen: &Screen,
) -> Result<u8> {
    let progress = Arc::new(Progress::new(&spec.name, &spec.source_label, &spec.target_label));
    let mut display = render::display(json, screen);
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // A task of its own, so that the display goes on while the work keeps a thread busy.
    let mut work = tokio::spawn(engine_pipeline::run::run(spec, options, Arc::clone(&progress), stop));
    let result = loop {
        tokio::select! {
            joined = &mut work => break joined.unwrap_or_else(|error| Err(crashed(&error))),
            _ = look.tick() => display.show(&progress.report()),
        }
    };

    let outcome = match &result {
        Ok(()) => Outcome::Done,
        Err(error) if error.kind() == ErrorKind::Interrupted => Outcome::Interrupted,
        Err(_) => Outcome::Failed,
    };
    let report = progress.report();
    display.finish(&report, outcome, asked);
    let is_clean = report.check.as_ref().is_none_or(ChangeCheck::is_clean);
    match result {
        Ok(()) => Ok(if is_clean { exit::DONE } else { exit::DIFFERENT }),
        // Whoever stops a run wants to know.
        Err(error) if outcome == Outcome::Interrupted && !is_clean => {
            super::show(&error, json, true, screen);
            Ok(exit::DIFFERENT)
        }
        Err(error) => Err(error),
    }
}

fn crashed(error: &tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Internal, "the engine made a mistake and stopped the task")
        .because(error)
        .help("source and target are consistent; run the same command to go on, and report the message above")
}
