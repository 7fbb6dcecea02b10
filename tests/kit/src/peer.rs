//! Other people's tools, to be measured beside the engine.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::packages::Parcel;
use crate::product::Suite;
use crate::software::plain;

/// What finds or fetches a tool: the one on the path if there is one, else Debian's.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where it was unpacked, if it was.
    root: Option<PathBuf>,
}

impl Peer {
    /// `pgloader`
    pub fn pgloader() -> Result<Self> {
        Self::provide("pgloader", &["pgloader"])
    }

    /// `mydumper` and `myloader`
    pub fn mydumper() -> Result<Self> {
        Self::provide("mydumper", &["mydumper"])
    }

    fn provide(name: &'static str, packages: &'static [&'static str]) -> Result<Self> {
        if Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success()) {
            return Ok(Self { root: None });
        }
        let parcel = Parcel {
            title: name.to_owned(),
            name,
            suite: Suite::Bookworm,
            packages,
            otherwise: format!("install {name}"),
        };
        Ok(Self { root: Some(parcel.unpacked()?) })
    }

    /// A command that runs one of its programs.
    pub fn command(&self, program: &str) -> Command {
        let mut command = match &self.root {
            Some(root) => {
                let mut command = Command::new("chroot");
                command.arg(root).arg(format!("/usr/bin/{program}"));
                command
            }
            None => Command::new(program),
        };
        plain(&mut command);
        command
    }

    /// A directory for its files, and the name it knows that by.
    pub fn directory(&self) -> Result<(tempfile::TempDir, PathBuf)> {
        let Some(root) = &self.root else {
            let directory = tempfile::tempdir()?;
            let path = directory.path().to_owned();
            return Ok((directory, path));
        };
        std::fs::create_dir_all(root.join("tmp"))?;
        let directory = tempfile::tempdir_in(root.join("tmp"))?;
        let inside = Path::new("/").join(directory.path().strip_prefix(root)?);
        Ok((directory, inside))
    }
}
