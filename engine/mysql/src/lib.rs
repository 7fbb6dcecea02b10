//! MySQL 8.0–9.7 and MariaDB 10.5–11 as a source and, see [`MysqlTarget`], as a target. As a source: tables are described from `information_schema`,
//! copied in chunks over the binary protocol, and followed by the binlog. Nothing is locked, and
//! nothing is written to the source.
//!
//! # Where things are
//!
//! | module | knows |
//! |---|---|
//! | [`source`] | the [`Source`](engine_core::source::Source) of the engine, put together from the rest |
//! | [`connect`], [`server`], [`error`] | TLS and logins, what a server is, what its errors mean |
//! | `checks` | account, settings and storage engines, before a task touches anything |
//! | `catalog` | tables, columns, keys and foreign keys, in a fixed number of queries |
//! | `chunk` | cutting a table by a key; keys are compared by the server alone |
//! | `reader` | the rows of a chunk, straight into column vectors |
//! | `binlog` | the log's events, into sets of changes |
//! | `ddl` | statements of structure, into tables as they are after them |
//! | `objects` | views, triggers, routines and events, as statements |
//! | `accounts` | who may do what, for a list |
//! | `watermark` | what a read contains, as positions |
//! | `replica` | reading from a replica while its primary is followed |
//! | `target` | everything that writes; of the above it shares connections, server, errors, and SQL |
//! | [`charset`] | text into UTF-8, for `reader` and `binlog` alike |
//!
//! A value takes one of two ways, by `reader::cell` or by `binlog::cell`, and must come out the same.
//! That is why the session is set to UTC, to results in the column's own character set, and to a
//! `sql_mode` that hides nothing, and why rows are read over the binary protocol: as text, the server
//! rounds FLOAT.
//!
//! # Positions
//! A position is `server=…;file=binlog.000003:1234;gtid=…` (`mariadb=…` for MariaDB's GTIDs) with the
//! parts that are known. Two compare by place in the log where both are of one server's files, else by
//! transactions; positions that have neither in common are an error, never a guess.
//!
//! When MySQL commits, a transaction is in the log before anyone can see its rows, and in the executed
//! GTID set only afterwards. So the place in the log leads what is visible, and the set lags it:
//!
//! | | low watermark: all in it was visible | high watermark: nothing beyond it was |
//! |---|---|---|
//! | MySQL with GTIDs | `gtid_executed`, before the read | end of the log, after it |
//! | MySQL without | `performance_schema.log_status`, which holds commits back while it looks | the same |
//! | MariaDB | `binlog_snapshot_*` of a consistent snapshot | for a chunk the same, it is exact; else the end of the log |
//!
//! - **A task** begins its stream at a low watermark. On MariaDB this one has GTIDs too, so that the
//!   stream can begin on a replica that took over.
//! - **A chunk** of a table with a row key may be read too new: the changes between the watermarks are
//!   applied again, with the same result.
//! - **A table without a row key** is read in one piece that must be *exact*, since its changes can't
//!   be applied twice. On MariaDB the snapshot's position is that already. On MySQL a snapshot is taken
//!   and the log between its low and its high watermark is read: if the table was changed there,
//!   nobody can tell whether the snapshot shows it, so it is given up and taken again. The stream
//!   leaves out what such a read had.
//! - **Tables that are not transactional** show rows before they are logged, so that no read of them
//!   is exact. `checks` warns of them, and refuses those that have no key besides.
//!
//! # What stops a task
//! The stream ends with an error that names its position at anything it does not fully understand:
//! an event or column type that it doesn't know, a table that is not what it was, rows changed by
//! statement, an image without all columns, a purged log, a checksum that is wrong.

mod account;
mod accounts;
mod binlog;
mod catalog;
pub mod charset;
mod checks;
mod chunk;
pub mod connect;
mod ddl;
mod digest;
pub mod error;
mod freeze;
mod load;
mod objects;
mod reader;
mod replica;
pub mod server;
pub mod source;
mod sql;
mod survey;
mod target;
mod watermark;

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use binlog::fuzzing;
pub use replica::ReplicatedSource;
pub use source::MysqlSource;
pub use target::MysqlTarget;
