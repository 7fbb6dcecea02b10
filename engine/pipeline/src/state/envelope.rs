//! The envelope around every stored record: magic, format version, kind, length, CRC-32C, then
//! the bincode of the record. A record that is damaged or from another format is told apart from
//! one that is simply not there.

use serde::Serialize;
use serde::de::DeserializeOwned;

use engine_core::error::{Error, ErrorKind, Result};

const MAGIC: [u8; 4] = *b"MER1";
const HEADER: usize = MAGIC.len() + 2 + 4 + 4;
/// A plan of very many tables is some hundred megabytes; a length beyond that is damage.
const LONGEST: usize = 1 << 30;

/// Wraps a record of schema version `version`.
pub(super) fn seal<T: Serialize>(version: u16, record: &T) -> Result<Vec<u8>> {
    let body = bincode::serde::encode_to_vec(record, bincode::config::standard())
        .map_err(|error| Error::new(ErrorKind::Internal, "a record can't be written").caused_by(error))?;
    let length = u32::try_from(body.len()).map_err(|error| {
        Error::new(ErrorKind::Internal, "a record is too long to be written").caused_by(error)
    })?;
    let mut sealed = Vec::with_capacity(HEADER + body.len());
    sealed.extend_from_slice(&MAGIC);
    sealed.extend_from_slice(&version.to_le_bytes());
    sealed.extend_from_slice(&length.to_le_bytes());
    sealed.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    sealed.extend_from_slice(&body);
    Ok(sealed)
}

/// Unwraps a record of schema version `version`.
pub(super) fn open<T: DeserializeOwned>(version: u16, sealed: &[u8]) -> Result<T> {
    let damaged = |why: &str| Error::new(ErrorKind::State, "a stored record is damaged").because(why);
    let (magic, rest) = sealed.split_first_chunk::<4>().ok_or_else(|| damaged("it is too short"))?;
    let (found, rest) = rest.split_first_chunk::<2>().ok_or_else(|| damaged("it is too short"))?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(|| damaged("it is too short"))?;
    let (checksum, body) = rest.split_first_chunk::<4>().ok_or_else(|| damaged("it is too short"))?;
    if *magic != MAGIC {
        return Err(damaged("it does not begin as one"));
    }
    let found = u16::from_le_bytes(*found);
    if found != version {
        return Err(Error::new(ErrorKind::State, "a stored record is of another version of the engine")
            .because(format!("it has version {found}, this engine reads {version}")));
    }
    if u32::from_le_bytes(*length) as usize != body.len() || body.len() > LONGEST {
        return Err(damaged("its length does not agree"));
    }
    if u32::from_le_bytes(*checksum) != crc32c::crc32c(body) {
        return Err(damaged("its checksum does not agree"));
    }
    let config = bincode::config::standard().with_limit::<LONGEST>();
    let (record, used) =
        bincode::serde::decode_from_slice(body, config).map_err(|error| damaged(&error.to_string()))?;
    if used == body.len() { Ok(record) } else { Err(damaged("something follows it")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn round_trips() {
        let record = ("plan".to_owned(), Some(5_u64));
        let sealed = seal(3, &record).expect("a small record");
        assert_eq!(open::<(String, Option<u64>)>(3, &sealed).expect("just sealed"), record);
        assert!(open::<(String, Option<u64>)>(4, &sealed).is_err());
    }

    proptest! {
        #[test]
        fn any_flipped_bit_or_cut_is_noticed(at in 0_usize..1000, bit in 0_u8..8, cut in any::<bool>()) {
            let mut sealed = seal(1, &vec![7_u64; 20]).expect("a small record");
            let at = at % sealed.len();
            if cut { sealed.truncate(at) } else { sealed[at] ^= 1 << bit }
            prop_assert!(open::<Vec<u64>>(1, &sealed).is_err());
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(open::<Vec<String>>(1, &bytes).is_err());
        }
    }
}
