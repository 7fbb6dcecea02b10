//! How busy the server is.

use engine_core::Result;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::error::server_error;

/// `Threads_running`, less the connection that asks.
pub(crate) async fn running(conn: &mut Conn) -> Result<Option<u64>> {
    let status: Option<(String, u64)> =
        conn.query_first("SHOW GLOBAL STATUS LIKE 'Threads_running'")
            .await
            .map_err(|error| server_error("the source's load can't be read", error))?;
    Ok(status.map(|(_, threads)| threads.saturating_sub(1)))
}
