//! Literals of MySQL's SQL, written into a statement.

use std::io::Write as _;

/// An integer.
pub(super) fn integer(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    unsigned(value.unsigned_abs(), out);
}

/// An unsigned integer.
pub(super) fn unsigned(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
        first -= 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(first..).unwrap_or_default());
}

/// The shortest decimal number that is read as this very double.
pub(super) fn float(value: f64, out: &mut Vec<u8>) {
    let _ = write!(out, "{value:e}");
}

/// Text, in the character set of the connection.
pub(super) fn quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'\'');
    let mut from = 0;
    for (place, &byte) in text.iter().enumerate() {
        let escape = match byte {
            b'\'' | b'\\' => byte,
            0 => b'0',
            _ => continue,
        };
        out.extend_from_slice(text.get(from..place).unwrap_or_default());
        out.extend_from_slice(&[b'\\', escape]);
        from = place + 1;
    }
    out.extend_from_slice(text.get(from..).unwrap_or_default());
    out.push(b'\'');
}

/// Bytes that no character set has a say in.
pub(super) fn binary(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"_binary");
    quoted(bytes, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("these are text")
    }

    #[test]
    fn nothing_ends_a_literal_early() {
        assert_eq!(text(|out| quoted(b"it's\\\0'", out)), r"'it\'s\\\0\''");
        assert_eq!(text(|out| binary(b"", out)), "_binary''");
        assert_eq!(text(|out| integer(i64::MIN, out)), i64::MIN.to_string());
    }

    proptest! {
        #[test]
        fn numbers_are_read_back(value in any::<u64>(), double in any::<f64>()) {
            prop_assert_eq!(text(|out| unsigned(value, out)), value.to_string());
            if double.is_finite() {
                let back: f64 = text(|out| float(double, out)).parse().expect("a number");
                prop_assert_eq!(back.to_bits(), double.to_bits());
            }
        }
    }
}
