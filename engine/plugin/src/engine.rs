//! The one wasmtime engine of a process.

use engine_core::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Cache, CacheConfig, Config, Engine};

use crate::bindings::contract;
use crate::host::Host;

/// How often a running guest is asked whether its time is up.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// What one plugin instance may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of one instance, in bytes.
    pub memory: usize,
    /// CPU time of one call that plans, configures or decides.
    pub planning: Duration,
    /// CPU time of one call over a batch, whatever its size.
    pub batch: Duration,
    /// CPU time added for each row of the batch.
    pub per_row: Duration,
    /// How many rows of one batch may fail by trap before the plugin is given up.
    pub isolated_rows: usize,
    /// How long one batch may be searched for rows that trap, in real time.
    pub isolation: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 256 << 20,
            planning: Duration::from_secs(5),
            batch: Duration::from_secs(2),
            per_row: Duration::from_micros(100),
            isolated_rows: 64,
            isolation: Duration::from_mins(1),
        }
    }
}

/// Compiles and runs plugins. Cheap to clone; one per process is enough.
#[derive(Clone)]
pub struct PluginEngine {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    linker: Linker<Host>,
    limits: Limits,
    /// Dropped with the engine, which ends the ticker thread.
    _ticker: Sender<()>,
}

impl PluginEngine {
    /// An engine that keeps compiled code under `cache`, or nowhere.
    pub fn new(cache: Option<&Path>, limits: Limits) -> Result<Self> {
        let mut config = Config::new();
        config
            .concurrency_support(false)
            .epoch_interruption(true)
            .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(32));
        if let Some(directory) = cache {
            config.cache(Some(open_cache(directory)?));
        }
        let engine = Engine::new(&config).map_err(internal("WebAssembly can't be run on this machine"))?;
        let mut linker = Linker::new(&engine);
        contract::Complete::add_to_linker::<Host, HasSelf<Host>>(&mut linker, |host| host)
            .map_err(internal("the plugin contract can't be linked"))?;
        let ticker = start_ticker(&engine)?;
        Ok(Self { inner: Arc::new(Inner { engine, linker, limits, _ticker: ticker }) })
    }

    /// What each instance may use.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    pub(crate) fn wasmtime(&self) -> &Engine {
        &self.inner.engine
    }

    pub(crate) fn linker(&self) -> &Linker<Host> {
        &self.inner.linker
    }
}

fn internal(what: &'static str) -> impl Fn(wasmtime::Error) -> Error {
    move |error| Error::new(ErrorKind::Internal, what).because(format!("{error:#}"))
}

fn open_cache(directory: &Path) -> Result<Cache> {
    let state = |why: String| {
        Error::new(ErrorKind::State, "compiled plugins can't be cached")
            .at("directory", directory.display())
            .because(why)
            .help("make the directory writable, or name another with --state-dir")
    };
    let absolute: PathBuf = std::path::absolute(directory).map_err(|error| state(error.to_string()))?;
    let mut config = CacheConfig::new();
    config.with_directory(absolute);
    Cache::new(config).map_err(|error| state(format!("{error:#}")))
}

/// Advances the engine's epoch until the returned sender is dropped.
fn start_ticker(engine: &Engine) -> Result<Sender<()>> {
    let (alive, ended) = channel();
    let engine = engine.weak();
    std::thread::Builder::new()
        .name("plugin-ticker".to_owned())
        .spawn(move || {
            while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                let Some(engine) = engine.upgrade() else { return };
                engine.increment_epoch();
            }
        })
        .map_err(|error| {
            Error::new(ErrorKind::Internal, "the thread that limits plugins can't be started")
                .caused_by(error)
        })?;
    Ok(alive)
}
