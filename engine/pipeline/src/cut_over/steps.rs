//! The steps, and the way back from each.

mod end;
mod quiet;
mod tell;
mod undo;

use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use engine_core::cut_over::WriteState;
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::finding::{Finding, Severity};
use engine_core::object::ObjectKind;
use engine_core::position::Position;

use self::tell::given_up;
use super::intent::{self, Intent};
use super::{Completed, CutOverOptions, Step, Subject, Talk, counts, verified, way_back};
use crate::control::gate::Held;
use crate::identities;
use crate::objects::{self, ObjectPlan};
use crate::progress::{Phase, now_ms};
use crate::task::Mode;
use crate::verify;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// For how long the source's position must not move. Longer when nothing but a person's word keeps
/// writers away.
const STILL: Duration = Duration::from_millis(300);
const STILL_UNFROZEN: Duration = Duration::from_secs(1);
/// Longest wait for commits of the source that are in progress.
const PATIENCE: Duration = Duration::from_secs(10);
/// Attempts to have the source as it was, and to learn whether the end was recorded.
const ATTEMPTS: u32 = 10;
/// Longest time to record the end.
const MARKING: Duration = Duration::from_secs(30);

/// Cuts the task over. An error means that everything is as it was, unless it says otherwise.
pub(crate) async fn run(subject: Subject, options: CutOverOptions, talk: Talk) -> Result<Completed> {
    let mut work = Work { subject, options, talk, step: Step::Ready, began: Instant::now(), detail: None };
    let result = work.all().await;
    work.subject.progress.update(|report| report.waits_for = None);
    if let Err(error) = &result {
        tracing::warn!("the cut-over failed: {error}");
    }
    result
}

struct Work {
    subject: Subject,
    options: CutOverOptions,
    talk: Talk,
    step: Step,
    began: Instant,
    /// What was last told of the step.
    detail: Option<String>,
}

/// Writes are stopped.
struct Frozen {
    /// How the source was before, when it was the engine that stopped them.
    before: Option<WriteState>,
    since: Instant,
}

impl Work {
    async fn all(&mut self) -> Result<Completed> {
        let (abort, gate) = (self.talk.abort.clone(), Arc::clone(&self.subject.gate));
        tokio::select! {
            biased;
            error = given_up(&abort, &gate) => return Err(error),
            done = self.approach() => done?,
        }
        // Not to be dropped half-way: what it does has to be known, to be undone.
        let frozen = match self.freeze().await {
            Ok(frozen) => frozen,
            Err(error) if self.step == Step::Freeze => return Err(self.failed(error).await),
            Err(error) => return Err(error),
        };
        let deadline = frozen.since + Duration::from_millis(self.options.freeze_budget_ms);
        let finished = tokio::select! {
            biased;
            error = given_up(&abort, &gate) => Err(error),
            finished = timeout_at(deadline, self.finish(&frozen)) => finished.unwrap_or_else(|_| Err(late())),
        };
        let finished = finished.map_err(|error| match (error.why(), &self.detail) {
            (None, Some(detail)) => error.because(format!("at the step {}: {detail}", self.step.name())),
            _ => error,
        });
        let ended = match finished {
            Ok(ends) => self.commit(&frozen, ends).await,
            Err(error) => Err((error, true)),
        };
        match ended {
            Ok(completed) => Ok(completed),
            Err((error, can_undo)) => {
                let error = self.failed(error).await;
                if can_undo { self.roll_back(frozen.before.as_ref(), error).await } else { Err(error) }
            }
        }
    }

    /// Everything while the source still takes writes.
    async fn approach(&mut self) -> Result<()> {
        self.begin(Step::Ready, "looking for what speaks against it").await;
        match self.ready().await {
            Ok(detail) => self.done(detail).await,
            Err(error) => return Err(self.failed(error).await),
        }
        self.begin(Step::Verify, "comparing every row, while writes go on").await;
        match self.verify().await {
            Ok(detail) => self.done(detail).await,
            Err(error) => return Err(self.failed(error).await),
        }
        self.begin(Step::Lag, "measuring").await;
        match self.close_behind().await {
            Ok(detail) => self.done(detail).await,
            Err(error) => return Err(self.failed(error).await),
        }
        Ok(())
    }

    async fn ready(&self) -> Result<String> {
        let spec = &self.subject.spec;
        let report = self.subject.progress.report();
        let not_yet =
            |what: &str| Error::new(ErrorKind::Precondition, what.to_owned()).at("task", &spec.name);
        if spec.mode == Mode::Offline {
            return Err(not_yet("an offline task has nothing to be cut over")
                .because("it does not follow its source")
                .help("point the applications at the target once it is done"));
        }
        if report.paused {
            return Err(not_yet("the task is paused").help(format!("engine resume {}", spec.name)));
        }
        if report.phase != Phase::Streaming {
            return Err(not_yet("the task is not following its source yet")
                .because(format!("it is in the phase {}", report.phase.name()))
                .help(format!("wait until it is; engine status {} shows how far it is", spec.name)));
        }
        if report.rows_dead() > 0 && !self.options.leave_set_aside {
            return Err(not_yet("rows are set aside, and so are missing in the target")
                .because(format!("there are {}", report.rows_dead()))
                .help(format!(
                    "engine dead-letter list {0} shows them, engine dead-letter retry {0} brings those that are \
                     mended; --leave-set-aside leaves them behind",
                    spec.name
                )));
        }
        refuse_failed(&spec.source.unfinished(Duration::ZERO).await?)?;
        if self.options.set_source_read_only {
            spec.source.may_freeze().await?;
        }
        let held = self.subject.gate.tables();
        refuse_failed(&spec.target.ready_for_use(&held.targets).await?)?;
        if self.options.way_back {
            refuse_failed(&way_back::prepare(spec, &held.targets).await?)?;
        } else {
            way_back::clear(spec).await;
        }
        let objects = objects::of_running(spec, &held).await?;
        if !objects.objects.is_empty() {
            refuse_failed(&spec.target.check_objects(&spec.name, &objects.objects).await?)?;
        }
        Ok(format!("{} tables, nothing speaks against it", held.targets.len()))
    }

    /// Compares both sides as they move.
    async fn verify(&mut self) -> Result<String> {
        if self.options.skip_verify {
            return Ok("left out, as asked for".to_owned());
        }
        let (spec, held) = (Arc::clone(&self.subject.spec), self.subject.gate.tables());
        let progress = Arc::new(verify::Progress::new());
        // Dropped together with this step, when it is given up.
        let stop = CancellationToken::new();
        let _stopping = stop.clone().drop_guard();
        let comparing = verified::compare(&spec, &held, Arc::clone(&progress), stop);
        tokio::pin!(comparing);
        loop {
            tokio::select! {
                compared = &mut comparing => return compared,
                () = sleep(LOOK * 10) => {
                    let state = progress.state();
                    let detail = format!(
                        "{}: {} of about {} rows, {} of {} tables",
                        state.doing, state.rows, state.rows_estimate, state.tables_done, state.tables
                    );
                    self.underway(detail).await;
                }
            }
        }
    }

    /// Waits until the target has within the bound what the source had.
    async fn close_behind(&mut self) -> Result<String> {
        let bound = Duration::from_millis(self.options.max_lag_ms);
        loop {
            let wanted = self.subject.spec.source.high_watermark().await?;
            let asked = Instant::now();
            loop {
                let reached = self.subject.progress.report().position.map(Position);
                let has_all = match &reached {
                    Some(reached) => self.subject.spec.source.covers(reached, &wanted)?,
                    None => false,
                };
                if has_all {
                    break;
                }
                if asked.elapsed() > bound + LOOK {
                    let lag = self.subject.progress.report().lag_ms.unwrap_or(0);
                    self.underway(format!(
                        "behind by more than {}, the last change by {}; waiting",
                        seconds(bound),
                        seconds(Duration::from_millis(lag))
                    ))
                    .await;
                    sleep(LOOK * 5).await;
                }
                sleep(LOOK / 4).await;
            }
            let took = asked.elapsed();
            if took <= bound + LOOK {
                return Ok(format!("behind by {}, {} allowed", seconds(took), seconds(bound)));
            }
        }
    }

    /// Stops writes, or has a person do it.
    async fn freeze(&mut self) -> Result<Frozen> {
        self.begin(Step::Freeze, "writes are about to stop").await;
        let (source, label) = (Arc::clone(&self.subject.spec.source), self.subject.spec.source_label.clone());
        let directory = self.subject.directory.clone();
        if let Some(Intent { before, .. }) = intent::read(&directory)? {
            if source.write_state().await?.frozen {
                let detail = "the source is read-only since a cut-over that was killed, which goes on";
                self.done_with(detail, Some(before.statement.clone())).await;
                return Ok(Frozen { before: Some(before), since: Instant::now() });
            }
            intent::remove(&directory)?;
        }
        if !self.options.set_source_read_only {
            self.ask(format!("Stop all writes to {label} now. Have they stopped?")).await?;
            self.done("writes are said to be stopped").await;
            return Ok(Frozen { before: None, since: Instant::now() });
        }
        let before = source.write_state().await?;
        if before.frozen {
            self.done("the source refuses writes already, and is left so").await;
            return Ok(Frozen { before: None, since: Instant::now() });
        }
        self.ask(format!("Set {label} read-only now?")).await?;
        intent::write(&directory, &Intent { before: before.clone(), since_ms: now_ms() })?;
        let since = Instant::now();
        let budget = Duration::from_millis(self.options.freeze_budget_ms);
        self.begin(Step::Freeze, "waiting for commits in progress").await;
        match timeout(PATIENCE * 3, source.freeze(PATIENCE.min(budget))).await {
            Ok(Ok(())) => {}
            failed => {
                let error = match failed {
                    Ok(Err(error)) => error,
                    _ => Error::new(ErrorKind::Transient, "the source does not answer"),
                };
                // It may have happened all the same.
                let error = self.failed(error).await;
                return self.roll_back(Some(&before), error).await;
            }
        }
        let detail = format!("the source refuses writes, for {} at most", seconds(budget));
        self.done_with(detail, Some(before.statement.clone())).await;
        Ok(Frozen { before: Some(before), since })
    }

    /// Everything from the end of writes up to the point of no return; answers the last position, and where a
    /// way back begins.
    async fn finish(&mut self, frozen: &Frozen) -> Result<(Position, Option<Position>)> {
        let spec = Arc::clone(&self.subject.spec);
        self.begin(Step::Quiet, "looking for writes").await;
        let end = self.quiet(frozen).await?;
        self.done(format!("nothing is written any more; the position is {end}")).await;

        self.begin(Step::Drain, "applying what is left").await;
        self.subject.gate.drain(&end).await?;
        let held = self.subject.gate.tables();
        self.done("the target has everything up to there").await;

        self.begin(Step::Sequences, "setting identity columns").await;
        let set = identities::set(&spec, &held.targets).await?;
        self.done(format!("{set} identity columns go on after the source's")).await;

        self.begin(Step::Constraints, "looking at foreign keys and triggers").await;
        let findings = spec.target.ready_for_use(&held.targets).await?;
        refuse_failed(&findings)?;
        let told: Vec<String> = findings
            .iter()
            .map(|finding| format!("{}: {}", finding.subject.trim_start_matches("target "), finding.message))
            .collect();
        self.done(told.join("; ")).await;

        self.check(&held).await?;

        self.begin(Step::StillQuiet, "looking at the source again").await;
        let end = self.still_quiet(end, &held).await?;
        self.done("nothing was written meanwhile").await;

        if self.subject.spec.target.takes_objects() {
            self.begin(Step::Triggers, "creating triggers").await;
            let created = self.triggers(&held).await?;
            self.done(created).await;
        }
        let mut way_back = None;
        if self.options.way_back {
            self.begin(Step::WayBack, "having the target keep its log from here on").await;
            let (begins, kept) = way_back::begin(&self.subject.spec, &held.targets).await?;
            let kept = match kept.map(|kept| kept.as_secs()) {
                None => "the target drops nothing of its log by the clock".to_owned(),
                Some(seconds) if seconds >= 7200 => {
                    format!("the target keeps its log for {} hours: take it before", seconds / 3600)
                }
                Some(seconds) => format!("the target keeps its log for {seconds} s: take it before"),
            };
            self.done(format!("it begins at {begins}; {kept}")).await;
            way_back = Some(begins);
        }
        Ok((end, way_back))
    }

    /// Creates the triggers, now that no change is applied any more, and what else has come since the copy.
    async fn triggers(&self, held: &Held) -> Result<String> {
        let spec = &self.subject.spec;
        let ObjectPlan { objects, .. } = objects::of_running(spec, held).await?;
        if objects.is_empty() {
            return Ok("there are none".to_owned());
        }
        let refused = spec.target.create_objects(&objects).await?;
        let is_trigger = |finding: &&Finding| finding.subject.starts_with(ObjectKind::Trigger.name());
        if let Some(refused) = refused.iter().find(is_trigger) {
            return Err(Error::new(ErrorKind::Precondition, "a trigger can't be created in the target")
                .at("object", &refused.subject)
                .because(&refused.message)
                .help("drop it on the source, or create it on the target by hand once the task is over"));
        }
        let triggers = objects.iter().filter(|object| object.kind == ObjectKind::Trigger).count();
        let missing: Vec<String> =
            refused.iter().map(|finding| format!("{}: {}", finding.subject, finding.message)).collect();
        Ok(match missing.as_slice() {
            [] => format!("{triggers} triggers are there"),
            missing => format!("{triggers} triggers are there; {}", missing.join("; ")),
        })
    }

    async fn check(&mut self, held: &Held) -> Result<()> {
        self.begin(Step::Check, "counting the rows of both sides").await;
        if self.options.skip_verify {
            self.done("left out, as asked for").await;
            return Ok(());
        }
        let counted = counts::compare(&self.subject.spec, held).await?;
        self.done(counted.text()).await;
        Ok(())
    }
}

fn late() -> Error {
    Error::new(ErrorKind::Precondition, "writes were stopped for longer than allowed")
        .help("give a longer --freeze-budget, or a smaller --max-lag, if the step takes its time")
}

fn refuse_failed(findings: &[Finding]) -> Result<()> {
    let Some(failed) = findings.iter().find(|finding| finding.severity == Severity::Failed) else {
        return Ok(());
    };
    let error = Error::new(ErrorKind::Precondition, "the task can't be cut over as things are")
        .at("check", &failed.subject)
        .because(&failed.message);
    Err(match &failed.fix {
        Some(fix) => error.help(fix),
        None => error,
    })
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
