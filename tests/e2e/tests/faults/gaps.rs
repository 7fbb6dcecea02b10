//! Transactions whose identifiers leave gaps, or come in another order than their numbers: none is passed over.

use anyhow::{Result, ensure};
use e2e::Scene;
use mysql_async::prelude::Queryable as _;
use test_kit::{Builder, Product};

use super::arrives;

const TABLES: [&str; 2] =
    ["CREATE TABLE t (id INT PRIMARY KEY)", "CREATE TABLE keyless (n INT NOT NULL, v VARCHAR(60) NULL)"];

/// A server from which some transactions came.
const ELSEWHERE: &str = "11111111-2222-3333-4444-555555555555";

/// Commits a row under an identifier of its own, as a replica does that gets transactions in whatever order.
async fn insert_as(scene: &Scene<'_>, number: u32) -> Result<()> {
    let mut source = scene.source().await?;
    for statement in [
        format!("SET gtid_next = '{ELSEWHERE}:{number}'"),
        "BEGIN".to_owned(),
        format!("INSERT INTO t VALUES ({number})"),
        format!("INSERT INTO keyless VALUES ({number}, 'once')"),
        "COMMIT".to_owned(),
        "SET gtid_next = 'AUTOMATIC'".to_owned(),
    ] {
        source.query_drop(statement).await?;
    }
    source.disconnect().await?;
    Ok(())
}

#[tokio::test]
async fn in_the_executed_set_are_followed_and_filled() -> Result<()> {
    let source = Builder::new(Product::MySql).start()?;
    let scene = Scene::new(&source, test_kit::postgres()?, "gaps").await?;
    scene.execute(TABLES).await?;
    for number in [1, 2, 5, 20] {
        insert_as(&scene, number).await?;
    }
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    // Beyond, into a gap and at its edges, from the greatest number to the smallest.
    for number in [30, 12, 6, 4] {
        insert_as(&scene, number).await?;
    }
    arrives(&scene, "with gaps").await?;
    running.kill().await?;
    // Into gaps that the position of the task has.
    for number in [3, 19, 40, 21] {
        insert_as(&scene, number).await?;
    }
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    insert_as(&scene, 13).await?;
    arrives(&scene, "with fewer gaps").await?;
    running.interrupt().await?;
    running.finish().await?.failed(130)?;
    for number in (1..=40).filter(|number| ![1, 2, 3, 4, 5, 6, 12, 13, 19, 20, 21, 30, 40].contains(number)) {
        insert_as(&scene, number).await?;
    }
    std::fs::remove_dir_all(scene.state_directory())?;
    scene.run().succeed().await?;
    let mut connection = scene.source().await?;
    let executed: Option<String> = connection.query_first("SELECT @@GLOBAL.gtid_executed").await?;
    connection.disconnect().await?;
    ensure!(executed.is_some_and(|set| set.contains(&format!("{ELSEWHERE}:1-40"))), "there are gaps left");
    scene.require_equal().await
}

#[tokio::test]
async fn in_the_sequences_of_mariadb_are_followed() -> Result<()> {
    let source = Builder::new(Product::MariaDb).start()?;
    let scene = Scene::new(&source, test_kit::postgres()?, "gaps_mariadb").await?;
    scene.execute(TABLES).await?;
    let insert_as = async |domain: u32, sequence: u64| -> Result<()> {
        let mut source = scene.source().await?;
        for statement in [
            format!("SET SESSION gtid_domain_id = {domain}"),
            format!("SET SESSION gtid_seq_no = {sequence}"),
            format!("INSERT INTO keyless VALUES ({domain}, 'number {sequence}')"),
        ] {
            source.query_drop(statement).await?;
        }
        source.disconnect().await?;
        Ok(())
    };
    insert_as(0, 1_000_000).await?;
    insert_as(7, 5).await?;
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    for (domain, sequence) in [(7, 500), (0, 5_000_000_000), (8, 1), (7, 501)] {
        insert_as(domain, sequence).await?;
    }
    arrives(&scene, "with gaps").await?;
    running.kill().await?;
    for (domain, sequence) in [(9, 77), (7, 1_000), (0, 6_000_000_000)] {
        insert_as(domain, sequence).await?;
    }
    std::fs::remove_dir_all(scene.state_directory())?;
    scene.run().succeed().await?;
    insert_as(8, 9).await?;
    scene.run().succeed().await?;
    scene.require_equal().await
}
