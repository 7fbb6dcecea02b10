//! What a file is, and what a component asks for and offers.

use engine_core::{Error, ErrorKind, Result};
use serde::Serialize;
use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

/// The package that plugins are built against.
const PACKAGE: &str = "migration:plugin";
/// The released versions of it are compatible within this prefix.
const COMPATIBLE: &str = "0.1.";
/// The version this engine was built with.
pub const CONTRACT_VERSION: &str = "0.1.0";
const MAGIC: &[u8] = b"\0asm";
const REQUIRED: [&str; 2] = ["lifecycle", "planning"];
/// Interfaces that a plugin may import: a log, and types without functions.
const IMPORTABLE: [&str; 2] = ["logging", "types"];

/// What a component imports and exports, by full name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interfaces {
    /// Imported interfaces with functions.
    pub imports: Vec<String>,
    /// Exported interfaces.
    pub exports: Vec<String>,
    /// Version of the contract it was built against.
    pub contract: String,
}

impl Interfaces {
    /// Whether interface `name` of the contract is exported.
    pub fn has(&self, name: &str) -> bool {
        self.full_name(name).is_some()
    }

    /// The name, with package and version, under which interface `name` of the contract is exported.
    pub(crate) fn full_name(&self, name: &str) -> Option<&str> {
        self.exports
            .iter()
            .find(|export| matches!(split(export), Some((interface, _)) if interface == name))
            .map(String::as_str)
    }

    /// The smallest world of the contract that the exports fill: `planner`, `object-planner`, `transformer`,
    /// `plugin` or `complete`.
    pub fn world(&self) -> &'static str {
        let more = ["transform", "conflicts", "ddl"].into_iter().any(|name| self.has(name));
        if self.has("objects") {
            if more { "complete" } else { "object-planner" }
        } else if self.has("conflicts") || self.has("ddl") {
            "plugin"
        } else if self.has("transform") {
            "transformer"
        } else {
            "planner"
        }
    }
}

/// Tells a file that is no component from one that is, by its first bytes, and says what it is.
pub(crate) fn refuse_what_is_no_component(bytes: &[u8]) -> Result<()> {
    let how = "a plugin is a WebAssembly component: build it with `engine plugin build`, or wrap a core module \
               with wit-component";
    let refused = |what: &str| Err(Error::new(ErrorKind::Plugin, what).help(how));
    if bytes.is_empty() {
        return refused("the plugin file is empty");
    }
    match (bytes.get(..4), bytes.get(4..8)) {
        (Some(MAGIC), Some([_, _, 1, 0])) => Ok(()),
        (Some(MAGIC), Some([1, 0, 0, 0])) => {
            refused("the plugin file is a core WebAssembly module, not a component")
        }
        (Some(MAGIC), _) => refused("the plugin file is WebAssembly of an unknown kind, or cut short"),
        _ if std::str::from_utf8(bytes.get(..256).unwrap_or(bytes)).is_ok() => {
            refused("the plugin file is text, not a component")
        }
        _ => refused("the plugin file is not WebAssembly"),
    }
}

/// Lists imports and exports, and refuses what this engine can't serve.
pub(crate) fn interfaces(engine: &Engine, component: &Component) -> Result<Interfaces> {
    let kind = component.component_type();
    let exports: Vec<String> = kind
        .exports(engine)
        .filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentInstance(_)))
        .map(|(name, _)| name.to_owned())
        .collect();
    let mut imports = Vec::new();
    for (name, item) in kind.imports(engine) {
        let types_only = match &item.ty {
            ComponentItem::ComponentInstance(instance) => {
                instance.exports(engine).all(|(_, item)| matches!(item.ty, ComponentItem::Type(_)))
            }
            ComponentItem::Type(_) => true,
            _ => false,
        };
        check_import(name, types_only)?;
        if !types_only {
            imports.push(name.to_owned());
        }
    }
    let of_contract = exports.iter().filter_map(|name| split(name));
    let version = |interface: &str| of_contract.clone().find(|(name, _)| *name == interface).map(|(_, v)| v);
    for interface in REQUIRED {
        match version(interface) {
            None => {
                return Err(Error::new(
                    ErrorKind::Plugin,
                    format!("the component exports no {PACKAGE}/{interface}"),
                )
                .because(format!("it exports {}", listed(&exports)))
                .help(format!(
                    "a plugin exports at least {PACKAGE}/lifecycle and {PACKAGE}/planning: target the world \
                         `planner`, `transformer` or `plugin` of {PACKAGE}@{CONTRACT_VERSION}"
                )));
            }
            Some(version) if !version.starts_with(COMPATIBLE) => return Err(other_version(version)),
            Some(_) => {}
        }
    }
    let contract = version(REQUIRED[0]).unwrap_or(CONTRACT_VERSION).to_owned();
    Ok(Interfaces { imports, exports, contract })
}

fn check_import(name: &str, types_only: bool) -> Result<()> {
    if let Some((interface, version)) = split(name) {
        if !version.starts_with(COMPATIBLE) {
            return Err(other_version(version));
        }
        if IMPORTABLE.contains(&interface) || types_only {
            return Ok(());
        }
    }
    let refused =
        Error::new(ErrorKind::Plugin, format!("the plugin imports {name}, which the engine does not grant"))
            .because(format!("a plugin may call {PACKAGE}/logging and nothing else"));
    Err(if name.starts_with("wasi:") {
        refused.help(
            "build it for wasm32-unknown-unknown, not for wasm32-wasip1 or wasip2 (`engine plugin build` does): \
             clock and seed come with `configure`",
        )
    } else {
        refused.help("remove what needs it and build the plugin again")
    })
}

fn other_version(version: &str) -> Error {
    Error::new(ErrorKind::Plugin, format!("the plugin is built for {PACKAGE}@{version}"))
        .because(format!("this engine speaks {PACKAGE}@{CONTRACT_VERSION} and what is compatible with it"))
        .help("take a build of the plugin for this engine, or the engine that the plugin was built for")
}

/// Interface and version of a name like `migration:plugin/planning@0.1.0`; `None` for another package.
fn split(name: &str) -> Option<(&str, &str)> {
    let rest = name.strip_prefix(PACKAGE)?.strip_prefix('/')?;
    Some(rest.split_once('@').unwrap_or((rest, "")))
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_a_file_is_instead() {
        let refusal =
            |bytes: &[u8]| refuse_what_is_no_component(bytes).expect_err("no component").what().to_owned();
        assert_eq!(refusal(b""), "the plugin file is empty");
        assert_eq!(
            refusal(b"\0asm\x01\0\0\0"),
            "the plugin file is a core WebAssembly module, not a component"
        );
        assert_eq!(refusal(b"<!DOCTYPE html>"), "the plugin file is text, not a component");
        assert_eq!(refusal(b"\x7fELF\x02\x01\x01\0\xff"), "the plugin file is not WebAssembly");
        assert!(refusal(b"\0asm\x0d").contains("cut short"));
        assert!(refuse_what_is_no_component(b"\0asm\x0d\0\x01\0").is_ok());
    }

    #[test]
    fn grants_the_log_and_nothing_else() {
        assert!(check_import("migration:plugin/logging@0.1.0", false).is_ok());
        assert!(check_import("migration:plugin/types@0.1.3", true).is_ok());
        let wasi = check_import("wasi:filesystem/types@0.2.0", false).expect_err("no authority");
        assert!(wasi.to_string().contains("wasi:filesystem/types@0.2.0"), "{wasi}");
        let old = check_import("migration:plugin/logging@0.2.0", false).expect_err("another contract");
        assert!(old.to_string().contains("migration:plugin@0.2.0"), "{old}");
    }
}
