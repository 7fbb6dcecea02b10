//! The host against real components: refusals, plans, rows, limits.
//!
//! Needs the guests that `cargo xtask plugins` builds.

mod kit;
mod planning;
mod refusals;
mod rows;
