//! Transactions of a source by their names, and sets of them.
//!
//! Transactions that touch different rows may be committed in the target in another order than in
//! the source. So where the target stands is a position, before which it has everything, and the
//! set of the transactions after it that it has too.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ranges::Ranges;

/// The name of a source transaction: the same however often the log is read, and unique within it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionId {
    /// What numbers the transaction, in the connector's own words: a server's UUID, a replication
    /// domain, a log file.
    pub origin: Arc<str>,
    /// Its number there.
    pub number: u64,
}

/// A set of transactions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TransactionSet(BTreeMap<Arc<str>, Ranges>);

impl TransactionSet {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `transaction` is among them.
    pub fn contains(&self, transaction: &TransactionId) -> bool {
        self.0.get(&transaction.origin).is_some_and(|numbers| numbers.contains(transaction.number))
    }

    /// Adds one.
    pub fn insert(&mut self, transaction: &TransactionId) {
        if let Some(numbers) = self.0.get_mut(&transaction.origin) {
            numbers.insert(transaction.number, transaction.number);
        } else {
            let numbers = self.0.entry(Arc::clone(&transaction.origin)).or_default();
            numbers.insert(transaction.number, transaction.number);
        }
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: &Self) {
        for (origin, numbers) in &other.0 {
            let mine = self.0.entry(Arc::clone(origin)).or_default();
            numbers.iter().for_each(|(start, end)| mine.insert(start, end));
        }
    }

    /// The transactions, one by one.
    pub fn iter(&self) -> impl Iterator<Item = TransactionId> + '_ {
        self.0.iter().flat_map(|(origin, numbers)| {
            numbers
                .iter()
                .flat_map(|(start, end)| start..=end)
                .map(move |number| TransactionId { origin: Arc::clone(origin), number })
        })
    }

    /// A compact form: for each origin its name and its ranges, each as the distance from the end
    /// of the one before and its length, every number in seven bits a byte, low ones first.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (origin, numbers) in &self.0 {
            put(&mut out, origin.len() as u64);
            out.extend_from_slice(origin.as_bytes());
            put(&mut out, numbers.iter().count() as u64);
            let mut last = 0;
            for (start, end) in numbers.iter() {
                put(&mut out, start - last);
                put(&mut out, end - start);
                last = end;
            }
        }
        out
    }

    /// Reads [`encode`](Self::encode)'s form; `None` when it isn't that.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut set = Self::default();
        while !bytes.is_empty() {
            let length = usize::try_from(take(&mut bytes)?).ok()?;
            let (origin, rest) = bytes.split_at_checked(length)?;
            bytes = rest;
            let numbers = set.0.entry(std::str::from_utf8(origin).ok()?.into()).or_default();
            let mut last = 0_u64;
            for _ in 0..take(&mut bytes)? {
                let start = last.checked_add(take(&mut bytes)?)?;
                last = start.checked_add(take(&mut bytes)?)?;
                numbers.insert(start, last);
            }
        }
        Some(set)
    }
}

impl<'a> FromIterator<&'a TransactionId> for TransactionSet {
    fn from_iter<T: IntoIterator<Item = &'a TransactionId>>(transactions: T) -> Self {
        let mut set = Self::default();
        transactions.into_iter().for_each(|transaction| set.insert(transaction));
        set
    }
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(origin: u8, number: u64) -> TransactionId {
        TransactionId { origin: format!("origin-{origin}").into(), number }
    }

    proptest! {
        #[test]
        fn a_set_is_read_as_it_was_written(
            ids in proptest::collection::vec((0_u8..3, prop_oneof![0_u64..40, any::<u64>()]), 0..60),
        ) {
            let ids: Vec<TransactionId> = ids.into_iter().map(|(origin, number)| id(origin, number)).collect();
            let set: TransactionSet = ids.iter().collect();
            prop_assert!(ids.iter().all(|id| set.contains(id)));
            prop_assert_eq!(TransactionSet::decode(&set.encode()), Some(set.clone()));
            let mut sorted = ids;
            sorted.sort();
            sorted.dedup();
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), sorted);
        }

        #[test]
        fn foreign_bytes_are_not_a_set_or_are_one(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = TransactionSet::decode(&bytes);
        }
    }
}
