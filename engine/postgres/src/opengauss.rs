//! What is openGauss's own on the wire: how it asks for a password, and what its logical decoding sends.
//!
//! openGauss was forked from PostgreSQL 9.2.4, and speaks its protocol but for what is in here.

pub(crate) mod auth;
pub(crate) mod compatibility;
pub mod decoding;
pub mod feed;
pub(crate) mod login;
pub(crate) mod shim;
pub(crate) mod status;

use engine_core::Result;
use engine_core::endpoint::EndpointUrl;

/// Opens a session for SQL, set up as the engine's own are.
pub async fn connect(url: &EndpointUrl) -> Result<tokio_postgres::Client> {
    crate::connect::Connector::new(url, crate::connect::Role::Source)?.connect().await
}
