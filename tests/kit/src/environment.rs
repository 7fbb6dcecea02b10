//! Facts about the account this process runs under.

use std::os::unix::fs::MetadataExt as _;

/// The account servers run under when this process is root, which they refuse: `nobody`.
pub(crate) const UNPRIVILEGED: u32 = 65_534;

/// Whether this process runs as root.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}
