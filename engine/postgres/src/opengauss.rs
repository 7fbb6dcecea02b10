//! What is openGauss's own on the wire: how it asks for a password, and what its logical decoding sends.
//!
//! openGauss was forked from PostgreSQL 9.2.4, and speaks its protocol but for what is in here.

pub(crate) mod auth;
pub mod decoding;
pub(crate) mod shim;
