//! Places in the write-ahead log.

use engine_core::{Error, ErrorKind};
use std::fmt;
use std::str::FromStr;

/// A place in the write-ahead log, in bytes from its beginning; displays as the server writes it,
/// `16/B374D848`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl FromStr for Lsn {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        // `from_str_radix` takes a sign, the server none; eight digits are 32 bits.
        let half = |digits: &str| {
            let fits = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            fits.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
        };
        text.split_once('/').and_then(|(high, low)| Some(Self(half(high)? << 32 | half(low)?))).ok_or_else(
            || {
                Error::new(ErrorKind::Divergence, "a place in the write-ahead log can't be read")
                    .at("position", text)
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn is_written_as_the_server_writes_it() {
        assert_eq!(Lsn(0x16_B374_D848).to_string(), "16/B374D848");
        assert_eq!(Lsn(0).to_string(), "0/0");
        assert_eq!("0/1A".parse::<Lsn>().expect("a place"), Lsn(26));
        for wrong in ["", "0", "/", "0/", "/0", "0/0/0", "+1/0", "0/123456789", "g/0"] {
            assert!(wrong.parse::<Lsn>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn comes_back_from_its_text(place: u64) {
            prop_assert_eq!(Lsn(place).to_string().parse::<Lsn>().expect("its own text"), Lsn(place));
        }
    }
}
