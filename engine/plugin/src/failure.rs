//! Why a call into a plugin did not return, or returned nonsense.

use engine_core::{Error, ErrorKind};
use std::fmt;
use wasmtime::{Trap, WasmBacktrace};

use crate::host::OverMemory;

/// Frames of the guest that a message shows.
const SHOWN_FRAMES: usize = 8;

/// What class of failure; its name is the code of a row error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// It trapped: a panic, a division by zero, an access out of bounds.
    Trap,
    /// It used up its CPU time.
    Timeout,
    /// It asked for more memory than it may have.
    Memory,
    /// It answered something that the contract does not allow.
    Malformed,
}

impl FailureKind {
    /// The code: `trap`, `timeout`, `memory` or `malformed`.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Timeout => "timeout",
            Self::Memory => "memory",
            Self::Malformed => "malformed",
        }
    }
}

/// A failed call. The instance it happened in is not to be used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) message: String,
    /// Functions of the guest, innermost first.
    pub(crate) backtrace: Vec<String>,
}

impl Failure {
    /// The plugin answered, but not what it may.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Malformed, message: message.into(), backtrace: Vec::new() }
    }

    /// Reads wasmtime's account of a failed call; `last_words` is what the guest logged as critical.
    pub(crate) fn of(error: &wasmtime::Error, last_words: Option<String>) -> Self {
        let backtrace = error.downcast_ref::<WasmBacktrace>().map(frames).unwrap_or_default();
        let trap = error.downcast_ref::<Trap>();
        let (kind, message) = if let Some(over) = error.downcast_ref::<OverMemory>() {
            (FailureKind::Memory, over.to_string())
        } else if trap == Some(&Trap::Interrupt) {
            (FailureKind::Timeout, "the plugin used up its time".to_owned())
        } else {
            let said = trap.map_or_else(|| format!("{:#}", error.root_cause()), ToString::to_string);
            (FailureKind::Trap, last_words.unwrap_or(said))
        };
        Self { kind, message, backtrace }
    }

    /// The failure as an error of the engine.
    pub(crate) fn into_error(self, plugin: &str) -> Error {
        let what = match self.kind {
            FailureKind::Trap => "the plugin trapped",
            FailureKind::Timeout => "the plugin ran too long",
            FailureKind::Memory => "the plugin asked for too much memory",
            FailureKind::Malformed => "the plugin answered what the contract does not allow",
        };
        Error::new(ErrorKind::Plugin, what).at("plugin", plugin).because(self)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.backtrace.is_empty() {
            write!(f, " [in {}]", self.backtrace.join(" < "))?;
        }
        Ok(())
    }
}

/// The guest's functions, without those of the machinery that reports a panic.
fn frames(backtrace: &WasmBacktrace) -> Vec<String> {
    let names: Vec<String> = backtrace
        .frames()
        .iter()
        .map(|frame| match frame.func_name() {
            Some(name) => format!("{:#}", rustc_demangle::demangle(name)),
            None => format!("function {}", frame.func_index()),
        })
        .collect();
    let panics = |name: &String| {
        [
            "core::panicking",
            "core::option",
            "core::result",
            "std::panicking",
            "std::sys",
            "rust_panic",
            "__rust",
            "abort",
            "panic_abort",
        ]
        .iter()
        .any(|machinery| name.trim_start_matches(['_', '<']).starts_with(machinery.trim_start_matches('_')))
    };
    let own = names.iter().position(|name| !panics(name)).unwrap_or(0);
    names.into_iter().skip(own).take(SHOWN_FRAMES).collect()
}
