//! MySQL and MariaDB as a target: what arrives is the source's, bit for bit.

mod back;
mod deaths;
mod faults;
mod foreign;
mod merged;
mod objects;
mod privileges;
mod shards;
mod structure;
mod values;

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::{MysqlScene, Writers};
use mysql_async::prelude::Queryable as _;
use test_kit::Server;
use test_support::numbers::Numbers;

/// Tables with and without keys, with unique keys to swap, columns that the server computes or renews, and an index
/// of each kind that is carried over.
async fn fill(scene: &MysqlScene<'_>) -> Result<()> {
    scene
        .execute([
            "CREATE TABLE accounts (id INT PRIMARY KEY AUTO_INCREMENT, code VARCHAR(20) UNIQUE, balance INT NOT NULL, \
             twice BIGINT GENERATED ALWAYS AS (balance * 2) STORED, \
             renewed TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3), \
             KEY (twice)) COMMENT = 'it''s'",
            "CREATE TABLE entries (id INT PRIMARY KEY AUTO_INCREMENT, account INT NOT NULL, note TEXT, \
             kind ENUM('a', 'b', 'A') CHARACTER SET latin1 COLLATE latin1_bin, \
             FOREIGN KEY (account) REFERENCES accounts (id))",
            "CREATE TABLE visits (account INT NOT NULL, at INT NOT NULL, who VARCHAR(10))",
            "CREATE TABLE places (x VARCHAR(10) COLLATE utf8mb4_bin, y INT, name VARCHAR(10), PRIMARY KEY (x, y), \
             UNIQUE (name))",
            "CREATE TABLE words (id INT PRIMARY KEY, text TEXT, other TEXT, at POINT NOT NULL, FULLTEXT KEY f (text), \
             FULLTEXT KEY g (text, other), SPATIAL KEY s (at))",
            "INSERT INTO words VALUES (1, 'some words', 'and more', POINT(1, 2))",
            "INSERT INTO accounts (code, balance) SELECT CONCAT('c', seq), seq FROM \
             (WITH RECURSIVE n (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n WHERE seq < 200) SELECT seq FROM n) s",
            "INSERT INTO entries (account, note, kind) SELECT id, REPEAT('n', id), 1 + id % 3 FROM accounts",
            "INSERT INTO visits SELECT id, id, IF(id % 2, 'Ab', 'aB ') FROM accounts",
            "INSERT INTO places SELECT CONCAT('p', id), id, id FROM accounts",
        ])
        .await
}

/// A swap of unique values, keys that move, rows of several tables, rows without a key.
fn transaction(numbers: &mut Numbers) -> Vec<String> {
    let (one, other) = (1 + numbers.below(200), 1 + numbers.below(200));
    match numbers.below(6) {
        0 => vec![
            format!("UPDATE accounts SET code = CONCAT('x', id) WHERE id IN ({one}, {other})"),
            format!("UPDATE accounts SET code = 'swap{one}' WHERE id = {other}"),
            format!("UPDATE accounts SET code = CONCAT('c', id) WHERE id = {one}"),
        ],
        1 => vec![
            format!("INSERT INTO entries (account, note, kind) VALUES ({one}, 'new', 'A')"),
            format!("UPDATE accounts SET balance = balance + 1 WHERE id = {one}"),
            format!("INSERT INTO visits VALUES ({one}, {other}, NULL)"),
        ],
        2 => vec![format!(
            "UPDATE entries SET id = id + 100000 WHERE account = {one} ORDER BY id DESC LIMIT 1"
        )],
        3 => vec![
            format!("UPDATE visits SET who = 'AB' WHERE account = {one} LIMIT 1"),
            format!("UPDATE places SET y = y + 1000, name = CONCAT(name, '+') WHERE y = {one}"),
        ],
        4 => vec![
            format!("UPDATE places SET name = CONCAT('m', y) WHERE y IN ({one}, {other})"),
            format!("UPDATE accounts SET balance = {other} WHERE id BETWEEN {one} AND {one} + 20"),
        ],
        _ => vec![
            format!("DELETE FROM visits WHERE account = {one} LIMIT 1"),
            format!("DELETE FROM entries WHERE account = {other} LIMIT 1"),
        ],
    }
}

/// Copies and follows while somebody writes, stops, goes on, and compares.
async fn moves_while_written_to(source: &Server, target: &Server, test: &str) -> Result<()> {
    let scene = MysqlScene::new(source, target, test).await?;
    fill(&scene).await?;
    let writers = Writers::start(&scene.source_url(), 3, Duration::from_millis(1), transaction);
    writers.commit_more(50).await?;
    scene.run().succeed().await?;
    writers.commit_more(300).await?;
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    writers.commit_more(500).await?;
    let written = writers.stop().await?;
    ensure!(written.changes > 500, "only {} changes", written.changes);
    running.interrupt().await?;
    running.finish().await?;
    scene.run().succeed().await?;
    scene.require_equal().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql_moves_to_mysql_while_it_is_written_to() -> Result<()> {
    moves_while_written_to(test_kit::mysql()?, test_kit::mysql()?, "to_mysql_live").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_moves_to_mysql_while_it_is_written_to() -> Result<()> {
    moves_while_written_to(test_kit::mariadb()?, test_kit::mysql()?, "mariadb_to_mysql_live").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql_moves_to_mariadb_while_it_is_written_to() -> Result<()> {
    moves_while_written_to(test_kit::mysql()?, test_kit::mariadb()?, "mysql_to_mariadb_live").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_moves_to_mariadb_while_it_is_written_to() -> Result<()> {
    moves_while_written_to(test_kit::mariadb()?, test_kit::mariadb()?, "to_mariadb_live").await
}

#[tokio::test]
async fn columns_and_keys_are_the_source_s() -> Result<()> {
    let scene = MysqlScene::new(test_kit::mysql()?, test_kit::mysql()?, "to_mysql_structure").await?;
    fill(&scene).await?;
    scene.run().succeed().await?;
    let mut conn = scene.target().await?;
    for query in [
        "SELECT CONCAT_WS('|', table_name, column_name, ordinal_position, column_type, is_nullable, column_default, \
         extra, collation_name, column_comment, generation_expression) FROM information_schema.columns \
         WHERE table_schema = ? ORDER BY 1",
        "SELECT CONCAT_WS('|', table_name, index_name, non_unique, seq_in_index, column_name, sub_part, collation, \
         index_type) FROM information_schema.statistics WHERE table_schema = ? ORDER BY 1",
        "SELECT CONCAT_WS('|', k.table_name, k.constraint_name, k.referenced_table_name, k.update_rule, k.delete_rule) \
         FROM information_schema.referential_constraints k WHERE constraint_schema = ? ORDER BY 1",
        "SELECT CONCAT_WS('|', table_name, engine, table_comment) FROM information_schema.tables \
         WHERE table_schema = ? ORDER BY 1",
    ] {
        let source: Vec<String> = conn.exec(query, (scene.name(),)).await?;
        let target: Vec<String> = conn.exec(query, (scene.target_name(),)).await?;
        assert_eq!(source, target, "{query}");
    }
    // New rows are numbered as in the source.
    let insert = "INSERT INTO accounts (balance) VALUES (1)";
    scene.execute([insert]).await?;
    scene.execute_on_target([insert]).await?;
    let mut numbers = Vec::new();
    for database in [scene.name(), &scene.target_name()] {
        let query = format!("SELECT MAX(id) FROM {database}.accounts");
        numbers.push(conn.query_first::<u64, _>(query).await?);
    }
    assert_eq!(numbers.first(), numbers.last());
    Ok(())
}
