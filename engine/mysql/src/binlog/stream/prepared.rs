//! Distributed (XA) transactions: logged when they are prepared, and counting from where they are
//! committed.
//!
//! Until then their rows are kept as they are in the log. A stream that begins again has to see them
//! once more. By sets of GTIDs that is easily said: the position does not have a transaction that is
//! prepared, so the server sends it again, and it alone. Positions of other kinds say besides from
//! where to read again; what else comes there is left out.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use engine_core::{Error, ErrorKind, Result};

use super::super::bytes::Bytes;
use super::super::event::{Header, RowsKind};
use super::super::position::{Begin, LogPosition, Transactions};
use super::super::rows::RowsEvent;
use super::super::tables::Mapped;
use super::super::transaction::TransactionId;
use super::super::wire::malformed;
use super::BinlogChanges;
use super::transaction::holds;

/// Bytes of rows that are kept of transactions that are prepared.
const MOST_BYTES: usize = 256 << 20;

/// A row event for later.
#[derive(Debug, Clone)]
pub(in super::super) struct KeptRows {
    mapped: Arc<Mapped>,
    kind: RowsKind,
    body: Vec<u8>,
}

#[derive(Debug)]
struct Prepared {
    /// What a set in the position does not have yet.
    missing: Option<TransactionId>,
    /// Where a position of another kind has a stream begin.
    begin: Option<Begin>,
    rows: Vec<KeptRows>,
}

/// The transactions that are prepared and not decided, by their names.
#[derive(Debug, Default)]
pub(super) struct Undecided {
    transactions: HashMap<String, Prepared>,
    bytes: usize,
}

impl BinlogChanges {
    /// Where a later stream goes on.
    pub(super) fn position(&self) -> LogPosition {
        let begins = self.undecided.transactions.values().filter_map(|prepared| prepared.begin.as_ref());
        let first = begins.reduce(|first, next| match next.file.compare(&first.file) {
            Some(Ordering::Less) => next,
            _ => first,
        });
        LogPosition { begin: first.cloned(), ..self.reached.clone() }
    }

    /// Whether the stream is beyond where an earlier one got to.
    pub(super) fn is_new(&mut self) -> bool {
        // Positions of the same task can be compared.
        if self.again_until.as_ref().is_some_and(|until| self.reached.covers(until).unwrap_or(false)) {
            self.again_until = None;
        }
        self.again_until.is_none()
    }

    /// Whether an earlier stream had the transaction that this one is in.
    pub(super) fn is_again(&self) -> bool {
        match (&self.again_until, &self.transaction) {
            (Some(until), Some(transaction)) => holds(until, &self.reached, transaction),
            (Some(until), None) => !self.reached.covers(until).unwrap_or(false),
            (None, _) => false,
        }
    }

    /// Whether the rows of the transaction that the stream is in are of no use any more.
    pub(super) fn is_left_out(&self) -> bool {
        self.is_again() && !self.transaction.as_ref().is_some_and(|transaction| transaction.distributed)
    }

    fn has_set(&self) -> bool {
        matches!(self.reached.transactions, Some(Transactions::Set(_)))
    }

    /// Keeps a row event of the transaction that the stream is in.
    pub(super) fn keep(&mut self, mapped: Arc<Mapped>, kind: RowsKind, body: &[u8]) -> Result<()> {
        self.undecided.bytes += body.len();
        if self.undecided.bytes > MOST_BYTES {
            return Err(too_much());
        }
        if let Some(transaction) = &mut self.transaction {
            transaction.kept.push(KeptRows { mapped, kind, body: body.to_vec() });
        }
        Ok(())
    }

    /// The end of a first phase, or of both at once.
    pub(super) fn prepare(&mut self, header: Header, body: &[u8]) -> Result<()> {
        let (at_once, name) = read_prepare(body)?;
        let has_set = self.has_set();
        let before = self.before_transaction();
        let Some(transaction) = &mut self.transaction else {
            return Err(malformed("a distributed transaction is prepared that did not begin"));
        };
        let rows = std::mem::take(&mut transaction.kept);
        if at_once {
            self.take(rows)?;
            return self.end_after(header);
        }
        let missing = has_set.then(|| std::mem::replace(&mut transaction.id, TransactionId::Anonymous));
        let begin = before.file.filter(|_| !has_set).map(|file| Begin {
            file,
            state: match before.transactions {
                Some(Transactions::State(state)) => Some(state),
                _ => None,
            },
        });
        if self.undecided.transactions.insert(name, Prepared { missing, begin, rows }).is_some() {
            return Err(malformed("a distributed transaction is prepared twice"));
        }
        self.end_after(header)
    }

    /// `XA COMMIT` or `XA ROLLBACK`.
    pub(super) fn decide(&mut self, header: Header, statement: &str, commit: bool) -> Result<()> {
        let name = statement.split_whitespace().nth(2).unwrap_or_default().to_ascii_lowercase();
        let again = self.is_again();
        match self.undecided.transactions.remove(&name) {
            Some(Prepared { missing, rows, .. }) => {
                if commit && !again {
                    self.take(rows)?;
                } else {
                    self.undecided.bytes -= rows.iter().map(|rows| rows.body.len()).sum::<usize>();
                }
                if let (Some(id), Some(transactions)) = (missing, &mut self.reached.transactions) {
                    id.add_to(transactions);
                }
            }
            None if commit && !again => {
                return Err(Error::new(
                    ErrorKind::Divergence,
                    "a distributed (XA) transaction was committed that had been prepared before the task began",
                )
                .at("transaction", name)
                .because("its changes were logged when it was prepared, and were not visible to the copy")
                .help("start a new task at a moment when XA RECOVER shows none on the source"));
            }
            None => {}
        }
        self.end_after(header)
    }

    /// Takes rows that were kept into the set, as those of the transaction that the stream is in.
    fn take(&mut self, rows: Vec<KeptRows>) -> Result<()> {
        for kept in rows {
            self.undecided.bytes -= kept.body.len();
            self.take_rows(&kept.mapped, &RowsEvent::read(&kept.body, kept.kind)?, kept.kind)?;
        }
        Ok(())
    }
}

/// Whether the event prepares and commits at once, and the transaction's name as statements of the
/// log have it: `x'6767',x'62',1`, lower case.
///
/// The event is a byte, three numbers of four bytes (format, and the lengths of two parts), and the
/// parts.
fn read_prepare(body: &[u8]) -> Result<(bool, String)> {
    let mut input = Bytes::new(body);
    let at_once = input.u8()? != 0;
    let format = input.little_endian(4)? as u32 as i32;
    let global = input.little_endian(4)? as usize;
    let branch = input.little_endian(4)? as usize;
    let hexadecimal = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    };
    let (global, branch) = (hexadecimal(input.take(global)?), hexadecimal(input.take(branch)?));
    Ok((at_once, format!("x'{global}',x'{branch}',{format}")))
}

fn too_much() -> Error {
    Error::new(ErrorKind::Precondition, "distributed (XA) transactions stay prepared for too long")
        .because(format!("what has to be kept until they are decided is more than {} MiB", MOST_BYTES >> 20))
        .help(
            "commit or roll back those that XA RECOVER shows on the source, then run the same command again",
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_reads_as_statements_have_it() {
        let body = [&[0, 7, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0], &b"\x61\xffb"[..]].concat();
        assert_eq!(read_prepare(&body).expect("a name"), (false, "x'61ff',x'62',7".to_owned()));
        let body = [1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(read_prepare(&body).expect("a name"), (true, "x'',x'',-1".to_owned()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(body: Vec<u8>) {
            let _ = read_prepare(&body);
        }
    }
}
