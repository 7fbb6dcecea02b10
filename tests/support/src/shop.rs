//! A small shop with awkward columns: eight tables, about 300,000 rows, the same in every run.

use anyhow::Result;
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

/// The shop's database.
pub const DATABASE: &str = "shop";

const TABLES: [&str; 8] = [
    "CREATE TABLE customers (
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        email VARCHAR(120) NOT NULL,
        name VARCHAR(80) NOT NULL,
        note TEXT CHARACTER SET latin1 NULL,
        born DATE NULL,
        flags BIT(10) NOT NULL DEFAULT b'0',
        interests SET('books','garden','music','it''s new') NULL,
        preferences JSON NULL,
        balance DECIMAL(20,6) NOT NULL DEFAULT 0,
        points BIGINT UNSIGNED NOT NULL DEFAULT 0,
        is_business TINYINT(1) NOT NULL DEFAULT 0,
        joined DATETIME(6) NOT NULL,
        seen TIMESTAMP NULL DEFAULT NULL,
        portrait BLOB NULL,
        UNIQUE KEY by_email (email),
        KEY by_name (name, born)
    ) COMMENT 'people who buy; it''s them we work for'",
    "CREATE TABLE products (
        sku VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
        title VARCHAR(100) NOT NULL,
        price DECIMAL(12,4) NOT NULL,
        weight DOUBLE NULL,
        rating FLOAT NULL,
        state ENUM('draft','on sale','sold out') NOT NULL DEFAULT 'draft',
        made YEAR NULL,
        setup_time TIME NULL,
        checksum BINARY(8) NULL
    )",
    "CREATE TABLE warehouses (
        code CHAR(3) NOT NULL PRIMARY KEY,
        place VARCHAR(60) NOT NULL,
        opens TIME(3) NULL
    )",
    "CREATE TABLE stock (
        warehouse CHAR(3) NOT NULL,
        sku VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
        amount INT NOT NULL,
        counted TIMESTAMP(6) NULL DEFAULT NULL,
        PRIMARY KEY (warehouse, sku),
        CONSTRAINT stock_warehouse FOREIGN KEY (warehouse) REFERENCES warehouses (code),
        CONSTRAINT stock_product FOREIGN KEY (sku) REFERENCES products (sku)
    )",
    "CREATE TABLE orders (
        id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        customer BIGINT UNSIGNED NOT NULL,
        placed DATETIME(3) NOT NULL,
        status ENUM('new','paid','shipped','returned') NOT NULL DEFAULT 'new',
        late_by TIME(6) NULL,
        total DECIMAL(14,2) NOT NULL,
        KEY by_customer (customer, placed),
        CONSTRAINT order_customer FOREIGN KEY (customer) REFERENCES customers (id)
    )",
    "CREATE TABLE order_lines (
        order_id INT UNSIGNED NOT NULL,
        line SMALLINT UNSIGNED NOT NULL,
        sku VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
        quantity MEDIUMINT UNSIGNED NOT NULL,
        price DECIMAL(12,4) NOT NULL,
        PRIMARY KEY (order_id, line),
        KEY by_sku (sku),
        CONSTRAINT line_order FOREIGN KEY (order_id) REFERENCES orders (id),
        CONSTRAINT line_product FOREIGN KEY (sku) REFERENCES products (sku)
    )",
    "CREATE TABLE reviews (
        id BINARY(16) NOT NULL PRIMARY KEY,
        sku VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
        stars TINYINT UNSIGNED NOT NULL,
        comment LONGTEXT NULL,
        CONSTRAINT review_product FOREIGN KEY (sku) REFERENCES products (sku)
    )",
    "CREATE TABLE visits (
        at DATETIME(6) NOT NULL,
        address VARBINARY(16) NOT NULL,
        path VARCHAR(200) NULL
    ) COMMENT 'has no key'",
];

/// What fills a table: the rows at full size, and a statement in which `n` runs over 1, 2, ….
const FILLINGS: [(u32, &str); 8] = [
    (
        40_000,
        "INSERT INTO customers SELECT n, CONCAT('user', n, '@example.org'),
            CASE n % 6 WHEN 0 THEN CONCAT('Zoë O''Brien ', n) WHEN 1 THEN CONCAT('张三 ', n)
                WHEN 2 THEN CONCAT('back\\\\slash\\ttab ', n) WHEN 3 THEN CONCAT('👩‍🚀 ', n) ELSE CONCAT('Jo ', n) END,
            IF(n % 5 = 0, NULL, CONCAT('owes 5 € · ÿñ · ', n)),
            IF(n % 7 = 0, NULL, DATE_ADD('1900-01-01', INTERVAL CRC32(CONCAT('b', n)) % 44000 DAY)),
            n % 1024, IF(n % 9 = 0, NULL, n % 16),
            IF(n % 11 = 0, NULL, JSON_OBJECT('language', ELT(1 + n % 3, 'de', 'en', 'zh'), 'n', n, 'ratio', n / 8,
                'tags', JSON_ARRAY('é😀', n % 10, NULL))),
            CAST(CONCAT(IF(n % 3 = 0, '-', ''), CRC32(n), '.', LPAD(n % 1000000, 6, '0')) AS DECIMAL(20,6)),
            18446744073709551615 - n, n % 2,
            DATE_ADD('2001-01-01 00:00:00.000001', INTERVAL CRC32(CONCAT('j', n)) * 150 MICROSECOND),
            IF(n % 4 = 0, NULL, FROM_UNIXTIME(1 + CRC32(CONCAT('s', n)) % 2147483000)),
            IF(n % 10 < 8, NULL, UNHEX(CONCAT('00FF0A5C27', SHA2(n, 256))))",
    ),
    (
        10_000,
        "INSERT INTO products SELECT CONCAT(CHAR(65 + n % 26 USING ascii), '-', LPAD(n, 6, '0')),
            CONCAT('thing no. ', n, IF(n % 8 = 0, ' ✨', '')), (CRC32(n) % 100000000) / 10000,
            IF(n % 6 = 0, NULL, CRC32(n) / 7e0), IF(n % 7 = 0, NULL, (n % 500) / 97e0), 1 + n % 3,
            IF(n % 12 = 0, NULL, 1901 + n % 255),
            IF(n % 5 = 0, NULL, SEC_TO_TIME(CAST(CRC32(n) % 6000000 AS SIGNED) - 3000000)),
            IF(n % 13 = 0, NULL, UNHEX(LEFT(SHA2(n, 256), 12)))",
    ),
    (
        20,
        "INSERT INTO warehouses SELECT CONCAT('W', LPAD(n, 2, '0')), CONCAT('place ', n),
            IF(n % 3 = 0, NULL, SEC_TO_TIME(n * 1234.567))",
    ),
    (
        40_000,
        "INSERT INTO stock SELECT CONCAT('W', LPAD(1 + n % 20, 2, '0')), sku, CAST(n % 700 AS SIGNED) - 20,
            IF(n % 3 = 0, NULL, DATE_ADD('2020-02-29 23:59:59.999999', INTERVAL n SECOND))
            FROM (SELECT n, CONCAT(CHAR(65 + m % 26 USING ascii), '-', LPAD(m, 6, '0')) sku
                FROM (SELECT n, 1 + (n - 1) DIV 20 m",
    ),
    (
        60_000,
        "INSERT INTO orders SELECT n, 1 + CRC32(n) % 40000, DATE_ADD('2015-03-29 02:30:00.5', INTERVAL n * 317 SECOND),
            1 + n % 4, IF(n % 3 = 0, NULL, SEC_TO_TIME((CAST(CRC32(n) % 6000000 AS SIGNED) - 3000000) + 0.25)),
            (CRC32(CONCAT('t', n)) % 1000000) / 100",
    ),
    (
        120_000,
        "INSERT INTO order_lines SELECT 1 + (n - 1) DIV 2, 1 + n % 2, CONCAT(CHAR(65 + m % 26 USING ascii), '-', LPAD(m, 6, '0')),
            1 + n % 70000, (CRC32(n) % 1000000) / 10000 FROM (SELECT n, 1 + CRC32(n) % 10000 m",
    ),
    (
        15_000,
        "INSERT INTO reviews SELECT UNHEX(LEFT(SHA2(CONCAT('r', n), 256), 32)),
            CONCAT(CHAR(65 + m % 26 USING ascii), '-', LPAD(m, 6, '0')), n % 6,
            IF(n % 8 = 0, NULL, REPEAT(CONCAT('good 👍 – ', n, '\\n'), n % 9))
            FROM (SELECT n, 1 + CRC32(n) % 10000 m",
    ),
    (
        20_000,
        "INSERT INTO visits SELECT DATE_ADD('2024-10-27 02:59:59.999999', INTERVAL n DIV 2 SECOND),
            UNHEX(LEFT(SHA2(n DIV 2, 256), IF(n % 4 < 2, 8, 32))), IF(n DIV 2 % 9 = 0, NULL, CONCAT('/p/', n DIV 2))",
    ),
];

/// Makes the shop anew; `scale` divides its size (1 is the full one). Answers the number of rows.
pub async fn load(connection: &mut Conn, scale: u32) -> Result<u64> {
    connection.query_drop("SET SESSION sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION'").await?;
    connection.query_drop(format!("DROP DATABASE IF EXISTS {DATABASE}")).await?;
    connection.query_drop(format!("CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4")).await?;
    connection.query_drop(format!("USE {DATABASE}")).await?;
    make_sequence(connection).await?;
    let mut rows = 0;
    for table in TABLES {
        connection.query_drop(table).await?;
    }
    for (full, statement) in FILLINGS {
        // Rows that others refer to are all there at any size.
        let refers_to_it =
            ["INTO customers", "INTO products", "INTO warehouses"].iter().any(|t| statement.contains(t));
        let limit = if refers_to_it { full } else { full / scale.max(1) };
        let nesting = statement.matches("FROM (SELECT").count();
        let closing: String =
            (0..nesting).map(|level| format!(") nested{level}")).collect::<Vec<_>>().concat();
        connection.query_drop(format!("{statement} FROM sequence WHERE n <= {limit}{closing}")).await?;
        rows += connection.affected_rows();
    }
    connection.query_drop("DROP TABLE sequence").await?;
    Ok(rows)
}

/// A temporary table of the numbers from 1 to 1,000,000 would be reopened in one statement; a plain one may.
async fn make_sequence(connection: &mut Conn) -> Result<()> {
    connection.query_drop("CREATE TABLE digits (d INT PRIMARY KEY)").await?;
    connection.query_drop("INSERT INTO digits VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9)").await?;
    connection
        .query_drop(
            "CREATE TABLE sequence (n INT UNSIGNED PRIMARY KEY) SELECT CAST(1 + a.d + 10 * b.d + 100 * c.d + \
             1000 * e.d + 10000 * f.d + 100000 * g.d AS UNSIGNED) AS n \
             FROM digits a, digits b, digits c, digits e, digits f, (SELECT 0 d UNION SELECT 1) g",
        )
        .await?;
    connection.query_drop("DROP TABLE digits").await?;
    Ok(())
}
