//! The side of whoever asks.

use std::path::Path;

use engine_core::error::{Error, ErrorKind, Result};

use super::protocol::{Answer, Condition, Request};
use super::socket::{self, LinesIn, LinesOut};

/// A connection to the process that runs a task.
pub struct Call {
    input: LinesIn,
    output: LinesOut,
}

impl Call {
    /// Calls the process that runs task `task` under `state_dir`; `None` when none does.
    pub async fn open(state_dir: &Path, task: &str) -> Result<Option<Self>> {
        let directory = state_dir.join(task);
        if !directory.is_dir() {
            return Ok(None);
        }
        let stream = socket::connect(&directory).await?;
        Ok(stream.map(|stream| {
            let (input, output) = socket::lines(stream);
            Self { input, output }
        }))
    }

    /// Sends a request.
    pub async fn send(&mut self, request: &Request) -> Result<()> {
        self.output.send(request).await
    }

    /// Waits for the next line; `None` when the process has ended.
    pub async fn next(&mut self) -> Result<Option<Answer>> {
        match self.input.next().await {
            // A process that was killed leaves its end of the line like that.
            Err(error) if error.what().contains("broke") => Ok(None),
            other => other,
        }
    }
}

/// Asks the process that runs `task` for something, and waits until it has happened.
pub async fn ask(state_dir: &Path, task: &str, request: &Request) -> Result<(Condition, Option<String>)> {
    let Some(mut call) = Call::open(state_dir, task).await? else { return Err(not_running(state_dir, task)) };
    call.send(request).await?;
    match call.next().await? {
        Some(Answer::Done { condition, position }) => Ok((condition, position)),
        Some(Answer::Refused(refused)) => Err(refused.into_error().at("task", task)),
        Some(Answer::Told { .. }) => Err(Error::new(ErrorKind::Internal, "an answer that was not asked for")),
        None if *request == Request::Stop => Ok((Condition::Stopped, None)),
        None => Err(Error::new(ErrorKind::State, "the task ended before it could answer")
            .at("task", task)
            .help(format!("see how it ended with: engine status {task}"))),
    }
}

/// The error of whoever asks a task that no process runs.
pub fn not_running(state_dir: &Path, task: &str) -> Error {
    Error::new(ErrorKind::State, "no engine is running this task")
        .at("task", task)
        .at("state directory", state_dir.display())
        .help(format!("see how it ended with: engine status {task}; engine run goes on with it"))
}
