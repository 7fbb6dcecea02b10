//! The way back under fire: writers on the `PostgreSQL` that a task was moved to.

mod changes;
mod writers;

pub(crate) use writers::Writers;
