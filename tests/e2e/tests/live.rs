//! The source is written to while it is copied: afterwards both sides are equal, row for row.

mod keys;
mod transactions;

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::{Scene, Writers};
use mysql_async::prelude::Queryable as _;
use test_kit::{Builder, Product, Server};
use test_support::compare::{compare, require_equal, tables_of};
use test_support::numbers::Numbers;
use test_support::writer::Writer;
use test_support::{connect, shop};

#[tokio::test]
async fn a_shop_on_mysql_is_equal_afterwards() -> Result<()> {
    let server = Builder::new(Product::MySql).start()?;
    migrate_shop(&server, "shop_mysql").await
}

#[tokio::test]
async fn a_shop_on_mysql_without_gtids_is_equal_afterwards() -> Result<()> {
    let builder = Builder::new(Product::MySql).line("gtid_mode=OFF").line("enforce_gtid_consistency=OFF");
    migrate_shop(&builder.start()?, "shop_mysql_positions").await
}

#[tokio::test]
async fn a_shop_on_mariadb_is_equal_afterwards() -> Result<()> {
    let server = Builder::new(Product::MariaDb).start()?;
    migrate_shop(&server, "shop_mariadb").await
}

/// On `MariaDB` every event of rows then has a type of its own.
#[tokio::test]
async fn a_shop_on_mariadb_with_a_compressed_log_is_equal_afterwards() -> Result<()> {
    let builder = Builder::new(Product::MariaDb).line("log_bin_compress=ON");
    migrate_shop(&builder.line("log_bin_compress_min_len=10").start()?, "shop_mariadb_compressed").await
}

/// All events of a transaction then come in one, compressed.
#[tokio::test]
async fn a_shop_on_mysql_with_a_compressed_log_is_equal_afterwards() -> Result<()> {
    let builder = Builder::new(Product::MySql).line("binlog_transaction_compression=ON");
    migrate_shop(&builder.start()?, "shop_mysql_compressed").await
}

/// Copies a shop under several writers until the engine has caught up once, then stops them, catches up with the rest,
/// and compares every row. The shop's tables are few or many rows, some with foreign keys, one without a key.
async fn migrate_shop(server: &Server, test: &str) -> Result<()> {
    let scene = Scene::new(server, test_kit::postgres()?, test).await?;
    let mut source = connect::mysql(server.url()).await?;
    shop::load(&mut source, 8).await?;
    let url = server.url_of(shop::DATABASE);
    for table in MORE_TABLES {
        source.query_drop(*table).await?;
    }

    let shopper = Writer::start(url.clone(), 200, 1);
    let more = Writers::start(&url, 3, Duration::from_millis(5), transaction);
    more.commit_more(10).await?;
    let run = || scene.run().replace("--source", url.clone());
    let copied = run().succeed().await;
    let transactions = shopper.stop().await?.transactions + more.stop().await?.transactions;
    copied?;
    ensure!(transactions > 100, "only {transactions} transactions were committed during the copy");

    run().succeed().await?;
    let pairs = tables_of(&mut source, shop::DATABASE).await?;
    let comparisons = compare(&mut source, &scene.target().await?, &pairs).await?;
    require_equal(&comparisons)?;

    // The place to go on from survives new log files and a restart of the source.
    source.query_drop("INSERT INTO shop.journal VALUES (NULL, 1, 'before')").await?;
    source.query_drop("FLUSH BINARY LOGS").await?;
    source.query_drop("UPDATE shop.slots SET n = -1 WHERE n > 0 LIMIT 50").await?;
    source.disconnect().await?;
    server.restart()?;
    let mut source = connect::mysql(server.url()).await?;
    source.query_drop("INSERT INTO shop.journal VALUES (NULL, 2, 'after')").await?;
    run().succeed().await?;
    let comparisons = compare(&mut source, &scene.target().await?, &pairs).await?;
    source.disconnect().await?;
    require_equal(&comparisons)
}

const MORE_TABLES: &[&str] = &[
    "CREATE TABLE shop.slots (id INT PRIMARY KEY, seat VARCHAR(20) NOT NULL, bench INT NULL, n INT NOT NULL, \
     UNIQUE KEY seat (seat), UNIQUE KEY bench (bench))",
    "INSERT INTO shop.slots SELECT id, CONCAT('seat ', id), id, 0 FROM shop.customers WHERE id <= 200",
    "CREATE TABLE shop.journal (at TIMESTAMP(6) NULL, slot INT, what TEXT)",
];

/// What the shop's own writer does not do: swaps without a third value, chains of key changes, a row that goes and comes
/// back in one transaction, unique values that are NULL for a while, and a keyless table beside.
fn transaction(numbers: &mut Numbers) -> Vec<String> {
    let (one, other) = (1 + numbers.below(200), 1 + numbers.below(200));
    let journal = format!("INSERT INTO journal VALUES (NOW(6), {one}, REPEAT('x', {other}))");
    match numbers.below(6) {
        // Keys move up by one, from the last on.
        0 => vec![
            format!("UPDATE slots SET id = id + 1000 WHERE id BETWEEN {one} AND {one} + 5"),
            format!("UPDATE slots SET id = id - 1000 WHERE id BETWEEN {one} + 1000 AND {one} + 1005"),
        ],
        1 => vec![
            format!("UPDATE slots SET bench = NULL WHERE id IN ({one}, {other})"),
            format!("UPDATE slots SET bench = 100000 + {one} * 1000 + {other} WHERE id = {one}"),
            journal,
        ],
        2 if one != other => vec![
            format!("UPDATE slots SET id = -{one} WHERE id = {one}"),
            format!("UPDATE slots SET id = {one} WHERE id = {other}"),
            format!("UPDATE slots SET id = {other} WHERE id = -{one}"),
        ],
        3 => vec![
            format!("DELETE FROM slots WHERE id = {one}"),
            format!("INSERT INTO slots VALUES ({one}, CONCAT('seat ', {one}), NULL, {other})"),
            format!("DELETE FROM journal WHERE slot = {one} LIMIT 1"),
        ],
        4 => vec![format!("UPDATE journal SET slot = slot + 1 WHERE slot = {one} LIMIT 2"), journal],
        _ => vec![
            format!("UPDATE slots SET n = n + 1 WHERE id BETWEEN {one} AND {one} + 20"),
            format!("UPDATE slots SET seat = CONCAT('moved ', {one}) WHERE id = {one}"),
            format!("UPDATE slots SET seat = CONCAT('seat ', {one}) WHERE id = {one}"),
        ],
    }
}
