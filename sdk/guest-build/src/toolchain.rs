//! Finding something that compiles for the guests' target.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::debian::{self, DebianCompiler};

/// No operating system, no WASI: all that a guest can call is what the contract imports.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Vector instructions, which every host of components has: columns are worked on a register at a time.
const VECTORS: &str = "target-feature=+simd128";

/// What compiles guests.
#[derive(Debug)]
pub(crate) enum Toolchain {
    /// The current compiler, whose standard library for the target is installed.
    Installed {
        /// `rustc --version`
        version: String,
    },
    /// Debian's compiler for web browsers, which builds the standard library from source.
    Debian {
        compiler: DebianCompiler,
        /// The linker of the current toolchain, or Debian's.
        linker: PathBuf,
    },
}

impl Toolchain {
    /// Takes what is installed, else installs something: with rustup, else with Debian's packages.
    pub(crate) fn find(directory: &Path) -> Result<Self> {
        if let Some(installed) = Self::installed(directory) {
            return Ok(installed);
        }
        if let Some(compiler) = debian::installed() {
            return Self::debian(directory, compiler);
        }
        let rustup = add_target(directory);
        if let Some(installed) = Self::installed(directory) {
            return Ok(installed);
        }
        let compiler = debian::install().with_context(|| match rustup {
            Ok(()) => format!("rustup added {TARGET}, but rustc does not find it"),
            Err(reason) => format!("rustup could not add {TARGET} ({reason})"),
        })?;
        Self::debian(directory, compiler)
    }

    fn installed(directory: &Path) -> Option<Self> {
        let libraries = ask_rustc(directory, &["--print", "target-libdir", "--target", TARGET])?;
        let has_core = std::fs::read_dir(libraries)
            .ok()?
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"));
        if !has_core {
            return None;
        }
        Some(Self::Installed { version: ask_rustc(directory, &["--version"])? })
    }

    fn debian(directory: &Path, compiler: DebianCompiler) -> Result<Self> {
        let linker = rust_lld(directory).or_else(debian::wasm_linker);
        match linker {
            Some(linker) => Ok(Self::Debian { compiler, linker }),
            None => {
                bail!("there is no linker for {TARGET}: neither rustup's rust-lld nor Debian's package lld")
            }
        }
    }

    /// Makes a cargo command use this toolchain.
    pub(crate) fn prepare(&self, command: &mut Command) {
        let (name, flags) = with_vectors(|name| env::var_os(name));
        command.env(name, flags);
        match self {
            Self::Installed { .. } => {}
            Self::Debian { compiler, linker } => {
                command
                    .args(["-Z", "build-std=std,panic_abort"])
                    // The option is unstable in name only: it is how the packages are meant to be used.
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("RUSTC", &compiler.rustc)
                    .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
            }
        }
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installed { version } => write!(f, "{version} and its target {TARGET}"),
            Self::Debian { compiler, linker } => write!(
                f,
                "Debian's {} ({}), standard library from source, linker {}",
                compiler.version,
                compiler.rustc.display(),
                linker.display()
            ),
        }
    }
}

/// The variable from which cargo takes the compiler's flags for guests, and its value with ours
/// added. Cargo reads the first of the three that is set and nothing else.
fn with_vectors(variable: impl Fn(&str) -> Option<OsString>) -> (&'static str, OsString) {
    let sources = [
        ("CARGO_ENCODED_RUSTFLAGS", "\u{1f}"),
        ("RUSTFLAGS", " "),
        ("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", " "),
    ];
    let [.., (usual, _)] = sources;
    for (name, separator) in sources {
        if let Some(mut flags) = variable(name).filter(|flags| !flags.is_empty()) {
            flags.push([separator, "-C", separator, VECTORS].concat());
            return (name, flags);
        }
    }
    (usual, format!("-C {VECTORS}").into())
}

/// The reason is rustup's last line, when it fails.
fn add_target(directory: &Path) -> Result<(), String> {
    eprintln!("adding the target {TARGET} with rustup");
    let output = Command::new("rustup")
        .args(["target", "add", TARGET])
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("rustup can't be started: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(message.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given").trim().to_owned())
}

/// The linker that rustup's toolchains bring along.
fn rust_lld(directory: &Path) -> Option<PathBuf> {
    let sysroot = ask_rustc(directory, &["--print", "sysroot"])?;
    let version = ask_rustc(directory, &["-vV"])?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "))?;
    let linker = Path::new(&sysroot).join("lib/rustlib").join(host).join("bin/rust-lld");
    linker.is_file().then_some(linker)
}

fn ask_rustc<S: AsRef<OsStr>>(directory: &Path, arguments: &[S]) -> Option<String> {
    debian::ask(Command::new("rustc").args(arguments).current_dir(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_the_environment_stay() {
        let with = |set: &'static str, value: &'static str| {
            let (name, flags) = with_vectors(|name| (name == set).then(|| value.into()));
            (name, flags.into_string().expect("text"))
        };
        let usual = "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS";
        assert_eq!(with("none", ""), (usual, "-C target-feature=+simd128".to_owned()));
        assert_eq!(with("RUSTFLAGS", ""), (usual, "-C target-feature=+simd128".to_owned()));
        assert_eq!(
            with("RUSTFLAGS", "-D warnings"),
            ("RUSTFLAGS", "-D warnings -C target-feature=+simd128".to_owned())
        );
        assert_eq!(
            with("CARGO_ENCODED_RUSTFLAGS", "-D\u{1f}warnings").1,
            "-D\u{1f}warnings\u{1f}-C\u{1f}target-feature=+simd128"
        );
    }
}
