//! The MySQL and MariaDB connector.

mod binlog;
mod catalog;
pub mod charset;
mod checks;
mod chunk;
pub mod connect;
pub mod error;
mod reader;
pub mod server;
pub mod source;
mod sql;
mod watermark;

pub use source::MysqlSource;
