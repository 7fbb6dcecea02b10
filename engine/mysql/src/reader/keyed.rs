//! Reading single rows by their keys.

use async_trait::async_trait;
use engine_core::batch::Batch;
use engine_core::column::{Column, Vector};
use engine_core::logical::LogicalType;
use engine_core::source::{BatchSink, KeyedRequest};
use engine_core::temporal::Fields;
use engine_core::{Error, ErrorKind, Result};

use crate::sql;

/// `table WHERE a = 1 AND b = 'x'`, each value compared in its column's own type and collation.
pub(super) fn from_clause(request: &KeyedRequest) -> Result<String> {
    let table = &request.table;
    let mut conditions = Vec::with_capacity(request.key.len());
    for (&ordinal, values) in request.key.iter().zip(&request.values.columns) {
        let column = table.columns.get(ordinal).ok_or_else(|| {
            Error::new(ErrorKind::Internal, "a key names a column that the table does not have")
                .at("table", &table.name)
        })?;
        let value = literal(values, &column.logical).ok_or_else(|| {
            Error::new(ErrorKind::Precondition, "rows of the table can't be asked for by their key")
                .at("table", &table.name)
                .at("column", &column.name)
                .because(format_args!("no value of type {} can be written down exactly", column.native))
        })?;
        conditions.push(format!("{} = {value}", sql::identifier(&column.name)));
    }
    if conditions.is_empty() || conditions.len() != request.values.columns.len() {
        return Err(
            Error::new(ErrorKind::Internal, "a row was asked for without its key").at("table", &table.name)
        );
    }
    Ok(format!("{} WHERE {}", sql::table(&table.name), conditions.join(" AND ")))
}

/// The first value of a column in SQL. Text has no collation of its own here, so that the column's
/// decides; it came from the column, so that the column's character set has it.
fn literal(column: &Column, logical: &LogicalType) -> Option<String> {
    if column.is_null(0) {
        return None;
    }
    match (&column.values, logical) {
        (Vector::I64(values), LogicalType::Integer { .. }) => Some(values.first()?.to_string()),
        (Vector::U64(values), LogicalType::Integer { .. }) => Some(values.first()?.to_string()),
        (Vector::I64(values), LogicalType::Date) => {
            let text = Fields::from_date(*values.first()?).to_string();
            Some(format!("'{}'", text.get(..10)?))
        }
        // The session's time zone is UTC.
        (Vector::I64(values), LogicalType::Timestamp { .. }) => {
            Some(format!("'{}'", Fields::from_timestamp(*values.first()?)))
        }
        (Vector::Varlen(values), LogicalType::Decimal { .. }) => {
            let digits = std::str::from_utf8(values.get(0)).ok()?;
            let is_decimal = digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.'));
            (is_decimal && !digits.is_empty()).then(|| digits.to_owned())
        }
        (Vector::Varlen(values), LogicalType::Bytes { .. }) => {
            Some(format!("X'{}'", hex::encode_upper(values.get(0))))
        }
        (
            Vector::Varlen(values),
            LogicalType::Text { .. } | LogicalType::Enumeration { .. } | LogicalType::Set { .. },
        ) => Some(format!("_utf8mb4 X'{}'", hex::encode_upper(values.get(0)))),
        (Vector::Varlen(values), LogicalType::Uuid) => {
            let parts =
                [0..4, 4..6, 6..8, 8..10, 10..16].map(|part| values.get(0).get(part).map(hex::encode));
            let parts: Vec<String> = parts.into_iter().collect::<Option<_>>()?;
            Some(format!("'{}'", parts.join("-")))
        }
        _ => None,
    }
}

/// The rows found.
#[derive(Default)]
pub(super) struct Found(Option<Batch>);

#[async_trait]
impl BatchSink for Found {
    async fn push(&mut self, batch: Batch) -> Result<()> {
        self.0 = Some(batch);
        Ok(())
    }
}

impl Found {
    /// The row, or a batch without one.
    pub(super) fn one_or_none(self, request: &KeyedRequest) -> Result<Batch> {
        match self.0 {
            Some(batch) if batch.rows == 1 => Ok(batch),
            Some(batch) if batch.rows > 1 => {
                Err(Error::new(ErrorKind::Divergence, "the source has several rows under a unique key")
                    .at("table", &request.table.name)
                    .help("see whether the table's key was changed, and run again"))
            }
            _ => {
                let columns = request.columns.iter().filter_map(|&ordinal| {
                    Some(request.table.columns.get(ordinal)?.logical.layout().empty_column())
                });
                Ok(Batch { rows: 0, columns: columns.collect() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::column::Varlen;

    fn bytes(value: &[u8]) -> Column {
        let mut values = Varlen::default();
        values.push(value);
        Column::new(Vector::Varlen(values))
    }

    #[test]
    fn values_are_written_in_the_type_of_their_column() {
        let text = LogicalType::Text { max_chars: None, fixed: false, charset: None, collation: None };
        let number = LogicalType::Integer { bits: 64, signed: false };
        let decimal = LogicalType::Decimal { precision: 30, scale: 2 };
        let stamp = LogicalType::Timestamp { precision: 6, zoned: false };
        for (column, logical, expected) in [
            (Column::new(Vector::U64(vec![u64::MAX])), &number, Some("18446744073709551615")),
            (bytes("é'".as_bytes()), &text, Some("_utf8mb4 X'C3A927'")),
            (bytes(b"-12345678901234567890.10"), &decimal, Some("-12345678901234567890.10")),
            (bytes(b"1; DROP"), &decimal, None),
            (bytes(&[0, 255]), &LogicalType::Bytes { max_bytes: None, fixed: false }, Some("X'00FF'")),
            (Column::new(Vector::I64(vec![1])), &LogicalType::Date, Some("'1970-01-02'")),
            (Column::new(Vector::I64(vec![1])), &stamp, Some("'1970-01-01 00:00:00.000001'")),
            (
                bytes(&[0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 1, 2, 3, 4, 5, 6, 7, 8]),
                &LogicalType::Uuid,
                Some("'12345678-9abc-def0-0102-030405060708'"),
            ),
            (Column::new(Vector::F64(vec![0.1])), &LogicalType::Float64, None),
        ] {
            assert_eq!(literal(&column, logical).as_deref(), expected);
        }
    }
}
