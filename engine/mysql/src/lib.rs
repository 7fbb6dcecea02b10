//! The MySQL and MariaDB connector.

pub mod charset;
pub mod connect;
pub mod error;
pub mod server;
