//! Changes of structure in the target, and the record of the source's tables, `source_table`.
//!
//! PostgreSQL's statements of structure are part of transactions. So one transaction holds the
//! statements, what is on record of the tables, their chunks and the plan, and the position: after a
//! crash either all of it is there or nothing.

use engine_core::batch::Batch;
use engine_core::column::Column;
use engine_core::failpoint::Failpoint;
use engine_core::plan::TargetTable;
use engine_core::position::{Position, Watermarks};
use engine_core::schema::{TableName, TableSchema};
use engine_core::source::ChunkRange;
use engine_core::structure::{ColumnOrigin, Evolution, Fill, RecordedTable, TargetAction, TargetEvolution};
use engine_core::target::ChunkRecord;
use engine_core::{Error, ErrorKind, Result};
use std::sync::Arc;
use tokio_postgres::{Client, GenericClient};

use crate::alter::{self, Fills, NULL, Step};
use crate::connect::Connector;
use crate::control::{self, Claim};
use crate::dialect::Dialect;
use crate::failure::{is_ambiguous, translate};
use crate::identifier::{fit, literal, qualified};
use crate::layout::TableLayout;
use crate::pg_type::PgType;
use crate::{apply_sql, array, existing, lanes};

/// Tables recorded by one statement.
const AT_ONCE: usize = 500;

fn unreadable(error: tokio_postgres::Error) -> Error {
    translate(error, "the target's record of the source's tables can't be read")
}

fn unwritable(error: tokio_postgres::Error) -> Error {
    translate(error, "the target's record of the source's tables can't be written")
}

/// The recorded tables of a task, by name.
pub(crate) async fn recorded(client: &Client, task: &str) -> Result<Vec<RecordedTable>> {
    if !existing::has_record(client, "source_table").await.map_err(unreadable)? {
        return Ok(Vec::new());
    }
    let rows = client
        .query("SELECT definition, as_of FROM _migration.source_table WHERE task = $1", &[&task])
        .await
        .map_err(unreadable)?;
    let mut tables = rows
        .iter()
        .map(|row| {
            let schema: TableSchema = serde_json::from_str(row.get(0)).map_err(|error| {
                Error::new(ErrorKind::State, "the target's record of a source table makes no sense")
                    .at("task", task)
                    .caused_by(error)
                    .help("go on with the version of the engine that wrote it, or begin a new task")
            })?;
            Ok(RecordedTable { schema, as_of: row.get::<_, Option<String>>(1).map(Position) })
        })
        .collect::<Result<Vec<_>>>()?;
    tables.sort_by(|left, right| left.schema.name.cmp(&right.schema.name));
    Ok(tables)
}

/// Records tables in place of any others.
pub(crate) async fn record(client: &Client, claim: &Claim, tables: &[RecordedTable]) -> Result<()> {
    begin(client, claim).await?;
    client
        .execute("DELETE FROM _migration.source_table WHERE task = $1", &[&claim.task])
        .await
        .map_err(unwritable)?;
    put(client, claim, tables).await?;
    client.batch_execute("COMMIT").await.map_err(unwritable)
}

async fn put(client: &Client, claim: &Claim, tables: &[RecordedTable]) -> Result<()> {
    for tables in tables.chunks(AT_ONCE) {
        let names: Vec<&TableName> = tables.iter().map(|table| &table.schema.name).collect();
        let namespaces: Vec<&str> = names.iter().map(|name| name.namespace.as_str()).collect();
        let names: Vec<&str> = names.iter().map(|name| name.name.as_str()).collect();
        let definitions = tables
            .iter()
            .map(|table| serde_json::to_string(&table.schema))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| {
                Error::new(ErrorKind::Internal, "a table can't be written down").caused_by(error)
            })?;
        let as_of: Vec<Option<&str>> =
            tables.iter().map(|table| table.as_of.as_ref().map(|position| position.0.as_str())).collect();
        client
            .execute(
                "DELETE FROM _migration.source_table AS t \
                 USING (SELECT unnest($2::text[]) AS namespace, unnest($3::text[]) AS name) AS n \
                 WHERE t.task = $1 AND t.namespace = n.namespace AND t.name = n.name",
                &[&claim.task, &namespaces, &names],
            )
            .await
            .map_err(unwritable)?;
        client
            .execute(
                "INSERT INTO _migration.source_table (task, namespace, name, definition, as_of) \
                 SELECT $1::text, unnest($2::text[]), unnest($3::text[]), unnest($4::text[]), unnest($5::text[])",
                &[&claim.task, &namespaces, &names, &definitions, &as_of],
            )
            .await
            .map_err(unwritable)?;
    }
    Ok(())
}

/// Begins a transaction in which nobody takes over the task.
async fn begin(client: &Client, claim: &Claim) -> Result<()> {
    let failed = |error| translate(error, "a transaction can't be begun");
    client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED").await.map_err(failed)?;
    let held = client
        .query_opt(
            "SELECT 1 FROM _migration.task WHERE name = $1 AND epoch = $2 FOR NO KEY UPDATE",
            &[&claim.task, &claim.epoch],
        )
        .await
        .map_err(failed)?;
    if held.is_some() { Ok(()) } else { Err(claim.lost()) }
}

/// Carries out a change of structure in one transaction.
pub(crate) async fn evolve(
    connector: &Connector,
    dialect: Dialect,
    claim: &Claim,
    evolution: &Evolution,
) -> Result<()> {
    let client = connector.connect().await?;
    begin(&client, claim).await?;
    require_own(&client, claim, evolution).await?;
    let fills = fills(&client, dialect, evolution).await?;
    for step in alter::steps(dialect, evolution, &fills)? {
        run(&client, step).await?;
    }
    for change in &evolution.changes {
        if let TargetAction::Execute(statements) = &change.action {
            for statement in statements {
                run(&client, Step::Run(statement.clone())).await?;
            }
        }
    }
    for change in &evolution.changes {
        if let Some(after) = &change.after {
            verify(&client, dialect, after).await?;
        }
    }
    keep_records(&client, claim, evolution).await?;
    lanes::move_to(&client, claim, &evolution.position).await?;
    Failpoint::StructureChanged.reach();
    let Err(error) = client.batch_execute("COMMIT").await else { return Ok(()) };
    let is_ambiguous = is_ambiguous(&error);
    let broken =
        translate(error, "a change of structure can't be committed").at("position", &evolution.position);
    if is_ambiguous && is_done(&connector.connect().await?, claim, evolution).await? {
        return Ok(());
    }
    Err(broken)
}

/// Whether the change was committed, asked after an answer was lost.
async fn is_done(client: &Client, claim: &Claim, evolution: &Evolution) -> Result<bool> {
    let row = client
        .query_opt(
            "SELECT plan_digest FROM _migration.task WHERE name = $1 AND epoch = $2 FOR UPDATE",
            &[&claim.task, &claim.epoch],
        )
        .await
        .map_err(|error| translate(error, "the target can't be asked for its plan"))?;
    let Some(row) = row else { return Err(claim.lost()) };
    Ok(row.get::<_, &str>(0) == evolution.new_digest
        && lanes::is_at(client, claim, &evolution.position).await?)
}

async fn run(client: &Client, step: Step) -> Result<()> {
    match step {
        Step::Run(statement) => client.batch_execute(&statement).await.map_err(|error| {
            translate(error, "a change of structure can't be carried out in the target")
                .at("target statement", statement.chars().take(300).collect::<String>())
        }),
        Step::RequireEmpty(table, why) => {
            let row = client
                .query_one(&format!("SELECT EXISTS (SELECT 1 FROM {})", qualified(&table)), &[])
                .await
                .map_err(|error| translate(error, "the target's rows can't be read").at("table", &table))?;
            if row.get(0) {
                return Err(Error::new(
                    ErrorKind::Unrepresentable,
                    "a column was added whose values in the rows that were there can't be told",
                )
                .at("table", table)
                .because(why));
            }
            Ok(())
        }
    }
}

/// Refuses to touch a table that is not the task's own.
async fn require_own(client: &Client, claim: &Claim, evolution: &Evolution) -> Result<()> {
    let touched = |change: &&TargetEvolution| change.action == TargetAction::Translate;
    let before: Vec<Arc<TargetTable>> =
        evolution.changes.iter().filter(touched).filter_map(|change| change.before.clone()).collect();
    let there = existing::tables(client, &claim.task, &before).await?;
    for table in &before {
        let name = (fit(&table.name.namespace), fit(&table.name.name));
        let own =
            there.iter().any(|known| known.is_own && (&known.namespace, &known.name) == (&name.0, &name.1));
        if !own {
            return Err(Error::new(
                ErrorKind::Precondition,
                "a table that changes is not one that this task created, or is gone",
            )
            .at("table", &table.name)
            .help("restore the table that the task created, then run the same command again"));
        }
    }
    Ok(())
}

/// The values of added columns, as the server writes them.
async fn fills(client: &Client, dialect: Dialect, evolution: &Evolution) -> Result<Fills> {
    let mut fills = Fills::new();
    for (number, change) in evolution.changes.iter().enumerate() {
        let (Some(_), Some(after), TargetAction::Translate) = (&change.before, &change.after, &change.action)
        else {
            continue;
        };
        for (ordinal, origin) in change.columns.iter().enumerate() {
            let ColumnOrigin::Added(fill) = origin else { continue };
            let computed = after.columns.get(ordinal).is_some_and(|column| column.generated.is_some());
            if computed {
                continue;
            }
            let text = match fill {
                Fill::Unknown(why) => Err(why.clone()),
                Fill::Value(value) => as_text(client, dialect, after, ordinal, value).await?,
            };
            fills.insert((number, ordinal), text);
        }
    }
    Ok(fills)
}

/// A value of a column as an expression; `Err` says why the column can't hold it.
async fn as_text(
    client: &Client,
    dialect: Dialect,
    table: &Arc<TargetTable>,
    ordinal: usize,
    value: &Column,
) -> Result<Result<String, String>> {
    if value.is_null(0) {
        return Ok(Ok(NULL.to_owned()));
    }
    let layout = TableLayout::resolve(client, dialect, table).await?;
    let position = layout.columns.iter().position(|column| column.ordinal == ordinal);
    let written = position.and_then(|position| Some((position, layout.columns.get(position)?)));
    let Some((position, column)) = written else {
        return Err(Error::new(ErrorKind::Internal, "a column that is added is not written"));
    };
    let batch = Batch { rows: 1, columns: vec![value.clone()] };
    let checked = layout.check_columns(&batch, &[position]);
    let parameters = match checked.and_then(|()| array::row(&layout, &batch, &[position], 0)) {
        Ok(parameters) => parameters,
        Err(error) => return Ok(Err(error.why().unwrap_or("the value has no representation").to_owned())),
    };
    let sql = format!("SELECT ({})::pg_catalog.text", apply_sql::scalar(column, 1));
    let statement = client.prepare(&sql).await.map_err(unreadable)?;
    let parameters =
        parameters.iter().map(|parameter| parameter as &(dyn tokio_postgres::types::ToSql + Sync));
    let row = client.query_one(&statement, &parameters.collect::<Vec<_>>()).await.map_err(|error| {
        translate(error, "the value of a new column can't be written").at("table", &table.name)
    })?;
    Ok(Ok(format!("{}::{}", literal(row.get(0)), column.type_text)))
}

/// Fails unless a table has the columns that rows are written to.
pub(crate) async fn verify(client: &impl GenericClient, dialect: Dialect, table: &TargetTable) -> Result<()> {
    let rows = client
        .query(
            "SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod) \
             FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped",
            &[&fit(&table.name.namespace), &fit(&table.name.name)],
        )
        .await
        .map_err(|error| translate(error, "the target's columns can't be read").at("table", &table.name))?;
    for ordinal in table.written_columns() {
        let Some(column) = table.columns.get(ordinal) else { continue };
        let name = fit(&column.name);
        let found = rows.iter().find(|row| row.get::<_, &str>(0) == name);
        let differs = |why: String| {
            Error::new(ErrorKind::Divergence, "the target's table is not as planned")
                .at("table", &table.name)
                .at("column", &column.name)
                .because(why)
                .help("let the plugin, and statements of its own, make what its plan for the table says")
        };
        let Some(row) = found else { return Err(differs("there is no such column".to_owned())) };
        let planned = dialect.stored(PgType::parse(&column.target_type));
        let there = PgType::parse(row.get(1));
        let comparable = !matches!(planned, PgType::Named(_)) && !matches!(there, PgType::Named(_));
        if comparable && planned != there {
            return Err(differs(format!(
                "its type is {}, not {}",
                row.get::<_, &str>(1),
                column.target_type
            )));
        }
    }
    Ok(())
}

/// Brings the records of tables, chunks and plan to the structure after the change.
async fn keep_records(client: &Client, claim: &Claim, evolution: &Evolution) -> Result<()> {
    let failed = |error| translate(error, "the target's record of the task can't be written");
    // Aside first: a table may take the name of another.
    for (number, change) in evolution.changes.iter().enumerate() {
        let aside = format!("\u{1}{number}");
        if let Some(source) = &change.source {
            client
                .execute(
                    "UPDATE _migration.chunk SET namespace = $4 WHERE task = $1 AND namespace = $2 AND name = $3",
                    &[&claim.task, &source.namespace, &source.name, &aside],
                )
                .await
                .map_err(failed)?;
        }
        if let (Some(before), TargetAction::Translate) = (&change.before, &change.action) {
            client
                .execute(
                    "UPDATE _migration.owned_table SET namespace = $4 \
                     WHERE task = $1 AND namespace = $2 AND name = $3",
                    &[&claim.task, &fit(&before.name.namespace), &fit(&before.name.name), &aside],
                )
                .await
                .map_err(failed)?;
        }
    }
    for (number, change) in evolution.changes.iter().enumerate() {
        let aside = format!("\u{1}{number}");
        match &change.after {
            None => {
                for table in ["chunk", "owned_table"] {
                    let sql = format!("DELETE FROM _migration.{table} WHERE task = $1 AND namespace = $2");
                    client.execute(&sql, &[&claim.task, &aside]).await.map_err(failed)?;
                }
            }
            Some(after) => {
                client
                    .execute(
                        "UPDATE _migration.chunk SET namespace = $3, name = $4 WHERE task = $1 AND namespace = $2",
                        &[&claim.task, &aside, &after.source.namespace, &after.source.name],
                    )
                    .await
                    .map_err(failed)?;
                let (namespace, name) = (fit(&after.name.namespace), fit(&after.name.name));
                client
                    .execute(
                        "UPDATE _migration.owned_table SET namespace = $3, name = $4 \
                         WHERE task = $1 AND namespace = $2",
                        &[&claim.task, &aside, &namespace, &name],
                    )
                    .await
                    .map_err(failed)?;
                if change.before.is_none() {
                    begin_records(client, claim, after, &evolution.position).await?;
                }
            }
        }
    }
    for name in &evolution.forgotten {
        client
            .execute(
                "DELETE FROM _migration.source_table WHERE task = $1 AND namespace = $2 AND name = $3",
                &[&claim.task, &name.namespace, &name.name],
            )
            .await
            .map_err(failed)?;
    }
    put(client, claim, &evolution.recorded).await?;
    let moved = client
        .execute(
            "UPDATE _migration.task SET plan_digest = $1 WHERE name = $2 AND epoch = $3 AND plan_digest = $4",
            &[&evolution.new_digest, &claim.task, &claim.epoch, &evolution.old_digest],
        )
        .await
        .map_err(failed)?;
    if moved == 1 { Ok(()) } else { Err(claim.lost()) }
}

/// The records of a table that comes into being: the task's own, and copied completely.
async fn begin_records(
    client: &Client,
    claim: &Claim,
    table: &TargetTable,
    position: &Position,
) -> Result<()> {
    existing::record_own(client, claim, table)
        .await
        .map_err(|error| translate(error, "the target's record of the task can't be written"))?;
    if !table.with_rows {
        return Ok(());
    }
    let watermarks = Watermarks { low: position.clone(), high: position.clone() };
    let range = ChunkRange { after: None, to: None };
    let record = ChunkRecord { table: table.source.clone(), number: 0, range, rows: 0, watermarks };
    control::insert_chunk(client, claim, &record).await
}
