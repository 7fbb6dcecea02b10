//! A source that is nothing but an order of positions: what tests of following and of the check go by.

use async_trait::async_trait;
use engine_core::change::SchemaChange;
use engine_core::endpoint::Endpoint;
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::finding::Finding;
use engine_core::position::Position;
use engine_core::schema::TableSchema;
use engine_core::selection::Selection;
use engine_core::source::{ChangeStream, KeyBound, Reader, Source, StreamRequest};
use engine_core::structure::TableEvolution;
use engine_core::transaction::{TransactionId, TransactionSet};

/// A source whose position is the number of transactions before it.
pub(crate) struct Counting;

fn not_asked() -> Error {
    Error::new(ErrorKind::Internal, "not asked for")
}

fn number(position: &Position) -> u64 {
    position.0.parse().expect("a number")
}

#[async_trait]
impl Source for Counting {
    fn endpoint(&self) -> &Endpoint {
        unreachable!("nobody asks")
    }
    async fn check(&self, _: &Selection, _: bool) -> Result<Vec<Finding>> {
        Err(not_asked())
    }
    async fn catalog(&self, _: &Selection) -> Result<Vec<TableSchema>> {
        Err(not_asked())
    }
    async fn low_watermark(&self) -> Result<Position> {
        Err(not_asked())
    }
    async fn high_watermark(&self) -> Result<Position> {
        Err(not_asked())
    }
    fn covers(&self, reached: &Position, wanted: &Position) -> Result<bool> {
        Ok(number(reached) >= number(wanted))
    }
    fn beyond(&self, position: &Position, transactions: &TransactionSet) -> Result<TransactionSet> {
        let beyond: Vec<_> = transactions.iter().filter(|name| name.number > number(position)).collect();
        Ok(beyond.iter().collect())
    }
    fn can_chunk(&self, _: &TableSchema) -> bool {
        false
    }
    async fn chunk_end(&self, _: &TableSchema, _: Option<&KeyBound>, _: u64) -> Result<Option<KeyBound>> {
        Err(not_asked())
    }
    async fn evolve(
        &self,
        _: &SchemaChange,
        _: &[TableSchema],
        _: &Selection,
    ) -> Result<Vec<TableEvolution>> {
        Err(not_asked())
    }
    async fn open_reader(&self) -> Result<Box<dyn Reader>> {
        Err(not_asked())
    }
    async fn open_stream(&self, _: StreamRequest) -> Result<Box<dyn ChangeStream>> {
        Err(not_asked())
    }
}

/// The transaction with this number.
pub(crate) fn name(number: u64) -> TransactionId {
    TransactionId { origin: "log".into(), number }
}

/// The place after this many transactions.
pub(crate) fn position(number: u64) -> Position {
    Position(number.to_string())
}
