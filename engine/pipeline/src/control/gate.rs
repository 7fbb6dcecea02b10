//! Where work on a task can be held up.
//!
//! Whoever reads or writes for a task holds a [`Pass`]. A pause cancels the passes that are out; the
//! work ends as it would for a stop, with everything committed and its connections closed, and waits
//! for its next pass until the task is resumed. So nothing is kept open that could rot meanwhile, and
//! the position is where it always is: in the target.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use engine_core::error::{Error, ErrorKind, Result};
use engine_core::plan::TargetTable;
use engine_core::position::Position;

use crate::progress::Progress;
use crate::route::Route;

/// What the work is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    Go,
    Pause,
    /// Apply everything up to here and hold.
    Drain(Position),
}

#[derive(Debug)]
struct State {
    wanted: Wanted,
    /// Passes that are out.
    inside: usize,
    /// What the passes are cancelled by.
    token: CancellationToken,
    /// The target has everything up to the position that was asked for, and nothing goes on.
    held: bool,
    /// The task was handed over for good: what is held ends.
    complete: bool,
    ended: bool,
}

/// What a task is working on.
#[derive(Clone, Default)]
pub(crate) struct Held {
    /// Its tables.
    pub(crate) routes: Vec<Arc<Route>>,
    /// The same in the target.
    pub(crate) targets: Vec<Arc<TargetTable>>,
}

impl Held {
    /// Whether they are the same tables, unchanged in structure.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let pairs = || self.routes.iter().zip(&other.routes);
        self.routes.len() == other.routes.len() && pairs().all(|(one, other)| Arc::ptr_eq(one, other))
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("tables", &self.targets.len()).finish_non_exhaustive()
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Gate {
    stop: CancellationToken,
    state: watch::Sender<State>,
    tables: Mutex<Arc<Held>>,
    progress: Arc<Progress>,
}

/// The right to work on the task until `stop` is cancelled.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Arc<Gate>,
    pub(crate) stop: CancellationToken,
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.change(|state| state.inside = state.inside.saturating_sub(1));
    }
}

/// How a hold ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Released {
    /// The work goes on.
    GoOn,
    /// The task is over.
    Complete,
}

impl Gate {
    /// An open gate. `stop` ends the task.
    pub(crate) fn new(stop: CancellationToken, progress: Arc<Progress>) -> Arc<Self> {
        let state = State {
            wanted: Wanted::Go,
            inside: 0,
            token: stop.child_token(),
            held: false,
            complete: false,
            ended: false,
        };
        Arc::new(Self { stop, state: watch::Sender::new(state), tables: Mutex::default(), progress })
    }

    /// What ends the task.
    pub(crate) fn stop_token(&self) -> &CancellationToken {
        &self.stop
    }

    /// Waits while the task is paused, then lets in.
    pub(crate) async fn enter(self: &Arc<Self>) -> Result<Pass> {
        let mut changes = self.state.subscribe();
        loop {
            if self.stop.is_cancelled() {
                return Err(stopped());
            }
            let mut entered = None;
            self.change(|state| {
                if state.wanted != Wanted::Pause {
                    state.inside += 1;
                    entered = Some(state.token.clone());
                }
            });
            if let Some(stop) = entered {
                return Ok(Pass { gate: Arc::clone(self), stop });
            }
            changes.mark_unchanged();
            if self.is_pause_wanted() {
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => {}
                    _ = changes.changed() => {}
                }
            }
        }
    }

    /// Whether an `error` of work under a pass is the gate's doing, so that the work is to be begun
    /// again under the next pass.
    pub(crate) fn is_ours(&self, error: &Error) -> bool {
        error.kind() == ErrorKind::Interrupted && !self.stop.is_cancelled()
    }

    /// The position up to which the stream is wanted.
    pub(crate) fn goal(&self) -> Option<Position> {
        match &self.state.borrow().wanted {
            Wanted::Drain(position) => Some(position.clone()),
            Wanted::Go | Wanted::Pause => None,
        }
    }

    /// Holds at `goal`, which the target has reached, until whoever asked for it lets go.
    pub(crate) async fn hold(&self, goal: &Position) -> Result<Released> {
        let wanted = Wanted::Drain(goal.clone());
        let mut changes = self.state.subscribe();
        self.change(|state| state.held = state.wanted == wanted);
        loop {
            changes.mark_unchanged();
            let (complete, still) = {
                let state = self.state.borrow();
                (state.complete, state.wanted == wanted)
            };
            if complete {
                return Ok(Released::Complete);
            }
            if !still {
                return Ok(Released::GoOn);
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(stopped()),
                _ = changes.changed() => {}
            }
        }
    }

    /// Has everything stop; returns when nothing goes on any more.
    pub(crate) async fn pause(&self) -> Result<()> {
        if self.goal().is_some() {
            return Err(Error::new(ErrorKind::State, "the task is being cut over and can't be paused")
                .help("end the cut-over with Ctrl-C; it is rolled back, and the task goes on"));
        }
        self.change(|state| {
            state.wanted = Wanted::Pause;
            state.token.cancel();
        });
        self.until(|state| state.wanted != Wanted::Pause || state.inside == 0).await?;
        if self.is_pause_wanted() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::State, "the task was resumed before it had come to rest"))
    }

    /// Lets the work go on.
    pub(crate) fn resume(&self) -> Result<()> {
        if self.goal().is_some() {
            return Err(Error::new(ErrorKind::State, "the task is being cut over, it isn't paused"));
        }
        self.go_on();
        Ok(())
    }

    /// Has the stream go on up to `position` and no further; returns when the target has it all.
    pub(crate) async fn drain(&self, position: &Position) -> Result<()> {
        let wanted = Wanted::Drain(position.clone());
        self.change(|state| {
            state.wanted = wanted.clone();
            state.held = false;
            state.token.cancel();
            state.token = self.stop.child_token();
        });
        self.until(|state| state.held || state.wanted != wanted).await?;
        if self.state.borrow().held {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Interrupted, "the task went on before everything was applied"))
    }

    /// Lays open what the task is working on.
    pub(crate) fn show(&self, tables: Held) {
        *self.tables.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(tables);
    }

    /// What the task is working on.
    pub(crate) fn tables(&self) -> Arc<Held> {
        Arc::clone(&self.tables.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the task was handed over for good.
    pub(crate) fn is_complete(&self) -> bool {
        self.state.borrow().complete
    }

    /// Lets the work go on, whatever held it up.
    pub(crate) fn go_on(&self) {
        self.change(|state| {
            if state.wanted != Wanted::Go {
                state.wanted = Wanted::Go;
                state.token.cancel();
                state.token = self.stop.child_token();
                state.held = false;
            }
        });
    }

    /// Ends what is held: the task is done.
    pub(crate) fn complete(&self) {
        self.change(|state| state.complete = true);
    }

    /// Notes that the task has ended.
    pub(crate) fn end(&self) {
        self.change(|state| state.ended = true);
    }

    /// Waits until the task has ended.
    pub(crate) async fn ended(&self) {
        let mut changes = self.state.subscribe();
        // The sender lives as long as this gate.
        let _ = changes.wait_for(|state| state.ended).await;
    }

    /// Whether a pause was asked for.
    pub(crate) fn is_pause_wanted(&self) -> bool {
        self.state.borrow().wanted == Wanted::Pause
    }

    /// Waits until the state is as it should be; an error when the task ends before.
    async fn until(&self, is_so: impl Fn(&State) -> bool) -> Result<()> {
        let mut changes = self.state.subscribe();
        let ended = match changes.wait_for(|state| state.ended || is_so(state)).await {
            Ok(state) => state.ended,
            Err(_) => true,
        };
        if ended {
            return Err(Error::new(ErrorKind::State, "the task ended meanwhile"));
        }
        Ok(())
    }

    /// Changes the state and, before anybody else can change it again, what the report says of it.
    fn change(&self, change: impl FnOnce(&mut State)) {
        self.state.send_modify(|state| {
            change(state);
            let paused = state.wanted == Wanted::Pause && state.inside == 0;
            self.progress.update(|report| report.paused = paused);
        });
    }
}

fn stopped() -> Error {
    Error::new(ErrorKind::Interrupted, "stopped")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn gate() -> (Arc<Gate>, CancellationToken, Arc<Progress>) {
        let (stop, progress) = (CancellationToken::new(), Arc::new(Progress::new("t", "s", "t")));
        (Gate::new(stop.clone(), Arc::clone(&progress)), stop, progress)
    }

    #[tokio::test]
    async fn a_pause_is_over_with_the_last_pass() {
        let (gate, _stop, progress) = gate();
        let (one, other) = (gate.enter().await.expect("open"), gate.enter().await.expect("open"));
        let pausing = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.pause().await }
        });
        one.stop.cancelled().await;
        drop(one);
        tokio::task::yield_now().await;
        assert!(!pausing.is_finished() && !progress.report().paused);
        drop(other);
        pausing.await.expect("no panic").expect("paused");
        assert!(progress.report().paused);

        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter().await.map(|pass| pass.stop.is_cancelled()) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        gate.resume().expect("paused");
        assert!(!waiting.await.expect("no panic").expect("let in"));
        assert!(!progress.report().paused);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_reported_is_not_older_than_the_pause() {
        for _ in 0..2000 {
            let (gate, _stop, progress) = gate();
            let pass = gate.enter().await.expect("open");
            let work = tokio::spawn(async move { pass.stop.cancelled().await });
            gate.pause().await.expect("paused");
            work.await.expect("no panic");
            assert!(progress.report().paused);
        }
    }

    #[tokio::test]
    async fn a_paused_task_can_be_stopped() {
        let (gate, stop, _) = gate();
        gate.pause().await.expect("nothing is inside");
        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter().await.map(drop) }
        });
        tokio::task::yield_now().await;
        stop.cancel();
        let error = waiting.await.expect("no panic").expect_err("stopped");
        assert!(error.kind() == ErrorKind::Interrupted && !gate.is_ours(&error));
    }

    #[tokio::test]
    async fn a_drain_holds_until_it_is_let_go() {
        let (gate, _stop, _) = gate();
        let position = Position("p".into());
        let work = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move {
                let pass = gate.enter().await?;
                pass.stop.cancelled().await;
                drop(pass);
                let goal = gate.goal().expect("a goal");
                gate.hold(&goal).await
            }
        });
        tokio::task::yield_now().await;
        tokio::time::timeout(Duration::from_secs(5), gate.drain(&position))
            .await
            .expect("soon")
            .expect("held");
        assert!(gate.pause().await.is_err() && gate.resume().is_err());
        gate.go_on();
        assert_eq!(work.await.expect("no panic").expect("released"), Released::GoOn);
        assert_eq!(gate.goal(), None);
    }
}
