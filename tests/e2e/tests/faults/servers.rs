//! Servers that die under writes, and a target that has no connection left.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{Scene, Writers, eventually};
use test_kit::{Builder, PASSWORD, Product, Server, USER};
use test_support::compare::{compare, require_equal, tables_of};
use test_support::connect;
use tokio::task::block_in_place;

use super::{Lines, TABLES, arrives, transaction};
use crate::refused::refused;

/// `MySQL` ends a stream in other ways than `MariaDB`, and goes by sets of GTIDs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_dies_in_the_middle_of_its_log_is_followed_on() -> Result<()> {
    // What a process has committed must survive its death, though not that of the machine.
    let source = Builder::new(Product::MySql).line("innodb_flush_log_at_trx_commit=2").start()?;
    let scene = Scene::new(&source, test_kit::postgres()?, "source_death").await?;
    scene.execute(TABLES).await?;
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    for round in 0..2 {
        let writers = Writers::start(&scene.source_url(), 3, Duration::from_millis(2), |numbers| {
            transaction(numbers.below(1000))
        });
        writers.commit_more(100).await?;
        block_in_place(|| source.kill())?;
        // They die with it, in the middle of a transaction.
        ensure!(writers.stop().await.is_err(), "the writers did not notice");
        block_in_place(|| source.start())?;
        arrives(&scene, &format!("after death {round}")).await?;
    }
    running.interrupt().await?;
    running.finish().await?.failed(130)?;
    scene.run().succeed().await?;
    scene.require_equal().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_dies_under_a_stream_from_mysql_is_waited_for() -> Result<()> {
    let target = Builder::new(Product::Postgres15).start()?;
    let scene = Scene::new(test_kit::mysql()?, &target, "target_death").await?;
    scene.execute(TABLES).await?;
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    let writers = Writers::start(&scene.source_url(), 2, Duration::from_millis(5), |numbers| {
        transaction(numbers.below(1000))
    });
    for round in 0..2 {
        writers.commit_more(20).await?;
        // What it did not flush is lost with it: the kit's servers do not wait for the disk.
        block_in_place(|| if round == 0 { target.kill() } else { target.stop() })?;
        writers.commit_more(20).await?;
        block_in_place(|| target.start())?;
        arrives(&scene, &format!("after end {round}")).await?;
    }
    writers.stop().await?;
    running.interrupt().await?;
    running.finish().await?.failed(130)?;
    scene.run().succeed().await?;
    scene.require_equal().await
}

/// The engine is told that a chunk is committed, and lives on when the target dies without having written it down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_that_the_target_lost_is_copied_again() -> Result<()> {
    let target = Builder::new(Product::Postgres15).line("wal_writer_delay = 10s").start()?;
    let scene = Scene::new(test_kit::mysql()?, &target, "lost_chunk").await?;
    scene
        .execute([
            "CREATE TABLE early (id INT PRIMARY KEY, v VARCHAR(20) NOT NULL)",
            "INSERT INTO early VALUES (1, 'a'), (2, 'b'), (3, 'c')",
            "CREATE TABLE held (id INT PRIMARY KEY)",
            "INSERT INTO held VALUES (1), (2)",
        ])
        .await?;
    // Rows of the second table wait for a lock as long as the server lives.
    let holder = scene.target().await?;
    holder
        .batch_execute(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END $$;
             CREATE FUNCTION make_wait() RETURNS event_trigger LANGUAGE plpgsql AS
             $$ DECLARE made record;
             BEGIN
                 FOR made IN SELECT * FROM pg_event_trigger_ddl_commands()
                     WHERE command_tag = 'CREATE TABLE' AND object_identity LIKE '%.held'
                 LOOP
                     EXECUTE format('CREATE TRIGGER waits BEFORE INSERT ON %s FOR EACH ROW EXECUTE FUNCTION wait()',
                         made.object_identity);
                     EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER waits', made.object_identity);
                 END LOOP;
             END $$;
             CREATE EVENT TRIGGER held ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION make_wait();
             SELECT pg_advisory_lock(1)",
        )
        .await?;
    let running = scene.run().arguments(["--parallelism", "2"]).start()?;
    eventually("the first chunk", async || {
        let chunks = holder.query_one("SELECT count(*) FROM _migration.chunk", &[]).await;
        // Before the engine begins there is no such table.
        Ok(chunks.is_ok_and(|row| row.get::<_, i64>(0) == 1).then_some(()))
    })
    .await?;
    block_in_place(|| target.kill().and_then(|()| target.start()))?;
    let outcome = running.finish().await?.succeeded()?;
    ensure!(outcome.stderr.contains("the target has lost chunks"), "none was lost: {}", outcome.stderr);
    scene.require_equal().await
}

#[tokio::test]
async fn a_target_without_a_free_connection_is_waited_for() -> Result<()> {
    let target = Builder::new(Product::Postgres15).line("max_connections = 14").line("max_wal_senders = 0");
    let target = target.line("superuser_reserved_connections = 0").line("wal_level = replica").start()?;
    let lines = Lines::to(Scene::new(test_kit::mysql()?, &target, "connections").await?)?;
    lines.scene.execute(TABLES).await?;
    let mut running = lines.streaming().await?;
    arrives(&lines.scene, "before").await?;
    // The engine loses its connections, and others take all there are.
    lines.to_target.refuse(true);
    lines.to_target.cut();
    let mut others = Vec::new();
    while let Ok(connection) = connect::postgres(target.url()).await {
        others.push(connection);
        ensure!(others.len() < 20, "the server takes any number of connections");
    }
    lines.to_target.refuse(false);
    lines.scene.execute(transaction(7)).await?;
    running.complaint("too many clients").await?;
    ensure!(connect::postgres(target.url()).await.is_err(), "there was a connection left");
    drop(others);
    arrives(&lines.scene, "after").await?;
    lines.end(running).await
}

/// A standby of the target that stands still, without what comes from now on.
async fn standby_of(primary: &Server) -> Result<Server> {
    let connection = format!(
        "primary_conninfo = 'host={} port={} user={USER} password={PASSWORD}'",
        primary.host(),
        primary.port()
    );
    let standby = Builder::new(Product::Postgres15).line(connection).start()?;
    let data =
        |server: &Server| server.directory().map(|directory| directory.join("data")).context("no directory");
    let (from, to) = (data(primary)?, data(&standby)?);
    block_in_place(|| {
        standby.stop()?;
        primary.stop()?;
        fs::remove_dir_all(&to)?;
        copy(&from, &to)?;
        // What makes a standby of it is a file of any content and the server's own account.
        copy(&to.join("PG_VERSION"), &to.join("standby.signal"))?;
        primary.start()?;
        standby.start()
    })?;
    let client = connect::postgres(primary.url()).await?;
    eventually("a standby that follows", async || {
        let caught_up = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()";
        Ok((client.query_one(caught_up, &[]).await?.get::<_, i64>(0) == 1).then_some(()))
    })
    .await?;
    block_in_place(|| standby.stop())?;
    Ok(standby)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status()?;
    ensure!(status.success(), "copying {}: {status}", from.display());
    Ok(())
}

/// The standby lacks the primary's last commits: it is asked where it stands, and gets them again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_lacks_commits_takes_the_targets_place() -> Result<()> {
    let primary = Builder::new(Product::Postgres15).start()?;
    let scene = Scene::new(test_kit::mysql()?, &primary, "standby").await?;
    scene.execute(TABLES).await?;
    scene.run().succeed().await?;
    scene.execute(transaction(1)).await?;
    scene.run().succeed().await?;
    let standby = standby_of(&primary).await?;
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    for number in 2..40 {
        scene.execute(transaction(number)).await?;
    }
    arrives(&scene, "at the primary").await?;
    block_in_place(|| primary.kill())?;
    running.kill().await?;

    block_in_place(|| standby.start())?;
    let url = standby.url_of(scene.name());
    let target = connect::postgres(&url).await?;
    let lacks = format!("SELECT count(*) FROM {}.keyless WHERE v = 'at the primary'", scene.name());
    ensure!(target.query_one(&lacks, &[]).await?.get::<_, i64>(0) == 0, "the standby lacks nothing");
    let run = || scene.run().replace("--target", url.clone());
    refused(run(), 1, &["standby and takes no writes"]).await?;
    target.execute("SELECT pg_promote()", &[]).await?;
    run().succeed().await?;
    scene.execute(transaction(40)).await?;
    run().succeed().await?;
    let mut source = scene.source().await?;
    let pairs = tables_of(&mut source, scene.name()).await?;
    let comparisons = compare(&mut source, &target, &pairs).await?;
    source.disconnect().await?;
    require_equal(&comparisons)
}
