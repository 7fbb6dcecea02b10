//! What a plugin instance can reach: a log, and nothing else.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::level_filters::LevelFilter;
use wasmtime::ResourceLimiter;

use crate::bindings::contract::{logging, types};
use crate::deadline::Deadline;

/// Messages that one plugin may log in a second, over all its instances.
const MESSAGES_PER_SECOND: u32 = 100;
/// Longer messages are cut.
const LONGEST_MESSAGE: usize = 4096;
const TABLE_ELEMENTS: usize = 1 << 20;

/// The state behind one instance.
pub(crate) struct Host {
    pub(crate) deadline: Deadline,
    /// The last message of level critical: what a panic hook said just before its trap.
    pub(crate) last_words: Option<String>,
    log: Arc<Log>,
    memory_limit: usize,
}

/// Raised when an instance wants more memory than it may have.
#[derive(Debug, thiserror::Error)]
#[error("the plugin asked for {wanted} bytes of memory and may have {limit}")]
pub(crate) struct OverMemory {
    wanted: usize,
    limit: usize,
}

/// The log of one plugin, shared by its instances.
pub(crate) struct Log {
    plugin: String,
    window: Mutex<Window>,
}

struct Window {
    begins: Instant,
    messages: u32,
}

impl Log {
    pub(crate) fn new(plugin: String) -> Self {
        Self { plugin, window: Mutex::new(Window { begins: Instant::now(), messages: 0 }) }
    }

    /// Counts a message; false when it is one too many for this second.
    fn admit(&self) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.begins.elapsed() >= Duration::from_secs(1) {
            let suppressed = window.messages.saturating_sub(MESSAGES_PER_SECOND);
            if suppressed > 0 {
                tracing::warn!(target: "plugin", plugin = %self.plugin, suppressed, "messages were left out");
            }
            *window = Window { begins: Instant::now(), messages: 0 };
        }
        window.messages = window.messages.saturating_add(1);
        window.messages <= MESSAGES_PER_SECOND
    }
}

impl Host {
    pub(crate) fn new(log: Arc<Log>, memory_limit: usize) -> Self {
        Self { deadline: Deadline::default(), last_words: None, log, memory_limit }
    }
}

impl logging::Host for Host {
    fn log(&mut self, level: logging::Level, target: String, mut message: String) {
        use logging::Level;
        if message.len() > LONGEST_MESSAGE {
            message.truncate(message.floor_char_boundary(LONGEST_MESSAGE));
            message.push('…');
        }
        if level == Level::Critical {
            self.last_words = Some(message.clone());
        }
        if !self.log.admit() {
            return;
        }
        let plugin = &self.log.plugin;
        match level {
            Level::Trace => tracing::trace!(target: "plugin", %plugin, module = %target, "{message}"),
            Level::Debug => tracing::debug!(target: "plugin", %plugin, module = %target, "{message}"),
            Level::Info => tracing::info!(target: "plugin", %plugin, module = %target, "{message}"),
            Level::Warn => tracing::warn!(target: "plugin", %plugin, module = %target, "{message}"),
            Level::Error | Level::Critical => {
                tracing::error!(target: "plugin", %plugin, module = %target, "{message}");
            }
        }
    }

    fn max_level(&mut self) -> logging::Level {
        use logging::Level;
        let current = LevelFilter::current();
        // `off` still lets last words through, because they explain a trap.
        [
            (LevelFilter::TRACE, Level::Trace),
            (LevelFilter::DEBUG, Level::Debug),
            (LevelFilter::INFO, Level::Info),
            (LevelFilter::WARN, Level::Warn),
            (LevelFilter::ERROR, Level::Error),
        ]
        .into_iter()
        .find(|(filter, _)| *filter == current)
        .map_or(Level::Critical, |(_, level)| level)
    }
}

impl types::Host for Host {}

impl ResourceLimiter for Host {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > self.memory_limit {
            // A refusal would surface as whatever the guest's allocator makes of it; a trap names the cause.
            return Err(wasmtime::Error::new(OverMemory { wanted: desired, limit: self.memory_limit }));
        }
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }

    fn instances(&self) -> usize {
        64
    }

    fn tables(&self) -> usize {
        64
    }

    fn memories(&self) -> usize {
        1
    }
}
