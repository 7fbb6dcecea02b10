//! Plugins that are none, don't fit or misbehave, and bad configuration: the engine says which and what, and goes on
//! living.

use std::fs;

use anyhow::Result;
use e2e::{Scene, guest};
use serde_json::json;

use crate::refused::{refused, require_untouched};

#[tokio::test]
async fn files_that_are_no_plugin_for_this_engine() -> Result<()> {
    let scene = Scene::mysql("no_plugin").await?;
    scene.execute(["CREATE TABLE t (id INT PRIMARY KEY)"]).await?;
    let file = scene.directory().join("plugin.wasm");
    let path = file.display().to_string();
    let run = || scene.run().without_plugins().plugin(path.clone());

    refused(run(), 2, &["can't be read", &path, "--plugin"]).await?;
    fs::write(&file, "not a component\n")?;
    refused(run(), 1, &["is text, not a component", "engine plugin build"]).await?;
    fs::write(&file, b"\0asm\x01\0\0\0")?;
    refused(run(), 1, &["core WebAssembly module, not a component", "wit-component"]).await?;
    let good = fs::read(guest("mysql2og")?)?;
    fs::write(&file, good.get(..good.len() / 2).unwrap_or_default())?;
    refused(run(), 1, &["damaged", "build or download it again"]).await?;
    fs::write(&file, built_for(&good, "9.1.0"))?;
    refused(run(), 1, &["built for migration:plugin@9.1.0", "take a build of the plugin for this engine"])
        .await?;
    refused(scene.run().without_plugins(), 2, &["mysql2og.wasm", "--plugin"]).await?;
    require_untouched(&scene).await
}

/// The component with another version of the contract in all its names.
fn built_for(component: &[u8], version: &str) -> Vec<u8> {
    let mut bytes = component.to_vec();
    let (old, new) = (b"@0.1.0", format!("@{version}"));
    let mut at = 0;
    while let Some(found) =
        bytes.get(at..).and_then(|rest| rest.windows(old.len()).position(|window| window == old))
    {
        at += found;
        if let Some(place) = bytes.get_mut(at..at + old.len()) {
            place.copy_from_slice(new.as_bytes());
        }
        at += old.len();
    }
    bytes
}

#[tokio::test]
async fn plugins_that_misbehave_while_planning() -> Result<()> {
    let scene = Scene::mysql("misbehave").await?;
    scene.execute(["CREATE TABLE t (id INT PRIMARY KEY)"]).await?;
    for (misdeed, words) in [
        ("trap", ["the plugin trapped", "told to while planning"]),
        ("loop", ["ran too long", "run_forever"]),
        ("allocate", ["too much memory", "bytes of memory and may have"]),
    ] {
        let run = scene.run().without_plugins().plugin("misbehave").plugin("mysql2og");
        let table = format!("{}.t", scene.name());
        let words = [words[0], words[1], "misbehave", &table];
        refused(run.config(json!({"misbehave": {"plan": misdeed}})), 1, &words).await?;
    }
    require_untouched(&scene).await
}

#[tokio::test]
async fn a_row_that_a_plugin_fails_on_is_set_aside_alone() -> Result<()> {
    let scene = Scene::mysql("bad_row").await?;
    scene
        .execute([
            "CREATE TABLE t (word VARCHAR(40) PRIMARY KEY)",
            "INSERT INTO t VALUES ('a'), ('b'), ('loop'), ('trap'), ('z')",
        ])
        .await?;
    let run = || scene.run().without_plugins().plugin("misbehave").plugin("mysql2og");
    run().succeed().await?;
    let words = format!("SELECT string_agg(word, ' ' ORDER BY word) FROM {}.t", scene.name());
    assert_eq!(scene.value(&words).await?, "A B Z");
    scene.execute(["INSERT INTO t VALUES ('c'), ('refuse'), ('y')"]).await?;
    run().succeed().await?;
    assert_eq!(scene.value(&words).await?, "A B C Y Z");
    let letters = fs::read_to_string(scene.state_directory().join("task/dead-letter.jsonl"))?;
    for word in ["loop", "trap", "refuse"] {
        assert!(letters.contains(word), "{word} is not among the rows set aside:\n{letters}");
    }
    Ok(())
}

#[tokio::test]
async fn configuration_that_means_nothing() -> Result<()> {
    let scene = Scene::mysql("bad_config").await?;
    scene.execute(["CREATE TABLE t (id INT PRIMARY KEY)"]).await?;
    let run = |config| scene.run().config(config);
    refused(run(json!({"mysql2og": {"nonsense": 1}})), 2, &["mysql2og", "nonsense", "plugin inspect"])
        .await?;
    refused(run(json!({"mysql2og": {"zero_dates": "maybe"}})), 2, &["maybe", "plugin inspect"]).await?;
    refused(run(json!({"other": {}})), 2, &["other", "the chain has: mysql2og"]).await?;
    require_untouched(&scene).await
}
