//! Sessions over a stream that stalls where the test has it stall, and a lane that writes down its commits.

use async_trait::async_trait;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use engine_core::change::ChangeSet;
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::plan::TargetTable;
use engine_core::position::Position;
use engine_core::source::{ChangeStream, Source};
use engine_core::target::{Applier, Lanes, NetChanges, OrderedChanges, Refusal, Standing};
use engine_core::transaction::TransactionSet;

use crate::follow::Followed;
use crate::follow::routing::Router;
use crate::progress::Progress;
use crate::test_source::{Counting, name, position};

use super::{Context, SETTLE, Session};

/// Longer than a session waits before it has the target told where it stands.
const STALL: Duration = SETTLE.saturating_mul(3);

struct Script(mpsc::UnboundedReceiver<Result<ChangeSet>>);

#[async_trait]
impl ChangeStream for Script {
    async fn next(&mut self) -> Result<ChangeSet> {
        match self.0.recv().await {
            Some(set) => set,
            None => std::future::pending().await,
        }
    }
}

/// Where the lane's commits said that the target stands.
#[derive(Clone, Default)]
struct Commits(Arc<Mutex<Vec<String>>>);

impl Commits {
    fn so_far(&self) -> Vec<String> {
        self.0.lock().expect("not poisoned").clone()
    }
}

#[async_trait]
impl Applier for Commits {
    async fn apply(&mut self, _: &Arc<TargetTable>, _: &NetChanges) -> Result<Vec<Refusal>> {
        Ok(Vec::new())
    }
    async fn apply_ordered(&mut self, _: &Arc<TargetTable>, _: &OrderedChanges) -> Result<()> {
        Ok(())
    }
    async fn commit(&mut self, standing: &Standing) -> Result<()> {
        self.0.lock().expect("not poisoned").push(standing.position.to_string());
        Ok(())
    }
    async fn taken_over(&mut self) -> Option<Error> {
        None
    }
}

/// The source moved on without anything for the task.
fn idle_until(reached: u64) -> ChangeSet {
    ChangeSet { position: Some(position(reached)), ..ChangeSet::default() }
}

/// A part of transaction 7, and its last one.
fn piece() -> ChangeSet {
    ChangeSet { changing: vec![name(7)], ..ChangeSet::default() }
}

fn last_piece() -> ChangeSet {
    ChangeSet { position: Some(position(7)), transactions: 1, ..piece() }
}

/// Runs a session from position 0 until `until`, with what `script` sends it, and says how it ended.
async fn session<S>(
    until: Option<Position>,
    script: impl FnOnce(Play) -> S,
) -> (Result<Followed>, Vec<String>)
where
    S: Future<Output = ()>,
{
    let source: Arc<dyn Source> = Arc::new(Counting);
    let (progress, stop) = (Progress::new("test", "source", "target"), CancellationToken::new());
    let context = Context { source: source.as_ref(), progress: &progress, stop: &stop };
    let commits = Commits::default();
    let lanes = Lanes {
        position: position(0),
        applied: TransactionSet::default(),
        appliers: vec![Box::new(commits.clone())],
    };
    let (sender, sets) = mpsc::unbounded_channel();
    let router = Router::new(&source, &[], Vec::new(), 1).expect("a router");
    let session = Session::begin(context, lanes, Box::new(Script(sets)), router, None);
    let play = Play { sets: sender, commits: commits.clone(), stop: stop.clone() };
    let (ended, ()) = tokio::join!(session.run(until.as_ref()), script(play));
    (ended, commits.so_far())
}

struct Play {
    sets: mpsc::UnboundedSender<Result<ChangeSet>>,
    commits: Commits,
    stop: CancellationToken,
}

impl Play {
    fn send(&self, set: ChangeSet) {
        self.sets.send(Ok(set)).expect("the session reads");
    }
}

#[tokio::test]
async fn a_stall_amid_a_transaction_commits_no_part_of_it() {
    let (ended, commits) = session(Some(position(7)), async |play| {
        // The position moves without rows, which the target is told when nothing else comes.
        play.send(idle_until(3));
        play.send(piece());
        tokio::time::sleep(STALL).await;
        assert!(play.commits.so_far().is_empty(), "committed amid the transaction");
        play.send(piece());
        tokio::time::sleep(STALL).await;
        assert!(play.commits.so_far().is_empty(), "committed amid the transaction");
        play.send(last_piece());
    })
    .await;
    assert!(matches!(ended, Ok(Followed::Reached)), "{ended:?}");
    assert_eq!(commits, ["7"]);
}

#[tokio::test]
async fn a_target_is_told_where_it_stands_when_nothing_comes() {
    let (ended, commits) = session(None, async |play| {
        play.send(idle_until(3));
        while play.commits.so_far().is_empty() {
            tokio::task::yield_now().await;
        }
        play.stop.cancel();
    })
    .await;
    assert_eq!(ended.expect_err("stopped").kind(), ErrorKind::Interrupted);
    assert_eq!(commits, ["3"]);
}

#[tokio::test]
async fn a_stop_amid_a_transaction_leaves_it_uncommitted() {
    let (ended, commits) = session(None, async |play| {
        play.send(idle_until(3));
        play.send(piece());
        tokio::time::sleep(STALL).await;
        play.stop.cancel();
    })
    .await;
    assert_eq!(ended.expect_err("stopped").kind(), ErrorKind::Interrupted);
    assert!(commits.is_empty(), "{commits:?}");
}

#[tokio::test]
async fn a_stream_that_fails_amid_a_transaction_leaves_it_uncommitted() {
    let (ended, commits) = session(None, async |play| {
        play.send(idle_until(3));
        play.send(piece());
        let cut = Error::new(ErrorKind::Connection, "cut");
        play.sets.send(Err(cut)).expect("the session reads");
    })
    .await;
    assert_eq!(ended.expect_err("cut").kind(), ErrorKind::Connection);
    assert!(commits.is_empty(), "{commits:?}");
}
