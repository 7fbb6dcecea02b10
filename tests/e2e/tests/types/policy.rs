//! Values that `PostgreSQL` can't hold: they stop the task until the user decides.

use anyhow::Result;
use e2e::Scene;
use serde_json::{Map, Value, json};

struct Policy {
    /// Distinguishes the scene.
    name: &'static str,
    definition: &'static str,
    value: &'static str,
    /// What the error says of the value.
    shown: &'static str,
    /// The setting that the error names.
    setting: &'static str,
    /// The value of the setting, in JSON, that lets the task go on.
    decision: &'static str,
    /// What the target then holds.
    expected: &'static str,
}

const POLICIES: &[Policy] = &[
    Policy {
        name: "zero_date",
        definition: "date",
        value: "'0000-00-00'",
        shown: "0000-00-00",
        setting: "zero_dates",
        decision: r#""null""#,
        expected: "NULL",
    },
    Policy {
        name: "month_0",
        definition: "date",
        value: "'2024-00-15'",
        shown: "2024-00-15",
        setting: "zero_dates",
        decision: r#""1900-01-02""#,
        expected: "1900-01-02",
    },
    Policy {
        name: "february_31",
        definition: "date",
        value: "'2024-02-31'",
        shown: "2024-02-31",
        setting: "zero_dates",
        decision: r#""null""#,
        expected: "NULL",
    },
    Policy {
        name: "year_0",
        definition: "date",
        value: "'0000-01-01'",
        shown: "0000-01-01",
        setting: "zero_dates",
        decision: r#""null""#,
        expected: "NULL",
    },
    Policy {
        name: "zero_datetime",
        definition: "datetime(6)",
        value: "'0000-00-00 00:00:00'",
        shown: "0000-00-00 00:00:00",
        setting: "zero_dates",
        decision: r#""1900-01-02 03:04:05""#,
        expected: "1900-01-02 03:04:05",
    },
    Policy {
        name: "zero_timestamp",
        definition: "timestamp NULL",
        value: "'0000-00-00 00:00:00'",
        shown: "0000-00-00 00:00:00",
        setting: "zero_dates",
        decision: r#""null""#,
        expected: "NULL",
    },
    Policy {
        name: "nul",
        definition: "varchar(9)",
        value: r"'a\0b'",
        shown: r"a\\0b",
        setting: "strip_nul",
        decision: "true",
        expected: "ab",
    },
];

/// Distinguishes the row that is told of from all others.
const KEY: u32 = 4711;
const INVALID_DATES: &str = "SET SESSION sql_mode = 'ALLOW_INVALID_DATES'";

/// Undecided, the value stops the copy and the stream, with an error that says all there is to know.
async fn refuse(scene: &Scene<'_>, policy: &Policy) -> Result<()> {
    scene.execute([format!("CREATE TABLE impossible (id INT PRIMARY KEY, v {})", policy.definition)]).await?;
    scene.run().succeed().await?;
    let rows = format!("INSERT INTO impossible VALUES (1, NULL), ({KEY}, {}), (9999, NULL)", policy.value);
    scene.execute([INVALID_DATES, &rows]).await?;
    let error = scene.run().fail().await?;
    assert_says_everything(policy, "streamed", &error, scene);
    // A transaction is applied whole or not at all.
    let count = format!("SELECT count(*)::text FROM {}.impossible", scene.name());
    assert_eq!(scene.value(&count).await?, "0", "{}", policy.name);

    scene.target().await?.batch_execute(&format!("DROP SCHEMA {} CASCADE", scene.name())).await?;
    let error = scene.run().replace("--name", "another").fail().await?;
    assert_says_everything(policy, "copied", &error, scene);
    Ok(())
}

fn assert_says_everything(policy: &Policy, way: &str, error: &str, scene: &Scene<'_>) {
    let table = format!("{}.impossible", scene.name());
    for part in [table.as_str(), "id=4711", r#""column":"v""#, policy.shown, policy.setting] {
        assert!(error.contains(part), "{} {way}: the error does not say {part}: {error}", policy.name);
    }
}

/// Decided, each value is copied, inserted and updated as its column's setting says.
async fn decide(scene: &Scene<'_>) -> Result<()> {
    let definitions: Vec<String> =
        POLICIES.iter().map(|policy| format!("{} {}", policy.name, policy.definition)).collect();
    let values: Vec<&str> = POLICIES.iter().map(|policy| policy.value).collect();
    let values = values.join(", ");
    scene
        .execute([
            INVALID_DATES.to_owned(),
            format!("CREATE TABLE impossible (id INT PRIMARY KEY, {})", definitions.join(", ")),
            format!("INSERT INTO impossible VALUES (1, {values}), (3, {values})"),
            "INSERT INTO impossible (id) VALUES (2)".to_owned(),
        ])
        .await?;
    let mut columns = Map::new();
    for policy in POLICIES {
        let decision: Value = serde_json::from_str(policy.decision)?;
        columns.insert(policy.name.to_owned(), json!({ policy.setting: decision }));
    }
    let config =
        json!({"mysql2og": {"tables": {format!("{}.impossible", scene.name()): {"columns": columns}}}});
    scene.run().config(config.clone()).succeed().await?;

    let assignments: Vec<String> =
        POLICIES.iter().map(|policy| format!("{} = {}", policy.name, policy.value)).collect();
    let emptied: Vec<String> = POLICIES.iter().map(|policy| format!("{} = NULL", policy.name)).collect();
    scene
        .execute([
            INVALID_DATES.to_owned(),
            format!("UPDATE impossible SET {} WHERE id = 2", assignments.join(", ")),
            format!("UPDATE impossible SET {} WHERE id = 3", emptied.join(", ")),
            format!("INSERT INTO impossible VALUES (4, {values})"),
        ])
        .await?;
    scene.run().config(config).succeed().await?;

    let columns: Vec<String> = POLICIES.iter().map(|policy| format!("{}::text", policy.name)).collect();
    let found = scene
        .rows(&format!("SELECT {} FROM {}.impossible ORDER BY id", columns.join(", "), scene.name()))
        .await?;
    let decided: Vec<&str> = POLICIES.iter().map(|policy| policy.expected).collect();
    let nothing = vec!["NULL"; POLICIES.len()];
    assert_eq!(found, [decided.clone(), decided.clone(), nothing, decided]);
    Ok(())
}

#[tokio::test]
async fn stops_the_task_until_decided() -> Result<()> {
    for policy in POLICIES {
        refuse(&Scene::mysql(&format!("policy_{}", policy.name)).await?, policy).await?;
    }
    Ok(())
}

#[tokio::test]
async fn of_mariadb_stops_the_task_until_decided() -> Result<()> {
    for policy in POLICIES.iter().filter(|policy| ["zero_datetime", "nul"].contains(&policy.name)) {
        refuse(&Scene::mariadb(&format!("policy_{}", policy.name)).await?, policy).await?;
    }
    Ok(())
}

#[tokio::test]
async fn of_mysql_becomes_what_was_decided() -> Result<()> {
    decide(&Scene::mysql("decided_mysql").await?).await
}

#[tokio::test]
async fn of_mariadb_becomes_what_was_decided() -> Result<()> {
    decide(&Scene::mariadb("decided_mariadb").await?).await
}
