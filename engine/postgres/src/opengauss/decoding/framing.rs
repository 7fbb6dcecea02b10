//! Payloads into records.

use engine_core::{Error, ErrorKind, Result};

use super::Lsn;
use super::event::{Event, Record};
use super::{Style, binary, line};
use crate::replication::fields::Fields;
use crate::replication::fields::Malformed;

/// The records of the payload of an `XLogData` message; `at` is where the message says that it is.
///
/// After an error there is nothing more.
pub fn records(style: Style, at: Lsn, payload: &[u8]) -> Records<'_> {
    Records { style, at, length: payload.len(), rest: Fields::new(payload), done: false }
}

/// See [`records`].
#[derive(Debug)]
pub struct Records<'a> {
    style: Style,
    at: Lsn,
    length: usize,
    rest: Fields<'a>,
    done: bool,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let begin = self.length - self.rest.rest().len();
        // Where the record itself says it is, once that is known.
        let mut at = self.at;
        match self.read(&mut at) {
            Ok(Some(event)) => Some(Ok(Record { lsn: at, event })),
            Ok(None) => None,
            Err(Malformed(why)) => {
                self.done = true;
                Some(Err(Error::new(
                    ErrorKind::Divergence,
                    "a record of the logical decoding stream can't be read",
                )
                .at("position", at)
                .at("byte", format_args!("{begin} of {}", self.length))
                .because(why)))
            }
        }
    }
}

impl<'a> Records<'a> {
    fn read(&mut self, at: &mut Lsn) -> Result<Option<Event<'a>>, Malformed> {
        match self.style {
            Style::Serial => {
                let record = self.unframed()?;
                line::serial(record, *at).map(Some)
            }
            Style::Json { batched: false } => {
                let record = self.unframed()?;
                line::json(record, None).map(Some)
            }
            Style::Text { batched: false } => {
                let record = self.unframed()?;
                line::text(record, None).map(Some)
            }
            Style::Json { batched: true } => {
                let Some(record) = self.framed(at)? else { return Ok(None) };
                line::json(text(record)?, Some(*at)).map(Some)
            }
            Style::Text { batched: true } => {
                let Some(record) = self.framed(at)? else { return Ok(None) };
                line::text(text(record)?, Some(*at)).map(Some)
            }
            Style::Binary => {
                let Some(record) = self.framed(at)? else { return Ok(None) };
                let event = binary::event(record, *at)?;
                match self.rest.u8()? {
                    b'P' => {}
                    b'F' if self.rest.is_empty() => self.done = true,
                    b'F' => return Err(Malformed("there is something behind the last record")),
                    _ => return Err(Malformed("it doesn't end with what separates records")),
                }
                Ok(Some(event))
            }
        }
    }

    /// The whole payload.
    fn unframed(&mut self) -> Result<&'a str, Malformed> {
        self.done = true;
        text(self.rest.take(self.rest.rest().len())?)
    }

    /// The next record of a batch, whose place goes to `at`; `None` at the zero that ends a batch.
    fn framed(&mut self, at: &mut Lsn) -> Result<Option<&'a [u8]>, Malformed> {
        let length = self.rest.u32()? as usize;
        if length == 0 {
            self.done = true;
            if !self.rest.is_empty() {
                return Err(Malformed("there is something behind the end of the batch"));
            }
            return Ok(None);
        }
        let record = length.checked_sub(8).ok_or(Malformed("a record is shorter than its place"))?;
        *at = Lsn(self.rest.u64()?);
        self.rest.take(record).map(Some)
    }
}

fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed("it is not UTF-8"))
}
