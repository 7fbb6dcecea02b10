//! Rows of the stream that are refused before they reach a lane.

use std::sync::Arc;

use engine_core::change::Op;
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::transaction::TransactionId;

use crate::dead_letter::Occurrences;
use crate::route::{Route, Routed};

use super::lane::{Origin, met};

/// Sets the refused images aside, and answers what a lane needs to set more aside.
///
/// An old image that is refused has no letter of its own while the target can't have the row: when
/// the row is set aside already, or the new image takes its place. Otherwise the row code that refuses
/// it now may have let it pass before, and the target may keep what the source has not.
pub(super) async fn refused(
    route: &Arc<Route>,
    (ops, transactions, names): (&[Op], &[u32], &[TransactionId]),
    (after, before): (&mut Routed, &Routed),
    occurrences: &mut Occurrences,
) -> Result<Option<Origin>> {
    let (Some(new), Some(old)) = (after.input.take(), &before.input) else { return Ok(None) };
    let changes: Vec<(Op, TransactionId)> = ops
        .iter()
        .zip(transactions)
        .map(|(&op, &transaction)| Some((op, names.get(transaction as usize)?.clone())))
        .collect::<Option<_>>()
        .ok_or_else(|| Error::new(ErrorKind::Internal, "a change names a transaction that is not there"))?;
    let of = |wanted: Op| {
        let images = changes.iter().filter(move |(op, _)| *op == wanted || *op == Op::Update);
        images.cloned().collect::<Vec<_>>()
    };
    let origin =
        Origin { route: Arc::clone(route), input: new, changes: of(Op::Insert), places: after.places() };
    let mut letters: Vec<_> = after.refused.iter().filter_map(|refusal| origin.letter(refusal)).collect();
    if !before.refused.is_empty() {
        // New images of updates by their places among the old ones.
        let mut replaced = Vec::with_capacity(old.rows);
        let mut image = 0;
        for (op, _) in &changes {
            if *op != Op::Insert {
                replaced.push((*op == Op::Update).then_some(image));
            }
            image += usize::from(*op != Op::Delete);
        }
        let changes = of(Op::Delete);
        for refusal in &before.refused {
            let Some((_, transaction)) = changes.get(refusal.row) else { continue };
            let letter = route.letter(old, refusal, met(Op::Delete, transaction));
            let Some(key) = &letter.key else { continue };
            let successor = replaced.get(refusal.row).copied().flatten();
            let is_replaced =
                successor.is_some_and(|row| route.key_of(&origin.input, row).as_ref() == Some(key));
            if !is_replaced && !route.dead_letters().holds(&letter.table, key) {
                letters.push(letter);
            }
        }
    }
    letters.iter_mut().for_each(|letter| occurrences.number(letter));
    route.dead_letters().write(&letters).await?;
    Ok(Some(origin))
}
