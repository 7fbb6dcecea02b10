//! MySQL's packed decimal format to text.

use super::bytes::{Bytes, Malformed};

/// Digits in one four-byte word.
const WORD_DIGITS: usize = 9;
/// Bytes that hold the 0 ..= 9 digits left over from whole words.
const REMAINDER_BYTES: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];

/// How a `DECIMAL(precision, scale)` lies in a row: big-endian groups of up to nine decimal
/// digits, the incomplete group of the integer part first and that of the fraction last. The top
/// bit of the first byte is inverted, and every byte too when the number is negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackedDecimal {
    integer_digits: usize,
    scale: usize,
    size: usize,
}

impl PackedDecimal {
    /// `None` when no server has such a type.
    pub(crate) fn new(precision: u8, scale: u8) -> Option<Self> {
        let (precision, scale) = (usize::from(precision), usize::from(scale));
        if precision == 0 || precision > 65 || scale > 38 || scale > precision {
            return None;
        }
        let integer_digits = precision - scale;
        let bytes = |digits: usize| {
            digits / WORD_DIGITS * 4 + REMAINDER_BYTES.get(digits % WORD_DIGITS).copied().unwrap_or(0)
        };
        Some(Self { integer_digits, scale, size: bytes(integer_digits) + bytes(scale) })
    }

    /// Bytes taken in a row.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Appends the value as text: a minus sign where needed, no leading zeros but one before the
    /// point, exactly `scale` digits after it.
    pub(crate) fn decode_into(&self, input: &mut Bytes<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let packed = input.take(self.size)?;
        // 65 digits take 30 bytes at most, 32 with both groups incomplete.
        let mut plain = [0u8; 32];
        let plain = plain.get_mut(..self.size).ok_or(Malformed("a decimal is too wide"))?;
        plain.copy_from_slice(packed);
        let negative = plain.first().is_some_and(|first| first & 0x80 == 0);
        if negative {
            for byte in &mut *plain {
                *byte = !*byte;
            }
        }
        if let Some(first) = plain.first_mut() {
            *first &= 0x7f;
        }
        let mut groups = Bytes::new(plain);

        let start = out.len();
        if negative {
            out.push(b'-');
        }
        let mut significant = false;
        let leading = self.integer_digits % WORD_DIGITS;
        let words = self.integer_digits / WORD_DIGITS;
        for digits in std::iter::once(leading).chain(std::iter::repeat_n(WORD_DIGITS, words)) {
            let value = group(&mut groups, digits)?;
            if significant {
                push_padded(out, value, digits);
            } else if value != 0 {
                let mut buffer = itoa(value);
                let text = buffer.text();
                out.extend_from_slice(text);
                significant = true;
            }
        }
        let zero_integer = !significant;
        if zero_integer {
            out.push(b'0');
        }
        let mut zero_fraction = true;
        if self.scale > 0 {
            out.push(b'.');
            let words = self.scale / WORD_DIGITS;
            for digits in
                std::iter::repeat_n(WORD_DIGITS, words).chain(std::iter::once(self.scale % WORD_DIGITS))
            {
                let value = group(&mut groups, digits)?;
                zero_fraction &= value == 0;
                push_padded(out, value, digits);
            }
        }
        if negative && zero_integer && zero_fraction {
            out.remove(start);
        }
        Ok(())
    }
}

/// One group of `digits` decimal digits.
fn group(input: &mut Bytes<'_>, digits: usize) -> Result<u32, Malformed> {
    let width = REMAINDER_BYTES.get(digits).copied().unwrap_or(4);
    let value = input.big_endian(width)? as u32;
    let limit = 10u32.pow(digits as u32);
    if value >= limit {
        return Err(Malformed("a decimal has a group of too many digits"));
    }
    Ok(value)
}

struct Digits {
    buffer: [u8; 10],
    start: usize,
}

impl Digits {
    fn text(&mut self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or(&[])
    }
}

fn itoa(mut value: u32) -> Digits {
    let mut digits = Digits { buffer: [b'0'; 10], start: 10 };
    for slot in digits.buffer.iter_mut().rev() {
        *slot = b'0' + (value % 10) as u8;
        value /= 10;
        digits.start -= 1;
        if value == 0 {
            break;
        }
    }
    digits
}

fn push_padded(out: &mut Vec<u8>, mut value: u32, digits: usize) {
    let mut buffer = [b'0'; WORD_DIGITS];
    for slot in buffer.iter_mut().take(digits).rev() {
        *slot = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(buffer.get(..digits).unwrap_or(&[]));
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Packs digits the way the server does.
    pub(crate) fn pack(negative: bool, integer: &str, fraction: &str) -> Vec<u8> {
        let mut packed = Vec::new();
        let mut push = |digits: &str| {
            let value: u32 = if digits.is_empty() { 0 } else { digits.parse().expect("digits") };
            let width = REMAINDER_BYTES[digits.len()];
            packed.extend_from_slice(&value.to_be_bytes()[4 - width..]);
        };
        let leading = integer.len() % WORD_DIGITS;
        push(&integer[..leading]);
        integer.as_bytes()[leading..]
            .chunks(WORD_DIGITS)
            .chain(fraction.as_bytes().chunks(WORD_DIGITS))
            .for_each(|digits| push(std::str::from_utf8(digits).expect("ASCII")));
        if negative {
            packed = packed.iter().map(|byte| !byte).collect();
        }
        if let Some(first) = packed.first_mut() {
            *first ^= 0x80;
        }
        packed
    }

    fn text(precision: u8, scale: u8, packed: &[u8]) -> Result<String, Malformed> {
        let mut out = Vec::new();
        let mut input = Bytes::new(packed);
        PackedDecimal::new(precision, scale).expect("a type").decode_into(&mut input, &mut out)?;
        assert!(input.is_empty());
        Ok(String::from_utf8(out).expect("ASCII"))
    }

    #[test]
    fn the_example_of_the_server_manual() {
        let packed = [0x81, 0x0d, 0xfb, 0x38, 0xd2, 0x04, 0xd2];
        assert_eq!(text(14, 4, &packed).as_deref(), Ok("1234567890.1234"));
        let negative: Vec<u8> = packed.iter().map(|byte| !byte).collect();
        assert_eq!(text(14, 4, &negative).as_deref(), Ok("-1234567890.1234"));
    }

    #[test]
    fn zero_has_no_sign_and_groups_are_checked() {
        assert_eq!(text(5, 2, &pack(true, "000", "00")).as_deref(), Ok("0.00"));
        assert_eq!(text(1, 1, &[0x80]).as_deref(), Ok("0.0"));
        assert!(text(9, 0, &[0xff; 4]).is_err());
        assert!(PackedDecimal::new(66, 0).is_none());
        assert!(PackedDecimal::new(3, 4).is_none());
    }

    proptest! {
        #[test]
        fn round_trips(negative: bool, (integer, fraction) in (0usize..=38).prop_flat_map(|scale| (usize::from(scale == 0)..=65 - scale).prop_flat_map(move |digits| (
            proptest::string::string_regex(&format!("[0-9]{{{digits}}}")).expect("a pattern"),
            proptest::string::string_regex(&format!("[0-9]{{{scale}}}")).expect("a pattern"),
        )))) {
            let (precision, scale) = ((integer.len() + fraction.len()) as u8, fraction.len() as u8);
            let got = text(precision, scale, &pack(negative, &integer, &fraction)).expect("well-formed");
            let whole = integer.trim_start_matches('0');
            let whole = if whole.is_empty() { "0" } else { whole };
            let zero = whole == "0" && fraction.bytes().all(|digit| digit == b'0');
            let sign = if negative && !zero { "-" } else { "" };
            let point = if fraction.is_empty() { "" } else { "." };
            prop_assert_eq!(got, format!("{sign}{whole}{point}{fraction}"));
        }

        #[test]
        fn any_bytes_are_survived(precision in 1u8..=65, scale in 0u8..=38, bytes: Vec<u8>) {
            if let Some(decimal) = PackedDecimal::new(precision, scale) {
                let _ = decimal.decode_into(&mut Bytes::new(&bytes), &mut Vec::new());
            }
        }
    }
}
