//! Which server a source is.

use engine_core::endpoint::EndpointUrl;
use engine_core::{Error, ErrorKind, Result};
use std::sync::Arc;
use tokio_postgres::Client;

use crate::failure::translate;
use crate::family::Family;
use crate::replication::connection::ReplicationConnection;

/// Of a server that tells its identity only to who may replicate, when the account may not: it can be copied from, and
/// not be followed.
const UNTOLD: &str = "untold";

/// The `system_identifier` of the cluster. openGauss has no function that says it; its replication connections do.
pub(super) async fn of(client: &Client, family: Family, url: &EndpointUrl) -> Result<Arc<str>> {
    if family == Family::PostgreSql {
        let row = client
            .query_one("SELECT system_identifier::text FROM pg_catalog.pg_control_system()", &[])
            .await
            .map_err(|error| translate(error, "the source can't be asked for its identity"))?;
        return Ok(row.get::<_, String>(0).into());
    }
    let asked = async {
        let mut connection = ReplicationConnection::open(url).await?;
        connection.query("IDENTIFY_SYSTEM").await
    };
    let answer = match asked.await {
        Ok(answer) => answer,
        // What stands in the way is for the checks to say.
        Err(error) if matches!(error.kind(), ErrorKind::Connection | ErrorKind::Precondition) => {
            tracing::debug!(%error, "the source doesn't say who it is");
            return Ok(UNTOLD.into());
        }
        Err(error) => return Err(error),
    };
    let system = answer.first().and_then(|row| row.first()?.as_deref());
    system.map(Arc::from).ok_or_else(|| {
        Error::new(ErrorKind::Divergence, "the source doesn't say who it is").at("source", url)
    })
}
