//! What openGauss's `mppdb_decoding` sends, as events.
//!
//! The plugin has four ways to write the same thing, which `START_REPLICATION`'s options choose; [`Style`]
//! names them. A payload of an `XLogData` message is one record, or a batch of them in a frame: [`records`]
//! takes both. Decoding borrows from the payload wherever a text stands there as it is meant.
//!
//! A record that is unknown, or that is not what its kind should be, is an error that says where it is;
//! none is passed over. No error repeats a value.
//!
//! # What the styles are worth
//! Only the serial stream ([`Style::Serial`]) is complete. The parallel ones leave out every row that
//! follows a change of the catalog in the same transaction, leave out TRUNCATE, and, where an upsert meets
//! a row, send an insert that did not happen and then a delete without a row (see [`Change::is_retraction`]).
//! In a database with the dolphin extension, all but the binary style say `false` for every boolean.
//! The text style writes schema and table without quotes: names with spaces can't be told apart in it,
//! and are refused.

mod binary;
mod event;
mod framing;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod identifier;
mod json;
mod line;
mod literal;
mod text;
mod time;

#[cfg(test)]
mod tests;

pub use crate::replication::lsn::Lsn;
pub use event::{
    Abort, Begin, Change, Column, ColumnType, Commit, Event, Op, Record, SchemaChange, Truncate, Value,
};
pub use framing::{Records, records};

/// How the server was told to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// `parallel-decode-num` 1, or the SQL functions: changes as JSON, one record in each payload.
    Serial,
    /// `parallel-decode-num` 2 and more, `decode-style` `j`: changes as JSON.
    Json {
        /// `sending-batch` 1.
        batched: bool,
    },
    /// The same with `decode-style` `t`: changes as lines of text.
    Text {
        /// `sending-batch` 1.
        batched: bool,
    },
    /// The same with `decode-style` `b`. The frame is there with `sending-batch` 0 too.
    Binary,
}
