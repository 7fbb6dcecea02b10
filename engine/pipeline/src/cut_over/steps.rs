//! The steps, and the way back from each.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use engine_core::cut_over::{CutOver, WriteState};
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::finding::{Finding, Severity};
use engine_core::object::ObjectKind;
use engine_core::position::Position;

use super::intent::{self, Intent};
use super::{Completed, CutOverOptions, Event, Progressed, Step, Subject, Talk, counts, verified, way_back};
use crate::control::gate::{Gate, Held};
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

/// What the target had when it had everything up to a position.
struct Applied {
    position: Position,
    changes: u64,
    tables: Arc<Held>,
}

impl Applied {
    /// Whether nothing was written between the two.
    fn is_same(&self, later: &Self) -> bool {
        self.changes == later.changes && self.tables.is_same(&later.tables)
    }
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
            let begins = way_back::begin(&self.subject.spec, &held.targets).await?;
            self.done(format!("it begins at {begins}")).await;
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

    /// Waits until nothing of the task's tables is written, and no transaction is open that was when
    /// writes were stopped. The stream proves it: from one position of the source to a later one it
    /// had no change. Other databases of the server may be written to meanwhile.
    async fn quiet(&mut self, frozen: &Frozen) -> Result<Position> {
        let source = Arc::clone(&self.subject.spec.source);
        let still = if frozen.before.is_some() { STILL } else { STILL_UNFROZEN };
        loop {
            let before = self.applied_to_here().await?;
            sleep(still).await;
            let after = self.applied_to_here().await?;
            let open = source.unfinished(frozen.since.elapsed()).await?;
            // What is open on a frozen source can't commit any more, unless it is prepared.
            let open =
                open.iter().find(|finding| finding.severity == Severity::Failed || frozen.before.is_none());
            if let Some(open) = open {
                self.underway(format!("{}: {}", open.subject, open.message)).await;
            } else if before.is_same(&after) {
                return Ok(after.position);
            } else {
                self.underway("the task's tables are still being written to").await;
            }
        }
    }

    /// Reads the source's position and waits until the target has everything up to there.
    async fn applied_to_here(&self) -> Result<Applied> {
        let source = &self.subject.spec.source;
        let position = source.high_watermark().await?;
        loop {
            let report = self.subject.progress.report();
            if let Some(reached) = report.position.clone().map(Position)
                && source.covers(&reached, &position)?
            {
                let (changes, tables) = (report.changes_applied(), self.subject.gate.tables());
                return Ok(Applied { position, changes, tables });
            }
            sleep(LOOK / 4).await;
        }
    }

    /// Makes sure that nothing was written since `end`; answers with the source's position now, up to
    /// which the target has everything.
    async fn still_quiet(&self, end: Position, held: &Arc<Held>) -> Result<Position> {
        let now = self.subject.spec.source.high_watermark().await?;
        if now == end {
            return Ok(end);
        }
        // Of another database, perhaps: the stream knows.
        let before = self.subject.progress.report().changes_applied();
        self.subject.gate.drain(&now).await?;
        let is_same = self.subject.gate.tables().is_same(held)
            && self.subject.progress.report().changes_applied() == before;
        if is_same {
            return Ok(now);
        }
        Err(Error::new(ErrorKind::Precondition, "the source was written to after writes were stopped")
            .at("position", &now)
            .because(format!("nothing had been written up to {end}"))
            .help("find who writes; accounts with special rights write to a read-only MariaDB, too"))
    }

    /// Records the end. The error says whether what was done can be undone.
    async fn commit(
        &mut self,
        frozen: &Frozen,
        (position, way_back): (Position, Option<Position>),
    ) -> std::result::Result<Completed, (Error, bool)> {
        let spec = Arc::clone(&self.subject.spec);
        self.begin(Step::Commit, "recording the end").await;
        let (before, at_ms) = (frozen.before.clone(), now_ms());
        let mark = CutOver { task: spec.name.clone(), position, way_back, before, at_ms };
        let marked = timeout(MARKING, spec.target.mark_cut_over(&mark))
            .await
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Transient, "the target does not answer")));
        if let Err(error) = marked {
            self.recorded(&mark, error).await?;
        }
        let frozen_ms = frozen.since.elapsed().as_millis() as u64;
        self.subject.progress.update(|report| report.cut_over = Some(mark.position.to_string()));
        self.done("the end is on record in the target, and no engine can write for this task any more").await;
        // From here on nothing may fail.
        if let Err(error) = intent::remove(&self.subject.directory) {
            tracing::warn!("{error}");
        }
        self.subject.gate.complete();
        if self.subject.spec.target.takes_objects() {
            self.events().await;
        }
        Ok(Completed {
            task: spec.name.clone(),
            source: spec.source_label.clone(),
            target: spec.target_label.clone(),
            position: mark.position.to_string(),
            way_back: mark.way_back.as_ref().map(ToString::to_string),
            frozen_ms,
            undo: frozen.before.as_ref().map(|before| before.statement.clone()),
        })
    }

    /// Has the events run, which can be done by hand if it fails.
    async fn events(&mut self) {
        self.begin(Step::Events, "waking events").await;
        let spec = Arc::clone(&self.subject.spec);
        match timeout(MARKING, spec.target.enable_events(&spec.name)).await {
            Ok(Ok(events)) => self.done(format!("{events} events run")).await,
            failed => {
                let why = match failed {
                    Ok(Err(error)) => error.to_string(),
                    _ => "the target does not answer".to_owned(),
                };
                self.done(format!("not every event runs, see ALTER EVENT … ENABLE on the target: {why}"))
                    .await;
            }
        }
    }

    /// Asks the target whether it has the record after all, its answer to the commit being lost.
    async fn recorded(&self, mark: &CutOver, error: Error) -> std::result::Result<(), (Error, bool)> {
        for _ in 0..ATTEMPTS {
            match timeout(MARKING, self.subject.spec.target.cut_over(&mark.task)).await {
                Ok(Ok(Some(found))) if found.position == mark.position => return Ok(()),
                Ok(Ok(_)) => return Err((error, true)),
                Ok(Err(_)) | Err(_) => sleep(Duration::from_secs(1)).await,
            }
        }
        let undo = mark.before.as_ref().map_or_else(
            || "if not, let the applications write to the source again".to_owned(),
            |before| format!("if not, have the source take writes again: {}", before.statement),
        );
        Err((
            Error::new(ErrorKind::Transient, "whether the end was recorded in the target is not known")
                .at("task", &mark.task)
                .because(error)
                .help(format!(
                    "once the target answers: SELECT * FROM _migration.cut_over WHERE task = '{}'; if there is a row, the \
                     task is cut over; {undo}",
                    mark.task
                )),
            false,
        ))
    }

    /// Has everything as it was, and answers with the reason.
    async fn roll_back<T>(&mut self, before: Option<&WriteState>, reason: Error) -> Result<T> {
        self.begin(Step::RollBack, "putting everything back").await;
        if self.options.way_back {
            way_back::give_up(&self.subject.spec).await;
        }
        if let Err(error) = self.withdraw().await {
            // With triggers there, no change may be applied; the next run removes them first.
            self.subject.gate.stop_token().cancel();
            tracing::error!("the task stops, since triggers may be left in the target: {error}");
        }
        self.subject.gate.go_on();
        let Some(before) = before else {
            self.done("the task follows its source again").await;
            return Err(reason);
        };
        let mut failure = None;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                sleep(Duration::from_secs(1)).await;
            }
            match timeout(PATIENCE, self.subject.spec.source.restore_writes(before)).await {
                Ok(Ok(())) => {
                    intent::remove(&self.subject.directory)?;
                    self.done("the source takes writes again, and the task follows it").await;
                    return Err(reason);
                }
                Ok(Err(error)) => failure = Some(error.to_string()),
                Err(_) => failure = Some("it does not answer".to_owned()),
            }
        }
        let error = Error::new(ErrorKind::State, "the source is left read-only")
            .at("source", &self.subject.spec.source_label)
            .because(format!("{}; it was to be undone because of: {reason}", failure.unwrap_or_default()))
            .help(format!("run there: {}", before.statement));
        Err(self.failed(error).await)
    }

    /// Removes the triggers, before changes are applied again.
    async fn withdraw(&self) -> Result<()> {
        let mut outcome = Ok(());
        for _ in 0..ATTEMPTS {
            let withdrawn = timeout(MARKING, self.subject.spec.target.withdraw_triggers()).await;
            outcome = withdrawn
                .unwrap_or_else(|_| Err(Error::new(ErrorKind::Transient, "the target does not answer")));
            if outcome.is_ok() {
                break;
            }
            sleep(LOOK * 5).await;
        }
        outcome
    }

    async fn ask(&mut self, text: String) -> Result<()> {
        if self.options.yes {
            return Ok(());
        }
        let no = || Error::new(ErrorKind::Interrupted, "the cut-over was given up");
        self.talk.events.send(Event::Question { text }).await.map_err(|_| no())?;
        tokio::select! {
            biased;
            error = given_up(&self.talk.abort, &self.subject.gate) => Err(error),
            answer = self.talk.answers.recv() => if answer == Some(true) { Ok(()) } else { Err(no()) },
        }
    }

    async fn begin(&mut self, step: Step, detail: impl Display) {
        if self.step != step || step == Step::Ready {
            self.step = step;
            self.began = Instant::now();
        }
        self.underway(detail).await;
    }

    async fn underway(&mut self, detail: impl Display) {
        let detail = detail.to_string();
        self.detail = Some(detail.clone());
        self.tell(Progressed::Underway, detail, None).await;
    }

    async fn done(&self, detail: impl Display) {
        self.tell(Progressed::Done, detail, None).await;
    }

    async fn done_with(&self, detail: impl Display, undo: Option<String>) {
        self.tell(Progressed::Done, detail, undo).await;
    }

    async fn failed(&self, error: Error) -> Error {
        let why = error.why().map(|why| format!(": {why}")).unwrap_or_default();
        self.tell(Progressed::Failed, format!("{}{why}", error.what()), None).await;
        error
    }

    /// Whoever listened may have gone; what is done goes on all the same.
    async fn tell(&self, state: Progressed, detail: impl Display, undo: Option<String>) {
        let detail = detail.to_string();
        tracing::info!(step = self.step.name(), ?state, detail, "cut-over");
        let doing = format!("being cut over, at the step {}", self.step.name());
        self.subject.progress.update(|report| report.waits_for = Some(doing));
        let took_ms = self.began.elapsed().as_millis() as u64;
        let event = Event::Step { step: self.step, state, detail, took_ms, undo };
        drop(self.talk.events.send(event).await);
    }
}

fn late() -> Error {
    Error::new(ErrorKind::Precondition, "writes were stopped for longer than allowed")
        .help("give a longer --freeze-budget, or a smaller --max-lag, if the step takes its time")
}

/// Waits until somebody wants no cut-over any more, or there is nothing left to be cut over.
async fn given_up(abort: &CancellationToken, gate: &Gate) -> Error {
    tokio::select! {
        () = abort.cancelled() => Error::new(ErrorKind::Interrupted, "the cut-over was given up"),
        () = gate.stop_token().cancelled() => {
            Error::new(ErrorKind::Interrupted, "the task was stopped during the cut-over")
        }
        () = gate.ended() => Error::new(ErrorKind::State, "the task ended during the cut-over")
            .help("its engine run says why"),
    }
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
