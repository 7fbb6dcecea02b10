//! A few rounds of the crash campaign, which `cargo xtask torture` runs for as long as one likes.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use test_kit::Product;
use torture::{Campaign, Direction, Options};

fn options(source: Product, seed: u64) -> Options {
    let mut options = Options::new(source, seed);
    options.round = Duration::from_secs(9);
    options.pause = Duration::from_millis(15);
    // The second round goes on with what the first one left.
    options.rounds_per_task = 2;
    options
}

/// Rounds of random faults under random writes, each of which ends with a comparison of every row.
async fn survives(options: Options) -> Result<()> {
    let seed = options.seed;
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
    let mut options = options(Product::MySql, 20);
    options.lines.push("binlog_order_commits=OFF".to_owned());
    survives(options).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rounds_of_faults_are_survived_from_mariadb() -> Result<()> {
    let mut options = options(Product::MariaDb, 10);
    options.lines.push("binlog_row_metadata=FULL".to_owned());
    survives(options).await
}

/// The same of the way back: `PostgreSQL` is written to, and the old source follows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rounds_of_faults_are_survived_on_the_way_back() -> Result<()> {
    let mut options = options(Product::MySql, 15);
    options.direction = Direction::Reverse;
    survives(options).await
}
