//! What the ways of changing rows have in common.

use engine_core::batch::Batch;
use engine_core::{Error, ErrorKind};

use super::failure::Failure;
use super::rows;
use super::session::Session;
use super::statement::Statement;

/// Undoes what was done after [`savepoint`].
pub(super) const TO_SAVEPOINT: &str = "ROLLBACK TO SAVEPOINT careful";

/// A statement that later ones can be undone to.
pub(super) fn savepoint() -> Statement {
    Statement { sql: b"SAVEPOINT careful".to_vec(), statements: 1, rows: 0..0, no_labels: 0 }
}

/// Runs a statement; how many rows each of it found, or which of them failed and why.
pub(super) async fn execute(
    session: &mut Session,
    statement: &Statement,
) -> Result<Vec<u64>, (usize, Failure)> {
    if statement.statements == 1 {
        return match rows::execute(session, statement).await {
            Ok(found) => Ok(vec![found]),
            Err(failure) => Err((0, failure)),
        };
    }
    session.execute_each(&statement.sql, statement.statements).await
}

/// The columns of a key out of a batch of whole rows.
pub(super) fn keys_of(batch: &Batch, key: &[usize]) -> Batch {
    let columns = key.iter().filter_map(|&place| batch.columns.get(place).cloned()).collect();
    Batch { rows: batch.rows, columns }
}

/// The error of a row that should be there.
pub(super) fn gone() -> Error {
    Error::new(ErrorKind::Divergence, "the target does not have a row that the source changed")
        .because("somebody else writes to the table")
        .help("compare the table with the source's, stop the other writer, and copy the table again")
}

/// The error of a row of a table without a key that should be there.
pub(super) fn none_alike() -> Error {
    Error::new(ErrorKind::Divergence, "the target does not have a row that the source changed")
        .because("no row equals the old one in every column; somebody else writes to the table")
        .help("compare the table with the source's, stop the other writer, and copy the table again")
}
