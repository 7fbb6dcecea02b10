//! Where transactions begin and end.

use engine_core::Result;

use super::super::event::{EventKind, Header, MariaDbGtid, MySqlGtid};
use super::super::position::{FilePosition, LogPosition};
use super::super::transaction::{Transaction, TransactionId};
use super::super::wire::malformed;
use super::BinlogChanges;

impl BinlogChanges {
    pub(super) fn begin_mysql(&mut self, gtid: MySqlGtid, kind: EventKind) -> Result<()> {
        self.end_by_next()?;
        let id = match kind {
            EventKind::AnonymousGtid => TransactionId::Anonymous,
            _ => TransactionId::MySql(gtid.origin, gtid.number),
        };
        self.transaction = Some(Transaction { committed_at: gtid.committed_at, ..self.new_transaction(id) });
        Ok(())
    }

    pub(super) fn new_transaction(&self, id: TransactionId) -> Transaction {
        Transaction::new(id, self.reached.file.as_ref().map_or(0, |place| place.offset))
    }

    pub(super) fn begin_mariadb(&mut self, gtid: MariaDbGtid, header: Header) -> Result<()> {
        self.end_by_next()?;
        let id =
            TransactionId::MariaDb { domain: gtid.domain, server: header.server_id, sequence: gtid.sequence };
        // MariaDB has no BEGIN: the identifier says whether one statement or a transaction follows.
        let open = !gtid.standalone && !gtid.completes;
        self.transaction = Some(Transaction { open, distributed: gtid.prepares, ..self.new_transaction(id) });
        Ok(())
    }

    /// A transaction that began ends, at the latest, where the next one begins.
    pub(super) fn end_by_next(&mut self) -> Result<()> {
        if self.transaction.is_some() { self.end(None) } else { Ok(()) }
    }

    pub(super) fn end_after(&mut self, header: Header) -> Result<()> {
        self.advance(header);
        self.end(Some(header))
    }

    pub(super) fn end(&mut self, header: Option<Header>) -> Result<()> {
        let is_again = self.is_again();
        let transaction = self.transaction.take();
        if transaction.as_ref().is_some_and(|transaction| !transaction.kept.is_empty()) {
            return Err(malformed("a distributed transaction with rows ends without being prepared"));
        }
        if let Some(transaction) = &transaction
            && let Some(transactions) = &mut self.reached.transactions
        {
            transaction.id.add_to(transactions);
        }
        let by_header = header.map(|header| i64::from(header.timestamp) * 1_000_000);
        let committed_at = transaction.and_then(|transaction| transaction.committed_at).or(by_header);
        if is_again {
            self.set.passed(committed_at);
        } else {
            self.set.ended(committed_at);
        }
        Ok(())
    }

    pub(super) fn open_transaction(&mut self, session: u32) {
        // Without identifiers, before MySQL 5.7, BEGIN is the first event of a transaction.
        let begun = self.transaction.take().unwrap_or_else(|| self.new_transaction(TransactionId::Anonymous));
        self.transaction = Some(Transaction { open: true, session: Some(session), ..begun });
    }

    /// The position before the transaction that the stream is in.
    pub(super) fn before_transaction(&self) -> LogPosition {
        let mut before = self.position();
        if let (Some(transaction), Some(place)) = (&self.transaction, &mut before.file) {
            place.offset = transaction.start;
        }
        before
    }
}

/// Whether an exact read up to `since` held the transaction that the stream is in.
pub(super) fn holds(since: &LogPosition, reached: &LogPosition, transaction: &Transaction) -> bool {
    if let Some(transactions) = &since.transactions
        && transaction.id != TransactionId::Anonymous
    {
        return transaction.id.is_in(transactions);
    }
    // A position lies between transactions: one that begins before it ends before it.
    since.server == reached.server
        && since.file.as_ref().zip(reached.file.as_ref()).is_some_and(|(since, place)| {
            let start = FilePosition { file: place.file.clone(), offset: transaction.start };
            start.compare(since) == Some(std::cmp::Ordering::Less)
        })
}
