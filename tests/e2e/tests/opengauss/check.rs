//! Compared, mended, tested and cut over.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{Run, Writers, eventually};
use test_kit::opengauss::Compatibility;
use test_kit::{Builder, Product};

use super::scene::GaussScene;
use crate::types::cases::{COMMON, Case, MYSQL};
use crate::types::{changes, tables};
use crate::verify::{behind, broken, check, killed, offline, report};
use crate::{self_test, verify};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_broken_is_found_and_mended_and_nothing_else() -> Result<()> {
    let scene = GaussScene::new(Compatibility::B, "og_verify_b").await?;
    broken(&scene).await?;
    scene.close().await?;
    let scene = GaussScene::new(Compatibility::Pg, "og_verify_pg").await?;
    broken(&scene).await?;
    scene.close().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_behind_is_compared_where_it_stands() -> Result<()> {
    let scene = GaussScene::new(Compatibility::B, "og_behind").await?;
    behind(&scene).await?;
    scene.close().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_check_goes_on_where_it_was() -> Result<()> {
    let scene = GaussScene::new(Compatibility::Pg, "og_verify_killed").await?;
    killed(&scene).await?;
    scene.close().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offline_task_is_compared_too() -> Result<()> {
    let scene = GaussScene::new(Compatibility::B, "og_offline").await?;
    offline(&scene).await?;
    scene.close().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_planted_is_found() -> Result<()> {
    let scene = GaussScene::new(Compatibility::B, "og_self_test_b").await?;
    self_test::planted_but(&scene, &[]).await?;
    scene.close().await?;
    let scene = GaussScene::new(Compatibility::A, "og_self_test_a").await?;
    self_test::planted_but(&scene, &["empty for NULL"]).await?;
    scene.close().await
}

/// Every type with the values at its edges, by the copy and by the stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_arrives_with_compatibility_a() -> Result<()> {
    every_type_arrives(GaussScene::new(Compatibility::A, "og_types_a").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_arrives_with_compatibility_b() -> Result<()> {
    every_type_arrives(GaussScene::new(Compatibility::B, "og_types_b").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_arrives_with_dolphin() -> Result<()> {
    every_type_arrives(GaussScene::with_dolphin("og_types_dolphin").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_arrives_with_compatibility_pg() -> Result<()> {
    every_type_arrives(GaussScene::new(Compatibility::Pg, "og_types_pg").await?).await
}

async fn every_type_arrives(scene: GaussScene) -> Result<()> {
    let in_a = scene.compatibility() == Compatibility::A;
    // Empty strings have a test of their own.
    let cases: Vec<Case> = COMMON.iter().chain(MYSQL).copied().collect();
    let cases: Vec<Case> = cases.into_iter().filter(|case| !in_a || !case.expected.is_empty()).collect();
    scene.source().execute(tables(&cases)).await?;
    scene.run().succeed().await?;
    scene.source().execute(changes(&cases)).await?;
    scene.run().succeed().await?;
    let expressions: Vec<String> =
        cases.iter().map(|case| case.read.replace('?', &format!("\"{}\"", case.name))).collect();
    let mut wrong = Vec::new();
    for (id, way) in [(1, "copied"), (2, "inserted"), (3, "updated"), (4, "emptied")] {
        let query = format!("SELECT {} FROM {}.edge WHERE id = {id}", expressions.join(", "), scene.name());
        let row = scene.rows(&query).await?.pop().with_context(|| format!("the {way} row is not there"))?;
        for (case, found) in cases.iter().zip(row) {
            let expected = match case.target_type {
                _ if id == 4 => "NULL".to_owned(),
                "date" if in_a => format!("{} 00:00:00", case.expected),
                _ => case.expected.to_owned(),
            };
            if found != expected {
                wrong.push(format!("{} {way}: {found:?}, not {expected:?}", case.name));
            }
        }
    }
    ensure!(wrong.is_empty(), "{} of {} columns:\n{}", wrong.len(), cases.len(), wrong.join("\n"));

    // What verify reads is what is there.
    report(check(&scene), 0).await?;
    verify::Place::on_target(&scene, "UPDATE edge SET tinyint1 = 1, int_min = 7 WHERE id = 2").await?;
    let found = verify::wrong(&report(check(&scene), 4).await?);
    ensure!(found == ["edge different 2 tinyint1,int_min".to_owned()].into(), "{found:?}");
    report(check(&scene).argument("--repair"), 0).await?;
    scene.close().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_is_cut_over_under_writers() -> Result<()> {
    let server = Box::leak(Box::new(Builder::new(Product::MySql).start()?));
    let scene = GaussScene::from(server, Compatibility::B, "og_cutover").await?;
    scene
        .source()
        .execute([
            "CREATE TABLE customers (id INT UNSIGNED PRIMARY KEY AUTO_INCREMENT, name VARCHAR(50))",
            "CREATE TABLE orders (id BIGINT PRIMARY KEY AUTO_INCREMENT, customer INT UNSIGNED NOT NULL, \
             FOREIGN KEY (customer) REFERENCES customers (id))",
            "INSERT INTO customers (name) VALUES ('a'), (''), ('c')",
            "CREATE USER app IDENTIFIED BY 'app'",
        ])
        .await?;
    let grant = format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {}.* TO app", scene.name());
    scene.source().execute([grant]).await?;
    let url = format!("mysql://app:app@{}:{}/{}", server.host(), server.port(), scene.name());
    let writers = Writers::start(&url, 2, Duration::from_millis(3), |numbers| {
        let customer = 1 + numbers.below(3);
        vec![
            format!("INSERT INTO orders (customer) VALUES ({customer})"),
            format!("UPDATE customers SET name = 'n{}' WHERE id = {customer}", numbers.below(1000)),
        ]
    });
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    writers.commit_more(50).await?;
    let state = scene.source().state_directory().display().to_string();
    // On a busy machine a commit may hold up the freeze for longer than writers may wait for it: then nothing has happened.
    let ended = eventually("the source to be frozen in time", async || {
        let cutover = Run::plain(scene.source().directory())
            .arguments(["cutover", "task", "--json", "--yes", "--set-source-read-only"])
            .arguments(["--state-dir", &state]);
        let outcome = cutover.finish().await?;
        ensure!(
            outcome.status.success() || outcome.said().contains("read_only in time"),
            "{}",
            outcome.said()
        );
        Ok(outcome.status.success().then_some(outcome))
    })
    .await?;
    ensure!(ended.last("cut-over")?["undo"] == "SET GLOBAL read_only = OFF", "{}", ended.said());
    running.finish().await?.succeeded()?;
    writers.stop().await?;
    scene.require_equal().await?;
    let insert = format!("INSERT INTO {}.orders (customer) VALUES (1) RETURNING id::text", scene.name());
    let id: i64 = scene.value(&insert).await?.parse()?;
    let rest = format!("SELECT COALESCE(max(id), 0)::text FROM {}.orders WHERE id <> {id}", scene.name());
    ensure!(id > scene.value(&rest).await?.parse()?, "the number {id} had been given before");
    let error = scene.run().fail().await?;
    ensure!(error.contains("the task was cut over"), "{error}");
    scene.close().await
}
