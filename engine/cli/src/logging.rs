//! Log lines on standard error, past the progress bars.

use std::io::{self, IsTerminal, Write};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use engine_core::{Error, ErrorKind, Result};

use crate::arguments::{LogArguments, LogFormat};
use crate::render::Screen;

/// Sends log events to standard error from here on.
pub(crate) fn start(arguments: &LogArguments, screen: &Screen) -> Result<()> {
    let filter = EnvFilter::try_new(&arguments.log).map_err(|error| {
        Error::new(ErrorKind::Usage, format!("'{}' is no log level or filter", arguments.log))
            .at("option", "--log")
            .because(error)
            .help("write error, warn, info, debug or trace, or a filter such as info,engine_mysql=debug")
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(AroundBars(screen.clone()));
    let started = match arguments.log_format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| Error::new(ErrorKind::Internal, "logging can't be started").because(error))
}

/// Takes the bars off the screen while a line is written.
struct AroundBars(Screen);

struct LineWriter<'a>(&'a Screen);

impl<'a> MakeWriter<'a> for AroundBars {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter(&self.0)
    }
}

impl Write for LineWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
