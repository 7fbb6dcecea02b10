//! Which transactions a snapshot sees, by the numbers of commits.
//!
//! openGauss numbers commits, and a snapshot is the number that the next one gets. The server behind has lists of
//! transactions in progress instead. Of two of its snapshots, one sees all that the other does; how many numbers below its
//! end are no longer in progress tells which, and is taken for the snapshot's number. A commit's number is that of the
//! last snapshot which does not see it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::catalog::SNAPSHOT;

/// The snapshots that were told to clients.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    taken: Mutex<Vec<Taken>>,
    /// So many may have been taken and are not among them yet.
    expected: AtomicUsize,
}

#[derive(Debug)]
struct Taken {
    xmax: u64,
    in_progress: Vec<u64>,
    number: u64,
}

impl Taken {
    fn sees(&self, transaction: u64) -> bool {
        transaction < self.xmax && !self.in_progress.contains(&transaction)
    }
}

impl Snapshots {
    /// Says that a snapshot may be taken from now on.
    pub(super) fn expect(&self) {
        self.expected.fetch_add(1, Ordering::SeqCst);
    }

    /// Says that it has been told, or was none.
    pub(super) fn settle(&self) {
        self.expected.fetch_sub(1, Ordering::SeqCst);
    }

    /// Makes a value of the server behind that of openGauss: the binary form of a snapshot, in hexadecimal digits.
    pub(super) fn told(&self, value: &[u8]) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(value).ok()?.strip_prefix(SNAPSHOT)?;
        let mut parts = text.split(':');
        let (xmin, xmax): (u64, u64) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let listed = parts.next()?.split(',').filter(|number| !number.is_empty());
        let in_progress: Vec<u64> = listed.map(|number| number.parse().ok()).collect::<Option<_>>()?;
        let number = xmax - in_progress.len() as u64;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.iter().all(|other| other.number != number) {
            taken.push(Taken { xmax, in_progress, number });
        }
        Some(format!("00000000{xmin:016x}{xmax:016x}{number:016x}").into_bytes())
    }

    /// The number of the commit of a transaction that everybody sees by now.
    pub(super) async fn number_of(&self, transaction: u64) -> u64 {
        while self.expected.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let before = taken.iter().filter(|snapshot| !snapshot.sees(transaction));
        before.map(|snapshot| snapshot.number).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_commit_is_before_every_snapshot_that_sees_it() {
        let snapshots = Snapshots::default();
        let number = |text: &str| {
            let told = snapshots.told(format!("{SNAPSHOT}{text}").as_bytes()).expect("a snapshot");
            u64::from_str_radix(std::str::from_utf8(&told[40..]).expect("digits"), 16).expect("a number")
        };
        let (early, between, late) = (number("10:13:10,12"), number("12:13:12"), number("13:13:"));
        assert!(early < between && between < late);
        let (ten, eleven, twelve) =
            (snapshots.number_of(10).await, snapshots.number_of(11).await, snapshots.number_of(12).await);
        assert!(eleven < early);
        assert!((early..between).contains(&ten), "{ten}");
        assert!((between..late).contains(&twelve), "{twelve}");
        assert_eq!(snapshots.told(b"something else"), None);
    }
}
