//! Debian packages, downloaded with a private apt state and unpacked into a private root.
//!
//! Nothing of the machine's own apt or dpkg changes: the state, the cache and the list of sources are files below
//! the kit's directory, the packages are unpacked with `dpkg-deb` and no maintainer script runs. The mirror is the
//! one the machine is set up for.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::directory::{lock, servers_directory};
use crate::product::{Product, Suite};

/// What scripts of the servers (`mariadb-install-db`, `initdb`) call.
const BASE_PACKAGES: [&str; 9] =
    ["dash", "bash", "coreutils", "sed", "grep", "mawk", "hostname", "libc-bin", "tzdata"];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Packages that are fetched together.
pub(crate) struct Parcel<'a> {
    /// What they hold, for people.
    pub(crate) title: String,
    /// Short, for files.
    pub(crate) name: &'a str,
    pub(crate) suite: Suite,
    /// apt adds what they depend on.
    pub(crate) packages: &'a [&'a str],
    /// What to do where they can't be fetched.
    pub(crate) otherwise: String,
}

impl Parcel<'_> {
    /// The software of a product.
    pub(crate) fn of(product: Product) -> Self {
        Self {
            title: product.to_string(),
            name: product.name(),
            suite: product.suite(),
            packages: product.packages(),
            otherwise: format!(
                "install {product} or set {} to the URL of a server (compose.yaml starts one)",
                product.variable()
            ),
        }
    }

    /// The root directory with the software, downloaded and unpacked if it is not there yet.
    pub(crate) fn unpacked(&self) -> Result<PathBuf> {
        let suite = self.suite.name();
        let root = servers_directory().join(format!("root-{suite}"));
        let done = root.join(format!(".unpacked-{}", self.name));
        if done.exists() {
            return Ok(root);
        }
        let _lock = lock(&format!("apt-{suite}"))?;
        if done.exists() {
            return Ok(root);
        }
        self.require_root_and_apt()?;
        eprintln!("test kit: fetching {} from Debian's {suite} (once)", self.title);
        let apt = Apt::new(self.suite)?;
        apt.download(self.packages).with_context(|| format!("downloading the packages of {}", self.title))?;
        lay_out(&root)?;
        apt.unpack(&root)?;
        fs::write(&done, "")?;
        Ok(root)
    }

    fn require_root_and_apt(&self) -> Result<()> {
        let (title, help) = (&self.title, &self.otherwise);
        ensure!(
            Path::new("/usr/bin/apt-get").exists() && Path::new("/usr/bin/dpkg-deb").exists(),
            "no {title} on this machine and no apt-get to fetch it with: {help}"
        );
        ensure!(
            crate::environment::is_root(),
            "no {title} on this machine, and only root can run unpacked packages: {help}"
        );
        Ok(())
    }
}

/// A private apt state for one suite.
struct Apt {
    state: PathBuf,
}

impl Apt {
    fn new(suite: Suite) -> Result<Self> {
        let state = servers_directory().join(format!("apt-{}", suite.name()));
        fs::create_dir_all(state.join("lists/partial"))?;
        fs::create_dir_all(state.join("cache/archives/partial"))?;
        fs::create_dir_all(state.join("unpacked"))?;
        fs::write(state.join("status"), "")?;
        let sources: Vec<String> = mirrors(suite)?
            .into_iter()
            .map(|(address, name)| format!("deb [signed-by={KEYRING}] {address} {name} main\n"))
            .collect();
        fs::write(state.join("sources.list"), sources.concat())?;
        let apt = Self { state };
        apt.run(&["update"]).context("reading the package lists")?;
        Ok(apt)
    }

    fn download(&self, packages: &[&str]) -> Result<()> {
        let mut arguments = vec!["--download-only", "install"];
        arguments.extend(BASE_PACKAGES);
        arguments.extend(packages);
        self.run(&arguments)
    }

    fn run(&self, arguments: &[&str]) -> Result<()> {
        let state = self.state.display();
        let mut command = Command::new("apt-get");
        for option in [
            format!("Dir::State={state}"),
            format!("Dir::State::lists={state}/lists"),
            format!("Dir::State::status={state}/status"),
            format!("Dir::Cache={state}/cache"),
            format!("Dir::Etc::sourcelist={state}/sources.list"),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            "Dir::Etc::preferencesparts=/dev/null".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
            "APT::Install-Recommends=false".to_owned(),
            "APT::Get::Assume-Yes=true".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=3".to_owned(),
        ] {
            command.arg("-o").arg(option);
        }
        let output = command.args(arguments).stdin(Stdio::null()).output().context("running apt-get")?;
        if !output.status.success() {
            bail!(
                "apt-get {} failed:\n{}{}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }

    /// Unpacks every downloaded archive that was not unpacked before.
    fn unpack(&self, root: &Path) -> Result<()> {
        for entry in fs::read_dir(self.state.join("cache/archives"))? {
            let archive = entry?.path();
            let Some(name) = archive.file_name().filter(|_| archive.extension().is_some_and(|e| e == "deb"))
            else {
                continue;
            };
            let mark = self.state.join("unpacked").join(name);
            if mark.exists() {
                continue;
            }
            unpack_archive(&archive, root)?;
            fs::write(mark, "")?;
        }
        Ok(())
    }
}

/// `tar` follows the links that merge `/bin` and `/lib` into `/usr`; `dpkg-deb -x` would replace them.
fn unpack_archive(archive: &Path, root: &Path) -> Result<()> {
    let mut reader = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(archive)
        .stdout(Stdio::piped())
        .spawn()
        .context("running dpkg-deb")?;
    let content = reader.stdout.take().context("dpkg-deb has no output")?;
    let unpacked = Command::new("tar")
        .args(["-x", "--keep-directory-symlink", "--no-same-owner", "-C"])
        .arg(root)
        .stdin(content)
        .status()
        .context("running tar")?;
    ensure!(reader.wait()?.success() && unpacked.success(), "unpacking {} failed", archive.display());
    Ok(())
}

/// Address and suite of the mirrors this machine is set up for, turned to the wanted suite.
fn mirrors(suite: Suite) -> Result<Vec<(String, String)>> {
    let output = Command::new("apt-get")
        .args(["indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Created-By: Packages"])
        .output()
        .context("asking apt for its mirrors")?;
    let listed = String::from_utf8(output.stdout).context("apt's mirrors")?;
    let configured: Vec<(&str, &str)> = listed.lines().filter_map(|line| line.split_once(' ')).collect();
    let (main, _) = configured
        .iter()
        .find(|(address, name)| address.contains("/debian") && !name.contains('-'))
        .context("apt of this machine has no Debian mirror (see `apt-get indextargets`)")?;
    let mut mirrors = vec![((*main).to_owned(), suite.name().to_owned())];
    let security = format!("{}-security", suite.name());
    if let Some((address, name)) = configured.iter().find(|(_, name)| *name == security) {
        mirrors.push(((*address).to_owned(), (*name).to_owned()));
    }
    Ok(mirrors)
}

/// Lays out what packages expect of an installed system and their maintainer scripts would make.
fn lay_out(root: &Path) -> Result<()> {
    for directory in
        ["usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "etc/ssl/certs", "tmp", "dev", "proc", "run", "srv"]
    {
        fs::create_dir_all(root.join(directory))?;
    }
    fs::create_dir_all(root.join("var/tmp"))?;
    for merged in ["bin", "sbin", "lib", "lib64"] {
        if fs::symlink_metadata(root.join(merged)).is_err() {
            symlink(format!("usr/{merged}"), root.join(merged))?;
        }
    }
    for (name, target) in [("sh", "dash"), ("awk", "mawk")] {
        let link = root.join("usr/bin").join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(target, link)?;
        }
    }
    for directory in ["tmp", "var/tmp"] {
        fs::set_permissions(root.join(directory), fs::Permissions::from_mode(0o1777))?;
    }
    for (file, content) in [
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/tmp:/bin/sh\n"),
        ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
        ("etc/hosts", "127.0.0.1 localhost\n"),
        ("etc/nsswitch.conf", "hosts: files\n"),
        ("etc/ssl/certs/ca-certificates.crt", ""),
    ] {
        fs::write(root.join(file), content)?;
    }
    for (name, minor) in [("null", 3), ("zero", 5), ("random", 8), ("urandom", 9)] {
        device(&root.join("dev").join(name), minor)?;
    }
    Ok(())
}

/// Makes one of the kernel's memory devices (major number 1).
fn device(path: &Path, minor: u32) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let made =
        Command::new("mknod").arg("-m").arg("666").arg(path).args(["c", "1", &minor.to_string()]).status()?;
    ensure!(made.success(), "cannot make the device {} that the servers need", path.display());
    Ok(())
}
