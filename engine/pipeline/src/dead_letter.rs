//! Rows that were set aside, so that nothing is lost in silence: a [`Letter`] each, in the task's
//! [file](DeadLetters).
//!
//! A letter is on disk before the target stands where its row is missing, so that a crash between
//! leaves a letter too many and never one too few; the same change met again is the same letter. For the same
//! reason the target remembers it, all but the row, before it stands there: whoever loses the file, or has
//! an older one, still knows which rows are missing, and the limit counts on.
//! What is set aside is not in the target: a row that was there and that the source has changed into
//! one that is refused is deleted. So every row of the target is as the plan has it, and those
//! missing are listed.

mod file;
mod key;
mod letter;
mod memory;
mod retry;

pub use file::{DeadLetters, read};
pub use letter::{Letter, Lost, Occurrences, Operation, SNAPSHOT, Values};
pub use retry::{Retried, retry};
