//! What the engine makes of a statement's text, against what the server made of the statement: each is run, read from
//! the log, applied to the tables as they were, and compared with the catalog, in everything there is to a table.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use e2e::Scene;
use engine_core::change::SchemaChange;
use engine_core::endpoint::EndpointUrl;
use engine_core::schema::{TableName, TableSchema};
use engine_core::selection::Selection;
use engine_core::source::{Source, StreamRequest, StreamTable};
use engine_core::transaction::TransactionSet;
use engine_mysql::MysqlSource;
use mysql_async::prelude::Queryable as _;

/// Run one after the other in one session.
const STATEMENTS: &[&str] = &[
    "CREATE TABLE a (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(10), n INT NOT NULL DEFAULT 3, KEY (n))",
    "CREATE TABLE types (i1 TINYINT(1), i2 TINYINT(1) UNSIGNED, i3 TINYINT(3), i4 SMALLINT UNSIGNED, i5 MEDIUMINT, \
     i6 INTEGER(5) ZEROFILL, i7 BIGINT UNSIGNED, b BOOL DEFAULT TRUE, y YEAR DEFAULT 99, d1 DEC, d2 NUMERIC(8), \
     d3 DECIMAL(10,3) UNSIGNED DEFAULT 1.5, f1 FLOAT DEFAULT 1.50, f2 FLOAT(30), f3 FLOAT(7,3), g1 REAL DEFAULT -2, \
     g2 DOUBLE PRECISION UNSIGNED, bi BIT, bj BIT(9) DEFAULT 5, bk BIT(3) DEFAULT b'010')",
    "CREATE TABLE texts (c1 CHAR, c2 CHAR(5) DEFAULT 'ab', c3 NCHAR(3), c4 NATIONAL VARCHAR(6), v1 VARCHAR(20) \
     CHARACTER SET latin1, v2 CHARACTER VARYING(7) COLLATE utf8mb4_bin, v3 VARCHAR(5) BINARY, t1 TINYTEXT, t2 TEXT, \
     t3 MEDIUMTEXT, t4 LONGTEXT, t5 TEXT(50), t6 TEXT(20000), t7 LONG, u1 VARCHAR(4) CHARACTER SET binary, \
     u2 TEXT CHARACTER SET binary, bb BINARY, b4 BINARY(4), vb VARBINARY(9), l1 TINYBLOB, l2 BLOB(70000), l3 BLOB, \
     e ENUM('a','b ','it''s','c\\\\d') DEFAULT 'A', s SET('x','y','z') DEFAULT 'z,x', j JSON) COMMENT='it''s text'",
    "CREATE TABLE times (d DATE DEFAULT '2020-02-03', t TIME DEFAULT '10:11:12', t3 TIME(3), \
     dt DATETIME DEFAULT '2020-02-03', d6 DATETIME(6) DEFAULT '2020-02-03 04:05:06.5', ts TIMESTAMP NULL, \
     t0 TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, \
     t6 TIMESTAMP(6) NULL DEFAULT CURRENT_TIMESTAMP(6), n DATETIME DEFAULT NOW())",
    "CREATE TABLE latin (v VARCHAR(10), c CHAR(2) CHARACTER SET utf8mb4, KEY (v)) DEFAULT CHARSET=latin1 ENGINE=InnoDB",
    "CREATE TABLE keys_ (a INT, b INT, c VARCHAR(30), d TEXT, PRIMARY KEY (a), UNIQUE (b), UNIQUE KEY u (b, c), \
     INDEX (c), KEY pre (c(10), d(20) DESC), KEY (c, b), FULLTEXT KEY f (d), KEY full_ (c(30)), CHECK (a > 0), \
     CONSTRAINT named UNIQUE (a, c))",
    "CREATE TABLE parent (id INT, k INT, PRIMARY KEY (id, k), UNIQUE (k))",
    "CREATE TABLE child (id INT PRIMARY KEY, p INT, q INT, r INT, FOREIGN KEY (p) REFERENCES parent (k), \
     CONSTRAINT fk_q FOREIGN KEY (q, r) REFERENCES parent (id, k))",
    "CREATE TABLE IF NOT EXISTS a (x INT)",
    "CREATE TABLE like_a LIKE a",
    "ALTER TABLE a ADD COLUMN x INT FIRST, ADD y VARCHAR(5) CHARACTER SET latin1 NOT NULL DEFAULT '' AFTER id, ADD z DATE",
    "ALTER TABLE a ADD (p INT, q TEXT, INDEX pq (p, q(5)))",
    "ALTER TABLE a DROP COLUMN x, DROP p",
    "ALTER TABLE a MODIFY v VARCHAR(40) NULL COMMENT 'wide' FIRST",
    "ALTER TABLE a MODIFY COLUMN z DATE DEFAULT '2021-01-01' AFTER id",
    "ALTER TABLE a CHANGE n number BIGINT NOT NULL",
    "ALTER TABLE a CHANGE COLUMN v v VARCHAR(50)",
    "ALTER TABLE a RENAME COLUMN number TO n, RENAME COLUMN z TO day",
    "ALTER TABLE a RENAME COLUMN n TO day, RENAME COLUMN day TO n",
    "ALTER TABLE a ALTER COLUMN y SET DEFAULT 'q', ALTER day SET DEFAULT 5",
    "ALTER TABLE a ALTER y DROP DEFAULT",
    "ALTER TABLE a ADD UNIQUE (v), ADD INDEX (v), ADD KEY by_y (y DESC), ADD UNIQUE INDEX vy USING BTREE (v, y)",
    "ALTER TABLE a RENAME INDEX by_y TO y_by, DROP KEY vy",
    "ALTER TABLE a DROP INDEX v",
    "CREATE UNIQUE INDEX made ON a (v(20), n) COMMENT 'x'",
    "CREATE INDEX made2 ON a (day)",
    "DROP INDEX made ON a",
    "ALTER TABLE a DROP COLUMN day",
    "ALTER TABLE a ENGINE=InnoDB, COMMENT 'commented', AUTO_INCREMENT = 100, ROW_FORMAT=DYNAMIC",
    "ALTER TABLE a DEFAULT CHARACTER SET latin1 COLLATE latin1_swedish_ci, ADD in_latin VARCHAR(3)",
    "ALTER TABLE a ADD also_latin ENUM('u','v'), ALGORITHM=INPLACE, LOCK=NONE",
    "ALTER TABLE a FORCE",
    "ALTER TABLE a MODIFY id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT",
    "ALTER TABLE keys_ DROP PRIMARY KEY, ADD PRIMARY KEY (a, b)",
    "ALTER TABLE keys_ DROP INDEX u, DROP KEY named, DROP COLUMN c",
    "ALTER TABLE keys_ MODIFY a INT NULL, DROP PRIMARY KEY",
    "ALTER TABLE types MODIFY i1 INT, MODIFY i4 INT UNSIGNED, MODIFY d1 DECIMAL(12,2), MODIFY f1 DOUBLE",
    "ALTER TABLE texts MODIFY e ENUM('a','b','it''s','c\\\\d','new') NOT NULL, MODIFY v1 VARCHAR(30)",
    "ALTER TABLE texts MODIFY c2 VARCHAR(9), MODIFY vb BLOB, MODIFY t5 LONGTEXT, MODIFY v2 TEXT CHARACTER SET utf8mb4",
    "ALTER TABLE times MODIFY t TIME(6), MODIFY dt DATETIME(3), ALTER d SET DEFAULT '2022-12-31'",
    "ALTER TABLE child DROP FOREIGN KEY fk_q",
    "ALTER TABLE child ADD CONSTRAINT again FOREIGN KEY (r) REFERENCES parent (k) ON DELETE NO ACTION",
    "ALTER TABLE child DROP CONSTRAINT again",
    "ALTER TABLE parent RENAME TO parents",
    "ALTER TABLE child RENAME children",
    "ALTER TABLE children ADD FOREIGN KEY (q) REFERENCES parents (k)",
    "RENAME TABLE latin TO roman, types TO latin, roman TO types",
    "RENAME TABLE a TO _a_del, like_a TO a",
    "TRUNCATE TABLE _a_del",
    "CREATE TABLE parts (id INT PRIMARY KEY, n INT) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10))",
    "ALTER TABLE parts ADD PARTITION (PARTITION p1 VALUES LESS THAN (20))",
    "ALTER TABLE parts REORGANIZE PARTITION p0, p1 INTO (PARTITION p VALUES LESS THAN (30))",
    "ALTER TABLE parts PARTITION BY HASH (id) PARTITIONS 3",
    "ALTER TABLE parts REMOVE PARTITIONING",
    "/* a tool's note */ ALTER /*!40000 TABLE */ parts ADD COLUMN -- here\n `odd ``name` INT /*!50000 DEFAULT 4 */",
    "DROP TABLE parts, _a_del",
    "DROP TABLE IF EXISTS texts, no_such_table",
];

/// Statements of one server alone.
const MYSQL: &[&str] = &[
    "CREATE TABLE only_mysql (id SERIAL, j JSON DEFAULT (JSON_OBJECT()), u VARCHAR(36) DEFAULT (uuid()), v VECTOR(3), \
     g POINT NOT NULL SRID 4326, i INT INVISIBLE, KEY by_i (i), SPATIAL INDEX (g))",
    "ALTER TABLE only_mysql ALTER COLUMN i SET VISIBLE, ALTER INDEX by_i INVISIBLE",
    "ALTER TABLE only_mysql ADD INDEX fun ((i + 1))",
];
const MARIADB: &[&str] = &[
    "CREATE TABLE only_mariadb (u UUID, i INET6, j JSON NOT NULL, k LONGTEXT CHECK (json_valid(k)))",
    "ALTER TABLE only_mariadb ADD COLUMN IF NOT EXISTS u UUID, ADD COLUMN IF NOT EXISTS x INT NOT NULL DEFAULT 1",
    "ALTER TABLE IF EXISTS only_mariadb DROP COLUMN IF EXISTS nothing, DROP INDEX IF EXISTS nothing",
    "CREATE OR REPLACE TABLE only_mariadb (id INT PRIMARY KEY)",
];

#[tokio::test]
async fn the_text_says_what_mysql_did() -> Result<()> {
    compare_all(&Scene::mysql("ddl_text_mysql").await?, MYSQL).await
}

#[tokio::test]
async fn the_text_says_what_mariadb_did() -> Result<()> {
    compare_all(&Scene::mariadb("ddl_text_mariadb").await?, MARIADB).await
}

async fn compare_all(scene: &Scene<'_>, more: &[&str]) -> Result<()> {
    let source = MysqlSource::connect(EndpointUrl::parse(&scene.source_url())?).await?;
    let selection = Selection { database: Some(scene.name().to_owned()), ..Selection::default() };
    let mut session = scene.source().await?;
    let mut wrong = Vec::new();
    for statement in STATEMENTS.iter().chain(more) {
        let before = source.catalog(&selection).await?;
        let from = source.low_watermark().await?;
        session.query_drop(*statement).await.with_context(|| (*statement).to_owned())?;
        let wanted = by_name(source.catalog(&selection).await?);
        let Some(change) = logged(&source, &selection, &before, from).await? else {
            ensure!(wanted == by_name(before), "not in the log: {statement}");
            continue;
        };
        let found = match source.evolve(&change, &before, &selection).await {
            Ok(evolutions) => {
                let mut tables = by_name(before);
                for name in evolutions.iter().filter_map(|evolution| evolution.before.as_ref()) {
                    tables.remove(name);
                }
                tables.extend(by_name(
                    evolutions.into_iter().filter_map(|evolution| evolution.after).collect(),
                ));
                tables
            }
            Err(error) => {
                wrong.push(format!("{statement}\n  {error}"));
                continue;
            }
        };
        wrong.extend(differences(&wanted, &found).map(|what| format!("{statement}\n{what}")));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// The tables without what changes all the time. Expressions are shown by the server in a form of its own.
fn by_name(tables: Vec<TableSchema>) -> BTreeMap<TableName, TableSchema> {
    let plain = |text: &str| -> String {
        text.chars().filter(|c| !c.is_whitespace() && !"()`".contains(*c)).collect::<String>().to_lowercase()
    };
    tables
        .into_iter()
        .map(|mut table| {
            (table.row_estimate, table.byte_estimate, table.next_identity) = (None, None, None);
            for column in &mut table.columns {
                let default = column.default.take();
                column.default = default.map(|text| if text.starts_with('\'') { text } else { plain(&text) });
            }
            for part in table.indexes.iter_mut().flat_map(|index| &mut index.parts) {
                part.expression = part.expression.take().map(|text| plain(&text));
            }
            (table.name.clone(), table)
        })
        .collect()
}

fn differences<'a>(
    wanted: &'a BTreeMap<TableName, TableSchema>,
    found: &'a BTreeMap<TableName, TableSchema>,
) -> impl Iterator<Item = String> + 'a {
    let names: Vec<&TableName> =
        wanted.keys().chain(found.keys().filter(|name| !wanted.contains_key(name))).collect();
    names.into_iter().filter_map(|name| {
        let (wanted, found) = (wanted.get(name), found.get(name));
        if wanted == found {
            return None;
        }
        let (Some(wanted), Some(found)) = (wanted, found) else {
            return Some(format!("  {name}: is there {}, expected {}", found.is_some(), wanted.is_some()));
        };
        let lines = |table: &TableSchema| -> Vec<String> {
            let columns = table.columns.iter().map(|column| format!("{column:?}"));
            let indexes = table.indexes.iter().map(|index| format!("{index:?}"));
            let keys = table.foreign_keys.iter().map(|key| format!("{key:?}"));
            let rest = format!("{:?} {:?}", table.comment, table.collation);
            columns.chain(indexes).chain(keys).chain([rest]).collect()
        };
        let (wanted, found) = (lines(wanted), lines(found));
        let missing = wanted.iter().filter(|line| !found.contains(line)).map(|line| format!("  - {line}"));
        let more = found.iter().filter(|line| !wanted.contains(line)).map(|line| format!("  + {line}"));
        let changed: Vec<String> = missing.chain(more).collect();
        Some(if changed.is_empty() { format!("  {name}: another order") } else { changed.join("\n") })
    })
}

/// The change of structure after `from`; `None` when none came to the end of the log.
async fn logged(
    source: &MysqlSource,
    selection: &Selection,
    before: &[TableSchema],
    from: engine_core::position::Position,
) -> Result<Option<SchemaChange>> {
    let until = source.high_watermark().await?;
    let tables = before.iter().map(|schema| StreamTable {
        columns: (0..schema.columns.len()).collect(),
        schema: Arc::new(schema.clone()),
        since: None,
    });
    let request = StreamRequest {
        from,
        applied: TransactionSet::default(),
        tables: tables.collect(),
        selection: selection.clone(),
        skipped: Vec::new(),
        set_bytes: 1 << 20,
        set_rows: 1000,
    };
    let mut stream = source.open_stream(request).await?;
    loop {
        let set = stream.next().await?;
        if set.schema_change.is_some() {
            return Ok(set.schema_change);
        }
        match set.position {
            Some(reached) if source.covers(&reached, &until)? => return Ok(None),
            Some(_) => {}
            None => bail!("rows came where there are none"),
        }
    }
}
