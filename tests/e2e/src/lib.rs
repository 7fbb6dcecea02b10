//! What the end-to-end tests share: a place of their own on real servers, the engine's binary run as a user runs it,
//! and somebody who keeps writing to the source.
//!
//! A test makes a [`Scene`], fills its source with [`Scene::source`], runs the engine with [`Scene::run`] and looks at
//! the target with [`Scene::target`] or [`Scene::require_equal`].

mod engine;
mod eventually;
mod scene;
mod writers;

pub use engine::{Outcome, Run, Running, engine, guest};
pub use eventually::eventually;
pub use scene::Scene;
pub use writers::{Writers, Written};
