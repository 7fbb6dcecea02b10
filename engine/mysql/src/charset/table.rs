//! Conversion tables as the server answers them, and decoding by them.

use super::{Undecoded, push_char};

/// A character set of one byte per character.
#[derive(Debug)]
pub(super) struct SingleTable {
    chars: [Option<char>; 256],
    ascii: bool,
}

/// A character set of one and two bytes, and of three after the lead byte `8F` (`ujis`,
/// `eucjpms`).
#[derive(Debug)]
pub(super) struct PairTable {
    single: SingleTable,
    /// By lead and trail byte; U+0000 where there is no character.
    pairs: Box<[char]>,
    /// By second and third byte; empty where the set has no three-byte characters.
    triples: Box<[char]>,
}

/// GB 18030: one, two and four bytes.
#[derive(Debug)]
pub(super) struct GbTable {
    pairs: PairTable,
    /// The four-byte characters of the basic plane, by [`four_byte_index`].
    fours: Box<[char]>,
}

/// Four-byte sequences of GB 18030 whose lead byte is 81–84.
pub(super) const GB_BASIC_PLANE: usize = 4 * 10 * 126 * 10;
/// Index of `90308130`, which is U+10000; from there on the code is linear.
const GB_SUPPLEMENTARY: usize = 189_000;
/// Lead byte of the three-byte characters of the Japanese EUC encodings.
pub(super) const EUC_TRIPLE: u8 = 0x8f;
pub(super) const PAIRS: usize = 1 << 16;

const NONE: char = '\0';

impl SingleTable {
    /// Takes the character of every byte.
    pub(super) fn new(chars: &[Option<char>; 256]) -> Self {
        let ascii = (0..128u8).zip(chars).all(|(byte, &c)| c == Some(char::from(byte)));
        Self { chars: *chars, ascii }
    }

    #[inline]
    fn get(&self, byte: u8) -> Option<char> {
        self.chars.get(usize::from(byte)).copied().flatten()
    }

    /// Copies the ASCII run at the start of `raw`; its length.
    #[inline]
    fn ascii_run(&self, raw: &[u8], out: &mut Vec<u8>) -> usize {
        if !self.ascii {
            return 0;
        }
        let run = raw.iter().position(|byte| !byte.is_ascii()).unwrap_or(raw.len());
        out.extend_from_slice(raw.get(..run).unwrap_or_default());
        run
    }

    pub(super) fn decode(&self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), Undecoded> {
        let start = self.ascii_run(raw, out);
        for (offset, &byte) in raw.iter().enumerate().skip(start) {
            push_char(self.get(byte).ok_or(Undecoded(offset))?, out);
        }
        Ok(())
    }
}

impl PairTable {
    /// Takes the characters of single bytes, of [`PAIRS`] byte pairs and, unless there are none,
    /// of as many pairs that follow [`EUC_TRIPLE`].
    pub(super) fn new(single: SingleTable, pairs: Box<[char]>, triples: Box<[char]>) -> Self {
        Self { single, pairs, triples }
    }

    fn one(&self, rest: &[u8]) -> Option<(char, usize)> {
        let pick = |table: &[char], high: u8, low: u8| {
            let c = table.get(usize::from(high) << 8 | usize::from(low)).copied();
            c.filter(|&c| c != NONE)
        };
        let &lead = rest.first()?;
        if let Some(c) = self.single.get(lead) {
            return Some((c, 1));
        }
        if lead == EUC_TRIPLE && !self.triples.is_empty() {
            return Some((pick(&self.triples, *rest.get(1)?, *rest.get(2)?)?, 3));
        }
        Some((pick(&self.pairs, lead, *rest.get(1)?)?, 2))
    }

    pub(super) fn decode(&self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), Undecoded> {
        decode_by(raw, out, &self.single, |rest| self.one(rest))
    }
}

impl GbTable {
    /// Takes the characters of one and two bytes and the [`GB_BASIC_PLANE`] ones of four.
    pub(super) fn new(pairs: PairTable, fours: Box<[char]>) -> Self {
        Self { pairs, fours }
    }

    fn one(&self, rest: &[u8]) -> Option<(char, usize)> {
        if let Some(found) = self.pairs.one(rest) {
            return Some(found);
        }
        let index = four_byte_index(*rest.first_chunk::<4>()?)?;
        let c = match index.checked_sub(GB_SUPPLEMENTARY) {
            Some(above) => char::from_u32(0x1_0000 + u32::try_from(above).ok()?)?,
            None => self.fours.get(index).copied().filter(|&c| c != NONE)?,
        };
        Some((c, 4))
    }

    pub(super) fn decode(&self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), Undecoded> {
        decode_by(raw, out, &self.pairs.single, |rest| self.one(rest))
    }
}

fn decode_by(
    raw: &[u8],
    out: &mut Vec<u8>,
    single: &SingleTable,
    one: impl Fn(&[u8]) -> Option<(char, usize)>,
) -> Result<(), Undecoded> {
    let mut offset = 0;
    loop {
        let rest = raw.get(offset..).unwrap_or_default();
        let run = single.ascii_run(rest, out);
        offset += run;
        let rest = rest.get(run..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        let (c, length) = one(rest).ok_or(Undecoded(offset))?;
        push_char(c, out);
        offset += length;
    }
}

/// Where GB 18030 numbers a four-byte sequence; `None` when it is not well formed.
fn four_byte_index(bytes: [u8; 4]) -> Option<usize> {
    let [first, second, third, fourth] = bytes;
    let digit = |byte: u8, from: u8, to: u8| (from..=to).contains(&byte).then(|| usize::from(byte - from));
    let high = digit(first, 0x81, 0xfe)? * 10 + digit(second, 0x30, 0x39)?;
    Some((high * 126 + digit(third, 0x81, 0xfe)?) * 10 + digit(fourth, 0x30, 0x39)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn latin1() -> SingleTable {
        let mut chars = [None; 256];
        for byte in 0..=255u8 {
            chars[usize::from(byte)] = Some(if byte == 0x80 { '€' } else { char::from(byte) });
        }
        SingleTable::new(&chars)
    }

    fn ascii_only() -> SingleTable {
        let mut chars = [None; 256];
        for byte in 0..128u8 {
            chars[usize::from(byte)] = Some(char::from(byte));
        }
        SingleTable::new(&chars)
    }

    fn sparse(entries: &[(u16, char)]) -> Box<[char]> {
        let mut table = vec![NONE; PAIRS];
        for &(index, c) in entries {
            table[usize::from(index)] = c;
        }
        table.into()
    }

    fn gbk() -> PairTable {
        PairTable::new(ascii_only(), sparse(&[(0xc4e3, '你'), (0xbac3, '好')]), Box::default())
    }

    fn text(
        decode: impl Fn(&[u8], &mut Vec<u8>) -> Result<(), Undecoded>,
        raw: &[u8],
    ) -> Result<String, usize> {
        let mut out = Vec::new();
        decode(raw, &mut out).map_err(|Undecoded(offset)| offset)?;
        Ok(String::from_utf8(out).expect("decoding yields UTF-8"))
    }

    #[test]
    fn single_bytes_are_looked_up() {
        let table = latin1();
        assert_eq!(text(|raw, out| table.decode(raw, out), b"a\x80\x81\xe9").as_deref(), Ok("a€\u{81}é"));
        let table = ascii_only();
        assert_eq!(text(|raw, out| table.decode(raw, out), b"ab\xe9"), Err(2));
    }

    #[test]
    fn pairs_without_a_character_are_errors_not_question_marks() {
        let table = gbk();
        let decode = |raw: &[u8]| text(|raw, out| table.decode(raw, out), raw);
        assert_eq!(decode(b"?\xc4\xe3x\xba\xc3").as_deref(), Ok("?你x好"));
        assert_eq!(decode(b"ab\xa2\xe3"), Err(2));
        assert_eq!(decode(b"\xc4"), Err(0));
    }

    #[test]
    fn three_bytes_after_8f() {
        let table = PairTable::new(ascii_only(), sparse(&[(0xb0a1, '亜')]), sparse(&[(0xb0a1, '丂')]));
        let decode = |raw: &[u8]| text(|raw, out| table.decode(raw, out), raw);
        assert_eq!(decode(b"\xb0\xa1\x8f\xb0\xa1z").as_deref(), Ok("亜丂z"));
        assert_eq!(decode(b"z\x8f\xb0"), Err(1));
    }

    #[test]
    fn gb18030_is_linear_above_the_basic_plane() {
        let mut fours = vec![NONE; GB_BASIC_PLANE];
        fours[0] = '\u{80}';
        let table = GbTable::new(gbk(), fours.into());
        let decode = |raw: &[u8]| text(|raw, out| table.decode(raw, out), raw);
        assert_eq!(decode(b"\x81\x30\x81\x30").as_deref(), Ok("\u{80}"));
        assert_eq!(decode(b"\x90\x30\x81\x30\xc4\xe3").as_deref(), Ok("\u{10000}你"));
        assert_eq!(decode(b"\xe3\x32\x9a\x35").as_deref(), Ok("\u{10ffff}"));
        assert_eq!(decode(b"\xe3\x32\x9a\x36"), Err(0));
        assert_eq!(decode(b"\x81\x30\x81\x31"), Err(0));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(raw in any::<Vec<u8>>()) {
            let pairs = gbk();
            let _ = text(|raw, out| pairs.decode(raw, out), &raw);
            let gb = GbTable::new(gbk(), vec![NONE; GB_BASIC_PLANE].into());
            let _ = text(|raw, out| gb.decode(raw, out), &raw);
        }
    }
}
