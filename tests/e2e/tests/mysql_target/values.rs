//! Every type with the values at its edges, through the copy and through the stream, bit for bit.

use anyhow::Result;
use e2e::MysqlScene;
use mysql_async::prelude::Queryable as _;
use test_kit::{Product, Server};

use crate::types::statements;

async fn arrive(source: &Server, target: &Server, own: Option<Product>, test: &str) -> Result<()> {
    let scene = MysqlScene::new(source, target, test).await?;
    let (before, after) = statements(own);
    scene.execute(before).await?;
    scene.run().succeed().await?;
    scene.require_equal().await?;
    scene.execute(after).await?;
    scene.run().succeed().await?;
    scene.require_equal().await
}

/// Without a key, a change finds its row by all its values.
async fn find_their_row(source: &Server, target: &Server, own: Option<Product>, test: &str) -> Result<()> {
    let scene = MysqlScene::new(source, target, test).await?;
    let (mut before, _) = statements(own);
    before.push("ALTER TABLE edge DROP PRIMARY KEY".to_owned());
    // Equal but for the NULL that stands in for the missing key.
    before.push("ALTER TABLE edge MODIFY id INT NULL".to_owned());
    before.push("UPDATE edge SET id = NULL".to_owned());
    scene.execute(before).await?;
    scene.run().succeed().await?;
    scene.require_equal().await?;
    scene.execute(["DELETE FROM edge WHERE tinyint1 IS NOT NULL LIMIT 1"]).await?;
    scene.execute(["UPDATE edge SET tinyint1 = 1 WHERE tinyint1 IS NOT NULL"]).await?;
    scene.run().succeed().await?;
    scene.require_equal().await
}

#[tokio::test]
async fn of_mysql_arrive_in_mysql_as_they_are() -> Result<()> {
    let server = test_kit::mysql()?;
    arrive(server, server, Some(Product::MySql), "values_mysql").await
}

#[tokio::test]
async fn of_mariadb_arrive_in_mariadb_as_they_are() -> Result<()> {
    let server = test_kit::mariadb()?;
    arrive(server, server, Some(Product::MariaDb), "values_mariadb").await
}

#[tokio::test]
async fn of_both_arrive_in_the_other_as_they_are() -> Result<()> {
    let (mysql, mariadb) = (test_kit::mysql()?, test_kit::mariadb()?);
    arrive(mysql, mariadb, None, "values_to_mariadb").await?;
    arrive(mariadb, mysql, None, "values_to_mysql").await
}

#[tokio::test]
async fn of_mysql_find_their_row_where_there_is_no_key() -> Result<()> {
    let server = test_kit::mysql()?;
    find_their_row(server, server, Some(Product::MySql), "values_keyless_mysql").await
}

#[tokio::test]
async fn of_mariadb_find_their_row_where_there_is_no_key() -> Result<()> {
    let server = test_kit::mariadb()?;
    find_their_row(server, server, Some(Product::MariaDb), "values_keyless_mariadb").await
}

/// Rows are copied as lines unless one has a value that only a statement can hold.
async fn arrive_as_lines(server: &Server, own: Product, test: &str) -> Result<()> {
    let scene = MysqlScene::new(server, server, test).await?;
    let (mut before, _) = statements(Some(own));
    before.push("UPDATE edge SET enum_invalid = 'x'".to_owned());
    if own == Product::MySql {
        before.push("UPDATE edge SET json_decimal = '[0.5]'".to_owned());
    }
    scene.execute(before).await?;
    let mut conn = scene.source().await?;
    let loads = "SHOW GLOBAL STATUS LIKE 'Com_load'";
    let loaded: Option<(String, u64)> = conn.query_first(loads).await?;
    scene.run().succeed().await?;
    let now: Option<(String, u64)> = conn.query_first(loads).await?;
    let takes_lines: Option<bool> = conn.query_first("SELECT @@GLOBAL.local_infile").await?;
    assert!(takes_lines != Some(true) || now > loaded, "nothing was copied as lines");
    scene.require_equal().await
}

#[tokio::test]
async fn of_mysql_arrive_as_lines() -> Result<()> {
    arrive_as_lines(test_kit::mysql()?, Product::MySql, "values_lines_mysql").await
}

#[tokio::test]
async fn of_mariadb_arrive_as_lines() -> Result<()> {
    arrive_as_lines(test_kit::mariadb()?, Product::MariaDb, "values_lines_mariadb").await
}

/// What a strict session takes only under protest, and dates that no calendar has.
#[tokio::test]
async fn that_no_strict_session_takes_arrive_all_the_same() -> Result<()> {
    let server = test_kit::mysql()?;
    let scene = MysqlScene::new(server, server, "values_odd").await?;
    scene
        .execute([
            "SET SESSION sql_mode = ''; \
             CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, e ENUM('x', 'y'), d DATE, s TIMESTAMP NULL, \
             f DOUBLE, g FLOAT, c CHAR(5), v VARCHAR(5), b BINARY(4), y YEAR); \
             SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'; \
             INSERT IGNORE INTO t VALUES (0, 'none', '0000-00-00', '0000-00-00 00:00:00', -0e0, -0e0, 'a  ', 'a  ', 'a', 0), \
             (1, 'x', '2024-02-31', NULL, 1e-310, 1e-40, '', '', '', 1901), (2, '', '2024-00-15', NULL, 0, 0, '\\0', '\\\\', '\\0', 2155)",
        ])
        .await?;
    scene.run().succeed().await?;
    scene.require_equal().await?;
    scene
        .execute([
            "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'; \
             UPDATE IGNORE t SET e = 'none', f = -f WHERE id = 1; UPDATE t SET e = 'y', d = '2023-02-30' WHERE id = 0; \
             DELETE FROM t WHERE id = 2; INSERT IGNORE INTO t (id, e) VALUES (3, 'none'), (4, 'y'), (5, 'none')",
        ])
        .await?;
    scene.run().succeed().await?;
    scene.require_equal().await
}
