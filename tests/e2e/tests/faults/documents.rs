//! Updates that log only the differences of JSON documents: what arrives is, to the letter, what the source prints.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use e2e::{Run, Scene, eventually};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row};
use test_support::numbers::Numbers;

use super::arrives;

/// Documents with and without a key, beside each other and NULL; long enough for a difference to be shorter.
const TABLES: [&str; 7] = [
    "CREATE TABLE keyed (id INT PRIMARY KEY, a JSON, v VARCHAR(20) NOT NULL, b JSON, \
     n INT AS (a->'$.n') STORED, c JSON)",
    "CREATE TABLE rows_only (id INT NOT NULL, a JSON)",
    "CREATE TABLE keyless (n INT NOT NULL, v VARCHAR(60) NULL)",
    "INSERT INTO keyed (id, a, v, b, c) SELECT id, IF(id = 3, NULL, JSON_OBJECT('n', id, 'bb', JSON_ARRAY(1, 2, \
     JSON_OBJECT('x y', 3)), 'c\"q', 'a \\\\ b', 'é', JSON_OBJECT(), 'pad', REPEAT('p', 400))), 'v', \
     IF(id = 2, NULL, JSON_ARRAY(1, JSON_ARRAY(2, JSON_ARRAY()), JSON_OBJECT('k', 4), REPEAT('q', 300))), \
     JSON_OBJECT('big', (SELECT JSON_ARRAYAGG(REPEAT('z', 300)) FROM (SELECT 1 FROM \
     (VALUES ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7)) AS x (i), \
     (VALUES ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7)) AS y (i), \
     (VALUES ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7)) AS z (i)) AS many)) \
     FROM (SELECT 1 AS id UNION SELECT 2 UNION SELECT 3 UNION SELECT 4) AS ids",
    "INSERT INTO rows_only SELECT id, a FROM keyed",
    "INSERT INTO rows_only SELECT id, a FROM keyed",
    "UPDATE keyed SET v = 'made' WHERE id = 1",
];

const STATEMENTS: [&str; 24] = [
    "UPDATE keyed SET a = JSON_SET(a, '$.n', 77) WHERE id = 1",
    "UPDATE keyed SET a = JSON_SET(a, '$.new', CAST(1.50 AS DECIMAL(5, 2)), '$.bb[2].\"x y\"', \
     CAST('2024-01-02 03:04:05.678' AS DATETIME(3)))",
    "UPDATE keyed SET a = JSON_REMOVE(a, '$.bb[0]', '$.\"c\\\\\"q\"'), b = JSON_SET(b, '$[1][1][0]', TRUE)",
    "UPDATE keyed SET a = JSON_SET(a, '$.\"é\".\"\\\\u0001\\\\n\"', 1e20, '$.\"é\".z', -0.0e0, '$.\"é\".aa', 0.1e0)",
    "UPDATE keyed SET b = JSON_SET(b, '$[last]', 7), c = JSON_SET(c, '$.big[last-1]', NULL)",
    "UPDATE keyed SET b = JSON_SET(b, '$[9]', 5, '$[last-90]', 'before all')",
    "UPDATE keyed SET b = JSON_INSERT(b, '$[0][1]', 'beside', '$[last][1]', 'the last')",
    "UPDATE keyed SET b = JSON_ARRAY_INSERT(b, '$[1]', 6)",
    "UPDATE keyed SET b = JSON_ARRAY_APPEND(b, '$', CAST('18446744073709551615' AS UNSIGNED))",
    "UPDATE keyed SET a = JSON_SET(a, '$.n', 5), b = '3' WHERE id = 1",
    "UPDATE keyed SET v = CONCAT(v, id)",
    "UPDATE keyed SET a = JSON_SET(a, '$.n', 6), v = 'one', c = JSON_REMOVE(c, '$.big[1]', '$.big[last-1]')",
    "UPDATE keyed SET b = NULL WHERE id = 1",
    "UPDATE keyed SET b = JSON_ARRAY(REPEAT('r', 200), 1) WHERE id IN (1, 2)",
    "UPDATE keyed SET b = JSON_REPLACE(b, '$[1]', JSON_OBJECT('nested', JSON_ARRAY(CAST('a' AS BINARY)))) WHERE id = 1",
    "UPDATE keyed SET a = JSON_SET(a, '$.bb[0][0]', 'deep', '$.bb[0][3]', 'deep', '$.bb[1].t', CURRENT_TIME(6))",
    "UPDATE keyed SET a = JSON_SET(a, '$', 'root') WHERE id = 4",
    "UPDATE keyed SET a = JSON_REPLACE(a, '$[0]', 'root again') WHERE id = 4",
    "UPDATE keyed SET id = id + 100, a = JSON_SET(a, '$.moved', TRUE) WHERE id = 2",
    "UPDATE keyed SET c = JSON_REPLACE(c, '$.big[0]', REPEAT('y', 70000))",
    "UPDATE rows_only SET a = JSON_SET(a, '$.n', 8, '$.m', JSON_EXTRACT(a, '$.bb')) WHERE id < 3",
    "UPDATE rows_only SET a = JSON_REMOVE(a, '$.bb[last]') LIMIT 3",
    "UPDATE rows_only SET a = JSON_REPLACE(a, '$.pad', 'short') WHERE id = 1",
    "UPDATE rows_only SET id = id + 10, a = JSON_SET(a, '$.pad', REPEAT('long', 300)) WHERE id = 1",
];

const VALUES: [&str; 14] = [
    "1",
    "-32769",
    "NULL",
    "TRUE",
    "'text'",
    "'\"\\\\ \\t é'",
    "REPEAT('w', 300)",
    "2.5e0",
    "1234567890123.4567890",
    "CAST('2024-02-29' AS DATE)",
    "JSON_ARRAY()",
    "JSON_ARRAY(1, JSON_ARRAY(2), NULL)",
    "JSON_OBJECT()",
    "JSON_OBJECT('b', 1, 'aa', JSON_ARRAY(3, 4), 'a', JSON_OBJECT('x', 5))",
];

/// Some change of a document; paths may lead nowhere.
fn change(numbers: &mut Numbers) -> String {
    const LEGS: [&str; 10] = [".a", ".b", ".aa", ".x", ".\"a b\"", "[0]", "[1]", "[last]", "[last-1]", "[4]"];
    let function =
        ["JSON_SET", "JSON_SET", "JSON_INSERT", "JSON_REPLACE", "JSON_REMOVE", "JSON_ARRAY_INSERT"]
            [numbers.below(6) as usize];
    let arguments: Vec<String> = (0..=numbers.below(3))
        .map(|_| {
            let mut path = "$".to_owned();
            for _ in 0..=numbers.below(3) {
                path += LEGS[numbers.below(10) as usize];
            }
            let value = VALUES[numbers.below(14) as usize];
            match function {
                "JSON_REMOVE" => format!("'{path}'"),
                "JSON_ARRAY_INSERT" => format!("'{path}[{}]', {value}", numbers.below(4)),
                _ => format!("'{path}', {value}"),
            }
        })
        .collect();
    let column = ["a", "b"][numbers.below(2) as usize];
    format!(
        "UPDATE random SET {column} = {function}({column}, {}) WHERE id = {}",
        arguments.join(", "),
        numbers.below(6)
    )
}

/// Follows into columns of type `json`, which keep the text that they are given.
fn follow(scene: &Scene<'_>) -> Run {
    scene.follow().config(serde_json::json!({"mysql2og": {"json": "json"}}))
}

/// Fails unless each row of the table comes to read on both sides as the same text. `columns` are the documents.
///
/// It is waited for, since only what meets under a key keeps its order: the mark that has arrived may have come by
/// another lane than the documents.
async fn require_same_text(scene: &Scene<'_>, table: &str, columns: &[&str]) -> Result<()> {
    let same = eventually("the same text", async || {
        Ok(differences(scene, table, columns).await?.is_empty().then_some(()))
    });
    match same.await {
        Ok(()) => Ok(()),
        Err(error) => {
            let differences = differences(scene, table, columns).await?;
            Err(error.context(format!("{table} (positive: only in the source): {differences:#?}")))
        }
    }
}

/// Rows that one side has more often than the other, and by how much the source.
async fn differences(scene: &Scene<'_>, table: &str, columns: &[&str]) -> Result<BTreeMap<String, i64>> {
    let mut source = scene.source().await?;
    let text = |cast: &str| {
        let columns = columns.iter().map(|column| format!("COALESCE(CAST({column} AS {cast}), 'NULL')"));
        columns.collect::<Vec<_>>().join(", '|', ")
    };
    let rows: Vec<String> =
        source.query(format!("SELECT CONCAT(id, ':', {}) FROM {table}", text("CHAR"))).await?;
    source.disconnect().await?;
    let query = format!("SELECT concat(id, ':', {}) FROM {}.{table}", text("text"), scene.name());
    let mut counted = BTreeMap::<String, i64>::new();
    for row in rows {
        *counted.entry(row).or_default() += 1;
    }
    for row in scene.rows(&query).await?.into_iter().flatten() {
        *counted.entry(row).or_default() -= 1;
    }
    counted.retain(|_, count| *count != 0);
    Ok(counted)
}

async fn in_session(source: &mut Conn, statements: impl IntoIterator<Item = &str>) -> Result<()> {
    for statement in statements {
        source.query_drop(statement).await.with_context(|| statement.to_owned())?;
    }
    Ok(())
}

/// Events in the newest file of the log that hold differences.
async fn partial_updates(source: &mut Conn) -> Result<usize> {
    let status: Option<Row> = source.query_first("SHOW BINARY LOG STATUS").await?;
    let file: String = status.and_then(|status| status.get(0)).context("there is no log")?;
    let events: Vec<Row> = source.query(format!("SHOW BINLOG EVENTS IN '{file}'")).await?;
    let kinds = events.iter().filter_map(|event| event.get::<String, _>("Event_type"));
    Ok(kinds.filter(|kind| kind == "Update_rows_partial").count())
}

#[tokio::test]
async fn of_which_only_differences_are_logged_are_followed_to_the_letter() -> Result<()> {
    let server = test_kit::Builder::new(test_kit::Product::MySql).start()?;
    let scene = Scene::new(&server, test_kit::postgres()?, "documents").await?;
    scene.execute(TABLES).await?;
    let mut running = follow(&scene).start()?;
    running.phase("streaming").await?;

    let mut source = scene.source().await?;
    in_session(&mut source, ["SET SESSION binlog_row_value_options = 'PARTIAL_JSON'"]).await?;
    for statement in STATEMENTS {
        in_session(&mut source, [statement]).await?;
    }
    ensure!(partial_updates(&mut source).await? >= STATEMENTS.len(), "the log has whole documents");
    arrives(&scene, "one after the other").await?;
    require_same_text(&scene, "keyed", &["a", "b", "c", "n"]).await?;
    require_same_text(&scene, "rows_only", &["a"]).await?;

    // In one transaction, which is compressed; and in a distributed one.
    in_session(&mut source, ["SET SESSION binlog_transaction_compression = ON", "BEGIN"]).await?;
    in_session(&mut source, STATEMENTS).await?;
    in_session(&mut source, ["COMMIT", "SET SESSION binlog_transaction_compression = OFF", "XA START 'x'"])
        .await?;
    in_session(&mut source, STATEMENTS).await?;
    in_session(&mut source, ["XA END 'x'", "XA PREPARE 'x'", "XA COMMIT 'x'"]).await?;
    source.disconnect().await?;
    arrives(&scene, "all at once").await?;
    require_same_text(&scene, "keyed", &["a", "b", "c", "n"]).await?;
    require_same_text(&scene, "rows_only", &["a"]).await?;

    running.interrupt().await?;
    running.finish().await?.failed(130)?;
    follow(&scene).arguments(["--until", "caught-up"]).succeed().await?;
    scene.require_equal().await
}

#[tokio::test]
async fn any_changes_of_which_arrive_to_the_letter() -> Result<()> {
    let scene = Scene::mysql("any_documents").await?;
    scene
        .execute([
            "CREATE TABLE random (id INT PRIMARY KEY, a JSON, b JSON)",
            "CREATE TABLE keyless (n INT NOT NULL, v VARCHAR(60) NULL)",
            "INSERT INTO random SELECT id, JSON_OBJECT('a', JSON_ARRAY(1, 2), 'b', JSON_OBJECT('x', 1), 'pad', \
             REPEAT('p', 3000)), JSON_ARRAY(0, JSON_ARRAY(1), JSON_OBJECT('a', 2), REPEAT('q', 3000)) \
             FROM (SELECT 0 AS id UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5) AS ids",
        ])
        .await?;
    let mut running = follow(&scene).start()?;
    running.phase("streaming").await?;
    let mut source = scene.source().await?;
    in_session(&mut source, ["SET SESSION binlog_row_value_options = 'PARTIAL_JSON'"]).await?;
    let mut numbers = Numbers::new(1);
    for round in 0..8 {
        for _ in 0..60 {
            in_session(&mut source, [change(&mut numbers).as_str()]).await?;
        }
        arrives(&scene, &format!("round {round}")).await?;
        require_same_text(&scene, "random", &["a", "b"]).await?;
    }
    source.disconnect().await?;
    running.interrupt().await?;
    running.finish().await?.failed(130)?;
    follow(&scene).arguments(["--until", "caught-up"]).succeed().await?;
    scene.require_equal().await
}
