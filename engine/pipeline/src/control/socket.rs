//! The socket of a task: where it is, whose it is, and lines over it.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind as IoErrorKind};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};

use engine_core::error::{Error, ErrorKind, Result};

const FILE: &str = "control";
/// Longest line.
const LONGEST: u64 = 1 << 20;

/// Binds the socket of the task whose directory, locked by this process, is `directory`. One that is
/// there belonged to a process that was killed.
pub(super) fn bind(directory: &Path) -> Result<UnixListener> {
    let failed = |error: io::Error| {
        Error::new(ErrorKind::State, "the task's control socket can't be made")
            .at("directory", directory.display())
            .caused_by(error)
            .help("choose a place on a local file system with --state-dir")
    };
    match fs::remove_file(directory.join(FILE)) {
        Err(error) if error.kind() != IoErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let (short, _open) = short(directory).map_err(failed)?;
    let listener = UnixListener::bind(short).map_err(failed)?;
    fs::set_permissions(directory.join(FILE), Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Removes the socket.
pub(super) fn remove(directory: &Path) {
    drop(fs::remove_file(directory.join(FILE)));
}

/// Connects to the process that runs the task; `None` when none does.
pub(super) async fn connect(directory: &Path) -> Result<Option<UnixStream>> {
    let connected = match short(directory) {
        Ok((short, _open)) => UnixStream::connect(short).await,
        Err(error) => Err(error),
    };
    match connected {
        Ok(stream) => Ok(Some(stream)),
        // Left behind by a process that was killed, or never made.
        Err(error) if matches!(error.kind(), IoErrorKind::ConnectionRefused | IoErrorKind::NotFound) => {
            Ok(None)
        }
        Err(error) => Err(Error::new(ErrorKind::State, "the running task can't be spoken to")
            .at("socket", directory.join(FILE).display())
            .caused_by(error)
            .help("use the account that started it")),
    }
}

/// The path of the socket by way of the open directory: a socket's own path has at most 107 bytes.
fn short(directory: &Path) -> io::Result<(PathBuf, File)> {
    let open = File::open(directory)?;
    Ok((PathBuf::from(format!("/proc/self/fd/{}/{FILE}", open.as_raw_fd())), open))
}

/// JSON lines in.
pub(super) struct LinesIn {
    input: BufReader<OwnedReadHalf>,
    /// The beginning of a line.
    line: Vec<u8>,
}

/// JSON lines out.
pub(super) struct LinesOut(OwnedWriteHalf);

/// Both directions of a connection.
pub(super) fn lines(stream: UnixStream) -> (LinesIn, LinesOut) {
    let (input, output) = stream.into_split();
    (LinesIn { input: BufReader::new(input), line: Vec::new() }, LinesOut(output))
}

impl LinesIn {
    /// The next line; `None` when the other side has gone. Cancel-safe.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        let left = LONGEST.saturating_sub(self.line.len() as u64);
        let read = (&mut self.input).take(left).read_until(b'\n', &mut self.line).await;
        read.map_err(|error| broken().caused_by(error))?;
        if self.line.is_empty() {
            return Ok(None);
        }
        let line = std::mem::take(&mut self.line);
        serde_json::from_slice(&line).map(Some).map_err(|error| {
            Error::new(ErrorKind::State, "a line over the control socket makes no sense")
                .caused_by(error)
                .help("use the same version of the engine on both sides")
        })
    }
}

impl LinesOut {
    /// Sends a line.
    pub(super) async fn send(&mut self, value: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(value).map_err(|error| broken().caused_by(error))?;
        line.push(b'\n');
        self.0.write_all(&line).await.map_err(|error| broken().caused_by(error))
    }
}

fn broken() -> Error {
    Error::new(ErrorKind::State, "the connection to the running task broke")
}
