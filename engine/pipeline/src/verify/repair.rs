//! Mending the rows that are wrong, and nothing else.
//!
//! A row must be as it is at the position where the target stands, not as the source has it now: the
//! engine applies what lies between, strictly, and would find a row that it does not expect. So the
//! repair holds the task's lanes still, asks where the target stands then, and takes the row as the
//! changes around that position say, or, where there are none, as it was read from the source.

mod loose;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

use engine_core::batch::Batch;
use engine_core::column::Column;
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::examine::{Attempt, Field, Repairer, Stand, fields};
use engine_core::failpoint::Failpoint;
use engine_core::schema::IndexKind;
use engine_core::target::NetChanges;

use super::changes::Changes;
use super::hash::{ByHash, Hash};
use super::look::{Connections, Seen, interrupted};
use super::parts::Part;
use super::report::{Progress, Repaired};
use super::side::Scope;
use super::subject::{Subject, Table};
use super::trail::{self, Trail};
use super::weigh::weigh;
use super::worker::{Outcomes, examine_all};

/// Rows mended in one transaction.
const AT_ONCE: usize = 500;
/// How often a transaction is tried that meets the engine's own.
const ATTEMPTS: u32 = 200;
/// Pause between attempts.
const PAUSE: Duration = Duration::from_millis(25);
/// How long the stream may take to get to where the target stands, while the lanes are held.
const REACHING: Duration = Duration::from_secs(2);

/// Opens a stream from where the target stands that keeps the rows of these keys.
async fn follow(
    subject: &Arc<Subject>,
    suspects: &[(Part, Vec<Hash>)],
    connections: &mut Connections,
    stop: &CancellationToken,
) -> Result<Option<Trail>> {
    let watching = || {
        let mut changes = Changes::new(subject.tables.len());
        for (part, keys) in suspects {
            changes.watch(part.table, keys.iter().copied());
        }
        changes
    };
    trail::from_stand(subject, connections.examiner.as_mut(), None, watching, stop).await
}

/// Mends the rows, or says what it would do.
pub(super) async fn mend(
    subject: &Arc<Subject>,
    suspects: Vec<(Part, Vec<Hash>)>,
    dry_run: bool,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<Repaired> {
    let mut connections = Connections::open(subject).await?;
    let trail = follow(subject, &suspects, &mut connections, stop).await?;
    let mut repairer = subject.spec.target.open_repairer().await?;
    let mut repaired = Repaired::default();
    for (part, keys) in suspects {
        let table = subject.table(part.table)?;
        if table.key.is_none() {
            let loose =
                loose::Loose { subject, part: &part, table, trail: trail.as_ref(), dry_run, progress, stop };
            let refused = loose.mend(repairer.as_mut(), &mut connections, keys, &mut repaired).await?;
            repaired.refused.extend(refused.map(|why| (table.name().to_string(), why)));
            continue;
        }
        let mut left = keys;
        let mut most = left.len();
        while !left.is_empty() {
            let group = left.split_off(left.len().saturating_sub(most));
            let only: HashSet<Hash, ByHash> = group.into_iter().collect();
            let count = only.len();
            let scope = Scope { only: Some(Arc::new(only)), ..Scope::default() };
            let mut seen =
                connections.look(subject, &part, scope.clone(), trail.as_ref(), progress, stop).await?;
            let verdict = weigh(&scope, &mut seen.source, &mut seen.target, &seen.between);
            let mut wrong: Vec<Hash> = verdict.wrong.iter().map(|&(key, ..)| key).collect();
            wrong.sort_unstable();
            wrong.dedup();
            // Rows that there was no room for come with the next look.
            let is_kept = |key: &Hash| {
                count == 1 || !(seen.source.dropped.contains(key) || seen.target.dropped.contains(key))
            };
            let (now, later): (Vec<Hash>, Vec<Hash>) = wrong.into_iter().partition(is_kept);
            repaired.untouched += count.saturating_sub(now.len() + later.len()) as u64;
            let mending = Mending { subject, table, seen: &seen, trail: trail.as_ref(), dry_run, stop };
            for keys in now.chunks(AT_ONCE) {
                mending.mend(repairer.as_mut(), keys, &mut repaired).await?;
            }
            if !later.is_empty() {
                most = (most / 2).min(later.len()).max(1);
                left.extend(later);
            }
        }
    }
    Ok(repaired)
}

/// Waits until all changes up to where the target stands are known; `false` when that takes too long.
async fn is_known(subject: &Subject, trail: Option<&Trail>, stand: &Stand) -> Result<bool> {
    if stand.plan_digest != subject.plan_digest {
        subject.altered.note(&subject.plan_digest, None);
        return Err(Error::new(ErrorKind::Precondition, "the plan of the task changed during the repair")
            .at("task", &subject.spec.name)
            .help("check again"));
    }
    let Some(trail) = trail else { return Ok(true) };
    match tokio::time::timeout(REACHING, trail.reach(stand, None)).await {
        Ok(reached) => reached.map(|()| true),
        Err(_) => Ok(false),
    }
}

/// The error of rows that were never had.
fn always_busy(table: &Table) -> Error {
    Error::new(ErrorKind::Transient, "rows can't be mended while the engine writes to them all the time")
        .at("table", table.name())
        .because(format!("{ATTEMPTS} attempts met a transaction of the engine"))
        .help("run the same command again, or stop the engine for the time of the repair")
}

struct Mending<'a> {
    subject: &'a Subject,
    table: &'a Table,
    seen: &'a Seen,
    trail: Option<&'a Trail>,
    dry_run: bool,
    stop: &'a CancellationToken,
}

impl Mending<'_> {
    async fn mend(&self, repairer: &mut dyn Repairer, keys: &[Hash], repaired: &mut Repaired) -> Result<()> {
        for _ in 0..ATTEMPTS {
            if self.stop.is_cancelled() {
                return Err(interrupted());
            }
            if let Some(changes) = self.attempt(repairer, keys).await? {
                if self.dry_run {
                    repaired.statements.extend(repairer.render(&self.table.target, &changes.net));
                }
                repaired.written += changes.written;
                repaired.deleted += changes.deleted;
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(always_busy(self.table))
    }

    /// Mends rows in one transaction; `None` when somebody was in the way.
    async fn attempt(&self, repairer: &mut dyn Repairer, keys: &[Hash]) -> Result<Option<Wanted>> {
        let Some(stand) = repairer.hold(&self.subject.spec.name).await? else { return Ok(None) };
        let outcome = self.held(repairer, &stand, keys).await;
        if !matches!(&outcome, Ok(Some(_))) || self.dry_run {
            repairer.give_up().await?;
            return outcome;
        }
        Failpoint::RowsMended.reach();
        repairer.commit().await?;
        outcome
    }

    async fn held(
        &self,
        repairer: &mut dyn Repairer,
        stand: &Stand,
        keys: &[Hash],
    ) -> Result<Option<Wanted>> {
        if !is_known(self.subject, self.trail, stand).await? {
            return Ok(None);
        }
        let wanted = self.wanted(stand, keys)?;
        if self.dry_run {
            return Ok(Some(wanted));
        }
        let attempt = repairer.write(&self.table.target, &wanted.net).await?;
        Ok((attempt == Attempt::Done).then_some(wanted))
    }

    /// What the rows must be where the target stands.
    fn wanted(&self, stand: &Stand, keys: &[Hash]) -> Result<Wanted> {
        let mut rows: Option<Batch> = None;
        let mut deletes: Option<Batch> = None;
        let (mut written, mut deleted) = (0, 0);
        for &key in keys {
            match self.expected(stand, key)? {
                Some(row) => {
                    written += 1;
                    append(&mut rows, row);
                }
                // The row there may be another task's by now.
                None if self.table.target.is_shared() => {}
                None => {
                    deleted += 1;
                    deletes = self.found_key(key, deletes)?;
                }
            }
        }
        let upserts = rows.unwrap_or_default();
        let mut all_deletes = deletes;
        // A value of another unique key may have to be freed before it is taken.
        if self.has_other_unique_keys() {
            for row in 0..upserts.rows {
                append(&mut all_deletes, self.key_columns(&upserts.take(&[row])));
            }
        }
        let net = NetChanges::Idempotent { deletes: all_deletes.unwrap_or_default(), upserts };
        Ok(Wanted { net, written, deleted })
    }

    /// The row as it must be; `None` when there must be none.
    fn expected(&self, stand: &Stand, key: Hash) -> Result<Option<Batch>> {
        let source = self.subject.spec.source.as_ref();
        if let (Some(trail), Some(position), Some(low)) = (self.trail, &stand.position, &self.seen.low) {
            let changes = trail.changes();
            let held = changes.held(source, position, &stand.applied)?;
            if changes.is_between(source, self.table.place, key, &held, low)? {
                return changes.expected_row(self.table.place, key, &held);
            }
        }
        match self.seen.source.whole.get(&key).map(Vec::as_slice) {
            None | Some([]) => Ok(None),
            Some([(_, row)]) => Ok(Some(row.written.clone())),
            Some(_) => Err(Error::new(
                ErrorKind::Divergence,
                "the source has several rows under one key of the target",
            )
            .at("table", self.table.name())),
        }
    }

    /// Adds the key of a row that the target has and should not have.
    fn found_key(&self, key: Hash, mut deletes: Option<Batch>) -> Result<Option<Batch>> {
        let Some((_, row)) = self.seen.target.whole.get(&key).and_then(|rows| rows.first()) else {
            return Ok(deletes);
        };
        let fields: Vec<Field<'_>> = fields(row).map(|(field, _)| field).collect();
        let columns = self.table.key.iter().flatten().map(|&place| match fields.get(place) {
            Some(Field::Value(value)) => self.table.form.value(place, value),
            _ => None,
        });
        let columns: Option<Vec<Column>> = columns.collect();
        let columns = columns.ok_or_else(|| {
            Error::new(ErrorKind::Unrepresentable, "a row can't be deleted by its key")
                .at("table", self.table.name())
                .because("the key has a column of a type that can't be written down exactly")
        })?;
        append(&mut deletes, Batch { rows: 1, columns });
        Ok(deletes)
    }

    fn key_columns(&self, row: &Batch) -> Batch {
        let columns = self.table.key.iter().flatten().filter_map(|&place| row.columns.get(place).cloned());
        Batch { rows: row.rows, columns: columns.collect() }
    }

    fn has_other_unique_keys(&self) -> bool {
        let target = &self.table.target;
        let is_row_key = |columns: &[usize]| target.row_key.as_deref() == Some(columns);
        target
            .indexes
            .iter()
            .filter(|index| matches!(index.kind, IndexKind::Primary | IndexKind::Unique))
            .any(|index| !is_row_key(&index.parts.iter().map(|part| part.column).collect::<Vec<_>>()))
    }
}

/// What is to be written.
struct Wanted {
    net: NetChanges,
    written: u64,
    deleted: u64,
}

fn append(to: &mut Option<Batch>, from: Batch) {
    let Some(to) = to else {
        *to = Some(from);
        return;
    };
    for row in 0..from.rows {
        for (to, from) in to.columns.iter_mut().zip(&from.columns) {
            to.push_from(from, row);
        }
    }
    to.rows += from.rows;
}

/// Looks at the mended rows again.
pub(super) async fn look_again(
    subject: &Arc<Subject>,
    mut outcomes: Outcomes,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<Outcomes> {
    let mut connections = Connections::open(subject).await?;
    let suspects = outcomes.doubt();
    let trail = follow(subject, &[], &mut connections, stop).await?;
    for (part, keys) in suspects {
        let mut found =
            examine_all(subject, &part, keys, &mut connections, trail.as_ref(), progress, stop).await?;
        // That they were wrong at the look before is what the repair was about.
        found.passed = 0;
        outcomes.add(&part, found);
    }
    Ok(outcomes)
}
