//! What is done to the engine, the servers and the network between them.

use std::fmt;

use clap::ValueEnum;
use test_support::numbers::Numbers;

/// A fault. Its name is that of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Fault {
    /// `kill -9` of the engine
    KillEngine,
    /// The engine is paused, another one takes over, and the first one wakes up
    Takeover,
    /// `kill -9` of the engine; its state directory is removed
    DeleteState,
    /// `kill -9` of the engine; its state directory is replaced by an older copy
    RollBackState,
    /// `kill -9` of the source, which comes back
    KillSource,
    /// An orderly restart of the source
    RestartSource,
    /// `kill -9` of the target, which comes back
    KillTarget,
    /// An orderly restart of the target
    RestartTarget,
    /// All connections to the source break, and new ones are refused for a moment
    CutSource,
    /// All connections to the target break, and new ones are refused for a moment
    CutTarget,
    /// Nothing gets through to or from the source for a moment, while connections stay open
    HoldSource,
    /// Nothing gets through to or from the target for a moment, while connections stay open
    HoldTarget,
    /// Long round trips and little bandwidth on both sides for a moment
    Slow,
    /// The source's stream breaks off in the middle of a packet
    TruncateSource,
    /// The target's answer breaks off in the middle of a message
    TruncateTarget,
    /// A commit happens, and its answer is lost
    LoseAnswer,
    /// A commit does not happen, and neither does its answer come
    LoseRequest,
    /// A commit happens only after the engine has connected again
    LateCommit,
    /// The source begins new log files, again and again
    RotateLog,
    /// The source kills the connection that sends its log
    KillDump,
    /// The target ends all of the engine's sessions
    EndSessions,
    /// Somebody locks rows of the target, so that applying waits or is the victim of a deadlock
    LockRows,
}

impl Fault {
    /// Those that a target of the MySQL family can have: commits are told apart in `PostgreSQL`'s protocol alone.
    pub(crate) fn is_of_mysql(self) -> bool {
        !matches!(self, Self::LoseAnswer | Self::LoseRequest | Self::LateCommit)
    }

    /// The next fault among `of`, which is not empty.
    pub(crate) fn draw(of: &[Self], numbers: &mut Numbers) -> Self {
        let place = numbers.below(of.len().max(1) as u64) as usize;
        of.get(place).copied().unwrap_or(Self::KillEngine)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        out.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}
