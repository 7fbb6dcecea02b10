//! What statements in the log mean.

use engine_core::change::{ChangeSet, SchemaChange};
use engine_core::position::Position;
use engine_core::schema::TableName;
use engine_core::{Error, ErrorKind, Result};
use std::borrow::Cow;

use super::super::event::{Header, Query};
use super::super::payload::unpack_mariadb;
use super::super::session::SessionFacts;
use super::super::statement::{Statement, classify};
use super::super::tables::Role;
use super::BinlogChanges;

/// A statement and what it says besides.
struct Said<'e> {
    session: u32,
    database: Cow<'e, str>,
    statement: Cow<'e, str>,
    variables: &'e [u8],
    error: u16,
}

impl<'e> Said<'e> {
    fn new(query: &Query<'e>, statement: &'e [u8]) -> Self {
        Self {
            session: query.session,
            database: text(query.database),
            statement: text(statement),
            variables: query.variables,
            error: query.error,
        }
    }
}

impl BinlogChanges {
    pub(super) fn query(&mut self, header: Header, body: &[u8], compressed: bool) -> Result<()> {
        let query = Query::read(body, false)?;
        if query.statement == b"BEGIN" {
            self.open_transaction(query.session);
            return Ok(());
        }
        let unpacked;
        let statement = if compressed {
            unpacked = unpack_mariadb(query.statement)?;
            &unpacked
        } else {
            query.statement
        };
        self.statement(header, &Said::new(&query, statement))
    }

    /// `LOAD DATA`, logged as a statement.
    pub(super) fn load(&mut self, header: Header, body: &[u8]) -> Result<()> {
        let query = Query::read(body, true)?;
        self.statement(header, &Said::new(&query, query.statement))
    }

    fn statement(&mut self, header: Header, said: &Said<'_>) -> Result<()> {
        match classify(&said.statement, &said.database) {
            Statement::Begin => {
                self.open_transaction(said.session);
                return Ok(());
            }
            Statement::XaBegin => {
                self.open_transaction(said.session);
                if let Some(transaction) = &mut self.transaction {
                    transaction.distributed = true;
                }
                return Ok(());
            }
            Statement::Commit => {
                return self.end_after(header);
            }
            Statement::Rollback => {
                if self.transaction.as_ref().is_some_and(|transaction| transaction.has_rows) {
                    return Err(Error::new(
                        ErrorKind::Unrepresentable,
                        "a transaction that was rolled back is in the log",
                    )
                    .because("it changed tables that can't be rolled back together with tables that can")
                    .help("use InnoDB for all tables of the task, and start a new task"));
                }
                return self.end_after(header);
            }
            Statement::Structure(_)
            | Statement::DropDatabase(_)
            | Statement::Rows(_)
            | Statement::Unknown
                if self.is_again() => {}
            Statement::CreateWithRows(_) if self.is_again() => {
                self.open_transaction(said.session);
                return Ok(());
            }
            Statement::CreateWithRows(tables) => {
                self.create_with_rows(header, said, &tables)?;
                self.open_transaction(said.session);
                return Ok(());
            }
            Statement::Structure(tables) => {
                if self.transaction.as_ref().is_some_and(|transaction| transaction.open) {
                    // MariaDB logs CREATE TABLE … SELECT so.
                    return self.create_with_rows(header, said, &tables);
                }
                if tables.iter().any(|table| self.tables.concerns(table)) {
                    self.structure_changed(header, said, &said.database, &tables, false)?;
                }
            }
            Statement::DropDatabase(dropped) => {
                if self.tables.has_tables_in(&dropped) {
                    self.structure_changed(header, said, &dropped, &[], false)?;
                }
            }
            Statement::Rows(tables) => {
                if let Some(table) = tables.iter().find(|table| self.tables.concerns(table)) {
                    return Err(Error::new(
                        ErrorKind::Precondition,
                        "rows were changed by a statement, without the rows in the log",
                    )
                    .at("table", table)
                    .because("the session or the server logs in STATEMENT or MIXED format")
                    .help("set binlog_format = ROW for the server and every session, and start a new task"));
                }
            }
            Statement::Unknown => {
                if self.tables.concerns_database(&said.database) {
                    self.structure_changed(header, said, &said.database, &[], false)?;
                }
            }
            Statement::XaDecision { commit } => return self.decide(header, &said.statement, commit),
            Statement::Other => {}
        }
        // A statement outside of BEGIN … COMMIT is a transaction by itself. Inside, it is one more
        // event: SAVEPOINT, XA END, the text of a CREATE TABLE … SELECT.
        if !self.transaction.as_ref().is_some_and(|transaction| transaction.open) {
            self.end_after(header)?;
        }
        Ok(())
    }

    /// A table comes into being together with rows, in a transaction that goes on. Once it is known,
    /// the statement means nothing more and the rows are like any others.
    fn create_with_rows(&mut self, header: Header, said: &Said<'_>, tables: &[TableName]) -> Result<()> {
        let unknown = tables.iter().any(|table| matches!(self.tables.role(table), Role::Unforeseen));
        // One that replaces a table is more than its creation.
        let plain = said.statement.get(..12).is_some_and(|start| start.eq_ignore_ascii_case("CREATE TABLE"));
        let more = !plain && tables.iter().any(|table| self.tables.concerns(table));
        if unknown || more {
            self.structure_changed(header, said, &said.database, tables, true)
        } else {
            Ok(())
        }
    }

    /// Notes a change of structure, to be handed over in a set of its own.
    fn structure_changed(
        &mut self,
        header: Header,
        said: &Said<'_>,
        database: &str,
        tables: &[TableName],
        with_rows: bool,
    ) -> Result<()> {
        let before = self.before_transaction();
        if !self.set.is_empty() {
            let set = self.hand_over(true);
            self.ready = Some(ChangeSet { position: Some(Position::from(&before)), ..set });
        }
        let facts = SessionFacts::read(said.variables)?;
        let mut session = facts.pairs;
        if matches!(said.statement, Cow::Owned(_)) {
            session.push((SessionFacts::REPLACED.to_owned(), "1".to_owned()));
        }
        if said.error != 0 {
            session.push((SessionFacts::ERROR.to_owned(), said.error.to_string()));
        }
        let micros = i64::from(facts.micros.unwrap_or(0));
        self.set.end_with(SchemaChange {
            namespace: database.to_owned(),
            tables: tables.to_vec(),
            statement: said.statement.clone().into_owned(),
            executed_at: Some(i64::from(header.timestamp) * 1_000_000 + micros),
            session,
            with_rows,
        });
        self.begins_again = with_rows.then_some(before);
        Ok(())
    }
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
