//! What administrators do to the `PostgreSQL` that a way back leads from: before it, between its runs, and in the
//! middle of one.

use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use e2e::{Scene, eventually};
use test_kit::{Builder, Product, Server};
use test_support::connect;
use test_support::engine::Run;

use super::{ROWS, TABLES, caught_up, forward, give_up, moved_over, of_task, reverse, write};
use crate::refused::refused;

/// Writes more log than the server keeps for a slot, and has it drop the rest.
async fn outrun(scene: &Scene<'_>) -> Result<()> {
    let target = scene.target().await?;
    for _ in 0..8 {
        target.batch_execute("SELECT pg_logical_emit_message(false, 'e2e', 'x')").await?;
        target.batch_execute("SELECT pg_switch_wal()").await?;
    }
    target.batch_execute("CHECKPOINT").await?;
    let lost = "SELECT string_agg(wal_status, ',') FROM pg_replication_slots";
    eventually("the slot to be given up", async || Ok((scene.value(lost).await? == "lost").then_some(())))
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_the_server_has_given_up() -> Result<()> {
    let target = Builder::new(Product::Postgres15).line("max_slot_wal_keep_size = 32MB").start()?;
    let mysql = test_kit::mysql()?;
    let between = Scene::new(mysql, &target, "reverse_outrun").await?;
    moved_over(&between).await?;
    caught_up(&between).succeed().await?;
    write(&between, ["INSERT INTO log VALUES (1, 'lost')"]).await?;
    outrun(&between).await?;
    let words = ["can't be followed any more", "invalidated", "begin a new task"];
    refused(caught_up(&between), 1, &words).await?;
    give_up(&between).await?;

    let amid = Scene::new(mysql, &target, "reverse_outrun_amid").await?;
    moved_over(&amid).await?;
    let mut running = reverse(&amid).start()?;
    running.phase("streaming").await?;
    outrun(&amid).await?;
    let error = running.finish().await?.failed(1)?;
    ensure!(words.iter().all(|word| error.contains(word)), "{error}");
    give_up(&amid).await
}

/// Ends with the words, whoever notices first: the server, or the engine, which looks.
async fn ends(mut running: test_support::engine::Running, words: &[&str]) -> Result<()> {
    running.phase("streaming").await?;
    let error = running.finish().await?.failed(1)?;
    for word in words {
        ensure!(error.contains(word), "the error doesn't say '{word}': {error}");
    }
    Ok(())
}

/// A publication says nothing of what it leaves out.
async fn a_publication_that_changes(server: &Server, test: &str) -> Result<()> {
    for (number, changes) in [
        "DROP PUBLICATION {}",
        "ALTER PUBLICATION {} DROP TABLE log",
        "ALTER PUBLICATION {} DROP TABLE log; ALTER PUBLICATION {} ADD TABLE log",
        "ALTER PUBLICATION {} SET (publish = 'insert')",
    ]
    .into_iter()
    .enumerate()
    {
        let scene = Scene::new(test_kit::mysql()?, server, &format!("{test}_{number}")).await?;
        moved_over(&scene).await?;
        let publication = scene.value("SELECT pubname::text FROM pg_publication").await?;
        let changes = changes.replace("{}", &publication);
        let mut running = reverse(&scene).start()?;
        running.phase("streaming").await?;
        write(&scene, [changes.as_str(), "INSERT INTO log VALUES (5, 'unsent')"]).await?;
        let words = [publication.as_str(), "another --name"];
        ends(running, &words).await.with_context(|| format!("amid a run: {changes}"))?;
        refused(caught_up(&scene), 1, &words).await.with_context(|| format!("after it: {changes}"))?;
        give_up(&scene).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_that_changes_on_15() -> Result<()> {
    a_publication_that_changes(test_kit::postgres()?, "reverse_altered").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_that_changes_on_18() -> Result<()> {
    a_publication_that_changes(test_kit::shared(Product::Postgres18)?, "reverse_altered_too").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_and_columns_under_other_names() -> Result<()> {
    let scene = Scene::mysql("reverse_renamed").await?;
    moved_over(&scene).await?;
    // Before the first run.
    write(&scene, ["ALTER TABLE log RENAME TO diary"]).await?;
    refused(caught_up(&scene), 1, &["can't be followed", "log", "give the table its name back"]).await?;
    write(&scene, ["ALTER TABLE diary RENAME TO log", "ALTER TABLE log RENAME what TO said"]).await?;
    refused(caught_up(&scene), 1, &["column", "log", "what", "give the column its name back"]).await?;
    write(&scene, ["ALTER TABLE log RENAME said TO what", "INSERT INTO log VALUES (1, 'one')"]).await?;
    caught_up(&scene).succeed().await?;
    scene.require_equal().await?;
    // Between two of them.
    write(&scene, ["ALTER TABLE log RENAME TO diary"]).await?;
    refused(caught_up(&scene), 1, &["not published any more", "log", "give it its name back"]).await?;
    write(&scene, ["ALTER TABLE diary RENAME TO log", "INSERT INTO log VALUES (2, 'two')"]).await?;
    caught_up(&scene).succeed().await?;
    scene.require_equal().await?;
    // Amid one: the selection has no table of the new name.
    let mut running = reverse(&scene).start()?;
    running.phase("streaming").await?;
    write(&scene, ["ALTER TABLE log RENAME TO diary", "INSERT INTO diary VALUES (3, 'three')"]).await?;
    ends(running, &["diary"]).await.or_else(|error| {
        // Whoever looks at the publication first misses the old name.
        ensure!(error.to_string().contains("not published any more"), "{error}");
        Ok(())
    })?;
    give_up(&scene).await
}

/// A role of its own, which replicates or not, and whom `pg_hba.conf` lets in or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_may_not_any_more() -> Result<()> {
    let target = Builder::new(Product::Postgres15).start()?;
    let scene = Scene::new(test_kit::mysql()?, &target, "reverse_account").await?;
    let name = scene.name();
    let admin = connect::postgres(&scene.target_url()).await?;
    admin
        .batch_execute(&format!(
            "CREATE ROLE mover LOGIN PASSWORD 'mover'; GRANT CREATE, CONNECT ON DATABASE {name} TO mover; \
             GRANT SET ON PARAMETER session_replication_role TO mover"
        ))
        .await?;
    let url = format!("postgres://mover:mover@{}:{}/{name}", target.host(), target.port());
    let as_mover = |run: Run| run.replace("--target", url.clone());
    let cut_over = || as_mover(of_task(&scene, "cutover").arguments(["--json", "--yes", "--way-back"]));
    scene.execute(TABLES).await?;
    scene.execute(ROWS).await?;
    as_mover(forward(&scene)).succeed().await?;
    let outcome = cut_over().finish().await?;
    ensure!(!outcome.status.success(), "{}", outcome.said());
    ensure!(outcome.said().contains("ALTER ROLE \\\"mover\\\" REPLICATION"), "{}", outcome.said());
    admin.batch_execute("ALTER ROLE mover REPLICATION").await?;
    cut_over().succeed().await?;
    as_mover(caught_up(&scene)).succeed().await?;

    let hba = target.directory().context("the server's directory")?.join("data/pg_hba.conf");
    let before = std::fs::read_to_string(&hba)?;
    let shut = format!("host all mover 127.0.0.1/32 reject\n{before}");
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'mover'";
    for (close, open, words) in [
        (
            "ALTER ROLE mover NOREPLICATION",
            "ALTER ROLE mover REPLICATION",
            ["(SQLSTATE 42501)", "REPLICATION"],
        ),
        ("SELECT pg_reload_conf()", "SELECT pg_reload_conf()", ["(SQLSTATE 28000)", "pg_hba.conf"]),
    ] {
        let is_file = close == open;
        let mut running = as_mover(reverse(&scene)).start()?;
        running.phase("streaming").await?;
        if is_file {
            std::fs::write(&hba, &shut)?;
        }
        admin.batch_execute(close).await?;
        // A session may begin before the server has read its file again.
        let ended = eventually("the engine to give up", async || {
            admin.batch_execute(end).await?;
            refused(as_mover(caught_up(&scene)), 1, &words).await.map(Some).or(Ok(None))
        });
        ended.await?;
        ends(running, &words).await?;
        if is_file {
            std::fs::write(&hba, &before)?;
        }
        admin.batch_execute(open).await?;
        write(&scene, ["INSERT INTO log VALUES (4, 'kept')"]).await?;
        eventually("the engine to be let in again", async || {
            as_mover(caught_up(&scene)).succeed().await.map(Some).or(Ok(None))
        })
        .await?;
        scene.require_equal().await?;
    }
    as_mover(of_task(&scene, "drop").argument("--way-back")).finish().await?.succeeded()?;
    Ok(())
}

/// A client that takes a place among the WAL senders until it is killed.
struct Sender(Child);

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Sender {
    fn start(server: &Server, database: &str) -> Result<Self> {
        let psql = server.client()?;
        let mut command = Command::new(psql.get_program());
        let url = server.url();
        let replicating = format!("{}?replication=database", server.url_of(database));
        command.args(psql.get_args().map(
            |argument| {
                if argument == url { replicating.as_ref() } else { argument }
            },
        ));
        command.envs(psql.get_envs().filter_map(|(name, value)| Some((name, value?))));
        // It reads commands as long as nobody ends them.
        Ok(Self(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_leave_no_room() -> Result<()> {
    let target = Builder::new(Product::Postgres15).line("max_wal_senders = 1").start()?;
    let scene = Scene::new(test_kit::mysql()?, &target, "reverse_settings").await?;
    scene.execute(TABLES).await?;
    scene.execute(ROWS).await?;
    forward(&scene).succeed().await?;
    let cut_over = || of_task(&scene, "cutover").arguments(["--json", "--yes", "--way-back"]);
    for (setting, value) in
        [("wal_level", "replica"), ("max_replication_slots", "0"), ("max_wal_senders", "0")]
    {
        let admin = scene.target().await?;
        admin.batch_execute(&format!("ALTER SYSTEM SET {setting} = '{value}'")).await?;
        drop(admin);
        target.restart()?;
        let outcome = cut_over().finish().await?;
        ensure!(!outcome.status.success(), "{setting}: {}", outcome.said());
        let fix = format!("ALTER SYSTEM SET {setting}");
        ensure!(outcome.said().contains(&fix), "{setting}: {}", outcome.said());
        scene.target().await?.batch_execute(&format!("ALTER SYSTEM RESET {setting}")).await?;
        target.restart()?;
    }
    cut_over().succeed().await?;
    caught_up(&scene).succeed().await?;
    // Somebody else has the one place.
    let taken = Sender::start(&target, scene.name())?;
    let senders = "SELECT count(*)::text FROM pg_stat_replication";
    eventually("the place to be taken", async || Ok((scene.value(senders).await? == "1").then_some(())))
        .await?;
    refused(caught_up(&scene), 1, &["max_wal_senders", "ALTER SYSTEM SET max_wal_senders"]).await?;
    drop(taken);
    eventually("the place to be free", async || Ok((scene.value(senders).await? == "0").then_some(())))
        .await?;
    write(&scene, ["INSERT INTO log VALUES (6, 'kept')"]).await?;
    caught_up(&scene).succeed().await?;
    scene.require_equal().await?;
    give_up(&scene).await
}
