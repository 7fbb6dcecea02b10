//! The side of the process that runs the task.

use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use engine_core::error::{Error, ErrorKind, Result};

use super::gate::Gate;
use super::protocol::{Answer, Condition, Refused, Request};
use super::socket::{self, LinesIn, LinesOut};
use crate::cut_over::{self, CutOverOptions, Event, Subject, Talk};
use crate::state;

/// How long the end of the task waits for those who asked for it to have been told.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long somebody may not listen during a cut-over.
const LISTENING: Duration = Duration::from_secs(5);
/// How long it waits for a cut-over to be undone.
const UNDOING: Duration = Duration::from_mins(1);

/// Answers requests until the task has ended.
pub(crate) struct Server {
    gate: Arc<Gate>,
    serving: JoinHandle<()>,
}

#[derive(Clone)]
struct Served {
    subject: Subject,
    /// Held by whoever cuts the task over.
    cutting: Arc<Mutex<()>>,
}

impl Server {
    /// Begins to serve; the task's directory is locked by this process.
    pub(crate) fn start(subject: Subject) -> Result<Self> {
        let listener = socket::bind(&subject.directory)?;
        let served = Served { subject, cutting: Arc::default() };
        let gate = Arc::clone(&served.subject.gate);
        let serving = tokio::spawn(serve(listener, served));
        Ok(Self { gate, serving })
    }

    /// Tells those who wait that the task has ended, and takes the socket away. A cut-over that is
    /// under way is undone first.
    pub(crate) async fn end(self) {
        self.gate.end();
        drop(self.serving.await);
    }
}

async fn serve(listener: UnixListener, served: Served) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = served.subject.gate.ended() => break,
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
    socket::remove(&served.subject.directory);
    let told = async { while connections.join_next().await.is_some() {} };
    let longest = if served.cutting.try_lock().is_ok() { LAST_WORDS } else { UNDOING };
    if tokio::time::timeout(longest, told).await.is_err() && longest == UNDOING {
        tracing::error!("a cut-over could not be undone in time: see whether the source is read-only");
    }
}

/// Answers one request after the other. Whoever asked and went away gets no answer; what was asked
/// for happens all the same, but for a cut-over, which is undone.
async fn converse(stream: UnixStream, served: Served) {
    let (mut input, mut output) = socket::lines(stream);
    loop {
        let request = tokio::select! {
            () = served.subject.gate.ended() => return,
            request = input.next::<Request>() => request,
        };
        let sent = match request {
            Ok(None) => return,
            Ok(Some(request)) => {
                tracing::info!(?request, "asked over the control socket");
                answer(request, &served, &mut input, &mut output).await
            }
            Err(error) => output.send(&Answer::Refused(Refused::from(&error))).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn answer(request: Request, served: &Served, input: &mut LinesIn, output: &mut LinesOut) -> Result<()> {
    let Subject { gate, progress, directory, .. } = &served.subject;
    let is_cutting = served.cutting.try_lock().is_err();
    let happened = match request {
        Request::Pause | Request::Resume if is_cutting => {
            Err(Error::new(ErrorKind::State, "the task is being cut over")
                .help("end that with Ctrl-C; it is undone, and the task goes on"))
        }
        Request::Pause => gate.pause().await.map(|()| Condition::Paused),
        Request::Resume => gate.resume().map(|()| Condition::Running),
        Request::Stop => {
            gate.stop_token().cancel();
            gate.ended().await;
            let stopped =
                Answer::Done { condition: Condition::Stopped, position: progress.report().position };
            return output.send(&stopped).await;
        }
        Request::CutOver(options) => {
            cut_over(options, served, input, output).await.map(|()| Condition::CutOver)
        }
        Request::Reply { .. } | Request::Abort => {
            Err(Error::new(ErrorKind::State, "the task is not being cut over"))
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

/// Cuts the task over in conversation with whoever asked. That they go away is an abort.
async fn cut_over(
    options: CutOverOptions,
    served: &Served,
    input: &mut LinesIn,
    output: &mut LinesOut,
) -> Result<()> {
    let Ok(_cutting) = served.cutting.try_lock() else {
        return Err(Error::new(ErrorKind::State, "the task is being cut over already"));
    };
    let (events, mut told) = mpsc::channel(64);
    let (replies, answers) = mpsc::channel(1);
    let abort = CancellationToken::new();
    let talk = Talk { events: events.clone(), answers, abort: abort.clone() };
    let work = cut_over::run(served.subject.clone(), options, talk);
    tokio::pin!(work);
    let completed = loop {
        tokio::select! {
            biased;
            Some(event) = told.recv() => tell(event, output, &abort).await,
            completed = &mut work => break completed,
            request = input.next::<Request>(), if !abort.is_cancelled() => match request {
                Ok(Some(Request::Reply { yes })) => drop(replies.try_send(yes)),
                Ok(Some(Request::Abort) | None) | Err(_) => abort.cancel(),
                Ok(Some(other)) => tracing::warn!(?other, "not during a cut-over"),
            },
        }
    };
    while let Ok(event) = told.try_recv() {
        tell(event, output, &abort).await;
    }
    tell(Event::CutOver(completed?), output, &abort).await;
    Ok(())
}

async fn tell(event: Event, output: &mut LinesOut, abort: &CancellationToken) {
    // Somebody who doesn't listen must not keep writes stopped.
    let sent = tokio::time::timeout(LISTENING, output.send(&Answer::Told { told: event })).await;
    if !matches!(sent, Ok(Ok(()))) {
        abort.cancel();
    }
}
