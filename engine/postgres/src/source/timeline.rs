//! Whether a server has what another had before it, in whose place it was promoted.
//!
//! A promoted standby goes on with the log from where it had got to, on a timeline of its own: what the
//! old primary logged beyond is lost, and other transactions get its places. Nothing in the stream tells, so
//! positions name their timeline, and are held against the history of the server's.

use engine_core::transaction::TransactionSet;
use engine_core::{Error, ErrorKind, Result};

use super::position::LogPosition;
use crate::family::Family;
use crate::replication::connection::ReplicationConnection;
use crate::replication::lsn::Lsn;

/// The timeline of a server, and where those before it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Timelines {
    current: u32,
    ended: Vec<(u32, Lsn)>,
}

impl Timelines {
    /// Asks the server.
    pub(super) async fn read(connection: &mut ReplicationConnection) -> Result<Self> {
        let unreadable =
            || Error::new(ErrorKind::Internal, "the history of the source's timelines can't be read");
        let answer = connection.query("IDENTIFY_SYSTEM").await?;
        let current = answer.first().and_then(|row| row.get(1)?.as_deref()?.parse().ok());
        let current: u32 = current.ok_or_else(unreadable)?;
        // The first has none, and openGauss tells of none.
        if current == 1 || connection.family() == Family::OpenGauss {
            return Ok(Self { current, ended: Vec::new() });
        }
        let answer = connection.query(&format!("TIMELINE_HISTORY {current}")).await?;
        let history = answer.first().and_then(|row| row.get(1)?.as_deref()).ok_or_else(unreadable)?;
        Self::parse(current, history).ok_or_else(unreadable)
    }

    /// Reads a history file: a line for each timeline, with its number, its end, and why it ended.
    fn parse(current: u32, history: &str) -> Option<Self> {
        let lines = history.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let ended = lines.map(|line| {
            let mut fields = line.split_whitespace();
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        });
        Some(Self { current, ended: ended.collect::<Option<_>>()? })
    }

    /// The timeline that the server is on.
    pub(super) fn current(&self) -> u32 {
        self.current
    }

    /// Whether the server has all that was logged before `lsn` on `timeline`.
    pub(super) fn has(&self, timeline: u32, lsn: Lsn) -> bool {
        timeline == self.current || self.ended.iter().any(|&(ended, end)| ended == timeline && lsn <= end)
    }

    /// Fails unless the server has all that the target has. A position without a timeline is believed.
    pub(super) fn require(&self, position: &LogPosition, applied: &TransactionSet) -> Result<()> {
        let Some(timeline) = position.timeline.filter(|&timeline| timeline != self.current) else {
            return Ok(());
        };
        // A commit record is longer than a byte: one that begins at the end of a timeline isn't in it.
        let applied = applied.iter().map(|transaction| Lsn(transaction.number.saturating_add(1)));
        match applied.fold(position.lsn, Lsn::max) {
            last if self.has(timeline, last) => Ok(()),
            last => Err(self.lacks(timeline, last)),
        }
    }

    /// The error for a server that lacks what the target may have.
    pub(super) fn lacks(&self, timeline: u32, lsn: Lsn) -> Error {
        let why = match self.ended.iter().find(|&&(ended, _)| ended == timeline) {
            Some((_, end)) => format!(
                "it was promoted when it had timeline {timeline} up to {end}, and the target has changes up to {lsn}"
            ),
            None => format!("its timeline {} does not come from timeline {timeline}", self.current),
        };
        Error::new(ErrorKind::Divergence, "the server that took the source's place lacks what the target has")
            .because(why)
            .help(
                "begin a new task with another --name; name standbys in synchronized_standby_slots, so that none is \
                 behind a task",
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::position::Position;
    use engine_core::transaction::TransactionId;

    fn timelines() -> Timelines {
        let history = "1\t0/3000100\tno recovery target specified\n\n2\t0/5000000\tbefore 2026-01-01\n";
        Timelines::parse(3, history).expect("a history")
    }

    fn position(text: &str) -> LogPosition {
        LogPosition::parse(&Position(text.to_owned())).expect("a position")
    }

    #[test]
    fn a_timeline_is_had_up_to_its_end() {
        let timelines = timelines();
        assert!(timelines.has(1, Lsn(0x300_0100)) && !timelines.has(1, Lsn(0x300_0101)));
        assert!(timelines.has(2, Lsn(0x400_0000)) && !timelines.has(4, Lsn(0)));
        assert!(timelines.has(3, Lsn(u64::MAX)));
        assert_eq!(Timelines::parse(2, "1 nowhere"), None);
    }

    #[test]
    fn a_server_that_lacks_changes_is_refused() {
        let none = TransactionSet::default();
        let timelines = timelines();
        timelines.require(&position("system=7;timeline=1;lsn=0/3000100"), &none).expect("it has them");
        timelines.require(&position("system=7;timeline=3;lsn=0/9000000"), &none).expect("its own");
        timelines.require(&position("system=7;lsn=0/9000000"), &none).expect("nobody knows");
        let error = timelines.require(&position("system=7;timeline=2;lsn=0/5000001"), &none);
        assert_eq!(error.expect_err("it lacks them").kind(), ErrorKind::Divergence);
        let beyond = [TransactionId { origin: "7".into(), number: 0x300_0100 }];
        let error = timelines.require(&position("system=7;timeline=1;lsn=0/1"), &beyond.iter().collect());
        assert!(error.expect_err("it lacks one").to_string().contains("0/3000100"));
    }
}
