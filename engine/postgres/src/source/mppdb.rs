//! openGauss followed by its own plugin, `mppdb_decoding`, where the source's URL [asks for it](decoding::Decoding).
//!
//! What the plugin sends is told anew in `pgoutput`'s words ([`retelling`]), between the connection and everything else
//! that makes a stream: where positions, structure and `TRUNCATE` are seen to, there is one kind of messages.
//!
//! # Places
//! A transaction says where it ends only behind its last row. So it is kept until then, in memory or in a file, and is
//! named after the last byte of its commit instead of the first. The server would pass over a transaction that it is
//! asked to begin in: it is always asked for everything that was not confirmed, what the target has already is
//! left out here, and [nothing but places between transactions](ends) is confirmed.
//!
//! # Which decoding is complete
//! The serial one. A parallel one loses rows in silence (see [`opengauss::decoding`](crate::opengauss::decoding)), says
//! of no place that everything before it was sent, for which there is a [`heartbeat`], and writes values by the server's
//! settings, not the session's, which is looked at [before it begins](require).
//!
//! # Tables and columns
//! are known by their names alone. A row that has other columns or types than its table has on record ends the stream.

pub(super) mod decoding;
pub(super) mod ends;
pub(super) mod heartbeat;
pub(super) mod require;
pub(super) mod retelling;
pub(super) mod tables;
#[cfg(test)]
mod tests;
