//! Ends a server when the process that owns it ends, even by SIGKILL.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// A shell that waits for the end of its standard input, which the kernel closes when the owner is gone, then kills
/// the server and removes its directory. It leads a process group of its own, so that Ctrl-C reaches it not.
#[derive(Debug)]
pub(crate) struct Watchdog(Child);

const SCRIPT: &str = r#"
trap '' INT TERM HUP
read -r _
kill -KILL "$1" 2>/dev/null
[ -n "$2" ] && rm -rf -- "$2"
exit 0
"#;

impl Watchdog {
    /// Watches over the process `server`; `directory` is removed after it, where given.
    pub(crate) fn start(server: u32, directory: Option<&Path>) -> Result<Self> {
        let child = Command::new("sh")
            .args(["-c", SCRIPT, "test-kit-watchdog", &server.to_string()])
            .arg(directory.unwrap_or(Path::new("")))
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting the watchdog of a server")?;
        Ok(Self(child))
    }

    /// Calls the watchdog off: the server has ended already, or is to outlive this process.
    pub(crate) fn call_off(mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
