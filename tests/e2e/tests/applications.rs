//! Applications that keep writing to a `PostgreSQL`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use e2e::{Scene, eventually};
use test_support::connect;
use test_support::numbers::Numbers;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;

/// Connections that keep writing to the tables `customers`, `orders` and `log` of the scene's schema.
pub(crate) struct Applications {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Result<()>>>,
}

impl Applications {
    /// Starts `number` connections.
    pub(crate) fn start(scene: &Scene<'_>, number: u64) -> Self {
        let (stop, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let tasks = (0..number).map(|seed| {
            let (url, schema) = (scene.target_url(), scene.name().to_owned());
            let (stop, committed) = (Arc::clone(&stop), Arc::clone(&committed));
            tokio::spawn(async move {
                let client = connect::postgres(&url).await?;
                client.batch_execute(&format!("SET search_path = {schema}")).await?;
                let mut numbers = Numbers::new(seed);
                while !stop.load(Ordering::Relaxed) {
                    let transaction = transaction(&mut numbers);
                    match client.batch_execute(&format!("BEGIN; {transaction}")).await {
                        Ok(()) => {
                            committed.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) if is_expected(&error) => client.batch_execute("ROLLBACK").await?,
                        Err(error) => return Err(error).with_context(|| transaction),
                    }
                }
                Ok(())
            })
        });
        let tasks = tasks.collect();
        Self { stop, committed, tasks }
    }

    /// Waits until `number` more transactions have been committed.
    pub(crate) async fn commit_more(&self, number: u64) -> Result<()> {
        let goal = self.committed.load(Ordering::Relaxed) + number;
        eventually("the applications' commits", async || {
            if self.tasks.iter().any(JoinHandle::is_finished) {
                bail!("an application has ended");
            }
            Ok((self.committed.load(Ordering::Relaxed) >= goal).then_some(()))
        })
        .await
    }

    /// Ends them; answers how many transactions they committed.
    pub(crate) async fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.context("an application panicked")??;
        }
        Ok(self.committed.load(Ordering::Relaxed))
    }
}

fn is_expected(error: &tokio_postgres::Error) -> bool {
    let expected = [
        SqlState::UNIQUE_VIOLATION,
        SqlState::T_R_DEADLOCK_DETECTED,
        // Of a row that another has just moved to another partition.
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::FOREIGN_KEY_VIOLATION,
        SqlState::NOT_NULL_VIOLATION,
    ];
    error.code().is_some_and(|code| expected.contains(code))
}

/// The end of a transaction of some changes, now and then rolled back.
fn transaction(numbers: &mut Numbers) -> String {
    let mut statements = String::new();
    for _ in 0..=numbers.below(4) {
        let (id, other, number) = (1 + numbers.below(40), 1 + numbers.below(40), numbers.below(1_000_000));
        let statement = match numbers.below(12) {
            0..=2 => format!(
                "INSERT INTO customers (id, name, email, active, made, doc, picture, score) VALUES \
                 ({id}, 'n{number}', 'e{other}@x', {number} % 2, now(), '{{\"n\": {number}}}', '\\x00{number:06}', {number} / 7.0) \
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name, score = excluded.score"
            ),
            3 => format!("UPDATE customers SET email = 'e{other}@x' WHERE id = {id}"),
            4 => format!(
                "UPDATE customers SET email = CASE id WHEN {id} THEN 'x{other}' ELSE 'x{id}' END WHERE id IN ({id}, {other})"
            ),
            5 => format!("DELETE FROM customers WHERE id = {id}"),
            6 | 7 => format!(
                "INSERT INTO orders VALUES ({}, {id}, NULL, {number} / 100.0, repeat(md5('{number}'), {}), now())",
                other % 3,
                1 + number % 300
            ),
            8 => format!("UPDATE orders SET total = total + 1, seen = now() WHERE number = {id}"),
            9 => format!("UPDATE orders SET number = {other} WHERE shop = {} AND number = {id}", other % 3),
            10 => format!("INSERT INTO log VALUES ({id}, 'l{number}'), ({id}, 'twice'), ({id}, 'twice')"),
            _ => format!("DELETE FROM log WHERE at = {id} AND what <> 'l{number}'"),
        };
        statements.push_str(&statement);
        statements.push_str("; ");
    }
    statements.push_str(if numbers.below(10) == 0 { "ROLLBACK" } else { "COMMIT" });
    statements
}
