//! The streaming replication protocol, spoken as a subscriber of logical changes does.
//!
//! The driver has no `CopyBoth`, so that this is a client of its own, from the socket up; framing and
//! logins are by the same crate as the driver's. Facts are from the pages "Frontend/Backend Protocol",
//! "Streaming Replication Protocol" and "Logical Replication Message Formats" of PostgreSQL 13–18.
//!
//! | module | knows |
//! |---|---|
//! | `socket` | TCP and Unix sockets, TLS by `sslmode` |
//! | `channel` | messages over bytes |
//! | `startup` | the login |
//! | [`connection`] | commands in `replication=database` mode |
//! | [`stream`] | what follows `START_REPLICATION` |
//! | [`pgoutput`] | the plugin's messages, of protocol versions 1 to 4 |

pub(crate) mod channel;
pub(crate) mod connection;
pub(crate) mod fields;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub(crate) mod lsn;
pub(crate) mod pgoutput;
mod refusal;
pub(crate) mod socket;
pub(crate) mod startup;
pub(crate) mod stream;
#[cfg(test)]
mod test_server;
