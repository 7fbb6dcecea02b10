//! Applications that keep writing to an openGauss.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context as _, Result, bail};
use e2e::eventually;
use test_support::numbers::Numbers;
use tokio::task::JoinHandle;

use super::place::Place;

/// The tables that are written to, one of them without a key.
pub(super) fn tables(schema: &str, rows: u64) -> Vec<String> {
    [
        format!("CREATE SCHEMA {schema}"),
        format!(
            "CREATE TABLE {schema}.customers (id bigint PRIMARY KEY, name varchar(50) NOT NULL, email varchar(50) UNIQUE, \
             active boolean, made timestamp(6), doc jsonb, picture bytea, score float8, share numeric(9,4))"
        ),
        format!(
            "CREATE TABLE {schema}.orders (shop integer, number bigint, customer bigint, total numeric(12,2), note text, \
             seen timestamp(3), PRIMARY KEY (shop, number))"
        ),
        format!("CREATE TABLE {schema}.log (at integer, what varchar(30))"),
        format!(
            "INSERT INTO {schema}.customers SELECT g, 'c' || g, 'mail' || g || '@x', g % 2 = 0, now(), '{{}}', '\\x00', \
             g / 3.0, g / 1000.0 FROM generate_series(1, 50) g"
        ),
        format!(
            "INSERT INTO {schema}.orders SELECT 9, g, g % 7, g / 100.0, repeat(md5(g::text), 8), now() \
             FROM generate_series(1, {rows}) g"
        ),
        format!("INSERT INTO {schema}.log SELECT g % 50, 'l' || g % 9 FROM generate_series(1, 5000) g"),
    ]
    .into_iter()
    .chain(["customers", "orders", "log"].map(|table| whole_rows(schema, table)))
    .collect()
}

/// Has a table log whole rows.
pub(super) fn whole_rows(schema: &str, table: &str) -> String {
    format!("ALTER TABLE {schema}.{table} REPLICA IDENTITY FULL")
}

/// Sessions that keep writing.
pub(super) struct Writing {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
    sessions: Vec<JoinHandle<Result<()>>>,
}

impl Writing {
    /// Starts `number` sessions.
    pub(super) async fn start(place: &Place, number: u64) -> Result<Self> {
        let (stop, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut sessions = Vec::new();
        for seed in 0..number {
            let sql = place.sql().await?;
            let (stop, committed) = (Arc::clone(&stop), Arc::clone(&committed));
            sessions.push(tokio::spawn(async move {
                let mut numbers = Numbers::new(seed);
                while !stop.load(Ordering::Relaxed) {
                    let transaction = transaction(&mut numbers);
                    match sql.batch_execute(&format!("BEGIN; {transaction}")).await {
                        Ok(()) => {
                            committed.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) if is_expected(&error) => sql.batch_execute("ROLLBACK").await?,
                        Err(error) => return Err(error).with_context(|| transaction),
                    }
                }
                Ok(())
            }));
        }
        Ok(Self { stop, committed, sessions })
    }

    /// Waits until `number` more transactions have been committed.
    pub(super) async fn commit_more(&self, number: u64) -> Result<()> {
        let goal = self.committed.load(Ordering::Relaxed) + number;
        eventually("the applications' commits", async || {
            if self.sessions.iter().any(JoinHandle::is_finished) {
                bail!("an application has ended");
            }
            Ok((self.committed.load(Ordering::Relaxed) >= goal).then_some(()))
        })
        .await
    }

    /// Ends them; answers how many transactions they committed.
    pub(super) async fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        for session in self.sessions {
            session.await.context("an application panicked")??;
        }
        Ok(self.committed.load(Ordering::Relaxed))
    }
}

/// Two rows under one key, or two sessions that wait for each other.
fn is_expected(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| matches!(code.code(), "23505" | "40P01"))
}

/// The end of a transaction of some changes, now and then rolled back.
fn transaction(numbers: &mut Numbers) -> String {
    let mut statements = String::new();
    for _ in 0..=numbers.below(4) {
        let (id, other, number) = (1 + numbers.below(60), 1 + numbers.below(60), numbers.below(1_000_000));
        let statement = match numbers.below(12) {
            0 => format!(
                "INSERT INTO customers (id, name, email, active, made, doc, picture, score, share) VALUES \
                 ({id}, 'n{number}', 'e{number}@x', {number} % 2 = 0, now(), '{{\"n\": {number}}}', '\\x00{number:06}', \
                 {number} / 7.0, {number} / 1000000.0)"
            ),
            1 | 2 => format!(
                "UPDATE customers SET name = 'n{number}', active = NOT active, share = -share WHERE id = {id}"
            ),
            3 => format!("UPDATE customers SET email = 'e{other}@x' WHERE id = {id}"),
            4 => format!("UPDATE customers SET id = {other} WHERE id = {id}"),
            5 => format!("DELETE FROM customers WHERE id = {id}"),
            6 | 7 => format!(
                "INSERT INTO orders VALUES ({}, {number}, NULL, {number} / 100.0, repeat(md5('{number}'), {}), now())",
                other % 3,
                1 + number % 300
            ),
            8 => format!(
                "UPDATE orders SET total = total + 1, seen = now() WHERE shop = 9 AND number = {number} / 10"
            ),
            9 => format!("DELETE FROM orders WHERE shop = 9 AND number = {number} / 10"),
            10 => format!("INSERT INTO log VALUES ({id}, 'l{number}'), ({id}, 'twice'), ({id}, 'twice')"),
            _ => format!("DELETE FROM log WHERE at = {id} AND what <> 'l{number}'"),
        };
        statements.push_str(&statement);
        statements.push_str("; ");
    }
    statements.push_str(if numbers.below(10) == 0 { "ROLLBACK" } else { "COMMIT" });
    statements
}
