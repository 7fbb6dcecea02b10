//! Messages to the host, which writes them into its own log.

use std::fmt;

pub use crate::bindings::migration::plugin::logging::Level;

/// Sends a message when the host wants its level; nothing is formatted otherwise. `target` names the
/// part of the plugin that speaks.
pub fn log(level: Level, target: &str, message: fmt::Arguments<'_>) {
    if level >= max_level() {
        send(level, target, &message.to_string());
    }
}

/// A detail for whoever debugs the plugin.
pub fn debug(message: fmt::Arguments<'_>) {
    log(Level::Debug, "plugin", message);
}

/// Something worth knowing.
pub fn info(message: fmt::Arguments<'_>) {
    log(Level::Info, "plugin", message);
}

/// Something somebody should look at.
pub fn warn(message: fmt::Arguments<'_>) {
    log(Level::Warn, "plugin", message);
}

/// Reports a panic as a critical message before the instance traps, with its message and place.
pub(crate) fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("a panic without a message");
        match panic.location() {
            Some(place) => send(Level::Critical, "panic", &format!("{message}, at {place}")),
            None => send(Level::Critical, "panic", message),
        }
    }));
}

#[cfg(target_arch = "wasm32")]
fn max_level() -> Level {
    crate::bindings::migration::plugin::logging::max_level()
}

#[cfg(target_arch = "wasm32")]
fn send(level: Level, target: &str, message: &str) {
    crate::bindings::migration::plugin::logging::log(level, target, message);
}

/// Outside a component, in a plugin's own tests, everything goes to the test's output.
#[cfg(not(target_arch = "wasm32"))]
fn max_level() -> Level {
    Level::Trace
}

#[cfg(not(target_arch = "wasm32"))]
fn send(level: Level, target: &str, message: &str) {
    eprintln!("{level:?} {target}: {message}");
}
