//! Where server software and data are kept, and the lock that keeps processes apart there.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The directory that holds unpacked server software, data templates and running servers' data.
///
/// `TEST_SERVERS_DIR` overrides it, so that several checkouts can share one; the default is `servers` in Cargo's
/// target directory.
pub fn servers_directory() -> PathBuf {
    if let Some(directory) = std::env::var_os("TEST_SERVERS_DIR") {
        return PathBuf::from(directory);
    }
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    let target = target.canonicalize().unwrap_or(target);
    target.join("servers")
}

/// A lock between processes; it is released when dropped or when the process ends.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held for its lock")] File);

/// Waits for the lock of the given name.
pub(crate) fn lock(name: &str) -> Result<Lock> {
    let directory = servers_directory();
    fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
    let path = directory.join(format!(".{name}.lock"));
    let file = File::create(&path).with_context(|| format!("opening the lock {}", path.display()))?;
    file.lock().with_context(|| format!("waiting for the lock {}", path.display()))?;
    Ok(Lock(file))
}
