//! The tables of a campaign, small enough that random changes meet each other all the time.

use anyhow::{Context as _, Result};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

/// The database of the source.
pub const DATABASE: &str = "torture";

/// Rows of [`plain`](TABLES), whose keys begin at 1.
pub(crate) const PLAIN: u64 = 4000;
/// Rows of `seats`.
pub(crate) const SEATS: u64 = 120;
/// Rows of `places` in each of its two key columns.
pub(crate) const PLACES: u64 = 12;
/// Rows of `counters`.
pub(crate) const COUNTERS: u64 = 6;
/// Rows of `parents`.
pub(crate) const PARENTS: u64 = 40;
/// Rows of `everything`.
pub(crate) const EVERYTHING: u64 = 300;
/// Words of `words`, each in several spellings.
pub(crate) const WORDS: u64 = 15;
/// Kinds of rows of `journal`.
pub(crate) const JOURNAL: u64 = 40;

const TABLES: [&str; 9] = [
    // No unique key but the primary one.
    "CREATE TABLE plain (
        id BIGINT NOT NULL PRIMARY KEY AUTO_INCREMENT,
        n INT NOT NULL,
        v VARCHAR(2000) NULL,
        changed TIMESTAMP(6) NULL,
        KEY by_n (n)
    )",
    // Two more unique keys, one of which may be NULL.
    "CREATE TABLE seats (
        id INT NOT NULL PRIMARY KEY,
        seat VARCHAR(60) NOT NULL,
        bench INT NULL,
        n INT NOT NULL,
        UNIQUE KEY by_seat (seat),
        UNIQUE KEY by_bench (bench)
    )",
    // A composite key, and a unique one that shares a column with it.
    "CREATE TABLE places (
        a SMALLINT NOT NULL,
        b SMALLINT NOT NULL,
        code INT NOT NULL,
        n INT NOT NULL,
        PRIMARY KEY (a, b),
        UNIQUE KEY by_code (code, b)
    )",
    // Rows that everybody changes.
    "CREATE TABLE counters (id TINYINT UNSIGNED NOT NULL PRIMARY KEY, n BIGINT NOT NULL)",
    "CREATE TABLE parents (id INT NOT NULL PRIMARY KEY, n INT NOT NULL)",
    "CREATE TABLE children (
        id INT NOT NULL PRIMARY KEY AUTO_INCREMENT,
        parent INT NOT NULL,
        tag VARCHAR(60) NULL,
        UNIQUE KEY by_tag (tag),
        CONSTRAINT child_parent FOREIGN KEY (parent) REFERENCES parents (id)
    )",
    // Spellings that are one key in the source are several in the target.
    "CREATE TABLE words (
        word VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL PRIMARY KEY,
        root VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NULL,
        n INT NOT NULL,
        UNIQUE KEY by_root (root)
    )",
    // No key at all: what is applied twice is there twice.
    "CREATE TABLE journal (kind INT NOT NULL, what VARCHAR(60) NULL, n INT NOT NULL)",
    "CREATE TABLE everything (
        id INT UNSIGNED NOT NULL PRIMARY KEY,
        tiny TINYINT NULL, small SMALLINT UNSIGNED NULL, medium MEDIUMINT NULL, big BIGINT UNSIGNED NULL,
        exact DECIMAL(30,10) NULL, single FLOAT NULL, twice DOUBLE NULL, flags BIT(12) NULL,
        day DATE NULL, moment DATETIME(6) NULL, stamp TIMESTAMP(3) NULL, span TIME(6) NULL, since YEAR NULL,
        fixed CHAR(12) NULL, varied VARCHAR(200) NULL, latin VARCHAR(60) CHARACTER SET latin1 NULL,
        prose MEDIUMTEXT NULL, code BINARY(6) NULL, bytes VARBINARY(40) NULL, picture BLOB NULL,
        choice ENUM('red','green','blue ''s','') NULL, choices SET('a','b','c','d') NULL, document JSON NULL
    )",
];

/// What fills a table; `n` runs over 1, 2, ….
const FILLINGS: [(u64, &str); 8] = [
    (PLAIN, "INSERT INTO plain SELECT n, n % 97, REPEAT(SHA2(n, 256), 1 + n % 12), NULL"),
    (SEATS, "INSERT INTO seats SELECT n, CONCAT('seat ', n), n, 0"),
    (PLACES * PLACES, "INSERT INTO places SELECT (n - 1) DIV 12, (n - 1) % 12, n, 0"),
    (COUNTERS, "INSERT INTO counters SELECT n, 0"),
    (PARENTS, "INSERT INTO parents SELECT n, 0"),
    (2 * PARENTS, "INSERT INTO children SELECT n, 1 + n % 40, IF(n % 3, CONCAT('tag ', n), NULL)"),
    (WORDS, "INSERT INTO words SELECT CONCAT('été', n), IF(n % 3, CONCAT('root', n), NULL), 0"),
    // Every row twice.
    (10 * JOURNAL, "INSERT INTO journal SELECT n % 40, CONCAT('begun ', n DIV 2), n DIV 80"),
];

/// Makes the database anew and fills it.
pub(crate) async fn make(connection: &mut Conn) -> Result<()> {
    for statement in [
        format!("DROP DATABASE IF EXISTS {DATABASE}"),
        format!("CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4"),
        format!("USE {DATABASE}"),
    ] {
        connection.query_drop(statement).await?;
    }
    let digits = "(SELECT 0 d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 \
                  UNION SELECT 7 UNION SELECT 8 UNION SELECT 9)";
    let numbers = format!(
        "(SELECT 1 + a.d + 10 * b.d + 100 * c.d + 1000 * e.d AS n FROM {digits} a, {digits} b, {digits} c, {digits} e) s"
    );
    for table in TABLES {
        connection.query_drop(table).await.with_context(|| format!("in {table}"))?;
    }
    for (rows, statement) in FILLINGS {
        let statement = format!("{statement} FROM {numbers} WHERE n <= {rows}");
        connection.query_drop(&statement).await.with_context(|| format!("in {statement}"))?;
    }
    for id in 1..=EVERYTHING {
        connection.query_drop(every_value(id, id)).await?;
    }
    Ok(())
}

/// Inserts a row into `everything`, or changes it to other values, by a number.
pub(crate) fn every_value(id: u64, number: u64) -> String {
    let maybe =
        |value: String, bit: u64| if (number >> bit).is_multiple_of(8) { "NULL".to_owned() } else { value };
    let values = [
        maybe(format!("{}", number as i64 % 128), 1),
        maybe(format!("{}", number % 65_536), 2),
        maybe(format!("{}", number as i64 % 8_388_608), 3),
        maybe(format!("{}", u64::MAX - number), 4),
        maybe(format!("-{}.{:010}", number % 1_000_000_007, number % 10_000_000_000), 5),
        maybe(format!("{}e-3", number % 99_991), 6),
        maybe(format!("{}e3", number as f64 / 7.0), 7),
        maybe(format!("{}", number % 4096), 8),
        maybe(format!("DATE_ADD('1900-01-01', INTERVAL {} DAY)", number % 60_000), 9),
        maybe(
            format!(
                "DATE_ADD('1970-01-02 00:00:00.000001', INTERVAL {} MICROSECOND)",
                number % 4_000_000_000_000_000
            ),
            10,
        ),
        maybe(format!("FROM_UNIXTIME(1 + {})", number % 2_000_000_000), 11),
        maybe(format!("SEC_TO_TIME(({} - 3000000) + 0.25)", number % 6_000_000), 12),
        maybe(format!("{}", 1901 + number % 255), 13),
        maybe(format!("CONCAT('c', {number} % 1000)"), 14),
        maybe(format!("CONCAT('é €😀 \\\\ \\t ''', {number})"), 15),
        maybe(format!("CONCAT('Ölçü ', {number})"), 16),
        maybe(format!("REPEAT('text – {number}\\n', {})", number % 60), 17),
        maybe(format!("UNHEX(LEFT(SHA2({number}, 256), 12))"), 18),
        maybe(format!("UNHEX(LEFT(SHA2({number}, 256), {}))", 2 * (number % 30)), 19),
        maybe(format!("UNHEX(REPEAT('00FF0A5C', {}))", number % 50), 20),
        maybe(format!("{}", 1 + number % 4), 21),
        maybe(format!("{}", number % 16), 22),
        maybe(format!("JSON_OBJECT('n', {}, 'deep', JSON_ARRAY(1, 2.5, NULL, 'é😀'))", number % 100_000), 23),
    ];
    let values = values.join(", ");
    format!("REPLACE INTO everything VALUES ({id}, {values})")
}
