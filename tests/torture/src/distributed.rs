//! Distributed (XA) transactions: those that one connection ends at once, and those that stay prepared for a while,
//! over the end of their connection or of the source.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, Row};

use crate::changes::FORGET;
use crate::writers::change;

/// Longest wait for a connection that is gone to give up its transaction.
const LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// There is nothing to decide: the server does not know the transaction, or not yet that its connection is gone; and
/// `MariaDB` rolls back what changed nothing when its connection ends.
const NOTHING_TO_DECIDE: [u16; 2] = [1397, 1402];
/// A transaction that can only be rolled back: `MariaDB`'s word for it, for itself, for a timeout, for a deadlock.
const TO_BE_ROLLED_BACK: [u16; 4] = [1399, 1402, 1613, 1614];

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// At once, without having been prepared.
    OnePhase,
    /// It is prepared, and decided so many pauses later.
    AfterPauses(u32),
    /// It is prepared, its connection ends, and another one decides.
    Elsewhere,
}

/// A distributed transaction.
#[derive(Debug)]
pub(crate) struct Distributed {
    name: String,
    commit: bool,
    end: End,
}

impl Distributed {
    /// The writer's transaction of this number. The name says how it has to be decided, whoever does it: a decision whose
    /// answer was lost may be in the log.
    pub(crate) fn new(writer: u64, number: u64, commit: bool, end: End) -> Self {
        Self { name: format!("{}{number}", prefix(writer, commit)), commit, end }
    }

    /// Runs the statements; answers the number of changed rows if they are committed or to be committed, and the
    /// connection unless it had to end.
    pub(crate) async fn run(
        self,
        mut connection: Conn,
        statements: &[String],
        pause: Duration,
    ) -> Result<(Option<u64>, Option<Conn>)> {
        let name = &self.name;
        connection.query_drop(FORGET).await?;
        connection.query_drop(format!("XA START '{name}'")).await?;
        let changes = change(&mut connection, statements).await?;
        let ended = tolerating(&TO_BE_ROLLED_BACK, connection.query_drop(format!("XA END '{name}'")).await)?;
        if changes.is_none() || !ended || (self.end == End::OnePhase && !self.commit) {
            decide(&mut connection, name, "ROLLBACK").await?;
            return Ok((None, Some(connection)));
        }
        match self.end {
            End::OnePhase => connection.query_drop(format!("XA COMMIT '{name}' ONE PHASE")).await?,
            End::AfterPauses(pauses) => {
                connection.query_drop(format!("XA PREPARE '{name}'")).await?;
                tokio::time::sleep(pause * pauses).await;
                decide(&mut connection, name, decision(self.commit)).await?;
            }
            End::Elsewhere => {
                connection.query_drop(format!("XA PREPARE '{name}'")).await?;
                connection.disconnect().await?;
                return Ok((changes.filter(|_| self.commit), None));
            }
        }
        Ok((changes.filter(|_| self.commit), Some(connection)))
    }
}

/// Decides the transactions of a writer that are still prepared, until there are none.
pub(crate) async fn settle(connection: &mut Conn, writer: u64) -> Result<()> {
    let begin = Instant::now();
    while decide_prepared(connection, writer).await? {
        ensure!(begin.elapsed() < LIMIT, "transactions stay prepared for more than {LIMIT:?}");
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Whether there were any.
async fn decide_prepared(connection: &mut Conn, writer: u64) -> Result<bool> {
    let prepared: Vec<Row> = connection.query("XA RECOVER").await?;
    let mut any = false;
    for row in prepared {
        let name: String = row.get("data").context("a transaction without a name")?;
        for commit in [true, false] {
            if name.starts_with(&prefix(writer, commit)) {
                decide(connection, &name, decision(commit)).await?;
                any = true;
            }
        }
    }
    Ok(any)
}

const fn decision(commit: bool) -> &'static str {
    if commit { "COMMIT" } else { "ROLLBACK" }
}

fn prefix(writer: u64, commit: bool) -> String {
    format!("{}-{}-", decision(commit).to_ascii_lowercase(), writer)
}

async fn decide(connection: &mut Conn, name: &str, decision: &str) -> Result<()> {
    let decided = connection.query_drop(format!("XA {decision} '{name}'")).await;
    tolerating(&NOTHING_TO_DECIDE, decided).map(drop).with_context(|| format!("XA {decision} '{name}'"))
}

/// Whether it succeeded; some errors are answers too.
fn tolerating(errors: &[u16], result: Result<(), Error>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(Error::Server(error)) if errors.contains(&error.code) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
