//! What two sides say together.

use std::collections::HashMap;

use super::hash::{ByHash, Digest, Hash};
use super::side::{Scope, Side, bucket};

/// What is wrong with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Wrong {
    /// The target does not have it.
    Missing,
    /// The target should not have it.
    Extra,
    /// It has other values.
    Different,
}

/// What the changes between both sides mean for the rows.
#[derive(Debug, Default)]
pub(super) struct Between {
    /// Rows, by key, that changes concern: what the target must have of each, exactly; `None` when it must not
    /// have it.
    pub(super) expected: HashMap<Hash, Option<Hash>, ByHash>,
    /// For a table without a key: how many more of a row there must be than were read from the source.
    pub(super) more: HashMap<Hash, i64, ByHash>,
    /// Whether rows of other tasks may be there too, under keys that this task's source does not have.
    pub(super) has_others: bool,
}

impl Between {
    /// Whether no row is concerned.
    pub(super) fn is_empty(&self) -> bool {
        self.expected.is_empty() && self.more.is_empty()
    }
}

/// The outcome of a look.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Rows that are equal.
    pub(super) equal: u64,
    /// Those of them whose changes were followed to where the target stood.
    pub(super) followed: u64,
    /// Keys of rows that are not, with the hash of the row that should be there.
    pub(super) wrong: Vec<(Hash, Wrong, Option<Hash>)>,
    /// What has to be looked at again, for want of room.
    pub(super) left: Option<Scope>,
}

/// Compares both sides, less what the changes between them account for.
pub(super) fn weigh<S, T>(
    scope: &Scope,
    source: &mut Side<S>,
    target: &mut Side<T>,
    between: &Between,
) -> Verdict {
    let last = source.last.min(target.last);
    source.keep_to(last);
    target.keep_to(last);
    let mut verdict = Verdict::default();
    if between.more.is_empty() {
        keyed(scope, source, target, between, &mut verdict);
    } else {
        loose(scope, source, target, between, &mut verdict);
    }
    if last < Hash::MAX {
        rest(scope, source, target, between, &mut verdict);
    }
    verdict
}

fn keyed<S, T>(scope: &Scope, source: &Side<S>, target: &Side<T>, between: &Between, verdict: &mut Verdict) {
    let expected = &between.expected;
    let is_still = |&&(key, _): &&(Hash, Hash)| expected.is_empty() || !expected.contains_key(&key);
    let mut sums = [Digest::default(); 2];
    source.pairs.iter().filter(is_still).for_each(|&(_, hash)| sums[0].add(hash));
    target.pairs.iter().filter(is_still).for_each(|&(_, hash)| sums[1].add(hash));
    if sums[0] == sums[1] {
        verdict.equal += sums[0].count;
    } else {
        let sorted = |pairs: &[(Hash, Hash)]| {
            let mut still: Vec<(Hash, Hash)> = pairs.iter().filter(is_still).copied().collect();
            still.sort_unstable();
            still
        };
        merge(&sorted(&source.pairs), &sorted(&target.pairs), verdict);
    }
    if expected.is_empty() {
        return;
    }
    let mut found: HashMap<Hash, Vec<Hash>, ByHash> = HashMap::default();
    for &(key, hash) in target.pairs.iter().filter(|pair| !is_still(pair)) {
        found.entry(key).or_default().push(hash);
    }
    for (&key, &expected) in expected.iter().filter(|&(&key, _)| scope.holds(key) && key <= target.last) {
        let found = found.get(&key).map_or(&[][..], Vec::as_slice);
        let wrong = match (expected, found) {
            (None, []) => continue,
            (Some(expected), [found]) if expected == *found => {
                verdict.equal += 1;
                verdict.followed += 1;
                continue;
            }
            (None, _) if between.has_others => continue,
            (None, _) => Wrong::Extra,
            (Some(_), []) => Wrong::Missing,
            (Some(_), _) => Wrong::Different,
        };
        verdict.wrong.push((key, wrong, expected));
    }
}

/// Walks two sorted lists side by side, key by key.
fn merge(source: &[(Hash, Hash)], target: &[(Hash, Hash)], verdict: &mut Verdict) {
    let (mut source, mut target) = (source, target);
    loop {
        let key = match (source.first(), target.first()) {
            (Some(&(one, _)), Some(&(other, _))) => one.min(other),
            (Some(&(key, _)), None) | (None, Some(&(key, _))) => key,
            (None, None) => return,
        };
        let mine = source.iter().take_while(|&&(other, _)| other == key).count();
        let theirs = target.iter().take_while(|&&(other, _)| other == key).count();
        let (Some((rows, source_rest)), Some((copies, target_rest))) =
            (source.split_at_checked(mine), target.split_at_checked(theirs))
        else {
            return;
        };
        (source, target) = (source_rest, target_rest);
        // As many rows under one key as there are in a table without one.
        let common = common(rows, copies);
        verdict.equal += common as u64;
        let (missing, extra) = (mine - common, theirs - common);
        let different = missing.min(extra);
        let hash = rows.first().map(|&(_, hash)| hash);
        let wrongs = [
            (Wrong::Different, different),
            (Wrong::Missing, missing - different),
            (Wrong::Extra, extra - different),
        ];
        for (wrong, times) in wrongs {
            verdict.wrong.extend((0..times).map(|_| (key, wrong, hash)));
        }
    }
}

/// How many of two sorted lists' entries they have in common, each as often as in both.
fn common(one: &[(Hash, Hash)], other: &[(Hash, Hash)]) -> usize {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    let mut common = 0;
    while let (Some(left), Some(right)) = (one.peek(), other.peek()) {
        match left.cmp(right) {
            std::cmp::Ordering::Less => drop(one.next()),
            std::cmp::Ordering::Greater => drop(other.next()),
            std::cmp::Ordering::Equal => {
                common += 1;
                one.next();
                other.next();
            }
        }
    }
    common
}

/// A table without a key: how often there is each row.
fn loose<S, T>(scope: &Scope, source: &Side<S>, target: &Side<T>, between: &Between, verdict: &mut Verdict) {
    let more = |&(&key, _): &(&Hash, &i64)| scope.holds(key) && key <= target.last;
    let mut sums = [Digest::default(); 2];
    source.pairs.iter().for_each(|&(_, hash)| sums[0].add(hash));
    target.pairs.iter().for_each(|&(_, hash)| sums[1].add(hash));
    for (&hash, &times) in between.more.iter().filter(more) {
        sums[0].add_times(hash, times);
        verdict.followed += times.unsigned_abs();
    }
    if sums[0] == sums[1] {
        verdict.equal += sums[1].count;
        verdict.followed = verdict.followed.min(sums[1].count);
        return;
    }
    let mut counts: HashMap<Hash, (i64, i64), ByHash> = HashMap::default();
    source.pairs.iter().for_each(|&(_, hash)| counts.entry(hash).or_default().0 += 1);
    target.pairs.iter().for_each(|&(_, hash)| counts.entry(hash).or_default().1 += 1);
    between.more.iter().filter(more).for_each(|(&hash, &times)| counts.entry(hash).or_default().0 += times);
    for (hash, (wanted, found)) in counts {
        verdict.equal += wanted.min(found).max(0) as u64;
        let (wrong, times) = match wanted - found {
            missing @ 1.. => (Wrong::Missing, missing),
            extra => (Wrong::Extra, -extra),
        };
        verdict.wrong.extend((0..times).map(|_| (hash, wrong, Some(hash))));
    }
}

/// The buckets of rows that there was no room for.
fn rest<S, T>(scope: &Scope, source: &Side<S>, target: &Side<T>, between: &Between, verdict: &mut Verdict) {
    let last = target.last;
    let mut sums: Vec<[Digest; 2]> =
        source.buckets.iter().zip(&target.buckets).map(|(&one, &other)| [one, other]).collect();
    for (side, pairs) in [(0, &source.pairs), (1, &target.pairs)] {
        for &(key, hash) in pairs {
            if let Some(digests) = sums.get_mut(bucket(key)) {
                digests[side].remove(hash);
            }
        }
    }
    let mut dirty = vec![false; sums.len()];
    let beyond = |key: &&Hash| **key > last && scope.holds(**key);
    for key in between.expected.keys().filter(beyond).chain(between.more.keys().filter(beyond)) {
        if let Some(dirty) = dirty.get_mut(bucket(*key)) {
            *dirty = true;
        }
    }
    for (sums, dirty) in sums.iter().zip(&mut dirty) {
        if !*dirty && sums[0] == sums[1] {
            verdict.equal += sums[0].count;
        } else {
            *dirty = true;
        }
    }
    if dirty.contains(&true) {
        verdict.left = Some(Scope { from: last + 1, open: Some(dirty), only: None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    /// As strong as those of real keys: sums of weak ones agree by chance.
    fn key(number: u8) -> Hash {
        super::super::hash::Hashing::new(&[7; 16]).bytes(&[number])
    }

    fn row(number: u8, value: u8) -> Hash {
        super::super::hash::Hashing::new(&[7; 16]).bytes(&[number, value])
    }

    fn side(rows: &[(u8, u8)], scope: &Arc<Scope>, capacity: usize) -> Side<()> {
        let mut side = Side::with_capacity(Arc::clone(scope), capacity);
        for &(number, value) in rows {
            side.add(key(number), row(number, value), || None);
        }
        side
    }

    /// Looks until nothing is left; every wrong key with what is wrong.
    fn judge(
        source: &[(u8, u8)],
        target: &[(u8, u8)],
        between: &Between,
        capacity: usize,
    ) -> (u64, Vec<(Hash, Wrong)>) {
        let (mut equal, mut wrong, mut scope) = (0, Vec::new(), Scope::default());
        for _ in 0..300 {
            let shared = Arc::new(scope.clone());
            let (mut one, mut other) = (side(source, &shared, capacity), side(target, &shared, capacity));
            let verdict = weigh(&scope, &mut one, &mut other, between);
            equal += verdict.equal;
            wrong.extend(verdict.wrong.into_iter().map(|(key, wrong, _)| (key, wrong)));
            match verdict.left {
                Some(left) => scope = left,
                None => {
                    wrong.sort();
                    return (equal, wrong);
                }
            }
        }
        panic!("it never ends");
    }

    type Table = BTreeMap<u8, u8>;

    fn rows(table: &Table) -> Vec<(u8, u8)> {
        table.iter().map(|(&key, &value)| (key, value)).collect()
    }

    proptest! {
        #[test]
        fn exactly_the_wrong_rows_are_found_however_little_fits(
            source in proptest::collection::btree_map(any::<u8>(), 0_u8..4, 0..120),
            edits in proptest::collection::vec((any::<u8>(), proptest::option::of(0_u8..4)), 0..10),
            touched in proptest::collection::btree_map(any::<u8>(), proptest::option::of(0_u8..4), 0..8),
            capacity in prop_oneof![Just(1_usize), Just(7), Just(1000)],
        ) {
            // What the target should have: the source, but for the rows that changes concern.
            let mut wanted = source.clone();
            let mut between = Between::default();
            for (&number, &value) in &touched {
                match value {
                    Some(value) => drop(wanted.insert(number, value)),
                    None => drop(wanted.remove(&number)),
                }
                let hash = value.map(|value| row(number, value));
                between.expected.insert(key(number), hash);
            }
            let mut target = wanted.clone();
            for &(number, value) in &edits {
                match value {
                    Some(value) => drop(target.insert(number, value)),
                    None => drop(target.remove(&number)),
                }
            }
            let mut wrong: Vec<(Hash, Wrong)> = (0..=u8::MAX)
                .filter_map(|number| match (wanted.get(&number), target.get(&number)) {
                    (Some(_), None) => Some((key(number), Wrong::Missing)),
                    (None, Some(_)) => Some((key(number), Wrong::Extra)),
                    (Some(one), Some(other)) if one != other => Some((key(number), Wrong::Different)),
                    _ => None,
                })
                .collect();
            wrong.sort();
            let equal = wanted.iter().filter(|(number, value)| target.get(number) == Some(value)).count();
            prop_assert_eq!(judge(&rows(&source), &rows(&target), &between, capacity), (equal as u64, wrong));
        }

        #[test]
        fn without_a_key_rows_are_counted(
            source in proptest::collection::vec(0_u8..6, 0..40),
            target in proptest::collection::vec(0_u8..6, 0..40),
            more in proptest::collection::btree_map(0_u8..6, 1_i64..3, 0..3),
            capacity in prop_oneof![Just(3_usize), Just(1000)],
        ) {
            let of = |values: &[u8]| {
                let scope = Arc::new(Scope::default());
                let mut side: Side<()> = Side::with_capacity(scope, capacity);
                values.iter().for_each(|&value| side.add(key(value), key(value), || None));
                side
            };
            let mut between = Between::default();
            // One that concerns nothing, so that rows are counted in any case.
            between.more.insert(1, 0);
            between.more.extend(more.iter().map(|(&value, &times)| (key(value), times)));
            let (mut one, mut other) = (of(&source), of(&target));
            let verdict = weigh(&Scope::default(), &mut one, &mut other, &between);
            let mut found: BTreeMap<Hash, i64> = BTreeMap::new();
            for (key, wrong, _) in &verdict.wrong {
                *found.entry(*key).or_default() += if *wrong == Wrong::Missing { 1 } else { -1 };
            }
            for value in 0..6_u8 {
                if verdict.left.is_some() && key(value) > one.last {
                    continue;
                }
                let count = |rows: &[u8]| rows.iter().map(|&row| i64::from(row == value)).sum::<i64>();
                let wanted = count(&source) + more.get(&value).copied().unwrap_or(0) - count(&target);
                prop_assert_eq!(found.get(&key(value)).copied().unwrap_or(0), wanted);
            }
        }
    }
}
