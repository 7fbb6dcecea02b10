//! Schemas, types, endpoints and single values.

use engine_core::endpoint::Endpoint;
use engine_core::logical::LogicalType;
use engine_core::plan::Scalar;
use engine_core::schema::{ColumnSchema, IndexKind, IndexSchema, TableSchema};

use crate::bindings::contract::types;

pub(crate) fn endpoint(endpoint: &Endpoint) -> types::Endpoint {
    types::Endpoint {
        engine: endpoint.engine.clone(),
        version: endpoint.version.clone(),
        attributes: endpoint.attributes.clone(),
    }
}

pub(crate) fn table(table: &TableSchema) -> types::TableSchema {
    types::TableSchema {
        namespace: table.name.namespace.clone(),
        name: table.name.name.clone(),
        columns: table.columns.iter().enumerate().map(|(ordinal, of)| column(table, ordinal, of)).collect(),
        indexes: table.indexes.iter().map(index).collect(),
        row_estimate: table.row_estimate,
        attributes: comment(&table.comment)
            .into_iter()
            .chain(table.collation.clone().map(|collation| ("collation".to_owned(), collation)))
            .collect(),
    }
}

fn column(table: &TableSchema, ordinal: usize, column: &ColumnSchema) -> types::ColumnSchema {
    let foreign_keys = table.foreign_keys.iter().filter(|key| key.columns.contains(&ordinal));
    let foreign_keys = foreign_keys.map(|key| ("foreign-key".to_owned(), key.name.clone()));
    types::ColumnSchema {
        name: column.name.clone(),
        logical: logical(&column.logical),
        native: column.native.clone(),
        nullable: column.nullable,
        default_expr: column.default.clone(),
        on_update_now: column.on_update_now,
        generated: column.generated.clone(),
        identity: column.identity,
        invisible: column.invisible,
        target_type: column.target_type.clone(),
        attributes: comment(&column.comment)
            .into_iter()
            .chain(column.attributes.iter().cloned())
            .chain(foreign_keys)
            .collect(),
    }
}

fn comment(comment: &str) -> Vec<(String, String)> {
    if comment.is_empty() { Vec::new() } else { vec![("comment".to_owned(), comment.to_owned())] }
}

fn index(index: &IndexSchema) -> types::IndexSchema {
    types::IndexSchema {
        name: index.name.clone(),
        kind: match index.kind {
            IndexKind::Primary => types::IndexKind::Primary,
            IndexKind::Unique => types::IndexKind::Unique,
            IndexKind::Plain => types::IndexKind::Plain,
            IndexKind::Fulltext => types::IndexKind::Fulltext,
            IndexKind::Spatial => types::IndexKind::Spatial,
        },
        parts: index
            .parts
            .iter()
            .map(|part| types::IndexPart {
                column: part.column.map(|column| column as u32),
                expression: part.expression.clone(),
                prefix: part.prefix,
                descending: part.descending,
            })
            .collect(),
    }
}

pub(crate) fn logical(logical: &LogicalType) -> types::LogicalType {
    use types::LogicalType as Wit;
    match logical {
        LogicalType::Boolean => Wit::Boolean,
        LogicalType::Integer { bits, signed } => {
            Wit::Integer(types::IntegerType { bits: *bits, signed: *signed })
        }
        LogicalType::Float32 => Wit::Float32,
        LogicalType::Float64 => Wit::Float64,
        LogicalType::Decimal { precision, scale } => {
            Wit::Decimal(types::DecimalType { precision: *precision, scale: *scale })
        }
        LogicalType::Text { max_chars, fixed, charset, collation } => Wit::Text(types::TextType {
            max_chars: *max_chars,
            fixed: *fixed,
            charset: charset.clone(),
            collation: collation.clone(),
        }),
        LogicalType::Bytes { max_bytes, fixed } => {
            Wit::Bytes(types::BytesType { max_bytes: *max_bytes, fixed: *fixed })
        }
        LogicalType::Date => Wit::Date,
        LogicalType::Time { precision } => Wit::Time(*precision),
        LogicalType::Timestamp { precision, zoned } => {
            Wit::Timestamp(types::TimestampType { precision: *precision, zoned: *zoned })
        }
        LogicalType::Json => Wit::Json,
        LogicalType::Uuid => Wit::Uuid,
        LogicalType::Bit { width } => Wit::Bit(*width),
        LogicalType::Enumeration { labels } => Wit::Enumeration(labels.clone()),
        LogicalType::Set { labels } => Wit::Set(labels.clone()),
        LogicalType::Other(name) => Wit::Other(name.clone()),
    }
}

pub(crate) fn logical_from(logical: types::LogicalType) -> LogicalType {
    use types::LogicalType as Wit;
    match logical {
        Wit::Boolean => LogicalType::Boolean,
        Wit::Integer(types::IntegerType { bits, signed }) => LogicalType::Integer { bits, signed },
        Wit::Float32 => LogicalType::Float32,
        Wit::Float64 => LogicalType::Float64,
        Wit::Decimal(types::DecimalType { precision, scale }) => LogicalType::Decimal { precision, scale },
        Wit::Text(types::TextType { max_chars, fixed, charset, collation }) => {
            LogicalType::Text { max_chars, fixed, charset, collation }
        }
        Wit::Bytes(types::BytesType { max_bytes, fixed }) => LogicalType::Bytes { max_bytes, fixed },
        Wit::Date => LogicalType::Date,
        Wit::Time(precision) => LogicalType::Time { precision },
        Wit::Timestamp(types::TimestampType { precision, zoned }) => {
            LogicalType::Timestamp { precision, zoned }
        }
        Wit::Json => LogicalType::Json,
        Wit::Uuid => LogicalType::Uuid,
        Wit::Bit(width) => LogicalType::Bit { width },
        Wit::Enumeration(labels) => LogicalType::Enumeration { labels },
        Wit::Set(labels) => LogicalType::Set { labels },
        Wit::Other(name) => LogicalType::Other(name),
    }
}

pub(crate) fn scalar(scalar: &Scalar) -> types::Scalar {
    match scalar {
        Scalar::Null => types::Scalar::Null,
        Scalar::Boolean(value) => types::Scalar::Boolean(*value),
        Scalar::Int(value) => types::Scalar::Int(*value),
        Scalar::Uint(value) => types::Scalar::Uint(*value),
        Scalar::Real(value) => types::Scalar::Real(*value),
        Scalar::Decimal(value) => types::Scalar::Decimal(value.clone()),
        Scalar::Text(value) => types::Scalar::Text(value.clone()),
        Scalar::Bytes(value) => types::Scalar::Bytes(value.clone()),
        Scalar::Timestamp(value) => types::Scalar::Timestamp(*value),
    }
}

pub(crate) fn scalar_from(scalar: types::Scalar) -> Scalar {
    match scalar {
        types::Scalar::Null => Scalar::Null,
        types::Scalar::Boolean(value) => Scalar::Boolean(value),
        types::Scalar::Int(value) => Scalar::Int(value),
        types::Scalar::Uint(value) => Scalar::Uint(value),
        types::Scalar::Real(value) => Scalar::Real(value),
        types::Scalar::Decimal(value) => Scalar::Decimal(value),
        types::Scalar::Text(value) => Scalar::Text(value),
        types::Scalar::Bytes(value) => Scalar::Bytes(value),
        types::Scalar::Timestamp(value) => Scalar::Timestamp(value),
    }
}
