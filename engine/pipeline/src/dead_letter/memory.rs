//! What the target remembers of letters: all but their rows.

use std::collections::HashMap;

use engine_core::error::{Error, ErrorKind, Result};
use engine_core::target::{DeadLetterRecord, Target};

use super::letter::{Identity, Letter};

/// What the target is to remember of a letter.
pub(super) fn record(letter: &Letter) -> Result<DeadLetterRecord> {
    let content = serde_json::to_string(&letter.without_row()).map_err(|error| {
        Error::new(ErrorKind::Internal, "a row that is set aside can't be recorded").caused_by(error)
    })?;
    Ok(DeadLetterRecord { identity: letter.identity(), content })
}

/// The letters that the target remembers, whole where they are among `found`; `None` if it remembers none of any task.
pub(super) async fn of(target: &dyn Target, task: &str, found: &[Letter]) -> Result<Option<Vec<Letter>>> {
    let Some(records) = target.dead_letters(task).await? else { return Ok(None) };
    let found: HashMap<Identity, &Letter> = found.iter().map(|letter| (letter.identity(), letter)).collect();
    let letter = |record: DeadLetterRecord| match found.get(&record.identity) {
        Some(letter) => Ok((*letter).clone()),
        None => serde_json::from_str(&record.content).map_err(|error| {
            Error::new(ErrorKind::State, "the target's record of a row that was set aside can't be read")
                .at("task", task)
                .caused_by(error)
                .help("go on with the version of the engine that wrote it")
        }),
    };
    records.into_iter().map(letter).collect::<Result<_>>().map(Some)
}
