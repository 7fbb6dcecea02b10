//! Places in a server's write-ahead log.
//!
//! As text: `system=7301…;timeline=1;slot=engine_shop_1f2e3d4c;lsn=16/B374D848`, and for what a snapshot has beside
//! what was logged before a place, `;snapshot=xmin:xmax:xip,…` in the words of `pg_current_snapshot()`. openGauss sees by
//! the order of commits: `;snapshot=xmin:xmax::csn`. `;begun=true` says that of the transaction whose commit is logged
//! there, what goes before its rows is done.

use engine_core::position::Position;
use engine_core::transaction::TransactionId;
use engine_core::{Error, ErrorKind, Result};
use std::fmt;
use std::sync::Arc;

use crate::replication::fields::Fields;
use crate::replication::lsn::Lsn;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogPosition {
    /// `system_identifier` of the cluster, which its standbys share.
    pub(crate) system: Arc<str>,
    /// The timeline on which the log was written up to there, where it is known.
    pub(crate) timeline: Option<u32>,
    /// The slot by which the log is kept from there on; of a place where a task can begin or go on.
    pub(crate) slot: Option<Arc<str>>,
    /// Transactions whose commit record begins before it are in.
    pub(crate) lsn: Lsn,
    /// If there is one: of those after it, the ones that it sees.
    pub(crate) snapshot: Option<Snapshot>,
    /// Of the transaction whose commit record begins there, the tables that it empties are emptied already.
    pub(crate) is_begun: bool,
}

/// Which transactions were over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// All before it were.
    pub(crate) xmin: u64,
    /// It and all after it were not.
    pub(crate) xmax: u64,
    /// Of those between, these were not; sorted.
    pub(crate) in_progress: Vec<u64>,
    /// In openGauss: those were whose commit has a lower number. What is in progress isn't told then.
    pub(crate) csn: Option<u64>,
}

/// The numbers of a transaction in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// Its own, without the epoch.
    pub(crate) xid: u32,
    /// That of its commit, in openGauss.
    pub(crate) csn: Option<u64>,
}

impl LogPosition {
    /// Reads the text; an error for what another kind of source wrote.
    pub(crate) fn parse(position: &Position) -> Result<Self> {
        let damaged = || {
            Error::new(ErrorKind::State, "a position of the source's log can't be read")
                .at("position", position)
                .because("it is damaged, or was written for another kind of source")
                .help("begin a new task with another --name")
        };
        let (mut system, mut timeline, mut slot, mut lsn, mut snapshot) = (None, None, None, None, None);
        let mut is_begun = false;
        for part in position.0.split(';') {
            match part.split_once('=').ok_or_else(damaged)? {
                ("system", text) => system = Some(Arc::from(text)),
                ("timeline", text) => timeline = Some(text.parse().map_err(|_| damaged())?),
                ("slot", text) => slot = Some(Arc::from(text)),
                ("lsn", text) => lsn = Some(text.parse().map_err(|_| damaged())?),
                ("begun", "true") => is_begun = true,
                ("snapshot", text) => snapshot = Some(Snapshot::parse(text).ok_or_else(damaged)?),
                _ => return Err(damaged()),
            }
        }
        let (system, lsn) = (system.ok_or_else(damaged)?, lsn.ok_or_else(damaged)?);
        Ok(Self { system, timeline, slot, lsn, snapshot, is_begun })
    }

    /// Whether everything logged before `wanted` is logged before this one.
    pub(crate) fn covers(&self, wanted: &Self) -> Result<bool> {
        self.same_system(&wanted.system)?;
        Ok(self.lsn >= wanted.lsn)
    }

    /// Whether the commit of the transaction is logged before this place.
    pub(crate) fn holds(&self, transaction: &TransactionId) -> bool {
        *transaction.origin == *self.system && transaction.number < self.lsn.0
    }

    /// An error where `system` is another server's.
    pub(crate) fn same_system(&self, system: &str) -> Result<()> {
        if *self.system == *system {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Divergence, "the source is not the server that the task was begun with")
            .because(format!("its system identifier is {system}, the task's is {}", self.system))
            .help("give the URL of that server or of a standby that was promoted in its place; otherwise begin a new task"))
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "system={};", self.system)?;
        if let Some(timeline) = self.timeline {
            write!(f, "timeline={timeline};")?;
        }
        if let Some(slot) = &self.slot {
            write!(f, "slot={slot};")?;
        }
        write!(f, "lsn={}", self.lsn)?;
        if self.is_begun {
            f.write_str(";begun=true")?;
        }
        match &self.snapshot {
            Some(snapshot) => write!(f, ";snapshot={snapshot}"),
            None => Ok(()),
        }
    }
}

impl From<&LogPosition> for Position {
    fn from(position: &LogPosition) -> Self {
        Self(position.to_string())
    }
}

impl Snapshot {
    /// Reads what `pg_current_snapshot()` says.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (xmin, xmax, listed) = (parts.next()?, parts.next()?, parts.next()?);
        let mut in_progress = match listed {
            "" => Vec::new(),
            listed => listed.split(',').map(|number| number.parse().ok()).collect::<Option<Vec<u64>>>()?,
        };
        in_progress.sort_unstable();
        let (xmin, xmax): (u64, u64) = (xmin.parse().ok()?, xmax.parse().ok()?);
        // The snapshot of a slot can have its ends the other way round; what is before the first is seen then
        // (`XidInMVCCSnapshot`).
        let csn = match parts.next() {
            None => None,
            Some(number) => Some(number.parse().ok()?),
        };
        let snapshot = Self { xmin, xmax: xmax.max(xmin), in_progress, csn };
        parts.next().is_none().then_some(snapshot)
    }

    /// Reads the binary form of openGauss's `txid_snapshot`, in hexadecimal digits: how many transactions are listed,
    /// which is always none, the two ends, the number that the next commit gets, and the list.
    pub(crate) fn parse_opengauss(digits: &str) -> Option<Self> {
        let bytes = hex::decode(digits).ok()?;
        let mut fields = Fields::new(&bytes);
        let listed = fields.u32().ok()?;
        let (xmin, xmax, csn) = (fields.u64().ok()?, fields.u64().ok()?, fields.u64().ok()?);
        (listed == 0 && fields.is_empty()).then_some(Self {
            xmin,
            xmax: xmax.max(xmin),
            in_progress: Vec::new(),
            csn: Some(csn),
        })
    }

    /// Whether a transaction that the stream has as committed was so already.
    pub(crate) fn has(&self, transaction: Numbers) -> bool {
        match self.csn {
            None => self.sees_wrapped(transaction.xid),
            Some(next) => transaction.csn.is_some_and(|csn| csn < next),
        }
    }

    /// Whether a transaction that was committed sooner or later was so already.
    pub(crate) fn sees(&self, transaction: u64) -> bool {
        transaction < self.xmin
            || (transaction < self.xmax && self.in_progress.binary_search(&transaction).is_err())
    }

    /// As [`sees`](Self::sees), of a number without its epoch, as the log has it: numbers in use are never
    /// further apart than half of their range.
    fn sees_wrapped(&self, transaction: u32) -> bool {
        self.sees(self.with_epoch(transaction))
    }

    /// The whole number of a transaction that the server knows by its lower half.
    pub(crate) fn with_epoch(&self, transaction: u32) -> u64 {
        let distance = transaction.wrapping_sub(self.xmax as u32).cast_signed();
        self.xmax.saturating_add_signed(i64::from(distance))
    }

    /// Whether everything that `other` sees is seen.
    pub(crate) fn sees_all_of(&self, other: &Self) -> bool {
        self.xmin >= other.xmax
            || (self.xmax >= other.xmax
                && self.in_progress.iter().all(|&transaction| !other.sees(transaction)))
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.xmin, self.xmax)?;
        for (place, transaction) in self.in_progress.iter().enumerate() {
            write!(f, "{}{transaction}", if place > 0 { "," } else { "" })?;
        }
        match self.csn {
            Some(csn) => write!(f, ":{csn}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn snapshot(text: &str) -> Snapshot {
        Snapshot::parse(text).expect("a snapshot")
    }

    #[test]
    fn sees_what_was_committed() {
        let seen = snapshot("100:105:101,103");
        let all: Vec<u64> = (98..107).filter(|&number| seen.sees(number)).collect();
        assert_eq!(all, [98, 99, 100, 102, 104]);
        let seen = snapshot("103:100:");
        assert!(seen.sees(102) && !seen.sees(103));
    }

    #[test]
    fn numbers_of_the_log_have_no_epoch() {
        let epoch = 7 << 32;
        let seen =
            Snapshot { xmin: epoch - 2, xmax: epoch + 3, in_progress: vec![epoch - 1, epoch + 1], csn: None };
        let numbers = [u32::MAX - 1, u32::MAX, 0, 1, 2, 3, 4];
        let expected = [true, false, true, false, true, false, false];
        assert_eq!(numbers.map(|number| seen.sees_wrapped(number)), expected);
    }

    #[test]
    fn a_later_snapshot_may_still_lack_a_commit() {
        let logged = snapshot("100:105:103");
        assert!(snapshot("105:105:").sees_all_of(&logged));
        assert!(snapshot("103:107:103,106").sees_all_of(&logged));
        assert!(!snapshot("104:107:104").sees_all_of(&logged));
        assert!(!snapshot("100:104:103").sees_all_of(&logged));
    }

    #[test]
    fn opengauss_sees_by_the_order_of_commits() {
        let sent = "00000000000000000000006400000000000000690000000000000009";
        let seen = Snapshot::parse_opengauss(sent).expect("a snapshot");
        assert_eq!(seen, snapshot("100:105::9"));
        // The numbers of the transactions themselves mean nothing.
        let numbers = |xid, csn| Numbers { xid, csn };
        assert!(seen.has(numbers(200, Some(8))) && !seen.has(numbers(90, Some(9))));
        assert!(!seen.has(numbers(90, None)));
        assert!(snapshot("100:105:101").has(numbers(102, None)));
        assert_eq!(Snapshot::parse_opengauss(&sent[8..]), None);
        assert_eq!(Snapshot::parse_opengauss("00000001"), None);
    }

    #[test]
    fn another_cluster_is_noticed() {
        let position = |text: &str| LogPosition::parse(&Position(text.to_owned()));
        let here = position("system=7;lsn=1/2").expect("a position");
        assert!(here.covers(&position("system=7;lsn=0/FFFFFFFF").expect("a position")).expect("the same"));
        let error = here.covers(&position("system=8;lsn=0/1").expect("a position")).expect_err("another");
        assert_eq!(error.kind(), ErrorKind::Divergence);
        assert!(position("file=a;offset=4").is_err());
    }

    proptest! {
        #[test]
        fn text_and_back(lsn in any::<u64>(), xmin in 0..u64::MAX / 2, further in proptest::collection::btree_set(1..1000_u64, 0..8), is_exact: bool, is_numbered: bool) {
            let snapshot = Snapshot {
                xmin,
                xmax: xmin + 1001,
                in_progress: further.into_iter().map(|distance| xmin + distance).collect(),
                csn: is_numbered.then_some(xmin + 7),
            };
            let slot = is_exact.then(|| "engine_a".into());
            let timeline = is_exact.then_some(2);
            let position = LogPosition { system: "73".into(), timeline, slot, lsn: Lsn(lsn), snapshot: is_exact.then_some(snapshot), is_begun: is_exact };
            prop_assert_eq!(LogPosition::parse(&Position::from(&position)).expect("its own text"), position);
        }

        #[test]
        fn any_text_is_survived(text in ".*") {
            let _ = LogPosition::parse(&Position(text));
        }
    }
}
