//! Server software, wherever it comes from, and how its programs are run.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::directory::servers_directory;
use crate::environment::{UNPRIVILEGED, is_root};
use crate::packages::Parcel;
use crate::product::Product;

/// Installed software of one product.
#[derive(Debug, Clone)]
pub struct Software {
    product: Product,
    /// The directory the programs see as `/`; `None` for the machine's own.
    root: Option<PathBuf>,
}

/// The account a program runs under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Account {
    /// That of this process.
    Own,
    /// An unprivileged one if this process is root, else that of this process.
    Unprivileged,
}

/// Finds the product's software on this machine, or fetches it.
pub fn provide(product: Product) -> Result<Software> {
    let installed = Command::new(product.server_program())
        .arg("--version")
        .output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(product.version_mark()));
    let root = if installed && Path::new(product.client_program()).exists() {
        None
    } else {
        Some(Parcel::of(product).unpacked()?)
    };
    Ok(Software { product, root })
}

impl Software {
    /// The product.
    pub const fn product(&self) -> Product {
        self.product
    }

    /// A command that runs one of the product's programs, `path` being absolute as its package has it.
    pub(crate) fn command(&self, path: &str, account: Account) -> Command {
        let unprivileged = account == Account::Unprivileged && is_root();
        let mut command = match &self.root {
            Some(root) => {
                let mut command = Command::new("chroot");
                if unprivileged {
                    command.arg(format!("--userspec={UNPRIVILEGED}:{UNPRIVILEGED}"));
                }
                command.arg(root).arg(path);
                command
            }
            None if unprivileged => {
                let mut command = Command::new("setpriv");
                command.arg(format!("--reuid={UNPRIVILEGED}")).arg(format!("--regid={UNPRIVILEGED}"));
                command.args(["--clear-groups", path]);
                command
            }
            None => Command::new(path),
        };
        plain(&mut command);
        command
    }

    /// The directory below which servers keep their data. An unprivileged server must be able to reach it: inside a
    /// root of its own every path is open to it, otherwise that is the machine's directory for temporary files.
    pub(crate) fn data_directory(&self) -> Result<PathBuf> {
        let directory = match &self.root {
            Some(root) => root.join("srv"),
            None if is_root() => std::env::temp_dir().join("test-kit-data"),
            None => servers_directory().join("data"),
        };
        fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
        Ok(directory)
    }

    /// The name the programs know this directory by.
    pub(crate) fn inside(&self, directory: &Path) -> PathBuf {
        match &self.root {
            Some(root) => match directory.strip_prefix(root) {
                Ok(below) => Path::new("/").join(below),
                Err(_) => directory.to_owned(),
            },
            None => directory.to_owned(),
        }
    }

    /// Makes a directory that the server may write.
    pub(crate) fn make_directory(path: &Path) -> Result<()> {
        fs::create_dir_all(path).with_context(|| format!("creating {}", path.display()))?;
        Self::give(path)
    }

    /// Gives a file to the account of the server.
    pub(crate) fn give(path: &Path) -> Result<()> {
        if is_root() {
            chown(path, Some(UNPRIVILEGED), Some(UNPRIVILEGED))
                .with_context(|| format!("giving {} to the server's account", path.display()))?;
        }
        Ok(())
    }
}

/// Gives a command the surroundings of a plain Debian system.
pub(crate) fn plain(command: &mut Command) {
    command.env("LC_ALL", "C.UTF-8").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/");
}
