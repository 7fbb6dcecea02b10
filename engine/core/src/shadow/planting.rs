//! Which defects come into which rows of a copy, by whatever statements its server takes.

use async_trait::async_trait;
use std::collections::VecDeque;

use super::{Defect, Effect, Planted};
use crate::error::{ErrorKind, Result};

/// How often a defect is tried in other rows because it would make up for another.
const ATTEMPTS: usize = 8;

/// A row in canonical form, and what a check must say of it.
type RowEffect = (Vec<u8>, Effect);

/// A defect of one column: what makes a row fit for it, and the value that the column gets then, both as SQL over a
/// row `t` of the copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoiling {
    /// What is wrong then.
    pub defect: Defect,
    /// The column's place among those written.
    pub place: usize,
    /// A condition on the row.
    pub fits: String,
    /// The new value; of [`Defect::SwappedValues`], nothing.
    pub value: String,
}

/// How a row gets a key that no other has, as SQL over a row `t` of the copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherKey {
    /// The place of the key's first column.
    pub place: usize,
    /// What makes a row fit for it.
    pub fits: String,
    /// The new value.
    pub value: String,
}

/// A copy of rows that can be spoiled. Rows have numbers; columns are known by their places among those written.
#[async_trait]
pub trait Ground: Send {
    /// The number of the first row, in an order or in that of the numbers, that fits and is none of these.
    async fn find(&mut self, used: &[i64], fits: &str, order: Option<&str>) -> Result<Option<i64>>;

    /// A condition on rows `t`: that they have another value in the column than this row.
    fn differs(&self, place: usize, row: i64) -> String;

    /// A row in [canonical form](crate::examine).
    async fn canonical(&mut self, row: i64) -> Result<Vec<u8>>;

    /// Gives a column of a row another value.
    async fn set(&mut self, place: usize, value: &str, row: i64) -> Result<()>;

    /// Gives two rows each other's values in a column.
    async fn swap(&mut self, place: usize, one: i64, other: i64) -> Result<()>;

    /// Takes a row away.
    async fn remove(&mut self, row: i64) -> Result<()>;

    /// Adds a row that equals another, under its number with a minus.
    async fn double(&mut self, row: i64) -> Result<()>;

    /// Remembers how the copy is.
    async fn mark(&mut self) -> Result<()>;

    /// Puts the copy back to how it was at the mark, which stays.
    async fn back_to_mark(&mut self) -> Result<()>;

    /// Forgets the mark.
    async fn unmark(&mut self) -> Result<()>;
}

/// A defect that is to be planted.
#[derive(Debug, Clone)]
enum Task {
    Spoil(Spoiling),
    /// The first or last row of a part, by the order.
    Edge {
        condition: String,
        order: String,
    },
    Missing,
    Extra(OtherKey),
    Doubled,
}

impl Task {
    fn defect(&self) -> Defect {
        match self {
            Self::Spoil(spoiling) => spoiling.defect,
            Self::Edge { .. } => Defect::MissingEdge,
            Self::Missing => Defect::MissingRow,
            Self::Extra(_) => Defect::ExtraRow,
            Self::Doubled => Defect::DoubledRow,
        }
    }

    /// What makes a row fit for it, and which of those that are is taken.
    fn wants(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Self::Spoil(spoiling) => (Some(&spoiling.fits), None),
            Self::Edge { condition, order } => (Some(condition), Some(order)),
            Self::Extra(key) => (Some(&key.fits), None),
            Self::Missing | Self::Doubled => (None, None),
        }
    }

    fn place(&self) -> Option<usize> {
        match self {
            Self::Spoil(spoiling) => Some(spoiling.place),
            _ => None,
        }
    }
}

/// What is to be planted in the copy of one table.
#[derive(Debug)]
pub struct Planting {
    /// Names of the columns, by place.
    columns: Vec<String>,
    has_key: bool,
    queue: VecDeque<Task>,
    not_planted: Vec<(Defect, Option<String>)>,
}

impl Planting {
    /// All defects of a table whose columns have these [source names](crate::plan::TargetColumn::source_name). `key` has the
    /// row key's columns as SQL, none of a table without one. `parts` are conditions on the rows of each part, none where
    /// there is only one.
    pub fn new(
        columns: Vec<String>,
        key: &[&str],
        other_key: Option<OtherKey>,
        parts: &[String],
        spoilings: Vec<Spoiling>,
    ) -> Self {
        let ordered = |direction: &str| {
            let columns: Vec<String> = key.iter().map(|name| format!("{name} {direction}")).collect();
            columns.join(", ")
        };
        // Before any row is taken away, whose key it might get.
        let mut queue: VecDeque<Task> = other_key.map(Task::Extra).into_iter().collect();
        // These need certain rows, which nothing else may have touched.
        for condition in parts {
            for order in [ordered("ASC"), ordered("DESC")] {
                queue.push_back(Task::Edge { condition: condition.clone(), order });
            }
        }
        queue.extend([Task::Missing, Task::Doubled]);
        queue.extend(spoilings.into_iter().map(Task::Spoil));
        Self { columns, has_key: !key.is_empty(), queue, not_planted: Vec::new() }
    }

    /// Whether all was planted that there are rows for.
    pub fn is_done(&self) -> bool {
        self.queue.is_empty()
    }

    /// What no row was fit for, with the column.
    pub fn not_planted(&self) -> &[(Defect, Option<String>)] {
        &self.not_planted
    }

    /// Plants what there are rows for, each defect in rows of its own. The rest waits for a copy that is as it was.
    pub async fn plant(&mut self, ground: &mut dyn Ground) -> Result<Vec<Planted>> {
        let (mut planted, mut used, mut later) = (Vec::new(), Vec::new(), VecDeque::new());
        while let Some(task) = self.queue.pop_front() {
            let column = task.place().and_then(|place| self.columns.get(place).cloned());
            let before = used.len();
            ground.mark().await?;
            match self.plant_apart(ground, &task, &mut used, &planted).await {
                Ok(Some(effects)) => {
                    planted.push(Planted { defect: task.defect(), column, effects });
                    ground.unmark().await?;
                    continue;
                }
                // There may be one when no row is taken yet.
                Ok(None) if !planted.is_empty() => later.push_back(task),
                Ok(None) => self.not_planted.push((task.defect(), column)),
                // A value that the type does not have.
                Err(error) if !matches!(error.kind(), ErrorKind::Transient | ErrorKind::Connection) => {
                    ground.back_to_mark().await?;
                    self.not_planted.push((task.defect(), column));
                }
                Err(error) => return Err(error),
            }
            // What it was tried in is there for others.
            used.truncate(before);
            ground.unmark().await?;
        }
        self.queue = later;
        Ok(planted)
    }

    /// Plants a defect where it does not make up for one that was planted before; `None` when there is no row for it.
    async fn plant_apart(
        &self,
        ground: &mut dyn Ground,
        task: &Task,
        used: &mut Vec<i64>,
        planted: &[Planted],
    ) -> Result<Option<Vec<RowEffect>>> {
        for _ in 0..ATTEMPTS {
            let Some(effects) = self.plant_one(ground, task, used).await? else { return Ok(None) };
            if !cancel(planted, &effects) {
                return Ok(Some(effects));
            }
            ground.back_to_mark().await?;
        }
        Ok(None)
    }

    /// Plants a defect; `None` when there is no row for it.
    async fn plant_one(
        &self,
        ground: &mut dyn Ground,
        task: &Task,
        used: &mut Vec<i64>,
    ) -> Result<Option<Vec<RowEffect>>> {
        let (fits, order) = task.wants();
        let Some(row) = ground.find(used, fits.unwrap_or("TRUE"), order).await? else { return Ok(None) };
        used.push(row);
        let before = ground.canonical(row).await?;
        let effects = match task {
            Task::Spoil(Spoiling { defect: Defect::SwappedValues, place, .. }) => {
                let differs = ground.differs(*place, row);
                let Some(other) = ground.find(used, &differs, None).await? else { return Ok(None) };
                used.push(other);
                let second = ground.canonical(other).await?;
                ground.swap(*place, row, other).await?;
                let mut effects = self.spoiled(ground, row, before).await?;
                effects.extend(self.spoiled(ground, other, second).await?);
                effects
            }
            Task::Spoil(spoiling) => {
                ground.set(spoiling.place, &spoiling.value, row).await?;
                self.spoiled(ground, row, before).await?
            }
            Task::Edge { .. } | Task::Missing => {
                ground.remove(row).await?;
                vec![(before, Effect::Missing)]
            }
            Task::Doubled => {
                ground.double(row).await?;
                used.push(-row);
                vec![(before, Effect::Extra)]
            }
            Task::Extra(key) => {
                ground.double(row).await?;
                used.push(-row);
                ground.set(key.place, &key.value, -row).await?;
                vec![(ground.canonical(-row).await?, Effect::Extra)]
            }
        };
        Ok(Some(effects))
    }

    /// What a check must say of a row that has other values than before.
    async fn spoiled(&self, ground: &mut dyn Ground, row: i64, before: Vec<u8>) -> Result<Vec<RowEffect>> {
        if self.has_key {
            return Ok(vec![(before, Effect::Different)]);
        }
        let after = ground.canonical(row).await?;
        Ok(vec![(before, Effect::Missing), (after, Effect::Extra)])
    }
}

/// Whether what `effects` add is what others take away: rows without a key that changed places are rows as before, which
/// no check can find fault with.
fn cancel(planted: &[Planted], effects: &[RowEffect]) -> bool {
    let is_undone = |row: &[u8], by: Effect| {
        let before = planted.iter().flat_map(|planted| &planted.effects);
        before.chain(effects).any(|(other, effect)| *effect == by && other == row)
    };
    effects.iter().any(|(row, effect)| match effect {
        Effect::Missing => is_undone(row, Effect::Extra),
        Effect::Extra => is_undone(row, Effect::Missing),
        Effect::Different => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use std::collections::BTreeMap;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    /// What a future comes to that never waits.
    fn now<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("it waits"),
        }
    }

    /// Rows of one number each, `fits` and values being numbers too: rows of less than that, and that much more.
    #[derive(Clone, Default)]
    struct Numbers {
        rows: BTreeMap<i64, u8>,
        marked: BTreeMap<i64, u8>,
    }

    #[async_trait]
    impl Ground for Numbers {
        async fn find(&mut self, used: &[i64], fits: &str, order: Option<&str>) -> Result<Option<i64>> {
            let limit = fits.parse().unwrap_or(u8::MAX);
            let fits = |(_, number): &(&i64, &u8)| match fits.strip_prefix("not ") {
                Some(other) => number.to_string() != other,
                None => **number < limit,
            };
            let mut found: Vec<_> =
                self.rows.iter().filter(fits).filter(|(row, _)| !used.contains(row)).collect();
            if order == Some("n DESC") {
                found.reverse();
            }
            Ok(found.first().map(|(row, _)| **row))
        }

        fn differs(&self, _: usize, row: i64) -> String {
            format!("not {}", self.rows[&row])
        }

        async fn canonical(&mut self, row: i64) -> Result<Vec<u8>> {
            Ok(vec![self.rows[&row]])
        }

        async fn set(&mut self, _: usize, value: &str, row: i64) -> Result<()> {
            let refused = |_| Error::new(ErrorKind::Unrepresentable, "it is no number");
            let more: u8 = value.parse().map_err(refused)?;
            self.rows.entry(row).and_modify(|number| *number += more);
            Ok(())
        }

        async fn swap(&mut self, _: usize, one: i64, other: i64) -> Result<()> {
            let (first, second) = (self.rows[&one], self.rows[&other]);
            self.rows.extend([(one, second), (other, first)]);
            Ok(())
        }

        async fn remove(&mut self, row: i64) -> Result<()> {
            self.rows.remove(&row);
            Ok(())
        }

        async fn double(&mut self, row: i64) -> Result<()> {
            self.rows.insert(-row, self.rows[&row]);
            Ok(())
        }

        async fn mark(&mut self) -> Result<()> {
            self.marked.clone_from(&self.rows);
            Ok(())
        }

        async fn back_to_mark(&mut self) -> Result<()> {
            self.rows.clone_from(&self.marked);
            Ok(())
        }

        async fn unmark(&mut self) -> Result<()> {
            Ok(())
        }
    }

    fn numbers(numbers: impl IntoIterator<Item = u8>) -> Numbers {
        Numbers { rows: (1..).zip(numbers).collect(), marked: BTreeMap::new() }
    }

    fn spoiling(defect: Defect, fits: &str, value: &str) -> Spoiling {
        Spoiling { defect, place: 0, fits: fits.to_owned(), value: value.to_owned() }
    }

    /// How often each row is there more or less than it was, by what is said of the defects.
    fn said(planted: &[Planted]) -> BTreeMap<u8, i64> {
        let mut said = BTreeMap::new();
        for (row, effect) in planted.iter().flat_map(|planted| &planted.effects) {
            let by = if *effect == Effect::Extra { 1 } else { -1 };
            *said.entry(row[0]).or_default() += by;
        }
        said
    }

    /// The same by the rows.
    fn seen(before: &Numbers, after: &Numbers) -> BTreeMap<u8, i64> {
        let mut seen = BTreeMap::new();
        after.rows.values().for_each(|number| *seen.entry(*number).or_default() += 1);
        before.rows.values().for_each(|number| *seen.entry(*number).or_default() -= 1);
        seen.retain(|_, times| *times != 0);
        seen
    }

    #[test]
    fn all_is_planted_and_what_is_said_of_it_can_be_seen() {
        let before = numbers((1..=30).chain(1..=30));
        let mut after = before.clone();
        let other = OtherKey { place: 0, fits: "5".into(), value: "100".into() };
        let spoilings =
            vec![spoiling(Defect::LastDigit, "20", "1"), spoiling(Defect::SwappedValues, "9", "")];
        let mut planting = Planting::new(vec!["n".into()], &[], Some(other), &[], spoilings);
        let planted = now(planting.plant(&mut after)).expect("defects");
        let defects: Vec<Defect> = planted.iter().map(|planted| planted.defect).collect();
        // Two rows of one column that change places are never seen.
        let expected = [Defect::ExtraRow, Defect::MissingRow, Defect::DoubledRow, Defect::LastDigit];
        assert_eq!(defects, expected);
        assert_eq!(said(&planted), seen(&before, &after));
        assert!(!planting.is_done());
        assert!(now(planting.plant(&mut before.clone())).expect("none").is_empty());
        assert!(planting.is_done());
        assert_eq!(planting.not_planted(), [(Defect::SwappedValues, Some("n".to_owned()))]);
    }

    #[test]
    fn a_key_tells_rows_apart_and_parts_have_edges() {
        let mut rows = numbers([3, 7, 9]);
        let parts = ["8".to_owned()];
        let mut planting = Planting::new(vec!["n".into()], &["n"], None, &parts, Vec::new());
        let planted = now(planting.plant(&mut rows)).expect("defects");
        let effects: Vec<_> =
            planted.iter().map(|planted| (planted.defect, planted.effects.clone())).collect();
        let missing = |row| vec![(vec![row], Effect::Missing)];
        assert_eq!(
            effects,
            [
                (Defect::MissingEdge, missing(3)),
                (Defect::MissingEdge, missing(7)),
                (Defect::MissingRow, missing(9))
            ]
        );
        let planted = now(planting.plant(&mut numbers([3, 7, 9]))).expect("the one that was left");
        assert_eq!(planted.len(), 1);
        assert_eq!(planted[0].defect, Defect::DoubledRow);
    }

    #[test]
    fn a_row_that_takes_no_other_key_can_be_spoiled_otherwise() {
        let other = OtherKey { place: 0, fits: "TRUE".into(), value: "none".into() };
        let mut planting = Planting::new(vec!["n".into()], &["n"], Some(other), &[], Vec::new());
        let planted = now(planting.plant(&mut numbers([3]))).expect("defects");
        assert_eq!(planted.iter().map(|planted| planted.defect).collect::<Vec<_>>(), [Defect::MissingRow]);
        assert_eq!(planting.not_planted(), [(Defect::ExtraRow, None)]);
    }

    #[test]
    fn rows_that_change_places_are_rows_as_before() {
        let row = |value: u8, effect| (vec![value], effect);
        let planted = [Planted {
            defect: Defect::LastDigit,
            column: None,
            effects: vec![row(5, Effect::Missing), row(4, Effect::Extra)],
        }];
        assert!(cancel(&planted, &[row(6, Effect::Missing), row(5, Effect::Extra)]));
        assert!(cancel(&planted, &[row(4, Effect::Missing)]));
        assert!(!cancel(&planted, &[row(5, Effect::Missing), row(4, Effect::Extra)]));
        assert!(!cancel(&planted, &[row(4, Effect::Different)]));
        let swapped = [(1, Effect::Missing), (2, Effect::Extra), (2, Effect::Missing), (1, Effect::Extra)];
        assert!(cancel(&[], &swapped.map(|(value, effect)| row(value, effect))));
    }
}
