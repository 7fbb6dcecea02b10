//! The phases of a task, written against the connector traits alone: no database is named here.
//!
//! [`run()`](run::run) drives them: check, plan (plugins decide, [`compose`] joins their decisions),
//! create, copy in chunks ([`snapshot`]), apply what changed meanwhile ([`follow`]), build indexes,
//! go on following, over changes of structure too (`evolve`). [`verify`] compares both sides,
//! beside a running engine or without one. Rows pass through a [`route`], which runs native operations and plugin code over
//! columns. The target says what is done; [`state`] is the engine's own memory of the rest.

mod cascades;
mod chain;
pub mod compose;
pub mod control;
pub mod cut_over;
pub mod dead_letter;
mod evolve;
mod first_start;
pub mod follow;
mod identities;
pub mod merge;
mod merged;
mod objects;
pub mod ops;
pub mod options;
pub mod plan;
pub mod precheck;
pub mod progress;
mod retention;
mod retry;
pub mod reverse;
pub mod route;
pub mod run;
pub mod snapshot;
pub mod state;
pub mod task;
#[cfg(test)]
mod test_rows;
#[cfg(test)]
mod test_source;
pub mod throttle;
pub mod verify;
