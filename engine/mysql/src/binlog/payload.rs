//! Compressed transactions of MySQL and compressed events of MariaDB.

use flate2::read::ZlibDecoder;
use std::io::{Cursor, Read};

use super::bytes::{Bytes, Malformed};
use super::event::{HEADER_LENGTH, Header};

/// The largest event a server can write, and so the largest value we unpack at once.
const MAX_EVENT: usize = 1 << 30;

/// The events inside of a `Transaction_payload` event, unpacked one at a time.
pub(crate) struct Payload {
    source: Source,
    /// Bytes that the outer event promises are still to come.
    remaining: u64,
}

enum Source {
    Plain(Cursor<Vec<u8>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Cursor<Vec<u8>>>>),
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Payload").field("remaining", &self.remaining).finish_non_exhaustive()
    }
}

impl Payload {
    /// Reads the fields of the outer event: pairs of type, length and value, ended by type 0, and
    /// then the payload.
    pub(crate) fn open(body: &[u8]) -> Result<Self, Malformed> {
        const END: u64 = 0;
        const SIZE: u64 = 1;
        const ALGORITHM: u64 = 2;
        const UNCOMPRESSED_SIZE: u64 = 3;
        let mut input = Bytes::new(body);
        let (mut size, mut algorithm, mut uncompressed_size) = (None, None, None);
        loop {
            let field = input.length_encoded()?;
            if field == END {
                break;
            }
            let length = input.length_encoded()? as usize;
            let value = Bytes::new(input.take(length)?).length_encoded()?;
            match field {
                SIZE => size = Some(value),
                ALGORITHM => algorithm = Some(value),
                UNCOMPRESSED_SIZE => uncompressed_size = Some(value),
                _ => return Err(Malformed("a compressed transaction has an unknown field")),
            }
        }
        let compressed = input.rest();
        if size != Some(compressed.len() as u64) {
            return Err(Malformed("a compressed transaction is not of the size it says"));
        }
        let source = Cursor::new(compressed.to_vec());
        let (source, remaining) = match algorithm {
            Some(0) => {
                let decoder = zstd::stream::read::Decoder::with_buffer(source)
                    .map_err(|_| Malformed("a compressed transaction can't be unpacked"))?;
                let size =
                    uncompressed_size.ok_or(Malformed("a compressed transaction does not say its size"))?;
                (Source::Zstd(Box::new(decoder)), size)
            }
            Some(255) => (Source::Plain(source), compressed.len() as u64),
            _ => return Err(Malformed("a transaction is compressed by an unknown algorithm")),
        };
        Ok(Self { source, remaining })
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Malformed> {
        self.remaining = self
            .remaining
            .checked_sub(buffer.len() as u64)
            .ok_or(Malformed("a compressed transaction is longer than it says"))?;
        let read = match &mut self.source {
            Source::Plain(plain) => plain.read_exact(buffer),
            Source::Zstd(decoder) => decoder.read_exact(buffer),
        };
        read.map_err(|_| Malformed("a compressed transaction can't be unpacked"))
    }

    /// The next event and its body; `None` after the last. Events inside have no checksum.
    pub(crate) fn next(&mut self) -> Result<Option<(Header, Vec<u8>)>, Malformed> {
        if self.remaining == 0 {
            return self.finish().map(|()| None);
        }
        let mut bytes = [0; HEADER_LENGTH];
        self.fill(&mut bytes)?;
        let header = Header::read(&mut Bytes::new(&bytes))?;
        let length = (header.size as usize)
            .checked_sub(HEADER_LENGTH)
            .filter(|&length| length <= MAX_EVENT && length as u64 <= self.remaining)
            .ok_or(Malformed("an event in a compressed transaction has an impossible size"))?;
        let mut body = Vec::new();
        body.try_reserve_exact(length).map_err(|_| Malformed("there is no memory for an event"))?;
        body.resize(length, 0);
        self.fill(&mut body)?;
        Ok(Some((header, body)))
    }

    fn finish(&mut self) -> Result<(), Malformed> {
        let mut beyond = [0];
        let read = match &mut self.source {
            Source::Plain(plain) => plain.read(&mut beyond),
            Source::Zstd(decoder) => decoder.read(&mut beyond),
        };
        match read {
            Ok(0) => Ok(()),
            Ok(_) => Err(Malformed("a compressed transaction is longer than it says")),
            Err(_) => Err(Malformed("a compressed transaction can't be unpacked")),
        }
    }
}

/// Unpacks a part of an event of MariaDB's `log_bin_compress`: a byte whose low three bits are the
/// width of the big-endian length that follows, and then zlib.
pub(crate) fn unpack_mariadb(packed: &[u8]) -> Result<Vec<u8>, Malformed> {
    const FAILED: Malformed = Malformed("a compressed event can't be unpacked");
    let mut input = Bytes::new(packed);
    let head = input.u8()?;
    let (algorithm, width) = (head >> 4 & 7, usize::from(head & 7));
    if head & 0x80 == 0 || algorithm != 0 || !(1..=4).contains(&width) {
        return Err(Malformed("an event is compressed by an unknown algorithm"));
    }
    let length = input.big_endian(width)? as usize;
    if length > MAX_EVENT {
        return Err(Malformed("a compressed event has an impossible size"));
    }
    let mut unpacked = Vec::new();
    let mut decoder = ZlibDecoder::new(input.rest()).take(length as u64 + 1);
    decoder.read_to_end(&mut unpacked).map_err(|_| FAILED)?;
    if unpacked.len() != length {
        return Err(Malformed("a compressed event is not of the size it says"));
    }
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use proptest::prelude::*;
    use std::io::Write as _;

    fn inner(kind: u8, body: &[u8]) -> Vec<u8> {
        let size = (HEADER_LENGTH + body.len()) as u32;
        let header = Header { timestamp: 1, kind, server_id: 1, size, next: 0, flags: 0 };
        [&header.to_bytes()[..], body].concat()
    }

    fn outer(algorithm: u8, uncompressed: u64, payload: &[u8]) -> Vec<u8> {
        let number = |value: u64| [&[254][..], &value.to_le_bytes()].concat();
        let mut body = vec![2];
        body.extend(if algorithm == 255 { [3, 252, 255, 0].to_vec() } else { [1, algorithm].to_vec() });
        body.extend([3, 9]);
        body.extend(number(uncompressed));
        body.extend([1, 9]);
        body.extend(number(payload.len() as u64));
        body.push(0);
        body.extend_from_slice(payload);
        body
    }

    fn kinds(body: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut payload = Payload::open(body)?;
        let mut kinds = Vec::new();
        while let Some((header, _)) = payload.next()? {
            kinds.push(header.kind);
        }
        Ok(kinds)
    }

    #[test]
    fn events_come_out_whether_compressed_or_not() {
        let plain = [inner(2, b"BEGIN"), inner(19, &[7; 3000]), inner(16, &[0; 8])].concat();
        let packed = zstd::encode_all(&plain[..], 3).expect("packed");
        assert_eq!(kinds(&outer(0, plain.len() as u64, &packed)), Ok(vec![2, 19, 16]));
        assert_eq!(kinds(&outer(255, plain.len() as u64, &plain)), Ok(vec![2, 19, 16]));
    }

    #[test]
    fn lies_about_size_and_algorithm_are_found() {
        let plain = inner(2, b"BEGIN");
        let packed = zstd::encode_all(&plain[..], 3).expect("packed");
        let size = plain.len() as u64;
        assert!(kinds(&outer(0, size + 1, &packed)).is_err());
        assert!(kinds(&outer(0, size - 1, &packed)).is_err());
        assert!(kinds(&outer(0, size, &packed[..packed.len() - 2])).is_err());
        assert!(kinds(&outer(7, size, &packed)).is_err());
        assert!(kinds(&outer(0, u64::MAX, &packed)).is_err());
        let mut damaged = packed;
        damaged[0] ^= 0xff;
        assert!(kinds(&outer(0, size, &damaged)).is_err());
    }

    fn mariadb(plain: &[u8], length: u32) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(plain).expect("memory");
        [&[0x84][..], &length.to_be_bytes(), &encoder.finish().expect("memory")].concat()
    }

    #[test]
    fn mariadb_events_are_unpacked_to_the_length_they_say() {
        assert_eq!(unpack_mariadb(&mariadb(b"rows", 4)), Ok(b"rows".to_vec()));
        assert!(unpack_mariadb(&mariadb(b"rows", 3)).is_err());
        assert!(unpack_mariadb(&mariadb(b"rows", 5)).is_err());
        assert!(unpack_mariadb(&[0x94, 0, 0, 0, 0]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(body: Vec<u8>) {
            let _ = (kinds(&body), unpack_mariadb(&body), kinds(&outer(255, 0, &body)), kinds(&outer(0, 60, &body)));
        }
    }
}
