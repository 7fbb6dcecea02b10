//! Builds plugins: a Rust crate of type `cdylib` becomes a WebAssembly component.
//!
//! The crate is compiled for `wasm32-unknown-unknown`, where there is no operating system to call,
//! and the module is then wrapped by `wit-component`: a component built here imports nothing but
//! what the plugin contract offers. [`build`] is what `engine plugin build` does with a third
//! party's crate, [`build_all`] what `cargo xtask plugins` does with those of a workspace.

mod cargo;
mod component;
mod debian;
mod package;
mod toolchain;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use package::Package;
use toolchain::Toolchain;

/// Folders of a workspace whose crates are guests.
const GUEST_FOLDERS: [&str; 3] = ["plugins", "examples", "tests/guests"];

/// Builds the crate in `directory` and answers the path of its component,
/// `target/guests/NAME.wasm` of the workspace it belongs to.
///
/// # Errors
/// When there is no toolchain for the target and none can be installed, when the crate does not
/// compile, or when it is not a plugin.
pub fn build(directory: &Path) -> Result<PathBuf> {
    let package = Package::read(directory)?;
    let built = build_packages(std::slice::from_ref(&package))?;
    built.into_iter().next().context("nothing was built")
}

/// Builds every crate of type `cdylib` directly under `plugins/`, `examples/` and `tests/guests/`
/// of a workspace and answers the paths of their components, ordered by name.
///
/// # Errors
/// As [`build`].
pub fn build_all(workspace_root: &Path) -> Result<Vec<PathBuf>> {
    let mut packages = Vec::new();
    for folder in GUEST_FOLDERS {
        packages.extend(package::guests_under(&workspace_root.join(folder))?);
    }
    ensure!(!packages.is_empty(), "there are no plugins under {}", workspace_root.display());
    packages.sort_by(|one, other| one.artifact.cmp(&other.artifact));
    build_packages(&packages)
}

fn build_packages(packages: &[Package]) -> Result<Vec<PathBuf>> {
    let Some(first) = packages.first() else { return Ok(Vec::new()) };
    let toolchain = Toolchain::find(&first.directory)?;
    eprintln!("building plugins with {toolchain}");
    // Crates of one workspace compile in one go, so that they share their dependencies.
    for of_workspace in packages.chunk_by(|one, other| one.workspace_root == other.workspace_root) {
        cargo::build(of_workspace, &toolchain)?;
    }
    packages.iter().map(component::encode).collect()
}
