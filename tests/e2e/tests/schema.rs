//! What the target looks like: names, types, keys, identities, and which tables are there.

use anyhow::Result;
use e2e::{Run, Scene};
use insta::assert_snapshot;
use test_kit::Product;

/// Keys, foreign keys, comments, defaults, auto-increment, generated and invisible columns.
fn library(product: Product) -> Vec<String> {
    let invisible = "INVISIBLE";
    let expression_index =
        if product == Product::MySql { ", KEY by_length ((CHAR_LENGTH(title)))" } else { "" };
    vec![
        "CREATE TABLE authors (\
            id INT UNSIGNED NOT NULL AUTO_INCREMENT COMMENT 'never reused', \
            name VARCHAR(80) NOT NULL COMMENT 'as on the cover; may hold ''quotes''', \
            born DATE, \
            country CHAR(2) NOT NULL DEFAULT 'de', \
            PRIMARY KEY (id), UNIQUE KEY name_country (name, country), KEY born (born)) \
            COMMENT 'who writes' AUTO_INCREMENT = 100"
            .to_owned(),
        format!(
            "CREATE TABLE books (\
            isbn CHAR(13) CHARACTER SET latin1 NOT NULL, \
            author INT UNSIGNED, \
            title VARCHAR(200) NOT NULL DEFAULT 'it''s untitled \\\\', \
            price DECIMAL(8,2) NOT NULL DEFAULT 9.90, \
            flags BIT(4) NOT NULL DEFAULT b'0101', \
            added DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3), \
            touched TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, \
            state ENUM('new','used') NOT NULL DEFAULT 'used', \
            total DECIMAL(9,2) GENERATED ALWAYS AS (price * 2) STORED, \
            shout VARCHAR(200) GENERATED ALWAYS AS (UPPER(title)) VIRTUAL, \
            secret INT {invisible} DEFAULT 7, \
            PRIMARY KEY (isbn), UNIQUE KEY author_title (author, title), KEY title_start (title(10)), \
            KEY newest (added DESC){expression_index}, \
            CONSTRAINT books_author FOREIGN KEY (author) REFERENCES authors (id) ON DELETE SET NULL ON UPDATE CASCADE)"
        ),
        "CREATE TABLE loans (\
            isbn CHAR(13) CHARACTER SET latin1 NOT NULL, lent DATETIME NOT NULL, person VARCHAR(40), \
            PRIMARY KEY (isbn, lent), \
            CONSTRAINT loans_isbn FOREIGN KEY (isbn) REFERENCES books (isbn) ON DELETE CASCADE)"
            .to_owned(),
        "CREATE TABLE notes (at TIMESTAMP NULL, note TEXT)".to_owned(),
        "INSERT INTO authors (name, born) VALUES ('Ann', '1950-02-28'), ('Bo', NULL)".to_owned(),
        "INSERT INTO books (isbn, author, title) VALUES ('1', 100, 'First'), ('2', NULL, 'Second')"
            .to_owned(),
        "INSERT INTO loans VALUES ('1', '2024-03-31 02:30:00', 'Cy')".to_owned(),
        "INSERT INTO notes VALUES (NULL, NULL)".to_owned(),
    ]
}

fn plan(scene: &Scene<'_>) -> Run {
    Run::plain(scene.directory())
        .arguments(["plan", "--source", &scene.source_url(), "--target", &scene.target_url()])
        .arguments(["--state-dir", &scene.state_directory().display().to_string()])
        .arguments(["--mode", "offline"])
        .plugin("mysql2og")
}

/// The plan without what differs from run to run.
fn readable(scene: &Scene<'_>, text: &str) -> String {
    text.replace(scene.name(), "library")
}

#[tokio::test]
async fn a_plan_says_every_decision_and_touches_nothing() -> Result<()> {
    let scene = Scene::mysql("plan").await?;
    scene.execute(library(Product::MySql)).await?;
    let outcome = plan(&scene).succeed().await?;
    let text = readable(&scene, &outcome.stdout);
    let (decisions, statements) = text.split_once("-- Before").expect("the statements");
    assert!(decisions.contains("library.books -> library.books"), "{decisions}");
    assert_snapshot!("statements", format!("-- Before{statements}"));
    let schemas = format!("SELECT count(*)::text FROM pg_namespace WHERE nspname = '{}'", scene.name());
    assert_eq!(scene.value(&schemas).await?, "0", "a plan wrote to the target");
    Ok(())
}

#[tokio::test]
async fn a_plan_of_mariadb_says_every_decision() -> Result<()> {
    let scene = Scene::mariadb("plan_mariadb").await?;
    scene.execute(library(Product::MariaDb)).await?;
    let outcome = plan(&scene).succeed().await?;
    let text = readable(&scene, &outcome.stdout);
    let (_, statements) = text.split_once("-- Before").expect("the statements");
    assert_snapshot!("statements_mariadb", format!("-- Before{statements}"));
    Ok(())
}

#[tokio::test]
async fn of_mysql_is_all_there_after_a_run() -> Result<()> {
    is_all_there(&Scene::mysql("schema_mysql").await?).await
}

#[tokio::test]
async fn of_mariadb_is_all_there_after_a_run() -> Result<()> {
    is_all_there(&Scene::mariadb("schema_mariadb").await?).await
}

async fn is_all_there(scene: &Scene<'_>) -> Result<()> {
    let product = scene.source_server().product();
    scene.execute(library(product)).await?;
    // MariaDB does not log what foreign keys change, so that such tables can only be copied.
    let run =
        if product == Product::MySql { scene.run() } else { scene.follow().arguments(["--mode", "offline"]) };
    run.succeed().await?;
    scene.require_equal().await?;
    let name = scene.name();

    let constraints = scene
        .rows(&format!(
            "SELECT conrelid::regclass::text, pg_get_constraintdef(oid), convalidated::text FROM pg_constraint \
             WHERE connamespace = '{name}'::regnamespace AND contype IN ('p', 'f') ORDER BY 1, 2"
        ))
        .await?;
    let constraints: Vec<String> = constraints.iter().map(|row| readable(scene, &row.join(" | "))).collect();
    // MariaDB has no word for NO ACTION: it shows RESTRICT, which is the same there.
    let constraints: Vec<String> =
        constraints.iter().map(|text| text.replace(" ON UPDATE RESTRICT", "")).collect();
    assert_eq!(
        constraints,
        [
            "library.authors | PRIMARY KEY (id) | true",
            "library.books | FOREIGN KEY (author) REFERENCES library.authors(id) ON UPDATE CASCADE ON DELETE SET NULL | true",
            "library.books | PRIMARY KEY (isbn) | true",
            "library.loans | FOREIGN KEY (isbn) REFERENCES library.books(isbn) ON DELETE CASCADE | true",
            "library.loans | PRIMARY KEY (isbn, lent) | true",
        ]
    );
    let invalid = "SELECT count(*)::text FROM pg_index WHERE NOT indisvalid OR NOT indisready";
    assert_eq!(scene.value(invalid).await?, "0");
    let unique = format!(
        "SELECT string_agg(regexp_replace(indexdef, '^.*USING', ''), ' ' ORDER BY indexdef) FROM pg_indexes \
         WHERE schemaname = '{name}' AND indexdef LIKE '%UNIQUE%' AND indexdef !~ '(isbn|id)'"
    );
    assert_eq!(scene.value(&unique).await?, " btree (name, country)  btree (author, title)");

    let comments = scene
        .rows(&format!(
            "SELECT description FROM pg_description JOIN pg_class c ON c.oid = objoid \
             WHERE c.relnamespace = '{name}'::regnamespace ORDER BY objsubid"
        ))
        .await?;
    assert_eq!(comments, [["who writes"], ["never reused"], ["as on the cover; may hold 'quotes'"]]);

    // An application goes on with the target: identities continue, defaults are there, foreign keys hold.
    let target = scene.target().await?;
    target.batch_execute(&format!("SET search_path = {name}")).await?;
    target.batch_execute("INSERT INTO authors (name) VALUES ('Di')").await?;
    target.batch_execute("INSERT INTO books (isbn, author) VALUES ('3', 102)").await?;
    let defaults = scene
        .rows(&format!(
            "SELECT a.id::text, a.country::text, title, price::text, flags::text, state, secret::text, \
             (added > now() - interval '1 day')::text, (touched > now() - interval '1 day')::text \
             FROM {name}.books JOIN {name}.authors a ON a.id = author WHERE isbn = '3'"
        ))
        .await?;
    assert_eq!(defaults, [["102", "de", "it's untitled \\", "9.90", "0101", "used", "7", "true", "true"]]);
    let orphan = target.batch_execute("INSERT INTO loans VALUES ('none', '2024-01-01')").await;
    assert!(orphan.is_err(), "the foreign key does not hold");
    let twin =
        target.batch_execute("INSERT INTO books (isbn, author, title) VALUES ('4', 100, 'First')").await;
    assert!(twin.is_err(), "the unique key does not hold");
    Ok(())
}

/// A number given out during the copy, or while following, is not given out again by the target.
#[tokio::test]
async fn identities_continue_after_the_largest_value() -> Result<()> {
    let scene = Scene::mysql("identity").await?;
    scene
        .execute([
            "CREATE TABLE gone (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, v INT)",
            "CREATE TABLE kept (id INT AUTO_INCREMENT PRIMARY KEY, v INT)",
            "CREATE TABLE fresh (id SMALLINT AUTO_INCREMENT PRIMARY KEY, v INT)",
            "INSERT INTO gone (id, v) VALUES (41, 1)",
            "DELETE FROM gone",
            "INSERT INTO kept (id, v) VALUES (-5, 1), (7, 1)",
        ])
        .await?;
    scene.run().succeed().await?;
    scene.execute(["INSERT INTO kept (id, v) VALUES (1000, 1)", "INSERT INTO kept (v) VALUES (2)"]).await?;
    scene.run().succeed().await?;
    let target = scene.target().await?;
    for table in ["gone", "kept", "fresh"] {
        target.batch_execute(&format!("INSERT INTO {}.{table} (v) VALUES (3)", scene.name())).await?;
    }
    let given = async |table: &str| {
        scene.value(&format!("SELECT id::text FROM {}.{table} WHERE v = 3", scene.name())).await
    };
    let gone: u64 = given("gone").await?.parse()?;
    assert!(gone > 41, "{gone} was given out before");
    assert_eq!(given("kept").await?, "1002");
    assert_eq!(given("fresh").await?, "1");
    Ok(())
}

async fn tables(scene: &Scene<'_>) -> Result<Vec<String>> {
    let rows = scene
        .rows("SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname LIKE 'e2e%' ORDER BY 1")
        .await?;
    Ok(rows.into_iter().flatten().map(|name| name.replace(scene.name(), "db")).collect())
}

#[tokio::test]
async fn only_the_wanted_tables_are_there() -> Result<()> {
    let scene = Scene::mysql("wanted").await?;
    let second = scene.further_database("second").await?;
    let third = scene.further_database("third").await?;
    for database in [scene.name(), &second, &third] {
        scene
            .execute(["orders", "orders_old", "tmp_a", "Odd `\"name"].map(|table| {
                format!("CREATE TABLE {database}.`{}` (id INT PRIMARY KEY)", table.replace('`', "``"))
            }))
            .await?;
    }

    // The database of the URL selects one.
    scene.run().arguments(["--exclude", "tmp_*", "--exclude", "*_old"]).succeed().await?;
    assert_eq!(tables(&scene).await?, ["db.Odd `\"name", "db.orders"]);

    // Without one, patterns choose among all databases; what is left out of the task stays out of the stream.
    let both = scene
        .run()
        .replace("--name", "several")
        .replace("--source", scene.source_server().url())
        .arguments(["--include", &format!("{second}.*"), "--include", &format!("{third}.o*")])
        .arguments(["--exclude", "*_old"]);
    both.clone().succeed().await?;
    scene
        .execute([
            format!("INSERT INTO {second}.orders VALUES (1)"),
            format!("INSERT INTO {second}.orders_old VALUES (2)"),
            format!("INSERT INTO {third}.orders VALUES (3)"),
            "INSERT INTO orders VALUES (4)".to_owned(),
        ])
        .await?;
    both.succeed().await?;
    let expected = [
        "db.Odd `\"name",
        "db.orders",
        "db_second.Odd `\"name",
        "db_second.orders",
        "db_second.tmp_a",
        "db_third.orders",
    ];
    assert_eq!(tables(&scene).await?, expected);
    for (database, id) in [(second.as_str(), "1"), (&third, "3")] {
        assert_eq!(scene.value(&format!("SELECT id::text FROM {database}.orders")).await?, id);
    }
    assert_eq!(scene.value(&format!("SELECT count(*)::text FROM {}.orders", scene.name())).await?, "0");
    Ok(())
}
