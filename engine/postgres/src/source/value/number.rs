//! Numbers in PostgreSQL's text form.

use super::Malformed;

const NO_INTEGER: Malformed = "it is no integer";
const TOO_LARGE: Malformed = "it lies outside the range of its column";
const NO_FLOAT: Malformed = "it is no floating-point number";
const NO_NUMERIC: Malformed = "it is no decimal number";

/// An integer of `bits` bits, two's complement.
#[inline]
pub(super) fn signed(text: &[u8], bits: u8) -> Result<i64, Malformed> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let magnitude = magnitude(digits)?;
    let value = if negative { 0_i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() };
    let unused = 64_u32.saturating_sub(bits.into()).min(63);
    value.filter(|value| value << unused >> unused == *value).ok_or(TOO_LARGE)
}

/// An integer of `bits` bits.
#[inline]
pub(super) fn unsigned(text: &[u8], bits: u8) -> Result<u64, Malformed> {
    let value = magnitude(text)?;
    let unused = 64_u32.saturating_sub(bits.into()).min(63);
    if value << unused >> unused == value { Ok(value) } else { Err(TOO_LARGE) }
}

#[inline]
fn magnitude(digits: &[u8]) -> Result<u64, Malformed> {
    let mut value = 0_u64;
    for &digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return Err(NO_INTEGER);
        }
        value = value.checked_mul(10).and_then(|value| value.checked_add(digit.into())).ok_or(TOO_LARGE)?;
    }
    if digits.is_empty() { Err(NO_INTEGER) } else { Ok(value) }
}

/// Double precision, `NaN` and the infinities among them.
pub(super) fn float64(text: &[u8]) -> Result<f64, Malformed> {
    let (text, special) = float(text)?;
    let value: f64 = text.parse().map_err(|_| NO_FLOAT)?;
    if special || value.is_finite() { Ok(value) } else { Err(TOO_LARGE) }
}

/// Single precision, widened.
pub(super) fn float32(text: &[u8]) -> Result<f64, Malformed> {
    let (text, special) = float(text)?;
    let value: f32 = text.parse().map_err(|_| NO_FLOAT)?;
    if special || value.is_finite() { Ok(value.into()) } else { Err(TOO_LARGE) }
}

/// The text of a float, and whether it is one of the three that are no numbers.
fn float(text: &[u8]) -> Result<(&str, bool), Malformed> {
    let special = matches!(text, b"NaN" | b"Infinity" | b"-Infinity");
    let of_a_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    if !special && !text.iter().all(of_a_number) {
        return Err(NO_FLOAT);
    }
    Ok((std::str::from_utf8(text).map_err(|_| NO_FLOAT)?, special))
}

/// A decimal with exactly `scale` digits after the point, or `NaN`.
pub(super) fn decimal(text: &[u8], scale: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
    if text == b"NaN" {
        out.extend_from_slice(text);
        return Ok(());
    }
    if digits(text, out)? == scale { Ok(()) } else { Err("it has another scale than its column") }
}

/// A decimal without bounds, `NaN`, or an infinity.
pub(super) fn numeric(text: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    match text {
        b"NaN" | b"Infinity" | b"-Infinity" => out.extend_from_slice(text),
        _ => drop(digits(text, out)?),
    }
    Ok(())
}

/// Appends a decimal with a digit before its point, and says how many there are after it.
fn digits(text: &[u8], out: &mut Vec<u8>) -> Result<usize, Malformed> {
    let unsigned = text.strip_prefix(b"-").unwrap_or(text);
    let point = memchr::memchr(b'.', unsigned);
    let (whole, fraction) = match point.and_then(|point| unsigned.split_at_checked(point)) {
        Some((whole, [_, fraction @ ..])) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return Err(NO_NUMERIC),
        None => (unsigned, &[][..]),
    };
    let all = |digits: &[u8]| digits.iter().all(u8::is_ascii_digit);
    let padded = whole.len() > 1 && whole.starts_with(b"0");
    if (whole.is_empty() && fraction.is_empty()) || padded || !all(whole) || !all(fraction) {
        return Err(NO_NUMERIC);
    }
    if whole.is_empty() {
        out.extend_from_slice(if unsigned.len() == text.len() { b"0" } else { b"-0" });
        out.extend_from_slice(unsigned);
    } else {
        out.extend_from_slice(text);
    }
    Ok(fraction.len())
}

/// `-$1,234.56` as `-1234.56`.
pub(super) fn money(text: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    const NO_MONEY: Malformed = "it is no amount of money as lc_monetary C has it";
    let (sign, rest): (&[u8], _) = match text.strip_prefix(b"-") {
        Some(rest) => (b"-", rest),
        None => (b"", text),
    };
    let amount = rest.strip_prefix(b"$").ok_or(NO_MONEY)?;
    let [whole @ .., b'.', tens, ones] = amount else { return Err(NO_MONEY) };
    let groups = || whole.split(|&byte| byte == b',');
    let well_grouped = groups().enumerate().all(|(place, group)| {
        group.iter().all(u8::is_ascii_digit)
            && if place == 0 { (1..=3).contains(&group.len()) } else { group.len() == 3 }
    });
    if !well_grouped || !tens.is_ascii_digit() || !ones.is_ascii_digit() {
        return Err(NO_MONEY);
    }
    out.extend_from_slice(sign);
    groups().for_each(|group| out.extend_from_slice(group));
    out.extend_from_slice(&[b'.', *tens, *ones]);
    Ok(())
}
