//! End-to-end tests: the engine's binary between real servers, judged by what a user would see.

mod live;
mod plugins;
mod schema;
mod types;
