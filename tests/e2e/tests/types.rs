//! Every type with the values at its edges, through the copy and through the stream, against the text that
//! `PostgreSQL` shall answer.

pub(crate) mod cases;
mod policy;

use anyhow::{Context as _, Result};
use e2e::Scene;
use test_kit::Product;

use cases::{COMMON, Case, MARIADB, MYSQL};

/// Lets invalid values be stored as the servers' old defaults did.
const LENIENT: &str = "SET SESSION sql_mode = ''";

#[tokio::test]
async fn of_mysql_arrive_as_they_are() -> Result<()> {
    arrive(&Scene::mysql("types_mysql").await?, MYSQL).await
}

#[tokio::test]
async fn of_mariadb_arrive_as_they_are() -> Result<()> {
    arrive(&Scene::mariadb("types_mariadb").await?, MARIADB).await
}

/// The statements that fill a table `edge` and those that change it after the copy: of the values that both
/// servers hold alike, and with `own` of one server's own.
pub(crate) fn statements(own: Option<Product>) -> (Vec<String>, Vec<String>) {
    let own = match own {
        None => &[],
        Some(Product::MariaDb) => MARIADB,
        Some(_) => MYSQL,
    };
    let cases: Vec<Case> = COMMON.iter().chain(own).copied().collect();
    (tables(&cases), changes(&cases))
}

/// How a row came to the target.
const ROWS: &[(u32, &str)] = &[(1, "copied"), (2, "inserted"), (3, "updated")];

/// One table has a column per case. Row 1 is copied; row 2 is inserted and row 3 given its values after the copy;
/// row 4 loses them.
async fn arrive(scene: &Scene<'_>, own: &[Case]) -> Result<()> {
    let cases: Vec<Case> = COMMON.iter().chain(own).copied().collect();
    scene.execute(tables(&cases)).await?;
    scene.run().succeed().await?;
    scene.execute(changes(&cases)).await?;
    scene.run().succeed().await?;

    let types: Vec<String> = target_types(scene).await?;
    let mut wrong = Vec::new();
    for (case, found) in cases.iter().zip(&types) {
        if case.target_type != found {
            wrong.push(format!("{} is of type {found}, not {}", case.name, case.target_type));
        }
    }
    let expressions: Vec<String> =
        cases.iter().map(|case| case.read.replace('?', &format!("\"{}\"", case.name))).collect();
    let columns = expressions.join(", ");
    for (id, way) in ROWS {
        let query = format!("SELECT {columns} FROM {}.edge WHERE id = {id}", scene.name());
        let row = scene.rows(&query).await?.pop().with_context(|| format!("the {way} row is not there"))?;
        for (case, found) in cases.iter().zip(row) {
            if case.expected != found {
                wrong.push(format!("{} {way}: {found:?}, not {:?}", case.name, case.expected));
            }
        }
    }
    let query = format!("SELECT {columns} FROM {}.edge WHERE id = 4", scene.name());
    let emptied = scene.rows(&query).await?.pop().context("the emptied row is not there")?;
    for (case, found) in cases.iter().zip(emptied).filter(|(_, found)| found != "NULL") {
        wrong.push(format!("{} emptied: {found:?}, not NULL", case.name));
    }
    assert!(wrong.is_empty(), "{} of {} columns:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    Ok(())
}

pub(crate) fn tables(cases: &[Case]) -> Vec<String> {
    let columns: Vec<String> =
        cases.iter().map(|case| format!("`{}` {}", case.name, case.definition)).collect();
    vec![
        LENIENT.to_owned(),
        format!("CREATE TABLE edge (id INT PRIMARY KEY, {})", columns.join(", ")),
        insert(cases, 1),
        "INSERT INTO edge (id) VALUES (3)".to_owned(),
        insert(cases, 4),
    ]
}

pub(crate) fn changes(cases: &[Case]) -> Vec<String> {
    let set = |value: &dyn Fn(&Case) -> String| {
        let assignments: Vec<String> =
            cases.iter().map(|case| format!("`{}` = {}", case.name, value(case))).collect();
        assignments.join(", ")
    };
    vec![
        LENIENT.to_owned(),
        insert(cases, 2),
        format!("UPDATE edge SET {} WHERE id = 3", set(&|case| case.value.to_owned())),
        format!("UPDATE edge SET {} WHERE id = 4", set(&|_| "NULL".to_owned())),
    ]
}

fn insert(cases: &[Case], id: u32) -> String {
    let names: Vec<String> = cases.iter().map(|case| format!("`{}`", case.name)).collect();
    let values: Vec<&str> = cases.iter().map(|case| case.value).collect();
    format!("INSERT INTO edge (id, {}) VALUES ({id}, {})", names.join(", "), values.join(", "))
}

async fn target_types(scene: &Scene<'_>) -> Result<Vec<String>> {
    let rows = scene
        .rows(&format!(
            "SELECT format_type(atttypid, atttypmod) FROM pg_attribute \
             WHERE attrelid = '{}.edge'::regclass AND attnum > 1 AND NOT attisdropped ORDER BY attnum",
            scene.name()
        ))
        .await?;
    Ok(rows.into_iter().flatten().collect())
}

/// Without a key, a change finds its row by all its values.
#[tokio::test]
async fn of_mysql_find_their_row_where_there_is_no_key() -> Result<()> {
    find_their_row(&Scene::mysql("keyless_types_mysql").await?, MYSQL).await
}

/// Without a key, a change finds its row by all its values.
#[tokio::test]
async fn of_mariadb_find_their_row_where_there_is_no_key() -> Result<()> {
    find_their_row(&Scene::mariadb("keyless_types_mariadb").await?, MARIADB).await
}

async fn find_their_row(scene: &Scene<'_>, own: &[Case]) -> Result<()> {
    let cases: Vec<Case> = COMMON.iter().chain(own).copied().collect();
    let mut statements = tables(&cases);
    statements.push("ALTER TABLE edge DROP PRIMARY KEY".to_owned());
    // Equal but for the NULL that stands in for the missing key.
    statements.push("ALTER TABLE edge MODIFY id INT NULL".to_owned());
    statements.push("UPDATE edge SET id = NULL".to_owned());
    scene.execute(statements).await?;
    scene.run().succeed().await?;
    let count = format!("SELECT count(*)::text FROM {}.edge", scene.name());
    assert_eq!(scene.value(&count).await?, "3");

    scene.execute(["DELETE FROM edge WHERE tinyint1 IS NOT NULL LIMIT 1"]).await?;
    scene.execute(["UPDATE edge SET tinyint1 = 1 WHERE tinyint1 IS NOT NULL"]).await?;
    scene.run().succeed().await?;
    let left = format!("SELECT tinyint1::text, decimal_tiny::text FROM {}.edge ORDER BY 1", scene.name());
    let expected = [["1", "-0.000000000000000000000000000001"], ["NULL", "NULL"]];
    assert_eq!(scene.rows(&left).await?, expected);
    Ok(())
}

/// A value of more bytes than a chunk.
#[tokio::test]
async fn a_value_larger_than_a_chunk_arrives() -> Result<()> {
    const MEBIBYTES: u32 = 24;
    let scene = Scene::mysql("large_value").await?;
    let value = format!("REPEAT(x'00FF0A5C', {})", MEBIBYTES * 1024 * 256);
    scene
        .execute([
            "CREATE TABLE large (id INT PRIMARY KEY, v LONGBLOB)".to_owned(),
            format!("INSERT INTO large VALUES (1, {value}), (2, 'small')"),
        ])
        .await?;
    scene.run().succeed().await?;
    scene.execute([format!("UPDATE large SET v = {value} WHERE id = 2")]).await?;
    scene.run().succeed().await?;
    let query = format!(
        "SELECT length(v)::text, (v = decode(repeat('00ff0a5c', {}), 'hex'))::text FROM {}.large ORDER BY id",
        MEBIBYTES * 1024 * 256,
        scene.name()
    );
    let length = (MEBIBYTES << 20).to_string();
    assert_eq!(scene.rows(&query).await?, [[length.as_str(), "true"], [length.as_str(), "true"]]);
    Ok(())
}

/// A compressed column is copied, but its changes can't be read: the stream stops at the first of them.
#[tokio::test]
async fn that_only_the_copy_can_read_stop_the_stream() -> Result<()> {
    let scene = Scene::mariadb("compressed_column").await?;
    scene
        .execute([
            "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(500) COMPRESSED)",
            "INSERT INTO t VALUES (1, REPEAT('é', 400))",
        ])
        .await?;
    scene.run().succeed().await?;
    scene.require_equal().await?;
    scene.execute(["INSERT INTO t VALUES (2, REPEAT('é', 400))"]).await?;
    let error = scene.run().fail().await?;
    for part in [format!("{}.t", scene.name()).as_str(), r#""column":"v""#, "compressed columns"] {
        assert!(error.contains(part), "the error does not say {part}: {error}");
    }
    Ok(())
}
