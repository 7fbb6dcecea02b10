//! The change stream of MySQL and MariaDB, read from the binlog.
//!
//! The path of an event: [`wire`] gets it from the server and verifies it, [`stream`] keeps track
//! of files, transactions and sets, [`tables`] knows what a table is to the task, [`rows`] and
//! [`cell`] put values straight into columns. [`position`] says where a stream is, and [`resume`]
//! whether the source can go on from there.

mod address;
mod bytes;
mod cell;
mod decimal;
mod event;
mod extent;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod gtid;
mod json;
mod json_diff;
mod json_path;
mod open;
mod partial;
mod payload;
mod position;
mod resume;
mod rows;
mod session;
mod statement;
mod stream;
mod table_map;
mod tables;
mod temporal;
mod touches;
mod transaction;
mod wire;

pub(crate) use self::gtid::GtidSet;
pub(crate) use self::open::{open, touches};
pub(crate) use self::position::LogPosition;
pub(crate) use self::session::SessionFacts;
