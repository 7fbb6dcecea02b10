//! The changes of one transaction, in memory or in a file.
//!
//! A record is the length of what follows, the part of the transaction, the place in the log, and the message as it would be in
//! a transaction that is sent when it is committed. The file has no name: it is gone with whoever has it open,
//! however that ends.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use engine_core::{Error, ErrorKind, Result};
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use crate::replication::fields::Fields;
use crate::replication::lsn::Lsn;

/// Length, part, place.
const HEADER: usize = 4 + 4 + 8;
/// Bytes of all transactions together that are kept in memory.
pub(in crate::source) const IN_MEMORY: usize = 8 << 20;
/// Bytes that are read of a file at a time.
const BLOCK: usize = 256 << 10;

/// Takes the changes.
#[derive(Debug, Default)]
pub(in crate::source) struct Spool {
    file: Option<Written>,
    /// What comes behind the file.
    memory: Vec<u8>,
    dropped: HashSet<u32>,
}

/// What is in a file.
#[derive(Debug)]
struct Written {
    file: File,
    bytes: u64,
    checksum: u32,
}

impl Spool {
    /// Bytes in memory.
    pub(in crate::source) fn in_memory(&self) -> usize {
        self.memory.len()
    }

    /// Keeps a message of a part of the transaction; answers how many bytes more there are in memory.
    pub(in crate::source) fn keep(&mut self, part: u32, start: Lsn, kind: u8, rest: &[u8]) -> Result<usize> {
        let before = self.memory.len();
        let length = u32::try_from(rest.len() + 1 + HEADER - 4)
            .map_err(|_| Error::new(ErrorKind::Internal, "a change is longer than a message can be"))?;
        self.memory.put_u32(length);
        self.memory.put_u32(part);
        self.memory.put_u64(start.0);
        self.memory.put_u8(kind);
        self.memory.put_slice(rest);
        Ok(self.memory.len() - before)
    }

    /// Says that a part was taken back.
    pub(in crate::source) fn drop_part(&mut self, part: u32) {
        self.dropped.insert(part);
    }

    /// Writes what is in memory to the file, which is made in `directory` if there is none.
    pub(in crate::source) async fn write_out(&mut self, directory: &Path) -> Result<()> {
        let (file, memory) = (self.file.take(), std::mem::take(&mut self.memory));
        let place = directory.to_owned();
        let written = tokio::task::spawn_blocking(move || append(file, &memory, &place)).await;
        let written = written.map_err(io::Error::other).and_then(|written| written).map_err(|error| {
            failed("a large transaction of the source can't be kept until it is committed", error)
                .at("directory", directory.display())
                .help(
                    "make room there, or choose another place with --state-dir; nothing is lost: the source sends \
                     the transaction anew when the same command is run again",
                )
        })?;
        self.file = Some(written);
        Ok(())
    }

    /// Ends it, and begins to read.
    pub(super) async fn read(self) -> Result<Reading> {
        let Self { file, memory, dropped } = self;
        let file = match file {
            None => None,
            Some(mut written) => Some(
                blocking(move || {
                    written.file.rewind()?;
                    Ok(FileReading {
                        file: written.file,
                        left: written.bytes,
                        expected: written.checksum,
                        found: 0,
                    })
                })
                .await?,
            ),
        };
        Ok(Reading { file, memory: Some(memory.into()), buffer: BytesMut::new(), dropped })
    }
}

fn append(file: Option<Written>, bytes: &[u8], directory: &Path) -> io::Result<Written> {
    let mut written = match file {
        Some(written) => written,
        None => Written { file: tempfile::tempfile_in(directory)?, bytes: 0, checksum: 0 },
    };
    written.file.write_all(bytes)?;
    written.bytes += bytes.len() as u64;
    written.checksum = crc32c::crc32c_append(written.checksum, bytes);
    Ok(written)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(io::Error::other).and_then(|done| done);
    done.map_err(|error| failed("a large transaction of the source that was kept can't be read back", error))
}

/// Gives the changes back.
pub(super) struct Reading {
    file: Option<FileReading>,
    memory: Option<Bytes>,
    buffer: BytesMut,
    dropped: HashSet<u32>,
}

struct FileReading {
    file: File,
    left: u64,
    expected: u32,
    found: u32,
}

impl Reading {
    /// The next change that was not taken back, with its place in the log. `None` only when every byte that was
    /// kept came back as it was.
    pub(super) async fn next(&mut self) -> Result<Option<(Lsn, Bytes)>> {
        loop {
            let Some((part, start, payload)) = self.record()? else {
                if self.fill().await? {
                    continue;
                }
                return if self.buffer.is_empty() { Ok(None) } else { Err(damaged()) };
            };
            if !self.dropped.contains(&part) {
                return Ok(Some((start, payload)));
            }
        }
    }

    fn record(&mut self) -> Result<Option<(u32, Lsn, Bytes)>> {
        let mut fields = Fields::new(&self.buffer);
        let Ok(length) = fields.u32() else { return Ok(None) };
        let Ok(record) = fields.take(length as usize) else { return Ok(None) };
        let mut fields = Fields::new(record);
        let (Ok(part), Ok(start)) = (fields.u32(), fields.lsn()) else { return Err(damaged()) };
        let mut record = self.buffer.split_to(length as usize + 4).freeze();
        record.advance(HEADER);
        Ok(Some((part, start, record)))
    }

    /// Reads more, unless there is no more.
    async fn fill(&mut self) -> Result<bool> {
        if let Some(mut reading) = self.file.take() {
            let mut buffer = std::mem::take(&mut self.buffer);
            let (reading, buffer) = blocking(move || {
                reading.more(&mut buffer)?;
                Ok((reading, buffer))
            })
            .await?;
            self.buffer = buffer;
            if reading.left > 0 {
                self.file = Some(reading);
            } else if reading.found != reading.expected {
                return Err(damaged());
            }
            return Ok(true);
        }
        match self.memory.take() {
            // A record does not begin in the file and end in memory.
            Some(memory) if self.buffer.is_empty() => {
                self.buffer = memory.into();
                Ok(!self.buffer.is_empty())
            }
            Some(_) => Err(damaged()),
            None => Ok(false),
        }
    }
}

impl FileReading {
    fn more(&mut self, buffer: &mut BytesMut) -> io::Result<()> {
        // At least as much again as is there of a long record, so that it takes few steps.
        let wanted = BLOCK.max(buffer.len()).min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let start = buffer.len();
        buffer.resize(start + wanted, 0);
        let read = buffer.get_mut(start..).unwrap_or_default();
        self.file.read_exact(read)?;
        self.found = crc32c::crc32c_append(self.found, read);
        self.left -= read.len() as u64;
        Ok(())
    }
}

/// The error of a file that can't be made, written or read.
fn failed(what: &'static str, error: io::Error) -> Error {
    Error::new(ErrorKind::State, what).caused_by(error)
}

fn damaged() -> Error {
    Error::new(ErrorKind::State, "a large transaction of the source was not kept as it was written")
        .because("the file that it was kept in has other bytes now")
        .help("check the disk of the state directory, and run again: the source sends the transaction anew")
}
