//! Tables that are copied in several chunks, by keys of every kind, while rows cross the borders of chunks.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use e2e::{Scene, Writers};
use test_kit::Product;
use test_support::numbers::Numbers;

/// Rows per table; every [`HEAVY`]th is so large that the table takes several chunks of 16 MiB.
const ROWS: u64 = 1600;
const HEAVY: u64 = 8;
const HEAVY_BYTES: u64 = 180_000;

/// A table and its key.
struct Keyed {
    table: &'static str,
    /// The key's columns: name, definition, and value by a number, for which `?` stands.
    columns: &'static [(&'static str, &'static str, &'static str)],
}

const KEYED: &[Keyed] = &[
    Keyed {
        table: "sparse",
        columns: &[("k", "BIGINT", "CAST(? * 1000003 * 7919 AS SIGNED) - 9000000000000")],
    },
    Keyed {
        table: "unsigned_largest",
        columns: &[("k", "BIGINT UNSIGNED", "18446744073709551615 - ? * 1000003")],
    },
    Keyed {
        table: "words",
        columns: &[(
            "k",
            "VARCHAR(40)",
            "CONCAT(ELT(1 + ? % 7, 'a', 'Ä', 'é', 'Z', 'ß', 'ø', '😀'), CONV(?, 10, 36), ELT(1 + ? % 3, '', ' ', '  '))",
        )],
    },
    Keyed {
        table: "latin",
        columns: &[(
            "k",
            "CHAR(20) CHARACTER SET latin1 COLLATE latin1_german1_ci",
            "CONCAT(ELT(1 + ? % 5, 'Ö', 'a', 'B', 'ý', '€'), ?)",
        )],
    },
    Keyed {
        table: "hashes",
        columns: &[("k", "VARBINARY(16)", "UNHEX(LEFT(SHA2(?, 256), 8 + 2 * (? % 9)))")],
    },
    Keyed {
        table: "moments",
        columns: &[("k", "DATETIME(6)", "DATE_ADD('1000-01-01', INTERVAL ? * 98765432123 MICROSECOND)")],
    },
    Keyed {
        table: "composite",
        columns: &[
            ("day", "DATE", "DATE_ADD('1969-12-30', INTERVAL ? % 5 DAY)"),
            ("name", "VARCHAR(20) COLLATE utf8mb4_bin", "CONCAT(IF(? % 2, 'b', 'B'), ? % 11)"),
            ("amount", "DECIMAL(20,6)", "(CAST(? AS SIGNED) - 800) * 1.000001"),
        ],
    },
];

impl Keyed {
    fn names(&self) -> String {
        self.columns.iter().map(|(name, ..)| *name).collect::<Vec<_>>().join(", ")
    }

    fn values(&self, number: &str) -> String {
        self.columns.iter().map(|(.., value)| value.replace('?', number)).collect::<Vec<_>>().join(", ")
    }

    fn pairs(&self, number: u64, separator: &str) -> String {
        let number = number.to_string();
        let pairs: Vec<String> = self
            .columns
            .iter()
            .map(|(name, _, value)| format!("{name} = {}", value.replace('?', &number)))
            .collect();
        pairs.join(separator)
    }

    fn create(&self) -> String {
        let mut statement = format!("CREATE TABLE {} (", self.table);
        for (name, definition, _) in self.columns {
            let _ = write!(statement, "{name} {definition} NOT NULL, ");
        }
        let _ = write!(statement, "n INT NOT NULL, payload MEDIUMTEXT, PRIMARY KEY ({}))", self.names());
        statement
    }

    fn fill(&self) -> String {
        format!(
            "INSERT INTO {} ({}, n, payload) SELECT {}, n, IF(n % {HEAVY} = 0, REPEAT(CHAR(97 + n % 26), {HEAVY_BYTES}), 'light') \
             FROM numbers",
            self.table,
            self.names(),
            self.values("n")
        )
    }

    /// One transaction of a random kind on rows of random places in the key's order.
    fn transaction(&self, numbers: &mut Numbers) -> Vec<String> {
        let table = self.table;
        let (one, other) = (1 + numbers.below(2 * ROWS), 1 + numbers.below(2 * ROWS));
        let place = |number| self.pairs(number, " AND ");
        match numbers.below(5) {
            0 => vec![format!("UPDATE {table} SET n = n + 10000 WHERE {}", place(one))],
            1 => vec![
                format!("DELETE FROM {table} WHERE {}", place(one)),
                format!("DELETE FROM {table} WHERE {}", place(other)),
            ],
            2 => vec![format!(
                "INSERT INTO {table} ({}, n, payload) VALUES ({}, {one}, 'new')",
                self.names(),
                self.values(&one.to_string())
            )],
            3 => vec![format!(
                "UPDATE {table} SET {}, n = n + 10000 WHERE {}",
                self.pairs(one, ", "),
                place(other)
            )],
            _ if one == other => Vec::new(),
            _ => {
                let aside = 100_000 + one;
                vec![
                    format!("UPDATE {table} SET {} WHERE {}", self.pairs(aside, ", "), place(one)),
                    format!("UPDATE {table} SET {} WHERE {}", self.pairs(one, ", "), place(other)),
                    format!("UPDATE {table} SET {} WHERE {}", self.pairs(other, ", "), place(aside)),
                ]
            }
        }
    }
}

#[tokio::test]
async fn chunks_of_every_key_on_mysql_are_joined_to_the_stream() -> Result<()> {
    copy_in_chunks(&Scene::mysql("chunks_mysql").await?).await
}

#[tokio::test]
async fn chunks_of_every_key_on_mariadb_are_joined_to_the_stream() -> Result<()> {
    copy_in_chunks(&Scene::mariadb("chunks_mariadb").await?).await
}

async fn copy_in_chunks(scene: &Scene<'_>) -> Result<()> {
    let recursion = match scene.source_server().product() {
        Product::MariaDb => "max_recursive_iterations",
        _ => "cte_max_recursion_depth",
    };
    let mut statements = vec![
        // What is there before the copy needn't be in the log that all tests' streams read.
        "SET SESSION sql_log_bin = 0".to_owned(),
        format!("SET SESSION {recursion} = {ROWS}"),
        "CREATE TABLE numbers (n INT PRIMARY KEY)".to_owned(),
        format!(
            "INSERT INTO numbers WITH RECURSIVE c AS (SELECT 1 n UNION ALL SELECT n + 1 FROM c WHERE n < {ROWS}) SELECT n FROM c"
        ),
    ];
    for keyed in KEYED {
        statements.extend([keyed.create(), keyed.fill(), format!("ANALYZE TABLE {}", keyed.table)]);
    }
    scene.execute(statements).await?;

    let writers = Writers::start(&scene.source_url(), 3, Duration::from_millis(10), |numbers| {
        let table = numbers.below(KEYED.len() as u64) as usize;
        KEYED.get(table).map(|keyed| keyed.transaction(numbers)).unwrap_or_default()
    });
    writers.commit_more(10).await?;
    let copied = scene.run().arguments(["--parallelism", "3"]).succeed().await;
    let written = writers.stop().await?;
    copied?;
    assert!(written.transactions > 50, "only {} transactions during the copy", written.transactions);
    scene.run().arguments(["--parallelism", "3"]).succeed().await?;
    scene.require_equal().await
}
