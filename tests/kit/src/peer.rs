//! Other people's tools, to be measured beside the engine.

use std::process::Command;

use anyhow::Result;

use crate::packages::Parcel;
use crate::product::Suite;
use crate::software::plain;

/// What finds or fetches `pgloader`: the one on the path if there is one, else Debian's.
#[derive(Debug, Clone)]
pub struct Pgloader {
    /// The program and what comes before its own arguments.
    words: Vec<std::ffi::OsString>,
}

impl Pgloader {
    /// Finds it on this machine, or fetches it.
    pub fn provide() -> Result<Self> {
        if Command::new("pgloader").arg("--version").output().is_ok_and(|output| output.status.success()) {
            return Ok(Self { words: vec!["pgloader".into()] });
        }
        let parcel = Parcel {
            title: "pgloader".to_owned(),
            name: "pgloader",
            suite: Suite::Bookworm,
            packages: &["pgloader"],
            otherwise: "install pgloader".to_owned(),
        };
        let root = parcel.unpacked()?;
        Ok(Self { words: vec!["chroot".into(), root.into(), "/usr/bin/pgloader".into()] })
    }

    /// A command that runs it.
    pub fn command(&self) -> Command {
        let mut words = self.words.iter();
        let mut command = Command::new(words.next().map_or("pgloader".as_ref(), |word| word.as_os_str()));
        plain(command.args(words));
        command
    }
}
