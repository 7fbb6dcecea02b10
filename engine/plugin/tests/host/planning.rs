//! Loading, configuring and planning.

use engine_core::ErrorKind;
use engine_plugin::{Control, Limits, Plugin, PluginEngine};
use std::time::Instant;

use crate::kit;

fn plan_error(config: &str) -> engine_core::Error {
    let mut control = kit::control(config);
    control
        .plan_table(&kit::words(), &kit::endpoint("mysql"), &kit::endpoint("postgres"))
        .expect_err("a plan that fails")
}

#[test]
fn a_component_is_described_without_a_task() {
    let plugin = kit::misbehave();
    assert_eq!(plugin.name(), "misbehave");
    assert_eq!(plugin.interfaces().world(), "transformer");
    assert_eq!(plugin.interfaces().imports, ["migration:plugin/logging@0.1.0"]);
    assert!(plugin.transforms() && !plugin.maps_ddl() && !plugin.resolves_conflicts());
    let bytes = std::fs::read(plugin.path()).expect("the file");
    assert_eq!((plugin.size(), plugin.digest().len()), (bytes.len() as u64, 64));
}

#[test]
fn compiled_code_is_kept_in_the_cache() {
    let directory = tempfile::tempdir().expect("a directory");
    let cache = directory.path().join("cache");
    let load = || {
        let engine = PluginEngine::new(Some(&cache), Limits::default()).expect("an engine");
        Plugin::load(&engine, &kit::guest("misbehave")).expect("a plugin")
    };
    let first = load();
    let files = || std::fs::read_dir(&cache).expect("a cache").count();
    assert!(files() > 0);
    let second = load();
    assert_eq!(first.digest(), second.digest());
}

#[test]
fn a_plan_comes_back_in_the_engines_terms() {
    let mut control = kit::control("");
    let plan = control
        .plan_table(&kit::words(), &kit::endpoint("mysql"), &kit::endpoint("postgres"))
        .expect("a plan");
    assert_eq!(plan.target.to_string(), "shop.words");
    assert!(plan.calls.filter && plan.calls.transform);
    assert_eq!(plan.transform_reads, [0]);
}

#[test]
fn a_refused_configuration_names_plugin_and_pointer() {
    let settings = kit::settings(r#"{"refuse": "/tables/0/name"}"#);
    let error = Control::new(&kit::misbehave(), &settings).err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::Usage);
    let text = error.to_string();
    assert!(text.contains("plugin misbehave") && text.contains("setting misbehave.tables.0.name"), "{text}");
}

#[test]
fn a_trap_names_plugin_table_message_and_function() {
    let error = plan_error(r#"{"plan": "trap"}"#);
    assert_eq!(error.kind(), ErrorKind::Plugin);
    let text = error.to_string();
    assert!(
        text.starts_with("the plugin trapped (plugin misbehave, table shop.words): told to while planning")
    );
    assert!(text.contains("plan_table"), "no backtrace of the guest: {text}");
}

#[test]
fn endless_planning_ends() {
    let began = Instant::now();
    let error = plan_error(r#"{"plan": "loop"}"#);
    assert!(error.to_string().starts_with("the plugin ran too long"), "{error}");
    // CPU time, so a busy machine may take longer; endless it must not be.
    assert!(began.elapsed().as_secs() < 60);
}

#[test]
fn endless_allocation_ends() {
    let error = plan_error(r#"{"plan": "allocate"}"#);
    assert!(error.to_string().starts_with("the plugin asked for too much memory"), "{error}");
}

#[test]
fn plans_that_make_no_sense_are_refused() {
    let reason = |config: &str| plan_error(config).why().unwrap_or_default().to_owned();
    assert_eq!(
        reason(r#"{"plan": "unknown-operation"}"#),
        "column word: this engine does not know the operation 'reverse'"
    );
    assert_eq!(reason(r#"{"plan": "too-few-rules"}"#), "it has rules for 3 columns and the table has 2");
    assert_eq!(reason(r#"{"plan": "reads-no-column"}"#), "filter-reads names column 99 and the table has 2");
}

#[test]
fn a_control_recovers_from_a_trap() {
    let mut control = kit::control(r#"{"plan": "trap"}"#);
    for _ in 0..2 {
        let plan = control.plan_table(&kit::words(), &kit::endpoint("mysql"), &kit::endpoint("postgres"));
        assert!(plan.expect_err("a trap").to_string().contains("told to while planning"));
    }
}
