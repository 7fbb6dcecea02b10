//! One statement after the other, with rows before and after each: in the end the target has the rows of the source, and
//! the structure that a task would give it that begins only then.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Scene, Writers};
use test_support::numbers::Numbers;

const START: &[&str] = &[
    "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, a VARCHAR(10), n INT NOT NULL DEFAULT 3, x DECIMAL(5,2), KEY (n))",
    "CREATE TABLE parent (id INT PRIMARY KEY, k INT NOT NULL, UNIQUE (k))",
    "CREATE TABLE child (id INT PRIMARY KEY, p INT, CONSTRAINT c_p FOREIGN KEY (p) REFERENCES parent (k))",
    "CREATE TABLE plain (at INT, what VARCHAR(20))",
    "CREATE TABLE busy (id INT PRIMARY KEY, v INT)",
    "INSERT INTO t (a, x) VALUES ('one', 1.25), (NULL, NULL), ('three', -3)",
    "INSERT INTO parent VALUES (1, 10), (2, 20)",
    "INSERT INTO child VALUES (1, 10), (2, 20), (3, NULL)",
    "INSERT INTO plain VALUES (1, 'x'), (1, 'x'), (NULL, NULL)",
];

/// Statements of structure, each with rows written right before and right after it.
const STEPS: &[[&str; 3]] = &[
    [
        "INSERT INTO t (a) VALUES ('old')",
        "ALTER TABLE t ADD COLUMN b INT NOT NULL DEFAULT 7, ADD c VARCHAR(20) DEFAULT 'it''s', \
         ADD d DECIMAL(8,3) DEFAULT -0.5, ADD e ENUM('p','q') NOT NULL, ADD f BINARY(3) DEFAULT 'ab', \
         ADD g BIT(5) NOT NULL DEFAULT b'101', ADD h DATE DEFAULT '2024-02-29', ADD i DOUBLE DEFAULT 0.1, \
         ADD j DATETIME(3) DEFAULT '2024-01-02 03:04:05.6', ADD k TIME DEFAULT '10:11:12', ADD l TEXT, \
         ADD m BIGINT UNSIGNED DEFAULT 18446744073709551615, ADD o YEAR NOT NULL DEFAULT 1999, \
         ADD q SET('u','v') DEFAULT 'v,u', ADD r CHAR(4) NOT NULL, ADD s BOOL DEFAULT TRUE",
        "INSERT INTO t (a, b, e, r) VALUES ('new', 8, 'q', 'abcd')",
    ],
    // Every row that is there gets the time of the statement, which only the log knows later on.
    [
        "UPDATE t SET b = b + 1",
        "ALTER TABLE t ADD stamp TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP, \
         ADD fine TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), ADD wall DATETIME(3) DEFAULT CURRENT_TIMESTAMP(3)",
        "INSERT INTO t (a, e, r) VALUES ('stamped', 'p', '')",
    ],
    [
        "INSERT INTO t (a, n, e, r) VALUES ('wide', 2147483647, 'p', '')",
        "ALTER TABLE t MODIFY n BIGINT NOT NULL DEFAULT 4, MODIFY a VARCHAR(40) FIRST, MODIFY x DECIMAL(12,4), \
         MODIFY e ENUM('new','p','q') NOT NULL, MODIFY j DATETIME(6), MODIFY i DOUBLE NOT NULL DEFAULT 2",
        "INSERT INTO t (a, n, x, e, r) VALUES (REPEAT('y', 40), 9000000000, 12345678.1234, 'new', '')",
    ],
    [
        "DELETE FROM t WHERE a = 'old'",
        "ALTER TABLE t DROP COLUMN x, DROP COLUMN n",
        "INSERT INTO t (a, e, r) VALUES ('dropped', 'p', '')",
    ],
    [
        "DELETE FROM t WHERE a = 'dropped'",
        "ALTER TABLE t ADD n VARCHAR(3) DEFAULT 'n' AFTER id",
        "INSERT INTO t (a, n, e, r) VALUES ('added', NULL, 'p', '')",
    ],
    [
        "UPDATE t SET n = 'm' WHERE id = 1",
        "ALTER TABLE t CHANGE b bb BIGINT NULL, RENAME COLUMN c TO d, RENAME COLUMN d TO c",
        "UPDATE t SET bb = NULL, d = 'swapped', c = 1.5 WHERE id = 1",
    ],
    [
        "INSERT INTO t (a, e, r) VALUES ('indexed', 'p', '')",
        "ALTER TABLE t ADD INDEX by_bb (bb, n DESC), ADD UNIQUE KEY u (id, n), ADD KEY (a(10))",
        "UPDATE t SET bb = 4 WHERE id = 2",
    ],
    [
        "UPDATE t SET bb = 5 WHERE id = 3",
        "CREATE UNIQUE INDEX made ON t (id, a)",
        "UPDATE t SET bb = 6 WHERE id = 3",
    ],
    ["UPDATE t SET bb = 7 WHERE id = 3", "DROP INDEX by_bb ON t", "UPDATE t SET bb = 8 WHERE id = 3"],
    [
        "UPDATE t SET bb = 9 WHERE id = 3",
        "ALTER TABLE t RENAME INDEX u TO unique_n, DROP INDEX made",
        "UPDATE t SET bb = 10 WHERE id = 3",
    ],
    [
        "UPDATE t SET id = id + 100 WHERE id = 2",
        "ALTER TABLE t MODIFY id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT, COMMENT 'wide keys'",
        "INSERT INTO t (id, a, e, r) VALUES (18446744073709551000, 'far', 'p', '')",
    ],
    [
        "INSERT INTO plain VALUES (5, 'five')",
        "ALTER TABLE plain ADD COLUMN id INT NOT NULL DEFAULT 0, MODIFY what TEXT",
        "UPDATE plain SET id = 1 WHERE at = 5",
    ],
    [
        "DELETE FROM plain WHERE at = 1 OR at IS NULL",
        "ALTER TABLE plain ADD PRIMARY KEY (at, id)",
        "INSERT INTO plain VALUES (6, 'six', 6), (5, 'again', 2)",
    ],
    [
        "UPDATE plain SET what = 'changed' WHERE at = 6",
        "ALTER TABLE plain DROP PRIMARY KEY",
        "INSERT INTO plain VALUES (6, 'six', 6)",
    ],
    [
        "INSERT INTO parent VALUES (3, 30)",
        "CREATE TABLE made (id BIGINT UNSIGNED PRIMARY KEY AUTO_INCREMENT, v VARCHAR(20) DEFAULT 'd', at TIMESTAMP(3) NULL, \
         j JSON, UNIQUE (v), KEY (at))",
        "INSERT INTO made (v, at, j) VALUES ('a', '2024-05-06 07:08:09.123', '{\"a\": [1, 2]}'), ('b', NULL, NULL)",
    ],
    [
        "INSERT INTO made (v) VALUES ('c')",
        "CREATE TABLE twin LIKE made",
        "INSERT INTO twin SELECT * FROM made",
    ],
    ["INSERT INTO twin (v) VALUES ('t')", "TRUNCATE TABLE made", "INSERT INTO made (v) VALUES ('after')"],
    [
        "UPDATE twin SET v = CONCAT(v, v)",
        "RENAME TABLE made TO swap, twin TO made, swap TO twin",
        "INSERT INTO made (v) VALUES ('was twin')",
    ],
    [
        "INSERT INTO twin (v) VALUES ('was made')",
        "ALTER TABLE twin RENAME TO renamed",
        "INSERT INTO renamed (v) VALUES ('r')",
    ],
    ["DELETE FROM made LIMIT 1", "DROP TABLE made", "INSERT INTO renamed (v) VALUES ('s')"],
    [
        "INSERT INTO renamed (v) VALUES ('u')",
        "CREATE TABLE made (other INT PRIMARY KEY)",
        "INSERT INTO made VALUES (1), (2)",
    ],
    [
        "INSERT INTO child VALUES (4, 10)",
        "RENAME TABLE parent TO parents",
        "INSERT INTO parents VALUES (4, 40)",
    ],
    [
        "INSERT INTO child VALUES (5, 40)",
        "ALTER TABLE child DROP FOREIGN KEY c_p, DROP INDEX c_p",
        "INSERT INTO child VALUES (6, 99)",
    ],
    [
        "DELETE FROM child WHERE id = 6",
        "ALTER TABLE child ADD CONSTRAINT again FOREIGN KEY (p) REFERENCES parents (k)",
        "INSERT INTO child VALUES (7, 30)",
    ],
    [
        "INSERT INTO t (a, e, r) VALUES ('made', 'p', '')",
        "CREATE TABLE filled AS SELECT a, bb, e FROM t",
        "UPDATE filled SET bb = 0 WHERE a = 'made'",
    ],
    [
        "INSERT INTO filled VALUES ('z', 1, 'p')",
        "ALTER TABLE filled ENGINE=InnoDB, FORCE",
        "DELETE FROM filled LIMIT 1",
    ],
];

/// Somebody writes to another table all the time.
fn busy(numbers: &mut Numbers) -> Vec<String> {
    let id = numbers.below(50);
    vec![format!("INSERT INTO busy VALUES ({id}, 1) ON DUPLICATE KEY UPDATE v = v + 1")]
}

async fn begun(scene: &Scene<'_>) -> Result<()> {
    scene.execute(START).await?;
    scene.run().succeed().await?;
    Ok(())
}

/// Fails unless rows and structure are those of a task that begins now.
async fn require_as_new(scene: &Scene<'_>) -> Result<()> {
    scene.require_equal().await?;
    let again = scene.target_server();
    let other = format!("{}_new", scene.name());
    let target = scene.target().await?;
    target.batch_execute(&format!("DROP DATABASE IF EXISTS {other} WITH (FORCE)")).await?;
    target.batch_execute(&format!("CREATE DATABASE {other}")).await?;
    let state = scene.directory().join("new").display().to_string();
    let run = scene.run().replace("--target", again.url_of(&other)).replace("--state-dir", state);
    run.succeed().await?;
    let (ours, theirs) = {
        let new = test_support::connect::postgres(&again.url_of(&other)).await?;
        (structure(&target, scene.name()).await?, structure(&new, scene.name()).await?)
    };
    target.batch_execute(&format!("DROP DATABASE {other} WITH (FORCE)")).await?;
    let only = |left: &[String], right: &[String]| {
        left.iter().filter(|line| !right.contains(line)).cloned().collect::<Vec<_>>().join("\n  ")
    };
    ensure!(
        ours == theirs,
        "only here\n  {}\nonly in a new one\n  {}",
        only(&ours, &theirs),
        only(&theirs, &ours)
    );
    Ok(())
}

/// Columns, indexes, constraints and comments, a line each.
async fn structure(client: &tokio_postgres::Client, schema: &str) -> Result<Vec<String>> {
    let rows = client
        .query(
            "SELECT concat_ws(' ', 'column', table_name, column_name, data_type, character_maximum_length, \
                    numeric_precision, numeric_scale, datetime_precision, is_nullable, is_identity, column_default) \
             FROM information_schema.columns WHERE table_schema = $1 \
             UNION ALL SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = $1 \
             UNION ALL SELECT concat_ws(' ', 'constraint', conrelid::regclass, conname, pg_get_constraintdef(oid)) \
             FROM pg_constraint WHERE connamespace = $1::regnamespace AND contype <> 'n' \
             UNION ALL SELECT concat_ws(' ', 'comment', objoid::regclass, objsubid::bool, description) \
             FROM pg_description WHERE classoid = 'pg_class'::regclass \
             AND objoid IN (SELECT oid FROM pg_class WHERE relnamespace = $1::regnamespace) ORDER BY 1",
            &[&schema],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statement_by_statement_on_mysql() -> Result<()> {
    statement_by_statement(Scene::mysql("ddl_steps_mysql").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statement_by_statement_on_mariadb() -> Result<()> {
    statement_by_statement(Scene::mariadb("ddl_steps_mariadb").await?).await
}

/// The engine is at the statement when it is killed, now here and now there, and begun anew each time.
async fn statement_by_statement(scene: Scene<'static>) -> Result<()> {
    begun(&scene).await?;
    let writers = Writers::start(&scene.source_url(), 1, Duration::from_millis(10), busy);
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    for (number, step) in STEPS.iter().enumerate() {
        scene.execute(step).await?;
        if number % 4 == 3 {
            running.kill().await?;
            running = scene.follow().start()?;
            if number % 8 == 7 {
                running.phase("streaming").await?;
            }
        }
    }
    running.kill().await?;
    writers.stop().await?;
    scene.run().succeed().await?;
    require_as_new(&scene).await
}

#[tokio::test]
async fn a_log_that_begins_before_all_of_it_on_mysql() -> Result<()> {
    from_behind(Scene::mysql("ddl_behind_mysql").await?).await
}

#[tokio::test]
async fn a_log_that_begins_before_all_of_it_on_mariadb() -> Result<()> {
    from_behind(Scene::mariadb("ddl_behind_mariadb").await?).await
}

/// Nobody follows while everything happens: the catalog is far ahead of the stream, and stays so over kills.
async fn from_behind(scene: Scene<'static>) -> Result<()> {
    begun(&scene).await?;
    for step in STEPS {
        scene.execute(step).await?;
    }
    for failpoint in
        ["structure-changed:3", "structure-changed:1", "structure-committed:2", "structure-committed:9"]
    {
        let outcome = scene.run().environment("ENGINE_FAILPOINT", failpoint).finish().await?;
        ensure!(!outcome.status.success(), "{failpoint} was not reached");
    }
    std::fs::remove_dir_all(scene.state_directory())?;
    scene.run().succeed().await.context("the last run")?;
    require_as_new(&scene).await
}
