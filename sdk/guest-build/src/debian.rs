//! Debian's `rustc-web` and `rust-web-src`: a recent compiler and the sources of its standard
//! library, which the distribution keeps for building browsers. They serve where rustup can't
//! download a target.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

const PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];
const RUSTC: &str = "/usr/bin/rustc";
const LIBRARY_LOCK: &str = "/usr/lib/rustlib/src/rust/library/Cargo.lock";
/// Older ones don't build this edition's crates; plain `rustc` of Debian 12 is 1.63.
const OLDEST_MINOR: u32 = 85;

/// The installed compiler.
#[derive(Debug)]
pub(crate) struct DebianCompiler {
    pub(crate) rustc: PathBuf,
    /// `rustc --version`
    pub(crate) version: String,
}

/// The compiler, when it, its sources and a recent enough version are there.
pub(crate) fn installed() -> Option<DebianCompiler> {
    if !Path::new(LIBRARY_LOCK).is_file() {
        return None;
    }
    let version = ask(Command::new(RUSTC).arg("--version"))?;
    (minor(&version)? >= OLDEST_MINOR).then(|| DebianCompiler { rustc: PathBuf::from(RUSTC), version })
}

/// Installs the packages, which needs Debian and root.
pub(crate) fn install() -> Result<DebianCompiler> {
    let by_hand = format!(
        "install a standard library for the target yourself, or: apt-get install {}",
        PACKAGES.join(" ")
    );
    ensure!(Path::new("/etc/debian_version").is_file(), "this is no Debian; {by_hand}");
    let user = ask(Command::new("id").arg("-u")).unwrap_or_default();
    ensure!(user == "0", "only root can install packages; {by_hand}");
    eprintln!("installing {} with apt-get", PACKAGES.join(" and "));
    let first = apt_install();
    if let Err(reason) = first {
        // An interrupted download or a stale index is mended by starting over.
        eprintln!("{reason:#}; trying once more");
        run(&mut apt_get(&["clean"])?)?;
        run(Command::new("dpkg").args(["--configure", "-a"]).env("DEBIAN_FRONTEND", "noninteractive"))?;
        apt_install()?;
    }
    installed()
        .with_context(|| format!("apt-get installed the packages, but {RUSTC} can't be used; {by_hand}"))
}

/// Debian's linker for WebAssembly, for machines without rustup.
pub(crate) fn wasm_linker() -> Option<PathBuf> {
    let newest_first = (14..=30).rev().map(|version| PathBuf::from(format!("/usr/bin/wasm-ld-{version}")));
    [PathBuf::from("/usr/bin/wasm-ld")].into_iter().chain(newest_first).find(|path| path.is_file())
}

/// Standard output of a command that succeeds, trimmed.
pub(crate) fn ask(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    if !output.status.success() {
        return None;
    }
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
}

fn apt_install() -> Result<()> {
    run(&mut apt_get(&["update"])?)?;
    let mut install = apt_get(&["install", "--yes", "--no-install-recommends"])?;
    run(install.args(PACKAGES))
}

fn apt_get(arguments: &[&str]) -> Result<Command> {
    // apt unpacks by way of TMPDIR; /tmp may be cleaned by others while it does.
    let scratch = Path::new("/var/cache/apt/guest-build");
    fs::create_dir_all(scratch).with_context(|| format!("{} can't be made", scratch.display()))?;
    let mut command = Command::new("apt-get");
    command
        .args(["-q", "-o", "DPkg::Lock::Timeout=300"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("TMPDIR", scratch);
    Ok(command)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().context("a command can't be started")?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    let reason =
        message.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given").to_owned();
    bail!("{} failed: {reason}", command.get_program().to_string_lossy())
}

/// 96 of `rustc 1.96.0 (...)`.
fn minor(version: &str) -> Option<u32> {
    version.strip_prefix("rustc 1.")?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions() {
        assert_eq!(minor("rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)"), Some(96));
        assert_eq!(minor("rustc 1.63.0"), Some(63));
        assert_eq!(minor("clang 14"), None);
    }
}
