//! Rows that were set aside, so that nothing is lost in silence: a [`Letter`] each, in the task's
//! [file](DeadLetters).
//!
//! A letter is on disk before the target stands where its row is missing, so that a crash between
//! leaves a letter too many and never one too few; the same change met again is the same letter.
//! What is set aside is not in the target: a row that was there and that the source has changed into
//! one that is refused is deleted. So every row of the target is as the plan has it, and those
//! missing are listed.

mod file;
mod key;
mod letter;
mod retry;

pub use file::{DeadLetters, read};
pub use letter::{Letter, Occurrences, Operation, SNAPSHOT, Values};
pub use retry::{Retried, retry};
