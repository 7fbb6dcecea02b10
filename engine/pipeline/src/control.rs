//! A running task in somebody else's hands: paused, resumed and stopped from another terminal.
//!
//! The process that runs a task serves a Unix domain socket in the task's directory. Requests and
//! answers are JSON, one object per line; a request is answered when it has happened. What works on
//! the task goes through the [`gate`] and leaves it when asked to.

mod client;
pub(crate) mod gate;
mod protocol;
mod server;
mod socket;

pub use client::{Call, ask, not_running};
pub use protocol::{Answer, Condition, Refused, Request};
pub(crate) use server::Server;
