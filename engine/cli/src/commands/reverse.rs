//! `engine reverse` and `engine drop`.

use engine_core::{Error, ErrorKind, Result};
use engine_pipeline::options::RunOptions;
use engine_pipeline::reverse;
use engine_pipeline::task::{Mode, TaskSpec};
use engine_pipeline::throttle::Limits;

use super::known;
use crate::arguments::{DropArguments, ReverseArguments};
use crate::connect;
use crate::consent::consent;
use crate::render::Screen;
use crate::render::summary::Asked;
use crate::settings::Settings;
use crate::signals::{stop_on_signal, unless_stopped};

pub(super) async fn reverse(arguments: ReverseArguments, screen: &Screen) -> Result<u8> {
    let settings = known::settings(arguments.named, arguments.task, arguments.until)?;
    if settings.mode == Mode::Offline {
        return Err(Error::new(ErrorKind::Usage, "there is no way back from an offline task")
            .because("it ends without a cut-over"));
    }
    let options = RunOptions {
        // Nothing is asked of a task that has begun.
        consent: consent(true, arguments.json, screen),
        start_at: None,
        limits: Limits::default(),
        check_changes: arguments.check_changes,
    };
    let asked = Asked {
        mode: settings.mode,
        until: settings.until,
        is_way_back: true,
        state_dir: settings.state_dir.clone(),
    };
    let stop = stop_on_signal(screen)?;
    let mut spec = unless_stopped(&stop, Box::pin(way_back(settings))).await?;
    spec.structure_by_hand = arguments.structure_by_hand;
    super::run::show(spec, options, &asked, arguments.json, stop, screen).await
}

/// The way back of a task.
pub(super) async fn way_back(settings: Settings) -> Result<TaskSpec> {
    connect::check(&settings)?;
    let forward = connect::connect(settings).await?;
    known::require(&forward).await?;
    reverse::open(&forward).await
}

pub(super) async fn let_go(arguments: DropArguments, screen: &Screen) -> Result<()> {
    let settings = known::settings(arguments.named, arguments.task, None)?;
    connect::check(&settings)?;
    let spec = connect::connect(settings).await?;
    known::require(&spec).await?;
    if arguments.way_back {
        let name = reverse::task_name(&spec.name);
        spec.target.as_source(&name, &spec.source_label).await?.let_go().await?;
        screen
            .line(&format!("{} keeps nothing for the way back of {} any more", spec.target_label, spec.name));
    } else {
        spec.source.let_go().await?;
        screen.line(&format!("{} keeps nothing for {} any more", spec.source_label, spec.name));
    }
    Ok(())
}
