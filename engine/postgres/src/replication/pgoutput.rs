//! Messages of the output plugin `pgoutput`, of protocol versions 1 to 4.
//!
//! A message borrows from its payload; nothing is copied, and nothing is allocated per value. Fields are
//! in the order of the page "Logical Replication Message Formats". Since version 2, changes of a
//! transaction that goes on may come between `StreamStart` and `StreamStop`, each with the number of
//! its (sub)transaction; version 3 adds prepared transactions, version 4 two fields to `StreamAbort`.
//!
//! openGauss has the plugin too, with a few messages of its own: a beginning has a number of 64 bits and the number of
//! the commit, and after an end it may tell of its standbys.

pub(crate) mod message;
#[cfg(test)]
mod tests;
pub(crate) mod tuple;

use engine_core::{Error, ErrorKind};

use super::fields::{Fields, Malformed};
use crate::family::Family;

use message::{Begin, Message};

/// Reads the messages of one stream, in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Decoder {
    /// Between `StreamStart` and `StreamStop`, where changes have one field more.
    in_block: bool,
    family: Family,
}

impl Decoder {
    /// At the beginning of a stream of PostgreSQL's.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// At the beginning of a stream of this server's.
    pub(crate) fn of(family: Family) -> Self {
        Self { family, ..Self::default() }
    }

    /// Reads a message.
    ///
    /// A message of unknown type is an [`Unrepresentable`](ErrorKind::Unrepresentable) error, one that
    /// makes no sense a [`Divergence`](ErrorKind::Divergence); where it is in the log, the caller adds.
    pub(crate) fn decode<'a>(&mut self, payload: &'a [u8]) -> Result<Message<'a>, Unreadable> {
        let mut fields = Fields::new(payload);
        let kind = fields.u8()?;
        let message = match (self.family, kind) {
            (Family::OpenGauss, b'B') => Message::Begin(Begin::read_opengauss(&mut fields)?),
            (Family::OpenGauss, b'S') => {
                fields.text()?;
                Message::Standbys
            }
            _ => Message::read(kind, &mut fields, self.in_block)?,
        };
        fields.end()?;
        match (&message, self.in_block) {
            (Message::StreamStart { .. }, false) => self.in_block = true,
            (Message::StreamStop, true) => self.in_block = false,
            (Message::StreamStart { .. }, true) | (Message::StreamStop, false) => {
                return Err(Malformed("a block of changes begins or ends inside of another").into());
            }
            _ => {}
        }
        Ok(message)
    }
}

/// Why a message could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Of a type that none of the four versions has.
    Unknown(u8),
    /// Not as such a message is.
    Malformed(Malformed),
}

impl From<Malformed> for Unreadable {
    fn from(why: Malformed) -> Self {
        Self::Malformed(why)
    }
}

impl From<Unreadable> for Error {
    fn from(why: Unreadable) -> Self {
        match why {
            Unreadable::Unknown(kind) => {
                Self::new(ErrorKind::Unrepresentable, "the log has a message that this engine does not know")
                    .because(format!("its type is {}", kind.escape_ascii()))
            }
            Unreadable::Malformed(Malformed(why)) => Self::new(
                ErrorKind::Divergence,
                "a message of the source's log can't be read",
            )
            .because(why)
            .help(
                "look at the change with pg_logical_slot_peek_binary_changes; if it is sound, report it as \
                         a mistake of the engine",
            ),
        }
    }
}
