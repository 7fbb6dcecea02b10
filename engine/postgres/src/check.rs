//! Whether a server and an account can take what a plan asks for.

use engine_core::Result;
use engine_core::finding::{Finding, Severity};
use engine_core::plan::TargetTable;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio_postgres::Client;

use crate::cell::Encoder;
use crate::connect::Server;
use crate::dialect::Dialect;
use crate::existing;
use crate::failure::translate;
use crate::identifier::{MAX_BYTES, fit};
use crate::layout;
use crate::opengauss::compatibility;
use crate::pg_type::PgType;

fn finding(severity: Severity, subject: &str, message: impl Into<String>, fix: Option<String>) -> Finding {
    Finding { severity, subject: subject.to_owned(), message: message.into(), fix }
}

/// Whether the account may silence triggers and foreign keys for its session.
pub(crate) async fn may_silence_triggers(client: &Client, dialect: Dialect) -> Result<bool> {
    let failed = |error| translate(error, "the account's privileges can't be read");
    if dialect.is_opengauss() {
        let row = client
            .query_one(
                "SELECT rolsuper OR rolsystemadmin FROM pg_catalog.pg_roles WHERE rolname = current_user",
                &[],
            )
            .await
            .map_err(failed)?;
        return Ok(row.get(0));
    }
    let row = client
        .query_one(
            "SELECT rolsuper, pg_catalog.current_setting('server_version_num')::int4 >= 150000 \
             FROM pg_catalog.pg_roles WHERE rolname = current_user",
            &[],
        )
        .await
        .map_err(failed)?;
    if row.get(0) || !row.get::<_, bool>(1) {
        return Ok(row.get(0));
    }
    let row = client
        .query_one("SELECT pg_catalog.has_parameter_privilege('session_replication_role', 'SET')", &[])
        .await
        .map_err(failed)?;
    Ok(row.get(0))
}

/// Everything that can be told before anything is written.
pub(crate) async fn check(
    client: &Client,
    server: &Server,
    task: &str,
    tables: &[Arc<TargetTable>],
    online: bool,
) -> Result<Vec<Finding>> {
    let mut findings = vec![version(server)];
    if server.dialect.is_opengauss() {
        findings.extend(compatibility::findings(&server.endpoint));
    }
    findings.extend(types(server.dialect, tables));
    findings.extend(names(tables));
    findings.extend(widths(tables));
    findings.extend(settings(client).await?);
    findings.extend(foreign_tables(client, task, tables).await?);
    findings.extend(privileges(client, tables).await?);
    if online {
        findings.extend(triggers(client, server, tables).await?);
    }
    Ok(findings)
}

fn version(server: &Server) -> Finding {
    if server.dialect.is_opengauss() {
        let says = format!("openGauss {}", server.endpoint.version);
        return if server.endpoint.version.starts_with("7.") {
            finding(Severity::Pass, "target version", says, None)
        } else {
            let says = format!("{says} was not tried: what the engine relies on was seen on 7.0");
            let fix = "try the task on a copy first, and compare with engine verify";
            finding(Severity::Warning, "target version", says, Some(fix.to_owned()))
        };
    }
    let major = server.version / 10_000;
    let says = format!("PostgreSQL {}", server.endpoint.version);
    match major {
        12..=18 => finding(Severity::Pass, "target version", says, None),
        0..12 => finding(
            Severity::Failed,
            "target version",
            format!("{says} is too old: generated columns and others need 12"),
            Some("use PostgreSQL 12 to 18".to_owned()),
        ),
        _ => finding(
            Severity::Warning,
            "target version",
            format!("{says} is newer than what was tested (18)"),
            None,
        ),
    }
}

fn types(dialect: Dialect, tables: &[Arc<TargetTable>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for table in tables {
        for (ordinal, column) in table.columns.iter().enumerate() {
            if column.generated.is_some() {
                continue;
            }
            let pg_type = dialect.stored(PgType::parse(&column.target_type));
            // What only the server knows is resolved when its table is there.
            if matches!(pg_type, PgType::Named(_)) || Encoder::new(&column.logical, &pg_type, true).is_some()
            {
                continue;
            }
            let error = layout::no_encoder(table, ordinal);
            findings.push(finding(
                Severity::Failed,
                &format!("{}.{}", table.name, column.name),
                format!("{} as {}: {}", error.what(), column.target_type, error.why().unwrap_or_default()),
                error.remedy().map(str::to_owned),
            ));
        }
    }
    findings
}

/// Columns that a table can have: `MaxHeapAttributeNumber`.
const MOST_COLUMNS: usize = 1600;
/// What a row may take when none of its values is moved out of line: a page without its headers.
const MOST_BYTES: usize = 8160;

/// Tables that are too wide for the server, or whose rows may be.
fn widths(tables: &[Arc<TargetTable>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for table in tables {
        let columns = table.columns.len();
        // Header and NULL bitmap; then at least a pointer to a value out of line for each column.
        let least = 24 + columns.div_ceil(8) + columns * 8;
        let fix = || Some("leave columns out in the plugin's configuration, or exclude the table".to_owned());
        if columns > MOST_COLUMNS {
            let says = format!("{columns} columns; a table of PostgreSQL has at most {MOST_COLUMNS}");
            findings.push(finding(Severity::Failed, &table.name.to_string(), says, fix()));
        } else if least > MOST_BYTES {
            let says = format!(
                "{columns} columns: a row without NULL may not fit a page of PostgreSQL, and then stops the task"
            );
            findings.push(finding(Severity::Warning, &table.name.to_string(), says, fix()));
        }
    }
    findings
}

fn names(tables: &[Arc<TargetTable>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for table in tables {
        if table.name.namespace.starts_with("pg_") {
            findings.push(finding(
                Severity::Failed,
                &table.name.to_string(),
                "PostgreSQL keeps schema names that begin with pg_ for itself",
                Some("map the database to another schema in the plugin's configuration".to_owned()),
            ));
        }
        let columns = table.columns.iter().map(|column| &column.name);
        for name in [&table.name.namespace, &table.name.name].into_iter().chain(columns) {
            if name.len() > MAX_BYTES {
                findings.push(finding(
                    Severity::Warning,
                    &table.name.to_string(),
                    format!("the name '{name}' is longer than {MAX_BYTES} bytes and becomes '{}'", fit(name)),
                    Some("give it a shorter name in the plugin's configuration".to_owned()),
                ));
            }
        }
    }
    findings
}

async fn settings(client: &Client) -> Result<Vec<Finding>> {
    let row = client
        .query_one(
            "SELECT pg_catalog.current_setting('server_encoding'), pg_catalog.pg_is_in_recovery(), \
             pg_catalog.current_setting('default_transaction_read_only')",
            &[],
        )
        .await
        .map_err(|error| translate(error, "the target's settings can't be read"))?;
    let (encoding, standby, read_only): (String, bool, String) = (row.get(0), row.get(1), row.get(2));
    let mut findings = vec![if encoding == "UTF8" {
        finding(Severity::Pass, "target server_encoding", encoding, None)
    } else {
        finding(
            Severity::Failed,
            "target server_encoding",
            format!("{encoding} can't hold every character"),
            Some("CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0".to_owned()),
        )
    }];
    if standby {
        findings.push(finding(
            Severity::Failed,
            "target pg_is_in_recovery",
            "the server is a standby and takes no writes",
            Some("name the primary in the target URL".to_owned()),
        ));
    } else if read_only == "on" {
        findings.push(finding(
            Severity::Failed,
            "target default_transaction_read_only",
            "transactions are read-only by default",
            Some("ALTER ROLE … SET default_transaction_read_only = off".to_owned()),
        ));
    }
    Ok(findings)
}

async fn foreign_tables(client: &Client, task: &str, tables: &[Arc<TargetTable>]) -> Result<Option<Finding>> {
    let mut foreign = existing::tables(client, task, tables).await?;
    foreign.retain(|table| !table.is_own);
    foreign.sort();
    Ok((!foreign.is_empty()).then(|| {
        let message = format!("{}: {}", existing::NOT_OURS, existing::list(&foreign));
        finding(Severity::Failed, "target tables", message, Some(existing::WAY_OUT.to_owned()))
    }))
}

async fn privileges(client: &Client, tables: &[Arc<TargetTable>]) -> Result<Vec<Finding>> {
    let failed = |error| translate(error, "the account's privileges can't be read");
    let wanted: BTreeSet<String> =
        tables.iter().map(|table| fit(&table.name.namespace)).chain(["_migration".to_owned()]).collect();
    let wanted: Vec<String> = wanted.into_iter().collect();
    let rows = client
        .query(
            "SELECT w.name, n.oid IS NOT NULL, \
                    CASE WHEN n.oid IS NULL \
                         THEN pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') \
                         ELSE pg_catalog.has_schema_privilege(n.oid, 'CREATE') END, \
                    pg_catalog.current_database()::text, current_user::text \
             FROM unnest($1::text[]) AS w(name) \
             LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = w.name",
            &[&wanted],
        )
        .await
        .map_err(failed)?;
    let refused = rows.iter().filter(|row| !row.get::<_, bool>(2)).map(|row| {
        let (schema, there): (String, bool) = (row.get(0), row.get(1));
        let (database, account): (String, String) = (row.get(3), row.get(4));
        let (quoted, account) = (crate::identifier::quote(&schema), crate::identifier::quote(&account));
        let database = crate::identifier::quote(&database);
        let (message, fix) = if there {
            (
                "the account may not create tables in the schema",
                format!("GRANT CREATE ON SCHEMA {quoted} TO {account}"),
            )
        } else {
            (
                "the account may not create the schema",
                format!("GRANT CREATE ON DATABASE {database} TO {account}"),
            )
        };
        finding(Severity::Failed, &format!("target schema {schema}"), message, Some(fix))
    });
    let mut findings: Vec<_> = refused.collect();
    if findings.is_empty() {
        findings.push(finding(
            Severity::Pass,
            "target privileges",
            "schemas and tables can be created",
            None,
        ));
    }
    Ok(findings)
}

async fn triggers(client: &Client, server: &Server, tables: &[Arc<TargetTable>]) -> Result<Vec<Finding>> {
    if may_silence_triggers(client, server.dialect).await? {
        return Ok(Vec::new());
    }
    let namespaces: Vec<String> = tables.iter().map(|table| fit(&table.name.namespace)).collect();
    let table_names: Vec<String> = tables.iter().map(|table| fit(&table.name.name)).collect();
    let row = client
        .query_one(
            "SELECT count(*) FROM pg_catalog.pg_trigger t \
             JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             JOIN (SELECT unnest($1::text[]) AS namespace, unnest($2::text[]) AS name) AS w \
               ON w.namespace = n.nspname AND w.name = c.relname \
             WHERE t.tgenabled <> 'D'",
            &[&namespaces, &table_names],
        )
        .await
        .map_err(|error| translate(error, "the target's triggers can't be read"))?;
    let triggers: i64 = row.get(0);
    let foreign_keys: usize = tables.iter().map(|table| table.foreign_keys.len()).sum();
    if triggers == 0 && foreign_keys == 0 {
        return Ok(vec![finding(
            Severity::Note,
            "target session_replication_role",
            "the account may not set it; the plan has no foreign keys and the tables no triggers, so it isn't needed",
            None,
        )]);
    }
    let fix = if server.dialect.is_opengauss() {
        "GRANT ALL PRIVILEGES TO the account, which makes it a system administrator, for the time of the migration"
    } else if server.version >= 150_000 {
        "GRANT SET ON PARAMETER session_replication_role TO the account (as a superuser)"
    } else {
        "use a superuser for the migration: before PostgreSQL 15 nobody else may set it"
    };
    Ok(vec![finding(
        Severity::Failed,
        "target session_replication_role",
        format!(
            "{foreign_keys} foreign keys of the plan and {triggers} triggers of the tables would act on changes \
             that the source has already carried through, and the account may not silence them"
        ),
        Some(fix.to_owned()),
    )])
}
