//! Views, triggers, routines and events as statements that create them anew.
//!
//! The server prints a view in words of its own, and the others as somebody wrote them, in the character set
//! that they wrote in. What the text alone doesn't say is read beside it: with whose rights the object runs,
//! the mode, character sets, collations and time zone of the session that made it. Names of the database that
//! an object is in are left out of a view by a session that has that database selected.
//!
//! Of triggers and events the head is written anew from `information_schema` and the body is taken from
//! there, once it is seen to be the same text: as it is converted there, literals in a character set of
//! their own may not be.

use engine_core::finding::{Finding, Severity};
use engine_core::object::{DatabaseObject, ObjectKind};
use engine_core::schema::TableName;
use engine_core::selection::Selection;
use engine_core::{Error, ErrorKind, Result};
use mysql_async::prelude::{FromValue, Queryable};
use mysql_async::{Conn, Row};

use crate::catalog;
use crate::charset::Charsets;
use crate::error::server_error;
use crate::server::Server;
use crate::sql;

/// Reads the objects of a selection on a connection whose selected database it changes.
pub(crate) async fn read(
    conn: &mut Conn,
    server: &Server,
    charsets: &Charsets,
    selection: &Selection,
) -> Result<(Vec<DatabaseObject>, Vec<Finding>)> {
    let (selection, scope) = catalog::scope(server, selection);
    let mut found = list(conn, &scope).await?;
    found.retain(|listed| match listed.object.kind {
        ObjectKind::View => selection.matches(&listed.object.name),
        ObjectKind::Trigger => {
            let table = listed.object.table.as_deref().unwrap_or_default();
            selection.matches(&TableName::new(listed.object.name.namespace.as_str(), table))
        }
        // They belong to a database; --include and --exclude are about tables.
        _ => true,
    });
    let (mut objects, mut findings) = (Vec::with_capacity(found.len()), Vec::new());
    for listed in found {
        let (kind, name) = (listed.object.kind, listed.object.name.clone());
        match listed.complete(conn, charsets).await? {
            Ok(object) => objects.push(object),
            Err(why) => findings.push(Finding {
                severity: Severity::Warning,
                subject: format!("{kind} {name}"),
                message: format!("it stays behind: {why}"),
                fix: Some("write it anew for the target".to_owned()),
            }),
        }
    }
    Ok((objects, findings))
}

/// An object as `information_schema` has it.
struct Listed {
    /// Without its definition.
    object: DatabaseObject,
    /// The head of its definition, where that is written anew.
    head: String,
    /// The body, where it is taken from the list.
    body: String,
}

const FUNCTIONS: &str = "SELECT routine_schema, routine_name, definer, routine_type, security_type, sql_mode, \
    character_set_client, collation_connection, database_collation FROM information_schema.routines \
    WHERE routine_schema";
const VIEWS: &str = "SELECT table_schema, table_name, definer, security_type, character_set_client, \
    collation_connection FROM information_schema.views WHERE table_schema";
const EVENTS: &str = "SELECT event_schema, event_name, definer, event_type, CAST(execute_at AS CHAR), \
    interval_value, interval_field, CAST(starts AS CHAR), CAST(ends AS CHAR), on_completion, event_comment, status, \
    event_definition, time_zone, sql_mode, character_set_client, collation_connection, database_collation \
    FROM information_schema.events WHERE event_schema";
const TRIGGERS: &str = "SELECT trigger_schema, trigger_name, definer, event_object_table, action_timing, \
    event_manipulation, action_statement, sql_mode, character_set_client, collation_connection, database_collation \
    FROM information_schema.triggers WHERE trigger_schema";

async fn list(conn: &mut Conn, scope: &str) -> Result<Vec<Listed>> {
    let mut found = Vec::new();
    for row in rows(conn, &format!("{FUNCTIONS} {scope} ORDER BY routine_type, 1, 2")).await? {
        found.push(routine(row)?);
    }
    for row in rows(conn, &format!("{VIEWS} {scope} ORDER BY 1, 2")).await? {
        let mut row = Fields(row, 0);
        let object = row.object(ObjectKind::View)?;
        found.push(row.environment(object, &["security", "character_set_client", "collation_connection"])?);
    }
    for row in rows(conn, &format!("{EVENTS} {scope} ORDER BY 1, 2")).await? {
        found.push(event(row)?);
    }
    // Those of one occasion go off in the order in which they were made.
    let order =
        "ORDER BY trigger_schema, event_object_table, action_timing, event_manipulation, action_order";
    for row in rows(conn, &format!("{TRIGGERS} {scope} {order}")).await? {
        found.push(trigger(row)?);
    }
    Ok(found)
}

const OF_SESSION: [&str; 4] =
    ["sql_mode", "character_set_client", "collation_connection", "database_collation"];

fn routine(row: Row) -> Result<Listed> {
    let mut row = Fields(row, 0);
    let mut object = row.object(ObjectKind::Procedure)?;
    let kind = row.text()?;
    if kind == "FUNCTION" {
        object.kind = ObjectKind::Function;
    }
    let [mode, client, connection, database] = OF_SESSION;
    let mut listed = row.environment(object, &["security", mode, client, connection, database])?;
    // MariaDB's packages are listed here too, and are nothing that others have.
    if !matches!(kind.as_str(), "FUNCTION" | "PROCEDURE") {
        listed.head = kind;
    }
    Ok(listed)
}

fn event(row: Row) -> Result<Listed> {
    let mut row = Fields(row, 0);
    let object = row.object(ObjectKind::Event)?;
    let (kind, at) = (row.text()?, row.optional::<String>()?);
    let (interval, unit): (Option<String>, _) = (row.optional()?, row.optional::<String>()?);
    let (starts, ends): (Option<String>, Option<String>) = (row.optional()?, row.optional()?);
    let (completion, comment, status, body) = (row.text()?, row.text()?, row.text()?, row.text()?);
    let schedule = if kind == "ONE TIME" {
        format!("AT {}", sql::literal(&at.unwrap_or_default()))
    } else {
        let mut schedule = format!("EVERY {} {}", interval.unwrap_or_default(), unit.unwrap_or_default());
        for (word, moment) in [("STARTS", starts), ("ENDS", ends)] {
            if let Some(moment) = moment {
                schedule = format!("{schedule} {word} {}", sql::literal(&moment));
            }
        }
        schedule
    };
    let name = sql::identifier(&object.name.name);
    let mut listed = row.environment(
        object,
        &["time_zone", "sql_mode", "character_set_client", "collation_connection", "database_collation"],
    )?;
    let plain_backslash = listed.object.environment.iter().any(|(name, value)| {
        name == "sql_mode" && value.split(',').any(|mode| mode == "NO_BACKSLASH_ESCAPES")
    });
    let comment = match comment.as_str() {
        "" => String::new(),
        comment if plain_backslash => format!(" COMMENT '{}'", comment.replace('\'', "''")),
        comment => format!(" COMMENT {}", sql::literal(comment)),
    };
    listed.object.environment.push(("status".to_owned(), status));
    listed.head =
        format!("CREATE EVENT {name} ON SCHEDULE {schedule} ON COMPLETION {completion} DISABLE{comment} DO ");
    listed.body = body;
    Ok(listed)
}

fn trigger(row: Row) -> Result<Listed> {
    let mut row = Fields(row, 0);
    let mut object = row.object(ObjectKind::Trigger)?;
    let (table, timing, occasion, body) = (row.text()?, row.text()?, row.text()?, row.text()?);
    let head = format!(
        "CREATE TRIGGER {} {timing} {occasion} ON {} FOR EACH ROW ",
        sql::identifier(&object.name.name),
        sql::identifier(&table)
    );
    object.table = Some(table);
    let mut listed = row.environment(object, &OF_SESSION)?;
    (listed.head, listed.body) = (head, body);
    Ok(listed)
}

impl Listed {
    /// The object with its definition, or why it has none that can be carried over.
    async fn complete(self, conn: &mut Conn, charsets: &Charsets) -> Result<Result<DatabaseObject, String>> {
        let Self { mut object, head, body } = self;
        let (kind, name) = (object.kind, object.name.clone());
        if kind != ObjectKind::Event && kind != ObjectKind::Trigger && !head.is_empty() {
            return Ok(Err(format!("it is a {}, which is not carried over", head.to_lowercase())));
        }
        let Some(printed) = printed(conn, kind, &name, charsets).await? else {
            return Ok(Err("the account may not see its text".to_owned()));
        };
        let printed = match printed {
            Ok(printed) => printed,
            Err(why) => return Ok(Err(why)),
        };
        let definition = match kind {
            ObjectKind::Event | ObjectKind::Trigger => {
                if !printed.ends_with(&body) {
                    return Ok(
                        Err("its text can't be told apart from how the server converts it".to_owned()),
                    );
                }
                Some(format!("{head}{body}"))
            }
            ObjectKind::View => view(&printed).map(|(algorithm, definition)| {
                object.environment.push(("algorithm".to_owned(), algorithm));
                definition
            }),
            ObjectKind::Function | ObjectKind::Procedure => without_definer(&printed),
        };
        Ok(match definition {
            Some(definition) => Ok(DatabaseObject { definition, ..object }),
            None => Err("the server prints it in a form that the engine doesn't know".to_owned()),
        })
    }
}

/// What `SHOW CREATE` prints; `None` when the account may not see it.
async fn printed(
    conn: &mut Conn,
    kind: ObjectKind,
    name: &TableName,
    charsets: &Charsets,
) -> Result<Option<Result<String, String>>> {
    let failed =
        |error| server_error(format!("the text of a {kind} can't be read"), error).at("object", name);
    conn.query_drop(format!("USE {}", sql::identifier(&name.namespace))).await.map_err(failed)?;
    let statement = format!("SHOW CREATE {} {}", kind.name().to_uppercase(), sql::identifier(&name.name));
    let row: Option<Row> = conn.query_first(statement).await.map_err(failed)?;
    // Of a view the second field, of a routine or a trigger the third, of an event the fourth.
    let text = match kind {
        ObjectKind::View => 1,
        ObjectKind::Function | ObjectKind::Procedure | ObjectKind::Trigger => 2,
        ObjectKind::Event => 3,
    };
    let Some(row) = row else { return Ok(None) };
    let mut row = Fields(row, text);
    let Some(raw) = row.optional::<Vec<u8>>()? else { return Ok(None) };
    let client = row.text()?;
    if client != "binary" && charsets.require(conn, [client.as_str()]).await.is_err() {
        return Ok(Some(Err(format!("its text is in {client}, which the engine can't read"))));
    }
    let mut text = Vec::with_capacity(raw.len());
    let decoded = match charsets.by_name(&client) {
        Some(charset) => charset.decode_into(&raw, &mut text).map_err(|error| error.to_string()),
        None => Err(format!("its text is in {client}")),
    };
    Ok(Some(decoded.and_then(|()| String::from_utf8(text).map_err(|error| error.to_string()))))
}

/// Algorithm and definition of `CREATE ALGORITHM=… DEFINER=… SQL SECURITY … VIEW …`.
fn view(printed: &str) -> Option<(String, String)> {
    let rest = printed.strip_prefix("CREATE ALGORITHM=")?;
    let (algorithm, rest) = rest.split_once(' ')?;
    let rest = after_definer(rest)?.strip_prefix("SQL SECURITY ")?;
    let (_, rest) = rest.split_once(' ')?;
    rest.starts_with("VIEW ").then(|| (algorithm.to_owned(), format!("CREATE {rest}")))
}

/// A definition without the account that is told beside it.
fn without_definer(printed: &str) -> Option<String> {
    after_definer(printed.strip_prefix("CREATE ")?).map(|rest| format!("CREATE {rest}"))
}

/// What follows ``DEFINER=`account`@`host` ``, or nothing of the kind.
fn after_definer(text: &str) -> Option<&str> {
    let Some(rest) = text.strip_prefix("DEFINER=") else { return Some(text) };
    let rest = after_name(rest)?;
    // A role has no host.
    let rest = match rest.strip_prefix('@') {
        Some(host) => after_name(host)?,
        None => rest,
    };
    rest.strip_prefix(' ')
}

/// What follows a quoted name.
fn after_name(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '`' | '"'))?;
    let mut rest = text.get(1..)?;
    loop {
        let end = rest.find(quote)?;
        rest = rest.get(end + 1..)?;
        match rest.strip_prefix(quote) {
            Some(doubled) => rest = doubled,
            None => return Some(rest),
        }
    }
}

async fn rows(conn: &mut Conn, query: &str) -> Result<Vec<Row>> {
    conn.query(query)
        .await
        .map_err(|error| server_error("the views, triggers, routines and events can't be listed", error))
}

/// The fields of a row, from a place on.
struct Fields(Row, usize);

impl Fields {
    fn optional<T: FromValue>(&mut self) -> Result<Option<T>> {
        let index = self.1;
        self.1 += 1;
        match self.0.take_opt::<Option<T>, usize>(index) {
            Some(Ok(value)) => Ok(value),
            _ => Err(Error::new(ErrorKind::Internal, "information_schema answered in an unexpected shape")
                .because(format!("field {index} is missing or of another type"))),
        }
    }

    fn text(&mut self) -> Result<String> {
        Ok(self.optional()?.unwrap_or_default())
    }

    /// Database, name and definer.
    fn object(&mut self, kind: ObjectKind) -> Result<DatabaseObject> {
        Ok(DatabaseObject {
            kind,
            name: TableName::new(self.text()?, self.text()?),
            table: None,
            definer: self.text()?,
            definition: String::new(),
            environment: Vec::new(),
        })
    }

    fn environment(&mut self, mut object: DatabaseObject, names: &[&str]) -> Result<Listed> {
        for name in names {
            object.environment.push(((*name).to_owned(), self.text()?));
        }
        Ok(Listed { object, head: String::new(), body: String::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definers_are_taken_out_however_they_are_quoted() {
        let printed = "CREATE DEFINER=\"o\"\"n`e\"@\"%\" PROCEDURE \"p\"(in a int)\nselect 1";
        assert_eq!(without_definer(printed).as_deref(), Some("CREATE PROCEDURE \"p\"(in a int)\nselect 1"));
        let role = "CREATE DEFINER=`a``@b` FUNCTION `f`() RETURNS int RETURN 1";
        assert_eq!(without_definer(role).as_deref(), Some("CREATE FUNCTION `f`() RETURNS int RETURN 1"));
        assert_eq!(without_definer("CREATE DEFINER=`a"), None);
        assert_eq!(without_definer("CREATE DEFINER=a@b VIEW v"), None);
    }

    #[test]
    fn a_view_is_taken_apart() {
        let printed =
            "CREATE ALGORITHM=MERGE DEFINER=`a`@`%` SQL SECURITY INVOKER VIEW `v` AS select 1 AS `1`";
        let expected = ("MERGE".to_owned(), "CREATE VIEW `v` AS select 1 AS `1`".to_owned());
        assert_eq!(view(printed), Some(expected));
        assert_eq!(view("CREATE VIEW `v` AS select 1"), None);
    }
}
