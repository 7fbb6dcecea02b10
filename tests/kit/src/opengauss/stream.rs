//! What `mppdb_decoding` sends: records, and the frames around them.

use std::fmt::Write as _;

/// A place in the log as the server writes it.
pub fn lsn_text(lsn: u64) -> String {
    format!("{:X}/{:X}", lsn >> 32, lsn & u64::from(u32::MAX))
}

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// `parallel-decode-num` 1.
    Serial,
    /// Parallel, `decode-style` `j`.
    Json,
    /// Parallel, `decode-style` `t`.
    Text,
    /// Parallel, `decode-style` `b`.
    Binary,
}

/// A record and its place, which a frame bears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Of a beginning the transaction's first record, of a change the change, of an end the place behind it.
    pub lsn: u64,
    /// What it says.
    pub event: Event,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A transaction begins.
    Begin(Bound),
    /// A row changed.
    Change(Change),
    /// Tables (schema and name) were emptied; with their sequences, with the tables that refer to them.
    Truncate(Vec<(String, String)>, bool, bool),
    /// Something else in the catalog was changed, of which nothing is sent.
    Catalog,
    /// A transaction ends.
    Commit(Bound),
}

/// What the beginning and the end of a transaction say; the options choose what of it is written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bound {
    /// The transaction's number.
    pub xid: Option<u64>,
    /// Its place in the order of commits.
    pub csn: u64,
    /// When it was committed, as the server writes times.
    pub time: Option<String>,
    /// Its replication origin.
    pub origin: Option<u32>,
}

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// A new row.
    Insert,
    /// A row changed.
    Update,
    /// A row went.
    Delete,
}

/// A change of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub op: Op,
    /// Schema of the table.
    pub schema: String,
    /// The table.
    pub table: String,
    /// The new row.
    pub new: Option<Vec<Column>>,
    /// The old row's identity.
    pub old: Option<Vec<Column>>,
}

/// A column of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type by `format_type`.
    pub type_name: String,
    /// Its type's OID.
    pub type_oid: u32,
    /// Its text form; NULL is none.
    pub value: Option<String>,
}

/// One record's bytes, without any frame.
pub fn record(style: Style, record: &Record) -> Vec<u8> {
    match style {
        Style::Binary => binary(&record.event, record.lsn),
        Style::Serial => serial(&record.event).into_bytes(),
        Style::Json | Style::Text => parallel(style, record).into_bytes(),
    }
}

/// The payload of one message: a record alone.
pub fn single(style: Style, one: &Record) -> Vec<u8> {
    let mut payload = Vec::new();
    if style == Style::Binary {
        frame(&mut payload, one.lsn, &record(style, one));
        payload.push(b'F');
        return payload;
    }
    record(style, one)
}

/// The payload of one message with a batch of records, which was sent because it was big enough or, if `timed`,
/// because time was up.
pub fn batch(style: Style, records: &[Record], timed: bool) -> Vec<u8> {
    let mut payload = Vec::new();
    for (index, one) in records.iter().enumerate() {
        frame(&mut payload, one.lsn, &record(style, one));
        if style == Style::Binary {
            payload.push(if index + 1 == records.len() && !timed { b'F' } else { b'P' });
        }
    }
    if style != Style::Binary || timed {
        payload.extend_from_slice(&0_u32.to_be_bytes());
    }
    payload
}

fn frame(payload: &mut Vec<u8>, lsn: u64, record: &[u8]) {
    payload.extend_from_slice(&(record.len() as u32 + 8).to_be_bytes());
    payload.extend_from_slice(&lsn.to_be_bytes());
    payload.extend_from_slice(record);
}

fn serial(event: &Event) -> String {
    match event {
        Event::Begin(bound) => {
            let origin = bound.origin.map_or(String::new(), |origin| format!(" ORIGIN_ID {origin}"));
            format!("BEGIN{}{origin}", number(bound.xid))
        }
        Event::Commit(bound) => {
            format!("COMMIT{}{} CSN {}", number(bound.xid), parenthesised(bound.time.as_deref()), bound.csn)
        }
        Event::Change(change) => json(change),
        Event::Truncate(tables, restart, cascade) => {
            let tables: Vec<String> = tables.iter().map(|(schema, table)| qualified(schema, table)).collect();
            let flags = match (restart, cascade) {
                (false, false) => " (no-flags)",
                (true, false) => " restart_seqs",
                (false, true) => " cascade",
                (true, true) => " restart_seqs cascade",
            };
            format!("table {}: TRUNCATE:{flags}", tables.join(", "))
        }
        Event::Catalog => String::new(),
    }
}

fn parallel(style: Style, record: &Record) -> String {
    match &record.event {
        Event::Begin(bound) => {
            let mut line = format!("BEGIN CSN: {} first_lsn: {}", bound.csn, lsn_text(record.lsn));
            let _ = bound.xid.map(|xid| write!(line, " xid: {xid}"));
            let _ = bound.time.as_ref().map(|time| write!(line, " commit_time: {time}"));
            let _ = bound.origin.map(|origin| write!(line, " origin_id: {origin}"));
            line
        }
        Event::Commit(bound) => {
            let xid = bound.xid.map_or(String::new(), |xid| format!(" xid: {xid}"));
            format!("commit{xid}{}", parenthesised(bound.time.as_deref()))
        }
        Event::Change(change) if style == Style::Json => json(change),
        Event::Change(change) => text(change),
        // The server sends nothing for it; whoever writes a stream leaves it out.
        Event::Truncate(..) | Event::Catalog => String::new(),
    }
}

fn number(number: Option<u64>) -> String {
    number.map_or(String::new(), |number| format!(" {number}"))
}

fn parenthesised(time: Option<&str>) -> String {
    time.map_or(String::new(), |time| format!(" (at {time})"))
}

fn text(change: &Change) -> String {
    let columns = |columns: &[Column]| {
        columns.iter().fold(String::new(), |mut line, column| {
            let (name, kind) = (identifier(&column.name), &column.type_name);
            let _ = write!(line, " {name}[{kind}]:{}", literal(column));
            line
        })
    };
    let what = match (change.op, &change.new, &change.old) {
        (Op::Insert, Some(new), _) => format!("INSERT:{}", columns(new)),
        (Op::Update, Some(new), Some(old)) => {
            format!("UPDATE: old-key:{} new-tuple:{}", columns(old), columns(new))
        }
        (Op::Update, Some(new), None) => format!("UPDATE:{}", columns(new)),
        (Op::Delete, _, Some(old)) => format!("DELETE:{}", columns(old)),
        (Op::Insert, None, _) => "INSERT: (no-tuple-data)".to_owned(),
        (Op::Update, None, _) => "UPDATE: (no-tuple-data)".to_owned(),
        (Op::Delete, _, None) => "DELETE: (no-tuple-data)".to_owned(),
    };
    format!("table {} {} {what}", change.schema, change.table)
}

fn json(change: &Change) -> String {
    let op = match change.op {
        Op::Insert => "INSERT",
        Op::Update => "UPDATE",
        Op::Delete => "DELETE",
    };
    let mut document = format!(
        "{{\"table_name\":{},\"op_type\":\"{op}\"",
        string(&qualified(&change.schema, &change.table))
    );
    let (none, parts) = (Vec::new(), [("columns", &change.new), ("old_keys", &change.old)]);
    for (prefix, columns) in parts {
        let columns = columns.as_ref().unwrap_or(&none);
        let list = |of: &dyn Fn(&Column) -> String| {
            let items: Vec<String> = columns.iter().map(|column| string(&of(column))).collect();
            items.join(",")
        };
        let names = list(&|column| identifier(&column.name));
        let types = list(&|column| column.type_name.clone());
        let _ = write!(
            document,
            ",\"{prefix}_name\":[{names}],\"{prefix}_type\":[{types}],\"{prefix}_val\":[{}]",
            list(&literal)
        );
    }
    document.push('}');
    document
}

/// A JSON string as cJSON prints it.
fn string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            control if control < ' ' => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// A value as JSON and text have it.
fn literal(column: &Column) -> String {
    let Some(value) = &column.value else { return "null".to_owned() };
    match column.type_name.as_str() {
        "tinyint" | "smallint" | "integer" | "bigint" | "oid" | "real" | "double precision" | "numeric" => {
            value.clone()
        }
        "boolean" => if value == "t" { "true" } else { "false" }.to_owned(),
        "bit" | "bit varying" => format!("B'{value}'"),
        _ => format!("'{}'", value.replace('\'', "''")),
    }
}

fn binary(event: &Event, lsn: u64) -> Vec<u8> {
    let mut out = Vec::new();
    match event {
        Event::Begin(bound) => {
            out.push(b'B');
            out.extend_from_slice(&bound.csn.to_be_bytes());
            out.extend_from_slice(&lsn.to_be_bytes());
            xid_and_time(&mut out, bound);
            if let Some(origin) = bound.origin {
                out.push(b'O');
                out.extend_from_slice(&origin.to_be_bytes());
            }
        }
        Event::Commit(bound) => {
            out.push(b'C');
            xid_and_time(&mut out, bound);
        }
        Event::Change(change) => {
            out.push(match change.op {
                Op::Insert => b'I',
                Op::Update => b'U',
                Op::Delete => b'D',
            });
            short(&mut out, &change.schema);
            short(&mut out, &change.table);
            tuple(&mut out, b'N', change.new.as_deref());
            tuple(&mut out, b'O', change.old.as_deref());
        }
        Event::Truncate(..) | Event::Catalog => {}
    }
    out
}

fn xid_and_time(out: &mut Vec<u8>, bound: &Bound) {
    if let Some(xid) = bound.xid {
        out.push(b'X');
        out.extend_from_slice(&xid.to_be_bytes());
    }
    if let Some(time) = &bound.time {
        out.push(b'T');
        out.extend_from_slice(&(time.len() as u32).to_be_bytes());
        out.extend_from_slice(time.as_bytes());
    }
}

fn tuple(out: &mut Vec<u8>, kind: u8, columns: Option<&[Column]>) {
    let Some(columns) = columns else { return };
    out.push(kind);
    out.extend_from_slice(&(columns.len() as u16).to_be_bytes());
    for column in columns {
        short(out, &identifier(&column.name));
        out.extend_from_slice(&column.type_oid.to_be_bytes());
        match &column.value {
            None => out.extend_from_slice(&u32::MAX.to_be_bytes()),
            Some(value) => {
                out.extend_from_slice(&(value.len() as u32).to_be_bytes());
                out.extend_from_slice(value.as_bytes());
            }
        }
    }
}

fn short(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Quotes a name where it has to be.
fn identifier(name: &str) -> String {
    let begins = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_');
    let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if begins && plain && !["order", "date", "user", "table"].contains(&name) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn qualified(schema: &str, table: &str) -> String {
    format!("{}.{}", identifier(schema), identifier(table))
}
