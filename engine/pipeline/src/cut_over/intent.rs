//! What has to be undone if the process dies: written down before it is done.

use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use engine_core::cut_over::WriteState;
use engine_core::error::{Error, ErrorKind, Result};

const FILE: &str = "cutover.json";

/// The source is about to be set read-only, or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Intent {
    /// How it was before.
    pub(super) before: WriteState,
    /// When it was set, milliseconds since 1970.
    pub(super) since_ms: u64,
}

/// Reads what an earlier process left.
pub(super) fn read(directory: &Path) -> Result<Option<Intent>> {
    let text = match fs::read(directory.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(directory, error)),
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| failed(directory, error.into()))
}

/// Writes it, to be there after a crash of the machine.
pub(super) fn write(directory: &Path, intent: &Intent) -> Result<()> {
    let text = serde_json::to_vec_pretty(intent).map_err(|error| {
        Error::new(ErrorKind::Internal, "the cut-over's intent can't be written down").caused_by(error)
    })?;
    let write = || {
        let fresh = directory.join("cutover.json.new");
        let mut file = File::create(&fresh)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&fresh, directory.join(FILE))?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|error| failed(directory, error))
}

/// Takes it away.
pub(super) fn remove(directory: &Path) -> Result<()> {
    match fs::remove_file(directory.join(FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(directory, error)),
        _ => Ok(()),
    }
}

fn failed(directory: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::State, "the note about a cut-over can't be read or written")
        .at("file", directory.join(FILE).display())
        .caused_by(error)
        .help("see whether the source is read-only, set it as it should be, and delete the file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_until_it_is_removed() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path();
        assert_eq!(read(path).expect("no file"), None);
        let before = WriteState {
            frozen: false,
            setting: "off".into(),
            statement: "SET GLOBAL read_only = OFF".into(),
        };
        let intent = Intent { before, since_ms: 7 };
        write(path, &intent).expect("a writable directory");
        assert_eq!(read(path).expect("a good file"), Some(intent));
        remove(path).expect("a writable directory");
        remove(path).expect("gone already");
        assert_eq!(read(path).expect("no file"), None);
        fs::write(path.join(FILE), "{").expect("a writable directory");
        assert!(read(path).is_err());
    }
}
