//! What of the log is visible.
//!
//! A transaction's commit record is in the log before other sessions see its rows: in between it waits
//! for the disk, and perhaps for a standby. It holds the lock on its own number until it is seen. So
//! everything that is logged before a place is visible to a snapshot in which none of those is in
//! progress that held such a lock after the place was read.

use engine_core::{Error, ErrorKind, Result};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Row};

use super::position::Snapshot;
use crate::failure::translate;
use crate::family::Family;
use crate::replication::lsn::Lsn;

/// How often a place is noted at most.
const INTERVAL: Duration = Duration::from_millis(100);
/// Places that are kept; of more, every other one.
const KEPT: usize = 1024;

/// Places in the log with the numbers from which on transactions can have been on their way then.
#[derive(Debug, Default)]
pub(super) struct Visibility {
    family: Family,
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    at: Option<Instant>,
    /// On which all of them are: a server that was promoted has others at the same places.
    timeline: u32,
    /// In order; each with the first number that no transaction had yet that was in progress.
    places: VecDeque<(Lsn, u64)>,
}

impl Visibility {
    /// Of a server of which nothing is noted yet.
    pub(super) fn of(family: Family) -> Self {
        Self { family, ..Self::default() }
    }

    /// Notes where the log ends now.
    pub(super) async fn note(&self, client: &Client) -> Result<()> {
        {
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            if noted.at.is_some_and(|at| at.elapsed() < INTERVAL) {
                return Ok(());
            }
            noted.at = Some(Instant::now());
        }
        self.keep_to(timeline(client, self.family).await?);
        let end = end_of_log(client, self.family).await?;
        // Of later than the place, or a transaction between the two would be missed.
        self.put(end, first_free(client, self.family).await?);
        Ok(())
    }

    /// Forgets the places of another timeline.
    pub(super) fn keep_to(&self, timeline: u32) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.timeline != timeline {
            *noted = Noted { at: noted.at, timeline, places: VecDeque::new() };
        }
    }

    /// Notes a place before which everything is visible.
    pub(super) fn put_visible(&self, place: Lsn) {
        self.put(place, 0);
    }

    fn put(&self, place: Lsn, first_free: u64) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.places.back().is_some_and(|&(last, _)| last >= place) {
            return;
        }
        noted.places.push_back((place, first_free));
        if noted.places.len() > KEPT {
            let mut keep = false;
            noted.places.retain(|_| {
                keep = !keep;
                keep
            });
        }
    }

    /// The last noted place before which the snapshot has everything; the beginning of the log when none is
    /// known.
    pub(super) fn low(&self, snapshot: &Snapshot) -> Lsn {
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let known = noted.places.iter().rev().find(|&&(_, first_free)| first_free <= snapshot.xmin);
        known.map_or(Lsn(0), |&(place, _)| place)
    }
}

/// Where the log ends, on a primary.
pub(super) async fn end_of_log(client: &Client, family: Family) -> Result<Lsn> {
    let row = client.query_one(family.end_of_log(), &[]).await.map_err(failed)?;
    let end = lsn(row.get(0))?;
    Ok(before_header(end, row.get::<_, i64>(1).cast_unsigned(), row.get::<_, i64>(2).cast_unsigned()))
}

/// The timeline on which the log is written, on a primary.
pub(super) async fn timeline(client: &Client, family: Family) -> Result<u32> {
    let row = client.query_one(family.log_file(), &[]).await.map_err(failed)?;
    let file: &str = row.get(0);
    file.get(..8)
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .ok_or_else(|| Error::new(ErrorKind::Internal, "the source's timeline can't be read").because(file))
}

/// Waits until the log is on disk up to a place: what can be seen before it could be lost otherwise, and
/// other transactions could come in its place.
pub(super) async fn flushed(client: &Client, family: Family, place: Lsn) -> Result<()> {
    loop {
        let row = client.query_one(family.safe_log(), &[]).await.map_err(failed)?;
        if lsn(row.get(0))? >= place {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The first number that no transaction has yet that is in progress, or that is over and not seen by everybody.
async fn first_free(client: &Client, family: Family) -> Result<u64> {
    let query = format!(
        "SELECT {}, ARRAY(SELECT transactionid::text FROM pg_catalog.pg_locks \
         WHERE locktype = 'transactionid' AND granted)",
        family.snapshot()
    );
    let row = client.query_one(&query, &[]).await.map_err(failed)?;
    let snapshot = snapshot_of(&row, family)?;
    let running: Vec<String> = row.get(1);
    let numbers = running.iter().filter_map(|number| number.parse::<u64>().ok());
    let whole = numbers.map(|number| match family {
        Family::PostgreSql => snapshot.with_epoch(number as u32),
        // Its numbers have 64 bits everywhere.
        Family::OpenGauss => number,
    });
    Ok(whole.map(|number| number.saturating_add(1)).fold(snapshot.xmax, u64::max))
}

/// Waits until everybody sees what had begun by now and may be in the log already.
pub(super) async fn until_visible(client: &Client, family: Family) -> Result<()> {
    let first_free = first_free(client, family).await?;
    while snapshot(client, family).await?.xmin < first_free {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// The snapshot of the transaction that `client` is in, or of this moment.
pub(super) async fn snapshot(client: &Client, family: Family) -> Result<Snapshot> {
    let query = format!("SELECT {}", family.snapshot());
    let row = client.query_one(&query, &[]).await.map_err(failed)?;
    snapshot_of(&row, family)
}

fn snapshot_of(row: &Row, family: Family) -> Result<Snapshot> {
    let text: String = row.get(0);
    let snapshot = match family {
        Family::PostgreSql => Snapshot::parse(&text),
        Family::OpenGauss => Snapshot::parse_opengauss(&text),
    };
    snapshot
        .ok_or_else(|| Error::new(ErrorKind::Internal, "the source's snapshot can't be read").because(text))
}

/// Reads a place as the server writes it.
pub(super) fn lsn(text: &str) -> Result<Lsn> {
    text.parse().map_err(|_| {
        Error::new(ErrorKind::Internal, "a place in the source's log can't be read").because(text)
    })
}

/// The end of the last record, where the next one will begin behind the header of a page or segment: the
/// stream only ever says the former.
fn before_header(place: Lsn, segment: u64, page: u64) -> Lsn {
    /// `SizeOfXLogLongPHD`.
    const LONG: u64 = 40;
    /// `SizeOfXLogShortPHD`.
    const SHORT: u64 = 24;
    match place.0 {
        at if segment > 0 && at % segment == LONG => Lsn(at - LONG),
        at if page > 0 && at % page == SHORT => Lsn(at - SHORT),
        _ => place,
    }
}

fn failed(error: tokio_postgres::Error) -> Error {
    translate(error, "the source can't be asked for the end of its log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_before_the_next_ones_header() {
        let (segment, page) = (16 << 20, 8192);
        for (place, expected) in [
            (0x0100_0028, 0x0100_0000),
            (0x0100_2018, 0x0100_2000),
            (0x0100_2028, 0x0100_2028),
            (0x0100_2030, 0x0100_2030),
        ] {
            assert_eq!(before_header(Lsn(place), segment, page), Lsn(expected), "{place:x}");
        }
    }

    #[test]
    fn places_of_another_timeline_are_forgotten() {
        let visibility = Visibility::default();
        let low = || visibility.low(&Snapshot::parse("100:100:").expect("a snapshot"));
        visibility.keep_to(1);
        visibility.put_visible(Lsn(10));
        visibility.keep_to(1);
        assert_eq!(low(), Lsn(10));
        visibility.keep_to(2);
        assert_eq!(low(), Lsn(0));
    }

    #[test]
    fn a_place_counts_once_all_that_was_on_its_way_is_seen() {
        let visibility = Visibility::default();
        let seen = |text| visibility.low(&Snapshot::parse(text).expect("a snapshot"));
        assert_eq!(seen("100:100:"), Lsn(0));
        visibility.put_visible(Lsn(10));
        visibility.put(Lsn(20), 103);
        visibility.put(Lsn(30), 105);
        assert_eq!(seen("100:104:100"), Lsn(10));
        assert_eq!(seen("103:110:103"), Lsn(20));
        assert_eq!(seen("105:105:"), Lsn(30));
    }
}
