//! What tables have that no plan speaks of, and so stays behind: a warning for each kind and table.

use engine_core::Result;
use engine_core::finding::{Finding, Severity};
use engine_core::schema::TableName;
use engine_core::selection::Selection;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::collections::BTreeMap;

use crate::error::server_error;
use crate::server::{Flavor, Server};

/// What stays behind, by what it is called.
type Found = BTreeMap<(TableName, &'static str), Vec<String>>;

/// Looks for all of it in the selection.
pub(super) async fn left_behind(
    conn: &mut Conn,
    server: &Server,
    selection: &Selection,
    scope: &str,
) -> Result<Vec<Finding>> {
    let mut found = Found::new();
    for (kind, query) in queries(server, scope) {
        let rows: Vec<(String, String, String)> = conn
            .query(query)
            .await
            .map_err(|error| server_error(format!("the source's {kind} can't be listed"), error))?;
        for (namespace, table, what) in rows {
            let table = TableName::new(namespace, table);
            if selection.matches(&table) {
                found.entry((table, kind)).or_default().push(what);
            }
        }
    }
    let of_tables = found.into_iter().map(|((table, kind), what)| Finding {
        severity: Severity::Warning,
        subject: table.to_string(),
        message: format!("its {kind} are not carried over: {}", what.join("; ")),
        fix: Some("alter the target's table once it is complete".to_owned()),
    });
    Ok(databases(conn, scope).await?.into_iter().chain(of_tables).collect())
}

/// The defaults of databases, which tables and columns that are made later take.
async fn databases(conn: &mut Conn, scope: &str) -> Result<Vec<Finding>> {
    let query = format!(
        "SELECT DISTINCT s.schema_name, CONVERT(s.default_collation_name USING utf8mb4) FROM information_schema.schemata s \
         JOIN information_schema.tables t ON t.table_schema = s.schema_name WHERE t.table_schema {scope} ORDER BY 1"
    );
    let databases: Vec<(String, String)> = conn
        .query(query)
        .await
        .map_err(|error| server_error("the source's databases can't be listed", error))?;
    Ok(databases
        .into_iter()
        .map(|(name, collation)| Finding {
            severity: Severity::Note,
            subject: format!("source database {name}"),
            message: format!(
                "its default collation is {collation}; one that the engine creates has the target server's default, \
                 and columns say theirs"
            ),
            fix: Some("create the target's database before, or alter it".to_owned()),
        })
        .collect())
}

fn queries(server: &Server, scope: &str) -> Vec<(&'static str, String)> {
    let is_mariadb = server.flavor == Flavor::MariaDb;
    let mut queries = vec![
        (
            "partitions",
            format!(
                "SELECT table_schema, table_name, CONVERT(CONCAT('BY ', partition_method, ' (', \
                 COALESCE(partition_expression, ''), '), ', COUNT(DISTINCT partition_name), ' of them') USING utf8mb4) \
                 FROM information_schema.partitions WHERE table_schema {scope} AND partition_name IS NOT NULL \
                 GROUP BY table_schema, table_name, partition_method, partition_expression"
            ),
        ),
        (
            "table options",
            format!(
                "SELECT table_schema, table_name, CONVERT(create_options USING utf8mb4) FROM information_schema.tables \
                 WHERE table_schema {scope} AND table_type = 'BASE TABLE' \
                 AND create_options NOT IN ('', 'partitioned', 'row_format=DYNAMIC', 'row_format=dynamic')"
            ),
        ),
        (
            "default character set and collation",
            format!(
                "SELECT t.table_schema, t.table_name, CONVERT(t.table_collation USING utf8mb4) \
                 FROM information_schema.tables t JOIN information_schema.schemata s ON s.schema_name = t.table_schema \
                 WHERE t.table_schema {scope} AND t.table_type = 'BASE TABLE' \
                 AND t.table_collation <> s.default_collation_name"
            ),
        ),
    ];
    // Those that make a JSON of MariaDB's longtext come along with the type.
    let checks = if is_mariadb {
        format!(
            "SELECT constraint_schema, table_name, CONVERT(CONCAT(constraint_name, ' CHECK (', check_clause, ')') USING utf8mb4) \
             FROM information_schema.check_constraints WHERE constraint_schema {scope} \
             AND check_clause NOT LIKE 'json_valid(%'"
        )
    } else {
        format!(
            "SELECT t.constraint_schema, t.table_name, CONVERT(CONCAT(c.constraint_name, ' CHECK ', c.check_clause) USING utf8mb4) \
             FROM information_schema.check_constraints c JOIN information_schema.table_constraints t \
             ON t.constraint_schema = c.constraint_schema AND t.constraint_name = c.constraint_name \
             AND t.constraint_type = 'CHECK' WHERE t.constraint_schema {scope}"
        )
    };
    // Servers before them have no such table.
    if is_mariadb || server.version_number >= (8, 0, 16) {
        queries.push(("CHECK constraints", checks));
    }
    let hidden = if is_mariadb { "ignored = 'YES'" } else { "is_visible = 'NO'" };
    if !is_mariadb || server.version_number >= (10, 6, 0) {
        queries.push((
            "invisible indexes, which become visible ones,",
            format!(
                "SELECT DISTINCT table_schema, table_name, CONVERT(index_name USING utf8mb4) \
                 FROM information_schema.statistics WHERE table_schema {scope} AND {hidden}"
            ),
        ));
    }
    if !is_mariadb {
        queries.push((
            "SRIDs of columns",
            format!(
                "SELECT table_schema, table_name, CONVERT(CONCAT(column_name, ' SRID ', srs_id) USING utf8mb4) \
                 FROM information_schema.columns WHERE table_schema {scope} AND srs_id IS NOT NULL"
            ),
        ));
    }
    queries
}
