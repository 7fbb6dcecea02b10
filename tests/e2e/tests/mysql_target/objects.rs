//! Views, triggers, routines and events: after the rows, as the source has them, and what acts by itself not before
//! the cut-over.

use std::os::unix::process::ExitStatusExt as _;

use anyhow::{Context as _, Result, ensure};
use e2e::{MysqlScene, Run, eventually};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use serde_json::json;
use test_kit::Server;

const ABORTED: i32 = 6;

/// Two accounts of the server, one of which it doesn't know.
struct Accounts {
    known: String,
    unknown: String,
}

impl Accounts {
    async fn new(scene: &MysqlScene<'_>, tag: &str) -> Result<Self> {
        let known = format!("o_{tag}_{}", std::process::id());
        let accounts = Self { known: format!("'{known}'@'%'"), unknown: format!("'no_{known}'@'%'") };
        let known = &accounts.known;
        scene
            .execute([format!("CREATE USER IF NOT EXISTS {known}"), format!("GRANT ALL ON *.* TO {known}")])
            .await?;
        Ok(accounts)
    }
}

/// Tables, and one object of each kind and more: views that need each other against the order of their names, bodies
/// with semicolons, quotes that a mode gives another meaning, letters in another character set.
async fn fill(scene: &MysqlScene<'_>, definer: &str) -> Result<()> {
    let mut conn = scene.source().await?;
    let statements = [
        "CREATE TABLE orders (id INT PRIMARY KEY AUTO_INCREMENT, total INT NOT NULL, note VARCHAR(50))"
            .to_owned(),
        "CREATE TABLE log (id INT PRIMARY KEY AUTO_INCREMENT, what VARCHAR(50))".to_owned(),
        "INSERT INTO orders (total, note) VALUES (1, 'one'), (2, 'two')".to_owned(),
        format!(
            "CREATE DEFINER = {definer} SQL SECURITY INVOKER VIEW z_base AS SELECT id, total FROM orders"
        ),
        format!("CREATE DEFINER = {definer} VIEW a_top AS SELECT b.id, twice(b.total) AS t FROM z_base b"),
        "SET SESSION sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT'".to_owned(),
        format!(
            "CREATE DEFINER = {definer} PROCEDURE \"write;it\" (IN what VARCHAR(50)) COMMENT 'it''s; free' \
             BEGIN DECLARE x INT DEFAULT 1; INSERT INTO \"log\" (what) VALUES (what || '; -- $$' || x); END"
        ),
        "SET SESSION sql_mode = 'STRICT_TRANS_TABLES'".to_owned(),
        format!(
            "CREATE DEFINER = {definer} TRIGGER orders_second AFTER INSERT ON orders FOR EACH ROW \
             BEGIN INSERT INTO log (what) VALUES (CONCAT('first ', NEW.id)); END"
        ),
        format!(
            "CREATE DEFINER = {definer} TRIGGER orders_first AFTER INSERT ON orders FOR EACH ROW \
             INSERT INTO log (what) VALUES (CONCAT('then ', NEW.id))"
        ),
        "SET SESSION time_zone = '+03:00'".to_owned(),
        format!(
            "CREATE DEFINER = {definer} EVENT wakes ON SCHEDULE EVERY '1:30' HOUR_MINUTE STARTS '2037-01-01 00:00:00' \
             ON COMPLETION PRESERVE COMMENT 'it''s; asleep' DO BEGIN DELETE FROM log; END"
        ),
        format!(
            "CREATE DEFINER = {definer} EVENT sleeps ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01 00:00:00' \
             DISABLE DO DELETE FROM log"
        ),
        "SET NAMES latin1".to_owned(),
    ];
    // The function that a view needs.
    conn.query_drop(format!(
        "CREATE DEFINER = {definer} FUNCTION twice(n INT) RETURNS INT DETERMINISTIC RETURN n * 2"
    ))
    .await?;
    for statement in statements {
        conn.query_drop(&statement).await.with_context(|| statement.clone())?;
    }
    // What stands for an e with an accent in latin1 is none in UTF-8.
    let latin = [
        format!("CREATE DEFINER = {definer} FUNCTION accent() RETURNS VARCHAR(9) DETERMINISTIC RETURN '")
            .as_bytes(),
        b"\xE9'",
    ]
    .concat();
    conn.query_drop(latin).await?;
    conn.disconnect().await?;
    Ok(())
}

const WHAT_IS_THERE: [&str; 4] = [
    "SELECT CONVERT(CONCAT_WS('|', routine_name, routine_type, security_type, sql_mode, routine_comment, definer, \
     character_set_client, collation_connection, database_collation, HEX(routine_definition)) USING utf8mb4) \
     FROM information_schema.routines WHERE routine_schema = ? ORDER BY 1",
    "SELECT CONVERT(CONCAT_WS('|', table_name, definer, security_type, is_updatable) USING utf8mb4) \
     FROM information_schema.views WHERE table_schema = ? ORDER BY 1",
    "SELECT CONVERT(CONCAT_WS('|', event_name, definer, time_zone, event_definition, interval_value, interval_field, \
     starts, on_completion, event_comment, sql_mode) USING utf8mb4) \
     FROM information_schema.events WHERE event_schema = ? ORDER BY 1",
    TRIGGERS,
];
const TRIGGERS: &str = "SELECT CONVERT(CONCAT_WS('|', trigger_name, event_object_table, action_order, action_statement, \
     definer, sql_mode) USING utf8mb4) FROM information_schema.triggers WHERE trigger_schema = ? ORDER BY 1";

async fn require_same(scene: &MysqlScene<'_>, queries: &[&str]) -> Result<()> {
    let (mut source, mut target) = (scene.source().await?, scene.target().await?);
    for query in queries {
        let expected: Vec<String> = source.exec(*query, (scene.name(),)).await?;
        let found: Vec<String> = target.exec(*query, (scene.target_name(),)).await?;
        ensure!(!expected.is_empty() && expected == found, "{query}\n{expected:#?}\n{found:#?}");
    }
    Ok(())
}

async fn column(conn: &mut Conn, query: &str, database: &str) -> Result<Vec<String>> {
    Ok(conn.exec(query, (database,)).await?)
}

const EVENTS: &str = "SELECT CONVERT(CONCAT_WS(' ', event_name, status) USING utf8mb4) FROM information_schema.events \
                      WHERE event_schema = ? ORDER BY 1";

fn cutover(scene: &MysqlScene<'_>) -> Run {
    let state = scene.state_directory().display().to_string();
    Run::plain(scene.directory()).arguments([
        "cutover",
        scene.name(),
        "--json",
        "--yes",
        "--skip-verify",
        "--state-dir",
        &state,
    ])
}

async fn wait_for_log(scene: &MysqlScene<'_>, rows: u64) -> Result<()> {
    let query = format!("SELECT COUNT(*) FROM {}.log", scene.target_name());
    let what = format!("{rows} rows of the log");
    eventually(&what, async || {
        let found: Option<u64> = scene.target().await?.query_first(&query).await?;
        Ok((found == Some(rows)).then_some(()))
    })
    .await
}

async fn triggers_and_events_wait_for_the_cut_over(source: &Server, test: &str) -> Result<()> {
    let scene = MysqlScene::new(source, source, test).await?;
    let accounts = Accounts::new(&scene, "live").await?;
    fill(&scene, &accounts.known).await?;
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    // Two rows of the log for each order, by the source's triggers; the target's would make two more.
    scene.execute(["INSERT INTO orders (total) VALUES (3), (4), (5)"]).await?;
    wait_for_log(&scene, 6).await?;
    require_same(&scene, &WHAT_IS_THERE[..3]).await?;
    let mut target = scene.target().await?;
    ensure!(
        column(&mut target, TRIGGERS, &scene.target_name()).await?.is_empty(),
        "triggers before their time"
    );
    let asleep = column(&mut target, EVENTS, &scene.target_name()).await?;
    assert_eq!(asleep, ["sleeps DISABLED", "wakes DISABLED"]);
    let tops: Vec<(u32, i64)> = target.query("SELECT id, t FROM a_top ORDER BY id").await?;
    assert_eq!(tops.last(), Some(&(5, 10)));
    let accent: Option<String> = target.query_first("SELECT accent()").await?;
    assert_eq!(accent.as_deref(), Some("é"));
    scene.require_equal().await?;

    cutover(&scene).succeed().await?;
    running.finish().await?.succeeded()?;
    require_same(&scene, &WHAT_IS_THERE).await?;
    let awake = column(&mut target, EVENTS, &scene.target_name()).await?;
    assert_eq!(awake, ["sleeps DISABLED", "wakes ENABLED"]);
    target.query_drop("INSERT INTO orders (total) VALUES (6)").await?;
    let fired: Vec<String> = target.query("SELECT what FROM log ORDER BY id DESC LIMIT 2").await?;
    assert_eq!(fired, ["then 6", "first 6"]);
    target.query_drop("CALL `write;it`('x')").await?;
    let written: Option<String> = target.query_first("SELECT what FROM log ORDER BY id DESC LIMIT 1").await?;
    assert_eq!(written.as_deref(), Some("x; -- $$1"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_mysql_triggers_and_events_wait_for_the_cut_over() -> Result<()> {
    triggers_and_events_wait_for_the_cut_over(test_kit::mysql()?, "objects_mysql").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_mariadb_triggers_and_events_wait_for_the_cut_over() -> Result<()> {
    triggers_and_events_wait_for_the_cut_over(test_kit::mariadb()?, "objects_mariadb").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_dies_at_any_object_goes_on_with_the_others() -> Result<()> {
    let scene = MysqlScene::new(test_kit::mysql()?, test_kit::mysql()?, "objects_deaths").await?;
    let accounts = Accounts::new(&scene, "deaths").await?;
    fill(&scene, &accounts.known).await?;
    for object in [1, 1, 2, 3] {
        let place = format!("object-created:{object}");
        let outcome = scene
            .follow()
            .arguments(["--mode", "offline"])
            .environment("ENGINE_FAILPOINT", place)
            .finish()
            .await?;
        ensure!(outcome.status.signal() == Some(ABORTED), "{}\n{}", outcome.status, outcome.said());
    }
    scene.follow().arguments(["--mode", "offline"]).succeed().await?;
    require_same(&scene, &WHAT_IS_THERE).await?;
    // Of an offline task nothing is to come: they run.
    let mut target = scene.target().await?;
    let events = column(&mut target, EVENTS, &scene.target_name()).await?;
    assert_eq!(events, ["sleeps DISABLED", "wakes ENABLED"]);
    Ok(())
}

#[tokio::test]
async fn what_names_a_renamed_table_or_database_stays_behind_and_is_told() -> Result<()> {
    let scene = MysqlScene::new(test_kit::mysql()?, test_kit::mysql()?, "objects_renamed").await?;
    let name = scene.name();
    scene
        .execute([
            "CREATE TABLE orders (id INT PRIMARY KEY)".to_owned(),
            "CREATE TABLE other (id INT PRIMARY KEY)".to_owned(),
            "CREATE VIEW of_orders AS SELECT id FROM orders".to_owned(),
            "CREATE VIEW of_other AS SELECT id FROM other".to_owned(),
            format!("CREATE PROCEDURE by_name() DELETE FROM {name}.other"),
            "CREATE TRIGGER tells BEFORE DELETE ON orders FOR EACH ROW SET @x = 1".to_owned(),
        ])
        .await?;
    let tables = json!({ format!("{name}.orders"): { "name": "orders_old" } });
    let outcome = scene
        .run()
        .config(json!({ "mysql2mysql": { "tables": tables, "objects": { "definer": "account" } } }))
        .succeed()
        .await?;
    let said = outcome.said();
    for (object, why) in [
        ("view", format!("{name}.of_orders")),
        ("procedure", format!("{name}.by_name")),
        ("trigger", format!("{name}.tells")),
    ] {
        ensure!(said.contains(&format!("{object} {why}")), "nothing of {object} {why} in {said}");
    }
    ensure!(said.contains("it stays behind: its text has the name orders, which the task changes"), "{said}");
    let mut target = scene.target().await?;
    let views = column(
        &mut target,
        "SELECT CONVERT(table_name USING utf8mb4) FROM information_schema.views WHERE table_schema = ?",
        &scene.target_name(),
    )
    .await?;
    assert_eq!(views, ["of_other"]);
    Ok(())
}

#[tokio::test]
async fn a_definer_that_the_target_does_not_know_stops_the_task_before_it_begins() -> Result<()> {
    let scene = MysqlScene::new(test_kit::mysql()?, test_kit::mysql()?, "objects_definer").await?;
    let accounts = Accounts::new(&scene, "definer").await?;
    let unknown = &accounts.unknown;
    scene
        .execute([
            "CREATE TABLE t (id INT PRIMARY KEY)".to_owned(),
            "INSERT INTO t VALUES (1)".to_owned(),
            format!("CREATE DEFINER = {unknown} PROCEDURE p() SELECT COUNT(*) FROM t"),
        ])
        .await?;
    let error = scene.run().fail().await?;
    for word in ["has no account no_", ".p", "objects.definer"] {
        ensure!(error.contains(word), "no '{word}' in {error}");
    }
    let config = json!({ "mysql2mysql": { "objects": { "definer": "invoker" } } });
    scene.run().config(config).succeed().await?;
    let mut target = scene.target().await?;
    let security = column(
        &mut target,
        "SELECT CONVERT(security_type USING utf8mb4) FROM information_schema.routines WHERE routine_schema = ?",
        &scene.target_name(),
    )
    .await?;
    assert_eq!(security, ["INVOKER"]);
    let counted: Option<u64> = target.query_first("CALL p()").await?;
    assert_eq!(counted, Some(1));
    Ok(())
}

#[tokio::test]
async fn an_object_of_somebody_else_is_never_replaced() -> Result<()> {
    let scene = MysqlScene::new(test_kit::mysql()?, test_kit::mysql()?, "objects_foreign").await?;
    let accounts = Accounts::new(&scene, "foreign").await?;
    let definer = &accounts.known;
    scene
        .execute([
            "CREATE TABLE t (id INT PRIMARY KEY)".to_owned(),
            format!("CREATE DEFINER = {definer} PROCEDURE same() SELECT 1"),
            format!("CREATE DEFINER = {definer} PROCEDURE differs() SELECT 1"),
        ])
        .await?;
    let mut conn = scene.source().await?;
    let to = scene.target_name();
    for statement in [
        format!("CREATE DATABASE {to} CHARACTER SET utf8mb4"),
        format!("CREATE DEFINER = {definer} PROCEDURE {to}.differs() SELECT 2"),
        format!("USE {to}"),
        format!("CREATE DEFINER = {definer} PROCEDURE same() SELECT 1"),
    ] {
        conn.query_drop(&statement).await.with_context(|| statement.clone())?;
    }
    let error = scene.run().fail().await?;
    ensure!(error.contains("differs already, which is not the same"), "{error}");
    ensure!(!error.contains("same already"), "{error}");
    let kept: Option<u64> = conn.query_first(format!("CALL {to}.differs()")).await?;
    assert_eq!(kept, Some(2));
    conn.query_drop(format!("DROP PROCEDURE {to}.differs")).await?;
    scene.run().succeed().await?;
    let copied: Option<u64> = conn.query_first(format!("CALL {to}.differs()")).await?;
    assert_eq!(copied, Some(1));
    Ok(())
}
