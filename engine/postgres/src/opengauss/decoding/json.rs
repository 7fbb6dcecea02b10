//! A change as JSON: the serial stream and style `j`.

use memchr::memchr2;
use serde::Deserialize;
use std::borrow::Cow;

use super::event::{Change, Column, ColumnType, Op};
use super::{identifier, literal};
use crate::replication::fields::Malformed;

/// A text of a document, which stands there as it is unless something in it had to be escaped.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<'a> {
    #[serde(borrow)]
    table_name: Cow<'a, str>,
    #[serde(borrow)]
    op_type: Cow<'a, str>,
    #[serde(borrow)]
    columns_name: Vec<Text<'a>>,
    #[serde(borrow)]
    columns_type: Vec<Text<'a>>,
    #[serde(borrow)]
    columns_val: Vec<Text<'a>>,
    #[serde(borrow)]
    old_keys_name: Vec<Text<'a>>,
    #[serde(borrow)]
    old_keys_type: Vec<Text<'a>>,
    #[serde(borrow)]
    old_keys_val: Vec<Text<'a>>,
}

/// Takes a document as the server prints it: without spaces, its members in this order. Anything else is left to
/// the general reader, which takes several times as long.
struct Printed<'a>(&'a str);

impl<'a> Printed<'a> {
    fn document(mut self) -> Option<Document<'a>> {
        Some(Document {
            table_name: self.expect("{\"table_name\":")?.text()?,
            op_type: self.expect(",\"op_type\":")?.text()?,
            columns_name: self.expect(",\"columns_name\":")?.list()?,
            columns_type: self.expect(",\"columns_type\":")?.list()?,
            columns_val: self.expect(",\"columns_val\":")?.list()?,
            old_keys_name: self.expect(",\"old_keys_name\":")?.list()?,
            old_keys_type: self.expect(",\"old_keys_type\":")?.list()?,
            old_keys_val: self.expect(",\"old_keys_val\":")?.list()?,
        })
        .filter(|_| self.0 == "}")
    }

    fn expect(&mut self, what: &str) -> Option<&mut Self> {
        self.0 = self.0.strip_prefix(what)?;
        Some(self)
    }

    fn list(&mut self) -> Option<Vec<Text<'a>>> {
        let mut texts = Vec::new();
        self.expect("[")?;
        if self.expect("]").is_some() {
            return Some(texts);
        }
        loop {
            texts.push(Text(self.text()?));
            if self.expect("]").is_some() {
                return Some(texts);
            }
            self.expect(",")?;
        }
    }

    /// A text as it stands, or with what was escaped put back by the general reader.
    fn text(&mut self) -> Option<Cow<'a, str>> {
        let quoted = self.0.strip_prefix('"')?;
        let mut end = memchr2(b'"', b'\\', quoted.as_bytes())?;
        let is_plain = quoted.as_bytes().get(end) == Some(&b'"');
        while quoted.as_bytes().get(end)? == &b'\\' {
            // What is escaped may itself be a quote or a backslash.
            let behind = end + 2;
            end = behind + memchr2(b'"', b'\\', quoted.as_bytes().get(behind..)?)?;
        }
        let whole = self.0.get(..end + 2)?;
        self.0 = self.0.get(end + 2..)?;
        if is_plain {
            return quoted.get(..end).map(Cow::Borrowed);
        }
        serde_json::from_str(whole).ok().map(Cow::Owned)
    }
}

/// Reads one document.
pub(super) fn change(text: &str) -> Result<Change<'_>, Malformed> {
    let document = match Printed(text).document() {
        Some(document) => document,
        // Its errors may repeat values.
        None => serde_json::from_str(text)
            .map_err(|_| Malformed("it is not the JSON document that describes a change"))?,
    };
    let op = match document.op_type.as_ref() {
        "INSERT" => Op::Insert,
        "UPDATE" => Op::Update,
        "DELETE" => Op::Delete,
        _ => return Err(Malformed("its op_type is not known")),
    };
    let (schema, table) = match document.table_name {
        Cow::Borrowed(name) => identifier::qualified(name)?,
        Cow::Owned(name) => {
            let (schema, table) = identifier::qualified(&name)?;
            (Cow::Owned(schema.into_owned()), Cow::Owned(table.into_owned()))
        }
    };
    let new = columns(document.columns_name, document.columns_type, document.columns_val)?;
    let old = columns(document.old_keys_name, document.old_keys_type, document.old_keys_val)?;
    if op == Op::Delete && new.is_some() || op == Op::Insert && old.is_some() {
        return Err(Malformed("it has a row that its op_type has not"));
    }
    Ok(Change { op, schema, table, new, old })
}

fn columns<'a>(
    names: Vec<Text<'a>>,
    types: Vec<Text<'a>>,
    values: Vec<Text<'a>>,
) -> Result<Option<Vec<Column<'a>>>, Malformed> {
    if names.len() != types.len() || names.len() != values.len() {
        return Err(Malformed("its columns, their types and their values are not equally many"));
    }
    if names.is_empty() {
        return Ok(None);
    }
    let mut columns = Vec::with_capacity(names.len());
    for ((Text(name), Text(kind)), Text(value)) in names.into_iter().zip(types).zip(values) {
        let name = match name {
            Cow::Borrowed(name) => identifier::whole(name)?,
            Cow::Owned(name) => Cow::Owned(identifier::whole(&name)?.into_owned()),
        };
        columns.push(Column { name, column_type: ColumnType::Name(kind), value: literal::whole(value)? });
    }
    Ok(Some(columns))
}
