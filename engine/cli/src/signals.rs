//! Ctrl-C and SIGTERM: the first stops cleanly, the second aborts.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use engine_core::{Error, ErrorKind, Result};

use crate::exit::INTERRUPTED;
use crate::render::Screen;

/// Starts to listen. The first signal cancels the token that is returned; the second ends the
/// process at once, which is safe because rows and positions are committed together.
pub(crate) fn stop_on_signal(screen: &Screen) -> Result<CancellationToken> {
    let listen = |kind| {
        signal(kind)
            .map_err(|error| Error::new(ErrorKind::Internal, "signals can't be listened to").caused_by(error))
    };
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let stop = CancellationToken::new();
    let cancelled = stop.clone();
    let screen = screen.clone();
    tokio::spawn(async move {
        either(&mut interrupt, &mut terminate).await;
        screen.line("stopping; run the same command to go on; Ctrl-C again to abort");
        cancelled.cancel();
        either(&mut interrupt, &mut terminate).await;
        screen.line("aborted; run the same command to go on");
        std::process::exit(i32::from(INTERRUPTED));
    });
    Ok(stop)
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Runs `work` unless `stop` comes first; for work that doesn't watch `stop` itself and may be
/// dropped at any point.
pub(crate) async fn unless_stopped<T>(
    stop: &CancellationToken,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    stop.run_until_cancelled(work)
        .await
        .unwrap_or_else(|| Err(Error::new(ErrorKind::Interrupted, "stopped before anything was done")))
}
