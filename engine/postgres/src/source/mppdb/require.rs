//! What has to be so for the tables of a task to be followed by `mppdb_decoding`.

use engine_core::logical::LogicalType;
use engine_core::schema::{ColumnSchema, TableName, TableSchema};
use engine_core::source::StreamTable;
use engine_core::{Error, ErrorKind, Result};
use std::collections::{HashMap, HashSet};
use tokio_postgres::Client;

use crate::failure::translate;
use crate::family::Family;
use crate::opengauss::decoding::Style;
use crate::source::catalog;

/// Names of types by their numbers, as records say them.
pub(super) type TypeNames = HashMap<u32, String>;

/// What the catalog says when a stream begins.
pub(in crate::source) struct Facts {
    pub(super) type_names: TypeNames,
    /// Schemas in which nothing is anybody's data.
    pub(super) schemas: HashSet<String>,
    /// Relations elsewhere that are none.
    pub(super) relations: HashSet<TableName>,
}

impl Facts {
    /// Asks for the types of these tables.
    pub(in crate::source) async fn read(client: &Client, tables: &[StreamTable]) -> Result<Self> {
        let failed = |error| translate(error, "the source's catalog can't be read");
        let columns = tables.iter().flat_map(|table| &table.schema.columns);
        let mut types: Vec<u32> = columns.filter_map(catalog::type_number).collect();
        types.sort_unstable();
        types.dedup();
        let rows = client
            .query(
                "SELECT t.oid, pg_catalog.format_type(t.oid, NULL) FROM pg_catalog.pg_type t WHERE t.oid = ANY ($1)",
                &[&types],
            )
            .await
            .map_err(failed)?;
        let type_names = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let (user_schemas, tables) = (Family::OpenGauss.user_schemas(), Family::OpenGauss.tables());
        let query =
            format!("SELECT n.nspname::text FROM pg_catalog.pg_namespace n WHERE NOT ({user_schemas})");
        let schemas = client.query(&query, &[]).await.map_err(failed)?.iter().map(|row| row.get(0)).collect();
        let query = format!(
            "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind = 'r' AND {user_schemas} AND NOT ({tables})"
        );
        let rows = client.query(&query, &[]).await.map_err(failed)?;
        let relations =
            rows.iter().map(|row| TableName::new(row.get::<_, &str>(0), row.get::<_, &str>(1))).collect();
        Ok(Self { type_names, schemas, relations })
    }
}

/// Fails for a table that is not there any more, or that doesn't log whole rows: its changes don't say what they are.
pub(in crate::source) async fn tables(client: &Client, wanted: &HashSet<TableName>) -> Result<()> {
    let query = format!(
        "SELECT n.nspname::text, c.relname::text, c.relreplident::text FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE {}",
        Family::OpenGauss.tables()
    );
    let rows = client
        .query(&query, &[])
        .await
        .map_err(|error| translate(error, "the source's tables can't be listed"))?;
    let there: HashMap<TableName, bool> = rows
        .iter()
        .map(|row| {
            (TableName::new(row.get::<_, &str>(0), row.get::<_, &str>(1)), row.get::<_, &str>(2) == "f")
        })
        .collect();
    for table in wanted {
        match there.get(table) {
            Some(true) => {}
            Some(false) => {
                return Err(Error::new(
                    ErrorKind::Precondition,
                    "a table of the task does not log whole rows any more",
                )
                .at("table", table)
                .because("its replica identity is not FULL")
                .help(format!(
                    "{}; what was changed meanwhile may be lost: begin a new task with another --name",
                    catalog::full_identity(table)
                )));
            }
            None => {
                return Err(Error::new(ErrorKind::Divergence, "a table of the task is not there any more")
                    .at("table", table)
                    .because("it was dropped or renamed: mppdb_decoding knows tables by their names alone")
                    .help("begin a new task with another --name"));
            }
        }
    }
    Ok(())
}

/// Fails where a style can't say what a table has.
pub(in crate::source) fn sayable(style: Style, has_dolphin: bool, table: &TableSchema) -> Result<()> {
    let is_text = matches!(style, Style::Text { .. });
    let name = &table.name;
    if is_text && (name.namespace.contains(' ') || name.name.contains(' ')) {
        return Err(Error::new(ErrorKind::Usage, "the text style can't say the name of a table")
            .at("table", name)
            .because("it writes names without quotes, and this one has a space")
            .help("use decode-style=binary or json"));
    }
    let lies = has_dolphin && (is_text || matches!(style, Style::Json { .. }));
    let boolean = |column: &&ColumnSchema| column.logical == LogicalType::Boolean;
    if let Some(column) = table.columns.iter().find(boolean).filter(|_| lies) {
        return Err(Error::new(ErrorKind::Usage, "the style says false for every boolean")
            .at("table", name)
            .at("column", &column.name)
            .because("the database has the extension dolphin, whose booleans are 1 and 0")
            .help("use decode-style=binary, decoding=mppdb-serial, or decoding=pgoutput"));
    }
    Ok(())
}

/// The server's own settings, by which a parallel decoding writes values.
pub(in crate::source) struct Settings(HashMap<String, String>);

impl Settings {
    /// Asks for them.
    pub(in crate::source) async fn read(client: &Client) -> Result<Self> {
        let rows = client
            .query(
                "SELECT name::text, reset_val::text FROM pg_catalog.pg_settings \
                 WHERE name IN ('DateStyle', 'IntervalStyle', 'TimeZone', 'bytea_output')",
                &[],
            )
            .await
            .map_err(|error| translate(error, "the source's settings can't be read"))?;
        let settings = rows.iter().map(|row| (row.get(0), row.get::<_, Option<String>>(1)));
        Ok(Self(settings.map(|(name, value)| (name, value.unwrap_or_default())).collect()))
    }

    fn value(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Fails where they give values another text than a read has.
    pub(in crate::source) fn require(&self) -> Result<()> {
        for (name, wanted) in [("DateStyle", "ISO"), ("IntervalStyle", "postgres"), ("bytea_output", "hex")] {
            let value = self.value(name);
            let has_other_words = name == "IntervalStyle" && value.starts_with("postgres_verbose");
            if !value.starts_with(wanted) || has_other_words {
                return Err(Error::new(
                    ErrorKind::Precondition,
                    "a parallel decoding would write values in another form",
                )
                .at("setting", name)
                .because("it goes by the server's settings, whatever the session's are")
                .help(format!(
                    "have {name} be {wanted} in postgresql.conf, or use decoding=mppdb-serial or pgoutput"
                )));
            }
        }
        Ok(())
    }

    /// Fails where they give values of a table another zone than a read has.
    pub(in crate::source) fn require_zone(&self, table: &TableSchema) -> Result<()> {
        if ["UTC", "Etc/UTC", "GMT", "Etc/GMT", "UCT", "Zulu"].contains(&self.value("TimeZone")) {
            return Ok(());
        }
        // A timestamp by itself says how far its zone is off.
        let has_hidden_zone = |column: &&ColumnSchema| {
            !matches!(column.logical, LogicalType::Timestamp { .. } | LogicalType::Time { .. })
                && ["timestamp", "tstzrange", "abstime"].iter().any(|name| column.native.contains(name))
        };
        match table.columns.iter().find(has_hidden_zone) {
            None => Ok(()),
            Some(column) => Err(Error::new(
                ErrorKind::Precondition,
                "a parallel decoding would write values in another zone",
            )
            .at("table", &table.name)
            .at("column", &column.name)
            .because("it goes by the server's TimeZone, whatever the session's is")
            .help("have TimeZone be UTC in postgresql.conf, or use decoding=mppdb-serial or pgoutput")),
        }
    }
}
