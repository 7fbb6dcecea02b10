//! The tables of a source, from `information_schema`: a fixed number of queries however many
//! tables there are.

mod default;
mod foreign_key;
mod index;
mod types;

use std::collections::{HashMap, HashSet};

use engine_core::schema::{ColumnSchema, TableName, TableSchema};
use engine_core::selection::Selection;
use engine_core::{Error, ErrorKind, Result};
use mysql_async::prelude::{FromValue, Queryable};
use mysql_async::{Conn, Row};

pub(crate) use self::types::{NativeType, attributes, logical_type};
use crate::error::server_error;
use crate::server::{Flavor, Server};
use crate::sql;

/// Databases of the server itself, and the engine's own on a server that is a target too.
const SYSTEM: &str = "'mysql', 'information_schema', 'performance_schema', 'sys', '_migration'";

/// Tables by name, while the parts of their schemas come in.
struct Tables {
    list: Vec<TableSchema>,
    by_name: HashMap<TableName, usize>,
}

impl Tables {
    fn get_mut(&mut self, name: &TableName) -> Option<&mut TableSchema> {
        self.by_name.get(name).and_then(|&index| self.list.get_mut(index))
    }
}

/// Reads the base tables of the selection, by name.
pub(crate) async fn read(
    conn: &mut Conn,
    server: &Server,
    selection: &Selection,
) -> Result<Vec<TableSchema>> {
    let (selection, scope) = scope(server, selection);
    if let Some(database) = &selection.database {
        require_database(conn, database).await?;
    }
    let mut tables = read_tables(conn, &selection, &scope).await?;
    read_columns(conn, server, &mut tables, &scope).await?;
    index::read(conn, server, &mut tables, &scope).await?;
    foreign_key::read(conn, &mut tables, &scope).await?;
    if let Some(empty) = tables.list.iter().find(|table| table.columns.is_empty()) {
        return Err(Error::new(ErrorKind::Precondition, "the table's columns can't be read")
            .at("table", &empty.name)
            .because("it was dropped just now, or the account may not see them")
            .help("grant SELECT on the table, or exclude it"));
    }
    Ok(tables.list)
}

/// The selection in the server's own spelling, and the condition on a database's name to follow
/// `table_schema`.
pub(crate) fn scope(server: &Server, selection: &Selection) -> (Selection, String) {
    // Servers that fold names store them in lower case and compare them so.
    let database = selection.database.as_ref().map(|database| match server.lower_case_table_names {
        0 => database.clone(),
        _ => database.to_lowercase(),
    });
    let scope = match &database {
        Some(database) => format!("= {}", sql::literal(database)),
        None => format!("NOT IN ({SYSTEM})"),
    };
    (Selection { database, ..selection.clone() }, scope)
}

async fn require_database(conn: &mut Conn, database: &str) -> Result<()> {
    let query =
        format!("SELECT 1 FROM information_schema.schemata WHERE schema_name = {}", sql::literal(database));
    if rows(conn, &query).await?.is_empty() {
        return Err(Error::new(
            ErrorKind::Usage,
            "the source has no such database, or the account may not see it",
        )
        .at("database", database)
        .help("check the name in the source URL; SHOW DATABASES lists what the account sees"));
    }
    Ok(())
}

async fn read_tables(conn: &mut Conn, selection: &Selection, scope: &str) -> Result<Tables> {
    let query = format!(
        "SELECT table_schema, table_name, table_type, table_comment, table_collation, table_rows, data_length, auto_increment \
         FROM information_schema.tables WHERE table_schema {scope} ORDER BY table_schema, table_name"
    );
    let mut tables = Tables { list: Vec::new(), by_name: HashMap::new() };
    for row in rows(conn, &query).await? {
        let mut row = Fields::new(row);
        let name = TableName::new(row.text()?, row.text()?);
        if !selection.matches(&name) {
            continue;
        }
        match row.text()?.as_str() {
            "BASE TABLE" => {}
            "SYSTEM VERSIONED" => {
                return Err(Error::new(
                    ErrorKind::Unrepresentable,
                    "a system-versioned table can't be moved",
                )
                .at("table", &name)
                .because("its history rows have no place in the plan")
                .help("exclude the table"));
            }
            _ => continue,
        }
        let table = TableSchema {
            name: name.clone(),
            columns: Vec::new(),
            indexes: Vec::new(),
            foreign_keys: Vec::new(),
            comment: row.text()?,
            collation: row.optional()?,
            row_estimate: row.optional()?,
            byte_estimate: row.optional()?,
            next_identity: row.optional()?,
        };
        tables.by_name.insert(name, tables.list.len());
        tables.list.push(table);
    }
    Ok(tables)
}

async fn read_columns(conn: &mut Conn, server: &Server, tables: &mut Tables, scope: &str) -> Result<()> {
    let json = json_columns(conn, server, scope).await?;
    let query = format!(
        "SELECT table_schema, table_name, column_name, column_default, is_nullable, data_type, \
         character_maximum_length, character_octet_length, numeric_precision, numeric_scale, datetime_precision, \
         character_set_name, collation_name, column_type, extra, generation_expression, column_comment \
         FROM information_schema.columns WHERE table_schema {scope} \
         ORDER BY table_schema, table_name, ordinal_position"
    );
    for row in rows(conn, &query).await? {
        let mut row = Fields::new(row);
        let table_name = TableName::new(row.text()?, row.text()?);
        let Some(table) = tables.get_mut(&table_name) else { continue };
        let column =
            read_column(&mut row, server, |column| json.contains(&(table_name.clone(), column.to_owned())))
                .map_err(|error| error.at("table", &table_name))?;
        table.columns.push(column);
    }
    Ok(())
}

fn read_column(row: &mut Fields, server: &Server, is_json: impl Fn(&str) -> bool) -> Result<ColumnSchema> {
    let name = row.text()?;
    let default: Option<String> = row.optional()?;
    let nullable = row.text()? == "YES";
    let native = NativeType {
        data_type: row.text()?.to_ascii_lowercase(),
        max_chars: row.optional()?,
        max_bytes: row.optional()?,
        precision: row.optional()?,
        scale: row.optional()?,
        datetime_precision: row.optional()?,
        charset: row.optional()?,
        collation: row.optional()?,
        column_type: row.text()?,
        json_check: is_json(&name),
    };
    let extra = row.text()?;
    let generation: Option<String> = row.optional()?;
    let comment = row.text()?;
    let logical = logical_type(&native, server.flavor).map_err(|why| {
        Error::new(ErrorKind::Unrepresentable, "the column's type can't be moved")
            .at("column", &name)
            .because(why)
            .help("exclude the table, or change the column on the source")
    })?;
    let lower_extra = extra.to_ascii_lowercase();
    let generated = generation.filter(|expression| !expression.is_empty());
    Ok(ColumnSchema {
        attributes: attributes(&native, generated.as_ref().map(|_| extra.as_str())),
        default: match &generated {
            Some(_) => None,
            None => default::normalise(default.as_deref(), &extra, &logical, server.flavor),
        },
        name,
        logical,
        native: native.column_type,
        nullable,
        on_update_now: lower_extra.contains("on update"),
        generated: generated.map(|expression| default::expression(&expression, server.flavor)),
        identity: lower_extra.contains("auto_increment"),
        invisible: lower_extra.contains("invisible"),
        comment,
        target_type: None,
    })
}

/// MariaDB's JSON columns: `longtext` whose own check is exactly `json_valid(column)`.
async fn json_columns(conn: &mut Conn, server: &Server, scope: &str) -> Result<HashSet<(TableName, String)>> {
    if server.flavor != Flavor::MariaDb {
        return Ok(HashSet::new());
    }
    let query = format!(
        "SELECT constraint_schema, table_name, check_clause FROM information_schema.check_constraints \
         WHERE constraint_schema {scope}"
    );
    let mut json = HashSet::new();
    for row in rows(conn, &query).await? {
        let mut row = Fields::new(row);
        let table = TableName::new(row.text()?, row.text()?);
        let clause = row.text()?;
        if let Some(column) = clause.strip_prefix("json_valid(`").and_then(|rest| rest.strip_suffix("`)")) {
            json.insert((table, column.replace("``", "`")));
        }
    }
    Ok(json)
}

async fn rows(conn: &mut Conn, query: &str) -> Result<Vec<Row>> {
    conn.query(query).await.map_err(|error| server_error("the source's tables can't be listed", error))
}

/// The fields of a row of `information_schema`, taken one after the other.
struct Fields {
    row: Row,
    next: usize,
}

impl Fields {
    fn new(row: Row) -> Self {
        Self { row, next: 0 }
    }

    fn optional<T: FromValue>(&mut self) -> Result<Option<T>> {
        let index = self.next;
        self.next += 1;
        match self.row.take_opt::<Option<T>, usize>(index) {
            Some(Ok(value)) => Ok(value),
            _ => Err(Error::new(ErrorKind::Internal, "information_schema answered in an unexpected shape")
                .because(format!("field {index} is missing or of another type"))),
        }
    }

    /// Text; empty for NULL.
    fn text(&mut self) -> Result<String> {
        Ok(self.optional()?.unwrap_or_default())
    }
}
