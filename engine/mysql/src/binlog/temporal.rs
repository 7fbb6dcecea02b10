//! Dates and times as row events hold them.

use engine_core::temporal::{Fields, MICROS_PER_DAY};

use super::bytes::{Bytes, Malformed};

const MICROS: i64 = 1_000_000;

/// Bytes of a fraction of `precision` digits.
pub(crate) fn fraction_bytes(precision: u8) -> usize {
    usize::from(precision.min(6)).div_ceil(2)
}

/// Microseconds of a fraction stored in `width` bytes: hundredths, ten-thousandths or millionths.
fn fraction_micros(stored: u64, width: usize) -> u64 {
    match width {
        0 => 0,
        1 => stored * 10_000,
        2 => stored * 100,
        _ => stored,
    }
}

fn checked_time(hour: u64, minute: u64, second: u64, micros: u64) -> Result<u64, Malformed> {
    if minute > 59 || second > 59 || micros > 999_999 {
        return Err(Malformed("a time of day is out of range"));
    }
    Ok(((hour * 60 + minute) * 60 + second) * 1_000_000 + micros)
}

fn checked_fields(year: u64, month: u64, day: u64, micros: u64) -> Result<Fields, Malformed> {
    if year > 9999 || month > 12 || day > 31 || micros >= MICROS_PER_DAY as u64 {
        return Err(Malformed("a date is out of range"));
    }
    Ok(Fields { year: year as u16, month: month as u8, day: day as u8, micros })
}

/// `TIMESTAMP` of MySQL 5.6 and later: big-endian seconds since 1970 and a fraction; all zero is
/// `0000-00-00 00:00:00`. The value is for a `timestamp` vector.
pub(crate) fn timestamp(input: &mut Bytes<'_>, precision: u8) -> Result<i64, Malformed> {
    let seconds = input.big_endian(4)?;
    let width = fraction_bytes(precision);
    let micros = fraction_micros(input.big_endian(width)?, width);
    instant(seconds, micros)
}

/// `TIMESTAMP` before MySQL 5.6: little-endian seconds since 1970.
pub(crate) fn old_timestamp(input: &mut Bytes<'_>) -> Result<i64, Malformed> {
    instant(u64::from(input.u32()?), 0)
}

fn instant(seconds: u64, micros: u64) -> Result<i64, Malformed> {
    if micros > 999_999 {
        return Err(Malformed("a timestamp's fraction is out of range"));
    }
    if seconds == 0 && micros == 0 {
        return Ok(Fields { year: 0, month: 0, day: 0, micros: 0 }.to_timestamp());
    }
    Ok(seconds as i64 * MICROS + micros as i64)
}

/// `DATETIME` of MySQL 5.6 and later: 40 bits of which the first is set, then year × 13 + month,
/// day, hour, minute, second, then a fraction.
pub(crate) fn datetime(input: &mut Bytes<'_>, precision: u8) -> Result<i64, Malformed> {
    let packed = input.big_endian(5)?.checked_sub(1 << 39).ok_or(Malformed("a date before year 0"))?;
    let width = fraction_bytes(precision);
    let micros = fraction_micros(input.big_endian(width)?, width);
    packed_datetime(packed, micros)
}

/// The fields of a packed date and time without its fraction.
pub(crate) fn packed_fields(packed: u64, micros: u64) -> Result<Fields, Malformed> {
    let year_month = packed >> 22;
    let time = checked_time(packed >> 12 & 31, packed >> 6 & 63, packed & 63, micros)?;
    checked_fields(year_month / 13, year_month % 13, packed >> 17 & 31, time)
}

fn packed_datetime(packed: u64, micros: u64) -> Result<i64, Malformed> {
    packed_fields(packed, micros).map(Fields::to_timestamp)
}

/// `DATETIME` before MySQL 5.6: the digits `YYYYMMDDhhmmss` as a little-endian number.
pub(crate) fn old_datetime(input: &mut Bytes<'_>) -> Result<i64, Malformed> {
    let digits = input.u64()?;
    let (date, time) = (digits / 1_000_000, digits % 1_000_000);
    let micros = checked_time(time / 10_000, time / 100 % 100, time % 100, 0)?;
    checked_fields(date / 10_000, date / 100 % 100, date % 100, micros).map(Fields::to_timestamp)
}

/// `DATE`: 5 bits day, 4 bits month, 15 bits year. The value is for a `date` vector.
pub(crate) fn date(input: &mut Bytes<'_>) -> Result<i64, Malformed> {
    let packed = input.little_endian(3)?;
    checked_fields(packed >> 9, packed >> 5 & 15, packed & 31, 0).map(Fields::to_date)
}

/// `TIME` of MySQL 5.6 and later: one big-endian number over whole and fractional part, offset so
/// that zero lies in the middle. The value is in microseconds.
pub(crate) fn time(input: &mut Bytes<'_>, precision: u8) -> Result<i64, Malformed> {
    let width = fraction_bytes(precision);
    let shift = 8 * width as u32;
    let offset = input.big_endian(3 + width)? as i64 - (0x80_0000i64 << shift);
    let magnitude = offset.unsigned_abs();
    let (whole, fraction) = (magnitude >> shift, magnitude & ((1 << shift) - 1));
    let micros = packed_time(whole, fraction_micros(fraction, width))?;
    Ok(if offset < 0 { -micros } else { micros })
}

/// Microseconds of a packed time without sign.
pub(crate) fn packed_time(whole: u64, micros: u64) -> Result<i64, Malformed> {
    let hour = whole >> 12;
    if hour > 838 {
        return Err(Malformed("a time is out of range"));
    }
    checked_time(hour, whole >> 6 & 63, whole & 63, micros).map(|micros| micros as i64)
}

/// `TIME` before MySQL 5.6: the digits `hhmmss` as a little-endian signed number.
pub(crate) fn old_time(input: &mut Bytes<'_>) -> Result<i64, Malformed> {
    let raw = input.little_endian(3)? as i64;
    let digits = if raw >= 1 << 23 { raw - (1 << 24) } else { raw };
    let magnitude = digits.unsigned_abs();
    let micros = checked_time(magnitude / 10_000, magnitude / 100 % 100, magnitude % 100, 0)? as i64;
    Ok(if digits < 0 { -micros } else { micros })
}

/// `YEAR`: years since 1900; 0 is the year 0000.
pub(crate) fn year(input: &mut Bytes<'_>) -> Result<i64, Malformed> {
    Ok(match input.u8()? {
        0 => 0,
        since_1900 => 1900 + i64::from(since_1900),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Packs a TIME the way the server does, from its signed whole and fractional parts.
    fn pack_time(negative: bool, hms: i64, micros: i64, width: usize) -> Vec<u8> {
        let packed = (hms << 24 | micros) * if negative { -1 } else { 1 };
        let (whole, fraction) = (packed >> 24, packed % (1 << 24));
        if width == 3 {
            return (packed + 0x8000_0000_0000).to_be_bytes()[2..].to_vec();
        }
        let mut bytes = (whole + 0x80_0000).to_be_bytes()[5..].to_vec();
        match width {
            1 => bytes.push((fraction / 10_000) as u8),
            2 => bytes.extend_from_slice(&((fraction / 100) as i16).to_be_bytes()),
            _ => {}
        }
        bytes
    }

    #[test]
    fn half_a_second_before_zero() {
        for precision in [1, 2, 3, 4, 5, 6] {
            let bytes = pack_time(true, 0, 500_000, fraction_bytes(precision));
            assert_eq!(time(&mut Bytes::new(&bytes), precision), Ok(-500_000), "TIME({precision})");
        }
    }

    #[test]
    fn zero_and_irregular_dates_keep_their_fields() {
        let zero = Fields { year: 0, month: 0, day: 0, micros: 0 };
        assert_eq!(timestamp(&mut Bytes::new(&[0; 7]), 6), Ok(zero.to_timestamp()));
        assert_eq!(datetime(&mut Bytes::new(&[0x80, 0, 0, 0, 0]), 0), Ok(zero.to_timestamp()));
        assert_eq!(date(&mut Bytes::new(&[0, 0, 0])), Ok(zero.to_date()));
        let february_31 = (2024u32 << 9 | 2 << 5 | 31).to_le_bytes();
        let decoded = date(&mut Bytes::new(&february_31[..3])).expect("well-formed");
        assert_eq!(Fields::from_date(decoded), Fields { year: 2024, month: 2, day: 31, micros: 0 });
    }

    #[test]
    fn a_timestamp_may_have_a_fraction_in_its_first_second() {
        assert_eq!(timestamp(&mut Bytes::new(&[0, 0, 0, 1, 5]), 2), Ok(1_050_000));
    }

    #[test]
    fn years() {
        for (byte, expected) in [(0, 0), (1, 1901), (255, 2155)] {
            assert_eq!(year(&mut Bytes::new(&[byte])), Ok(expected));
        }
    }

    #[test]
    fn old_formats() {
        let datetime = 20_240_331_023_000u64.to_le_bytes();
        assert_eq!(
            old_datetime(&mut Bytes::new(&datetime)).map(|value| Fields::from_timestamp(value).to_string()),
            Ok("2024-03-31 02:30:00".to_owned())
        );
        let time = (-1_023_004i32).to_le_bytes();
        assert_eq!(old_time(&mut Bytes::new(&time[..3])), Ok(-(((102 * 60 + 30) * 60) + 4) * MICROS));
    }

    proptest! {
        #[test]
        fn times_round_trip(negative: bool, hour in 0i64..=838, minute in 0i64..60, second in 0i64..60, micros in 0i64..1_000_000, precision in 0u8..=6) {
            let width = fraction_bytes(precision);
            let unit = [1_000_000, 10_000, 100, 1][width];
            let micros = micros / unit * unit;
            let bytes = pack_time(negative, hour << 12 | minute << 6 | second, micros, width);
            let expected = ((hour * 60 + minute) * 60 + second) * MICROS + micros;
            prop_assert_eq!(time(&mut Bytes::new(&bytes), precision), Ok(if negative { -expected } else { expected }));
        }

        #[test]
        fn datetimes_round_trip(year in 0u64..=9999, month in 0u64..=12, day in 0u64..=31, seconds in 0u64..86_400, micros in 0u64..1_000_000) {
            let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            let packed = 1 << 39 | (year * 13 + month) << 22 | day << 17 | hour << 12 | minute << 6 | second;
            let bytes = [&packed.to_be_bytes()[3..], &micros.to_be_bytes()[5..]].concat();
            let decoded = datetime(&mut Bytes::new(&bytes), 6).expect("well-formed");
            let expected = Fields { year: year as u16, month: month as u8, day: day as u8, micros: seconds * 1_000_000 + micros };
            prop_assert_eq!(Fields::from_timestamp(decoded), expected);
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..9), precision: u8) {
            for decode in [timestamp, datetime, time] {
                let _ = decode(&mut Bytes::new(&bytes), precision);
            }
            for decode in [old_timestamp, old_datetime, old_time, date, year] {
                let _ = decode(&mut Bytes::new(&bytes));
            }
        }
    }
}
