//! Every type of `PostgreSQL` with the values at its edges, through the copy and through the stream, against the
//! text that `MySQL` and `MariaDB` shall answer.

mod cases;

use anyhow::{Context as _, Result};
use e2e::Scene;
use mysql_async::Row;
use mysql_async::prelude::Queryable as _;
use test_support::engine::Run;

use cases::{CASES, Case, REFUSED, TYPES};

/// The engine from the scene's `PostgreSQL` to its `MySQL`, with a state of its own.
fn command(scene: &Scene<'_>, command: &str, task: &str) -> Run {
    let state = scene.directory().join(task).display().to_string();
    Run::plain(scene.directory())
        .arguments([
            command,
            "--name",
            task,
            "--source",
            &scene.target_url(),
            "--target",
            &scene.source_url(),
        ])
        .arguments(["--state-dir", &state])
        .plugin("og2mysql")
}

fn run(scene: &Scene<'_>, task: &str) -> Run {
    command(scene, "run", task).arguments(["--json", "--until", "caught-up", "--accept-warnings"])
}

/// A database with a replication slot could not be dropped.
async fn end(scene: &Scene<'_>, task: &str) -> Result<()> {
    command(scene, "drop", task).finish().await?.succeeded()?;
    Ok(())
}

async fn on_source<S: AsRef<str>>(scene: &Scene<'_>, statements: impl IntoIterator<Item = S>) -> Result<()> {
    let client = scene.target().await?;
    for statement in statements {
        let statement = statement.as_ref();
        client.batch_execute(statement).await.with_context(|| format!("on the source: {statement}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn arrive_in_mysql_as_they_are() -> Result<()> {
    let scene = Scene::mysql("back_types_mysql").await?;
    let mut wrong = arrive(&scene, |case| case.expected).await?;
    let mut target = scene.source().await?;
    let types: Vec<String> = target
        .query(
            "SELECT column_type FROM information_schema.columns WHERE table_schema = DATABASE() \
             AND table_name = 'edge' AND column_name <> 'id' ORDER BY ordinal_position",
        )
        .await?;
    target.disconnect().await?;
    assert_eq!(types.len(), CASES.len());
    for (case, found) in CASES.iter().zip(&types).filter(|(case, found)| case.target_type != *found) {
        wrong.push(format!("{} is of type {found}, not {}", case.name, case.target_type));
    }
    assert!(wrong.is_empty(), "{} of {} columns:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
    Ok(())
}

#[tokio::test]
async fn arrive_in_mariadb_as_they_are() -> Result<()> {
    let scene = Scene::mariadb("back_types_mariadb").await?;
    let wrong = arrive(&scene, |case| case.mariadb.unwrap_or(case.expected)).await?;
    assert!(wrong.is_empty(), "{} of {} columns:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
    Ok(())
}

/// One table has a column per case. Row 1 is copied; row 2 is inserted and row 3 given its values after the copy;
/// row 4 loses them. Answers what is not as expected.
async fn arrive(scene: &Scene<'_>, expected: impl Fn(&Case) -> &'static str) -> Result<Vec<String>> {
    let columns: Vec<String> =
        CASES.iter().map(|case| format!("\"{}\" {}", case.name, case.definition)).collect();
    on_source(scene, TYPES).await?;
    on_source(
        scene,
        [
            format!("CREATE TABLE edge (id integer PRIMARY KEY, {})", columns.join(", ")),
            "ALTER TABLE edge REPLICA IDENTITY FULL".to_owned(),
            insert(1),
            "INSERT INTO edge (id) VALUES (3)".to_owned(),
            insert(4),
        ],
    )
    .await?;
    run(scene, "types").succeed().await?;
    let set = |value: fn(&Case) -> &'static str| {
        let assignments: Vec<String> =
            CASES.iter().map(|case| format!("\"{}\" = {}", case.name, value(case))).collect();
        assignments.join(", ")
    };
    on_source(
        scene,
        [
            insert(2),
            format!("UPDATE edge SET {} WHERE id = 3", set(|case| case.value)),
            format!("UPDATE edge SET {} WHERE id = 4", set(|_| "NULL")),
        ],
    )
    .await?;
    run(scene, "types").succeed().await?;
    command(scene, "verify", "types").argument("--json").succeed().await?;

    let reads: Vec<String> = CASES
        .iter()
        .map(|case| format!("CAST({} AS CHAR)", case.read.replace('?', &format!("`{}`", case.name))))
        .collect();
    let mut target = scene.source().await?;
    let mut wrong = Vec::new();
    for (id, way) in [(1, "copied"), (2, "inserted"), (3, "updated"), (4, "emptied")] {
        let query = format!("SELECT {} FROM edge WHERE id = {id}", reads.join(", "));
        let row: Option<Row> = target.query_first(query).await?;
        let mut row = row.with_context(|| format!("the {way} row is not there"))?;
        for (place, case) in CASES.iter().enumerate() {
            let found: Option<String> = row.take(place).context("a column is missing")?;
            let expected = (way != "emptied").then(|| expected(case));
            if found.as_deref() != expected {
                wrong.push(format!("{} {way}: {found:?}, not {expected:?}", case.name));
            }
        }
    }
    target.disconnect().await?;
    end(scene, "types").await?;
    Ok(wrong)
}

fn insert(id: u32) -> String {
    let names: Vec<String> = CASES.iter().map(|case| format!("\"{}\"", case.name)).collect();
    let values: Vec<&str> = CASES.iter().map(|case| case.value).collect();
    format!("INSERT INTO edge (id, {}) VALUES ({id}, {})", names.join(", "), values.join(", "))
}

/// Each in a table of its own, so that one refusal hides no other.
#[tokio::test]
async fn without_a_place_in_mysql_are_refused_by_name() -> Result<()> {
    let scene = Scene::mysql("back_types_refused").await?;
    let mut wrong = Vec::new();
    for (number, (definition, value, words)) in REFUSED.iter().enumerate() {
        let (table, task) = (format!("odd_{number}"), format!("odd{number}"));
        on_source(
            &scene,
            [
                format!("CREATE TABLE {table} (id integer PRIMARY KEY, c {definition})"),
                format!("ALTER TABLE {table} REPLICA IDENTITY FULL"),
                format!("INSERT INTO {table} VALUES (7, {value})"),
            ],
        )
        .await?;
        let outcome =
            run(&scene, &task).arguments(["--include", &format!("public.{table}")]).finish().await?;
        let said = outcome.said();
        let names_it = [&table, "id=7", "c", words].iter().all(|word| said.contains(*word));
        if outcome.succeeded().is_ok() || !names_it {
            wrong.push(format!("{definition} {value}: {said}"));
        }
        end(&scene, &task).await?;
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), REFUSED.len(), wrong.join("\n"));
    Ok(())
}
