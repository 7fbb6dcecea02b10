//! Brings a fault about, and takes it away again.

use std::time::Duration;

use anyhow::{Context as _, Result};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use test_kit::{CommitFault, Proxy, Server};
use test_support::connect;
use test_support::numbers::Numbers;
use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::fault::Fault;
use crate::supervisor::Supervisor;
use crate::tables::DATABASE;

/// Both servers and the ways to them.
#[derive(Debug)]
pub(crate) struct Sides {
    pub(crate) source: Server,
    pub(crate) target: Server,
    pub(crate) to_source: Proxy,
    pub(crate) to_target: Proxy,
}

impl Sides {
    /// Brings the fault about. When this returns, what was stopped runs again, but commits may still be due to break.
    pub(crate) async fn inject(
        &self,
        fault: Fault,
        engine: &mut Supervisor,
        target_database: &str,
        numbers: &mut Numbers,
    ) -> Result<()> {
        let moment = Duration::from_millis(50 + numbers.below(1200));
        match fault {
            Fault::KillEngine => engine.kill().await,
            Fault::Takeover => engine.take_over(moment).await,
            Fault::DeleteState => {
                engine.kill().await?;
                engine.delete_state()
            }
            Fault::RollBackState => {
                engine.kill().await?;
                engine.roll_back_state()
            }
            Fault::KillSource => again(&self.source, Server::kill, moment).await,
            Fault::RestartSource => again(&self.source, Server::stop, moment).await,
            Fault::KillTarget => again(&self.target, Server::kill, moment).await,
            Fault::RestartTarget => again(&self.target, Server::stop, moment).await,
            Fault::CutSource => cut(&self.to_source, moment).await,
            Fault::CutTarget => cut(&self.to_target, moment).await,
            Fault::HoldSource => hold(&self.to_source, 2 * moment).await,
            Fault::HoldTarget => hold(&self.to_target, 2 * moment).await,
            Fault::Slow => {
                let delay = Duration::from_millis(1 + numbers.below(60));
                let limit = 50_000 + numbers.below(1_000_000);
                for proxy in [&self.to_source, &self.to_target] {
                    proxy.delay(delay);
                    proxy.limit(Some(limit));
                }
                sleep(2 * moment).await;
                for proxy in [&self.to_source, &self.to_target] {
                    proxy.delay(Duration::ZERO);
                    proxy.limit(None);
                }
                Ok(())
            }
            Fault::TruncateSource => {
                self.to_source.truncate_after(numbers.below(20_000));
                Ok(())
            }
            Fault::TruncateTarget => {
                self.to_target.truncate_after(numbers.below(200));
                Ok(())
            }
            Fault::LoseAnswer => {
                self.break_commits(CommitFault::LoseAnswer, Duration::ZERO, numbers);
                Ok(())
            }
            Fault::LoseRequest => {
                self.break_commits(CommitFault::LoseRequest, Duration::ZERO, numbers);
                Ok(())
            }
            Fault::LateCommit => {
                // Now and then the engine can't ask at once what became of it.
                let refused = if numbers.below(2) == 0 { Duration::ZERO } else { moment / 4 };
                self.break_commits(CommitFault::Late(moment), refused, numbers);
                Ok(())
            }
            Fault::RotateLog => self.rotate_log(3 + numbers.below(10)).await,
            Fault::KillDump => self.kill_dump().await,
            Fault::EndSessions => {
                let target = connect::postgres(&self.target.url_of(target_database)).await?;
                let ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                             WHERE datname = current_database() AND pid <> pg_backend_pid()";
                target.execute(ended, &[]).await?;
                Ok(())
            }
            Fault::LockRows => self.lock_rows(target_database, moment).await,
        }
    }

    fn break_commits(&self, fault: CommitFault, refused: Duration, numbers: &mut Numbers) {
        self.to_target.break_commits(fault, 1 + numbers.below(3) as u32, refused);
    }

    async fn source_connection(&self) -> Result<Conn> {
        connect::mysql(self.source.url()).await
    }

    async fn rotate_log(&self, times: u64) -> Result<()> {
        let mut source = self.source_connection().await?;
        for _ in 0..times {
            source.query_drop("FLUSH BINARY LOGS").await?;
        }
        Ok(source.disconnect().await?)
    }

    async fn kill_dump(&self) -> Result<()> {
        let mut source = self.source_connection().await?;
        let sending: Vec<u64> = source
            .query("SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'")
            .await?;
        for connection in sending {
            // It may be gone by now.
            let _ = source.query_drop(format!("KILL {connection}")).await;
        }
        Ok(source.disconnect().await?)
    }

    /// Locks rows that are changed all the time, for a moment, one after the other: whoever takes them in another order
    /// can't go on.
    async fn lock_rows(&self, database: &str, moment: Duration) -> Result<()> {
        let target = connect::postgres(&self.target.url_of(database)).await?;
        let counters = format!("{DATABASE}.counters");
        let known: bool = target.query_one("SELECT to_regclass($1) IS NOT NULL", &[&counters]).await?.get(0);
        if !known {
            return Ok(());
        }
        // Both sides of a deadlock may be told to give up; then there is nothing more to hold.
        let _ = target.batch_execute("SET deadlock_timeout = '10s'; BEGIN").await;
        for id in [5, 3, 1] {
            let row = format!("SELECT 1 FROM {counters} WHERE id = {id} FOR UPDATE");
            if target.batch_execute(&row).await.is_err() {
                break;
            }
            sleep(moment / 6).await;
        }
        let _ = target.batch_execute("ROLLBACK").await;
        Ok(())
    }
}

async fn again(server: &Server, end: fn(&Server) -> Result<()>, moment: Duration) -> Result<()> {
    block_in_place(|| end(server))?;
    sleep(moment / 2).await;
    block_in_place(|| server.start()).with_context(|| format!("starting {} again", server.product()))
}

async fn cut(proxy: &Proxy, moment: Duration) -> Result<()> {
    proxy.refuse(true);
    proxy.cut();
    sleep(moment).await;
    proxy.refuse(false);
    Ok(())
}

async fn hold(proxy: &Proxy, moment: Duration) -> Result<()> {
    proxy.hold(true);
    sleep(moment).await;
    proxy.hold(false);
    Ok(())
}
