//! Keeps an engine running, as an operator or a service manager does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use test_support::engine::{Outcome, Run, Running};
use test_support::eventually;
use test_support::numbers::Numbers;

use crate::campaign::Direction;

/// The task's name.
const TASK: &str = "task";

/// The words of an engine that another one has replaced.
const REPLACED: &str = "another engine has taken over";

/// A task's engine and its state directories, of which one is in use.
#[derive(Debug)]
pub(crate) struct Supervisor {
    directory: PathBuf,
    direction: Direction,
    /// Of the way there: the MySQL family.
    source: String,
    target: String,
    arguments: Vec<String>,
    numbers: Numbers,
    state: u64,
    next_state: u64,
    running: Option<Running>,
    /// Another engine has been started since, and may have claimed the task before it ended.
    may_be_replaced: bool,
    /// How often an engine was started.
    pub(crate) starts: u64,
    /// Why an engine ended by itself because of a fault; it is started again.
    pub(crate) gave_up: Vec<String>,
}

impl Supervisor {
    /// A task with everything below `directory`, between these URLs; `arguments` are added to each run.
    pub(crate) fn new(
        directory: &Path,
        direction: Direction,
        source: String,
        target: String,
        arguments: Vec<String>,
        seed: u64,
    ) -> Self {
        let directory = directory.to_owned();
        Self {
            directory,
            direction,
            source,
            target,
            arguments,
            numbers: Numbers::new(seed),
            state: 0,
            next_state: 1,
            running: None,
            may_be_replaced: false,
            starts: 0,
            gave_up: Vec::new(),
        }
    }

    fn state_directory(&self) -> PathBuf {
        self.directory.join(format!("state-{}", self.state))
    }

    /// Each run has another number of lanes than the one before, unless the arguments say how many.
    fn run(&mut self) -> Run {
        let lanes = (1 + self.numbers.below(6)).to_string();
        let mut arguments = self.arguments.clone();
        if !arguments.iter().any(|argument| argument.starts_with("--parallelism")) {
            arguments.extend(["--parallelism".to_owned(), lanes]);
        }
        let command = match self.direction {
            Direction::Forward => "run",
            Direction::Reverse => "reverse",
        };
        self.of_task(command).arguments(arguments)
    }

    fn of_task(&self, command: &str) -> Run {
        let state = self.state_directory().display().to_string();
        Run::plain(&self.directory)
            .arguments([command, "--name", TASK, "--source", &self.source, "--target", &self.target])
            .arguments(["--state-dir", &state])
            .plugin("mysql2og")
            .argument("--json")
    }

    /// Moves everything to the target and over, with a way back.
    pub(crate) async fn move_over(&mut self) -> Result<()> {
        self.of_task("run").arguments(["--accept-warnings", "--until", "caught-up"]).succeed().await?;
        self.of_task("cutover").arguments(["--yes", "--way-back"]).succeed().await?;
        Ok(())
    }

    /// Has the target keep nothing for the way back.
    pub(crate) async fn give_up_way_back(&self) -> Result<()> {
        let state = self.state_directory().display().to_string();
        let drop = Run::plain(&self.directory)
            .arguments([
                "drop",
                "--way-back",
                "--name",
                TASK,
                "--source",
                &self.source,
                "--target",
                &self.target,
            ])
            .arguments(["--state-dir", &state])
            .plugin("mysql2og");
        drop.succeed().await?;
        Ok(())
    }

    /// Starts the engine if none runs. One that has ended may only have ended because of a fault that passes.
    pub(crate) async fn keep_running(&mut self) -> Result<()> {
        if let Some(mut running) = self.running.take() {
            if !running.has_ended()? {
                self.running = Some(running);
                return Ok(());
            }
            self.excuse(&running.finish().await?)?;
        }
        self.starts += 1;
        self.may_be_replaced = false;
        self.running = Some(self.run().start()?);
        Ok(())
    }

    /// Kills the engine, if one runs.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        if running.has_ended()? {
            return self.excuse(&running.finish().await?);
        }
        running.kill().await
    }

    /// Ends the engine in an orderly way, if one runs.
    pub(crate) async fn interrupt(&mut self) -> Result<()> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        if !running.has_ended()? {
            running.interrupt().await?;
            let outcome = running.finish().await?;
            if outcome.status.code() == Some(130) {
                return Ok(());
            }
            return self.excuse(&outcome);
        }
        self.excuse(&running.finish().await?)
    }

    /// Removes the state directory of an engine that does not run.
    pub(crate) fn delete_state(&self) -> Result<()> {
        remove(&self.state_directory())
    }

    /// Keeps a copy of the state directory.
    pub(crate) fn copy_state(&self) -> Result<()> {
        let (state, copy) = (self.state_directory(), self.directory.join("state-copy"));
        if !state.exists() {
            return Ok(());
        }
        remove(&copy)?;
        copy_directory(&state, &copy)
    }

    /// Puts the kept copy in place of the state directory; without one, the directory is removed.
    pub(crate) fn roll_back_state(&self) -> Result<()> {
        let (state, copy) = (self.state_directory(), self.directory.join("state-copy"));
        remove(&state)?;
        if copy.exists() { copy_directory(&copy, &state) } else { Ok(()) }
    }

    /// Pauses the engine, starts another one with a state directory of its own, and wakes the first after `pause`. The
    /// one that was the last to claim the task goes on; the other must notice, and end.
    pub(crate) async fn take_over(&mut self, pause: Duration) -> Result<()> {
        let Some(mut first) = self.running.take() else { return Ok(()) };
        first.signal("STOP").await.context("pausing the engine")?;
        let firsts_state = self.state;
        self.state = self.next_state;
        self.next_state += 1;
        let started = self.keep_running().await;
        tokio::time::sleep(pause).await;
        first.signal("CONT").await.context("waking the engine")?;
        started?;
        let Some(mut second) = self.running.take() else { return Ok(()) };
        let first_ended = eventually("the end of an engine that was replaced", async || {
            Ok(if first.has_ended()? { Some(true) } else { second.has_ended()?.then_some(false) })
        })
        .await?;
        let (ended, going_on) = if first_ended {
            (first, second)
        } else {
            self.state = firsts_state;
            (second, first)
        };
        self.running = Some(going_on);
        let outcome = ended.finish().await?;
        if outcome.said().contains(REPLACED) {
            return Ok(());
        }
        self.may_be_replaced = true;
        self.excuse(&outcome)
    }

    /// Fails unless the engine ended for a reason that passes by itself, which is kept. Only at the beginning of a run
    /// may it end for such a reason: a server that is not there may be one that never was.
    fn excuse(&mut self, outcome: &Outcome) -> Result<()> {
        if self.may_be_replaced && outcome.said().contains(REPLACED) {
            return Ok(());
        }
        let error = outcome.events.iter().rev().find(|event| event["event"] == "error");
        let text = |field: &str| error.and_then(|error| error[field].as_str()).unwrap_or("none");
        ensure!(
            matches!(text("kind"), "connection" | "transient"),
            "the engine ended by itself ({}), with an error of kind {}\n{}",
            outcome.status,
            text("kind"),
            outcome.said()
        );
        let phase = outcome.events.iter().rev().find(|event| event["event"] == "phase");
        let phase = phase.and_then(|event| event["phase"].as_str()).unwrap_or("start");
        ensure!(
            matches!(phase, "start" | "precheck" | "schema"),
            "the engine did not wait for what passes, in phase {phase}\n{}",
            outcome.said()
        );
        self.gave_up.push(format!("{phase}: {}", text("what")));
        Ok(())
    }

    /// Runs the engine to the present of the source, by way of these URLs.
    pub(crate) async fn catch_up(&mut self) -> Result<Outcome> {
        self.starts += 1;
        self.run().arguments(["--until", "caught-up"]).finish().await?.succeeded()
    }
}

fn remove(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("removing {}", directory.display()))?;
    }
    Ok(())
}

fn copy_directory(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().context("running cp")?;
    if !status.success() {
        bail!("copying {}: {status}", from.display());
    }
    Ok(())
}
