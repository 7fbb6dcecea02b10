//! The crates to build, as cargo sees them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::cargo::cargo_in;

/// A guest crate.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
    pub(crate) workspace_root: PathBuf,
    /// The workspace's target directory.
    pub(crate) target_directory: PathBuf,
    /// File name of what it becomes, without extension.
    pub(crate) artifact: String,
    /// The cargo profile it is built with.
    pub(crate) profile: String,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetadataPackage>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct MetadataPackage {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<MetadataTarget>,
}

#[derive(Deserialize)]
struct MetadataTarget {
    name: String,
    crate_types: Vec<String>,
}

impl Package {
    /// The guest crate in `directory`.
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        match Self::read_if_guest(directory)? {
            Some(package) => Ok(package),
            None => bail!(
                "the crate in {} is no plugin: its Cargo.toml must say [lib] crate-type = [\"cdylib\"]",
                directory.display()
            ),
        }
    }

    fn read_if_guest(directory: &Path) -> Result<Option<Self>> {
        let directory = directory
            .canonicalize()
            .with_context(|| format!("the plugin's folder {} can't be read", directory.display()))?;
        let manifest = directory.join("Cargo.toml");
        let output = cargo_in(&directory)
            .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
            .arg(&manifest)
            .output()
            .context("cargo can't be started")?;
        if !output.status.success() {
            bail!("{} can't be read: {}", manifest.display(), String::from_utf8_lossy(&output.stderr).trim());
        }
        let metadata: Metadata =
            serde_json::from_slice(&output.stdout).context("cargo metadata printed something unknown")?;
        let Some(package) = metadata.packages.into_iter().find(|package| package.manifest_path == manifest)
        else {
            bail!("{} is a workspace without a crate of its own", manifest.display());
        };
        let is_dynamic_library =
            |target: &MetadataTarget| target.crate_types.iter().any(|kind| kind == "cdylib");
        let Some(target) = package.targets.into_iter().find(is_dynamic_library) else { return Ok(None) };
        Ok(Some(Self {
            name: package.name,
            profile: profile_of(&metadata.workspace_root)?,
            directory,
            workspace_root: metadata.workspace_root,
            target_directory: metadata.target_directory,
            artifact: target.name.replace('-', "_"),
        }))
    }

    /// Where guests are compiled: apart from the host's builds, whose flags and compiler differ.
    pub(crate) fn build_directory(&self) -> PathBuf {
        self.target_directory.join("guest-build")
    }

    /// The compiled module.
    pub(crate) fn module(&self) -> PathBuf {
        self.build_directory()
            .join(crate::toolchain::TARGET)
            .join(&self.profile)
            .join(&self.artifact)
            .with_extension("wasm")
    }

    /// The finished component.
    pub(crate) fn component(&self) -> PathBuf {
        self.target_directory.join("guests").join(&self.artifact).with_extension("wasm")
    }
}

/// The guest crates in the folders directly under `folder`; none when there is no such folder.
pub(crate) fn guests_under(folder: &Path) -> Result<Vec<Package>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut packages = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("{} can't be read", folder.display()))? {
        let directory = entry?.path();
        if directory.join("Cargo.toml").is_file() {
            packages.extend(Package::read_if_guest(&directory)?);
        }
    }
    Ok(packages)
}

/// `guest` where the workspace defines that profile, else `release`.
fn profile_of(workspace_root: &Path) -> Result<String> {
    let manifest = workspace_root.join("Cargo.toml");
    let text =
        fs::read_to_string(&manifest).with_context(|| format!("{} can't be read", manifest.display()))?;
    let has_guest = text.lines().any(|line| line.trim() == "[profile.guest]");
    Ok(if has_guest { "guest" } else { "release" }.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    #[test]
    fn finds_guests_and_leaves_other_crates_out() {
        let root = tempfile::tempdir().expect("a folder");
        let workspace = root.path().canonicalize().expect("a path");
        let manifest = |name: &str, lib: &str| format!("[package]\nname = \"{name}\"\n[lib]\n{lib}\n");
        write(&workspace, "plugins/one-rule/Cargo.toml", &manifest("one-rule", "crate-type = [\"cdylib\"]"));
        write(&workspace, "plugins/one-rule/src/lib.rs", "");
        write(&workspace, "plugins/plain/Cargo.toml", &manifest("plain", ""));
        write(&workspace, "plugins/plain/src/lib.rs", "");
        write(&workspace, "plugins/README.md", "");

        let found = guests_under(&workspace.join("plugins")).expect("readable");
        let names: Vec<_> = found.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["one-rule"]);
        let one = found.first().expect("one guest");
        assert_eq!(one.profile, "release");
        assert!(one.component().ends_with("target/guests/one_rule.wasm"));
        assert!(guests_under(&workspace.join("examples")).expect("no folder is no error").is_empty());

        let error = Package::read(&workspace.join("plugins/plain")).expect_err("not a guest");
        assert!(error.to_string().contains("crate-type"), "{error}");
    }
}
