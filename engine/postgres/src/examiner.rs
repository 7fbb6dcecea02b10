//! Reads a task's tables back, in snapshots.

use async_trait::async_trait;
use engine_core::batch::Batch;
use engine_core::column::{Column, Vector};
use engine_core::examine::{CanonicalRows, Examiner, KeyRange, RowSink, Stand};
use engine_core::logical::LogicalType;
use engine_core::plan::TargetTable;
use engine_core::schema::TableName;
use engine_core::temporal::Fields;
use engine_core::{Error, ErrorKind, Result};
use futures_util::StreamExt as _;
use std::collections::HashMap;
use std::sync::Arc;
use tokio_postgres::Client;

use crate::copy;
use crate::dialect::{self, Dialect};
use crate::failure::translate;
use crate::identifier;
use crate::key_reader::KeyReader;
use crate::lanes;
use crate::layout::TableLayout;
use crate::row_form::CanonicalForm;

/// Bytes of canonical rows that are handed over together.
const HANDED_OVER: usize = 256 << 10;

/// A connection that reads in snapshots.
pub(crate) struct PostgresExaminer {
    client: Client,
    dialect: Dialect,
    tables: HashMap<TableName, Arc<CanonicalForm>>,
    keys: KeyReader,
    in_snapshot: bool,
}

impl PostgresExaminer {
    /// An examiner over an open connection.
    pub(crate) async fn new(client: Client, dialect: Dialect) -> Result<Self> {
        client
            .batch_execute(&dialect::settings(&[("jit", "off")]))
            .await
            .map_err(|error| translate(error, "the session of an examiner can't be set up"))?;
        Ok(Self { client, dialect, tables: HashMap::new(), keys: KeyReader::default(), in_snapshot: false })
    }

    async fn form(&mut self, table: &Arc<TargetTable>) -> Result<Arc<CanonicalForm>> {
        if let Some(form) = self.tables.get(&table.name)
            && (Arc::ptr_eq(&form.layout().table, table) || form.layout().table == *table)
        {
            return Ok(Arc::clone(form));
        }
        let form =
            Arc::new(CanonicalForm::new(TableLayout::resolve(&self.client, self.dialect, table).await?));
        self.tables.insert(table.name.clone(), Arc::clone(&form));
        Ok(form)
    }
}

#[async_trait]
impl Examiner for PostgresExaminer {
    async fn begin(&mut self, task: &str) -> Result<Stand> {
        self.end().await?;
        self.client
            .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await
            .map_err(|error| translate(error, "a snapshot can't be taken"))?;
        self.in_snapshot = true;
        lanes::stand(&self.client, task).await
    }

    async fn read(
        &mut self,
        table: &Arc<TargetTable>,
        range: &KeyRange,
        sink: &mut dyn RowSink,
    ) -> Result<()> {
        let form = self.form(table).await?;
        copy_out(&self.client, &form, &identifier::qualified(&table.name), range, sink).await
    }

    fn reads_keys(&self) -> bool {
        true
    }

    async fn read_keys(
        &mut self,
        table: &Arc<TargetTable>,
        keys: &Batch,
        sink: &mut dyn RowSink,
    ) -> Result<()> {
        let form = self.form(table).await?;
        self.keys.read(&self.client, &form, keys, sink).await
    }

    async fn end(&mut self) -> Result<()> {
        if std::mem::take(&mut self.in_snapshot) {
            self.client
                .batch_execute("COMMIT")
                .await
                .map_err(|error| translate(error, "a snapshot can't be ended"))?;
        }
        Ok(())
    }
}

/// Reads rows of `from`, which has the columns of the form's table.
pub(crate) async fn copy_out(
    client: &Client,
    form: &CanonicalForm,
    from: &str,
    range: &KeyRange,
    sink: &mut dyn RowSink,
) -> Result<()> {
    let table = &form.layout().table;
    let statement = statement(form, from, range)?;
    let failed = |error| translate(error, "rows can't be read back").at("table", &table.name);
    let stream = client.copy_out(&statement).await.map_err(failed)?;
    let mut stream = std::pin::pin!(stream);
    let mut rows = CanonicalRows::default();
    let mut reader = CopyReader::default();
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(failed)?;
        reader.take(&piece, form, &mut rows).ok_or_else(|| malformed(table))?;
        if rows.size() >= HANDED_OVER {
            sink.push(&rows).await?;
            rows.clear();
        }
    }
    if reader.state != State::Ended {
        return Err(malformed(table).because("it ends before its end"));
    }
    sink.push(&rows).await
}

fn malformed(table: &TargetTable) -> Error {
    Error::new(ErrorKind::Internal, "the target's rows are not in the form that they were asked for in")
        .at("table", &table.name)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Header,
    Rows,
    Ended,
}

/// Takes the pieces of a binary `COPY` apart, which need not end where rows do.
#[derive(Debug, Default)]
struct CopyReader {
    state: State,
    rest: Vec<u8>,
}

impl CopyReader {
    fn take(&mut self, piece: &[u8], form: &CanonicalForm, rows: &mut CanonicalRows) -> Option<()> {
        if self.rest.is_empty() {
            let taken = self.rows(piece, form, rows)?;
            self.rest.extend_from_slice(piece.get(taken..)?);
        } else {
            self.rest.extend_from_slice(piece);
            let rest = std::mem::take(&mut self.rest);
            let taken = self.rows(&rest, form, rows)?;
            self.rest.extend_from_slice(rest.get(taken..)?);
        }
        Some(())
    }

    /// Takes what is there as a whole; how many bytes that is.
    fn rows(&mut self, data: &[u8], form: &CanonicalForm, rows: &mut CanonicalRows) -> Option<usize> {
        let mut at = 0;
        if self.state == State::Header {
            // Signature, flags, and an extension, whose length is the last word.
            let Some(header) = data.get(..copy::HEADER.len()) else { return Some(0) };
            if header.get(..11) != copy::HEADER.get(..11) {
                return None;
            }
            let extension = u32::from_be_bytes(header.get(15..19)?.try_into().ok()?) as usize;
            at = copy::HEADER.len() + extension;
            if data.len() < at {
                return Some(0);
            }
            self.state = State::Rows;
        }
        while let Some(length) = row_length(data.get(at..)?) {
            let row = data.get(at..at + length)?;
            at += length;
            if row == copy::TRAILER {
                self.state = State::Ended;
            } else if self.state == State::Ended {
                return None;
            } else {
                form.take_row(row, rows)?;
            }
        }
        Some(at)
    }
}

/// Bytes of the row, or of the end, that `data` begins with; `None` when it is not there as a whole.
fn row_length(data: &[u8]) -> Option<usize> {
    let count = u16::from_be_bytes(data.get(..2)?.try_into().ok()?);
    if count == u16::MAX {
        return Some(2);
    }
    let mut at = 2;
    for _ in 0..count {
        let length = u32::from_be_bytes(data.get(at..at + 4)?.try_into().ok()?);
        at += 4;
        if length != u32::MAX {
            at = at.checked_add(length as usize)?;
        }
    }
    (at <= data.len()).then_some(at)
}

/// The statement that reads rows of `from`.
fn statement(form: &CanonicalForm, from: &str, range: &KeyRange) -> Result<String> {
    let layout = form.layout();
    let names: Vec<&str> = layout.columns.iter().map(|column| column.name.as_str()).collect();
    let mut query = format!("SELECT {} FROM {from}", names.join(", "));
    if *range != KeyRange::All {
        query.push_str(" WHERE ");
        query.push_str(&conditions(layout, range)?);
    }
    Ok(format!("COPY ({query}) TO STDOUT WITH (FORMAT binary)"))
}

/// What holds for the rows of a range.
pub(crate) fn conditions(layout: &TableLayout, range: &KeyRange) -> Result<String> {
    let mut conditions = Vec::new();
    if let KeyRange::Between { columns, after, to } = range {
        let no_bound = || {
            Error::new(ErrorKind::Internal, "a bound of a range has no form in the target's SQL")
                .at("table", &layout.table.name)
        };
        let written = |ordinal: &usize| layout.columns.iter().find(|column| column.ordinal == *ordinal);
        let key: Vec<_> = columns.iter().map(written).collect::<Option<_>>().ok_or_else(no_bound)?;
        let names: Vec<&str> = key.iter().map(|column| column.name.as_str()).collect();
        for (bound, comparison) in [(after, ">"), (to, "<=")] {
            let Some(bound) = bound else { continue };
            let values: Option<Vec<String>> = key
                .iter()
                .zip(&bound.columns)
                .map(|(column, values)| {
                    let logical = &layout.table.columns.get(column.ordinal)?.logical;
                    Some(format!("{}::{}", bound_literal(values, logical)?, column.type_text))
                })
                .collect();
            let values = values.filter(|values| values.len() == key.len()).ok_or_else(no_bound)?;
            conditions.push(format!("({}) {comparison} ({})", names.join(", "), values.join(", ")));
        }
    }
    Ok(if conditions.is_empty() { "true".to_owned() } else { conditions.join(" AND ") })
}

/// The first value of a column as a literal without a type.
fn bound_literal(column: &Column, logical: &LogicalType) -> Option<String> {
    if column.is_null(0) {
        return None;
    }
    let text = match (&column.values, logical) {
        (Vector::I64(values), LogicalType::Integer { .. }) => values.first()?.to_string(),
        (Vector::U64(values), LogicalType::Integer { .. }) => values.first()?.to_string(),
        (Vector::I64(values), LogicalType::Date) => {
            Fields::from_date(*values.first()?).to_string().get(..10)?.to_owned()
        }
        (Vector::I64(values), LogicalType::Timestamp { zoned, .. }) => {
            let zone = if *zoned { "+00" } else { "" };
            format!("{}{zone}", Fields::from_timestamp(*values.first()?))
        }
        (Vector::Varlen(values), LogicalType::Bytes { .. }) if !values.is_empty() => {
            format!("\\x{}", hex::encode(values.get(0)))
        }
        _ => return None,
    };
    Some(identifier::literal(&text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::column::Varlen;
    use engine_core::examine::{Field, RowForm as _, fields};
    use proptest::prelude::*;

    use crate::pg_type::PgType;

    fn form() -> CanonicalForm {
        let table = Arc::new(crate::ddl::tests::orders());
        let types = table.columns.iter().map(|column| PgType::parse(&column.target_type)).collect();
        CanonicalForm::new(
            TableLayout::new(Dialect::Postgres, &table, types).expect("a table that can be written"),
        )
    }

    fn batch() -> Batch {
        let texts = |values: &[&[u8]]| {
            let mut column = Varlen::default();
            values.iter().for_each(|value| column.push(value));
            Column::new(Vector::Varlen(column))
        };
        let mut customers = Column::new(Vector::I64(vec![7, 8]));
        customers.set_null(1);
        Batch {
            rows: 2,
            columns: vec![
                Column::new(Vector::I64(vec![1, 2])),
                customers,
                texts(&["é ".as_bytes(), b""]),
                texts(&[b"\0\xff", b"x"]),
            ],
        }
    }

    proptest! {
        #[test]
        fn what_is_copied_back_is_what_was_written_however_it_is_cut(cuts in proptest::collection::vec(1_usize..30, 1..9)) {
            let form = form();
            let mut written = CanonicalRows::default();
            form.canonical(&batch(), &mut written).expect("rows");
            let mut data = copy::HEADER.to_vec();
            copy::encode_rows(form.layout(), &batch(), 0, &mut data, usize::MAX).expect("rows");
            data.extend_from_slice(copy::TRAILER);
            let (mut read, mut reader) = (CanonicalRows::default(), CopyReader::default());
            let mut rest = data.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                reader.take(piece, &form, &mut read).expect("well-formed");
                rest = after;
            }
            prop_assert_eq!(reader.state, State::Ended);
            prop_assert_eq!(read, written);
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..60), with_header: bool) {
            let mut reader = CopyReader::default();
            let mut data = if with_header { copy::HEADER.to_vec() } else { Vec::new() };
            data.extend(bytes);
            let _ = reader.take(&data, &form(), &mut CanonicalRows::default());
        }
    }

    #[test]
    fn a_value_that_can_not_be_written_equals_nothing() {
        let form = form();
        let mut bad = batch();
        bad.columns[1] = Column::new(Vector::I64(vec![1 << 40, 1]));
        let mut rows = CanonicalRows::default();
        form.canonical(&bad, &mut rows).expect("rows");
        let first: Vec<_> = rows.iter().next().into_iter().flat_map(fields).map(|(field, _)| field).collect();
        assert_eq!(first[1], Field::Unrepresentable);
    }

    #[test]
    fn ranges_are_asked_for_by_rows_of_values() {
        let bound = |id: i64| Some(Batch { rows: 1, columns: vec![Column::new(Vector::I64(vec![id]))] });
        let range = KeyRange::Between { columns: vec![0], after: bound(-5), to: bound(9) };
        let sql = statement(&form(), "orders", &range).expect("a statement");
        assert!(sql.contains(r#"WHERE ("id") > ('-5'::bigint) AND ("id") <= ('9'::bigint)"#), "{sql}");
    }
}
