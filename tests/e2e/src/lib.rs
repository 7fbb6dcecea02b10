//! What the end-to-end tests share: a place of their own on real servers, the engine's binary run as a user runs it,
//! and somebody who keeps writing to the source.
//!
//! A test makes a [`Scene`], fills its source with [`Scene::source`], runs the engine with [`Scene::run`] and looks at
//! the target with [`Scene::target`] or [`Scene::require_equal`].

mod mysql_scene;
mod scene;
mod writers;

pub use mysql_scene::MysqlScene;
pub use scene::Scene;
pub use test_support::engine::{Outcome, Run, Running, engine, guest};
pub use test_support::{PATIENCE, eventually};
pub use writers::{Writers, Written};
