//! Rows that are refused, by plugin, encoder or target, are set aside where the plan says so: everything else arrives,
//! what is missing is listed once, and comes when the row is mended.

mod lost;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Outcome, Run, Scene, Writers};
use mysql_async::prelude::Queryable as _;
use serde_json::{Value, json};
use test_support::numbers::Numbers;

fn config() -> Value {
    json!({"mysql2og": {"on_row_error": "dead-letter"}})
}

fn run(scene: &Scene<'_>) -> Run {
    scene.run().config(config())
}

fn command(scene: &Scene<'_>, name: &str) -> Run {
    let state = scene.state_directory().display().to_string();
    Run::plain(scene.directory()).arguments(["dead-letter", name, "task", "--state-dir", &state])
}

fn retry(scene: &Scene<'_>) -> Run {
    let endpoints = ["--source", &scene.source_url(), "--target", &scene.target_url()];
    command(scene, "retry").arguments(endpoints).plugin("mysql2og").config(config())
}

/// The letters, as `engine dead-letter list --json` has them.
async fn letters(scene: &Scene<'_>) -> Result<Vec<Value>> {
    let listed = command(scene, "list").argument("--json").succeed().await?;
    Ok(serde_json::from_str(&listed.stdout)?)
}

/// `operation key=value code` of each letter, sorted.
async fn brief(scene: &Scene<'_>) -> Result<Vec<String>> {
    let letters = letters(scene).await?;
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let mut brief: Vec<String> = letters
        .iter()
        .map(|letter| {
            let key = letter["key"].as_object().into_iter().flatten();
            let key: Vec<String> = key.map(|(name, value)| format!("{name}={}", text(value))).collect();
            format!("{} {} {}", text(&letter["operation"]), key.join(","), text(&letter["code"]))
        })
        .collect();
    brief.sort();
    Ok(brief)
}

/// What people see, without the names of transactions, and so without how wide their column is.
async fn shown(scene: &Scene<'_>) -> Result<String> {
    let listed = command(scene, "list").succeed().await?;
    let line = |line: &str| {
        let words = line.split("  ").map(str::trim).filter(|word| !word.is_empty());
        let words: Vec<&str> = words
            .map(|word| if word.len() > 36 && word.contains(':') { "TRANSACTION" } else { word })
            .collect();
        words.join("  ")
    };
    let lines: Vec<String> = listed.stdout.lines().map(line).collect();
    Ok(lines.join("\n").replace(scene.name(), "DATABASE"))
}

async fn ids(scene: &Scene<'_>, table: &str) -> Result<String> {
    let table = format!("{}.{table}", scene.name());
    scene.value(&format!("SELECT COALESCE(string_agg(id::text, ' ' ORDER BY id), '') FROM {table}")).await
}

fn rows_dead(outcome: &Outcome) -> Result<u64> {
    outcome.last("done")?["rows_dead"].as_u64().context("no rows_dead")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_is_listed_and_comes_when_it_is_mended() -> Result<()> {
    let scene = Scene::mysql("letters").await?;
    scene
        .execute([
            "CREATE TABLE t (id INT PRIMARY KEY, code INT UNIQUE, v VARCHAR(20), doc JSON)",
            "CREATE TABLE fine (id INT PRIMARY KEY)",
            "INSERT INTO fine VALUES (1)",
            r#"INSERT INTO t VALUES (1, 10, 'a', '{}'), (2, 20, 'a\0b', NULL), (3, 30, 'c', '["\\u0000"]'),
               (4, 40, 'd', '{}'), (5, 50, 'e', NULL)"#,
        ])
        .await?;
    let copied = run(&scene).succeed().await?;
    assert_eq!(rows_dead(&copied)?, 2);
    // One is refused by the encoder, the other only by the server.
    assert_eq!(ids(&scene, "t").await?, "1 4 5");
    assert_eq!(brief(&scene).await?, ["copy id=2 nul", "copy id=3 22P05"]);

    scene
        .execute([
            r"INSERT INTO t VALUES (6, 60, '\0', NULL), (7, 70, 'g', NULL)",
            r"UPDATE t SET v = 'd\0' WHERE id = 4",
            r#"UPDATE t SET doc = '["\\u0000"]' WHERE id = 1"#,
            "UPDATE t SET v = 'mended' WHERE id = 2",
            "UPDATE t SET code = 40 + id WHERE id IN (5, 7)",
        ])
        .await?;
    let followed = run(&scene).succeed().await?;
    // What the source changed into something that is refused is not left as it was.
    assert_eq!(ids(&scene, "t").await?, "2 5 7");
    assert_eq!(rows_dead(&followed)?, 5);
    insta::assert_snapshot!(shown(&scene).await?);
    let values = letters(&scene).await?;
    let inserted =
        values.iter().find(|letter| letter["operation"] == "insert").context("the letter of row 6")?;
    assert_eq!(inserted["row"], json!({"id": "6", "code": "60", "v": "\0", "doc": null}));

    // Row 2 is fine by now; the others are as they were.
    let error = retry(&scene).fail().await?;
    ensure!(error.contains("4 rows are still set aside"), "{error}");
    assert_eq!(
        brief(&scene).await?,
        ["copy id=3 22P05", "insert id=6 nul", "update id=1 22P05", "update id=4 nul"]
    );

    scene
        .execute([
            "UPDATE t SET v = 'six' WHERE id = 6",
            "UPDATE t SET doc = '[]' WHERE id IN (1, 3)",
            "DELETE FROM t WHERE id = 4",
        ])
        .await?;
    let settled = retry(&scene).succeed().await?;
    assert_eq!(settled.stdout, "task: 4 rows settled, 1 of them gone from the source; 0 left");
    scene.require_equal().await?;
    let listed = command(&scene, "list").succeed().await?;
    assert_eq!(listed.stdout, "task: no row is set aside");
    assert_eq!(retry(&scene).succeed().await?.stdout, "task: no row is set aside");

    // What was written ahead of the stream is written again by it.
    let followed = run(&scene).succeed().await?;
    assert_eq!(rows_dead(&followed)?, 0);
    scene.require_equal().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_mariadb_too() -> Result<()> {
    let scene = Scene::mariadb("letters_mariadb").await?;
    scene
        .execute([
            "CREATE TABLE t (name VARCHAR(20) CHARACTER SET latin1, at DATETIME(3), v TEXT, PRIMARY KEY (name, at))",
            r"INSERT INTO t VALUES ('é', '2024-02-29 01:02:03.004', '\0'), ('f', '2024-02-29 01:02:03.004', 'x')",
        ])
        .await?;
    run(&scene).succeed().await?;
    scene.execute([r"INSERT INTO t VALUES ('it''s', '2024-02-29', '\0')"]).await?;
    run(&scene).succeed().await?;
    let expected =
        ["copy name=é,at=2024-02-29 01:02:03.004000 nul", "insert name=it's,at=2024-02-29 00:00:00 nul"];
    let mut found = brief(&scene).await?;
    // In JSON the order of names is not ours.
    found.iter_mut().for_each(|line| {
        if let Some((operation, rest)) = line.split_once(' ')
            && let Some((at, name)) = rest.strip_suffix(" nul").and_then(|key| key.split_once(",name="))
        {
            *line = format!("{operation} name={name},{at} nul");
        }
    });
    assert_eq!(found, expected);
    scene.execute(["UPDATE t SET v = 'mended'"]).await?;
    retry(&scene).succeed().await?;
    run(&scene).succeed().await?;
    scene.require_equal().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn constraints_of_the_target_refuse_rows_one_by_one() -> Result<()> {
    let scene = Scene::mysql("letters_constraints").await?;
    scene
        .execute(["CREATE TABLE t (id INT PRIMARY KEY, n INT, u INT)", "INSERT INTO t VALUES (1, 1, 1)"])
        .await?;
    run(&scene).succeed().await?;
    let table = format!("{}.t", scene.name());
    let constraints =
        format!("ALTER TABLE {table} ADD CONSTRAINT positive CHECK (n > 0), ADD CONSTRAINT once UNIQUE (u)");
    scene.target().await?.batch_execute(&constraints).await?;
    let rows: Vec<String> =
        (2..=600).map(|id| format!("({id}, {}, {id})", if id % 100 == 0 { -1 } else { 1 })).collect();
    scene
        .execute([
            format!("INSERT INTO t VALUES {}, (1000, 1, 7)", rows.join(", ")),
            "UPDATE t SET n = 0 WHERE id = 1".to_owned(),
        ])
        .await?;
    run(&scene).succeed().await?;
    let expected = [
        "insert id=100 23514",
        "insert id=1000 23505",
        "insert id=200 23514",
        "insert id=300 23514",
        "insert id=400 23514",
        "insert id=500 23514",
        "insert id=600 23514",
        "update id=1 23514",
    ];
    assert_eq!(brief(&scene).await?, expected);
    assert_eq!(scene.value(&format!("SELECT count(*)::text FROM {table}")).await?, "593");
    scene.target().await?.batch_execute(&format!("ALTER TABLE {table} DROP CONSTRAINT positive")).await?;
    let error = retry(&scene).fail().await?;
    ensure!(error.contains("1 row is still set aside"), "{error}");
    scene.execute(["DELETE FROM t WHERE id = 7"]).await?;
    // Until the stream has it too, the row is in the way.
    run(&scene).succeed().await?;
    retry(&scene).succeed().await?;
    scene.require_equal().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_stops_the_task() -> Result<()> {
    let scene = Scene::mysql("letters_limit").await?;
    scene
        .execute([
            "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))",
            r"INSERT INTO t VALUES (1, '\0'), (2, '\0'), (3, 'c')",
        ])
        .await?;
    let limited = || run(&scene).arguments(["--dead-letter-limit", "3"]);
    limited().succeed().await?;
    scene.execute([r"INSERT INTO t VALUES (4, '\0')", r"INSERT INTO t VALUES (5, '\0')"]).await?;
    let file = scene.state_directory().join("task/dead-letter.jsonl").display().to_string();
    let error = limited().fail().await?;
    for part in ["more rows are refused than may be set aside", r#""limit":"3""#, &file, "id=5", "U+0000"] {
        ensure!(error.contains(part), "no {part} in {error}");
    }
    // Again, since that row has to be decided about.
    limited().fail().await?;
    assert_eq!(letters(&scene).await?.len(), 3);
    run(&scene).arguments(["--dead-letter-limit", "none"]).succeed().await?;
    assert_eq!(letters(&scene).await?.len(), 4);
    assert_eq!(ids(&scene, "t").await?, "3");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_before_the_commit_leaves_no_letter_twice() -> Result<()> {
    let scene = Scene::mysql("letters_crash").await?;
    scene
        .execute([
            "CREATE TABLE t (id INT PRIMARY KEY, doc JSON, v VARCHAR(20))",
            "CREATE TABLE keyless (v VARCHAR(20))",
            r#"INSERT INTO t VALUES (1, '["\\u0000"]', 'a'), (2, '[]', '\0'), (3, '[]', 'c')"#,
            r"INSERT INTO keyless VALUES ('\0'), ('\0'), ('k')",
        ])
        .await?;
    for place in ["chunk-written", "chunk-written:2", "chunk-committed"] {
        let died = run(&scene).environment("ENGINE_FAILPOINT", place).finish().await?;
        ensure!(!died.status.success(), "it did not die at {place}");
    }
    run(&scene).succeed().await?;
    let copied = ["copy  nul", "copy  nul", "copy id=1 22P05", "copy id=2 nul"];
    assert_eq!(brief(&scene).await?, copied);
    scene
        .execute([
            r#"INSERT INTO t VALUES (4, '["\\u0000"]', 'd'), (5, '[]', '\0'), (6, '[]', 'f')"#,
            r"INSERT INTO keyless VALUES ('\0')",
            "DELETE FROM keyless WHERE v = '\\0' LIMIT 1",
            "UPDATE keyless SET v = 'mended' WHERE v = '\\0' LIMIT 1",
        ])
        .await?;
    for place in ["changes-applied", "standing-written"] {
        let died = run(&scene).environment("ENGINE_FAILPOINT", place).finish().await?;
        ensure!(!died.status.success(), "it did not die at {place}");
    }
    run(&scene).succeed().await?;
    let followed = ["insert  nul", "insert id=4 22P05", "insert id=5 nul"];
    let mut all = [copied.as_slice(), followed.as_slice()].concat();
    all.sort_unstable();
    assert_eq!(brief(&scene).await?, all);
    assert_eq!(ids(&scene, "t").await?, "3 6");
    let keyless = format!("SELECT string_agg(v, ' ' ORDER BY v) FROM {}.keyless", scene.name());
    assert_eq!(scene.value(&keyless).await?, "k mended");

    // A row that nothing tells from others can't be asked for.
    scene.execute(["UPDATE t SET v = 'mended', doc = NULL"]).await?;
    let error = retry(&scene).fail().await?;
    ensure!(error.contains("3 rows have no key to be read by"), "{error}");
    assert_eq!(brief(&scene).await?, ["copy  nul", "copy  nul", "insert  nul"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_was_copied_offline_is_mended_too() -> Result<()> {
    let scene = Scene::mysql("letters_offline").await?;
    scene
        .execute([
            "CREATE TABLE t (id BIGINT UNSIGNED PRIMARY KEY, v VARCHAR(20))",
            r"INSERT INTO t VALUES (18446744073709551615, '\0'), (2, '\0'), (3, 'c')",
        ])
        .await?;
    scene.follow().config(config()).arguments(["--mode", "offline"]).succeed().await?;
    scene.execute(["UPDATE t SET v = 'b' WHERE id > 3", "DELETE FROM t WHERE id = 2"]).await?;
    retry(&scene).succeed().await?;
    scene.require_equal().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_tried_while_the_task_runs() -> Result<()> {
    let scene = Scene::mysql("letters_running").await?;
    scene
        .execute(["CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))", r"INSERT INTO t VALUES (1, '\0')"])
        .await?;
    let mut running = scene.follow().config(config()).start()?;
    running.phase("streaming").await?;
    let error = retry(&scene).fail().await?;
    ensure!(error.contains("another engine is running this task"), "{error}");
    assert_eq!(brief(&scene).await?, ["copy id=1 nul"]);
    running.interrupt().await?;
    running.finish().await?.failed(130)?;
    let unknown = command(&scene, "list").replace("list", "another").finish().await?;
    ensure!(unknown.failed(1)?.contains("there is no task 'another'"));
    Ok(())
}

/// Rows that turn bad and good again, for the encoder and for the server, move under other keys, go and come, and
/// take each other's unique values.
fn turn(numbers: &mut Numbers) -> Vec<String> {
    let (one, other) = (1 + numbers.below(60), 1 + numbers.below(60));
    let v = ["'fine'", r"'\0'"][numbers.below(2) as usize];
    let doc = ["'[]'", r#"'["\\u0000"]'"#][usize::from(numbers.below(3) == 0)];
    match numbers.below(8) {
        0 => vec![
            format!("UPDATE t SET code = NULL WHERE id IN ({one}, {other})"),
            format!("UPDATE t SET code = {one}, v = {v} WHERE id = {other}"),
        ],
        1 => vec![format!("DELETE FROM t WHERE id = {one}")],
        2 | 3 => vec![format!("INSERT INTO t VALUES ({one}, {other}, {v}, {doc})")],
        4 => vec![format!("UPDATE t SET id = {other}, doc = {doc} WHERE id = {one}")],
        _ => vec![
            format!("UPDATE t SET v = {v} WHERE id = {one}"),
            format!("UPDATE t SET doc = {doc} WHERE id IN ({one}, {other})"),
        ],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_what_is_missing_is_listed_and_nothing_else_is_missing() -> Result<()> {
    let scene = Scene::mysql("letters_chaos").await?;
    let rows: Vec<String> = (1..=60)
        .map(|id| format!(r"({id}, {id}, {}, '[]')", if id % 7 == 0 { r"'\0'" } else { "'fine'" }))
        .collect();
    scene
        .execute([
            "CREATE TABLE t (id INT PRIMARY KEY, code INT UNIQUE, v VARCHAR(20), doc JSON)".to_owned(),
            format!("INSERT INTO t VALUES {}", rows.join(", ")),
        ])
        .await?;
    let writers = Writers::start(&scene.source_url(), 3, Duration::from_millis(2), turn);
    for place in
        ["chunk-written", "copy-done", "changes-applied", "standing-written:3", "changes-committed:5"]
    {
        writers.commit_more(100).await?;
        let died = run(&scene).environment("ENGINE_FAILPOINT", place).finish().await?;
        ensure!(!died.status.success(), "it did not die at {place}: {}", died.stderr);
    }
    writers.stop().await?;
    run(&scene).succeed().await?;

    let mut source = scene.source().await?;
    let is_bad = "(HEX(v) <=> '00' OR JSON_LENGTH(doc) = 1)";
    let good: Vec<(u32, Option<u32>, String)> =
        source.query(format!("SELECT id, code, v FROM t WHERE NOT {is_bad} ORDER BY id")).await?;
    let bad: BTreeSet<u32> =
        source.query(format!("SELECT id FROM t WHERE {is_bad}")).await?.into_iter().collect();
    source.disconnect().await?;
    ensure!(!good.is_empty() && !bad.is_empty(), "the writers left nothing to look at");
    let good: Vec<Vec<String>> = good
        .into_iter()
        .map(|(id, code, v)| vec![id.to_string(), code.map_or("NULL".to_owned(), |code| code.to_string()), v])
        .collect();
    let found =
        scene.rows(&format!("SELECT id::text, code::text, v FROM {}.t ORDER BY t.id", scene.name())).await?;
    assert_eq!(found, good);
    let listed = letters(&scene).await?;
    let listed: BTreeSet<u32> =
        listed.iter().filter_map(|letter| letter["key"]["id"].as_str()?.parse().ok()).collect();
    ensure!(bad.is_subset(&listed), "of {bad:?} only {listed:?} are listed");

    scene.execute([format!("UPDATE t SET v = 'mended', doc = NULL WHERE {is_bad}")]).await?;
    retry(&scene).succeed().await?;
    scene.require_equal().await?;
    run(&scene).succeed().await?;
    scene.require_equal().await
}
