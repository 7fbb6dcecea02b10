//! Files that are no plugins, and what the user is told.

use engine_core::ErrorKind;
use engine_plugin::Plugin;
use std::io::Write;

use crate::kit;

fn refusal(bytes: &[u8]) -> String {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("written");
    let error = Plugin::load(&kit::engine(), file.path()).err().expect("no plugin");
    assert_eq!(error.kind(), ErrorKind::Plugin, "{error}");
    error.to_string().replace(&file.path().display().to_string(), "FILE")
}

/// A component from its text, without functions: enough for what it imports and exports by name.
fn component(text: &str) -> Vec<u8> {
    wat::parse_str(format!("(component {text})")).expect("a component")
}

#[test]
fn a_missing_file_is_a_mistake_of_the_command() {
    let error = Plugin::load(&kit::engine(), "/nowhere/plugin.wasm".as_ref()).err().expect("no file");
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("/nowhere/plugin.wasm"), "{error}");
}

#[test]
fn what_is_no_component_is_named() {
    insta::assert_snapshot!(refusal(b"\0asm\x01\0\0\0"), @r"
    the plugin file is a core WebAssembly module, not a component (file FILE)
    help: a plugin is a WebAssembly component: build it with `engine plugin build`, or wrap a core module with wit-component
    ");
    assert!(refusal(b"fn main() {}").contains("is text, not a component"));
    assert!(refusal(b"").contains("is empty"));
    assert!(refusal(b"\x7fELF\x02\x01\x01\0\xff\xff").contains("is not WebAssembly"));
    let cut = &std::fs::read(kit::guest("misbehave")).expect("a guest")[..5000];
    assert!(refusal(cut).contains("damaged"), "{}", refusal(cut));
}

#[test]
fn a_component_of_another_kind_is_told_what_to_export() {
    insta::assert_snapshot!(refusal(&component("")), @r"
    the component exports no migration:plugin/lifecycle (file FILE): it exports nothing
    help: a plugin exports at least migration:plugin/lifecycle and migration:plugin/planning: target the world `planner`, `transformer` or `plugin` of migration:plugin@0.1.0
    ");
}

#[test]
fn an_import_beyond_the_log_is_refused_by_name() {
    let wasi = component(r#"(import "wasi:clocks/wall-clock@0.2.0" (instance (export "now" (func))))"#);
    insta::assert_snapshot!(refusal(&wasi), @r"
    the plugin imports wasi:clocks/wall-clock@0.2.0, which the engine does not grant (file FILE): a plugin may call migration:plugin/logging and nothing else
    help: build it for wasm32-unknown-unknown, not for wasm32-wasip1 or wasip2 (`engine plugin build` does): clock and seed come with `configure`
    ");
}

#[test]
fn another_version_of_the_contract_is_refused_by_version() {
    let import =
        component(r#"(import "migration:plugin/logging@0.2.0" (instance (export "max-level" (func))))"#);
    insta::assert_snapshot!(refusal(&import), @r"
    the plugin is built for migration:plugin@0.2.0 (file FILE): this engine speaks migration:plugin@0.1.0 and what is compatible with it
    help: take a build of the plugin for this engine, or the engine that the plugin was built for
    ");
    let export =
        component(r#"(instance $empty) (export "migration:plugin/lifecycle@9.0.0" (instance $empty))"#);
    assert!(refusal(&export).contains("built for migration:plugin@9.0.0"), "{}", refusal(&export));
}

#[test]
fn exports_without_the_functions_of_the_contract_do_not_fit() {
    let hollow = component(
        r#"(instance $empty)
           (export "migration:plugin/lifecycle@0.1.0" (instance $empty))
           (export "migration:plugin/planning@0.1.0" (instance $empty))"#,
    );
    let refused = refusal(&hollow);
    assert!(refused.starts_with("the plugin doesn't fit the contract"), "{refused}");
    assert!(refused.contains("rebuild the plugin"), "{refused}");
}
