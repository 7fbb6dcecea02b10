//! The encodings of Unicode and ASCII. MySQL stores the wide ones big-endian, `utf16le` aside.

use super::{Undecoded, push_char};

pub(super) fn utf8(raw: &[u8], out: &mut Vec<u8>) -> Result<(), Undecoded> {
    match std::str::from_utf8(raw) {
        Ok(_) => {
            out.extend_from_slice(raw);
            Ok(())
        }
        Err(error) => Err(Undecoded(error.valid_up_to())),
    }
}

pub(super) fn ascii(raw: &[u8], out: &mut Vec<u8>) -> Result<(), Undecoded> {
    match raw.iter().position(|byte| !byte.is_ascii()) {
        None => {
            out.extend_from_slice(raw);
            Ok(())
        }
        Some(offset) => Err(Undecoded(offset)),
    }
}

pub(super) fn ucs2(raw: &[u8], out: &mut Vec<u8>) -> Result<(), Undecoded> {
    let (units, rest) = raw.as_chunks::<2>();
    for (index, unit) in units.iter().enumerate() {
        let code = u32::from(u16::from_be_bytes(*unit));
        push_char(char::from_u32(code).ok_or(Undecoded(index * 2))?, out);
    }
    complete(raw, rest)
}

pub(super) fn utf16(raw: &[u8], little_endian: bool, out: &mut Vec<u8>) -> Result<(), Undecoded> {
    let (units, rest) = raw.as_chunks::<2>();
    let code =
        |unit: &[u8; 2]| if little_endian { u16::from_le_bytes(*unit) } else { u16::from_be_bytes(*unit) };
    let mut offset = 0;
    for decoded in char::decode_utf16(units.iter().map(code)) {
        let c = decoded.map_err(|_| Undecoded(offset))?;
        offset += c.len_utf16() * 2;
        push_char(c, out);
    }
    complete(raw, rest)
}

pub(super) fn utf32(raw: &[u8], out: &mut Vec<u8>) -> Result<(), Undecoded> {
    let (units, rest) = raw.as_chunks::<4>();
    for (index, unit) in units.iter().enumerate() {
        push_char(char::from_u32(u32::from_be_bytes(*unit)).ok_or(Undecoded(index * 4))?, out);
    }
    complete(raw, rest)
}

fn complete(raw: &[u8], rest: &[u8]) -> Result<(), Undecoded> {
    if rest.is_empty() { Ok(()) } else { Err(Undecoded(raw.len() - rest.len())) }
}

#[cfg(test)]
mod tests {
    use super::super::Charset;
    use proptest::prelude::*;

    fn decode(charset: &str, raw: &[u8]) -> Result<String, usize> {
        let charset = Charset::native(charset).expect("needs no table");
        let mut out = b"kept".to_vec();
        match charset.decode_into(raw, &mut out) {
            Ok(()) => Ok(String::from_utf8(out[4..].to_vec()).expect("decoding yields UTF-8")),
            Err(unmappable) => {
                assert_eq!(out, b"kept", "a failed value leaves nothing behind");
                Err(unmappable.offset)
            }
        }
    }

    proptest! {
        #[test]
        fn every_text_survives_every_encoding(text in any::<String>()) {
            let utf16: Vec<u16> = text.encode_utf16().collect();
            let big: Vec<u8> = utf16.iter().flat_map(|unit| unit.to_be_bytes()).collect();
            let little: Vec<u8> = utf16.iter().flat_map(|unit| unit.to_le_bytes()).collect();
            let wide: Vec<u8> = text.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect();
            prop_assert_eq!(decode("utf8mb4", text.as_bytes()), Ok(text.clone()));
            prop_assert_eq!(decode("utf16", &big), Ok(text.clone()));
            prop_assert_eq!(decode("utf16le", &little), Ok(text.clone()));
            prop_assert_eq!(decode("utf32", &wide), Ok(text.clone()));
        }

        #[test]
        fn no_bytes_panic_or_yield_anything_but_utf8(raw in any::<Vec<u8>>()) {
            for charset in ["utf8mb4", "ascii", "ucs2", "utf16", "utf16le", "utf32"] {
                let _ = decode(charset, &raw);
            }
        }
    }

    #[test]
    fn names_the_byte_that_is_no_character() {
        assert_eq!(decode("utf8mb4", b"ab\xff"), Err(2));
        assert_eq!(decode("ascii", b"a\x80"), Err(1));
        assert_eq!(decode("ucs2", b"\0a\xd8\0"), Err(2));
        assert_eq!(decode("utf16", b"\0a\0"), Err(2));
        assert_eq!(decode("utf16", b"\0a\xd8\0\0b"), Err(2));
        assert_eq!(decode("utf32", b"\0\x11\0\0"), Err(0));
    }

    #[test]
    fn the_error_shows_charset_and_bytes() {
        let charset = Charset::native("ascii").expect("needs no table");
        let error = charset.decode_into(b"a\xe9", &mut Vec::new()).expect_err("not ASCII");
        assert_eq!(
            error.to_string(),
            "byte 1 of the value (X'E9') is no character of ascii that Unicode knows"
        );
    }
}
