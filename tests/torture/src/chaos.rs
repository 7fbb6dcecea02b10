//! Brings a fault about, and takes it away again.

use std::time::Duration;

use anyhow::{Context as _, Result};
use mysql_async::prelude::Queryable as _;
use test_kit::{CommitFault, Proxy, Server, USER};
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
    /// The server of the MySQL family, whichever side it is.
    pub(crate) fn mysql(&self) -> &Server {
        if self.source.product().is_postgres() { &self.target } else { &self.source }
    }

    /// The `PostgreSQL`.
    pub(crate) fn postgres(&self) -> &Server {
        if self.source.product().is_postgres() { &self.source } else { &self.target }
    }

    /// The way to the server of the MySQL family.
    pub(crate) fn to_mysql(&self) -> &Proxy {
        if self.source.product().is_postgres() { &self.to_target } else { &self.to_source }
    }

    /// The way to the `PostgreSQL`.
    pub(crate) fn to_postgres(&self) -> &Proxy {
        if self.source.product().is_postgres() { &self.to_source } else { &self.to_target }
    }

    /// Brings the fault about. When this returns, what was stopped runs again, but commits may still be due to break.
    pub(crate) async fn inject(
        &self,
        fault: Fault,
        engine: &mut Supervisor,
        database: &str,
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
            Fault::EndSessions if self.target.product().is_postgres() => {
                let target = connect::postgres(&self.target.url_of(database)).await?;
                let ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                             WHERE datname = current_database() AND pid <> pg_backend_pid()";
                target.execute(ended, &[]).await?;
                Ok(())
            }
            Fault::EndSessions => {
                let sessions = format!(
                    "SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND user = '{USER}'"
                );
                kill(&self.target, &sessions).await
            }
            Fault::LockRows if self.target.product().is_postgres() => self.lock_rows(database, moment).await,
            Fault::LockRows => self.lock_rows_of_mysql(moment).await,
        }
    }

    fn break_commits(&self, fault: CommitFault, refused: Duration, numbers: &mut Numbers) {
        self.to_target.break_commits(fault, 1 + numbers.below(3) as u32, refused);
    }

    async fn rotate_log(&self, times: u64) -> Result<()> {
        if self.source.product().is_postgres() {
            let source = connect::postgres(self.source.url()).await?;
            for _ in 0..times {
                source.batch_execute("SELECT pg_logical_emit_message(false, 'torture', 'x')").await?;
                source.batch_execute("SELECT pg_switch_wal()").await?;
            }
            return Ok(source.batch_execute("CHECKPOINT").await?);
        }
        let mut source = connect::mysql(self.source.url()).await?;
        for _ in 0..times {
            source.query_drop("FLUSH BINARY LOGS").await?;
        }
        Ok(source.disconnect().await?)
    }

    async fn kill_dump(&self) -> Result<()> {
        if self.source.product().is_postgres() {
            let source = connect::postgres(self.source.url()).await?;
            source.batch_execute("SELECT pg_terminate_backend(pid) FROM pg_stat_replication").await?;
            return Ok(());
        }
        let sending = "SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'";
        kill(&self.source, sending).await
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

    /// The same of a target of the MySQL family.
    async fn lock_rows_of_mysql(&self, moment: Duration) -> Result<()> {
        let mut target = connect::mysql(self.target.url()).await?;
        let _ = target.query_drop("BEGIN").await;
        for id in [5, 3, 1] {
            let row = format!("SELECT 1 FROM {DATABASE}.counters WHERE id = {id} FOR UPDATE");
            if target.query_drop(row).await.is_err() {
                break;
            }
            sleep(moment / 6).await;
        }
        let _ = target.query_drop("ROLLBACK").await;
        Ok(())
    }
}

/// Ends the sessions of a server of the MySQL family that a query tells.
async fn kill(server: &Server, sessions: &str) -> Result<()> {
    let mut connection = connect::mysql(server.url()).await?;
    let sessions: Vec<u64> = connection.query(sessions).await?;
    for session in sessions {
        // It may be gone by now.
        let _ = connection.query_drop(format!("KILL {session}")).await;
    }
    Ok(connection.disconnect().await?)
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
