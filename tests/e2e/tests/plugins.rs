//! What plugins decide holds for copied rows and for changes alike.

use anyhow::Result;
use e2e::Scene;
use serde_json::json;

#[tokio::test]
async fn mysql2og_renames_and_retypes_as_configured() -> Result<()> {
    let scene = Scene::mysql("configured").await?;
    let name = scene.name();
    scene
        .execute([
            "CREATE TABLE `Customers` (`ID` INT PRIMARY KEY, `IsActive` TINYINT(1) NOT NULL DEFAULT 1, `Level` TINYINT(1), \
             `Points` BIGINT UNSIGNED, `Big` BIGINT UNSIGNED, `Born` DATE NOT NULL, `Seen` TIMESTAMP NULL, `Code` CHAR(8), \
             `Secret` TEXT, `Extra` JSON)",
            "CREATE TABLE `Log` (id INT PRIMARY KEY)",
            "CREATE TABLE `Shape` (id INT PRIMARY KEY)",
            "INSERT INTO `Log` VALUES (1)",
            "INSERT INTO `Shape` VALUES (1)",
            "SET SESSION sql_mode = 'ALLOW_INVALID_DATES'",
            "INSERT INTO `Customers` VALUES (1, 1, 5, 7, 18446744073709551615, '0000-00-00', '0000-00-00 00:00:00', \
             'a', 'hidden', '{\"b\":1, \"a\":2}')",
        ])
        .await?;
    let table = |table: &str| format!("{name}.{table}");
    let config = json!({"mysql2og": {
        "schemas": {name: "e2e_app"},
        "lowercase_names": true,
        "zero_dates": "null",
        "tinyint1": "boolean",
        "unsigned_bigint": "bigint",
        "json": "json",
        "tables": {
            table("Customers"): {
                "name": "clients",
                "columns": {
                    "Level": {"tinyint1": "smallint"},
                    "Big": {"unsigned_bigint": "numeric"},
                    "Born": {"zero_dates": "1900-01-01", "name": "birthday"},
                    "Code": {"type": "text"},
                    "Secret": {"drop": true},
                },
            },
            table("Log"): {"skip": true},
            table("Shape"): {"schema_only": true},
        },
    }});
    scene.run().config(config.clone()).succeed().await?;
    scene
        .execute([
            "SET SESSION sql_mode = 'ALLOW_INVALID_DATES'",
            "INSERT INTO `Customers` VALUES (2, 0, 9, 8, 0, '2000-02-30', NULL, 'b', 'hidden', '[1]')",
            "INSERT INTO `Log` VALUES (2)",
            "INSERT INTO `Shape` VALUES (2)",
            "UPDATE `Customers` SET `Secret` = 'changed', `IsActive` = 0 WHERE `ID` = 1",
        ])
        .await?;
    scene.run().config(config.clone()).succeed().await?;

    let columns = scene
        .rows(
            "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute \
             WHERE attrelid = 'e2e_app.clients'::regclass AND attnum > 0 ORDER BY attnum",
        )
        .await?;
    let expected = [
        ["id", "integer"],
        ["isactive", "boolean"],
        ["level", "smallint"],
        ["points", "bigint"],
        ["big", "numeric(20,0)"],
        ["birthday", "date"],
        ["seen", "timestamp(0) with time zone"],
        ["code", "text"],
        ["extra", "json"],
    ];
    assert_eq!(columns, expected);
    let rows = scene
        .rows(
            "SELECT id::text, isactive::text, level::text, points::text, big::text, birthday::text, seen::text, code, \
             extra::text FROM e2e_app.clients ORDER BY id",
        )
        .await?;
    let expected = [
        ["1", "false", "5", "7", "18446744073709551615", "1900-01-01", "NULL", "a", r#"{"a": 2, "b": 1}"#],
        ["2", "false", "9", "8", "0", "1900-01-01", "NULL", "b", "[1]"],
    ];
    assert_eq!(rows, expected);
    let tables =
        "SELECT string_agg(tablename, ',' ORDER BY tablename) FROM pg_tables WHERE schemaname = 'e2e_app'";
    assert_eq!(scene.value(tables).await?, "clients,shape");
    assert_eq!(scene.value("SELECT count(*)::text FROM e2e_app.shape").await?, "0");

    // What does not fit the narrower type is no guess.
    scene.execute(["UPDATE `Customers` SET `IsActive` = 2 WHERE `ID` = 2"]).await?;
    let error = scene.run().config(config).fail().await?;
    for part in ["IsActive", "tinyint1", r#""key":"ID=2"#, "2"] {
        assert!(
            error.to_lowercase().contains(&part.to_lowercase()),
            "the error does not say {part}: {error}"
        );
    }
    Ok(())
}

/// A chain: types by `mysql2og`, then masking, deriving and filtering by a plugin with row code.
#[tokio::test]
async fn row_code_masks_and_filters_copied_and_changed_rows_alike() -> Result<()> {
    masks_and_filters(&Scene::mysql("masked_mysql").await?).await
}

#[tokio::test]
async fn row_code_masks_and_filters_rows_of_mariadb_alike() -> Result<()> {
    masks_and_filters(&Scene::mariadb("masked_mariadb").await?).await
}

async fn masks_and_filters(scene: &Scene<'_>) -> Result<()> {
    scene
        .execute([
            "CREATE TABLE customers (id INT PRIMARY KEY, email VARCHAR(80), status VARCHAR(9), UNIQUE KEY (email))",
            "CREATE TABLE orders (id INT PRIMARY KEY, customer INT, total DECIMAL(8,2))",
            "INSERT INTO customers VALUES (1, 'Ann@Example.org', 'live'), (2, 'bo@test.net', 'test'), (3, NULL, 'live'), \
             (4, 'cy@a.de', 'live'), (5, 'di@b.de', 'test'), (6, 'ed@c.de', 'live'), (9, 'jo@f.de', 'test')",
            "INSERT INTO orders VALUES (1, 1, 9.90)",
        ])
        .await?;
    let run = || {
        scene.run().plugin("mask_customers").config(json!({
            "mask-customers": {"salt": "pepper", "drop": {"column": "status", "equals": "test"}},
        }))
    };
    run().succeed().await?;
    let state = || async {
        let rows = scene
            .rows(&format!(
                "SELECT id::text, email_domain, status FROM {}.customers ORDER BY id",
                scene.name()
            ))
            .await?;
        Ok::<_, anyhow::Error>(rows.iter().map(|row| row.join(" ")).collect::<Vec<_>>())
    };
    assert_eq!(state().await?, ["1 example.org live", "3 NULL live", "4 a.de live", "6 c.de live"]);

    scene
        .execute([
            // Into and out of the filter, by changes of the column it reads.
            "UPDATE customers SET status = 'live' WHERE id = 2",
            "UPDATE customers SET status = 'test' WHERE id = 4",
            // Inside it nothing is seen, whatever changes.
            "UPDATE customers SET email = 'new@b.de' WHERE id = 5",
            "UPDATE customers SET id = 50 WHERE id = 5",
            "DELETE FROM customers WHERE id = 9",
            // Outside it, masks follow.
            "UPDATE customers SET email = 'ann@elsewhere.org' WHERE id = 1",
            "UPDATE customers SET email = NULL WHERE id = 6",
            "INSERT INTO customers VALUES (7, 'flo@d.de', 'live'), (8, 'gus@e.de', 'test')",
            // A key and the filter's column change at once, both ways.
            "UPDATE customers SET id = 60, status = 'test' WHERE id = 6",
            "UPDATE customers SET id = 80, status = 'live' WHERE id = 8",
            "DELETE FROM customers WHERE id = 3",
            "INSERT INTO orders VALUES (2, 7, 1.00)",
        ])
        .await?;
    run().succeed().await?;
    assert_eq!(state().await?, ["1 elsewhere.org live", "2 test.net live", "7 d.de live", "80 e.de live"]);

    // One that came in can leave again and come back, in one transaction.
    scene
        .execute([
            "BEGIN",
            "UPDATE customers SET status = 'test' WHERE id = 2",
            "UPDATE customers SET status = 'live', email = 'back@g.de' WHERE id = 2",
            "UPDATE customers SET status = 'live' WHERE id = 4",
            "UPDATE customers SET status = 'test' WHERE id = 4",
            "COMMIT",
        ])
        .await?;
    run().succeed().await?;
    assert_eq!(state().await?, ["1 elsewhere.org live", "2 g.de live", "7 d.de live", "80 e.de live"]);
    let masks = scene
        .rows(&format!("SELECT email FROM {}.customers WHERE email IS NOT NULL ORDER BY id", scene.name()))
        .await?;
    assert_eq!(masks.len(), 4);
    for mask in masks.iter().flatten() {
        let (digits, domain) = mask.split_once('@').expect("an address");
        assert!(digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()), "{mask}");
        assert_eq!(domain, "example.invalid");
    }
    assert_eq!(scene.value(&format!("SELECT count(*)::text FROM {}.orders", scene.name())).await?, "2");
    Ok(())
}
