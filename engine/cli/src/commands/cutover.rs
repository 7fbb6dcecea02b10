//! `engine cutover`: the guided end of a task.

mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use engine_core::{Error, ErrorKind, Result};
use engine_pipeline::control::{Answer, Call, Request, not_running};
use engine_pipeline::cut_over::{Completed, CutOverOptions, Event, Progressed, completed_unheard};
use engine_pipeline::options::RunOptions;
use engine_pipeline::progress::{Phase, Progress};
use engine_pipeline::run::run;
use engine_pipeline::state::{self, unknown_task};
use engine_pipeline::task::{Mode, Until};

use super::known;
use crate::arguments::CutoverArguments;
use crate::consent::{ask, is_conversation};
use crate::render::Screen;
use crate::settings::{STATE_DIR, Settings, check_name};
use crate::signals::{stop_on_signal, unless_stopped};
use crate::{connect, environment};

use view::View;

/// Time between two looks at a task that is being brought up to date.
const LOOK: Duration = Duration::from_millis(100);

pub(super) async fn cutover(mut arguments: CutoverArguments, screen: &Screen) -> Result<()> {
    if !arguments.yes && (arguments.json || !is_conversation()) {
        return Err(Error::new(ErrorKind::Usage, "there is nobody to be asked")
            .because("standard input or standard error is no terminal")
            .help("give --yes once writes to the source are stopped, or with --set-source-read-only"));
    }
    let options = CutOverOptions {
        max_lag_ms: arguments.max_lag.as_millis() as u64,
        freeze_budget_ms: arguments.freeze_budget.as_millis() as u64,
        set_source_read_only: arguments.set_source_read_only,
        skip_verify: arguments.skip_verify,
        leave_set_aside: arguments.leave_set_aside,
        way_back: arguments.way_back,
        yes: arguments.yes,
    };
    if let Some(named) = arguments.named.take() {
        arguments.task.name = Some(check_name(named)?);
    }
    let given = (arguments.task.name.clone(), arguments.task.state_dir.clone());
    let has_file = arguments.task.task.is_some();
    let settings = Settings::gather(arguments.task, None, &environment::variable);
    let (name, state_dir) = match (&settings, given) {
        (Ok(settings), _) => (settings.name.clone(), settings.state_dir.clone()),
        // A task that is being run needs its name alone.
        (Err(_), (Some(name), state_dir)) => {
            let (name, state_dir) =
                (check_name(name)?, state_dir.unwrap_or_else(|| PathBuf::from(STATE_DIR)));
            if !state::is_known(&state_dir, &name) {
                // What is wrong with a task file may be that it does not name this directory.
                return if has_file { settings.map(drop) } else { Err(unknown_task(&state_dir, &name)) };
            }
            (name, state_dir)
        }
        (Err(_), (None, _)) => return settings.map(drop),
    };
    let stop = stop_on_signal(screen)?;
    let mut view = View::new(&name, arguments.json, screen.clone());
    if let Some(call) = Call::open(&state_dir, &name).await? {
        let completed = drive(call, options, &stop, &mut view, screen).await?;
        return view.completed(&completed);
    }
    let settings = settings.map_err(|error| {
        // Without the options of the task there is no other way than the process that runs it.
        if error.kind() == ErrorKind::Usage { not_running(&state_dir, &name).because(error.what()).help(
            "give the options that the task was run with, such as --task FILE: then the cut-over runs the task itself",
        ) } else { error }
    })?;
    let completed = Box::pin(take_over(settings, options, &stop, &mut view, screen)).await?;
    view.completed(&completed)
}

/// Runs the task in this process, and cuts it over once it follows its source.
async fn take_over(
    mut settings: Settings,
    options: CutOverOptions,
    stop: &CancellationToken,
    view: &mut View,
    screen: &Screen,
) -> Result<Completed> {
    connect::check(&settings)?;
    if settings.mode == Mode::Offline {
        return Err(Error::new(ErrorKind::Usage, "an offline task has nothing to be cut over")
            .help("point the applications at the target once it is done"));
    }
    settings.until = Until::Stopped;
    let spec = unless_stopped(stop, Box::pin(connect::connect(settings))).await?;
    if let Some(completed) = unless_stopped(stop, completed_unheard(&spec)).await? {
        return Ok(completed);
    }
    unless_stopped(stop, known::require(&spec)).await?;
    let known = unless_stopped(stop, spec.target.task(&spec.name)).await?;
    if known.is_none() {
        return Err(Error::new(ErrorKind::State, "the target does not know the task")
            .at("task", &spec.name)
            .help("engine run begins it"));
    }
    let (state_dir, name) = (spec.state_dir.clone(), spec.name.clone());
    let progress = Arc::new(Progress::new(&name, &spec.source_label, &spec.target_label));
    // Not the signal's token: a cut-over that is given up has to be undone before the task ends.
    let end = CancellationToken::new();
    let mut work = tokio::spawn(run(spec, RunOptions::default(), Arc::clone(&progress), end.clone()));
    let result = async {
        follow(&mut work, &progress, stop, screen).await?;
        let call = Call::open(&state_dir, &name).await?.ok_or_else(|| not_running(&state_dir, &name))?;
        drive(call, options, stop, view, screen).await
    }
    .await;
    end.cancel();
    if !work.is_finished() {
        drop(work.await);
    }
    result
}

/// Waits until the task follows its source.
async fn follow(
    work: &mut JoinHandle<Result<()>>,
    progress: &Progress,
    stop: &CancellationToken,
    screen: &Screen,
) -> Result<()> {
    let mut told = None;
    loop {
        let phase = progress.report().phase;
        if told != Some(phase) {
            screen
                .line(&format!("no engine runs the task; bringing the target up to date: {}", phase.name()));
            told = Some(phase);
        }
        if phase == Phase::Streaming {
            return Ok(());
        }
        tokio::select! {
            () = stop.cancelled() => {
                return Err(Error::new(ErrorKind::Interrupted, "stopped before the cut-over had begun"));
            }
            ended = &mut *work => return match ended {
                Ok(Err(error)) => Err(error),
                _ => Err(Error::new(ErrorKind::Internal, "the task ended before it followed its source")),
            },
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Speaks with the process that runs the task until it is cut over, or not.
async fn drive(
    mut call: Call,
    options: CutOverOptions,
    stop: &CancellationToken,
    view: &mut View,
    screen: &Screen,
) -> Result<Completed> {
    call.send(&Request::CutOver(options)).await?;
    let mut completed = None;
    let mut undo: Option<String> = None;
    let mut is_given_up = false;
    loop {
        let answer = tokio::select! {
            biased;
            () = stop.cancelled(), if !is_given_up => {
                is_given_up = true;
                call.send(&Request::Abort).await?;
                continue;
            }
            answer = call.next() => answer?,
        };
        match answer {
            Some(Answer::Told { told }) => match told {
                Event::Question { text } => {
                    let yes = tokio::select! {
                        () = stop.cancelled() => false,
                        yes = ask(screen, text) => yes?,
                    };
                    call.send(&Request::Reply { yes }).await?;
                }
                Event::CutOver(end) => completed = Some(end),
                Event::Step { .. } => {
                    if let Event::Step { state: Progressed::Done, undo: Some(statement), .. } = &told {
                        undo = Some(statement.clone());
                    }
                    view.event(&told)?;
                }
            },
            Some(Answer::Done { .. }) => {
                return completed.ok_or_else(|| {
                    Error::new(ErrorKind::Internal, "the cut-over ended without a word about it")
                });
            }
            Some(Answer::Refused(refused)) => return Err(refused.into_error()),
            None => return Err(lost(undo.as_deref())),
        }
    }
}

/// The process that ran the task died.
fn lost(undo: Option<&str>) -> Error {
    let error = Error::new(ErrorKind::State, "the engine that ran the task ended during the cut-over");
    match undo {
        Some(statement) => error.because("the source is left read-only").help(format!(
            "engine cutover with the options of the task goes on with it; to have the source take writes: {statement}"
        )),
        None => error.help("engine run or engine cutover go on with the task"),
    }
}
