//! openGauss followed by its own plugin, `mppdb_decoding`, in each of its ways.

use anyhow::{Result, ensure};
use test_kit::opengauss::{Compatibility, Settings};
use test_support::engine::Run;

use super::OpenGauss;
use super::place::Place;
use super::writing::{Writing, tables};
use crate::refused::refused;

/// Transactions between two kills.
const BETWEEN: u64 = 40;

/// Copied and followed under writers by an engine that is killed; `more` is written at the end.
async fn followed(place: &Place, more: &[&str]) -> Result<()> {
    place.execute(tables(place.name(), 20_000)).await?;
    let writing = Writing::start(place, 2).await?;
    writing.commit_more(BETWEEN).await?;
    let slow = |run: Run| run.arguments(["--max-rows-per-second", "20000"]);
    for phase in ["snapshot", "streaming"] {
        let mut running = slow(place.run()).start()?;
        running.phase(phase).await?;
        writing.commit_more(BETWEEN).await?;
        running.kill().await?;
    }
    writing.commit_more(BETWEEN).await?;
    writing.stop().await?;
    place.execute(more).await?;
    place.catch_up().succeed().await?;
    place.require_equal().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_serial_decoding_is_followed_under_fire() -> Result<()> {
    let place = Place::new(OpenGauss::any()?, "mppdb_serial").await?.decoded("mppdb-serial");
    let statements = [
        "TRUNCATE log",
        "INSERT INTO log VALUES (1, 'after')",
        // Before rows, and amid them.
        "BEGIN; TRUNCATE log; INSERT INTO log VALUES (2, 'filled anew'); COMMIT",
        "BEGIN; INSERT INTO log VALUES (3, 'gone'); DELETE FROM orders WHERE number < 50; TRUNCATE log; \
         INSERT INTO log VALUES (4, 'there'); COMMIT",
        "UPDATE customers SET share = 0.5, score = -0.25 WHERE id = 1",
        "UPDATE orders SET note = (SELECT string_agg(md5(g::text || number), '') FROM generate_series(1, 400) g) \
         WHERE shop = 9 AND number BETWEEN 100 AND 120",
        "UPDATE orders SET total = -1 WHERE shop = 9 AND number BETWEEN 100 AND 110",
        "UPDATE customers SET name = E'it''s a \\\\ \"b\"\\nç' WHERE id = 2",
    ];
    followed(&place, &statements).await?;
    place.command("verify").argument("--json").succeed().await?;
    place.command("cutover").arguments(["--json", "--yes"]).succeed().await?;
    ensure!(place.kept().await? == 0, "the source still keeps something");
    place.drop().await
}

/// More than is kept in memory, in one transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_transaction_is_kept_until_it_ends() -> Result<()> {
    let place = Place::new(OpenGauss::any()?, "mppdb_large").await?.decoded("mppdb-serial");
    place.execute(tables(place.name(), 100)).await?;
    place.catch_up().succeed().await?;
    place
        .execute([
            "INSERT INTO orders SELECT 8, g, 1, 0, repeat(md5(g::text), 20), NULL FROM generate_series(1, 30000) g",
            "UPDATE orders SET total = 1 WHERE shop = 8 AND number % 7 = 0",
        ])
        .await?;
    place.catch_up().succeed().await?;
    place.require_equal().await?;
    place.drop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_parallel_style_is_followed_under_fire() -> Result<()> {
    for (style, test) in [("binary", "par_b"), ("json", "par_j"), ("text", "par_t")] {
        let decoding = format!("mppdb-parallel&decode-style={style}&parallel-decode-num=3");
        let place = Place::new(OpenGauss::any()?, test).await?.decoded(&decoding);
        followed(&place, &["DELETE FROM log WHERE at = 7", "INSERT INTO log VALUES (7, 'it''s')"]).await?;
        place.command("verify").argument("--json").succeed().await?;
        place.drop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_parallel_decoding_loses_is_found_and_mended() -> Result<()> {
    let place = Place::new(OpenGauss::any()?, "mppdb_loss").await?.decoded("mppdb-parallel");
    place.execute(tables(place.name(), 100)).await?;
    let said = place.command("precheck").finish().await?.said();
    ensure!(said.contains("loses changes in silence") && said.contains("engine verify"), "{said}");
    place.catch_up().succeed().await?;
    place
        .execute([
            "BEGIN; INSERT INTO log VALUES (90, 'seen'); CREATE TEMP TABLE scratch (id integer); \
             INSERT INTO log VALUES (91, 'lost'); COMMIT",
            "INSERT INTO log VALUES (92, 'seen')",
        ])
        .await?;
    place.catch_up().succeed().await?;
    ensure!(place.require_equal().await.is_err(), "nothing was lost");
    place.command("verify").argument("--json").finish().await?.failed(4)?;
    place.command("verify").arguments(["--json", "--repair"]).succeed().await?;
    place.require_equal().await?;
    place.drop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn booleans_with_dolphin_are_right_or_refused() -> Result<()> {
    let settings = || Settings { compatibility: Compatibility::B, dolphin: true, ..Settings::default() };
    for (decoding, test) in [("mppdb-serial", "dolphin_s"), ("mppdb-parallel", "dolphin_b")] {
        let place = Place::new(OpenGauss::double(settings())?, test).await?.decoded(decoding);
        place.execute(tables(place.name(), 100)).await?;
        place.catch_up().succeed().await?;
        place.execute(["UPDATE customers SET active = NOT active WHERE id <= 20"]).await?;
        place.catch_up().succeed().await?;
        place.require_equal().await?;
        place.drop().await?;
    }
    for (style, test) in [("json", "dolphin_j"), ("text", "dolphin_t")] {
        let decoding = format!("mppdb-parallel&decode-style={style}");
        let place = Place::new(OpenGauss::double(settings())?, test).await?.decoded(&decoding);
        place.execute(tables(place.name(), 10)).await?;
        let words = ["false for every boolean", "customers.active", "mppdb-serial"];
        let told = place.command("precheck").finish().await?.said();
        ensure!(words.iter().all(|word| told.contains(word)), "{told}");
        refused(place.catch_up(), 1, &words).await?;
        ensure!(place.kept().await? == 0, "something was made");
        place.drop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_structure_stops_it() -> Result<()> {
    let place = Place::new(OpenGauss::any()?, "mppdb_ddl").await?.decoded("mppdb-serial");
    place.execute(tables(place.name(), 10)).await?;
    place.catch_up().succeed().await?;
    place.execute(["ALTER TABLE log ADD COLUMN more integer", "INSERT INTO log VALUES (1, 'x', 2)"]).await?;
    let said = place.catch_up().finish().await?.failed(1)?;
    ensure!(said.contains("another structure") && said.contains("more"), "{said}");
    place.drop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decoding_is_chosen_knowingly_and_once() -> Result<()> {
    let mut place = Place::new(OpenGauss::any()?, "mppdb_usage").await?;
    place.execute(tables(place.name(), 10)).await?;
    for (decoding, words) in [
        ("mppdb", ["pgoutput", "mppdb-serial", "mppdb-parallel"]),
        ("mppdb-parallel&parallel-decode-num=1", ["parallel-decode-num", "2 to 20", "mppdb-serial"]),
        ("mppdb-parallel&decode-style=b", ["json", "text", "binary"]),
        ("mppdb-serial&decode-style=json", ["decode-style", "mppdb-parallel", "leave it out"]),
        ("pgoutput&parallel-decode-num=4", ["parallel-decode-num", "mppdb-parallel", "leave it out"]),
    ] {
        place = place.decoded(decoding);
        refused(place.run(), 2, &words).await?;
    }
    ensure!(place.kept().await? == 0, "something was made");
    place = place.decoded("mppdb-serial");
    place.catch_up().succeed().await?;
    place = place.decoded("pgoutput");
    refused(place.catch_up(), 2, &["another plugin", "mppdb_decoding", "--name"]).await?;
    place = place.decoded("mppdb-serial");
    place.execute(["INSERT INTO log VALUES (1, 'more')"]).await?;
    place.catch_up().succeed().await?;
    place.require_equal().await?;
    place.drop().await
}
