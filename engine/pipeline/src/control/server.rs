//! The side of the process that runs the task.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};

use engine_core::error::Result;

use super::gate::Gate;
use super::protocol::{Answer, Condition, Refused, Request};
use super::socket::{self, LinesOut};
use crate::progress::Progress;
use crate::state;

/// How long the end of the task waits for those who asked for it to have been told.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Answers requests until the task has ended.
pub(crate) struct Server {
    gate: Arc<Gate>,
    serving: JoinHandle<()>,
}

/// What requests work on.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) gate: Arc<Gate>,
    pub(crate) progress: Arc<Progress>,
    /// The task's directory.
    pub(crate) directory: PathBuf,
}

impl Server {
    /// Begins to serve; the directory is locked by this process.
    pub(crate) fn start(served: Served) -> Result<Self> {
        let listener = socket::bind(&served.directory)?;
        let gate = Arc::clone(&served.gate);
        let serving = tokio::spawn(serve(listener, served));
        Ok(Self { gate, serving })
    }

    /// Tells those who wait that the task has ended, and takes the socket away.
    pub(crate) async fn end(self) {
        self.gate.end();
        drop(self.serving.await);
    }
}

async fn serve(listener: UnixListener, served: Served) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = served.gate.ended() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(converse(stream, served.clone()))),
                Err(error) => {
                    tracing::warn!("the control socket failed: {error}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    socket::remove(&served.directory);
    let told = async { while connections.join_next().await.is_some() {} };
    drop(tokio::time::timeout(LAST_WORDS, told).await);
}

/// Answers one request after the other. Whoever asked and went away gets no answer; what was asked
/// for happens all the same.
async fn converse(stream: UnixStream, served: Served) {
    let (mut input, mut output) = socket::lines(stream);
    loop {
        let request = tokio::select! {
            () = served.gate.ended() => return,
            request = input.next::<Request>() => request,
        };
        let sent = match request {
            Ok(None) => return,
            Ok(Some(request)) => {
                tracing::info!(?request, "asked over the control socket");
                answer(request, &served, &mut output).await
            }
            Err(error) => output.send(&Answer::Refused(Refused::from(&error))).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn answer(request: Request, served: &Served, output: &mut LinesOut) -> Result<()> {
    let Served { gate, progress, directory } = served;
    let happened = match request {
        Request::Pause => gate.pause().await.map(|()| Condition::Paused),
        Request::Resume => gate.resume().map(|()| Condition::Running),
        Request::Stop => {
            gate.stop_token().cancel();
            gate.ended().await;
            let stopped =
                Answer::Done { condition: Condition::Stopped, position: progress.report().position };
            return output.send(&stopped).await;
        }
    };
    // The answer and the status file agree.
    if let Err(error) = state::write_status(directory, &progress.report()) {
        tracing::warn!("{error}");
    }
    let answer = match happened {
        Ok(condition) => Answer::Done { condition, position: progress.report().position },
        Err(error) => Answer::Refused(Refused::from(&error)),
    };
    output.send(&answer).await
}
