//! Somebody who keeps changing the shop while it migrates.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, TxOpts};
use tokio::task::JoinHandle;

use crate::connect;
use crate::numbers::Numbers;
use crate::shop::DATABASE;

/// A running writer; ends its current transaction and stops when asked.
#[derive(Debug)]
pub struct Writer {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<Written>>,
}

/// What a writer did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Written {
    /// Committed transactions.
    pub transactions: u64,
    /// Rows inserted, updated and deleted in them.
    pub changes: u64,
}

impl Writer {
    /// Starts changing the shop at `url`, at most `per_second` transactions a second.
    pub fn start(url: String, per_second: u32, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut connection = connect::mysql(&url).await?;
            connection.query_drop(format!("USE {DATABASE}")).await?;
            let mut pace = tokio::time::interval(Duration::from_secs(1) / per_second.max(1));
            let mut numbers = Numbers::new(seed);
            let mut written = Written::default();
            while !flag.load(Ordering::Relaxed) {
                pace.tick().await;
                written.changes +=
                    transaction(&mut connection, &mut numbers).await.context("changing the shop")?;
                written.transactions += 1;
            }
            Ok(written)
        });
        Self { stop, task }
    }

    /// Stops after the current transaction.
    pub async fn stop(self) -> Result<Written> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.context("the writer panicked")?
    }
}

/// One transaction of a random kind; answers the number of rows it changed.
async fn transaction(connection: &mut Conn, numbers: &mut Numbers) -> Result<u64> {
    let kind = numbers.below(10);
    let statements = match kind {
        0..=2 => new_order(connection, numbers).await?,
        3 => forget_order(numbers),
        4 => vec![renumber_line(numbers)],
        5 => swap_emails(numbers),
        6 => vec![review(numbers)],
        7 => visits(numbers),
        8 => rekey_review(numbers),
        _ => edit_customer(numbers),
    };
    let mut transaction = connection.start_transaction(TxOpts::default()).await?;
    let mut changes = 0;
    for statement in statements {
        transaction.query_drop(&statement).await.with_context(|| format!("in {statement}"))?;
        changes += transaction.affected_rows();
    }
    // Some transactions never happened.
    if kind == 9 && numbers.below(8) == 0 {
        transaction.rollback().await?;
        return Ok(0);
    }
    transaction.commit().await?;
    Ok(changes)
}

fn customer(numbers: &mut Numbers) -> u64 {
    1 + numbers.below(40_000)
}

fn product(numbers: &mut Numbers) -> String {
    format!("(SELECT sku FROM products ORDER BY sku LIMIT {}, 1)", numbers.below(200))
}

async fn new_order(connection: &mut Conn, numbers: &mut Numbers) -> Result<Vec<String>> {
    let id: Option<u64> = connection.query_first("SELECT MAX(id) + 1 FROM orders").await?;
    let id = id.unwrap_or(1);
    let mut statements = vec![format!(
        "INSERT INTO orders VALUES ({id}, {}, '2026-02-28 12:00:00.{:03}', 'new', '-00:00:00.{:06}', {}.50)",
        customer(numbers),
        numbers.below(1000),
        numbers.below(1_000_000),
        numbers.below(10_000)
    )];
    for line in 1..=1 + numbers.below(4) {
        let sku = product(numbers);
        statements.push(format!("INSERT INTO order_lines VALUES ({id}, {line}, {sku}, {line}, 9.9900)"));
    }
    statements.push(format!(
        "UPDATE customers SET points = points - 1, balance = balance - 0.000001, seen = '2026-02-28 12:00:00' WHERE id = {}",
        customer(numbers)
    ));
    Ok(statements)
}

fn forget_order(numbers: &mut Numbers) -> Vec<String> {
    let id = 1 + numbers.below(60_000);
    vec![
        format!("DELETE FROM order_lines WHERE order_id = {id}"),
        format!("DELETE FROM orders WHERE id = {id}"),
    ]
}

/// A part of a composite key changes.
fn renumber_line(numbers: &mut Numbers) -> String {
    let id = 1 + numbers.below(60_000);
    format!(
        "UPDATE order_lines SET line = line + 10 WHERE order_id = {id} AND line < 60000 ORDER BY line DESC"
    )
}

/// Two rows swap the values of a unique column, by way of a third value.
fn swap_emails(numbers: &mut Numbers) -> Vec<String> {
    let first = customer(numbers);
    let second = 1 + first % 40_000;
    vec![
        format!("SELECT email INTO @first FROM customers WHERE id = {first}"),
        format!("SELECT email INTO @second FROM customers WHERE id = {second}"),
        format!("UPDATE customers SET email = CONCAT('swapping ', UUID()) WHERE id = {first}"),
        format!("UPDATE customers SET email = @first WHERE id = {second}"),
        format!("UPDATE customers SET email = @second WHERE id = {first}"),
    ]
}

fn review(numbers: &mut Numbers) -> String {
    let (high, low) = (numbers.next(), numbers.next());
    let sku = product(numbers);
    format!("INSERT INTO reviews VALUES (UNHEX('{high:016X}{low:016X}'), {sku}, 5, 'neu 🎉 \\\\ \\t ''x''')")
}

/// A whole key changes.
fn rekey_review(numbers: &mut Numbers) -> Vec<String> {
    let (high, low) = (numbers.next(), numbers.next());
    let old = numbers.below(15_000);
    vec![format!(
        "UPDATE reviews SET id = UNHEX('{high:016X}{low:016X}'), stars = (stars + 1) % 6 \
         WHERE id = UNHEX(LEFT(SHA2('r{old}', 256), 32))"
    )]
}

/// In the table without a key: two equal rows, and one of two equal rows deleted.
fn visits(numbers: &mut Numbers) -> Vec<String> {
    let number = numbers.below(10_000);
    vec![
        format!("INSERT INTO visits VALUES ('2026-01-01 00:00:00.5', x'7F000001', '/v/{number}')"),
        format!("INSERT INTO visits VALUES ('2026-01-01 00:00:00.5', x'7F000001', '/v/{number}')"),
        format!("DELETE FROM visits WHERE path = '/p/{number}' LIMIT 1"),
    ]
}

fn edit_customer(numbers: &mut Numbers) -> Vec<String> {
    let id = customer(numbers);
    let bits = numbers.below(1024);
    vec![
        format!(
            "UPDATE customers SET flags = {bits}, interests = 'music,it''s new', note = 'été €', portrait = x'00FF5C', \
             preferences = JSON_OBJECT('n', {bits}, 'deep', JSON_ARRAY(1, 2.5, NULL, 'é😀')) WHERE id = {id}"
        ),
        format!(
            "UPDATE stock SET amount = amount - 1, counted = '2026-02-28 12:00:00.000001' WHERE warehouse = 'W{:02}' LIMIT 20",
            1 + id % 20
        ),
    ]
}
