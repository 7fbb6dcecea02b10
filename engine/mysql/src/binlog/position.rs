//! A place in the change stream of a MySQL or MariaDB server, as text and in comparison.

use engine_core::position::Position;
use engine_core::transaction::TransactionId;
use engine_core::{Error, ErrorKind, Result};
use std::cmp::Ordering;
use std::fmt;

use super::gtid::{GtidSet, GtidState, Origin};

/// A byte offset in a binary log file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FilePosition {
    /// `binlog.000003`
    pub(crate) file: String,
    /// Offset at which the next event begins.
    pub(crate) offset: u64,
}

impl FilePosition {
    /// The order of the log. `None` when the files are not of one sequence.
    pub(crate) fn compare(&self, other: &Self) -> Option<Ordering> {
        let (name, number) = split_file(&self.file)?;
        let (other_name, other_number) = split_file(&other.file)?;
        (name == other_name).then(|| number.cmp(&other_number).then(self.offset.cmp(&other.offset)))
    }
}

impl FilePosition {
    /// Moves to the offset at or after this one whose lower 32 bits are `low`: that is all an
    /// event's header has of it, while a file can be longer.
    pub(crate) fn advance(&mut self, low: u32) {
        let same = self.offset & !u64::from(u32::MAX) | u64::from(low);
        // A little back is an event repeated for this connection; far back is beyond the next
        // four gigabytes.
        if same >= self.offset {
            self.offset = same;
        } else if self.offset - same >= 1 << 31 {
            self.offset = same + (1 << 32);
        }
    }
}

/// Base name and number of a log file. Numbers compare as numbers: 1000000 follows 999999.
fn split_file(file: &str) -> Option<(&str, u64)> {
    let (name, number) = file.rsplit_once('.')?;
    Some((name, number.parse().ok()?))
}

/// Transactions known by identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Transactions {
    /// MySQL.
    Set(GtidSet),
    /// MariaDB.
    State(GtidState),
}

impl Transactions {
    /// Whether all of `other` is in it; `None` when they are of different kinds.
    fn contains_all(&self, other: &Self) -> Option<bool> {
        match (self, other) {
            (Self::Set(mine), Self::Set(theirs)) => Some(mine.contains_all(theirs)),
            (Self::State(mine), Self::State(theirs)) => Some(mine.contains_all(theirs)),
            _ => None,
        }
    }
}

/// What a [`Position`] of this connector says: a place in the log files of one server, the
/// transactions before it, or both.
///
/// As text: `server=<identity>;file=binlog.000003:1234;gtid=<set>`, `mariadb=<state>` instead of
/// `gtid` on MariaDB; parts that are not known are left out. Then, if a stream has to begin earlier,
/// `begin=binlog.000003:500` and on MariaDB `begin-mariadb=<state>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogPosition {
    /// The server whose files are meant: its UUID (MySQL) or number (MariaDB).
    pub(crate) server: String,
    /// The place in its files.
    pub(crate) file: Option<FilePosition>,
    /// The transactions.
    pub(crate) transactions: Option<Transactions>,
    /// Where a stream from here begins to read, if not here: before a transaction that is prepared and
    /// not decided.
    pub(crate) begin: Option<Begin>,
}

/// A place before the position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Begin {
    /// In the files of the same server.
    pub(crate) file: FilePosition,
    /// MariaDB's state there.
    pub(crate) state: Option<GtidState>,
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "server={}", self.server)?;
        if let Some(place) = &self.file {
            write!(f, ";file={}:{}", place.file, place.offset)?;
        }
        match &self.transactions {
            Some(Transactions::Set(set)) => write!(f, ";gtid={set}")?,
            Some(Transactions::State(state)) => write!(f, ";mariadb={state}")?,
            None => {}
        }
        if let Some(Begin { file: place, state }) = &self.begin {
            write!(f, ";begin={}:{}", place.file, place.offset)?;
            if let Some(state) = state {
                write!(f, ";begin-mariadb={state}")?;
            }
        }
        Ok(())
    }
}

impl From<&LogPosition> for Position {
    fn from(position: &LogPosition) -> Self {
        Self(position.to_string())
    }
}

impl LogPosition {
    /// Reads the text of a position.
    pub(crate) fn parse(position: &Position) -> Result<Self> {
        Self::read(&position.0).ok_or_else(|| {
            Error::new(ErrorKind::State, "a recorded position of the source can't be read")
                .at("position", position)
                .help("the task's records are damaged or belong to another kind of source")
        })
    }

    fn read(text: &str) -> Option<Self> {
        let mut position = Self { server: String::new(), file: None, transactions: None, begin: None };
        let place = |text: &str| {
            let (file, offset) = text.rsplit_once(':')?;
            split_file(file)?;
            Some(FilePosition { file: file.to_owned(), offset: offset.parse().ok()? })
        };
        for field in text.split(';') {
            match field.split_once('=')? {
                ("server", server) => server.clone_into(&mut position.server),
                ("file", text) => position.file = Some(place(text)?),
                ("begin", text) => position.begin = Some(Begin { file: place(text)?, state: None }),
                ("begin-mariadb", state) => {
                    position.begin.as_mut()?.state = Some(GtidState::parse(state)?);
                }
                ("gtid", set) => position.transactions = Some(Transactions::Set(GtidSet::parse(set)?)),
                ("mariadb", state) => {
                    position.transactions = Some(Transactions::State(GtidState::parse(state)?));
                }
                _ => return None,
            }
        }
        (position.file.is_some() || position.transactions.is_some()).then_some(position)
    }

    /// Where a stream from here begins to read.
    pub(crate) fn beginning(&self) -> Self {
        let Some(Begin { file, state }) = &self.begin else { return self.clone() };
        let transactions = state.clone().map(Transactions::State);
        Self { server: self.server.clone(), file: Some(file.clone()), transactions, begin: None }
    }

    /// The position as one of `server`, whose log files are others than those of the server that it was taken
    /// from: known by its transactions alone.
    pub(crate) fn on(mut self, server: String) -> Self {
        if self.server != server && self.transactions.is_some() {
            (self.server, self.file, self.begin) = (server, None, None);
        }
        self
    }

    /// The same, at `place` of the log if that is further on. A stream that the server begins by transactions is
    /// at first where their file begins, though everything before the place is there.
    pub(crate) fn not_before(mut self, place: &FilePosition) -> Self {
        if let Some(own) = &mut self.file
            && own.compare(place) == Some(Ordering::Less)
        {
            own.clone_from(place);
        }
        self
    }

    /// Whether it holds the transaction of that [name](super::transaction::TransactionId::name).
    pub(crate) fn holds(&self, transaction: &TransactionId) -> bool {
        let by_identifier = match &self.transactions {
            Some(Transactions::Set(set)) => {
                Origin::parse(&transaction.origin).map(|origin| set.contains(&origin, transaction.number))
            }
            Some(Transactions::State(state)) => {
                let domain = transaction.origin.split_once('-').and_then(|(domain, _)| domain.parse().ok());
                domain.map(|domain| state.contains(domain, transaction.number))
            }
            None => None,
        };
        by_identifier.unwrap_or_else(|| {
            let begin = FilePosition { file: transaction.origin.to_string(), offset: transaction.number };
            self.file.as_ref().is_some_and(|place| begin.compare(place) == Some(Ordering::Less))
        })
    }

    /// Whether a stream that reached `self` has delivered everything in `wanted`: by place in the
    /// log where both are of one server, else by transaction.
    ///
    /// A stream that has no place yet, because it has only just been asked to begin after a set of
    /// transactions, has not reached a place. Positions that share nothing are an error.
    pub(crate) fn covers(&self, wanted: &Self) -> Result<bool> {
        let same_server = self.server == wanted.server;
        if same_server
            && let (Some(mine), Some(theirs)) = (&self.file, &wanted.file)
            && let Some(order) = mine.compare(theirs)
        {
            // A stream that MariaDB begins at a GTID is at first where its file begins.
            let has_all = match (&self.transactions, &wanted.transactions) {
                (Some(mine @ Transactions::State(_)), Some(theirs @ Transactions::State(_))) => {
                    mine.contains_all(theirs) == Some(true)
                }
                _ => false,
            };
            return Ok(order != Ordering::Less || has_all);
        }
        if let (Some(mine), Some(theirs)) = (&self.transactions, &wanted.transactions)
            && let Some(contains) = mine.contains_all(theirs)
        {
            return Ok(contains);
        }
        if same_server && self.file.is_none() {
            return Ok(false);
        }
        Err(Error::new(ErrorKind::Divergence, "two positions of the source can't be compared")
            .at("reached", self)
            .at("wanted", wanted)
            .because("they are of different servers and have no transaction identifiers in common")
            .help("go on with the server that the task began with, or turn on GTIDs and start a new task"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SET: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5";

    fn position(text: &str) -> LogPosition {
        LogPosition::parse(&Position(text.to_owned())).expect("a position")
    }

    #[test]
    fn a_place_in_the_log_does_not_go_back() {
        let begun = FilePosition { file: "b.000002".to_owned(), offset: 900 };
        for (place, expected) in [
            ("b.000002:4", "b.000002:900"),
            ("b.000001:5000", "b.000002:900"),
            ("b.000002:901", "b.000002:901"),
            ("b.000003:4", "b.000003:4"),
            ("other.000001:4", "other.000001:4"),
        ] {
            let at = |place: &str| position(&format!("server=7;file={place};gtid={SET}"));
            assert_eq!(at(place).not_before(&begun), at(expected), "{place}");
        }
    }

    #[test]
    fn what_mariadb_has_by_its_gtids_it_has_wherever_in_a_file_it_is() {
        let covers = |mine: &str, theirs: &str| position(mine).covers(&position(theirs)).expect("comparable");
        let wanted = "server=7;file=b.000001:2000;mariadb=0-7-8";
        assert!(covers("server=7;file=b.000001:325;mariadb=0-7-8", wanted));
        assert!(!covers("server=7;file=b.000001:325;mariadb=0-7-7", wanted));
        assert!(covers("server=7;file=b.000001:2000;mariadb=0-7-7", wanted));
        let logged = format!("server=s;file=b.000001:2000;gtid={SET}");
        assert!(!covers(&format!("server=s;file=b.000001:325;gtid={SET}"), &logged));
    }

    #[test]
    fn a_place_in_the_files_of_one_server_is_none_in_those_of_another() {
        let moved = |text: &str| position(text).on("r".to_owned()).to_string();
        assert_eq!(
            moved(&format!("server=s;file=binlog.000003:4;gtid={SET}")),
            format!("server=r;gtid={SET}")
        );
        let same = format!("server=r;file=binlog.000003:4;gtid={SET}");
        assert_eq!(moved(&same), same);
        assert_eq!(moved("server=s;file=binlog.000003:4"), "server=s;file=binlog.000003:4");
    }

    #[test]
    fn text_round_trips() {
        for text in [
            "server=s;file=binlog.000003:1234".to_owned(),
            format!("server=s;gtid={SET}"),
            format!("server=s;file=a.b.000003:4;gtid={SET}"),
            "server=7;file=mariadb-bin.000001:330;mariadb=0-1-5,3-1-9".to_owned(),
            "server=s;file=binlog.000003:1234;begin=binlog.000002:99".to_owned(),
            "server=7;file=b.000001:330;mariadb=0-1-5;begin=b.000001:300;begin-mariadb=0-1-4".to_owned(),
            "server=7;mariadb=".to_owned(),
        ] {
            assert_eq!(position(&text).to_string(), text);
        }
        for text in ["", "server=s", "server=s;file=binlog:4", "server=s;file=b.1:x", "server=s;gtid=x;odd=1"]
        {
            assert!(LogPosition::parse(&Position(text.to_owned())).is_err(), "{text}");
        }
    }

    #[test]
    fn offsets_beyond_four_gigabytes() {
        for (from, low, expected) in [
            (100, 200, 200),
            (200, 100, 200),
            (u64::from(u32::MAX) - 5, 10, (1 << 32) + 10),
            ((1 << 32) + 10, 400, (1 << 32) + 400),
            ((7 << 32) + 10, 10, (7 << 32) + 10),
        ] {
            let mut place = FilePosition { file: "binlog.000001".to_owned(), offset: from };
            place.advance(low);
            assert_eq!(place.offset, expected);
        }
    }

    #[test]
    fn files_compare_by_number() {
        let reached = position("server=s;file=binlog.1000000:4");
        assert!(reached.covers(&position("server=s;file=binlog.999999:900")).expect("comparable"));
        assert!(!position("server=s;file=binlog.000002:4").covers(&reached).expect("comparable"));
        assert!(reached.covers(&reached).expect("comparable"));
    }

    #[test]
    fn other_servers_compare_by_transaction() {
        let reached = position(&format!("server=other;file=binlog.000001:9;gtid={SET}"));
        let wanted = position(&format!("server=s;file=binlog.000009:9;gtid={SET}"));
        assert!(reached.covers(&wanted).expect("comparable"));
        assert!(reached.covers(&position("server=s;file=binlog.000009:9")).is_err());
    }

    #[test]
    fn a_place_alone_compares_with_a_stream_of_its_server() {
        let chunk = position("server=7;file=mariadb-bin.000002:900");
        let reached = |place: &str| position(&format!("server=7;file={place};mariadb=0-7-12"));
        assert!(reached("mariadb-bin.000002:900").covers(&chunk).expect("comparable"));
        assert!(!reached("mariadb-bin.000001:9000").covers(&chunk).expect("comparable"));
        assert!(chunk.covers(&reached("mariadb-bin.000001:9000")).expect("comparable"));
        assert!(position("server=8;file=mariadb-bin.000009:4;mariadb=0-7-12").covers(&chunk).is_err());
    }

    #[test]
    fn a_stream_without_a_place_has_not_reached_one() {
        let begun = position(&format!("server=s;gtid={SET}"));
        assert!(!begun.covers(&position("server=s;file=binlog.000001:4")).expect("comparable"));
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(server|file|gtid|mariadb|=|;|:|[0-9.]|\\PC)*") {
            if let Some(position) = LogPosition::read(&text) {
                prop_assert_eq!(LogPosition::read(&position.to_string()), Some(position));
            }
        }
    }
}
