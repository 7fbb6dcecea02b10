//! The binary form of `numeric`: digits to the base 10,000.
//!
//! `int16 ndigits, weight, sign, dscale`, then `ndigits` digits as int16, most significant first;
//! the value is the sum of `digit[i] * 10000^(weight - i)` (`numeric_recv` in `numeric.c`).

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;

/// Largest number of digits after the point that the header has room for.
const MAX_SCALE: usize = 0x3FFF;

/// Why a text is no `numeric` of the declared precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NumericFault {
    /// Not a decimal number.
    Malformed,
    /// More digits before the point than there is room for.
    TooLarge,
    /// Digits other than 0 after the last decimal place.
    TooPrecise,
}

/// The digits of a decimal text, zeros at the outer ends of both sides removed where they mean nothing.
struct Digits<'a> {
    negative: bool,
    /// Before the point, without leading zeros.
    whole: &'a [u8],
    /// After the point.
    fraction: &'a [u8],
}

fn split(text: &[u8]) -> Option<Digits<'_>> {
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    };
    let (whole, fraction) = match memchr::memchr(b'.', rest) {
        Some(point) => (&rest[..point], &rest[point + 1..]),
        None => (rest, &[][..]),
    };
    let digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return None;
    }
    let zeros = whole.iter().take_while(|&&digit| digit == b'0').count();
    Some(Digits { negative, whole: &whole[zeros..], fraction })
}

/// Appends the body of a `numeric` value (without its length), given as decimal text.
///
/// With `declared` precision and scale, a value that the server would round or refuse is a fault.
pub(crate) fn encode_text(
    text: &[u8],
    declared: Option<(u16, i16)>,
    out: &mut Vec<u8>,
) -> Result<(), NumericFault> {
    if text == b"NaN" {
        header(out, 0, 0, NAN, 0);
        return Ok(());
    }
    let digits = split(text).ok_or(NumericFault::Malformed)?;
    if let Some((precision, scale)) = declared
        && let Ok(scale) = u16::try_from(scale)
    {
        if digits.whole.len() > usize::from(precision.saturating_sub(scale)) {
            return Err(NumericFault::TooLarge);
        }
        // `numeric(2,5)` holds 0.00099 at most.
        let leading = usize::from(scale.saturating_sub(precision));
        if digits.fraction.iter().take(leading).any(|&digit| digit != b'0') {
            return Err(NumericFault::TooLarge);
        }
        if digits.fraction.iter().skip(usize::from(scale)).any(|&digit| digit != b'0') {
            return Err(NumericFault::TooPrecise);
        }
    }
    if digits.fraction.len() > MAX_SCALE || digits.whole.len() > 131_072 {
        return Err(NumericFault::TooLarge);
    }
    encode_digits(&digits, out);
    Ok(())
}

fn encode_digits(digits: &Digits<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    header(out, 0, 0, POSITIVE, 0);
    let body = out.len();
    let (mut weight, mut kept) = (digits.whole.len().div_ceil(4) as i16 - 1, body);
    let mut put = |group: &[u8], factor: u16, out: &mut Vec<u8>| {
        let value = group.iter().fold(0u16, |value, &digit| value * 10 + u16::from(digit - b'0')) * factor;
        if value == 0 && out.len() == body {
            weight -= 1;
            return;
        }
        out.extend_from_slice(&value.to_be_bytes());
        if value != 0 {
            kept = out.len();
        }
    };
    let (first, rest) = digits.whole.split_at(digits.whole.len() % 4);
    if !first.is_empty() {
        put(first, 1, out);
    }
    for group in rest.chunks_exact(4) {
        put(group, 1, out);
    }
    for group in digits.fraction.chunks(4) {
        put(group, [1, 1000, 100, 10, 1].get(group.len()).copied().unwrap_or(1), out);
    }
    out.truncate(kept);
    let count = (kept - body) / 2;
    let (weight, sign) = match (count, digits.negative) {
        (0, _) => (0, POSITIVE),
        (_, true) => (weight, NEGATIVE),
        (_, false) => (weight, POSITIVE),
    };
    let mut fields = [0u8; 8];
    fields[0..2].copy_from_slice(&(count as u16).to_be_bytes());
    fields[2..4].copy_from_slice(&weight.to_be_bytes());
    fields[4..6].copy_from_slice(&sign.to_be_bytes());
    fields[6..8].copy_from_slice(&(digits.fraction.len() as u16).to_be_bytes());
    out[start..body].copy_from_slice(&fields);
}

fn header(out: &mut Vec<u8>, count: u16, weight: i16, sign: u16, scale: u16) {
    out.extend_from_slice(&count.to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&scale.to_be_bytes());
}

/// The decimal text of a value, without zeros at its end; `None` when the bytes are no `numeric`.
pub(crate) fn decode_text(value: &[u8]) -> Option<String> {
    let (header, digits) = value.split_first_chunk::<8>()?;
    let &[_, _, w0, w1, s0, s1, _, _] = header;
    let (weight, sign) = (i32::from(i16::from_be_bytes([w0, w1])), u16::from_be_bytes([s0, s1]));
    match sign {
        NAN => return Some("NaN".into()),
        0xD000 => return Some("Infinity".into()),
        0xF000 => return Some("-Infinity".into()),
        _ => {}
    }
    let mut groups = Vec::with_capacity(digits.len() / 2);
    for pair in digits.chunks(2) {
        groups.push(i16::from_be_bytes(pair.try_into().ok()?));
    }
    let group = |power: i32| {
        let index = usize::try_from(weight - power).ok();
        index.and_then(|index| groups.get(index)).copied().unwrap_or(0)
    };
    let text = |powers: &mut dyn Iterator<Item = i32>| {
        powers.fold(String::new(), |text, power| text + &format!("{:04}", group(power)))
    };
    let whole = text(&mut (0..=weight.max(0)).rev());
    let last = weight - groups.len() as i32;
    let fraction = text(&mut (last.min(-1) + 1..0).rev());
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    let minus = if sign == NEGATIVE { "-" } else { "" };
    let whole = if whole.is_empty() { "0" } else { whole };
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{minus}{whole}{point}{fraction}"))
}

/// The decimal digits of an integer, in a buffer of its own.
pub(crate) struct IntegerText {
    buffer: [u8; 21],
    start: usize,
}

impl IntegerText {
    /// Writes `magnitude` with a sign.
    pub(crate) fn new(negative: bool, mut magnitude: u64) -> Self {
        let mut text = Self { buffer: [0; 21], start: 21 };
        loop {
            text.start -= 1;
            text.buffer[text.start] = b'0' + (magnitude % 10) as u8;
            magnitude /= 10;
            if magnitude == 0 {
                break;
            }
        }
        if negative {
            text.start -= 1;
            text.buffer[text.start] = b'-';
        }
        text
    }

    /// The text.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

impl From<i64> for IntegerText {
    fn from(value: i64) -> Self {
        Self::new(value < 0, value.unsigned_abs())
    }
}

impl From<u64> for IntegerText {
    fn from(value: u64) -> Self {
        Self::new(false, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(text: &str, declared: Option<(u16, i16)>) -> Result<Vec<u8>, NumericFault> {
        let mut out = Vec::new();
        encode_text(text.as_bytes(), declared, &mut out).map(|()| out)
    }

    /// What `numeric_out` prints of a binary value.
    fn decode(bytes: &[u8]) -> String {
        let word = |index: usize| i16::from_be_bytes([bytes[index * 2], bytes[index * 2 + 1]]);
        let (count, weight, sign, scale) =
            (i32::from(word(0)), i32::from(word(1)), word(2) as u16, word(3) as usize);
        let digit = |power: i32| {
            let index = weight - power;
            if (0..count).contains(&index) { word(4 + index as usize) } else { 0 }
        };
        let text = |powers: &mut dyn Iterator<Item = i32>| {
            powers.fold(String::new(), |text, power| text + &format!("{:04}", digit(power)))
        };
        let whole = text(&mut (0..=weight.max(0)).rev());
        let fraction = text(&mut (1..=scale.div_ceil(4) as i32).map(|group| -group));
        let whole = whole.trim_start_matches('0');
        let sign = if sign == NEGATIVE { "-" } else { "" };
        let whole = if whole.is_empty() { "0" } else { whole };
        if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{}", &fraction[..scale]) }
    }

    #[test]
    fn known_forms() {
        // As numeric_send gives them.
        assert_eq!(encode("12345.678", None), Ok(vec![0, 3, 0, 1, 0, 0, 0, 3, 0, 1, 9, 41, 26, 124]));
        assert_eq!(encode("0.00", None), Ok(vec![0, 0, 0, 0, 0, 0, 0, 2]));
        assert_eq!(encode("-0.0001", None), Ok(vec![0, 1, 0xff, 0xff, 0x40, 0, 0, 4, 0, 1]));
        assert_eq!(encode("10000", None), Ok(vec![0, 1, 0, 1, 0, 0, 0, 0, 0, 1]));
        assert_eq!(encode("NaN", None), Ok(vec![0, 0, 0, 0, 0xC0, 0, 0, 0]));
    }

    #[test]
    fn refuses_what_the_column_would_round() {
        assert_eq!(encode("1.005", Some((10, 2))), Err(NumericFault::TooPrecise));
        assert_eq!(decode(&encode("1.0000", Some((10, 2))).expect("zeros may go")), "1.0000");
        assert_eq!(encode("100000", Some((5, 0))), Err(NumericFault::TooLarge));
        assert_eq!(encode("0.01", Some((2, 5))), Err(NumericFault::TooLarge));
        for bad in ["", "-", ".", "1e5", "1.2.3", " 1", "0x1", "Infinity"] {
            assert_eq!(encode(bad, None), Err(NumericFault::Malformed), "{bad}");
        }
    }

    #[test]
    fn integers_print() {
        assert_eq!(IntegerText::from(i64::MIN).as_bytes(), b"-9223372036854775808");
        assert_eq!(IntegerText::from(u64::MAX).as_bytes(), b"18446744073709551615");
        assert_eq!(IntegerText::from(0i64).as_bytes(), b"0");
    }

    proptest! {
        #[test]
        fn every_decimal_survives(negative: bool, whole in "(0|[1-9][0-9]{0,64})", fraction in "[0-9]{0,40}") {
            let point = if fraction.is_empty() { "" } else { "." };
            let zero = whole == "0" && fraction.bytes().all(|digit| digit == b'0');
            let sign = if negative && !zero { "-" } else { "" };
            let text = format!("{sign}{whole}{point}{fraction}");
            let bytes = encode(&text, None).expect("a decimal");
            let shown = text.trim_end_matches('0').trim_end_matches('.');
            let shown = if fraction.is_empty() { text.as_str() } else { shown };
            prop_assert_eq!(decode_text(&bytes).expect("a numeric"), shown);
            prop_assert_eq!(decode(&bytes), text);
        }

        #[test]
        fn groups_are_digits_to_the_base_10000(text in "-?[0-9]{1,40}(\\.[0-9]{1,40})?") {
            let bytes = encode(&text, None).expect("a decimal");
            let groups: Vec<u16> = bytes[8..].chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
            prop_assert!(groups.iter().all(|&group| group < 10_000));
            prop_assert!(groups.first() != Some(&0) && groups.last() != Some(&0));
        }
    }
}
