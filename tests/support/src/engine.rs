//! The engine's binary, run as a user runs it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::PATIENCE;
use crate::process::program;

/// How many lines are shown of what an engine said that was still running.
const LAST: usize = 20;

/// The engine's binary: `ENGINE_BINARY` if set, else the one Cargo built beside the tests.
pub fn engine() -> Result<PathBuf> {
    program("engine", "ENGINE_BINARY")
}

/// Where plugins are: `GUESTS_DIR` if set, else `target/guests`.
fn guests() -> PathBuf {
    std::env::var_os("GUESTS_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guests"), PathBuf::from)
}

/// Makes a state directory in which the engine finds the plugins compiled that it has met in others.
pub fn state_directory(path: &Path) -> Result<()> {
    let compiled = guests().join("compiled");
    fs::create_dir_all(&compiled)?;
    fs::create_dir_all(path)?;
    std::os::unix::fs::symlink(fs::canonicalize(compiled)?, path.join("compiled-plugins"))?;
    Ok(())
}

/// A plugin by the name of its file, from among the others.
pub fn guest(name: &str) -> Result<PathBuf> {
    let path = guests().join(name).with_extension("wasm");
    ensure!(path.is_file(), "no plugin {}: build it with `cargo xtask plugins`", path.display());
    Ok(path)
}

/// A run of the engine that has not begun.
#[derive(Debug, Clone)]
pub struct Run {
    directory: PathBuf,
    arguments: Vec<String>,
    plugins: Option<Vec<String>>,
    config: Option<Value>,
    environment: Vec<(String, String)>,
}

impl Run {
    /// `engine run` with JSON events, a name, and `mysql2og` as its only plugin; files are written to `directory`.
    pub fn new(directory: &Path, source: &str, target: &str, state: &Path) -> Self {
        let state = state.display().to_string();
        Self::plain(directory)
            .arguments(["run", "--json", "--name", "task", "--source", source, "--target", target])
            .arguments(["--state-dir", &state])
            .plugin("mysql2og")
    }

    /// The engine without any argument.
    pub fn plain(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            arguments: Vec::new(),
            plugins: None,
            config: None,
            environment: Vec::new(),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Replaces the value of an option that was given, such as `--target`.
    #[must_use]
    pub fn replace(mut self, option: &str, value: impl Into<String>) -> Self {
        let at = self.arguments.iter().position(|argument| argument == option);
        match at.and_then(|at| self.arguments.get_mut(at + 1)) {
            Some(old) => *old = value.into(),
            None => self.arguments.extend([option.to_owned(), value.into()]),
        }
        self
    }

    /// Adds a plugin to the chain: the name of a guest, or a path if it holds a `/`.
    #[must_use]
    pub fn plugin(mut self, plugin: impl Into<String>) -> Self {
        self.plugins.get_or_insert_default().push(plugin.into());
        self
    }

    /// Removes every plugin.
    #[must_use]
    pub fn without_plugins(mut self) -> Self {
        self.plugins = None;
        self
    }

    /// Configures plugins: an object with a section per plugin.
    #[must_use]
    pub fn config(mut self, config: Value) -> Self {
        self.config = Some(config);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn environment(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Starts it.
    pub fn start(self) -> Result<Running> {
        let program = engine()?;
        let mut command = Command::new(&program);
        command.args(&self.arguments);
        for plugin in self.plugins.iter().flatten() {
            let path = if plugin.contains('/') { PathBuf::from(plugin) } else { guest(plugin)? };
            command.arg("--plugin").arg(path);
        }
        if let Some(config) = &self.config {
            let path = self.directory.join("plugins.json");
            fs::write(&path, config.to_string())?;
            command.arg("--plugin-config").arg(path);
        }
        command.envs(self.environment.iter().map(|(name, value)| (OsStr::new(name), OsStr::new(value))));
        command.current_dir(&self.directory).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        let stdout = child.stdout.take().context("the engine's standard output")?;
        let stderr = child.stderr.take().context("the engine's standard error")?;
        let (sender, lines) = watch::channel(Vec::new());
        let reading = tokio::spawn(read_lines(stdout, sender));
        let (sender, complaints) = watch::channel(Vec::new());
        let complaining = tokio::spawn(read_lines(stderr, sender));
        Ok(Running { child, lines, complaints, reading, complaining })
    }

    /// Runs it to its end, whatever its exit code.
    pub async fn finish(self) -> Result<Outcome> {
        self.start()?.finish().await
    }

    /// Runs it to its end, which must be a success.
    pub async fn succeed(self) -> Result<Outcome> {
        self.finish().await?.succeeded()
    }

    /// Runs it to its end, which must be a failure with exit code 1; answers its error.
    pub async fn fail(self) -> Result<String> {
        self.finish().await?.failed(1)
    }
}

async fn read_lines(from: impl AsyncRead + Unpin, to: watch::Sender<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(from).lines();
    while let Some(line) = reader.next_line().await? {
        to.send_modify(|lines| lines.push(line));
    }
    Ok(())
}

/// A running engine; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: watch::Receiver<Vec<String>>,
    /// What it writes to standard error.
    complaints: watch::Receiver<Vec<String>>,
    reading: JoinHandle<std::io::Result<()>>,
    complaining: JoinHandle<std::io::Result<()>>,
}

impl Running {
    /// Waits for an event, one that has already come included, that `wanted` takes; fails if the engine ends before.
    pub async fn event(&mut self, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let waiting = async {
            let mut seen = 0;
            loop {
                let new = self.lines.borrow_and_update().get(seen..).unwrap_or_default().to_vec();
                seen += new.len();
                if let Some(event) =
                    new.iter().filter_map(|line| serde_json::from_str(line).ok()).find(|event| wanted(event))
                {
                    return Ok(event);
                }
                if self.lines.changed().await.is_err() {
                    let lines = self.lines.borrow().clone();
                    let last = lines.last().map_or("nothing", String::as_str);
                    bail!("the engine ended before the awaited event; it said last: {last}");
                }
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, waiting).await;
        outcome.with_context(|| format!("no such event within {} s", PATIENCE.as_secs()))?
    }

    /// Waits for a line on standard error that has these words, one that has already come included.
    pub async fn complaint(&mut self, words: &str) -> Result<()> {
        let says = |lines: &Vec<String>| lines.iter().any(|line| line.contains(words));
        let outcome = tokio::time::timeout(PATIENCE, self.complaints.wait_for(says)).await;
        let said = outcome.with_context(|| format!("no '{words}' within {} s", PATIENCE.as_secs()))?;
        said.map(drop).with_context(|| format!("the engine ended without saying '{words}'"))
    }

    /// Waits for the beginning of a phase, by its name in events.
    pub async fn phase(&mut self, name: &str) -> Result<Value> {
        self.event(|event| event["event"] == "phase" && event["phase"] == name)
            .await
            .with_context(|| format!("waiting for the phase {name}"))
    }

    /// The process id, while it runs.
    pub fn id(&self) -> Result<u32> {
        self.child.id().context("the engine has ended")
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Sends the signal of Ctrl-C.
    pub async fn interrupt(&self) -> Result<()> {
        self.signal("INT").await
    }

    /// Sends a signal, by its name without `SIG`.
    pub async fn signal(&self, name: &str) -> Result<()> {
        let status =
            Command::new("kill").arg(format!("-{name}")).arg(self.id()?.to_string()).status().await?;
        ensure!(status.success(), "kill -{name}: {status}");
        Ok(())
    }

    /// Kills it, as a power failure would, and waits for its end.
    pub async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Waits for its end.
    pub async fn finish(mut self) -> Result<Outcome> {
        let Ok(status) = tokio::time::timeout(PATIENCE, self.child.wait()).await else {
            bail!("the engine did not end within {} s", PATIENCE.as_secs());
        };
        let status = status?;
        (&mut self.reading).await??;
        (&mut self.complaining).await??;
        let stderr = self.complaints.borrow().join("\n");
        let lines = self.lines.borrow().clone();
        let events = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        Ok(Outcome { status, stdout: lines.join("\n"), stderr, events })
    }
}

impl Drop for Running {
    /// Says what an engine did that the test no longer waits for, most often since it failed.
    fn drop(&mut self) {
        if self.child.id().is_some() {
            let (lines, complaints) = (self.lines.borrow(), self.complaints.borrow());
            let last = lines.get(lines.len().saturating_sub(LAST)..).unwrap_or_default();
            eprintln!(
                "the engine was still running; it said last:\n{}\n{}",
                last.join("\n"),
                complaints.join("\n")
            );
        }
    }
}

/// What an ended run left behind.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The events among standard output.
    pub events: Vec<Value>,
}

impl Outcome {
    /// Fails with all the engine said unless it succeeded.
    pub fn succeeded(self) -> Result<Self> {
        ensure!(self.status.success(), "the engine failed: {}\n{}", self.status, self.said());
        Ok(self)
    }

    /// Fails unless the engine ended with this exit code; answers its last words, in JSON or on standard error.
    pub fn failed(self, code: i32) -> Result<String> {
        let found = self.status.code();
        ensure!(found == Some(code), "the engine ended with {found:?}, not {code}\n{}", self.said());
        let error = self.events.iter().rev().find(|event| event["event"] == "error");
        Ok(error.map_or(self.stderr, Value::to_string))
    }

    /// The last event of this name.
    pub fn last(&self, event: &str) -> Result<&Value> {
        let found = self.events.iter().rev().find(|candidate| candidate["event"] == event);
        found.with_context(|| format!("no event {event}\n{}", self.said()))
    }

    /// All it said, for people.
    pub fn said(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }
}
