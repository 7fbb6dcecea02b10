//! Mending a table without a row key: each row must be there as often as it is in the source, where the target stands.
//!
//! How often that is, the look and the changes around it say. How often it is there, the target is asked while the
//! lanes are held, and what must go or come is the difference. What the look and the changes say of the target must come to the
//! same number: if not, somebody else wrote to the table, or the target's own idea of equal rows is another than the
//! check's, and nothing is done.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

use engine_core::batch::Batch;
use engine_core::column::{Column, Varlen, Vector};
use engine_core::error::{ErrorKind, Result};
use engine_core::examine::{Attempt, Field, Repairer, Stand, fields};
use engine_core::failpoint::Failpoint;
use engine_core::transaction::TransactionSet;

use super::super::hash::{ByHash, Hash};
use super::super::look::{Connections, Seen, interrupted};
use super::super::parts::Part;
use super::super::report::{Progress, Repaired};
use super::super::side::Scope;
use super::super::subject::{Subject, Table};
use super::super::trail::Trail;
use super::super::weigh::weigh;
use super::{ATTEMPTS, PAUSE, always_busy, is_known};

/// Different rows mended in one transaction. The target looks through the table for each.
const AT_ONCE: usize = 50;
/// Looks after which rows that could not be mended are given up.
const LOOKS: u32 = 10;

/// Why rows are given up that were counted otherwise than they were read.
const MISCOUNTED: &str = "the target does not have as many as were read: somebody else writes to the table, or its \
    equality is not the check's;";
/// Why rows are given up of which there is no image.
const UNSEEN: &str = "neither side has one any more, and the target must have them where it stands: let the engine catch \
    up and repair again, else";

/// A table without a row key that is mended.
pub(super) struct Loose<'a> {
    pub(super) subject: &'a Arc<Subject>,
    pub(super) part: &'a Part,
    pub(super) table: &'a Table,
    pub(super) trail: Option<&'a Trail>,
    pub(super) dry_run: bool,
    pub(super) progress: &'a Progress,
    pub(super) stop: &'a CancellationToken,
}

/// How often a row was read.
#[derive(Debug, Clone, Copy, Default)]
struct Read {
    source: i64,
    target: i64,
}

/// A row that is wrong.
struct Suspect {
    row: Hash,
    read: Read,
    image: Batch,
    /// The image is to the letter what the source has or had, so that it can be written.
    is_writable: bool,
}

/// What came of an attempt, by row.
struct Mended {
    /// What was inserted, or deleted below zero.
    by: Vec<(Batch, i64)>,
    /// Rows that are to be looked at again.
    later: Vec<Hash>,
}

impl Loose<'_> {
    /// Mends rows, by their hashes; why some of them were not.
    pub(super) async fn mend(
        &self,
        repairer: &mut dyn Repairer,
        connections: &mut Connections,
        rows: Vec<Hash>,
        repaired: &mut Repaired,
    ) -> Result<Option<String>> {
        let mut left = rows;
        left.sort_unstable();
        left.dedup();
        let (mut most, mut looks, mut why) = (left.len(), 0, MISCOUNTED);
        while !left.is_empty() {
            if looks == LOOKS {
                return Ok(Some(format!("of {} different rows {why} copy the table again", left.len())));
            }
            looks += 1;
            let group = left.split_off(left.len().saturating_sub(most));
            let only: HashSet<Hash, ByHash> = group.iter().copied().collect();
            let scope = Scope { only: Some(Arc::new(only)), ..Scope::default() };
            let look = connections.look(
                self.subject,
                self.part,
                scope.clone(),
                self.trail,
                self.progress,
                self.stop,
            );
            let mut seen = match look.await {
                // The table can't be read at one position under these writes.
                Err(error) if error.kind() == ErrorKind::Precondition => return Ok(Some(error.to_string())),
                seen => seen?,
            };
            let verdict = weigh(&scope, &mut seen.source, &mut seen.target, &seen.between);
            let wrong: HashSet<Hash, ByHash> = verdict.wrong.iter().map(|&(row, ..)| row).collect();
            repaired.untouched += group.len().saturating_sub(wrong.len()) as u64;
            let (now, later) = self.suspects(&seen, &wrong);
            let before = group.len();
            why = if later.is_empty() { MISCOUNTED } else { UNSEEN };
            left.extend(later);
            if now.is_empty() && !wrong.is_empty() {
                most = (most / 2).max(1);
            }
            for suspects in now.chunks(AT_ONCE) {
                left.extend(self.group(repairer, &seen, suspects, repaired).await?);
            }
            if left.len() < before {
                looks = 0;
            }
        }
        Ok(None)
    }

    /// Rows that are wrong, and those of which there was no image.
    fn suspects(&self, seen: &Seen, wrong: &HashSet<Hash, ByHash>) -> (Vec<Suspect>, Vec<Hash>) {
        let mut read: HashMap<Hash, Read, ByHash> = HashMap::default();
        seen.source.pairs.iter().for_each(|&(row, _)| read.entry(row).or_default().source += 1);
        seen.target.pairs.iter().for_each(|&(row, _)| read.entry(row).or_default().target += 1);
        let (mut suspects, mut later) = (Vec::new(), Vec::new());
        for &row in wrong {
            let read = read.get(&row).copied().unwrap_or_default();
            let written = seen.source.whole.get(&row).and_then(|rows| rows.first());
            let found = seen.target.whole.get(&row).and_then(|rows| rows.first());
            let (image, is_writable) = match (written, found) {
                (Some((_, row)), _) => (Some(row.written.clone()), true),
                (None, Some((_, row))) => (self.image(row), self.is_to_the_letter()),
                (None, None) => (None, false),
            };
            match image {
                Some(image) => suspects.push(Suspect { row, read, image, is_writable }),
                None => later.push(row),
            }
        }
        (suspects, later)
    }

    /// Whether rows that are equal are the same to the letter.
    fn is_to_the_letter(&self) -> bool {
        let mut places = 0..self.table.target.written_columns().count();
        places.all(|place| self.table.form.leniency(place).is_none())
    }

    /// A row of the target, as it would be written.
    fn image(&self, canonical: &[u8]) -> Option<Batch> {
        let column = |(place, (field, _)): (usize, (Field<'_>, _))| match field {
            Field::Value(value) => self.table.form.value(place, value),
            Field::Null => {
                let mut values = Varlen::default();
                values.push(&[]);
                let mut column = Column::new(Vector::Varlen(values));
                column.set_null(0);
                Some(column)
            }
            Field::Unrepresentable => None,
        };
        let columns = fields(canonical).enumerate().map(column).collect::<Option<_>>()?;
        Some(Batch { rows: 1, columns })
    }

    /// Mends rows in one transaction; those that are to be looked at again.
    async fn group(
        &self,
        repairer: &mut dyn Repairer,
        seen: &Seen,
        suspects: &[Suspect],
        repaired: &mut Repaired,
    ) -> Result<Vec<Hash>> {
        for _ in 0..ATTEMPTS {
            if self.stop.is_cancelled() {
                return Err(interrupted());
            }
            let Some(stand) = repairer.hold(&self.subject.spec.name).await? else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let outcome = self.held(repairer, &stand, seen, suspects).await;
            if !matches!(&outcome, Ok(Some(_))) || self.dry_run {
                repairer.give_up().await?;
            } else {
                Failpoint::RowsMended.reach();
                repairer.commit().await?;
            }
            let Some(mended) = outcome? else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            if self.dry_run {
                repaired.statements.extend(repairer.render_times(&self.table.target, &mended.by));
            }
            for (_, by) in &mended.by {
                if *by > 0 {
                    repaired.written += by.unsigned_abs();
                } else {
                    repaired.deleted += by.unsigned_abs();
                }
            }
            return Ok(mended.later);
        }
        Err(always_busy(self.table))
    }

    async fn held(
        &self,
        repairer: &mut dyn Repairer,
        stand: &Stand,
        seen: &Seen,
        suspects: &[Suspect],
    ) -> Result<Option<Mended>> {
        if !is_known(self.subject, self.trail, stand).await? {
            return Ok(None);
        }
        let images: Vec<Batch> = suspects.iter().map(|suspect| suspect.image.clone()).collect();
        let Some(counts) = repairer.count(&self.table.target, &images).await? else { return Ok(None) };
        let mut mended = Mended { by: Vec::new(), later: Vec::new() };
        for ((suspect, image), found) in suspects.iter().zip(images).zip(counts) {
            let expected = self.at(stand, seen, suspect)?;
            let by = expected.source - expected.target;
            let is_certain = i64::try_from(found) == Ok(expected.target) && expected.source >= 0;
            if is_certain && (by <= 0 || suspect.is_writable) {
                mended.by.push((image, by));
            } else {
                mended.later.push(suspect.row);
            }
        }
        if !self.dry_run && repairer.write_times(&self.table.target, &mended.by).await? == Attempt::Busy {
            return Ok(None);
        }
        Ok(Some(mended))
    }

    /// How often the row must be there where the target stands now, and how often it would be by what was read.
    fn at(&self, stand: &Stand, seen: &Seen, suspect: &Suspect) -> Result<Read> {
        let (Some(trail), Some(now), Some(then), Some(low)) =
            (self.trail, &stand.position, &seen.stand.position, &seen.low)
        else {
            return Ok(suspect.read);
        };
        let source = self.subject.spec.source.as_ref();
        let changes = trail.changes();
        let now = changes.held(source, now, &stand.applied)?;
        let then = changes.held(source, then, &seen.stand.applied)?;
        let read = changes.held(source, low, &TransactionSet::default())?;
        let times = |read| changes.times(self.table.place, suspect.row, &now, read);
        Ok(Read { source: suspect.read.source + times(&read), target: suspect.read.target + times(&then) })
    }
}
