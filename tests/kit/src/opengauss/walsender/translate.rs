//! What `test_decoding` says, in the words of `mppdb_decoding`.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio_postgres::Client;

use super::super::stream::{Bound, Change, Column, Event, Op};

/// Puts lines of the server behind into events, with what it has to ask for.
pub(super) struct Translator {
    sql: Client,
    dolphin: bool,
    /// Booleans are written as without dolphin.
    is_gsql: bool,
    oids: HashMap<String, u32>,
    /// By the table's name as it is quoted.
    identities: HashMap<String, Identity>,
}

/// The replica identity of a table.
#[derive(Default)]
struct Identity {
    is_whole_row: bool,
    /// Names of its columns and of their types.
    columns: Vec<(String, String)>,
}

impl Translator {
    pub(super) fn new(sql: Client, dolphin: bool, is_gsql: bool) -> Self {
        Self { sql, dolphin, is_gsql, oids: HashMap::new(), identities: HashMap::new() }
    }

    /// Waits until everybody sees what a transaction has committed.
    pub(super) async fn until_visible(&self, xid: u64) -> Result<()> {
        loop {
            let sql = "SELECT pg_visible_in_snapshot($1::text::xid8, pg_current_snapshot())";
            if self.sql.query_one(sql, &[&xid.to_string()]).await?.get(0) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The event of a line; `lsn` is its place, which is taken for the order of commits.
    pub(super) async fn event(&mut self, line: &str, lsn: u64) -> Result<Event> {
        if let Some(rest) = line.strip_prefix("BEGIN ") {
            return Ok(Event::Begin(Bound { xid: Some(rest.parse()?), ..Bound::default() }));
        }
        if let Some(rest) = line.strip_prefix("COMMIT ") {
            let (xid, time) = rest.split_once(" (at ").context("a commit without its time")?;
            let time = time.strip_suffix(')').context("a time without its end")?;
            return Ok(Event::Commit(Bound {
                xid: Some(xid.parse()?),
                csn: lsn,
                time: Some(time.to_owned()),
                origin: None,
            }));
        }
        if line.starts_with("message: ") {
            self.identities.clear();
            return Ok(Event::Catalog);
        }
        let mut rest = line.strip_prefix("table ").context("an unknown line")?;
        let mut tables = Vec::new();
        let quoted = loop {
            let begin = rest;
            let schema = identifier(&mut rest)?;
            expect(&mut rest, ".")?;
            let table = identifier(&mut rest)?;
            tables.push((schema, table));
            let quoted = begin.strip_suffix(rest).unwrap_or(begin);
            match rest.strip_prefix(", ") {
                Some(next) => rest = next,
                None => break quoted,
            }
        };
        expect(&mut rest, ": ")?;
        if let Some(flags) = rest.strip_prefix("TRUNCATE:") {
            return Ok(Event::Truncate(tables, flags.contains("restart_seqs"), flags.contains("cascade")));
        }
        let (schema, table) = tables.pop().context("a line without a table")?;
        let (op, tuples) = rest.split_once(':').context("a line without what happened")?;
        let op = match op {
            "INSERT" => Op::Insert,
            "UPDATE" => Op::Update,
            "DELETE" => Op::Delete,
            _ => bail!("an unknown line"),
        };
        let (mut new, mut old) = (None, None);
        if tuples != " (no-tuple-data)" {
            rest = tuples;
            if let Some(keyed) = rest.strip_prefix(" old-key:") {
                rest = keyed;
                old = Some(self.columns(&mut rest).await?);
                expect(&mut rest, " new-tuple:")?;
            }
            let columns = self.columns(&mut rest).await?;
            if op == Op::Delete { old = Some(columns) } else { new = Some(columns) }
        }
        match &mut old {
            None if op == Op::Update => {
                old = self.identity(quoted, new.as_deref().unwrap_or_default()).await?;
            }
            Some(old) => self.complete(quoted, old).await?,
            None => {}
        }
        Ok(Event::Change(Change { op, schema, table, new, old }))
    }

    async fn columns(&mut self, rest: &mut &str) -> Result<Vec<Column>> {
        let mut columns = Vec::new();
        while rest.starts_with(' ') && !rest.starts_with(" new-tuple:") {
            expect(rest, " ")?;
            let name = identifier(rest)?;
            expect(rest, "[")?;
            let end = rest.find("]:").context("a type without its end")?;
            let type_name = rest.get(..end).unwrap_or_default().to_owned();
            *rest = rest.get(end + 2..).unwrap_or_default();
            let value = match value(rest)? {
                Value::Absent => continue,
                Value::Null => None,
                Value::Text(value) => Some(self.text(&type_name, value)),
            };
            let type_oid = self.oid(&type_name).await?;
            columns.push(Column { name, type_name, type_oid, value });
        }
        Ok(columns)
    }

    /// A value as openGauss prints it.
    fn text(&self, type_name: &str, value: String) -> String {
        match (type_name, self.dolphin) {
            ("boolean", dolphin) => match (value == "true", dolphin && !self.is_gsql) {
                (true, false) => "t",
                (false, false) => "f",
                (true, true) => "1",
                (false, true) => "0",
            }
            .to_owned(),
            ("numeric" | "real" | "double precision", false) => {
                if let Some(rest) = value.strip_prefix("0.") {
                    format!(".{rest}")
                } else if let Some(rest) = value.strip_prefix("-0.") {
                    format!("-.{rest}")
                } else {
                    value
                }
            }
            _ => value,
        }
    }

    async fn oid(&mut self, type_name: &str) -> Result<u32> {
        if let Some(oid) = self.oids.get(type_name) {
            return Ok(*oid);
        }
        let row = self.sql.query_one("SELECT to_regtype($1::text)::oid", &[&type_name]).await?;
        let oid = row.get::<_, Option<u32>>(0).unwrap_or_default();
        self.oids.insert(type_name.to_owned(), oid);
        Ok(oid)
    }

    /// The key of a row that kept it: openGauss sends it all the same.
    async fn identity(&mut self, table: &str, new: &[Column]) -> Result<Option<Vec<Column>>> {
        let identity = self.identity_of(table).await?;
        let is_key = |column: &&Column| identity.columns.iter().any(|(name, _)| *name == column.name);
        let key: Vec<Column> = new.iter().filter(is_key).cloned().collect();
        Ok(if key.is_empty() || identity.is_whole_row { None } else { Some(key) })
    }

    /// Adds the columns of a whole row that are NULL, of which the server behind says nothing.
    async fn complete(&mut self, table: &str, old: &mut Vec<Column>) -> Result<()> {
        let identity = self.identity_of(table).await?;
        if !identity.is_whole_row {
            return Ok(());
        }
        let columns = identity.columns.clone();
        let mut whole = Vec::new();
        for (name, type_name) in columns {
            whole.push(match old.iter().find(|column| column.name == name) {
                Some(column) => column.clone(),
                None => Column { type_oid: self.oid(&type_name).await?, name, type_name, value: None },
            });
        }
        *old = whole;
        Ok(())
    }

    async fn identity_of(&mut self, table: &str) -> Result<&Identity> {
        if !self.identities.contains_key(table) {
            let rows = self
                .sql
                .query(
                    "SELECT a.attname::text, format_type(a.atttypid, NULL), c.relreplident = 'f' FROM pg_class c \
                     JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
                     WHERE c.oid = to_regclass($1::text) AND (c.relreplident = 'f' OR EXISTS (SELECT 1 FROM pg_index i \
                     WHERE i.indrelid = c.oid AND a.attnum = ANY (i.indkey) \
                     AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END)) \
                     ORDER BY a.attnum",
                    &[&table],
                )
                .await?;
            let identity = Identity {
                is_whole_row: rows.first().is_some_and(|row| row.get(2)),
                columns: rows.iter().map(|row| (row.get(0), row.get(1))).collect(),
            };
            self.identities.insert(table.to_owned(), identity);
        }
        self.identities.get(table).context("a table's identity")
    }
}

fn expect(rest: &mut &str, what: &str) -> Result<()> {
    *rest = rest.strip_prefix(what).with_context(|| format!("a line without '{what}'"))?;
    Ok(())
}

/// Takes a name off the front, and its quotes.
fn identifier(rest: &mut &str) -> Result<String> {
    if rest.starts_with('"') {
        return quoted(rest, '"');
    }
    let end = rest.find(['.', ':', '[', ',', ' ']).unwrap_or(rest.len());
    let (name, behind) = rest.split_at_checked(end).context("a name")?;
    *rest = behind;
    Ok(name.to_owned())
}

/// Takes a text off the front that stands between quotes, which are doubled inside.
fn quoted(rest: &mut &str, quote: char) -> Result<String> {
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((index, character)) = characters.next() {
        if character == quote && characters.next_if(|(_, next)| *next == quote).is_none() {
            *rest = rest.get(index + quote.len_utf8()..).unwrap_or_default();
            return Ok(text);
        }
        text.push(character);
    }
    bail!("a quoted text without its end")
}

/// A value of a line.
enum Value {
    /// The column is unchanged and not there.
    Absent,
    Null,
    Text(String),
}

/// Takes a value off the front.
fn value(rest: &mut &str) -> Result<Value> {
    if rest.starts_with('\'') {
        return Ok(Value::Text(quoted(rest, '\'')?));
    }
    if let Some(bits) = rest.strip_prefix("B'") {
        let (bits, behind) = bits.split_once('\'').context("bits without their end")?;
        *rest = behind;
        return Ok(Value::Text(bits.to_owned()));
    }
    let (bare, behind) = rest.split_at_checked(rest.find(' ').unwrap_or(rest.len())).context("a value")?;
    *rest = behind;
    Ok(match bare {
        "null" => Value::Null,
        "unchanged-toast-datum" => Value::Absent,
        bare => Value::Text(bare.to_owned()),
    })
}
