//! The guided end of a task, with writers on the source until they are shut out.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{MysqlScene, Run, Running, Scene, Writers, eventually};
use mysql_async::prelude::Queryable as _;
use serde_json::Value;
use test_kit::{Builder, Product, Server};
use test_support::connect;
use test_support::numbers::Numbers;
use tokio_postgres::Client;

use crate::refused::refused;

const TABLES: [&str; 4] = [
    "CREATE TABLE customers (id INT UNSIGNED PRIMARY KEY AUTO_INCREMENT, name VARCHAR(50), email VARCHAR(50) UNIQUE)",
    "CREATE TABLE orders (id BIGINT PRIMARY KEY AUTO_INCREMENT, customer INT UNSIGNED NOT NULL, total DECIMAL(12,2), \
     FOREIGN KEY (customer) REFERENCES customers (id))",
    "CREATE TABLE log (at INT, what VARCHAR(30))",
    "INSERT INTO customers (id, name) VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'), (5, 'e')",
];

fn transaction(numbers: &mut Numbers) -> Vec<String> {
    let (customer, number) = (1 + numbers.below(5), numbers.below(100_000));
    match numbers.below(4) {
        0 => vec![
            format!("INSERT INTO orders (customer, total) VALUES ({customer}, {number}.25)"),
            format!("INSERT INTO log VALUES ({number}, 'ordered')"),
        ],
        1 => vec![format!("UPDATE customers SET name = 'n{number}' WHERE id = {customer}")],
        2 => vec![format!("DELETE FROM orders WHERE id = {number} % 200")],
        _ => vec![format!("DELETE FROM log WHERE at % 7 = {number} % 7 LIMIT 1")],
    }
}

/// A server that may be set read-only, as the tests' shared ones must not be.
fn server(product: Product) -> Result<Server> {
    Builder::new(product).start()
}

/// An account of an application: it may write, and nothing else.
async fn writer(scene: &Scene<'_>) -> Result<String> {
    let server = scene.source_server();
    let mut admin = connect::mysql(server.url()).await?;
    admin.query_drop("CREATE USER app IDENTIFIED BY 'app'").await?;
    admin.query_drop(format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {}.* TO app", scene.name())).await?;
    admin.disconnect().await?;
    Ok(format!("mysql://app:app@{}:{}/{}", server.host(), server.port(), scene.name()))
}

/// `engine cutover task` of a task that an engine is running.
fn cutover(scene: &Scene<'_>) -> Run {
    let state = scene.state_directory().display().to_string();
    Run::plain(scene.directory()).arguments(["cutover", "task", "--json", "--yes", "--state-dir", &state])
}

/// The same with all that it takes to run the task itself.
fn cutover_alone(scene: &Scene<'_>) -> Run {
    cutover(scene)
        .arguments(["--source", &scene.source_url(), "--target", &scene.target_url()])
        .plugin("mysql2og")
}

async fn is_read_only(scene: &Scene<'_>) -> Result<bool> {
    let mut source = scene.source().await?;
    let found: Option<u8> = source.query_first("SELECT @@GLOBAL.read_only").await?;
    source.disconnect().await?;
    Ok(found == Some(1))
}

async fn make_writable(scene: &Scene<'_>) -> Result<()> {
    scene.execute(["SET GLOBAL read_only = OFF"]).await
}

fn step_done(step: &'static str) -> impl Fn(&Value) -> bool {
    move |event| event["event"] == "step" && event["step"] == step && event["state"] == "done"
}

/// Holds the last check, and so the cut-over with writes stopped.
async fn hold_check(scene: &Scene<'_>) -> Result<Client> {
    let holder = scene.target().await?;
    holder.batch_execute(&format!("BEGIN; LOCK TABLE {}.log IN ACCESS EXCLUSIVE MODE", scene.name())).await?;
    Ok(holder)
}

/// Starts a cut-over, and holds it in its last check.
async fn held_in_check(scene: &Scene<'_>, cutover: Run) -> Result<(Running, Client)> {
    let mut client = cutover.start()?;
    client.event(step_done("verify")).await?;
    let holder = hold_check(scene).await?;
    client.event(step_done("constraints")).await?;
    Ok((client, holder))
}

async fn follow(scene: &Scene<'_>) -> Result<Running> {
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    Ok(running)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_writers_mysql() -> Result<()> {
    under_writers(&server(Product::MySql)?, "cutover_mysql").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_writers_mariadb() -> Result<()> {
    under_writers(&server(Product::MariaDb)?, "cutover_mariadb").await
}

async fn under_writers(source: &Server, name: &str) -> Result<()> {
    let scene = Scene::new(source, test_kit::postgres()?, name).await?;
    scene.execute(TABLES).await?;
    let writers = Writers::start(&writer(&scene).await?, 3, Duration::from_millis(2), transaction);
    let running = follow(&scene).await?;
    writers.commit_more(200).await?;

    let ended = cutover(&scene).argument("--set-source-read-only").succeed().await?;
    let end = ended.last("cut-over")?;
    ensure!(end["undo"] == "SET GLOBAL read_only = OFF", "{end}");
    let steps = [
        "ready",
        "verify",
        "lag",
        "freeze",
        "quiet",
        "drain",
        "sequences",
        "constraints",
        "check",
        "still-quiet",
    ];
    let done: Vec<&str> = ended
        .events
        .iter()
        .filter(|event| event["state"] == "done")
        .filter_map(|event| event["step"].as_str())
        .collect();
    ensure!(done[..] == [&steps[..], &["commit"]].concat()[..], "{done:?}");

    // The run has ended by itself, and the source takes no writes.
    let run = running.finish().await?.succeeded()?;
    ensure!(run.last("done")?["position"] == end["position"], "{}", run.said());
    ensure!(is_read_only(&scene).await?, "the source takes writes");
    writers.stop().await?;
    scene.require_equal().await?;
    let marked = scene.value("SELECT position FROM _migration.cut_over WHERE task = 'task'").await?;
    ensure!(end["position"] == marked.as_str(), "{marked} is on record, {end} was said");

    // The target is in use from here on.
    let target = scene.target().await?;
    let query = format!("INSERT INTO {}.orders (customer, total) VALUES (1, 1) RETURNING id", scene.name());
    let id: i64 = target.query_one(&query, &[]).await?.get(0);
    let mut at_source = scene.source().await?;
    let last: Option<i64> = at_source.query_first("SELECT COALESCE(MAX(id), 0) FROM orders").await?;
    ensure!(Some(id) > last, "the number {id} had been given before");
    at_source.disconnect().await?;
    refused(scene.run(), 1, &["the task was cut over", "--name"]).await?;
    refused(cutover_alone(&scene), 1, &["the task was cut over"]).await?;
    let without_state = scene.directory().join("elsewhere").display().to_string();
    refused(scene.run().replace("--state-dir", without_state), 1, &["the task was cut over"]).await?;
    make_writable(&scene).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_running_engine_and_with_writes_stopped_by_hand() -> Result<()> {
    // Others write to this server's other databases all the time.
    let scene = Scene::mysql("cutover_alone").await?;
    scene.execute(TABLES).await?;
    let error = cutover_alone(&scene).finish().await?.failed(1)?;
    ensure!(error.contains("there is no task"), "{error}");
    scene.run().succeed().await?;
    let writers = Writers::start(&scene.source_url(), 2, Duration::from_millis(2), transaction);
    writers.commit_more(100).await?;

    // Written to all along: it is noticed, and the source's own are not told to stop.
    let still = cutover_alone(&scene).arguments(["--freeze-budget", "3s"]).finish().await?;
    let error = still.clone().failed(1)?;
    ensure!(error.contains("longer than allowed") && error.contains("still being written to"), "{error}");
    ensure!(still.events.iter().any(step_done("roll-back")), "{}", still.said());

    writers.stop().await?;
    let ended = cutover_alone(&scene).succeed().await?;
    ensure!(ended.last("cut-over")?["undo"].is_null(), "{}", ended.said());
    scene.require_equal().await?;
    refused(scene.run(), 1, &["the task was cut over"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_or_is_given_up_is_undone_and_the_task_goes_on() -> Result<()> {
    let source = server(Product::MySql)?;
    let scene = Scene::new(&source, test_kit::postgres()?, "cutover_undone").await?;
    scene.execute(TABLES).await?;
    let running = follow(&scene).await?;
    let frozen = || cutover(&scene).argument("--set-source-read-only");

    // A last check that takes too long.
    let mut client = frozen().arguments(["--freeze-budget", "3s"]).start()?;
    client.event(step_done("verify")).await?;
    let holder = hold_check(&scene).await?;
    let late = client.finish().await?;
    holder.batch_execute("ROLLBACK").await?;
    let error = late.clone().failed(1)?;
    ensure!(error.contains("longer than allowed") && error.contains("check"), "{error}");
    ensure!(!is_read_only(&scene).await?, "the source was left read-only");

    // Ctrl-C, a client that is killed, a task that is stopped: each with writes stopped.
    let (client, holder) = held_in_check(&scene, frozen()).await?;
    ensure!(is_read_only(&scene).await?, "the source takes writes");
    let error = cutover(&scene).finish().await?.failed(1)?;
    ensure!(error.contains("is being cut over already"), "{error}");
    client.interrupt().await?;
    let given_up = client.finish().await?;
    ensure!(given_up.events.iter().any(step_done("roll-back")), "{}", given_up.said());
    given_up.failed(130)?;
    ensure!(!is_read_only(&scene).await?, "the source was left read-only");
    holder.batch_execute("ROLLBACK").await?;

    let (client, holder) = held_in_check(&scene, frozen()).await?;
    client.kill().await?;
    let undone = async || Ok((!is_read_only(&scene).await?).then_some(()));
    eventually("a source that takes writes", undone).await?;
    holder.batch_execute("ROLLBACK").await?;

    let (client, holder) = held_in_check(&scene, frozen()).await?;
    running.interrupt().await?;
    running.finish().await?.failed(130)?;
    client.finish().await?.failed(130)?;
    ensure!(!is_read_only(&scene).await?, "the source was left read-only");
    holder.batch_execute("ROLLBACK").await?;

    // A row too many in the target: found before writes stop, and by the count where that was left out.
    let running = follow(&scene).await?;
    let target = scene.target().await?;
    target.batch_execute(&format!("INSERT INTO {}.log VALUES (1, 'by hand')", scene.name())).await?;
    let unequal = frozen().finish().await?;
    ensure!(!unequal.events.iter().any(step_done("freeze")), "{}", unequal.said());
    let error = unequal.failed(1)?;
    ensure!(
        error.contains("not equal to its source") && error.contains("log: 0 missing, 1 extra"),
        "{error}"
    );
    ensure!(!is_read_only(&scene).await?, "the source was left read-only");
    target.batch_execute(&format!("DELETE FROM {}.log WHERE what = 'by hand'", scene.name())).await?;

    // The same engine has followed all along, and does so to the end.
    scene.execute(["INSERT INTO log VALUES (2, 'at last')"]).await?;
    frozen().succeed().await?;
    running.finish().await?.succeeded()?;
    scene.require_equal().await?;
    make_writable(&scene).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_the_next_one_goes_on() -> Result<()> {
    let source = server(Product::MySql)?;
    let scene = Scene::new(&source, test_kit::postgres()?, "cutover_killed").await?;
    scene.execute(TABLES).await?;
    let running = follow(&scene).await?;
    let (client, holder) = held_in_check(&scene, cutover(&scene).argument("--set-source-read-only")).await?;
    running.kill().await?;
    let error = client.finish().await?.failed(1)?;
    let statement = "SET GLOBAL read_only = OFF";
    ensure!(error.contains("left read-only") && error.contains(statement), "{error}");
    holder.batch_execute("ROLLBACK").await?;
    ensure!(is_read_only(&scene).await?, "somebody else undid it");

    // A run names the statement, and follows all the same.
    let mut running = follow(&scene).await?;
    let found = running.event(|event| event["event"] == "finding" && event["subject"] == "cut-over").await?;
    ensure!(found["fix"].as_str().is_some_and(|fix| fix.contains(statement)), "{found}");
    running.interrupt().await?;
    running.finish().await?.failed(130)?;

    // And the next one goes on, without being told that the source is read-only.
    let ended = cutover_alone(&scene).succeed().await?;
    ensure!(ended.last("cut-over")?["undo"] == statement, "{}", ended.said());
    ensure!(is_read_only(&scene).await?, "the source takes writes");
    scene.require_equal().await?;
    make_writable(&scene).await
}

/// `read_only` of MariaDB doesn't hold for accounts with special rights.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_with_special_rights_is_noticed() -> Result<()> {
    let source = server(Product::MariaDb)?;
    let scene = Scene::new(&source, test_kit::postgres()?, "cutover_special").await?;
    scene.execute(TABLES).await?;
    let running = follow(&scene).await?;
    let writers = Writers::start(&scene.source_url(), 1, Duration::from_millis(5), transaction);
    writers.commit_more(20).await?;
    let noticed =
        cutover(&scene).arguments(["--set-source-read-only", "--freeze-budget", "3s"]).finish().await?;
    let error = noticed.failed(1).context("a cut-over under a writer")?;
    ensure!(error.contains("still being written to"), "{error}");
    ensure!(!is_read_only(&scene).await?, "the source was left read-only");
    writers.stop().await?;
    cutover(&scene).argument("--set-source-read-only").succeed().await?;
    running.finish().await?.succeeded()?;
    scene.require_equal().await?;
    make_writable(&scene).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_of_the_mysql_family_is_cut_over_too() -> Result<()> {
    let scene = MysqlScene::new(test_kit::mysql()?, test_kit::mariadb()?, "cutover_family").await?;
    scene.execute(TABLES).await?;
    let writers = Writers::start(&scene.source_url(), 2, Duration::from_millis(2), transaction);
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    writers.commit_more(100).await?;
    writers.stop().await?;
    let state = scene.state_directory().display().to_string();
    let ended = Run::plain(scene.directory())
        .arguments(["cutover", scene.name(), "--json", "--yes", "--state-dir", &state])
        .succeed()
        .await?;
    running.finish().await?.succeeded()?;
    let verified = ended.events.iter().find(|event| step_done("verify")(event)).context("no full check")?;
    ensure!(verified.to_string().contains("are equal on both sides"), "{verified}");
    let mut target = scene.target().await?;
    let marked: Option<String> =
        target.exec_first("SELECT position FROM _migration.cut_over WHERE task = ?", (scene.name(),)).await?;
    ensure!(ended.last("cut-over")?["position"].as_str() == marked.as_deref(), "{marked:?} is on record");
    target.disconnect().await?;
    scene.require_equal().await?;
    refused(scene.run(), 1, &["the task was cut over"]).await
}
