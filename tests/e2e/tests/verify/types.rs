//! The smallest change of a value of every type is found, in its row and column.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use e2e::{MysqlScene, Scene};
use test_kit::{mariadb, mysql};

use super::place::{Place, check};
use super::{report, wrong};
use crate::types::cases::{COMMON, Case, MARIADB, MYSQL};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_of_mysql_is_compared() -> Result<()> {
    let changed = |case: &Case| neighbour(case.target_type).replace('?', &format!("\"{}\"", case.name));
    compared(&Scene::mysql("verify_types").await?, MYSQL, "\"", changed).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_of_mariadb_is_compared() -> Result<()> {
    let changed = |case: &Case| neighbour(case.target_type).replace('?', &format!("\"{}\"", case.name));
    compared(&Scene::mariadb("verify_types_mariadb").await?, MARIADB, "\"", changed).await
}

fn changed_in_mysql(case: &Case) -> String {
    neighbour_in_mysql(case.definition).replace('?', &format!("`{}`", case.name))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_of_mysql_is_compared_in_mysql() -> Result<()> {
    let scene = MysqlScene::new(mysql()?, mysql()?, "verify_mysql_types").await?;
    compared(&scene, MYSQL, "`", changed_in_mysql).await?;
    scene.require_equal().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_of_mariadb_is_compared_in_mariadb() -> Result<()> {
    let scene = MysqlScene::new(mariadb()?, mariadb()?, "verify_mariadb_types").await?;
    compared(&scene, MARIADB, "`", changed_in_mysql).await?;
    scene.require_equal().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_that_both_have_is_compared_in_the_other() -> Result<()> {
    let scene = MysqlScene::new(mysql()?, mariadb()?, "verify_types_to_mariadb").await?;
    compared(&scene, &[], "`", changed_in_mysql).await?;
    scene.require_equal().await?;
    let scene = MysqlScene::new(mariadb()?, mysql()?, "verify_types_to_mysql").await?;
    compared(&scene, &[], "`", changed_in_mysql).await?;
    scene.require_equal().await
}

/// Row n holds the values of all cases; in the target, rows 2n and 2n + 1 lose the value of case n, the one to NULL and
/// the other to its nearest neighbour. Half of the rows were copied, half came with the stream.
async fn compared(
    scene: &impl Place,
    own: &[Case],
    quote: &str,
    changed: impl Fn(&Case) -> String,
) -> Result<()> {
    // Values of a hundred kilobytes would make the rows of this test as many megabytes; another test has them.
    let small = |case: &&Case| !case.value.contains("REPEAT");
    let cases: Vec<Case> = COMMON.iter().chain(own).filter(small).copied().collect();
    let columns: Vec<String> =
        cases.iter().map(|case| format!("`{}` {}", case.name, case.definition)).collect();
    let names: Vec<String> = cases.iter().map(|case| format!("`{}`", case.name)).collect();
    let values: Vec<&str> = cases.iter().map(|case| case.value).collect();
    let insert = |id: usize| {
        format!("INSERT INTO edge (id, {}) VALUES ({id}, {})", names.join(", "), values.join(", "))
    };
    let lenient = "SET SESSION sql_mode = ''".to_owned();
    let create = format!("CREATE TABLE edge (id INT PRIMARY KEY, {})", columns.join(", "));
    let copy = |from: usize, to: usize| {
        format!(
            "INSERT INTO edge (id, {0}) WITH RECURSIVE c (i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM c WHERE i < {to}) \
             SELECT c.i, {0} FROM c, (SELECT * FROM edge WHERE id = 1) AS e",
            names.join(", ")
        )
    };
    let count = cases.len();
    scene.execute([lenient.clone(), create, insert(1), copy(2, count)]).await?;
    scene.run().succeed().await?;
    scene
        .execute([lenient, copy(count + 1, 2 * count + 1), "INSERT INTO edge (id) VALUES (0)".to_owned()])
        .await?;
    scene.run().succeed().await?;
    report(check(scene), 0).await?;

    let mut expected = BTreeSet::new();
    for (number, case) in cases.iter().enumerate() {
        for (id, value) in [(2 * number + 2, "NULL".to_owned()), (2 * number + 3, changed(case))] {
            let column = format!("{quote}{}{quote}", case.name);
            scene.on_target(&format!("UPDATE edge SET {column} = {value} WHERE id = {id}")).await?;
            expected.insert(format!("edge different {id} {}", case.name));
        }
    }
    let found = wrong(&report(check(scene), 4).await?);
    let other: Vec<_> = found.symmetric_difference(&expected).collect();
    ensure!(other.is_empty(), "not found, or found and not broken: {other:?}");
    report(check(scene).argument("--repair"), 0).await?;
    Ok(())
}

/// What both servers write down alike they compare by themselves, and see what a reader sees.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_that_sum_up_see_every_value() -> Result<()> {
    summed(MysqlScene::new(mysql()?, mysql()?, "verify_sum_mysql").await?, MYSQL).await?;
    summed(MysqlScene::new(mariadb()?, mariadb()?, "verify_sum_mariadb").await?, MARIADB).await?;
    summed(MysqlScene::new(mariadb()?, mysql()?, "verify_sum_to_mysql").await?, &[]).await?;
    summed(MysqlScene::new(mysql()?, mariadb()?, "verify_sum_to_mariadb").await?, &[]).await
}

/// A table for each case, so that those which can't be summed up are told from those which can.
async fn summed(scene: MysqlScene<'_>, own: &[Case]) -> Result<()> {
    let small = |case: &&Case| !case.value.contains("REPEAT");
    let cases: Vec<Case> = COMMON.iter().chain(own).filter(small).copied().collect();
    let mut statements = vec!["SET SESSION sql_mode = ''".to_owned()];
    for case in &cases {
        statements.push(format!("CREATE TABLE `{}` (id INT PRIMARY KEY, v {})", case.name, case.definition));
        statements.push(format!(
            "INSERT INTO `{0}` VALUES (1, {1}), (2, {1}), (3, {1}), (4, NULL)",
            case.name, case.value
        ));
    }
    scene.execute(statements).await?;
    scene.run().succeed().await?;
    let by_sums = || check(&scene).arguments(["--method", "push-down"]);
    let clean = report(by_sums(), 0).await?;
    let mut read = BTreeSet::new();
    for table in clean["tables"].as_array().into_iter().flatten() {
        let name = table["table"].as_str().and_then(|name| name.split('.').next_back()).unwrap_or_default();
        if table["method"] != "push-down" {
            read.insert(name.to_owned());
        }
    }
    let charsets = [
        "gbk",
        "sjis",
        "sjis_815f",
        "cp932",
        "ujis",
        "big5",
        "euckr",
        "cp1251",
        "koi8r",
        "latin2",
        "utf16",
        "ucs2",
        "utf32",
        "tis620",
        "gb18030",
    ];
    let others = ["vector", "uuid", "uuid_7", "inet4", "inet6", "inet6_v4", "json_as_written", "json_number"];
    let unexpected: Vec<_> = read
        .iter()
        .filter(|name| !charsets.contains(&name.as_str()) && !others.contains(&name.as_str()))
        .collect();
    ensure!(unexpected.is_empty(), "these were read: {unexpected:?}");

    let mut expected = BTreeSet::new();
    for case in &cases {
        let value = neighbour_in_mysql(case.definition).replace('?', "v");
        for (id, value) in [(1, "NULL"), (2, value.as_str())] {
            scene.on_target(&format!("UPDATE `{}` SET v = {value} WHERE id = {id}", case.name)).await?;
            expected.insert(format!("{} different {id} v", case.name));
        }
    }
    let found = wrong(&report(by_sums(), 4).await?);
    let other: Vec<_> = found.symmetric_difference(&expected).collect();
    ensure!(other.is_empty(), "not found, or found and not broken: {other:?}");
    report(by_sums().argument("--repair"), 0).await?;
    Ok(())
}

/// Rows whose whole values don't fit at once are described group by group.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_values_are_compared() -> Result<()> {
    const MEBIBYTES: usize = 12;
    let scene = Scene::mysql("verify_large").await?;
    scene
        .execute([
            "CREATE TABLE large (id INT PRIMARY KEY, v LONGBLOB)".to_owned(),
            format!(
                "INSERT INTO large WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 6) \
                 SELECT i, REPEAT(x'00FF0A5C', {}) FROM c",
                MEBIBYTES * 1024 * 256
            ),
        ])
        .await?;
    scene.run().succeed().await?;
    let last = "8 * length(v) - 1";
    let flip = format!(
        "UPDATE {}.large SET v = set_bit(v, {last}, 1 - get_bit(v, {last})) WHERE id <> 2",
        scene.name()
    );
    scene.target().await?.batch_execute(&flip).await?;
    let found = wrong(&report(check(&scene), 4).await?);
    assert_eq!(found, [1, 3, 4, 5, 6].map(|id| format!("large different {id} v")).into());
    report(check(&scene).argument("--repair"), 0).await?;
    Ok(())
}

/// The value of a type that is next to `?`.
fn neighbour(target_type: &str) -> &'static str {
    match target_type.split(['(', ' ']).next().unwrap_or_default() {
        "smallint" | "integer" | "bigint" => "? # 1",
        "numeric" => "? - CASE WHEN ? > 0 THEN 1 ELSE -1 END * ('1e-' || scale(?))::numeric",
        "bit" => "set_bit(?, length(?) - 1, 1 - get_bit(?, length(?) - 1))",
        // Their one highest bit.
        "real" | "double" if !target_type.ends_with(']') => "-?",
        "real[]" => "array_append(?, 0)",
        "date" => "? - 1",
        "timestamp" if target_type.starts_with("timestamp(6)") => "? - interval '1 microsecond'",
        "timestamp" if target_type.starts_with("timestamp(3)") => "? - interval '1 millisecond'",
        "timestamp" => "? - interval '1 second'",
        "interval" => "? - interval '1 microsecond'",
        "bytea" => "CASE WHEN length(?) > 0 THEN set_bit(?, 0, 1 - get_bit(?, 0)) ELSE '\\x00' END",
        "jsonb" => "jsonb_build_array(?)",
        "json" => "json_build_array(?)",
        "uuid" => "overlay(?::text placing '0000' from 1)::uuid",
        // Its last character, or one that was not there.
        _ => "CASE WHEN length(?) > 0 THEN left(?, -1) ELSE 'x' END",
    }
}

/// The value of a type of `MySQL` that is next to `?`.
fn neighbour_in_mysql(definition: &str) -> String {
    let arguments =
        definition.split_once('(').and_then(|(_, rest)| Some(rest.split_once(')')?.0)).unwrap_or("");
    let digits = |arguments: &str| arguments.trim().parse::<usize>().unwrap_or(0);
    let towards_zero = |step: &str| format!("IF(? > 0, ? - {step}, ? + {step})");
    let fraction = |places: usize| if places == 0 { "1".to_owned() } else { format!("0.{:0>places$}", 1) };
    match definition.split(['(', ' ']).next().unwrap_or_default() {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" => towards_zero("1"),
        "year" => "IF(? > 1901, ? - 1, 1902)".to_owned(),
        "decimal" => {
            let places = arguments.split_once(',').map_or(0, |(_, scale)| digits(scale));
            towards_zero(&fraction(places))
        }
        "bit" => "? ^ 1".to_owned(),
        // Their one highest bit.
        "float" | "double" => "-?".to_owned(),
        "date" => "IF(? > '2000-01-01', ? - INTERVAL 1 DAY, ? + INTERVAL 1 DAY)".to_owned(),
        "datetime" | "timestamp" => {
            let step = fraction(digits(arguments));
            format!("IF(? > '2000-01-01', ? - INTERVAL {step} SECOND, ? + INTERVAL {step} SECOND)")
        }
        "time" => {
            let step = format!("'00:00:{:0>2}'", fraction(digits(arguments)));
            format!("IF(? > 0, SUBTIME(?, {step}), ADDTIME(?, {step}))")
        }
        "enum" => "IF(? + 0 = 1, 2, 1)".to_owned(),
        "set" => "CAST(? AS UNSIGNED) ^ 1".to_owned(),
        "binary" | "varbinary" | "tinyblob" | "blob" | "longblob" => {
            "IF(LENGTH(?) > 0, INSERT(?, LENGTH(?), 1, UNHEX(LPAD(HEX(ASCII(RIGHT(?, 1)) ^ 1), 2, '0'))), x'00')".to_owned()
        }
        "vector" => "STRING_TO_VECTOR('[1,2,-0.50000006]')".to_owned(),
        // Another system of coordinates for the same ones.
        "point" => "INSERT(CAST(? AS BINARY), 1, 4, x'110F0000')".to_owned(),
        "json" => "JSON_ARRAY(?)".to_owned(),
        "uuid" => "INSERT(CAST(? AS CHAR), 1, 4, '0000')".to_owned(),
        "inet4" => "'192.0.2.2'".to_owned(),
        "inet6" => "'::1:2'".to_owned(),
        // Its last character, or one that was not there.
        _ => "IF(CHAR_LENGTH(?) > 0, LEFT(?, CHAR_LENGTH(?) - 1), 'x')".to_owned(),
    }
}
