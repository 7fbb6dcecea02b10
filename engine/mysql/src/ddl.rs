//! What a statement of structure does to tables: its text is read, and applied to the tables as the
//! task knew them before it.
//!
//! Today's catalog can't say that: the stream may be hours behind, and the tables have changed again
//! since. So a statement is followed only where its text, the session's settings in the log, and
//! the tables before it leave no doubt; [`parse`] knows the grammar, [`types`] and [`default`] what
//! the server makes of a definition, [`table`] and [`keys`] what becomes of a table, and [`exact`]
//! which changes of type keep values. Everything else is an error that says which part it was.

mod default;
mod definition;
mod environment;
mod exact;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod keys;
mod lexer;
mod parse;
mod session;
mod syntax;
mod table;
mod types;

use engine_core::change::SchemaChange;
use engine_core::schema::{TableName, TableSchema};
use engine_core::selection::Selection;
use engine_core::structure::{ColumnOrigin, StructureKind, TableEvolution};
use engine_core::{Error, ErrorKind, Result};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use self::environment::Environment;
use self::parse::Parsed;
use self::session::Session;
use self::syntax::{Alteration, Name, Statement};
use self::types::Context;
use crate::binlog::SessionFacts;
use crate::error::server_error;
use crate::server::Server;

/// What a statement does to tables, given those that were known before it.
pub(crate) async fn evolve(
    conn: &mut Conn,
    server: &Server,
    change: &SchemaChange,
    known: &[TableSchema],
    selection: &Selection,
) -> Result<Vec<TableEvolution>> {
    let environment = Environment::read(conn, server).await?;
    let session = Session::read(&change.session, change.executed_at);
    let wall_clock = wall_clock(conn, &session).await?;
    let context = Context { server, environment: &environment, session: &session };
    let (selection, _) = crate::catalog::scope(server, selection);
    read(change, known, &selection, wall_clock, &context).map_err(|why| {
        Error::new(ErrorKind::Unrepresentable, "a change of structure on the source can't be followed")
            .at("statement", &change.statement)
            .because(why)
    })
}

/// The time of the statement as a clock in its session's time zone shows it.
async fn wall_clock(conn: &mut Conn, session: &Session) -> Result<Option<i64>> {
    let (Some(executed_at), Some(zone)) = (session.executed_at, &session.time_zone) else { return Ok(None) };
    let seconds: Option<Option<i64>> = conn
        .exec_first(
            "SELECT CAST(TIMESTAMPDIFF(SECOND, '1970-01-01', \
             CONVERT_TZ(TIMESTAMPADD(SECOND, ?, '1970-01-01'), '+00:00', ?)) AS SIGNED)",
            (executed_at.div_euclid(1_000_000), zone),
        )
        .await
        .map_err(|error| server_error("a time can't be converted", error))?;
    Ok(seconds.flatten().map(|seconds| seconds * 1_000_000 + executed_at.rem_euclid(1_000_000)))
}

fn read(
    change: &SchemaChange,
    known: &[TableSchema],
    selection: &Selection,
    wall_clock: Option<i64>,
    context: &Context<'_>,
) -> Parsed<Vec<TableEvolution>> {
    let session = context.session;
    let readable = session.client.is_some_and(|client| context.environment.is_utf8(client));
    let said = |fact: &str| change.session.iter().any(|(name, _)| name == fact);
    if said(SessionFacts::ERROR) {
        return Err("it failed on the source, perhaps half-way".to_owned());
    }
    let replaced = said(SessionFacts::REPLACED);
    if replaced || !change.statement.is_ascii() && !readable {
        return Err("its text is in a character set other than UTF-8".to_owned());
    }
    if session.is_oracle() {
        return Err("the session runs in the SQL mode ORACLE".to_owned());
    }
    let tokens = lexer::tokenize(&change.statement, session.dialect(), context.server)?;
    let statement = parse::parse(&change.statement, &tokens, session.real_is_float())?;
    let mut tables = Tables { change, known, selection, wall_clock, context, done: Vec::new() };
    tables.apply(statement)?;
    let done = tables.done;
    for (place, evolution) in done.iter().enumerate() {
        let again = done
            .iter()
            .skip(place + 1)
            .any(|other| other.before.is_some() && other.before == evolution.before);
        if again {
            return Err("it changes one table in several ways, of which foreign keys are one".to_owned());
        }
    }
    Ok(done)
}

/// The tables before a statement, and what it did to them.
struct Tables<'a> {
    change: &'a SchemaChange,
    known: &'a [TableSchema],
    selection: &'a Selection,
    wall_clock: Option<i64>,
    context: &'a Context<'a>,
    done: Vec<TableEvolution>,
}

impl Tables<'_> {
    fn name(&self, name: &Name) -> TableName {
        let namespace = name.database.as_deref().unwrap_or(&self.change.namespace);
        match self.context.server.lower_case_table_names {
            0 => TableName::new(namespace, name.table.as_str()),
            _ => TableName::new(namespace.to_lowercase(), name.table.to_lowercase()),
        }
    }

    fn find(&self, name: &TableName) -> Option<&TableSchema> {
        self.known.iter().find(|table| table.name == *name)
    }

    /// The table that a clause is about; `None` when it doesn't concern the task.
    fn subject(&self, name: &TableName) -> Parsed<Option<&TableSchema>> {
        match self.find(name) {
            Some(table) => Ok(Some(table)),
            None if self.selection.matches(name) => Err(format!("the task does not know the table {name}")),
            None => Ok(None),
        }
    }

    fn apply(&mut self, statement: Statement) -> Parsed<()> {
        match statement {
            Statement::Create { table, replaces, if_not_exists, elements, options } => {
                let name = self.name(&table);
                if !self.makes_room(&name, replaces, if_not_exists) {
                    return Ok(());
                }
                let created = table::create(name, &elements, &options, self.context)?;
                self.create(created)
            }
            Statement::CreateLike { table, replaces, if_not_exists, pattern } => {
                let (name, pattern) = (self.name(&table), self.name(&pattern));
                if !self.makes_room(&name, replaces, if_not_exists) {
                    return Ok(());
                }
                let like = self
                    .find(&pattern)
                    .ok_or_else(|| format!("the task does not know the table {pattern}"))?;
                let created = TableSchema {
                    name,
                    foreign_keys: Vec::new(),
                    row_estimate: None,
                    byte_estimate: None,
                    next_identity: None,
                    ..like.clone()
                };
                self.create(created)
            }
            Statement::Alter { table, if_exists, alterations, options } => {
                self.alter(&table, if_exists, &alterations, &options, StructureKind::AlterTable)
            }
            Statement::CreateIndex { table, index } => {
                let alterations = [Alteration::AddIndex(index)];
                self.alter(
                    &table,
                    false,
                    &alterations,
                    &syntax::Options::default(),
                    StructureKind::CreateIndex,
                )
            }
            Statement::DropIndex { table, index, if_exists } => {
                let alterations = [Alteration::DropIndex { name: index, if_exists }];
                self.alter(&table, false, &alterations, &syntax::Options::default(), StructureKind::DropIndex)
            }
            Statement::Drop { tables } => {
                for table in &tables {
                    let name = self.name(table);
                    // One that the task does not know has left nothing in the target.
                    if self.find(&name).is_some() {
                        self.done.push(gone(name));
                    }
                }
                Ok(())
            }
            Statement::Rename { pairs } => self.rename(&pairs),
            Statement::Truncate { table } => {
                let name = self.name(&table);
                if let Some(schema) = self.subject(&name)? {
                    let evolution = TableEvolution {
                        kind: StructureKind::Truncate,
                        before: Some(name),
                        after: Some(schema.clone()),
                        columns: unchanged(schema),
                        emptied: true,
                    };
                    self.done.push(evolution);
                }
                Ok(())
            }
        }
    }

    /// Whether a table of this name comes into being; one that it replaces goes first.
    fn makes_room(&mut self, name: &TableName, replaces: bool, if_not_exists: bool) -> bool {
        if !self.selection.matches(name) {
            return false;
        }
        let is_known = self.find(name).is_some();
        if is_known && replaces {
            self.done.push(gone(name.clone()));
        }
        !is_known || replaces || !if_not_exists
    }

    fn create(&mut self, table: TableSchema) -> Parsed<()> {
        if table.columns.iter().any(|column| column.generated.is_some()) {
            return Err("it has generated columns".to_owned());
        }
        let replaced = self.done.iter().any(|evolution| evolution.before.as_ref() == Some(&table.name));
        if let Some(known) = self.find(&table.name).filter(|_| !replaced) {
            // The task read the structure after this statement, or comes here a second time.
            let same = TableSchema {
                row_estimate: known.row_estimate,
                byte_estimate: known.byte_estimate,
                next_identity: known.next_identity,
                ..table.clone()
            } == *known;
            return if same { Ok(()) } else { Err(format!("the task knows another table {}", table.name)) };
        }
        self.done.push(TableEvolution {
            kind: StructureKind::CreateTable,
            before: None,
            after: Some(table),
            columns: Vec::new(),
            emptied: false,
        });
        Ok(())
    }

    fn alter(
        &mut self,
        table: &Name,
        if_exists: bool,
        alterations: &[Alteration],
        options: &syntax::Options,
        kind: StructureKind,
    ) -> Parsed<()> {
        let name = self.name(table);
        if if_exists && self.find(&name).is_none() {
            return Ok(());
        }
        let renamed = alterations.iter().rev().find_map(|alteration| match alteration {
            Alteration::Rename(to) => Some(self.name(to)),
            _ => None,
        });
        let Some(before) = self.subject(&name)? else {
            return match renamed {
                Some(to) if self.selection.matches(&to) => {
                    Err(format!("it takes {name}, which is outside of the task, into it as {to}"))
                }
                _ => Ok(()),
            };
        };
        let mut draft = table::alter(before, alterations, options, self.wall_clock, self.context)?;
        if let Some(to) = renamed {
            if !self.selection.matches(&to) {
                return Err(format!("it takes {name} out of the task as {to}"));
            }
            rename(&mut draft.table, to);
        }
        let before = before.clone();
        self.follow_names(&before, &draft.table, &draft.origins);
        self.done.push(TableEvolution {
            kind,
            before: Some(name),
            after: Some(draft.table),
            columns: draft.origins,
            emptied: false,
        });
        Ok(())
    }

    fn rename(&mut self, pairs: &[(Name, Name)]) -> Parsed<()> {
        // Where each table that the statement touches came from, and its name so far.
        let mut moved: Vec<(TableName, TableName)> = Vec::new();
        for (from, to) in pairs {
            let (from, to) = (self.name(from), self.name(to));
            match moved.iter_mut().find(|(_, now)| *now == from) {
                Some((_, now)) => *now = to,
                None => moved.push((from, to)),
            }
        }
        for (from, to) in moved {
            if from == to {
                continue;
            }
            match (self.find(&from).cloned(), self.selection.matches(&to)) {
                (Some(before), true) => {
                    let mut after = before.clone();
                    rename(&mut after, to);
                    let columns = unchanged(&before);
                    self.follow_names(&before, &after, &columns);
                    self.done.push(TableEvolution {
                        kind: StructureKind::RenameTable,
                        before: Some(from),
                        after: Some(after),
                        columns,
                        emptied: false,
                    });
                }
                (Some(_), false) => return Err(format!("it takes {from} out of the task as {to}")),
                (None, true) => {
                    return Err(format!(
                        "it takes {from}, whose rows the task does not have, into it as {to}"
                    ));
                }
                (None, false) => {}
            }
        }
        Ok(())
    }

    /// Foreign keys go on naming their parent, whatever it and its columns are called now.
    fn follow_names(&mut self, before: &TableSchema, after: &TableSchema, origins: &[ColumnOrigin]) {
        let renamed_column = origins.iter().zip(&after.columns).any(|(origin, column)| match origin {
            ColumnOrigin::Kept(ordinal) => {
                before.columns.get(*ordinal).is_some_and(|old| old.name != column.name)
            }
            ColumnOrigin::Added(_) => false,
        });
        if before.name == after.name && !renamed_column {
            return;
        }
        for child in self.known.iter().filter(|table| table.name != before.name) {
            if child.foreign_keys.iter().all(|key| key.parent != before.name) {
                continue;
            }
            let known = self.done.iter_mut().find(|evolution| evolution.before.as_ref() == Some(&child.name));
            match known {
                Some(evolution) => {
                    if let Some(table) = &mut evolution.after {
                        follow_parent(table, before, after, origins);
                    }
                }
                None => {
                    let mut changed = child.clone();
                    follow_parent(&mut changed, before, after, origins);
                    self.done.push(TableEvolution {
                        kind: StructureKind::AlterTable,
                        before: Some(child.name.clone()),
                        columns: unchanged(child),
                        after: Some(changed),
                        emptied: false,
                    });
                }
            }
        }
    }
}

/// Gives the foreign keys of `table` that point to a table the names that it has after a statement.
fn follow_parent(
    table: &mut TableSchema,
    before: &TableSchema,
    after: &TableSchema,
    origins: &[ColumnOrigin],
) {
    for key in table.foreign_keys.iter_mut().filter(|key| key.parent == before.name) {
        key.parent = after.name.clone();
        for name in &mut key.parent_columns {
            let old = before.columns.iter().position(|column| table::same(&column.name, name));
            let new = origins
                .iter()
                .position(|origin| matches!(origin, ColumnOrigin::Kept(from) if Some(*from) == old));
            if let Some(column) = new.and_then(|new| after.columns.get(new)) {
                name.clone_from(&column.name);
            }
        }
    }
}

/// Gives a table another name, and its foreign keys what follows from it.
fn rename(table: &mut TableSchema, to: TableName) {
    let generated = format!("{}_ibfk_", table.name.name);
    for key in &mut table.foreign_keys {
        if key.parent == table.name {
            key.parent = to.clone();
        }
        let number = key.name.strip_prefix(&generated).map(str::to_owned);
        if let Some(number) = number.filter(|number| number.bytes().all(|byte| byte.is_ascii_digit())) {
            key.name = format!("{}_ibfk_{number}", to.name);
        }
    }
    table.name = to;
}

fn gone(name: TableName) -> TableEvolution {
    TableEvolution {
        kind: StructureKind::DropTable,
        before: Some(name),
        after: None,
        columns: Vec::new(),
        emptied: false,
    }
}

fn unchanged(table: &TableSchema) -> Vec<ColumnOrigin> {
    (0..table.columns.len()).map(ColumnOrigin::Kept).collect()
}

#[cfg(test)]
mod tests;
