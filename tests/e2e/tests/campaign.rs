//! A few rounds of the crash campaign, which `cargo xtask torture` runs for as long as one likes.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use test_kit::Product;
use torture::{Campaign, Options};

/// Rounds of random faults under random writes, each of which ends with a comparison of every row.
async fn survives(source: Product, seed: u64, line: &str) -> Result<()> {
    let mut options = Options::new(source, seed);
    options.lines.push(line.to_owned());
    options.round = Duration::from_secs(9);
    options.pause = Duration::from_millis(15);
    // The second round goes on with what the first one left.
    options.rounds_per_task = 2;
    let mut campaign = Campaign::begin(options).await?;
    for _ in 0..2 {
        campaign.round().await.with_context(|| format!("cargo xtask torture --seed {seed} does it again"))?;
    }
    let tally = campaign.tally();
    ensure!(
        tally.faults.values().sum::<u64>() > 5 && tally.written.changes > 1000,
        "too little happened: {tally:?}"
    );
    Ok(())
}

/// Its transactions become visible in another order than the log has them in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rounds_of_faults_are_survived_from_mysql() -> Result<()> {
    survives(Product::MySql, 20, "binlog_order_commits=OFF").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rounds_of_faults_are_survived_from_mariadb() -> Result<()> {
    survives(Product::MariaDb, 10, "binlog_row_metadata=FULL").await
}
