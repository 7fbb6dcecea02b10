//! Catching up beside `pg_chameleon`, from `MariaDB`: it asks a server for `SHOW MASTER STATUS`, which `MySQL` 9 no longer has.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mysql_async::prelude::Queryable as _;
use test_kit::{PASSWORD, Peer, Product, USER};
use test_support::process::{self, Cost, cpu_seconds_of_server};
use test_support::{connect, within};
use tokio::runtime::Runtime;

use crate::catch_up::change;
use crate::data::{SYSBENCH, SYSBENCH_TABLES, load_sysbench};
use crate::engine;
use crate::measure::Case;
use crate::sides::Sides;

/// The schema that the peer fills.
const SCHEMA: &str = "chameleon";
const LIMIT: Duration = Duration::from_mins(30);
const INTERVAL: Duration = Duration::from_millis(50);
/// Its reader takes names of columns from the binary log alone, and calls them `UNKNOWN_COL…` otherwise.
const NAMES_IN_LOG: &str = "binlog_row_metadata=FULL";

/// Copies the tables by both, then has each apply the same changes, in turn; both follow the same server into
/// the same one.
pub(crate) fn compare(
    runtime: &Runtime,
    peer: &Peer,
    plugin: &Path,
    rows_per_table: u64,
    changes: u64,
    runs: usize,
) -> Result<Vec<Case>> {
    let sides = Sides::with_lines(Product::MariaDb, Product::Postgres15, &[NAMES_IN_LOG])?;
    runtime.block_on(load_sysbench(&sides, rows_per_table))?;
    let chameleon = Chameleon::set_up(peer, &sides)?;
    let catch_up = || -> Result<Command> {
        let mut command = engine::command(&sides, SYSBENCH, &[plugin])?;
        command.args(["--until", "caught-up", "--parallelism", "8"]);
        Ok(command)
    };
    let copied = catch_up()?.status()?;
    ensure!(copied.success(), "the copy before the changes failed: {copied}");
    let mut ours = Case::new("catch-up from MariaDB: engine with mysql2og, 8 lanes", changes);
    let mut theirs = Case::new("catch-up from MariaDB: pg_chameleon", changes);
    for number in 0..runs {
        let done = runtime.block_on(change(&sides, rows_per_table, changes, number as u64))?;
        let mark = -1 - i32::try_from(number)?;
        runtime.block_on(insert_mark(&sides, mark))?;
        let expected = runtime.block_on(source_digest(&sides))?;
        let mut measured = sides.measured(|| process::measure(&mut catch_up()?))?;
        measured.moved = done;
        ours.add(measured);
        ensure!(
            runtime.block_on(target_digest(&sides, SYSBENCH))? == expected,
            "the engine's tables are not the source's"
        );
        let mut measured = sides.measured(|| chameleon.catch_up(runtime, &sides, mark))?;
        measured.moved = done;
        theirs.add(measured);
        ensure!(
            runtime.block_on(target_digest(&sides, SCHEMA))? == expected,
            "pg_chameleon's tables are not the source's"
        );
    }
    Ok(vec![ours, theirs])
}

/// The peer with a home of its own.
struct Chameleon<'a> {
    peer: &'a Peer,
    home: tempfile::TempDir,
}

impl<'a> Chameleon<'a> {
    /// Configures it as its own example does, but for the copy, which is not measured, and copies the tables.
    fn set_up(peer: &'a Peer, sides: &Sides) -> Result<Self> {
        let chameleon = Self { peer, home: tempfile::tempdir()? };
        chameleon.done(&["set_configuration_files"])?;
        let configuration = chameleon.home.path().join(".pg_chameleon/configuration/default.yml");
        std::fs::write(configuration, configuration_text(sides))?;
        chameleon.done(&["create_replica_schema", "--config", "default"])?;
        chameleon.done(&["add_source", "--config", "default", "--source", "mysql"])?;
        chameleon.done(&["init_replica", "--config", "default", "--source", "mysql", "--debug"])?;
        Ok(chameleon)
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.peer.unprivileged_command("chameleon", self.home.path())?;
        command.args(arguments).stdin(Stdio::null());
        Ok(command)
    }

    fn done(&self, arguments: &[&str]) -> Result<()> {
        let output = self.command(arguments)?.output().context("starting chameleon")?;
        ensure!(
            output.status.success(),
            "chameleon {} ended with {}:\n{}{}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// Runs it until the target has the row of the mark, then ends it; its processor time is that until then.
    fn catch_up(&self, runtime: &Runtime, sides: &Sides, mark: i32) -> Result<Cost> {
        let begin = Instant::now();
        let log = self.home.path().join("replica.log");
        let output = std::fs::File::create(&log)?;
        let mut child = self
            .command(&["start_replica", "--config", "default", "--source", "mysql"])?
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("starting chameleon")?;
        let told = || std::fs::read_to_string(&log).unwrap_or_default();
        let mut cpu_seconds = 0.0;
        let arrived = runtime.block_on(async {
            let client = connect::postgres(sides.target.url()).await?;
            let query = format!("SELECT 1 FROM {SCHEMA}.sbtest1 WHERE k = {mark}");
            within("pg_chameleon's changes", LIMIT, async || {
                tokio::time::sleep(INTERVAL).await;
                if let Some(status) = child.try_wait()? {
                    bail!("chameleon ended with {status}");
                }
                cpu_seconds = cpu_seconds_of_server(child.id());
                Ok(client.query_opt(&query, &[]).await?.map(|_| ()))
            })
            .await
        });
        let wall = begin.elapsed();
        let status = interrupt(&mut child)?;
        arrived.with_context(told)?;
        Ok(Cost { status, wall, cpu_seconds, peak_memory: 0 })
    }
}

fn interrupt(child: &mut Child) -> Result<std::process::ExitStatus> {
    Command::new("kill").args(["-INT", &child.id().to_string()]).status()?;
    Ok(child.wait()?)
}

fn configuration_text(sides: &Sides) -> String {
    let (source, target) = (&sides.source, &sides.target);
    format!(
        r#"---
pid_dir: '~/.pg_chameleon/pid/'
log_dir: '~/.pg_chameleon/logs/'
log_dest: stdout
log_level: info
log_days_keep: 10
rollbar_key: ''
rollbar_env: ''
type_override:
pg_conn: {{host: "{}", port: "{}", user: "{USER}", password: "{PASSWORD}", database: "postgres", charset: "utf8"}}
sources:
  mysql:
    db_conn: {{host: "{}", port: "{}", user: "{USER}", password: "{PASSWORD}", charset: 'utf8', connect_timeout: 10}}
    schema_mappings: {{{SYSBENCH}: {SCHEMA}}}
    limit_tables:
    skip_tables:
    grant_select_to:
    lock_timeout: "120s"
    my_server_id: 100
    replica_batch_size: 10000
    replay_max_rows: 10000
    batch_retention: '1 day'
    copy_max_memory: "300M"
    copy_mode: 'direct'
    out_dir: /tmp
    sleep_loop: 1
    on_error_replay: continue
    on_error_read: continue
    auto_maintenance: "disabled"
    gtid_enable: false
    type: mysql
    skip_events: {{insert: [none.none], delete: [none.none], update: [none.none]}}
    keep_existing_schema: No
    net_read_timeout: 600
"#,
        target.host(),
        target.port(),
        source.host(),
        source.port(),
    )
}

/// The change after all others.
async fn insert_mark(sides: &Sides, mark: i32) -> Result<()> {
    let mut connection = connect::mysql(sides.source.url()).await?;
    let row = format!("INSERT INTO {SYSBENCH}.sbtest1 (k, c, pad) VALUES ({mark}, 'mark', 'mark')");
    connection.query_drop(row).await?;
    connection.disconnect().await?;
    Ok(())
}

/// Number, sum of the keys and sum over every value's MD5 of each table's rows.
async fn source_digest(sides: &Sides) -> Result<Vec<String>> {
    let mut connection = connect::mysql(sides.source.url()).await?;
    let mut digests = Vec::new();
    for table in 1..=SYSBENCH_TABLES {
        let query = format!(
            "SELECT CONCAT_WS(' ', COUNT(*), SUM(k), SUM(CAST(CONV(SUBSTRING(MD5(CONCAT_WS('#', id, k, c, pad)), 1, 8), 16, 10) AS UNSIGNED))) \
             FROM {SYSBENCH}.sbtest{table}"
        );
        digests.push(connection.query_first(query).await?.context("no digest")?);
    }
    connection.disconnect().await?;
    Ok(digests)
}

async fn target_digest(sides: &Sides, schema: &str) -> Result<Vec<String>> {
    let client = connect::postgres(sides.target.url()).await?;
    let mut digests = Vec::new();
    for table in 1..=SYSBENCH_TABLES {
        let query = format!(
            "SELECT concat_ws(' ', count(*), sum(k), \
                 sum(('x' || substr(md5(concat_ws('#', id, k, rtrim(c::text), rtrim(pad::text))), 1, 8))::bit(32)::bigint)) \
             FROM {schema}.sbtest{table}"
        );
        digests.push(client.query_one(&query, &[]).await?.get(0));
    }
    Ok(digests)
}
