//! What the end-to-end tests, the crash campaign, the demo and the benchmarks share: data to migrate, somebody who keeps
//! changing it, the engine's binary, and an independent judge of the result.
//!
//! Nothing here uses a crate of the engine, so that an error of the engine can't hide in its own test.

pub mod canonical;
pub mod compare;
pub mod connect;
pub mod engine;
mod eventually;
pub mod numbers;
pub mod process;
pub mod same_engine;
pub mod shop;
pub mod writer;

pub use eventually::{PATIENCE, eventually, within};
