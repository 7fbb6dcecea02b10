//! Other people's tools, to be measured beside the engine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::configuration::run;
use crate::directory::{lock, servers_directory};
use crate::environment::{UNPRIVILEGED, is_root};
use crate::packages::Parcel;
use crate::product::Suite;
use crate::software::{Software, plain};

/// The release of `pg_chameleon` that is fetched: the last of its second series.
const CHAMELEON: &str = "pg_chameleon==2.0.21";

/// What finds or fetches a tool: the one on the path if there is one, else Debian's or the Python package.
#[derive(Debug, Clone)]
pub struct Peer {
    origin: Origin,
}

#[derive(Debug, Clone)]
enum Origin {
    /// The machine has it.
    Path,
    /// Unpacked into this root.
    Root(PathBuf),
    /// Installed into this environment of Python's.
    Environment(PathBuf),
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

    /// `pt-table-checksum` and `pt-table-sync`
    pub fn percona_toolkit() -> Result<Self> {
        Self::provide("pt-table-checksum", &["percona-toolkit", "perl"])
    }

    /// `chameleon`, which refuses to run as root: use [`unprivileged_command`](Self::unprivileged_command).
    pub fn chameleon() -> Result<Self> {
        if is_on_path("chameleon") {
            return Ok(Self { origin: Origin::Path });
        }
        let directory = servers_directory().join("pg_chameleon");
        let done = directory.join(".installed");
        let _lock = lock("pg_chameleon")?;
        if !done.exists() {
            eprintln!("test kit: fetching {CHAMELEON} (once)");
            // The machine's own Python: one that belongs to the user who runs this may be out of the other account's reach.
            let mut environment = Command::new("python3");
            plain(&mut environment);
            run(environment.args(["-m", "venv", "--clear"]).arg(&directory))
                .context("making an environment of Python's: install python3-venv, or chameleon itself")?;
            run(Command::new(directory.join("bin/pip")).args(["install", "--quiet", CHAMELEON]))?;
            fs::write(&done, "")?;
        }
        Ok(Self { origin: Origin::Environment(directory) })
    }

    fn provide(name: &'static str, packages: &'static [&'static str]) -> Result<Self> {
        if is_on_path(name) {
            return Ok(Self { origin: Origin::Path });
        }
        let parcel = Parcel {
            title: name.to_owned(),
            name,
            suite: Suite::Bookworm,
            packages,
            otherwise: format!("install {name}"),
        };
        Ok(Self { origin: Origin::Root(parcel.unpacked()?) })
    }

    /// A command that runs one of its programs.
    pub fn command(&self, program: &str) -> Command {
        let mut command = match &self.origin {
            Origin::Root(root) => {
                let mut command = Command::new("chroot");
                command.arg(root).arg(format!("/usr/bin/{program}"));
                command
            }
            Origin::Path | Origin::Environment(_) => Command::new(self.path(program)),
        };
        plain(&mut command);
        command
    }

    /// A command that runs one of its programs by an account that is not root's, with this directory as its home,
    /// which is given to that account.
    pub fn unprivileged_command(&self, program: &str, home: &Path) -> Result<Command> {
        let mut command = if is_root() {
            Software::give(home)?;
            let mut command = Command::new("setpriv");
            command.arg(format!("--reuid={UNPRIVILEGED}")).arg(format!("--regid={UNPRIVILEGED}"));
            command.arg("--clear-groups").arg(self.path(program));
            command
        } else {
            Command::new(self.path(program))
        };
        plain(&mut command);
        command.env("HOME", home);
        Ok(command)
    }

    /// The program as this process sees it.
    fn path(&self, program: &str) -> PathBuf {
        match &self.origin {
            Origin::Path => PathBuf::from(program),
            Origin::Root(root) => root.join("usr/bin").join(program),
            Origin::Environment(directory) => directory.join("bin").join(program),
        }
    }

    /// A directory for its files, and the name it knows that by.
    pub fn directory(&self) -> Result<(tempfile::TempDir, PathBuf)> {
        let Origin::Root(root) = &self.origin else {
            let directory = tempfile::tempdir()?;
            let path = directory.path().to_owned();
            return Ok((directory, path));
        };
        fs::create_dir_all(root.join("tmp"))?;
        let directory = tempfile::tempdir_in(root.join("tmp"))?;
        let inside = Path::new("/").join(directory.path().strip_prefix(root)?);
        Ok((directory, inside))
    }
}

fn is_on_path(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}
